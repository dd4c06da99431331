//! What operators do: tenants and their keys.

use actix_web::web::{Data, Path, Payload};
use actix_web::{HttpRequest, HttpResponse};

use super::intents::{Parameters, only};
use super::reply::{Failure, answer, created, json};
use super::{Front, auth, body};
use crate::api::page::List;
use crate::api::problem::Problem;
use crate::api::tenant::{Founded, Item};
use crate::api::usage::Usage;
use crate::api::{key, tenant};
use crate::engine::clock;
use crate::id::{KeyId, TenantId};
use crate::query::tenants as query;
use crate::tenant::key::{CreateKey, RevokeKey, RotateKey, Scope};
use crate::tenant::lifecycle::Found;

/// Tenants on a page.
const TENANTS_MAX: usize = 1_000;

/// `POST /api/v1/admin/tenants`
pub async fn found(front: Data<Front>, http: HttpRequest, payload: Payload) -> HttpResponse {
    answer(&http, async {
        let holder = auth::holder(&front, &http, Scope::Admin)?;
        let body = body::read(&http, payload).await?;
        let new = tenant::create(&body)?;
        let id = uuid::Builder::from_random_bytes(clock::random()).into_uuid();
        let id = TenantId::from_bytes(id.into_bytes());
        let command = Found {
            keys: new.keys(),
            name: new.name,
            tier: new.tier,
            retention_days: None,
            created_by: new.created_by,
            service: front.service.clone(),
            public_key: front.engine.signer().public_key().to_string(),
        };
        let committed = front
            .engine
            .execute(id, holder.caller(), command, body.len())
            .await?;
        created(&Founded::new(id, &committed.reply))
    })
    .await
}

/// `GET /api/v1/admin/tenants`
pub async fn tenants(
    front: Data<Front>,
    http: HttpRequest,
    parameters: Parameters,
) -> HttpResponse {
    answer(&http, async {
        auth::holder(&front, &http, Scope::Admin)?;
        only(&parameters, &[])?;
        let no_cursor = || Problem::invalid("`cursor` must be one that this list answered");
        let after = parameters
            .get("cursor")
            .map(|text| TenantId::parse(text))
            .transpose();
        let after = after.map_err(|_| no_cursor())?;
        let limit = parameters.get("limit").map_or(Ok(100), |text| text.parse());
        let limit = limit.ok().filter(|limit| (1..=TENANTS_MAX).contains(limit));
        let limit = limit
            .ok_or_else(|| Problem::invalid("`limit` must be a whole number from 1 to 1000"))?;
        let (found, more) = front
            .engine
            .read(move |reader| query::list(reader, after, limit))
            .await?;
        let last = found.last().map(|(id, _)| id.to_string());
        let items = found
            .iter()
            .map(|(id, account)| Item::of(*id, account))
            .collect();
        json(&List {
            items,
            next_cursor: last.filter(|_| more),
        })
    })
    .await
}

/// `GET /api/v1/admin/tenants/{tenant_id}`
pub async fn tenant(front: Data<Front>, http: HttpRequest, path: Path<String>) -> HttpResponse {
    answer(&http, async {
        auth::holder(&front, &http, Scope::Admin)?;
        let id = tenant_id(&path)?;
        let account = front
            .engine
            .read(move |reader| query::one(reader, id))
            .await?;
        json(&Item::of(id, &account.ok_or_else(no_such_tenant)?))
    })
    .await
}

/// `POST /api/v1/admin/tenants/{tenant_id}/keys`
pub async fn create_key(
    front: Data<Front>,
    http: HttpRequest,
    path: Path<String>,
    payload: Payload,
) -> HttpResponse {
    answer(&http, async {
        let holder = auth::holder(&front, &http, Scope::Admin)?;
        let tenant = tenant_id(&path)?;
        let body = body::read(&http, payload).await?;
        let command = CreateKey(key::create(&body)?);
        let committed = front
            .engine
            .execute(tenant, holder.caller(), command, body.len())
            .await?;
        created(&key::Made::from(&committed.reply))
    })
    .await
}

/// `GET /api/v1/admin/tenants/{tenant_id}/keys`
pub async fn keys(front: Data<Front>, http: HttpRequest, path: Path<String>) -> HttpResponse {
    answer(&http, async {
        let holder = auth::holder(&front, &http, Scope::Admin)?;
        let tenant = tenant_id(&path)?;
        let look = |tenant: &_, _: &_| Ok(key::items(tenant));
        json(&List::whole(
            front.engine.inspect(tenant, holder.caller(), look).await?,
        ))
    })
    .await
}

/// `DELETE /api/v1/admin/tenants/{tenant_id}/keys/{key_id}`
pub async fn revoke_key(
    front: Data<Front>,
    http: HttpRequest,
    path: Path<(String, String)>,
) -> HttpResponse {
    answer(&http, async {
        let holder = auth::holder(&front, &http, Scope::Admin)?;
        let (tenant, key) = (tenant_id(&path.0)?, key_id(&path.1)?);
        front
            .engine
            .execute(tenant, holder.caller(), RevokeKey(key), 0)
            .await?;
        Ok(HttpResponse::NoContent().finish())
    })
    .await
}

/// `POST /api/v1/admin/tenants/{tenant_id}/keys/{key_id}/rotate`
pub async fn rotate_key(
    front: Data<Front>,
    http: HttpRequest,
    path: Path<(String, String)>,
) -> HttpResponse {
    answer(&http, async {
        let holder = auth::holder(&front, &http, Scope::Admin)?;
        let (tenant, key) = (tenant_id(&path.0)?, key_id(&path.1)?);
        let rotated = front
            .engine
            .execute(tenant, holder.caller(), RotateKey(key), 0);
        json(&key::Made::from(&rotated.await?.reply))
    })
    .await
}

/// `GET /api/v1/admin/tenants/{tenant_id}/usage`
pub async fn usage(front: Data<Front>, http: HttpRequest, path: Path<String>) -> HttpResponse {
    answer(&http, async {
        let holder = auth::holder(&front, &http, Scope::Admin)?;
        let tenant = tenant_id(&path)?;
        let usage = front
            .engine
            .inspect(tenant, holder.caller(), |tenant, stamp| {
                Ok(Usage::of_keys(tenant, stamp.at))
            })
            .await?;
        json(&List::whole(usage))
    })
    .await
}

fn no_such_tenant() -> Problem {
    Problem::not_found("tenant")
}

fn tenant_id(text: &str) -> Result<TenantId, Failure> {
    TenantId::parse(text).map_err(|_| no_such_tenant().into())
}

fn key_id(text: &str) -> Result<KeyId, Failure> {
    KeyId::parse(text).map_err(|_| Problem::not_found("key").into())
}
