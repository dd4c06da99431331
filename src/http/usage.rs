//! Usage of the keys' quotas.

use actix_web::HttpRequest;
use actix_web::web::{Data, Path};

use super::reply::{Reply, json};
use super::state::AppState;
use super::{authentication, parameters, tenants};
use crate::api::page::List;
use crate::api::usage::Usage;
use crate::stamp::Stamp;
use crate::tenant::Tenant;
use crate::tenant::command::Refusal;
use crate::tenant::key::Scope;

/// `GET /api/v1/usage`: of the caller's key.
pub async fn get(state: Data<AppState>, http: HttpRequest) -> Reply {
    let principal = authentication::authenticate(&state, &http, Scope::Read)?;
    parameters::none(&http)?;
    let usage = move |tenant: &Tenant, stamp: &Stamp| {
        let key = tenant.keys().active(principal.key, stamp.at);
        Ok(Usage::new(
            key.ok_or(Refusal::Unauthenticated)?,
            tenant,
            stamp.at,
        ))
    };
    let usage = state
        .engine
        .inspect(principal.tenant, principal.caller(), Scope::Read, usage);
    json(&usage.await?)
}

/// `GET /api/v1/admin/tenants/{tenant_id}/usage`: of every key.
pub async fn list(state: Data<AppState>, http: HttpRequest, path: Path<String>) -> Reply {
    let principal = authentication::authenticate(&state, &http, Scope::Admin)?;
    parameters::none(&http)?;
    let tenant = tenants::id(&path)?;
    let usage = |tenant: &Tenant, stamp: &Stamp| Ok(Usage::list(tenant, stamp.at));
    let usage = state
        .engine
        .inspect(tenant, principal.caller(), Scope::Admin, usage);
    json(&List::whole(usage.await?))
}
