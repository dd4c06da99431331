//! The decision, as a function of values: may this change be made?
//!
//! [`decide`] takes what is asked, what is known of the past, the rules in force and the time, and
//! answers with an action and every number it rests on. Same arguments, same bits, on every machine:
//! the elementary functions come from one place (`risk/libm.rs`), counts are whole numbers, sums have
//! a fixed order. Anyone who has the four arguments can make the decision again.
//!
//! It never fails. What cannot be evaluated becomes a reason, and the decision falls to the safe side.
//!
//! What is not here: a clock, randomness, async, I/O, logging, and anything of a tenant but its
//! [`Evidence`]. `data/guides/rules.md` says what every number means.

pub mod category;
mod choice;
mod counterfactual;
pub mod decision;
mod epistemic;
pub mod evidence;
pub mod intent;
mod loss;
mod non_finite;
pub mod policy;
pub mod price;
mod reason;
mod risk;
pub mod rules;
pub mod settings;

#[cfg(test)]
mod tests;

pub use self::category::{Category, PerCategory};
pub use self::counterfactual::counterfactual;
pub use self::decision::{Action, Counterfactual, Decision};
pub use self::epistemic::outcomes_needed;
pub use self::evidence::{ChangeSetTotals, Counts, Evidence};
pub use self::intent::Intent;
pub use self::risk::{Posterior, conjugate, posterior};
pub use self::rules::Rules;
pub use self::settings::Settings;

use self::choice::Assessment;
use self::decision::MemoryView;
use self::risk::{Intervals, Risk};
use crate::time::Timestamp;

/// Decides about `intent`, on this evidence, under these rules, at this time.
pub fn decide(intent: &Intent, evidence: &Evidence, rules: &Rules, at: Timestamp) -> Decision {
    decide_with(intent, evidence, rules, at, &Intervals::default())
}

/// [`decide`], finding its interval in `intervals`.
fn decide_with(
    intent: &Intent,
    evidence: &Evidence,
    rules: &Rules,
    at: Timestamp,
    intervals: &Intervals,
) -> Decision {
    let case = assess(intent, evidence, rules, at, intervals);
    let (action, justification, reasons) = reason::reasons(&case);
    let reported = intent
        .policy_violations
        .as_slice()
        .iter()
        .map(|text| text.as_str());
    let found = case
        .findings
        .violations
        .iter()
        .map(|finding| finding.policy.as_ref());
    Decision {
        action,
        justification,
        reasons,
        risk_score: case.risk.used,
        risk_interval: case.risk.interval(intervals),
        confidence: 1.0 - case.epistemic.psi,
        explanation: reason::explanation(case.category, &case.risk.contributions, case.risk.used),
        category: case.category,
        evidence: *case.counts,
        contributions: case.risk.contributions,
        risk_factors: case.risk.factors,
        expected_losses: case.losses,
        epistemic: case.epistemic,
        policy_violations: reported.chain(found).map(str::to_owned).collect(),
        policy_version: rules.policy_version,
        estimated_cost: rules.prices.estimate(intent).map(|cost| cost.get()),
        memory: MemoryView {
            success_rate: None,
            weight: 0.0,
            similar: evidence.memory.similar,
        },
        enforcement: rules.settings.enforcement,
    }
}

/// Policy, risk, loss: all that the choice rests on. No rule looks at the time yet.
fn assess<'a>(
    intent: &'a Intent,
    evidence: &'a Evidence,
    rules: &'a Rules,
    _at: Timestamp,
    intervals: &'a Intervals,
) -> Assessment<'a> {
    let settings = &rules.settings;
    let category = Category::of(intent);
    let counts = evidence.counts.of(category);

    let findings = policy::judge(intent, evidence, rules);
    let mut risk = Risk::of(intent, category, evidence, settings);
    let mut epistemic = epistemic::epistemic(&intent.context, counts.trials, &settings.epistemic);
    let broken = non_finite::replace_non_finite(&mut risk, &mut epistemic);
    let mut losses = loss::expected(&intent.context, &risk, &epistemic, settings);
    let broken = broken.or(non_finite::replace_non_finite_in_losses(
        &mut losses,
        &mut risk,
    ));
    Assessment {
        intent,
        category,
        counts,
        settings,
        findings,
        risk,
        epistemic,
        losses,
        broken,
        intervals,
    }
}
