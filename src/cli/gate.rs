//! `arf gate`: every change of a Terraform plan, asked about as one change set.
//!
//! Of what the plan says about resources nothing leaves the machine but what
//! [`crate::terraform`] lets out: addresses, types, operations, names of attributes, and an allow-list.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use super::remote::Remote;
use super::report::{Item, Readiness, Report};
use super::{Ended, Ending, Exit};
use crate::client::{Answer, Client, NoAnswer};
use crate::decide::intent::{ChangeSet, Environment, Intent, Text};
use crate::decide::settings::Enforcement;
use crate::decide::{self, Action, Category, Counts, Evidence, Rules, SetSoFar};
use crate::engine::clock;
use crate::id::IntentId;
use crate::tenant::standing::State;
use crate::terraform::{Change, GateKey, Plan};
use crate::time::Timestamp;

/// Ask about every change of a Terraform plan
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What `terraform show -json PLAN` printed; `-` for standard input
    #[arg(value_name = "PLAN.json")]
    plan: PathBuf,
    #[command(flatten)]
    remote: Remote,
    /// Decide here, by the default rules and without learning
    #[arg(long, conflicts_with = "server")]
    offline: bool,
    /// Where the plan applies, if it does not say: dev, staging, prod or test
    #[arg(long, value_parser = environment, value_name = "ENV")]
    environment: Option<Environment>,
    /// Your name for the change set [default: made from the plan]
    #[arg(long, value_name = "ID")]
    change_set: Option<String>,
    /// Where a person can see the change
    #[arg(long)]
    url: Option<String>,
    /// Which revision of the change it is
    #[arg(long)]
    revision: Option<String>,
    /// What fails the gate where the tenant enforces in full
    #[arg(long, value_enum, default_value = "any")]
    fail_on: FailOn,
    /// Answers older than this are asked for anew
    #[arg(long, value_parser = duration, default_value = "24h", value_name = "TIME")]
    max_age: Duration,
    /// How long a busy server is waited for
    #[arg(long, value_parser = duration, default_value = "30s", value_name = "TIME")]
    timeout: Duration,
    /// How to print the answer
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
    /// Print to a file instead
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Keep what was asked, for `arf outcome`
    #[arg(long, value_name = "RUN.json")]
    save: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum FailOn {
    /// Denials and escalations
    Any,
    /// Denials only
    Deny,
    /// Nothing
    Never,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Format {
    /// For a terminal
    Text,
    /// For programs
    Json,
    /// For a pull request
    Markdown,
}

const NO_SERVER: &str =
    "no server: set ARF_SERVER and ARF_KEY, or use --offline (default rules, no learning)";
/// How often ids are chosen anew because an answer said that one is taken.
const ROUNDS_MAX: usize = 4;

fn environment(text: &str) -> Result<Environment, String> {
    Environment::from_word(text).ok_or_else(|| "must be dev, staging, prod or test".to_owned())
}

/// Reads `90s`, `15m`, `24h` or `7d`.
fn duration(text: &str) -> Result<Duration, String> {
    let told = || "must be a whole number and s, m, h or d, as in `15m`".to_owned();
    let unit = text.chars().last().ok_or_else(told)?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        _ => return Err(told()),
    };
    let number: u64 = text.trim_end_matches(unit).parse().map_err(|_| told())?;
    number
        .checked_mul(seconds)
        .map(Duration::from_secs)
        .ok_or_else(told)
}

/// Runs the gate.
pub fn run(args: &Args) -> Ending {
    let failed = |why: &dyn std::fmt::Display| Ended::with(Exit::Failed, why);
    let shown = args.plan.display();
    let bytes = if args.plan.as_os_str() == "-" {
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut std::io::stdin(), &mut bytes).map(|_| bytes)
    } else {
        std::fs::read(&args.plan)
    };
    let bytes = bytes.map_err(|error| failed(&format!("{shown}: {error}")))?;
    let plan = Plan::read(&bytes).map_err(|error| failed(&format!("{shown}: {error}")))?;
    let changes = plan.changes(args.environment);
    let report = if changes.is_empty() {
        Report::empty()
    } else if args.offline {
        args.offline(&changes)?
    } else {
        args.online(&changes)?
    };
    let (exit, softened) = args.verdict(&report);
    let text = match args.format {
        Format::Text => report.text(softened),
        Format::Json => report.json(exit, softened),
        Format::Markdown => report.markdown(softened),
    };
    let write = |path: &PathBuf, text: &str| {
        std::fs::write(path, text).map_err(|error| failed(&format!("{}: {error}", path.display())))
    };
    match &args.out {
        Some(path) => write(path, &text)?,
        None => print!("{text}"),
    }
    if let Some(path) = &args.save {
        write(path, &report.run())?;
    }
    Ok(exit)
}

impl Args {
    /// The exit, and what softened it if anything did.
    fn verdict(&self, report: &Report) -> (Exit, Option<&'static str>) {
        let strict = match report.worst() {
            Action::Approve => return (Exit::Fine, None),
            Action::Deny => Exit::Denied,
            Action::Escalate => Exit::Escalated,
        };
        let deny_only = strict == Exit::Escalated;
        match (report.enforcement, self.fail_on) {
            (Enforcement::Observe, _) => (
                Exit::Fine,
                Some("the tenant only observes: nothing is stopped"),
            ),
            (Enforcement::Deny, _) if deny_only => {
                (Exit::Fine, Some("the tenant stops denials only"))
            }
            (Enforcement::Full, FailOn::Never) => {
                (Exit::Fine, Some("--fail-on never: nothing is stopped"))
            }
            (Enforcement::Full, FailOn::Deny) if deny_only => (
                Exit::Fine,
                Some("--fail-on deny: escalations are not stopped"),
            ),
            (Enforcement::Deny | Enforcement::Full, _) => (strict, None),
        }
    }

    /// The change set that everything is asked under.
    fn change_set(&self, id: Text<1, 64>, changes: &[Change<'_>]) -> Result<ChangeSet, Ended> {
        let usage = |flag: &str, why: &dyn std::fmt::Display| {
            Ended::with(Exit::Usage, format!("{flag} {why}"))
        };
        let id = match &self.change_set {
            Some(given) => Text::new(given.as_str()).map_err(|why| usage("--change-set", &why))?,
            None => id,
        };
        let url = self.url.as_deref().map(Text::new).transpose();
        let revision = self.revision.as_deref().map(Text::new).transpose();
        let deletes = changes
            .iter()
            .filter(|change| change.intent.destroys())
            .count();
        Ok(ChangeSet {
            id,
            url: url.map_err(|why| usage("--url", &why))?,
            revision: revision.map_err(|why| usage("--revision", &why))?,
            intents: u32::try_from(changes.len()).ok(),
            deletes: u32::try_from(deletes).ok(),
        })
    }

    /// Decides here: the default rules, and nothing learned.
    fn offline(&self, changes: &[Change<'_>]) -> Result<Report, Ended> {
        let id = Text::new("offline").expect("it is short");
        let set = self.change_set(id, changes)?;
        let (rules, at) = (Rules::built_in(), clock::now());
        let mut so_far = SetSoFar::default();
        let mut items = Vec::new();
        for change in changes {
            let intent = Intent {
                change_set: Some(set.clone()),
                ..change.intent.clone()
            };
            let evidence = Evidence {
                change_set: so_far,
                ..Evidence::default()
            };
            let decision = decide::decide(&intent, &evidence, rules, at);
            so_far.intents += 1;
            so_far.deletes += u32::from(intent.destroys());
            items.push(Item {
                address: change.address.to_owned(),
                operation: change.operation,
                environment: intent.environment,
                category: decision.category,
                action: decision.action,
                standing: None,
                justification: decision.justification,
                reasons: decision
                    .reasons
                    .iter()
                    .map(|reason| sentence(&reason.detail, reason.policy.as_deref()))
                    .collect(),
                risk_score: decision.risk_score,
                deterministic_id: None,
                decision_id: None,
                review: None,
                replayed: false,
            });
        }
        let readiness = Readiness::of(&items, |_| Counts::default().trials, &rules.settings);
        let enforcement = rules.settings.enforcement;
        Ok(Report {
            change_set: None,
            enforcement,
            items,
            readiness,
        })
    }

    /// Has the server decide.
    fn online(&self, changes: &[Change<'_>]) -> Result<Report, Ended> {
        let (client, key) = self.remote.client(self.timeout, NO_SERVER)?;
        let gate = Gate {
            client: &client,
            key: GateKey::new(key.reveal()),
            max_age: self.max_age,
        };
        let mut taken: Vec<Vec<IntentId>> = vec![Vec::new(); changes.len()];
        for _ in 0..ROUNDS_MAX {
            let ids = gate.choose_ids(changes, &taken)?;
            let set = self.change_set(gate.key.change_set_id(&ids), changes)?;
            let (mut items, mut enforcement) = (Vec::new(), Enforcement::Full);
            let mut refused = None;
            for (nth, (change, id)) in changes.iter().zip(&ids).enumerate() {
                match gate.ask(change, id, &set)? {
                    Some(answer) => {
                        items.push(item(change, &answer)?);
                        enforcement = enforced(&answer)?;
                    }
                    None => {
                        refused = Some((nth, id.clone()));
                        break;
                    }
                }
            }
            let Some((nth, id)) = refused else {
                return gate.report(set, enforcement, items);
            };
            if let Some(taken) = taken.get_mut(nth) {
                taken.push(id);
            }
        }
        Err(Ended::with(
            Exit::Failed,
            "the ids of this plan are taken by other intents",
        ))
    }
}

/// A plan's way to the server.
struct Gate<'a> {
    client: &'a Client,
    key: GateKey,
    max_age: Duration,
}

impl Gate<'_> {
    /// For each change the first id that is free, or whose answer still stands: an unchanged plan finds
    /// its answers, one that was applied or has lapsed is asked about anew.
    fn choose_ids(
        &self,
        changes: &[Change<'_>],
        taken: &[Vec<IntentId>],
    ) -> Result<Vec<IntentId>, Ended> {
        let mut chosen: Vec<IntentId> = Vec::with_capacity(changes.len());
        for (change, taken) in changes.iter().zip(taken) {
            let mut ids = self.key.intent_ids(change);
            let id = loop {
                let Some(id) = ids.next() else {
                    return Err(Ended::with(
                        Exit::Failed,
                        "a change was asked about too often",
                    ));
                };
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

    fn usable(&self, id: &IntentId) -> Result<bool, Ended> {
        let answer = self.get(&format!("/api/v1/intents/{id}"))?;
        match answer.status {
            404 => Ok(true),
            409 | 410 => Ok(false),
            200 => {
                let state = text(&answer.body, "/standing/state").and_then(State::from_word);
                let asked = text(&answer.body, "/created_at").and_then(Timestamp::parse);
                let fresh = asked.is_some_and(|at| clock::now().since(at) <= self.max_age);
                let over = matches!(state, None | Some(State::Closed | State::Expired));
                Ok(fresh && !over)
            }
            _ => Err(refused(&answer)),
        }
    }

    /// The answer to one change; `None` if the id is taken by another intent.
    fn ask(
        &self,
        change: &Change<'_>,
        id: &IntentId,
        set: &ChangeSet,
    ) -> Result<Option<Value>, Ended> {
        let intent = Intent {
            change_set: Some(set.clone()),
            ..change.intent.clone()
        };
        let mut body = serde_json::to_value(&intent).expect("an intent is JSON");
        body["deterministic_id"] = json!(id);
        let answer = self
            .client
            .post("/api/v1/intents/evaluate", &body)
            .map_err(no_answer)?;
        match answer.status {
            200 => Ok(Some(answer.body)),
            409 | 410 => Ok(None),
            _ => Err(refused(&answer)),
        }
    }

    fn report(
        &self,
        set: ChangeSet,
        enforcement: Enforcement,
        items: Vec<Item>,
    ) -> Result<Report, Ended> {
        let state = self
            .get("/api/v1/beta-state")?
            .good()
            .map_err(|bad| refused(&bad))?;
        let trials = |category: Category| {
            let all = state.get("items").and_then(Value::as_array);
            let one = all.and_then(|items| {
                items
                    .iter()
                    .find(|item| text(item, "/category") == Some(category.word()))
            });
            one.and_then(|item| item.get("trials"))
                .and_then(Value::as_u64)
                .unwrap_or(0)
        };
        let readiness = Readiness::of(&items, trials, &Rules::built_in().settings);
        Ok(Report {
            change_set: Some(set),
            enforcement,
            items,
            readiness,
        })
    }

    fn get(&self, path: &str) -> Result<Answer, Ended> {
        self.client.get(path).map_err(no_answer)
    }
}

/// What the tenant's gates do. An answer that does not say so is none.
fn enforced(answer: &Value) -> Result<Enforcement, Ended> {
    let word = text(answer, "/enforcement").and_then(Enforcement::from_word);
    word.ok_or_else(malformed)
}

fn malformed() -> Ended {
    Ended::with(Exit::Failed, "the server's answer cannot be read")
}

/// What the answer says of `change`. Anything unexpected in it fails the gate: it never passes by
/// accident.
fn item(change: &Change<'_>, answer: &Value) -> Result<Item, Ended> {
    let state = text(answer, "/standing/state").and_then(State::from_word);
    let reasons = answer
        .get("reasons")
        .and_then(Value::as_array)
        .ok_or_else(malformed)?;
    let owned = |pointer| text(answer, pointer).map(str::to_owned);
    Ok(Item {
        address: change.address.to_owned(),
        operation: change.operation,
        environment: change.intent.environment,
        category: text(answer, "/category")
            .and_then(Category::from_word)
            .ok_or_else(malformed)?,
        action: text(answer, "/action")
            .and_then(Action::from_word)
            .ok_or_else(malformed)?,
        standing: Some(state.ok_or_else(malformed)?),
        justification: owned("/justification").ok_or_else(malformed)?,
        reasons: reasons
            .iter()
            .filter_map(|reason| Some(sentence(text(reason, "/detail")?, text(reason, "/policy"))))
            .collect(),
        risk_score: answer
            .get("risk_score")
            .and_then(Value::as_f64)
            .ok_or_else(malformed)?,
        deterministic_id: owned("/deterministic_id"),
        decision_id: owned("/decision_id"),
        review: owned("/standing/review_id"),
        replayed: answer
            .get("replayed")
            .and_then(Value::as_bool)
            .unwrap_or(false),
    })
}

/// A reason, naming its rule.
fn sentence(detail: &str, policy: Option<&str>) -> String {
    policy.map_or_else(
        || detail.to_owned(),
        |policy| format!("{detail} (policy {policy})"),
    )
}

fn text<'v>(value: &'v Value, pointer: &str) -> Option<&'v str> {
    value.pointer(pointer)?.as_str()
}

fn no_answer(why: NoAnswer) -> Ended {
    Ended::with(Exit::Failed, why)
}

fn refused(answer: &Answer) -> Ended {
    Ended::with(
        Exit::Failed,
        format!("{}: nothing was decided", answer.problem()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_a_number_and_a_unit() {
        assert_eq!(duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("24h"), Ok(Duration::from_secs(86_400)));
        for bad in ["", "h", "1.5h", "10", "10w", "-1s", "99999999999999999d"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }
}
