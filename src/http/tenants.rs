//! Tenants, for operators.

use actix_web::web::{Data, Path, Payload};
use actix_web::{HttpRequest, HttpResponse};

use super::reply::{Failure, answer, created, json};
use super::{AppState, auth, body, parameters};
use crate::api::page::{List, Page};
use crate::api::problem::Problem;
use crate::api::tenant::{self, Founded, Item};
use crate::engine::clock;
use crate::id::TenantId;
use crate::query::tenants as query;
use crate::tenant::key::Scope;
use crate::tenant::lifecycle::FoundTenant;

/// `POST /api/v1/admin/tenants`
pub async fn found(state: Data<AppState>, http: HttpRequest, payload: Payload) -> HttpResponse {
    answer(&http, async {
        let principal = auth::authorize(&state, &http, Scope::Admin)?;
        parameters::none(&http)?;
        let body = body::read(&http, payload).await?;
        let new = tenant::create(&body)?;
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
        let founded = state
            .engine
            .execute(id, principal.caller(), command, body.len());
        created(&Founded::new(id, &founded.await?.reply))
    })
    .await
}

/// `GET /api/v1/admin/tenants`
pub async fn list(state: Data<AppState>, http: HttpRequest) -> HttpResponse {
    answer(&http, async {
        auth::authorize(&state, &http, Scope::Admin)?;
        let parameters = parameters::read(&http, &["limit", "cursor"])?;
        let Page { from, limit } = parameters.page()?;
        let read = state
            .engine
            .read(move |reader| query::list(reader, from, limit));
        let (found, next) = read.await?;
        let items = found.iter().map(|(id, account)| Item::of(*id, account));
        json(&List::new(items.collect(), next))
    })
    .await
}

/// `GET /api/v1/admin/tenants/{tenant_id}`
pub async fn one(state: Data<AppState>, http: HttpRequest, path: Path<String>) -> HttpResponse {
    answer(&http, async {
        auth::authorize(&state, &http, Scope::Admin)?;
        parameters::none(&http)?;
        let id = id(&path)?;
        let account = state
            .engine
            .read(move |reader| query::one(reader, id))
            .await?;
        json(&Item::of(id, &account.ok_or_else(no_such_tenant)?))
    })
    .await
}

/// The tenant that a path names.
pub fn id(text: &str) -> Result<TenantId, Failure> {
    TenantId::parse(text).map_err(|_| no_such_tenant().into())
}

fn no_such_tenant() -> Problem {
    Problem::not_found("tenant")
}
