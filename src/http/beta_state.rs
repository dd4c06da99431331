//! What a tenant has learned.

use actix_web::HttpRequest;
use actix_web::web::Data;

use super::reply::{Reply, json};
use super::{AppState, authentication, parameters};
use crate::api::beta_state;
use crate::api::page::List;
use crate::tenant::key::Scope;

/// `GET /api/v1/beta-state`
pub async fn list(state: Data<AppState>, http: HttpRequest) -> Reply {
    let principal = authentication::authenticate(&state, &http, Scope::Read)?;
    parameters::none(&http)?;
    let states = |tenant: &_, _: &_| Ok(beta_state::list(tenant));
    let states = state
        .engine
        .inspect(principal.tenant, principal.caller(), Scope::Read, states);
    json(&List::whole(states.await?))
}
