//! What a tenant has learned, and what its key has used.

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};

use super::reply::{answer, json};
use super::{Front, auth};
use crate::api::beta_state;
use crate::api::page::List;
use crate::api::usage::Usage;
use crate::tenant::command::Refusal;
use crate::tenant::key::Scope;

/// `GET /api/v1/beta-state`
pub async fn beta_state(front: Data<Front>, http: HttpRequest) -> HttpResponse {
    answer(&http, async {
        let holder = auth::holder(&front, &http, Scope::Read)?;
        let look = |tenant: &_, _: &_| Ok(beta_state::items(tenant));
        let items = front
            .engine
            .inspect(holder.tenant, holder.caller(), look)
            .await?;
        json(&List::whole(items))
    })
    .await
}

/// `GET /api/v1/usage`
pub async fn usage(front: Data<Front>, http: HttpRequest) -> HttpResponse {
    answer(&http, async {
        let holder = auth::holder(&front, &http, Scope::Read)?;
        let usage = front
            .engine
            .inspect(holder.tenant, holder.caller(), move |tenant, stamp| {
                let key = tenant.keys().active(holder.key, stamp.at);
                Ok(Usage::of(
                    key.ok_or(Refusal::Unauthenticated)?,
                    tenant,
                    stamp.at,
                ))
            })
            .await?;
        json(&usage)
    })
    .await
}
