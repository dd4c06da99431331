//! A plan's way to the server: ids that find answers given before, and what the answers say.

use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::super::exit::{CliError, Exit};
use super::report::{Item, Outcomes, Readiness, Report};
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

/// How often ids are chosen anew because an answer said that one is taken.
const ROUNDS_MAX: usize = 4;

/// A plan's way to the server.
pub(super) struct Gate {
    /// The server.
    pub(super) client: Client,
    /// Makes ids that nobody without the API key can retrace.
    pub(super) key: GateKey,
    /// Answers older than this are asked for anew.
    pub(super) max_age: Duration,
}

/// What a gate needs of an answer. Anything missing fails the gate: it never passes by accident.
#[derive(Deserialize)]
struct Answered {
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

/// What a gate needs of an intent that was asked about before.
#[derive(Deserialize)]
struct Before {
    created_at: Timestamp,
    standing: Standing,
}

#[derive(Deserialize)]
struct BetaState {
    items: Vec<Learned>,
}

#[derive(Deserialize)]
struct Learned {
    category: Category,
    trials: u64,
    outcomes_needed: u64,
}

impl Gate {
    /// Has the server decide about every change, all in the set that `change_set` makes of an id.
    pub(super) fn run(
        &self,
        changes: &[Change<'_>],
        change_set: impl Fn(BoundedString<1, 64>) -> Result<ChangeSet, CliError>,
    ) -> Result<Report, CliError> {
        let mut taken = vec![Vec::new(); changes.len()];
        for _ in 0..ROUNDS_MAX {
            let ids = self.choose_ids(changes, &taken)?;
            let set = change_set(self.key.change_set_id(&ids))?;
            match self.ask_all(changes, &ids, &set)? {
                Asked::All(answers) => return self.report(changes, set, answers),
                Asked::Taken { change, id } => {
                    if let Some(taken) = taken.get_mut(change) {
                        taken.push(id);
                    }
                }
            }
        }
        Err(failed("the ids of this plan are taken by other intents"))
    }

    /// For each change the first id that is free, or whose answer still stands: an unchanged plan finds
    /// its answers, one that was applied or has lapsed is asked about anew.
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
                let id = id.ok_or_else(|| failed("a change was asked about too often"))?;
                // Two equal changes of one plan are two intents.
                let free = !taken.contains(&id) && !chosen.contains(&id);
                if free && self.usable(&id)? {
                    break id;
                }
            };
            chosen.push(id);
        }
        Ok(chosen)
    }

    fn usable(&self, id: &IntentId) -> Result<bool, CliError> {
        let answer = self.get(&format!("/api/v1/intents/{id}"))?;
        match answer.status {
            404 => Ok(true),
            409 | 410 => Ok(false),
            _ => {
                let before: Before = read(answer)?;
                let fresh = clock::now().since(before.created_at) <= self.max_age;
                Ok(fresh
                    && match before.standing.state {
                        State::Pending | State::Approved | State::Denied => true,
                        State::Closed | State::Expired => false,
                    })
            }
        }
    }

    fn ask_all(
        &self,
        changes: &[Change<'_>],
        ids: &[IntentId],
        set: &ChangeSet,
    ) -> Result<Asked, CliError> {
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
            let answer = self.client.post(path, &body).map_err(no_answer)?;
            if matches!(answer.status, 409 | 410) {
                let (change, id) = (nth, id.clone());
                return Ok(Asked::Taken { change, id });
            }
            answers.push(read(answer)?);
        }
        Ok(Asked::All(answers))
    }

    fn report(
        &self,
        changes: &[Change<'_>],
        set: ChangeSet,
        answers: Vec<Answered>,
    ) -> Result<Report, CliError> {
        let learned: BetaState = read(self.get("/api/v1/beta-state")?)?;
        let outcomes = |category| {
            let of = learned.items.iter().find(|of| of.category == category);
            Outcomes {
                trials: of.map_or(0, |of| of.trials),
                needed: of.map_or(u64::MAX, |of| of.outcomes_needed),
            }
        };
        let enforcement = answers.first().map(|answer| answer.enforcement);
        let items: Vec<_> = changes
            .iter()
            .zip(answers)
            .map(|(change, answer)| item(change, answer))
            .collect();
        Ok(Report {
            change_set: Some(set),
            enforcement: enforcement.unwrap_or(Enforcement::Full),
            readiness: Readiness::of(&items, outcomes),
            items,
        })
    }

    fn get(&self, path: &str) -> Result<Response, CliError> {
        self.client.get(path).map_err(no_answer)
    }
}

/// What asking about every change came to.
enum Asked {
    /// All were answered.
    All(Vec<Answered>),
    /// An id belongs to another intent.
    Taken {
        /// Of which change.
        change: usize,
        /// Which id.
        id: IntentId,
    },
}

fn item(change: &Change<'_>, answer: Answered) -> Item {
    Item {
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

fn read<T: DeserializeOwned>(response: Response) -> Result<T, CliError> {
    let body: Value = response
        .success()
        .map_err(|bad| failed(&format!("{}: nothing was decided", bad.problem())))?;
    serde_json::from_value(body)
        .map_err(|why| failed(&format!("the server's answer cannot be read: {why}")))
}

fn no_answer(why: ClientError) -> CliError {
    failed(&format!("{why}: nothing was decided"))
}

fn failed(why: &str) -> CliError {
    CliError::new(Exit::Failed, why)
}
