//! Outcomes: report how an intent turned out.

use actix_web::HttpRequest;
use actix_web::web::{Data, Payload};

use super::reply::{Reply, json};
use super::state::AppState;
use super::{authentication, body, header, parameters};
use crate::api::outcome;
use crate::tenant::key::Scope;

/// `POST /api/v1/intents/outcome`
pub async fn record(state: Data<AppState>, http: HttpRequest, payload: Payload) -> Reply {
    let principal = authentication::authenticate(&state, &http, Scope::Outcome)?;
    parameters::none(&http)?;
    let body = body::read(&http, payload).await?;
    let report = outcome::parse(&body, header::text(&http, "idempotency-key")?)?;
    let id = report.id.clone();
    let recorded = state
        .engine
        .execute(principal.tenant, principal.caller(), report, body.len());
    json(&outcome::Answer::new(id, &recorded.await?.reply))
}
