//! Request bodies: their content type, length, memory and time.

use std::time::Duration;

use actix_web::web::{Data, Payload};
use actix_web::{HttpMessage, HttpRequest};
use futures_util::StreamExt;

use super::limits::{Limits, Reservation};
use super::reply::Failure;
use crate::api::problem::{Code, Problem};

/// The limit of every body that is not a batch.
const BYTES_MAX: usize = 64 * 1_024;

#[derive(Debug, Clone, Copy)]
pub struct BodyTimeout(pub Duration);

pub async fn read(http: &HttpRequest, payload: Payload) -> Result<Vec<u8>, Failure> {
    check_type(http)?;
    if declared_length(http).is_some_and(|length| length > BYTES_MAX) {
        return Err(too_large().into());
    }
    let timeout = http.app_data::<Data<BodyTimeout>>();
    let timeout = timeout.expect("every server has a body timeout").0;
    let limits = http.app_data::<Data<Limits>>();
    let reservation = limits.expect("every server has limits").body();
    let body = tokio::time::timeout(timeout, read_all(payload, reservation)).await;
    let late = || Problem::new(Code::DeadlineExceeded, "the body did not arrive in time");
    Ok(body.map_err(|_| late())??)
}

async fn read_all(mut payload: Payload, mut memory: Reservation) -> Result<Vec<u8>, Problem> {
    let mut bytes = Vec::new();
    while let Some(chunk) = payload.next().await {
        let truncated = |error| {
            Problem::new(
                Code::MalformedJson,
                format!("the body is incomplete: {error}"),
            )
        };
        let chunk = chunk.map_err(truncated)?;
        if bytes.len() + chunk.len() > BYTES_MAX {
            return Err(too_large());
        }
        if !memory.grow(chunk.len()) {
            let detail = "the server is reading too many bodies";
            return Err(Problem::new(Code::Overloaded, detail));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

fn too_large() -> Problem {
    let detail = format!("the body is longer than {BYTES_MAX} bytes");
    Problem::new(Code::PayloadTooLarge, detail)
}

/// Accepts `application/json`, `application/*+json`, and a body without a type.
fn check_type(http: &HttpRequest) -> Result<(), Problem> {
    let media_type = http.content_type();
    let json = media_type.is_empty()
        || media_type.eq_ignore_ascii_case("application/json")
        || (media_type.starts_with("application/") && media_type.ends_with("+json"));
    if json {
        return Ok(());
    }
    let detail = format!("unsupported content type `{media_type}`; send `application/json`");
    Err(Problem::new(Code::UnsupportedMediaType, detail))
}

fn declared_length(http: &HttpRequest) -> Option<usize> {
    http.headers()
        .get("content-length")?
        .to_str()
        .ok()?
        .parse()
        .ok()
}
