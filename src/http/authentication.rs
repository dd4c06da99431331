//! Authentication by the key in the headers, and the scope that a route requires.
//!
//! It runs before path and body are read, so that they reveal nothing to a caller without a key.

use actix_web::HttpRequest;
use actix_web::http::header::AUTHORIZATION;

use super::reply::Failure;
use super::state::AppState;
use crate::api::problem::{Code, Problem};
use crate::engine::directory::Principal;
use crate::tenant::key::{KeyHash, Scope};

/// The owner of the request's key, which must be active and have `scope`.
pub fn authenticate(
    state: &AppState,
    http: &HttpRequest,
    scope: Scope,
) -> Result<Principal, Failure> {
    let unauthenticated = |detail: &str| Problem::new(Code::Unauthenticated, detail);
    let key = key(http).ok_or_else(|| {
        unauthenticated("send `Authorization: Bearer <key>` or `X-API-Key: <key>`")
    })?;
    let principal = state
        .engine
        .authenticate(KeyHash::of(key))
        .ok_or_else(|| unauthenticated("the key is unknown, revoked or expired"))?;
    if principal.scopes.allow(scope) {
        Ok(principal)
    } else {
        let detail = format!("the key lacks the scope `{scope}`");
        Err(Problem::new(Code::Forbidden, detail).into())
    }
}

fn key(http: &HttpRequest) -> Option<&str> {
    let header = |name| {
        http.headers()
            .get(name)
            .and_then(|value| value.to_str().ok())
    };
    let bearer = header(AUTHORIZATION.as_str()).and_then(|text| {
        let (scheme, key) = text.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
    });
    bearer
        .or_else(|| header("x-api-key"))
        .filter(|key| !key.is_empty())
}
