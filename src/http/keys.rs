//! The keys of a tenant, for operators.

use actix_web::web::{Data, Path, Payload};
use actix_web::{HttpRequest, HttpResponse};

use super::reply::{Failure, Reply, created, json};
use super::state::AppState;
use super::{authentication, body, parameters, tenants};
use crate::api::key::{self, CreatedKey};
use crate::api::page::List;
use crate::api::problem::Problem;
use crate::id::KeyId;
use crate::tenant::key::{CreateKey, RevokeKey, RotateKey, Scope};

/// `POST /api/v1/admin/tenants/{tenant_id}/keys`
pub async fn create(
    state: Data<AppState>,
    http: HttpRequest,
    path: Path<String>,
    payload: Payload,
) -> Reply {
    let principal = authentication::authenticate(&state, &http, Scope::Admin)?;
    parameters::none(&http)?;
    let tenant = tenants::id(&path)?;
    let body = body::read(&http, payload).await?;
    let command = CreateKey(key::parse(&body)?);
    let issued = state
        .engine
        .execute(tenant, principal.caller(), command, body.len());
    created(&CreatedKey::from(&issued.await?.reply))
}

/// `GET /api/v1/admin/tenants/{tenant_id}/keys`
pub async fn list(state: Data<AppState>, http: HttpRequest, path: Path<String>) -> Reply {
    let principal = authentication::authenticate(&state, &http, Scope::Admin)?;
    parameters::none(&http)?;
    let tenant = tenants::id(&path)?;
    let keys = |tenant: &_, _: &_| Ok(key::list(tenant));
    let keys = state
        .engine
        .inspect(tenant, principal.caller(), Scope::Admin, keys);
    json(&List::whole(keys.await?))
}

/// `DELETE /api/v1/admin/tenants/{tenant_id}/keys/{key_id}`
pub async fn revoke(
    state: Data<AppState>,
    http: HttpRequest,
    path: Path<(String, String)>,
) -> Reply {
    let principal = authentication::authenticate(&state, &http, Scope::Admin)?;
    parameters::none(&http)?;
    let (tenant, key) = (tenants::id(&path.0)?, id(&path.1)?);
    let revoked = state
        .engine
        .execute(tenant, principal.caller(), RevokeKey(key), 0);
    revoked.await?;
    Ok(HttpResponse::NoContent().finish())
}

/// `POST /api/v1/admin/tenants/{tenant_id}/keys/{key_id}/rotate`
pub async fn rotate(
    state: Data<AppState>,
    http: HttpRequest,
    path: Path<(String, String)>,
) -> Reply {
    let principal = authentication::authenticate(&state, &http, Scope::Admin)?;
    parameters::none(&http)?;
    let (tenant, key) = (tenants::id(&path.0)?, id(&path.1)?);
    let rotated = state
        .engine
        .execute(tenant, principal.caller(), RotateKey(key), 0);
    json(&CreatedKey::from(&rotated.await?.reply))
}

fn id(text: &str) -> Result<KeyId, Failure> {
    KeyId::parse(text).map_err(|_| Problem::not_found("key").into())
}
