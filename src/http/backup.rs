//! Backups, for operators.

use actix_web::HttpRequest;
use actix_web::web::{Data, Payload};

use super::reply::{Reply, created};
use super::state::AppState;
use super::{authentication, body, parameters};
use crate::api::backup::{self, BackupView};
use crate::api::problem::Problem;
use crate::tenant::key::Scope;

/// `POST /api/v1/admin/backup`
pub async fn create(state: Data<AppState>, http: HttpRequest, payload: Payload) -> Reply {
    authentication::authenticate(&state, &http, Scope::Admin)?;
    parameters::none(&http)?;
    let body = body::read(&http, payload).await?;
    let request = backup::parse(&body)?;
    let parent = request.parent.as_ref().map(|parent| parent.as_str());
    let backup = state
        .backups
        .create(request.name, parent, request.with_keys);
    created(&BackupView::from(backup.await.map_err(Problem::from)?))
}
