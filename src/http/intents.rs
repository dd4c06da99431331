//! Intents: have one evaluated, look at one, list them.

use std::collections::HashMap;

use actix_web::web::{Data, Path, Payload, Query};
use actix_web::{HttpRequest, HttpResponse};

use super::reply::{Answer, Failure, answer, json};
use super::{Front, auth, body, trace};
use crate::api::decision::{NotShown, View};
use crate::api::intents::{Detail, Item, OutcomeView, filter};
use crate::api::page::{List, Page};
use crate::api::problem::Problem;
use crate::api::{self, intent};
use crate::engine::directory::Holder;
use crate::engine::{Committed, Unavailable, clock};
use crate::id::{IntentId, Sequence, TenantId};
use crate::query::intents::{self as query, Found};
use crate::query::{Unreadable, audit};
use crate::stamp::Stamp;
use crate::tenant::Tenant;
use crate::tenant::evaluate::{Decided, Evaluate, Evaluated, dry_run};
use crate::tenant::key::Scope;
use crate::tenant::standing::Standing;

/// Query parameters, whichever there are.
pub type Parameters = Query<HashMap<String, String>>;

/// How an answer is wanted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Whole,
    Minimal,
}

/// `POST /api/v1/intents/evaluate`
pub async fn evaluate(
    front: Data<Front>,
    http: HttpRequest,
    parameters: Parameters,
    payload: Payload,
) -> HttpResponse {
    let arrived = clock::now();
    let watch = clock::stopwatch();
    let response = answer(&http, async {
        let holder = auth::holder(&front, &http, Scope::Decide)?;
        let request = body::read(&http, payload).await?;
        let key = header(&http, "idempotency-key")?;
        let parsed = intent::evaluate(&request, key)?;
        let ask = Evaluate {
            canonical: parsed.intent.canonical(),
            intent: parsed.intent,
            id: parsed.id,
            request,
            arrived,
            trace_id: trace::trace_id(&http),
            endpoint: "POST /api/v1/intents/evaluate",
        };
        let form = if prefers_minimal(&http) {
            Form::Minimal
        } else {
            Form::Whole
        };
        if wants_dry_run(&parameters)? {
            rehearse(&front, holder, ask, form).await
        } else {
            decide(&front, holder, ask, form).await
        }
    });
    let response = response.await;
    front.metrics.scored(watch.elapsed());
    response
}

async fn decide(front: &Front, holder: Holder, ask: Evaluate, form: Form) -> Answer {
    let (trace_id, bytes) = (ask.trace_id.clone(), ask.request.len());
    let committed = front
        .engine
        .execute(holder.tenant, holder.caller(), ask, bytes)
        .await?;
    let Committed {
        reply,
        receipt,
        planning,
        ..
    } = committed;
    match reply {
        Evaluated::Decided(decided) => {
            front.metrics.decided(
                decided.decision.action,
                decided.decision.confidence,
                planning,
            );
            let standing = decided.standing;
            let at = receipt
                .as_ref()
                .map_or_else(clock::now, |receipt| receipt.at);
            let view = View::fresh(*decided, receipt.as_ref(), at, trace_id);
            render(&view, standing, false, form)
        }
        Evaluated::Recalled { decided, standing } => {
            let view = stored(front, holder.tenant, decided).await?;
            render(&view, standing, true, form)
        }
    }
}

/// A dry run: the same decision on the same evidence, and nothing written.
async fn rehearse(front: &Front, holder: Holder, ask: Evaluate, form: Form) -> Answer {
    let trace_id = ask.trace_id.clone();
    let seen = front
        .engine
        .inspect(holder.tenant, holder.caller(), move |tenant, stamp| {
            Ok((dry_run(&ask, tenant, stamp)?, stamp.at))
        })
        .await;
    let (decided, at): (Decided, _) = seen?;
    let standing = decided.standing;
    render(
        &View::fresh(decided, None, at, trace_id),
        standing,
        false,
        form,
    )
}

fn render(view: &View, standing: Standing, replayed: bool, form: Form) -> Answer {
    match form {
        Form::Whole => json(&view.answer(standing, replayed)),
        Form::Minimal => {
            let mut response = json(&view.minimal(standing, replayed))?;
            let applied = actix_web::http::header::HeaderValue::from_static("return=minimal");
            let name = actix_web::http::header::HeaderName::from_static("preference-applied");
            response.headers_mut().insert(name, applied);
            Ok(response)
        }
    }
}

/// The decision that was made at `sequence`, from its entry and opening.
async fn stored(front: &Front, tenant: TenantId, sequence: Sequence) -> Result<View, Failure> {
    let read = front
        .engine
        .read(move |reader| audit::one(reader, tenant, sequence));
    let found = read.await?.ok_or(Unavailable::TenantCorrupt)?;
    let opening = found.opening.as_ref().ok_or_else(missing)?;
    View::stored(&found, opening).map_err(|why| damaged(tenant, sequence, why))
}

/// Nothing erases openings yet: one that is not there was lost, and nobody is told otherwise.
fn missing() -> Failure {
    Unavailable::TenantCorrupt.into()
}

fn damaged(tenant: TenantId, sequence: Sequence, why: NotShown) -> Failure {
    tracing::error!(%tenant, %sequence, "a stored decision cannot be shown: {why}");
    Unavailable::TenantCorrupt.into()
}

/// `GET /api/v1/intents/{deterministic_id}`
pub async fn one(front: Data<Front>, http: HttpRequest, path: Path<String>) -> HttpResponse {
    answer(&http, async {
        let holder = auth::holder(&front, &http, Scope::Read)?;
        let no_such = || Problem::not_found("intent");
        let id = IntentId::parse(&path).map_err(|_| no_such())?;
        let tenant = holder.tenant;
        let look = move |tenant: &Tenant, stamp: &Stamp| Ok(query::by_id(tenant, &id, stamp.at));
        let known = front.engine.inspect(tenant, holder.caller(), look);
        let known = known.await?.ok_or_else(no_such)?;
        let read = front.engine.read(move |reader| {
            let decision = audit::one(reader, tenant, known.sequence)?;
            let outcome = known
                .outcome
                .map(|(at, _)| query::opening(reader, tenant, at));
            Ok::<_, Unreadable>((decision, outcome.transpose()?.flatten()))
        });
        let (decision, outcome) = read.await?;
        let decision = decision.ok_or(Unavailable::TenantCorrupt)?;
        let opening = decision.opening.as_ref().ok_or_else(missing)?;
        let damaged = |why| damaged(tenant, known.sequence, why);
        let view = View::stored(&decision, opening).map_err(damaged)?;
        let outcome = OutcomeView::of(&known, outcome.as_ref());
        json(&Detail::new(&view, &known, opening, outcome).map_err(damaged)?)
    })
    .await
}

/// `GET /api/v1/intents`
pub async fn list(front: Data<Front>, http: HttpRequest, parameters: Parameters) -> HttpResponse {
    answer(&http, async {
        let holder = auth::holder(&front, &http, Scope::Read)?;
        let get = |name: &str| parameters.get(name).map(String::as_str);
        let known = [
            "environment",
            "action",
            "outcome",
            "change_set",
            "from",
            "to",
        ];
        only(&parameters, &known)?;
        let page = Page::parse(get("limit"), get("cursor"))?;
        let filter = filter(get)?;
        let tenant = holder.tenant;
        let (found, next) = front
            .engine
            .inspect(tenant, holder.caller(), move |tenant, stamp| {
                Ok(query::list(
                    tenant, &filter, page.from, page.limit, stamp.at,
                ))
            })
            .await?;
        let items = front
            .engine
            .read(move |reader| {
                let item = |found: &Found| {
                    let opening = query::opening(reader, tenant, found.sequence)?;
                    Ok(Item::new(found, opening.as_ref()))
                };
                found
                    .iter()
                    .map(item)
                    .collect::<Result<Vec<_>, Unreadable>>()
            })
            .await?;
        json(&List::new(items, next))
    })
    .await
}

/// Refuses query parameters that a list does not have: a misspelt filter must not let all pass.
pub fn only(parameters: &Parameters, known: &[&'static str]) -> Result<(), Problem> {
    let page = ["limit", "cursor"];
    let unknown = parameters
        .keys()
        .find(|name| !known.contains(&name.as_str()) && !page.contains(&name.as_str()));
    unknown.map_or(Ok(()), |name| {
        Err(api::json::unknown_parameter(name, known))
    })
}

/// A header that must be text if it is there.
pub fn header<'h>(http: &'h HttpRequest, name: &str) -> Result<Option<&'h str>, Problem> {
    let header = http.headers().get(name).map(|value| value.to_str());
    header
        .transpose()
        .map_err(|_| Problem::invalid(format!("the header `{name}` is not text")))
}

fn wants_dry_run(parameters: &Parameters) -> Result<bool, Problem> {
    only(parameters, &["dry_run"])?;
    match parameters.get("dry_run").map(String::as_str) {
        None | Some("false") => Ok(false),
        Some("true" | "") => Ok(true),
        Some(_) => Err(Problem::invalid("`dry_run` must be true or false")),
    }
}

fn prefers_minimal(http: &HttpRequest) -> bool {
    let prefer = http
        .headers()
        .get_all("prefer")
        .filter_map(|value| value.to_str().ok());
    prefer
        .flat_map(|text| text.split(','))
        .any(|one| one.trim() == "return=minimal")
}
