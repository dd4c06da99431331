//! Intents: have one evaluated, look at one, list them.

use actix_web::http::header::{HeaderName, HeaderValue};
use actix_web::web::{Data, Path, Payload};
use actix_web::{HttpRequest, HttpResponse};

use super::reply::{Answer, Failure, answer, json};
use super::{AppState, auth, body, header, parameters, trace};
use crate::api::decision::{NotShown, View};
use crate::api::intent::{self, ParsedIntent};
use crate::api::intents::{Detail, Item, OutcomeView, filter};
use crate::api::page::{List, Page};
use crate::api::problem::Problem;
use crate::engine::directory::Principal;
use crate::engine::{Unavailable, clock};
use crate::id::{IntentId, Sequence, TenantId};
use crate::query::intents::{self as query, Known};
use crate::query::{QueryError, audit};
use crate::stamp::Stamp;
use crate::tenant::Tenant;
use crate::tenant::evaluate::{self, Evaluate, Evaluation, RequestMeta};
use crate::tenant::key::Scope;
use crate::tenant::standing::Standing;

/// How an answer is wanted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Whole,
    Minimal,
}

/// `POST /api/v1/intents/evaluate`
pub async fn evaluate(state: Data<AppState>, http: HttpRequest, payload: Payload) -> HttpResponse {
    let watch = clock::stopwatch();
    let meta = RequestMeta {
        at: clock::now(),
        trace_id: trace::trace_id(&http),
        endpoint: "POST /api/v1/intents/evaluate",
    };
    let handler = async {
        let principal = auth::authorize(&state, &http, Scope::Decide)?;
        let parameters = parameters::read(&http, &["dry_run"])?;
        let request = body::read(&http, payload).await?;
        let key = header::text(&http, "idempotency-key")?;
        let ParsedIntent { intent, id } = intent::evaluate(&request, key)?;
        let ask = Evaluate::new(intent, id, request, meta);
        let form = match header::prefers_minimal(&http) {
            true => Form::Minimal,
            false => Form::Whole,
        };
        if parameters.flag("dry_run")? {
            dry_run(&state, principal, ask, form).await
        } else {
            decide(&state, principal, ask, form).await
        }
    };
    let response = answer(&http, handler).await;
    if response.status().is_success() {
        state.metrics.scored(watch.elapsed());
    }
    response
}

async fn decide(state: &AppState, principal: Principal, ask: Evaluate, form: Form) -> Answer {
    let (trace_id, bytes) = (ask.trace_id(), ask.bytes());
    let committed = state
        .engine
        .execute(principal.tenant, principal.caller(), ask, bytes)
        .await?;
    match committed.reply {
        Evaluation::Decided(decided) => {
            state.metrics.decided(&decided.decision, committed.planning);
            let standing = decided.standing;
            let view = View::fresh(*decided, committed.receipt.as_ref(), trace_id);
            render(&view, standing, false, form)
        }
        Evaluation::Replayed { decided, standing } => {
            let view = stored(state, principal.tenant, decided).await?;
            render(&view, standing, true, form)
        }
    }
}

/// The same decision on the same evidence, and nothing written.
async fn dry_run(state: &AppState, principal: Principal, ask: Evaluate, form: Form) -> Answer {
    let trace_id = ask.trace_id();
    let look = move |tenant: &Tenant, stamp: &Stamp| evaluate::dry_run(ask, tenant, stamp);
    let decided = state
        .engine
        .inspect(principal.tenant, principal.caller(), Scope::Decide, look);
    let decided = decided.await?;
    let standing = decided.standing;
    render(&View::fresh(decided, None, trace_id), standing, false, form)
}

fn render(view: &View, standing: Standing, replayed: bool, form: Form) -> Answer {
    match form {
        Form::Whole => json(&view.answer(standing, replayed)),
        Form::Minimal => {
            let mut response = json(&view.minimal(standing, replayed))?;
            let name = HeaderName::from_static("preference-applied");
            let applied = HeaderValue::from_static("return=minimal");
            response.headers_mut().insert(name, applied);
            Ok(response)
        }
    }
}

/// The decision that was made at `sequence`, from its entry and opening.
async fn stored(state: &AppState, tenant: TenantId, sequence: Sequence) -> Result<View, Failure> {
    let read = state
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
pub async fn one(state: Data<AppState>, http: HttpRequest, path: Path<String>) -> HttpResponse {
    answer(&http, async {
        let principal = auth::authorize(&state, &http, Scope::Read)?;
        parameters::none(&http)?;
        let no_such = || Problem::not_found("intent");
        let id = IntentId::parse(&path).map_err(|_| no_such())?;
        let tenant = principal.tenant;
        let look = move |tenant: &Tenant, stamp: &Stamp| Ok(query::by_id(tenant, &id, stamp.at));
        let known = state
            .engine
            .inspect(tenant, principal.caller(), Scope::Read, look);
        let known = known.await?.ok_or_else(no_such)?;
        let read = state.engine.read(move |reader| {
            let decision = audit::one(reader, tenant, known.sequence)?;
            let outcome = known
                .outcome
                .map(|(at, _)| query::opening(reader, tenant, at));
            Ok::<_, QueryError>((decision, outcome.transpose()?.flatten()))
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
pub async fn list(state: Data<AppState>, http: HttpRequest) -> HttpResponse {
    const KNOWN: &[&str] = &[
        "environment",
        "action",
        "outcome",
        "change_set",
        "from",
        "to",
        "limit",
        "cursor",
    ];
    answer(&http, async {
        let principal = auth::authorize(&state, &http, Scope::Read)?;
        let parameters = parameters::read(&http, KNOWN)?;
        let Page { from, limit } = parameters.page()?;
        let (tenant, filter) = (principal.tenant, filter(&parameters)?);
        let look = move |tenant: &Tenant, stamp: &Stamp| {
            Ok(query::list(tenant, &filter, from, limit, stamp.at))
        };
        let known = state
            .engine
            .inspect(tenant, principal.caller(), Scope::Read, look);
        let (known, next) = known.await?;
        let read = state.engine.read(move |reader| {
            let item = |known: &Known| {
                let opening = query::opening(reader, tenant, known.sequence)?;
                Ok(Item::new(known, opening.as_ref()))
            };
            known
                .iter()
                .map(item)
                .collect::<Result<Vec<_>, QueryError>>()
        });
        json(&List::new(read.await?, next))
    })
    .await
}
