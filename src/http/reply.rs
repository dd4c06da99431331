//! Answers: JSON, or a problem document. The one place where a status leaves this server.

use actix_web::http::StatusCode;
use actix_web::http::header::{ContentType, RETRY_AFTER};
use actix_web::{HttpRequest, HttpResponse};
use serde::Serialize;

use super::trace::request_id;
use crate::api::engine_error;
use crate::api::problem::{Code, MEDIA_TYPE, Problem};
use crate::engine::{EngineError, Unavailable, clock};

/// Why a handler ends without an answer of its own.
#[derive(Debug)]
pub struct Failure(Problem);

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self(problem)
    }
}

impl From<EngineError> for Failure {
    fn from(error: EngineError) -> Self {
        Self(engine_error::problem(&error, clock::now()))
    }
}

impl From<Unavailable> for Failure {
    fn from(why: Unavailable) -> Self {
        Self(why.into())
    }
}

/// What a handler comes to.
pub type Answer = Result<HttpResponse, Failure>;

/// Runs a handler to its answer or its problem.
pub async fn answer(http: &HttpRequest, handler: impl Future<Output = Answer>) -> HttpResponse {
    match handler.await {
        Ok(response) => response,
        Err(Failure(problem)) => refuse(http, &problem),
    }
}

/// 200 with this.
pub fn json<T: Serialize>(value: &T) -> Answer {
    Ok(body(StatusCode::OK, value))
}

/// 201 with this.
pub fn created<T: Serialize>(value: &T) -> Answer {
    Ok(body(StatusCode::CREATED, value))
}

fn body<T: Serialize>(status: StatusCode, value: &T) -> HttpResponse {
    let bytes = serde_json::to_vec(value).expect("an answer is texts and finite numbers");
    HttpResponse::build(status)
        .content_type(ContentType::json())
        .body(bytes)
}

/// The problem, as the answer to this request.
pub fn refuse(http: &HttpRequest, problem: &Problem) -> HttpResponse {
    let status =
        StatusCode::from_u16(problem.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = HttpResponse::build(status);
    response.content_type(MEDIA_TYPE);
    if let Some(seconds) = problem.retry_after_s {
        response.insert_header((RETRY_AFTER, seconds));
    }
    if problem.code == Code::Unauthenticated {
        response.insert_header(("WWW-Authenticate", "Bearer"));
    }
    // The rest of a body that nobody will read is not worth keeping the connection for; and a stop
    // waits for connections, also for one whose client does not tire of asking.
    if matches!(problem.code, Code::PayloadTooLarge | Code::ShuttingDown) {
        response.force_close();
    }
    response.body(problem.to_json(&request_id(http)))
}
