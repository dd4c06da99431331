//! Backups, for operators.

use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};

use super::reply::{created, respond};
use super::state::AppState;
use super::{auth, body, parameters};
use crate::api::backup::{self, BackupView};
use crate::api::problem::Problem;
use crate::tenant::key::Scope;

/// `POST /api/v1/admin/backup`
pub async fn create(state: Data<AppState>, http: HttpRequest, payload: Payload) -> HttpResponse {
    respond(&http, async {
        auth::authorize(&state, &http, Scope::Admin)?;
        parameters::none(&http)?;
        let body = body::read(&http, payload).await?;
        let request = backup::parse(&body)?;
        let parent = request.parent.as_ref().map(|parent| parent.as_str());
        let backup = state
            .backups
            .create(request.name, parent, request.with_keys);
        created(&BackupView::from(backup.await.map_err(Problem::from)?))
    })
    .await
}
