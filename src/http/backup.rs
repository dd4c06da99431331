//! Backups, for operators.

use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};

use super::reply::{answer, created};
use super::{AppState, auth, body, parameters};
use crate::api::backup::{Item, wanted};
use crate::api::problem::Problem;
use crate::tenant::key::Scope;

/// `POST /api/v1/admin/backup`
pub async fn make(state: Data<AppState>, http: HttpRequest, payload: Payload) -> HttpResponse {
    answer(&http, async {
        auth::authorize(&state, &http, Scope::Admin)?;
        parameters::none(&http)?;
        let body = body::read(&http, payload).await?;
        let wanted = wanted(&body)?;
        let parent = wanted.parent.as_ref().map(|parent| parent.as_str());
        let made = state.backups.make(wanted.name, parent, wanted.with_keys);
        created(&Item::from(made.await.map_err(Problem::from)?))
    })
    .await
}
