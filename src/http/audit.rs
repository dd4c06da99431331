//! The audit log, to read.

use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse};

use super::intents::{Parameters, only};
use super::reply::{answer, json};
use super::{Front, auth};
use crate::api::audit::{Detail, Item, filter};
use crate::api::page::{List, Page};
use crate::api::problem::Problem;
use crate::id::DecisionId;
use crate::query::{Unreadable, audit as query, intents};
use crate::tenant::key::Scope;

/// `GET /api/v1/audit`
pub async fn list(front: Data<Front>, http: HttpRequest, parameters: Parameters) -> HttpResponse {
    answer(&http, async {
        let holder = auth::holder(&front, &http, Scope::AuditRead)?;
        let get = |name: &str| parameters.get(name).map(String::as_str);
        only(
            &parameters,
            &[
                "from",
                "to",
                "type",
                "action",
                "requester",
                "deterministic_id",
            ],
        )?;
        let page = Page::parse(get("limit"), get("cursor"))?;
        let filter = filter(get)?;
        let (tenant, id) = (holder.tenant, filter.deterministic_id.clone());
        // Waits, besides, until all that was answered before is there to be read.
        let about = front
            .engine
            .inspect(tenant, holder.caller(), move |tenant, stamp| {
                Ok(id.and_then(|id| intents::by_id(tenant, &id, stamp.at)))
            })
            .await?
            .map(|found| found.decision_id);
        let (items, next) = front
            .engine
            .read(move |reader| {
                let listed = query::list(reader, tenant, &filter, about, page.from, page.limit);
                let (found, next) = listed?;
                Ok::<_, Unreadable>((found.iter().map(Item::new).collect(), next))
            })
            .await?;
        json(&List::new(items, next))
    })
    .await
}

/// `GET /api/v1/audit/{decision_id}`
pub async fn one(front: Data<Front>, http: HttpRequest, path: Path<String>) -> HttpResponse {
    answer(&http, async {
        let holder = auth::holder(&front, &http, Scope::AuditRead)?;
        let no_such = || Problem::not_found("audit entry");
        let id = DecisionId::parse(&path).map_err(|_| no_such())?;
        let tenant = holder.tenant;
        let sequence = front
            .engine
            .inspect(tenant, holder.caller(), move |tenant, _| {
                Ok(tenant
                    .account()
                    .and_then(|account| id.sequence_in(&account.row.log)))
            })
            .await?
            .ok_or_else(no_such)?;
        let found = front
            .engine
            .read(move |reader| query::one(reader, tenant, sequence))
            .await?;
        json(&Detail::new(&found.ok_or_else(no_such)?))
    })
    .await
}
