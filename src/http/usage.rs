//! What keys have used of their quotas.

use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse};

use super::reply::{answer, json};
use super::{AppState, auth, parameters, tenants};
use crate::api::page::List;
use crate::api::usage::Usage;
use crate::stamp::Stamp;
use crate::tenant::Tenant;
use crate::tenant::command::Refusal;
use crate::tenant::key::Scope;

/// `GET /api/v1/usage`: the asking key's own.
pub async fn own(state: Data<AppState>, http: HttpRequest) -> HttpResponse {
    answer(&http, async {
        let principal = auth::authorize(&state, &http, Scope::Read)?;
        parameters::none(&http)?;
        let look = move |tenant: &Tenant, stamp: &Stamp| {
            let key = tenant.keys().active(principal.key, stamp.at);
            Ok(Usage::of(
                key.ok_or(Refusal::Unauthenticated)?,
                tenant,
                stamp.at,
            ))
        };
        let usage = state
            .engine
            .inspect(principal.tenant, principal.caller(), Scope::Read, look);
        json(&usage.await?)
    })
    .await
}

/// `GET /api/v1/admin/tenants/{tenant_id}/usage`: of every key.
pub async fn of_tenant(
    state: Data<AppState>,
    http: HttpRequest,
    path: Path<String>,
) -> HttpResponse {
    answer(&http, async {
        let principal = auth::authorize(&state, &http, Scope::Admin)?;
        parameters::none(&http)?;
        let tenant = tenants::id(&path)?;
        let look = |tenant: &Tenant, stamp: &Stamp| Ok(Usage::of_keys(tenant, stamp.at));
        let usage = state
            .engine
            .inspect(tenant, principal.caller(), Scope::Admin, look);
        json(&List::whole(usage.await?))
    })
    .await
}
