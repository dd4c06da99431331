//! The smallest change that would get a better answer (rules.md 11).
//!
//! A change is tried by making it: on one copy of the intent or of the evidence, through the same
//! `assess` that [`decide`](super::decide) uses. Nothing is inferred about what a rule would say, so
//! rules of any kind may join. What is found is proven by a whole decision, and the answer names its
//! action.
//!
//! **It never teaches a caller to lie.** The patch holds only what a caller may honestly choose: less
//! of a permission, a smaller reach, a smaller size, to update instead of replacing. What merely is
//! so (measurements, the place, violations, what was learned, how much a plan deletes) is told as a
//! fact to wait for or to mend. A deletion is never turned into something that is no deletion; what the
//! caller claims about value, cost or forecasts is never touched; a region cannot be enumerated.
//!
//! Order: one difference before two; the nearest better action before the farther; choices before
//! facts; within a field the nearest value first.

use serde_json::{Map, Value, json};

use super::category::Category;
use super::choice::Assessment;
use super::decision::{Action, ChangeKind, Counterfactual, Decision, Difference, number};
use super::epistemic::entropy_for;
use super::evidence::Evidence;
use super::intent::{ChangeScope, Environment, Intent, IntentKind, Operation, PermissionLevel};
use super::loss::Impact;
use super::risk::Intervals;
use super::rules::Rules;
use super::{assess, decide_with};
use crate::bounded::{BoundedString, BoundedVec};
use crate::number::{Magnitude, Probability};
use crate::time::Timestamp;

/// More successes than this are no advice.
const SUCCESSES_MAX: u64 = 10_000;

/// Steps in which measurements are told: shares of 0.0001, whole milliseconds, entropy of 0.0001.
const SHARE_STEPS: f64 = 10_000.0;
const MS_STEPS: f64 = 1.0;
const ENTROPY_STEPS: f64 = 10_000.0;

/// The smallest change of `intent`, or of the world around it, that would get a better action than
/// `decision`, which was made on these arguments. None for an approval, and where there is none.
pub fn counterfactual(
    intent: &Intent,
    evidence: &Evidence,
    rules: &Rules,
    at: Timestamp,
    decision: &Decision,
) -> Option<Counterfactual> {
    if decision.action == Action::Approve {
        return None;
    }
    let mut search = Search {
        tried: without_unused_fields(intent),
        evidence,
        rules,
        at,
        intervals: Intervals::default(),
        category: decision.category,
        had: decision.action,
    };
    let mut edits = search.edits();
    let found = search
        .one_difference(&mut edits)
        .or_else(|| search.two_differences(&mut edits))?;
    search.prove(edits, found)
}

/// The intent without what is only kept for it: no rule reads provenance or configuration (a law in
/// `laws.rs`), and they can be large.
fn without_unused_fields(intent: &Intent) -> Intent {
    Intent {
        kind: intent.kind.clone(),
        environment: intent.environment,
        requester: intent.requester.clone(),
        operation: intent.operation,
        changed_fields: intent.changed_fields.clone(),
        change_set: intent.change_set.clone(),
        estimated_cost: intent.estimated_cost,
        policy_violations: intent.policy_violations.clone(),
        provenance: Map::new(),
        configuration: Map::new(),
        context: intent.context.clone(),
    }
}

/// A difference in the intent: a field and its other value.
#[derive(Debug)]
enum Edit {
    Size(BoundedString<1, 256>),
    Permission(PermissionLevel),
    Reach(ChangeScope),
    Operation(Option<Operation>),
    Violations(BoundedVec<BoundedString<1, 1_024>, 64>),
    Deletes(Option<u32>),
    ErrorRate(Option<Probability>),
    Latency(Option<Magnitude>),
    Entropy(Magnitude),
    /// Environment, and target of a deployment: both together are the place.
    Place(Environment, Option<Environment>),
}

/// What would get a better action.
struct Found {
    /// Which of the edits, if one of them is needed.
    edit: Option<usize>,
    /// How many more successes.
    successes: u64,
    /// The action it would get.
    action: Action,
}

struct Search<'a> {
    /// The copy that edits are tried on; as it was asked outside of [`Search::with`].
    tried: Intent,
    evidence: &'a Evidence,
    rules: &'a Rules,
    at: Timestamp,
    intervals: Intervals,
    category: Category,
    had: Action,
}

impl Search<'_> {
    /// The first edit, or number of successes, that alone gets the nearest better action, else the
    /// first that gets the farther one.
    fn one_difference(&mut self, edits: &mut [Edit]) -> Option<Found> {
        // Learning comes after what can be done today, but before moving elsewhere.
        let places = edits
            .iter()
            .take_while(|edit| !matches!(edit, Edit::Place(..)))
            .count();
        let mut farther = None;
        for index in 0..=edits.len() {
            let learned = if index == places {
                self.successes(None)
            } else {
                None
            };
            let edited = edits.get_mut(index).map(|edit| Found {
                edit: Some(index),
                successes: 0,
                action: self.with(edit, |search| search.action(0)),
            });
            for found in [learned, edited].into_iter().flatten() {
                if self.nearest(found.action) {
                    return Some(found);
                }
                if self.better(found.action) {
                    farther = farther.or(Some(found));
                }
            }
        }
        farther
    }

    /// The first edit of one field that gets a better action together with more successes.
    fn two_differences(&mut self, edits: &mut [Edit]) -> Option<Found> {
        edits.iter_mut().enumerate().find_map(|(index, edit)| {
            let found = self.with(edit, |search| search.successes(Some(index)))?;
            let is_one = self.differences(edit).len() == 1;
            edit.swap(&mut self.tried);
            is_one.then_some(found)
        })
    }

    /// The fewest more successes that get a better action, by doubling and halving: each success
    /// lowers risk and doubt. The interval, which is dear, is looked at only where it decides.
    fn successes(&self, edit: Option<usize>) -> Option<Found> {
        let if_narrow = |successes| {
            self.better(
                self.case(&self.with_successes(successes))
                    .action_if_narrow(),
            )
        };
        let really = |successes| self.better(self.action(successes));
        let mut successes = fewest(0, if_narrow)?;
        if !really(successes) {
            successes = fewest(successes, really)?;
        }
        Some(Found {
            edit,
            successes,
            action: self.action(successes),
        })
    }

    /// Every edit worth trying on its own, in the order in which they are preferred.
    fn edits(&self) -> Vec<Edit> {
        let case = self.case(self.evidence);
        let mut edits = choices(&self.tried, self.rules);
        edits.extend(facts(&case, self.had));
        edits.extend(places(&self.tried));
        edits
    }

    /// Makes the change for good and decides again.
    fn prove(mut self, edits: Vec<Edit>, found: Found) -> Option<Counterfactual> {
        let mut changes = Vec::new();
        if let Some(mut edit) = found.edit.and_then(|index| edits.into_iter().nth(index)) {
            changes = self.differences(&mut edit);
        }
        if found.successes > 0 {
            let trials = self.evidence.counts.of(self.category).trials;
            changes.push(Difference {
                kind: ChangeKind::Fact,
                field: "evidence".to_owned(),
                from: trials.into(),
                to: trials.saturating_add(found.successes).into(),
            });
        }
        let evidence = self.with_successes(found.successes);
        let again = decide_with(&self.tried, &evidence, self.rules, self.at, &self.intervals);
        (again.action == found.action).then(|| Counterfactual {
            target: found.action,
            patch: changes.iter().filter_map(patch).collect(),
            changes,
            flips: true,
        })
    }

    /// Makes `edit`, and says which fields that changes.
    fn differences(&mut self, edit: &mut Edit) -> Vec<Difference> {
        let to = edit.values();
        edit.swap(&mut self.tried);
        let changed = edit
            .values()
            .into_iter()
            .zip(to)
            .filter(|(from, to)| from != to);
        changed
            .map(|((field, from), (_, to))| Difference {
                kind: edit.kind(),
                field: field.to_owned(),
                from,
                to,
            })
            .collect()
    }

    /// Asks with `edit` made, and takes it back.
    fn with<T>(&mut self, edit: &mut Edit, ask: impl FnOnce(&Self) -> T) -> T {
        edit.swap(&mut self.tried);
        let answer = ask(self);
        edit.swap(&mut self.tried);
        answer
    }

    fn case<'b>(&'b self, evidence: &'b Evidence) -> Assessment<'b> {
        assess(&self.tried, evidence, self.rules, self.at, &self.intervals)
    }

    fn action(&self, successes: u64) -> Action {
        self.case(&self.with_successes(successes)).action()
    }

    fn with_successes(&self, successes: u64) -> Evidence {
        let mut evidence = *self.evidence;
        let counts = evidence.counts.of_mut(self.category);
        counts.trials = counts.trials.saturating_add(successes);
        evidence
    }

    fn better(&self, action: Action) -> bool {
        match self.had {
            Action::Deny => action != Action::Deny,
            Action::Escalate => action == Action::Approve,
            Action::Approve => false,
        }
    }

    /// True for the better action that is one step away: deny, escalate, approve.
    fn nearest(&self, action: Action) -> bool {
        match self.had {
            Action::Deny => action == Action::Escalate,
            Action::Escalate => action == Action::Approve,
            Action::Approve => false,
        }
    }
}

/// The smallest number above `not` and up to [`SUCCESSES_MAX`] for which `holds`, which stays true
/// once it is; `not` itself does not hold.
fn fewest(not: u64, holds: impl Fn(u64) -> bool) -> Option<u64> {
    if !holds(SUCCESSES_MAX) {
        return None;
    }
    let (mut low, mut step) = (not, 1);
    let mut high = loop {
        let next = (low + step).min(SUCCESSES_MAX);
        if next == SUCCESSES_MAX || holds(next) {
            break next;
        }
        low = next;
        step *= 2;
    };
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if holds(middle) {
            high = middle;
        } else {
            low = middle;
        }
    }
    Some(high)
}

/// What the caller may decide, each the nearest first.
fn choices(intent: &Intent, rules: &Rules) -> Vec<Edit> {
    let mut edits = Vec::new();
    match &intent.kind {
        IntentKind::ProvisionResource {
            resource_type,
            size,
            ..
        } => {
            // A caller's own estimate is for the size it asked for, and would not be true any more.
            if intent.estimated_cost.is_none() {
                let sizes = rules.prices.cheaper_than(*resource_type, size.as_str());
                edits.extend(
                    sizes
                        .into_iter()
                        .filter_map(|size| BoundedString::new(size).ok())
                        .map(Edit::Size),
                );
            }
        }
        IntentKind::GrantAccess {
            permission_level, ..
        } => {
            let lower = PermissionLevel::ALL
                .iter()
                .rev()
                .filter(|level| *level < permission_level);
            edits.extend(lower.copied().map(Edit::Permission));
        }
        IntentKind::DeployConfig { change_scope, .. } => {
            let smaller = ChangeScope::ALL
                .iter()
                .rev()
                .filter(|scope| *scope < change_scope);
            edits.extend(smaller.copied().map(Edit::Reach));
        }
    }
    // The same end by gentler means. For no other operation is there such a pair.
    if intent.operation == Some(Operation::Replace) {
        edits.push(Edit::Operation(Some(Operation::Update)));
    }
    edits
}

/// What could be different in the world: violations mended, fewer deletes in the plan, and each
/// measurement at the value where the losses, which are affine in it, or the gate would turn.
fn facts(case: &Assessment<'_>, had: Action) -> Vec<Edit> {
    let mut edits = Vec::new();
    let Assessment {
        intent,
        settings,
        losses,
        epistemic,
        ..
    } = case;
    let context = &intent.context;
    if !intent.policy_violations.is_empty() {
        edits.push(Edit::Violations(BoundedVec::default()));
    }
    let most = settings.change_set.deletes_max;
    if intent
        .change_set
        .as_ref()
        .and_then(|set| set.deletes)
        .is_some_and(|deletes| deletes > most)
    {
        edits.push(Edit::Deletes(Some(most)));
    }

    let impact = Impact::of(context, &settings.telemetry);
    let rest = losses.approve - settings.losses.cost_impact * impact.total();
    let bounds = match had {
        Action::Deny => vec![losses.deny, losses.deny.min(settings.losses.cost_review)],
        Action::Approve | Action::Escalate => vec![losses.deny.min(settings.losses.cost_review)],
    };
    for bound in bounds {
        // 1 - b >= spared, where 1 - b = (1 - errors)(1 - latency).
        let spared = 1.0 - (bound - rest) / settings.losses.cost_impact;
        if let Some(rate) = context.error_rate {
            let highest =
                (1.0 - spared / (1.0 - impact.latency)) * settings.telemetry.error_rate_full;
            let lower = steps_around(highest, rate.get(), SHARE_STEPS);
            edits.extend(
                lower
                    .filter_map(|v| Probability::new(v).ok())
                    .map(|v| Edit::ErrorRate(Some(v))),
            );
        }
        if let Some(latency) = context.latency_p99 {
            let free = settings.telemetry.latency_p99_free_ms;
            let share = 1.0 - spared / (1.0 - impact.errors);
            let highest = free + share * (settings.telemetry.latency_p99_full_ms - free);
            if share >= 0.0 {
                let lower = steps_around(highest, latency.get(), MS_STEPS);
                edits.extend(
                    lower
                        .filter_map(|v| Magnitude::new(v).ok())
                        .map(|v| Edit::Latency(Some(v))),
                );
            }
        }
    }

    if let Some(signals) = &context.hallucination {
        let known = (1.0 - epistemic.forecast_uncertainty) * (1.0 - epistemic.data_sparsity);
        let highest = entropy_for(1.0 - (1.0 - settings.epistemic.psi_max) / known, signals);
        let lower = steps_around(highest, signals.entropy.get(), ENTROPY_STEPS);
        edits.extend(
            lower
                .filter_map(|v| Magnitude::new(v).ok())
                .map(Edit::Entropy),
        );
    }
    edits
}

/// Outside production, the nearest to it first.
fn places(intent: &Intent) -> Vec<Edit> {
    if !intent.touches_prod() {
        return Vec::new();
    }
    let target = match intent.kind {
        IntentKind::DeployConfig {
            deployment_target, ..
        } => Some(deployment_target),
        IntentKind::ProvisionResource { .. } | IntentKind::GrantAccess { .. } => None,
    };
    let elsewhere = |place: Environment, to| {
        if place == Environment::Prod {
            to
        } else {
            place
        }
    };
    [Environment::Staging, Environment::Test, Environment::Dev]
        .map(|to| {
            Edit::Place(
                elsewhere(intent.environment, to),
                target.map(|at| elsewhere(at, to)),
            )
        })
        .into_iter()
        .collect()
}

/// The values around `highest`, in so many steps to the unit and the higher first: rounding, and whether
/// equality is enough, are left to the decision. None that is negative or not below `now`.
fn steps_around(highest: f64, now: f64, steps: f64) -> impl Iterator<Item = f64> {
    let at = (highest * steps).floor();
    [at + 1.0, at, at - 1.0]
        .into_iter()
        .map(move |count| count / steps)
        .filter(move |value| *value >= 0.0 && *value < now)
}

impl Edit {
    /// Exchanges this value and the intent's; twice is back.
    fn swap(&mut self, intent: &mut Intent) {
        use std::mem::swap;
        match (self, &mut intent.kind) {
            (Self::Size(to), IntentKind::ProvisionResource { size, .. }) => swap(to, size),
            (
                Self::Permission(to),
                IntentKind::GrantAccess {
                    permission_level, ..
                },
            ) => {
                swap(to, permission_level);
            }
            (Self::Reach(to), IntentKind::DeployConfig { change_scope, .. }) => {
                swap(to, change_scope)
            }
            (Self::Operation(to), _) => swap(to, &mut intent.operation),
            (Self::Violations(to), _) => swap(to, &mut intent.policy_violations),
            (Self::Deletes(to), _) => {
                if let Some(set) = &mut intent.change_set {
                    swap(to, &mut set.deletes);
                }
            }
            (Self::ErrorRate(to), _) => swap(to, &mut intent.context.error_rate),
            (Self::Latency(to), _) => swap(to, &mut intent.context.latency_p99),
            (Self::Entropy(to), _) => {
                if let Some(signals) = &mut intent.context.hallucination {
                    swap(to, &mut signals.entropy);
                }
            }
            (Self::Place(to, target), ask) => {
                swap(to, &mut intent.environment);
                if let (
                    Some(target),
                    IntentKind::DeployConfig {
                        deployment_target, ..
                    },
                ) = (target, ask)
                {
                    swap(target, deployment_target);
                }
            }
            (Self::Size(_) | Self::Permission(_) | Self::Reach(_), _) => {}
        }
    }

    /// Who can bring it about.
    const fn kind(&self) -> ChangeKind {
        match self {
            Self::Size(_) | Self::Permission(_) | Self::Reach(_) | Self::Operation(_) => {
                ChangeKind::Choice
            }
            Self::Violations(_)
            | Self::Deletes(_)
            | Self::ErrorRate(_)
            | Self::Latency(_)
            | Self::Entropy(_)
            | Self::Place(..) => ChangeKind::Fact,
        }
    }

    /// Its fields with the values it holds now: the new ones, and once swapped in, the old ones.
    fn values(&self) -> Vec<(&'static str, Value)> {
        let real = |value: f64| number(value).map_or(Value::Null, Value::Number);
        match self {
            Self::Size(size) => vec![("size", json!(size))],
            Self::Permission(level) => vec![("permission_level", json!(level))],
            Self::Reach(scope) => vec![("change_scope", json!(scope))],
            Self::Operation(operation) => vec![("operation", json!(operation))],
            Self::Violations(violations) => vec![("policy_violations", json!(violations))],
            Self::Deletes(deletes) => vec![("change_set.deletes", json!(deletes))],
            Self::ErrorRate(rate) => {
                vec![(
                    "context.error_rate",
                    rate.map_or(Value::Null, |rate| real(rate.get())),
                )]
            }
            Self::Latency(ms) => {
                vec![(
                    "context.latency_p99",
                    ms.map_or(Value::Null, |ms| real(ms.get())),
                )]
            }
            Self::Entropy(entropy) => vec![("context.hallucination.entropy", real(entropy.get()))],
            Self::Place(environment, target) => {
                vec![
                    ("environment", json!(environment)),
                    ("deployment_target", json!(target)),
                ]
            }
        }
    }
}

/// A choice as an operation of RFC 6902 on the request; facts have none.
fn patch(difference: &Difference) -> Option<Value> {
    match difference.kind {
        ChangeKind::Choice => Some(json!({
            "op": "replace",
            "path": format!("/{}", difference.field),
            "value": difference.to,
        })),
        ChangeKind::Fact => None,
    }
}
