//! Responses: JSON, or a problem document.

use actix_web::dev::ServiceResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::{ContentType, RETRY_AFTER};
use actix_web::{HttpRequest, HttpResponse, ResponseError};
use serde::Serialize;

use super::trace::request_id;
use crate::api::engine_error;
use crate::api::problem::{Code, MEDIA_TYPE, Problem};
use crate::engine::{EngineError, Unavailable, clock};

/// The problem that a handler fails with. [`with_problem`] renders it: the document has the request's id.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct Failure(Problem);

impl ResponseError for Failure {
    fn status_code(&self) -> StatusCode {
        status(&self.0)
    }
}

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
    fn from(error: Unavailable) -> Self {
        Self(error.into())
    }
}

pub type Reply = Result<HttpResponse, Failure>;

/// Gives the response of a failed handler its problem document.
pub fn with_problem(response: ServiceResponse) -> ServiceResponse {
    let failure = response.response().error();
    let failure = failure.and_then(|error| error.as_error::<Failure>());
    match failure.map(|Failure(problem)| error(response.request(), problem)) {
        Some(error) => response.into_response(error),
        None => response,
    }
}

/// 200
pub fn json<T: Serialize>(value: &T) -> Reply {
    Ok(body(StatusCode::OK, value))
}

/// 201
pub fn created<T: Serialize>(value: &T) -> Reply {
    Ok(body(StatusCode::CREATED, value))
}

fn body<T: Serialize>(status: StatusCode, value: &T) -> HttpResponse {
    let bytes = serde_json::to_vec(value).expect("a response is JSON");
    HttpResponse::build(status)
        .content_type(ContentType::json())
        .body(bytes)
}

/// The problem document that answers this request.
pub fn error(http: &HttpRequest, problem: &Problem) -> HttpResponse {
    let mut response = HttpResponse::build(status(problem));
    response.content_type(MEDIA_TYPE);
    if let Some(seconds) = problem.retry_after_s {
        response.insert_header((RETRY_AFTER, seconds));
    }
    if problem.code == Code::Unauthenticated {
        response.insert_header(("WWW-Authenticate", "Bearer"));
    }
    // After `PayloadTooLarge` the rest of the body would have to be read first. A shutdown waits for
    // open connections, so a client that retries on one must not keep it.
    if matches!(problem.code, Code::PayloadTooLarge | Code::ShuttingDown) {
        response.force_close();
    }
    response.body(problem.to_json(&request_id(http)))
}

fn status(problem: &Problem) -> StatusCode {
    StatusCode::from_u16(problem.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}
