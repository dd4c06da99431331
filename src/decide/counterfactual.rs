//! The smallest change that would get a better answer (rules.md 11).
//!
//! A change is tried on a copy of the intent or of the evidence, through the same `assess` that
//! [`decide`](super::decide) uses, so rules of any kind can be added. The result is proven by a whole
//! decision, whose action the answer names.
//!
//! **It never teaches a caller to lie.** The patch holds only what a caller may honestly choose: a lower
//! permission, a smaller scope, a smaller size, an update instead of a replacement. Measurements, the
//! environment, violations, outcomes and the deletes of a plan are facts. A deletion never becomes
//! another operation; the caller's value, cost and forecasts never change; regions cannot be enumerated.
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

/// More successes than this would be no advice.
const SUCCESSES_MAX: u64 = 10_000;

/// Steps per unit in which measurements are proposed: 0.0001 of a share or of entropy, milliseconds.
const SHARE_STEPS: f64 = 10_000.0;
const MS_STEPS: f64 = 1.0;
const ENTROPY_STEPS: f64 = 10_000.0;

/// `decision` was made on the other arguments. `None` for an approval, and where no change is found.
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
        intent: without_unused_fields(intent),
        evidence,
        rules,
        at,
        intervals: Intervals::default(),
        category: decision.category,
        action: decision.action,
    };
    let mut edits = search.edits();
    let found = search
        .one_difference(&mut edits)
        .or_else(|| search.two_differences(&mut edits))?;
    search.prove(edits, found)
}

/// No rule reads provenance or configuration (`decide::tests::properties` checks it), and they can be large.
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

#[derive(Debug)]
enum Edit {
    Size(BoundedString<1, 256>),
    Permission(PermissionLevel),
    Scope(ChangeScope),
    Operation(Option<Operation>),
    Violations(BoundedVec<BoundedString<1, 1_024>, 64>),
    Deletes(Option<u32>),
    ErrorRate(Option<Probability>),
    Latency(Option<Magnitude>),
    Entropy(Magnitude),
    Environment(Environment, Option<Environment>),
}

struct Candidate {
    edit: Option<usize>,
    successes: u64,
    action: Action,
}

struct Search<'a> {
    /// A copy on which edits are tried; outside of [`Search::with`] it is the original.
    intent: Intent,
    evidence: &'a Evidence,
    rules: &'a Rules,
    at: Timestamp,
    intervals: Intervals,
    category: Category,
    /// The action to improve on.
    action: Action,
}

impl Search<'_> {
    /// The first edit, or number of successes, that alone gets the nearest better action; else the first
    /// that gets the farther one.
    fn one_difference(&mut self, edits: &mut [Edit]) -> Option<Candidate> {
        // Learning comes after what can be done today, but before another environment.
        let environment = |edit: &Edit| matches!(edit, Edit::Environment(..));
        let before_environments = edits.iter().position(environment).unwrap_or(edits.len());
        let mut farther = None;
        for index in 0..=edits.len() {
            let learned = (index == before_environments).then(|| self.successes(None));
            let edited = edits.get_mut(index).map(|edit| Candidate {
                edit: Some(index),
                successes: 0,
                action: self.with(edit, |search| search.action_after(0)),
            });
            for found in learned.flatten().into_iter().chain(edited) {
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

    /// The first edit of one field that is enough with more successes.
    fn two_differences(&mut self, edits: &mut [Edit]) -> Option<Candidate> {
        edits.iter_mut().enumerate().find_map(|(index, edit)| {
            let found = self.with(edit, |search| search.successes(Some(index)))?;
            let is_one = self.differences(edit).len() == 1;
            edit.swap(&mut self.intent);
            is_one.then_some(found)
        })
    }

    /// The fewest more successes that get a better action, by exponential search: each success lowers
    /// risk and uncertainty. The interval, which is expensive, is computed only where it decides.
    fn successes(&self, edit: Option<usize>) -> Option<Candidate> {
        let if_narrow = |successes| {
            let evidence = self.with_successes(successes);
            self.better(self.assess(&evidence).action_if_narrow())
        };
        let in_full = |successes| self.better(self.action_after(successes));
        let mut successes = fewest(0, if_narrow)?;
        if !in_full(successes) {
            successes = fewest(successes, in_full)?;
        }
        Some(Candidate {
            edit,
            successes,
            action: self.action_after(successes),
        })
    }

    /// In the order of preference.
    fn edits(&self) -> Vec<Edit> {
        let assessment = self.assess(self.evidence);
        let mut edits = choices(&self.intent, self.rules);
        edits.extend(facts(&assessment, self.action));
        edits.extend(environments(&self.intent));
        edits
    }

    fn prove(mut self, edits: Vec<Edit>, found: Candidate) -> Option<Counterfactual> {
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
        let (intent, intervals) = (&self.intent, &self.intervals);
        let again = decide_with(intent, &evidence, self.rules, self.at, intervals);
        (again.action == found.action).then(|| Counterfactual {
            target: found.action,
            patch: changes.iter().filter_map(patch_operation).collect(),
            changes,
            flips: true,
        })
    }

    /// Applies `edit`, and returns the fields that it changes.
    fn differences(&mut self, edit: &mut Edit) -> Vec<Difference> {
        let to = edit.values();
        edit.swap(&mut self.intent);
        let changes = edit.values().into_iter().zip(to);
        changes
            .filter(|(from, to)| from != to)
            .map(|((field, from), (_, to))| Difference {
                kind: edit.kind(),
                field: field.to_owned(),
                from,
                to,
            })
            .collect()
    }

    /// Evaluates with `edit` applied, and reverts it.
    fn with<T>(&mut self, edit: &mut Edit, evaluate: impl FnOnce(&Self) -> T) -> T {
        edit.swap(&mut self.intent);
        let result = evaluate(self);
        edit.swap(&mut self.intent);
        result
    }

    fn assess<'b>(&'b self, evidence: &'b Evidence) -> Assessment<'b> {
        assess(&self.intent, evidence, self.rules, self.at, &self.intervals)
    }

    fn action_after(&self, successes: u64) -> Action {
        self.assess(&self.with_successes(successes)).action()
    }

    fn with_successes(&self, successes: u64) -> Evidence {
        let mut evidence = *self.evidence;
        let counts = evidence.counts.of_mut(self.category);
        counts.trials = counts.trials.saturating_add(successes);
        evidence
    }

    fn better(&self, action: Action) -> bool {
        match self.action {
            Action::Deny => action != Action::Deny,
            Action::Escalate => action == Action::Approve,
            Action::Approve => false,
        }
    }

    /// True for the next action of deny, escalate, approve.
    fn nearest(&self, action: Action) -> bool {
        match self.action {
            Action::Deny => action == Action::Escalate,
            Action::Escalate => action == Action::Approve,
            Action::Approve => false,
        }
    }
}

/// The smallest number above `low`, at most [`SUCCESSES_MAX`], for which `holds`. It is monotonic, and
/// false for `low`.
fn fewest(mut low: u64, holds: impl Fn(u64) -> bool) -> Option<u64> {
    if !holds(SUCCESSES_MAX) {
        return None;
    }
    let mut step = 1;
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

/// Nearest first.
fn choices(intent: &Intent, rules: &Rules) -> Vec<Edit> {
    let mut edits = Vec::new();
    match &intent.kind {
        IntentKind::ProvisionResource {
            resource_type,
            size,
            ..
        } => {
            // A caller's estimate is for the size it asked for, and would no longer be true.
            if intent.estimated_cost.is_none() {
                let sizes = rules.prices.cheaper_than(*resource_type, size.as_str());
                let sizes = sizes.into_iter().map(BoundedString::new);
                edits.extend(sizes.flatten().map(Edit::Size));
            }
        }
        IntentKind::GrantAccess {
            permission_level, ..
        } => {
            let levels = PermissionLevel::ALL.iter().rev().copied();
            let lower = levels.filter(|level| level < permission_level);
            edits.extend(lower.map(Edit::Permission));
        }
        IntentKind::DeployConfig { change_scope, .. } => {
            let scopes = ChangeScope::ALL.iter().rev().copied();
            let narrower = scopes.filter(|scope| scope < change_scope);
            edits.extend(narrower.map(Edit::Scope));
        }
    }
    // The only two operations with the same result, of which one keeps the data.
    if intent.operation == Some(Operation::Replace) {
        edits.push(Edit::Operation(Some(Operation::Update)));
    }
    edits
}

/// No violations, fewer deletes in the plan, and each measurement at the value where the losses, which
/// are affine in it, or the gate would change the action.
fn facts(assessment: &Assessment<'_>, action: Action) -> Vec<Edit> {
    let mut edits = Vec::new();
    let Assessment {
        intent,
        settings,
        losses,
        epistemic,
        ..
    } = assessment;
    let context = &intent.context;
    if !intent.policy_violations.is_empty() {
        edits.push(Edit::Violations(BoundedVec::default()));
    }
    let max = settings.change_set.deletes_max;
    let deletes = intent.change_set.as_ref().and_then(|set| set.deletes);
    if deletes.is_some_and(|deletes| deletes > max) {
        edits.push(Edit::Deletes(Some(max)));
    }

    let impact = Impact::new(context, &settings.telemetry);
    let rest = losses.approve - settings.losses.cost_impact * impact.total();
    let bounds = match action {
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
            let lower = lower.flat_map(Probability::new);
            edits.extend(lower.map(|rate| Edit::ErrorRate(Some(rate))));
        }
        if let Some(latency) = context.latency_p99 {
            let free = settings.telemetry.latency_p99_free_ms;
            let share = 1.0 - spared / (1.0 - impact.errors);
            let highest = free + share * (settings.telemetry.latency_p99_full_ms - free);
            if share >= 0.0 {
                let lower = steps_around(highest, latency.get(), MS_STEPS);
                let lower = lower.flat_map(Magnitude::new);
                edits.extend(lower.map(|ms| Edit::Latency(Some(ms))));
            }
        }
    }

    if let Some(signals) = &context.hallucination {
        let known = (1.0 - epistemic.forecast_uncertainty) * (1.0 - epistemic.data_sparsity);
        let highest = entropy_for(1.0 - (1.0 - settings.epistemic.psi_max) / known, signals);
        let lower = steps_around(highest, signals.entropy.get(), ENTROPY_STEPS);
        edits.extend(lower.flat_map(Magnitude::new).map(Edit::Entropy));
    }
    edits
}

/// Outside production, the nearest to it first.
fn environments(intent: &Intent) -> Vec<Edit> {
    if !intent.touches_prod() {
        return Vec::new();
    }
    let target = intent.deployment_target();
    let outside_prod = |environment, to| match environment {
        Environment::Prod => to,
        Environment::Dev | Environment::Staging | Environment::Test => environment,
    };
    let edit = |to| {
        let environment = outside_prod(intent.environment, to);
        Edit::Environment(environment, target.map(|at| outside_prod(at, to)))
    };
    [Environment::Staging, Environment::Test, Environment::Dev]
        .map(edit)
        .into()
}

/// The values around `highest` in `steps` per unit, the higher first: rounding, and whether equality is
/// enough, are left to the decision. None that is negative or not below `now`.
fn steps_around(highest: f64, now: f64, steps: f64) -> impl Iterator<Item = f64> {
    let at = (highest * steps).floor();
    [at + 1.0, at, at - 1.0]
        .into_iter()
        .map(move |count| count / steps)
        .filter(move |value| *value >= 0.0 && *value < now)
}

impl Edit {
    /// Exchanges this value and the intent's; twice restores both.
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
            (Self::Scope(to), IntentKind::DeployConfig { change_scope, .. }) => {
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
            (Self::Environment(to, target), ask) => {
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
            (Self::Size(_) | Self::Permission(_) | Self::Scope(_), _) => {}
        }
    }

    const fn kind(&self) -> ChangeKind {
        match self {
            Self::Size(_) | Self::Permission(_) | Self::Scope(_) | Self::Operation(_) => {
                ChangeKind::Choice
            }
            Self::Violations(_)
            | Self::Deletes(_)
            | Self::ErrorRate(_)
            | Self::Latency(_)
            | Self::Entropy(_)
            | Self::Environment(..) => ChangeKind::Fact,
        }
    }

    /// The values held now: the new ones, and after a swap the old ones.
    fn values(&self) -> Vec<(&'static str, Value)> {
        let real = |value: Option<f64>| value.and_then(number).map_or(Value::Null, Value::Number);
        match self {
            Self::Size(size) => vec![("size", json!(size))],
            Self::Permission(level) => vec![("permission_level", json!(level))],
            Self::Scope(scope) => vec![("change_scope", json!(scope))],
            Self::Operation(operation) => vec![("operation", json!(operation))],
            Self::Violations(violations) => vec![("policy_violations", json!(violations))],
            Self::Deletes(deletes) => vec![("change_set.deletes", json!(deletes))],
            Self::ErrorRate(rate) => {
                vec![("context.error_rate", real(rate.map(Probability::get)))]
            }
            Self::Latency(ms) => vec![("context.latency_p99", real(ms.map(Magnitude::get)))],
            Self::Entropy(entropy) => {
                vec![("context.hallucination.entropy", real(Some(entropy.get())))]
            }
            Self::Environment(environment, target) => {
                vec![
                    ("environment", json!(environment)),
                    ("deployment_target", json!(target)),
                ]
            }
        }
    }
}

/// RFC 6902; only choices have one.
fn patch_operation(difference: &Difference) -> Option<Value> {
    match difference.kind {
        ChangeKind::Choice => Some(json!({
            "op": "replace",
            "path": format!("/{}", difference.field),
            "value": difference.to,
        })),
        ChangeKind::Fact => None,
    }
}
