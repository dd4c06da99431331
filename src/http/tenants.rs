//! Tenants, for operators.

use actix_web::HttpRequest;
use actix_web::web::{Data, Path, Payload};

use super::reply::{Failure, Reply, created, json};
use super::state::AppState;
use super::{authentication, body, parameters};
use crate::api::page::{List, Page};
use crate::api::problem::Problem;
use crate::api::tenant::{self, CreatedTenant, TenantSummary};
use crate::engine::clock;
use crate::id::TenantId;
use crate::query::tenants as query;
use crate::tenant::key::Scope;
use crate::tenant::lifecycle::FoundTenant;

/// `POST /api/v1/admin/tenants`
pub async fn create(state: Data<AppState>, http: HttpRequest, payload: Payload) -> Reply {
    let principal = authentication::authenticate(&state, &http, Scope::Admin)?;
    parameters::none(&http)?;
    let body = body::read(&http, payload).await?;
    let new = tenant::parse(&body)?;
    let id = TenantId::random(clock::random());
    let command = FoundTenant {
        keys: new.keys(),
        name: new.name,
        tier: new.tier,
        retention_days: None,
        created_by: new.created_by,
        service: state.service.clone(),
        public_key: state.engine.signer().public_key().to_string(),
    };
    let created_tenant = state
        .engine
        .execute(id, principal.caller(), command, body.len());
    created(&CreatedTenant::new(id, &created_tenant.await?.reply))
}

/// `GET /api/v1/admin/tenants`
pub async fn list(state: Data<AppState>, http: HttpRequest) -> Reply {
    authentication::authenticate(&state, &http, Scope::Admin)?;
    let Page { from, limit } = parameters::read(&http, |parameters| parameters.page())?;
    let read = state
        .engine
        .read(move |reader| query::list(reader, from, limit));
    let (tenants, next) = read.await?;
    let items = tenants
        .iter()
        .map(|(id, account)| TenantSummary::new(*id, account));
    json(&List::new(items.collect(), next))
}

/// `GET /api/v1/admin/tenants/{tenant_id}`
pub async fn get(state: Data<AppState>, http: HttpRequest, path: Path<String>) -> Reply {
    authentication::authenticate(&state, &http, Scope::Admin)?;
    parameters::none(&http)?;
    let id = id(&path)?;
    let account = state
        .engine
        .read(move |reader| query::get(reader, id))
        .await?;
    json(&TenantSummary::new(id, &account.ok_or_else(not_found)?))
}

pub fn id(text: &str) -> Result<TenantId, Failure> {
    TenantId::parse(text).map_err(|_| not_found().into())
}

fn not_found() -> Problem {
    Problem::not_found("tenant")
}
