//! A gate that asks the server, under ids that find earlier answers.

use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::super::exit::CliError;
use super::report::{ChangeReport, Outcomes, Readiness, Report};
use crate::bounded::BoundedString;
use crate::client::{Client, ClientError, Response};
use crate::decide::decision::Reason;
use crate::decide::intent::{ChangeSet, Intent};
use crate::decide::settings::Enforcement;
use crate::decide::{Action, Category};
use crate::engine::clock;
use crate::id::{DecisionId, IntentId};
use crate::tenant::standing::State;
use crate::terraform::{Change, GateKey};
use crate::time::Timestamp;

/// How often ids are chosen again because one turns out to be taken.
const ROUNDS_MAX: usize = 4;

pub(super) struct Gate {
    pub(super) client: Client,
    pub(super) key: GateKey,
    /// Older answers are not reused.
    pub(super) max_age: Duration,
}

/// The members that a gate needs. A missing one fails the gate: it never passes by accident.
#[derive(Deserialize)]
struct EvaluateResponse {
    action: Action,
    justification: String,
    standing: Standing,
    reasons: Vec<Reason>,
    deterministic_id: IntentId,
    decision_id: DecisionId,
    risk_score: f64,
    category: Category,
    enforcement: Enforcement,
    replayed: bool,
}

#[derive(Deserialize)]
struct Standing {
    state: State,
    review_id: Option<DecisionId>,
}

#[derive(Deserialize)]
struct IntentResponse {
    created_at: Timestamp,
    standing: Standing,
}

#[derive(Deserialize)]
struct BetaStateResponse {
    items: Vec<CategoryState>,
}

#[derive(Deserialize)]
struct CategoryState {
    category: Category,
    trials: u64,
    outcomes_needed: u64,
}

impl Gate {
    /// Evaluates every change, all in one change set, which `change_set` creates from an id.
    pub(super) fn run(
        &self,
        changes: &[Change<'_>],
        change_set: impl Fn(BoundedString<1, 64>) -> Result<ChangeSet, CliError>,
    ) -> Result<Report, CliError> {
        let mut taken = vec![Vec::new(); changes.len()];
        for _ in 0..ROUNDS_MAX {
            let ids = self.choose_ids(changes, &taken)?;
            let set = change_set(self.key.change_set_id(&ids))?;
            match self.evaluate_all(changes, &ids, &set)? {
                Round::Complete(answers) => return self.report(changes, set, answers),
                Round::IdTaken { change, id } => {
                    if let Some(taken) = taken.get_mut(change) {
                        taken.push(id);
                    }
                }
            }
        }
        Err(CliError::failed(
            "the ids of this plan are taken by other intents",
        ))
    }

    /// For each change the first id that is free, or whose answer is still valid: an unchanged plan finds
    /// its answers; a change that was applied, or whose answer expired, is evaluated again.
    fn choose_ids(
        &self,
        changes: &[Change<'_>],
        taken: &[Vec<IntentId>],
    ) -> Result<Vec<IntentId>, CliError> {
        let mut chosen: Vec<IntentId> = Vec::with_capacity(changes.len());
        for (change, taken) in changes.iter().zip(taken) {
            let mut ids = self.key.intent_ids(change);
            let id = loop {
                let id = ids.next();
                let id = id.ok_or_else(|| CliError::failed("a change was evaluated too often"))?;
                // Two equal changes of a plan are two intents.
                let free = !taken.contains(&id) && !chosen.contains(&id);
                if free && self.is_usable(&id)? {
                    break id;
                }
            };
            chosen.push(id);
        }
        Ok(chosen)
    }

    fn is_usable(&self, id: &IntentId) -> Result<bool, CliError> {
        let answer = self.get(&format!("/api/v1/intents/{id}"))?;
        match answer.status {
            404 => Ok(true),
            409 | 410 => Ok(false),
            _ => {
                let intent: IntentResponse = parse(answer)?;
                let fresh = clock::now().since(intent.created_at) <= self.max_age;
                Ok(fresh
                    && match intent.standing.state {
                        State::Pending | State::Approved | State::Denied => true,
                        State::Closed | State::Expired => false,
                    })
            }
        }
    }

    fn evaluate_all(
        &self,
        changes: &[Change<'_>],
        ids: &[IntentId],
        set: &ChangeSet,
    ) -> Result<Round, CliError> {
        let mut answers = Vec::with_capacity(changes.len());
        for (nth, (change, id)) in changes.iter().zip(ids).enumerate() {
            let change_set = Some(set.clone());
            let intent = Intent {
                change_set,
                ..change.intent.clone()
            };
            let mut body = serde_json::to_value(&intent).expect("an intent is JSON");
            body["deterministic_id"] = json!(id);
            let path = "/api/v1/intents/evaluate";
            let answer = self.client.post(path, &body).map_err(client_error)?;
            if matches!(answer.status, 409 | 410) {
                let (change, id) = (nth, id.clone());
                return Ok(Round::IdTaken { change, id });
            }
            answers.push(parse(answer)?);
        }
        Ok(Round::Complete(answers))
    }

    fn report(
        &self,
        changes: &[Change<'_>],
        set: ChangeSet,
        answers: Vec<EvaluateResponse>,
    ) -> Result<Report, CliError> {
        let state: BetaStateResponse = parse(self.get("/api/v1/beta-state")?)?;
        let outcomes = |category| {
            let item = state.items.iter().find(|item| item.category == category);
            Outcomes {
                trials: item.map_or(0, |item| item.trials),
                needed: item.map_or(u64::MAX, |item| item.outcomes_needed),
            }
        };
        let enforcement = answers.first().map(|answer| answer.enforcement);
        let items: Vec<_> = changes
            .iter()
            .zip(answers)
            .map(|(change, answer)| change_report(change, answer))
            .collect();
        Ok(Report {
            change_set: Some(set),
            enforcement: enforcement.unwrap_or(Enforcement::Full),
            readiness: Readiness::of(&items, outcomes),
            items,
        })
    }

    fn get(&self, path: &str) -> Result<Response, CliError> {
        self.client.get(path).map_err(client_error)
    }
}

enum Round {
    Complete(Vec<EvaluateResponse>),
    /// The id of this change belongs to another intent.
    IdTaken {
        change: usize,
        id: IntentId,
    },
}

fn change_report(change: &Change<'_>, answer: EvaluateResponse) -> ChangeReport {
    ChangeReport {
        address: change.address.to_owned(),
        operation: change.operation,
        environment: change.intent.environment,
        category: answer.category,
        action: answer.action,
        standing: Some(answer.standing.state),
        justification: answer.justification,
        reasons: answer.reasons,
        risk_score: answer.risk_score,
        deterministic_id: Some(answer.deterministic_id),
        decision_id: Some(answer.decision_id),
        review: answer.standing.review_id,
        replayed: answer.replayed,
    }
}

fn parse<T: DeserializeOwned>(response: Response) -> Result<T, CliError> {
    let body: Value = response
        .success()
        .map_err(|bad| CliError::failed(format!("{}: nothing was decided", bad.problem())))?;
    serde_json::from_value(body)
        .map_err(|why| CliError::failed(format!("unexpected response from the server: {why}")))
}

fn client_error(why: ClientError) -> CliError {
    CliError::failed(format!("{why}: nothing was decided"))
}
