//! The audit log.

use actix_web::HttpRequest;
use actix_web::web::{Data, Path};

use super::reply::{Reply, json};
use super::state::AppState;
use super::{authentication, parameters};
use crate::api::audit::{EntryDetail, EntrySummary};
use crate::api::page::{List, Page};
use crate::api::problem::Problem;
use crate::id::DecisionId;
use crate::query::audit::{self, Filter};
use crate::query::{QueryError, intents};
use crate::stamp::Stamp;
use crate::tenant::Tenant;
use crate::tenant::key::Scope;

/// `GET /api/v1/audit`
pub async fn list(state: Data<AppState>, http: HttpRequest) -> Reply {
    let principal = authentication::authenticate(&state, &http, Scope::AuditRead)?;
    let (Page { from, limit }, filter) = parameters::read(&http, |parameters| {
        Ok((parameters.page()?, Filter::read(parameters)?))
    })?;
    let (tenant, id) = (principal.tenant, filter.deterministic_id.clone());
    // An inspection also waits until everything that was acknowledged before can be read.
    let decision_id = move |tenant: &Tenant, stamp: &Stamp| {
        let intent = id.and_then(|id| intents::get(tenant, &id, stamp.at));
        Ok(intent.map(|intent| intent.decision_id))
    };
    let about = state
        .engine
        .inspect(tenant, principal.caller(), Scope::AuditRead, decision_id)
        .await?;
    let page = state.engine.read(move |reader| {
        let (entries, next) = audit::list(reader, tenant, &filter, about, from, limit)?;
        let items = entries.iter().map(EntrySummary::from).collect();
        Ok::<_, QueryError>(List::new(items, next))
    });
    json(&page.await?)
}

/// `GET /api/v1/audit/{decision_id}`
pub async fn get(state: Data<AppState>, http: HttpRequest, path: Path<String>) -> Reply {
    let principal = authentication::authenticate(&state, &http, Scope::AuditRead)?;
    parameters::none(&http)?;
    let not_found = || Problem::not_found("audit entry");
    let id = DecisionId::parse(&path).map_err(|_| not_found())?;
    let tenant = principal.tenant;
    let sequence = move |tenant: &Tenant, _: &Stamp| Ok(tenant.sequence_of(id));
    let sequence = state
        .engine
        .inspect(tenant, principal.caller(), Scope::AuditRead, sequence);
    let sequence = sequence.await?.ok_or_else(not_found)?;
    let entry = state
        .engine
        .read(move |reader| audit::get(reader, tenant, sequence));
    let entry = entry.await?.ok_or_else(not_found)?;
    json(&EntryDetail::from(&entry))
}
