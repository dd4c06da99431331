//! Request ids, trace ids, and one log line for each request.

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{HeaderName, HeaderValue};
use actix_web::middleware::Next;
use actix_web::{Error, HttpMessage, HttpRequest};

use crate::engine::clock;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The caller's `X-Request-Id`, or a new one.
#[derive(Clone)]
struct RequestId(String);

pub fn request_id(http: &HttpRequest) -> String {
    http.extensions()
        .get::<RequestId>()
        .map_or_else(String::new, |id| id.0.clone())
}

/// The trace id in `traceparent` (W3C): 32 hexadecimal digits.
pub fn trace_id(http: &HttpRequest) -> Option<String> {
    let header = http.headers().get("traceparent")?.to_str().ok()?;
    let mut fields = header.split('-');
    let (version, trace) = (fields.next()?, fields.next()?);
    let hexadecimal = |text: &str, digits| {
        text.len() == digits
            && text
                .bytes()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    let good =
        hexadecimal(version, 2) && hexadecimal(trace, 32) && trace.bytes().any(|b| b != b'0');
    good.then(|| trace.to_owned())
}

/// The outermost middleware.
pub async fn trace(
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    let id = caller_id(&request).unwrap_or_else(|| {
        uuid::Builder::from_random_bytes(clock::random())
            .into_uuid()
            .to_string()
    });
    request.extensions_mut().insert(RequestId(id.clone()));
    let watch = clock::stopwatch();
    let (method, path) = (request.method().clone(), request.path().to_owned());
    let trace = trace_id(request.request());
    let mut response = next.call(request).await?;
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    tracing::debug!(
        %method,
        path,
        status = response.status().as_u16(),
        duration_us = u64::try_from(watch.elapsed().as_micros()).unwrap_or(u64::MAX),
        request_id = id,
        trace_id = trace,
        "request"
    );
    Ok(response)
}

/// The caller's own id, if it is short visible ASCII.
fn caller_id(request: &ServiceRequest) -> Option<String> {
    let text = request.headers().get(REQUEST_ID)?.to_str().ok()?;
    let plain = (1..=128).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
    plain.then(|| text.to_owned())
}
