//! What a tenant has learned.

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};

use super::reply::{answer, json};
use super::{AppState, auth, parameters};
use crate::api::beta_state;
use crate::api::page::List;
use crate::tenant::key::Scope;

/// `GET /api/v1/beta-state`
pub async fn all(state: Data<AppState>, http: HttpRequest) -> HttpResponse {
    answer(&http, async {
        let principal = auth::authorize(&state, &http, Scope::Read)?;
        parameters::none(&http)?;
        let look = |tenant: &_, _: &_| Ok(beta_state::items(tenant));
        let items = state
            .engine
            .inspect(principal.tenant, principal.caller(), Scope::Read, look);
        json(&List::whole(items.await?))
    })
    .await
}
