//! Bodies: JSON by their type, at most so long, and sent within reason.

use std::time::Duration;

use actix_web::web::Payload;
use actix_web::{HttpMessage, HttpRequest, web};
use futures_util::StreamExt;

use super::limits::Limits;
use super::reply::Failure;
use crate::api::problem::{Code, Problem};

/// The body of one intent, or of anything else that is not a batch.
const BYTES_MAX: usize = 64 * 1_024;

/// How long a client may take to send a body.
#[derive(Debug, Clone, Copy)]
pub struct BodyTimeout(pub Duration);

/// Reads a body whole.
pub async fn read(http: &HttpRequest, payload: Payload) -> Result<Vec<u8>, Failure> {
    check_type(http)?;
    let too_large = || {
        let detail = format!("the body has more than {BYTES_MAX} bytes");
        Problem::new(Code::PayloadTooLarge, detail)
    };
    if declared(http).is_some_and(|length| length > BYTES_MAX) {
        return Err(too_large().into());
    }
    let patience = http.app_data::<web::Data<BodyTimeout>>();
    let patience = patience.map_or(Duration::from_secs(5), |patience| patience.0);
    let whole = tokio::time::timeout(patience, async {
        let mut payload = payload;
        let limits = http.app_data::<web::Data<Limits>>();
        let mut share = limits.map(|limits| limits.body());
        let mut bytes = Vec::new();
        while let Some(chunk) = payload.next().await {
            let broken =
                |error| Problem::new(Code::MalformedJson, format!("the body broke off: {error}"));
            let chunk = chunk.map_err(broken)?;
            if bytes.len() + chunk.len() > BYTES_MAX {
                return Err(too_large());
            }
            if share.as_mut().is_some_and(|share| !share.grow(chunk.len())) {
                let detail = "the node has too many bodies under way";
                return Err(Problem::new(Code::Overloaded, detail));
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    });
    let late = || Problem::new(Code::DeadlineExceeded, "the body did not come in time");
    Ok(whole.await.map_err(|_| late())??)
}

/// A body that says what it is says JSON; one that says nothing is taken for it.
fn check_type(http: &HttpRequest) -> Result<(), Problem> {
    let kind = http.content_type();
    let json = kind.is_empty()
        || kind.eq_ignore_ascii_case("application/json")
        || (kind.starts_with("application/") && kind.ends_with("+json"));
    if json {
        return Ok(());
    }
    let detail = format!("the body is declared to be `{kind}`; it must be `application/json`");
    Err(Problem::new(Code::UnsupportedMediaType, detail))
}

fn declared(http: &HttpRequest) -> Option<usize> {
    http.headers()
        .get("content-length")?
        .to_str()
        .ok()?
        .parse()
        .ok()
}
