//! Intents: evaluate, get, list.

use actix_web::HttpRequest;
use actix_web::http::header::{HeaderName, HeaderValue};
use actix_web::web::{Data, Path, Payload};

use super::reply::{Failure, Reply, json};
use super::state::AppState;
use super::{authentication, body, header, parameters, trace};
use crate::api::decision::View;
use crate::api::intent::{self, ParsedIntent};
use crate::api::intents::{IntentDetail, IntentSummary, OutcomeView};
use crate::api::page::{List, Page};
use crate::api::problem::Problem;
use crate::engine::directory::Principal;
use crate::engine::{Unavailable, clock};
use crate::id::{IntentId, Sequence, TenantId};
use crate::query::intents::{self as query, Filter, IntentState};
use crate::query::{QueryError, audit};
use crate::stamp::Stamp;
use crate::tenant::Tenant;
use crate::tenant::evaluate::{self, Evaluate, Evaluation, RequestMeta};
use crate::tenant::facts::PartError;
use crate::tenant::key::Scope;
use crate::tenant::standing::Standing;

/// `Prefer: return=…`
#[derive(Clone, Copy, PartialEq, Eq)]
enum Representation {
    Full,
    Minimal,
}

/// `POST /api/v1/intents/evaluate`
pub async fn evaluate(state: Data<AppState>, http: HttpRequest, payload: Payload) -> Reply {
    let watch = clock::stopwatch();
    let meta = RequestMeta {
        at: clock::now(),
        trace_id: trace::trace_id(&http),
        endpoint: "POST /api/v1/intents/evaluate",
    };
    let principal = authentication::authenticate(&state, &http, Scope::Decide)?;
    let is_dry_run = parameters::read(&http, |parameters| parameters.flag("dry_run"))?;
    let request = body::read(&http, payload).await?;
    let key = header::text(&http, "idempotency-key")?;
    let ParsedIntent { intent, id } = intent::parse(&request, key)?;
    let ask = Evaluate::new(intent, id, request, meta);
    let representation = match header::prefers_minimal(&http) {
        true => Representation::Minimal,
        false => Representation::Full,
    };
    let response = if is_dry_run {
        dry_run(&state, principal, ask, representation).await?
    } else {
        decide(&state, principal, ask, representation).await?
    };
    state.metrics.record_response(watch.elapsed());
    Ok(response)
}

async fn decide(
    state: &AppState,
    principal: Principal,
    ask: Evaluate,
    representation: Representation,
) -> Reply {
    let (trace_id, bytes) = (ask.trace_id(), ask.bytes());
    let committed = state
        .engine
        .execute(principal.tenant, principal.caller(), ask, bytes)
        .await?;
    match committed.reply {
        Evaluation::Decided(decided) => {
            state
                .metrics
                .record_decision(&decided.decision, committed.planning);
            let standing = decided.standing;
            let view = View::fresh(*decided, committed.receipt.as_ref(), trace_id);
            render(&view, standing, false, representation)
        }
        Evaluation::Replayed { decided, standing } => {
            let view = stored(state, principal.tenant, decided).await?;
            render(&view, standing, true, representation)
        }
    }
}

/// The decision that a request would get; nothing is written.
async fn dry_run(
    state: &AppState,
    principal: Principal,
    ask: Evaluate,
    representation: Representation,
) -> Reply {
    let trace_id = ask.trace_id();
    let decision = move |tenant: &Tenant, stamp: &Stamp| evaluate::dry_run(ask, tenant, stamp);
    let decided = state.engine.inspect(
        principal.tenant,
        principal.caller(),
        Scope::Decide,
        decision,
    );
    let decided = decided.await?;
    let standing = decided.standing;
    render(
        &View::fresh(decided, None, trace_id),
        standing,
        false,
        representation,
    )
}

fn render(
    view: &View,
    standing: Standing,
    replayed: bool,
    representation: Representation,
) -> Reply {
    match representation {
        Representation::Full => json(&view.answer(standing, replayed)),
        Representation::Minimal => {
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
        .read(move |reader| audit::get(reader, tenant, sequence));
    let entry = read.await?.ok_or(Unavailable::TenantCorrupt)?;
    let opening = entry.opening.as_ref().ok_or_else(lost)?;
    View::stored(&entry, opening).map_err(|error| damaged(tenant, sequence, error))
}

/// Openings cannot be erased yet, so a missing one is damage.
fn lost() -> Failure {
    Unavailable::TenantCorrupt.into()
}

fn damaged(tenant: TenantId, sequence: Sequence, error: PartError) -> Failure {
    tracing::error!(%tenant, %sequence, "stored decision is damaged: {error}");
    Unavailable::TenantCorrupt.into()
}

/// `GET /api/v1/intents/{deterministic_id}`
pub async fn get(state: Data<AppState>, http: HttpRequest, path: Path<String>) -> Reply {
    let principal = authentication::authenticate(&state, &http, Scope::Read)?;
    parameters::none(&http)?;
    let not_found = || Problem::not_found("intent");
    let id = IntentId::parse(&path).map_err(|_| not_found())?;
    let tenant = principal.tenant;
    let intent = move |tenant: &Tenant, stamp: &Stamp| Ok(query::get(tenant, &id, stamp.at));
    let intent = state
        .engine
        .inspect(tenant, principal.caller(), Scope::Read, intent);
    let intent = intent.await?.ok_or_else(not_found)?;
    let read = state.engine.read(move |reader| {
        let decision = audit::get(reader, tenant, intent.sequence)?;
        let outcome = intent
            .outcome
            .map(|(at, _)| query::opening(reader, tenant, at));
        Ok::<_, QueryError>((decision, outcome.transpose()?.flatten()))
    });
    let (decision, outcome) = read.await?;
    let decision = decision.ok_or(Unavailable::TenantCorrupt)?;
    let opening = decision.opening.as_ref().ok_or_else(lost)?;
    let damaged = |error| damaged(tenant, intent.sequence, error);
    let view = View::stored(&decision, opening).map_err(damaged)?;
    let outcome = OutcomeView::new(&intent, outcome.as_ref());
    json(&IntentDetail::new(&view, &intent, opening, outcome).map_err(damaged)?)
}

/// `GET /api/v1/intents`
pub async fn list(state: Data<AppState>, http: HttpRequest) -> Reply {
    let principal = authentication::authenticate(&state, &http, Scope::Read)?;
    let (Page { from, limit }, filter) = parameters::read(&http, |parameters| {
        Ok((parameters.page()?, Filter::read(parameters)?))
    })?;
    let tenant = principal.tenant;
    let page = move |tenant: &Tenant, stamp: &Stamp| {
        Ok(query::list(tenant, &filter, from, limit, stamp.at))
    };
    let page = state
        .engine
        .inspect(tenant, principal.caller(), Scope::Read, page);
    let (intents, next) = page.await?;
    let items = state.engine.read(move |reader| {
        let item = |intent: &IntentState| {
            let opening = query::opening(reader, tenant, intent.sequence)?;
            Ok(IntentSummary::new(intent, opening.as_ref()))
        };
        let items = intents.iter().map(item);
        items.collect::<Result<Vec<_>, QueryError>>()
    });
    json(&List::new(items.await?, next))
}
