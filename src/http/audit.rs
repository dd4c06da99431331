//! The audit log, to read.

use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse};

use super::reply::{answer, json};
use super::{AppState, auth, parameters};
use crate::api::audit::{Detail, Item, filter};
use crate::api::page::{List, Page};
use crate::api::problem::Problem;
use crate::id::DecisionId;
use crate::query::{QueryError, audit as query, intents};
use crate::stamp::Stamp;
use crate::tenant::Tenant;
use crate::tenant::key::Scope;

/// `GET /api/v1/audit`
pub async fn list(state: Data<AppState>, http: HttpRequest) -> HttpResponse {
    const KNOWN: &[&str] = &[
        "from",
        "to",
        "type",
        "action",
        "requester",
        "deterministic_id",
        "limit",
        "cursor",
    ];
    answer(&http, async {
        let principal = auth::authorize(&state, &http, Scope::AuditRead)?;
        let parameters = parameters::read(&http, KNOWN)?;
        let Page { from, limit } = parameters.page()?;
        let filter = filter(&parameters)?;
        let (tenant, id) = (principal.tenant, filter.deterministic_id.clone());
        // Waits, besides, until all that was answered before is there to be read.
        let look = move |tenant: &Tenant, stamp: &Stamp| {
            Ok(id.and_then(|id| intents::by_id(tenant, &id, stamp.at)))
        };
        let about = state
            .engine
            .inspect(tenant, principal.caller(), Scope::AuditRead, look);
        let about = about.await?.map(|known| known.decision_id);
        let read = state.engine.read(move |reader| {
            let (found, next) = query::list(reader, tenant, &filter, about, from, limit)?;
            Ok::<_, QueryError>((found.iter().map(Item::new).collect(), next))
        });
        let (items, next) = read.await?;
        json(&List::new(items, next))
    })
    .await
}

/// `GET /api/v1/audit/{decision_id}`
pub async fn one(state: Data<AppState>, http: HttpRequest, path: Path<String>) -> HttpResponse {
    answer(&http, async {
        let principal = auth::authorize(&state, &http, Scope::AuditRead)?;
        parameters::none(&http)?;
        let no_such = || Problem::not_found("audit entry");
        let id = DecisionId::parse(&path).map_err(|_| no_such())?;
        let tenant = principal.tenant;
        let look = move |tenant: &Tenant, _: &Stamp| Ok(tenant.sequence_of(id));
        let sequence = state
            .engine
            .inspect(tenant, principal.caller(), Scope::AuditRead, look);
        let sequence = sequence.await?.ok_or_else(no_such)?;
        let found = state
            .engine
            .read(move |reader| query::one(reader, tenant, sequence));
        json(&Detail::new(&found.await?.ok_or_else(no_such)?))
    })
    .await
}
