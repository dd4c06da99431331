//! The decision as a pure function: [`decide`] takes an intent, evidence of the past, the rules in force
//! and the time, and returns an action and every number it rests on.
//!
//! Same arguments, same bits, on every machine, so that a decision can be recomputed: transcendental
//! functions come from one place (`risk/libm.rs`), counts are integers, sums have a fixed order. It never
//! fails: what cannot be evaluated becomes a reason to deny or escalate.
//!
//! **Must not know**: clock, randomness, async, I/O, logging, and anything of a tenant but its
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
use self::loss::LossInputs;
use self::risk::{Intervals, Risk};
use crate::time::Timestamp;

pub fn decide(intent: &Intent, evidence: &Evidence, rules: &Rules, at: Timestamp) -> Decision {
    decide_with(intent, evidence, rules, at, &Intervals::default())
}

fn decide_with(
    intent: &Intent,
    evidence: &Evidence,
    rules: &Rules,
    at: Timestamp,
    intervals: &Intervals,
) -> Decision {
    let assessment = assess(intent, evidence, rules, at, intervals);
    let (action, justification, reasons) = reason::reasons(&assessment);
    let Assessment {
        category,
        risk,
        epistemic,
        ..
    } = &assessment;
    let reported = intent.policy_violations.as_slice().iter();
    let reported = reported.map(|text| text.as_str());
    let denials = assessment.findings.violations.iter();
    let denials = denials.map(|finding| finding.policy.as_ref());
    Decision {
        action,
        justification,
        reasons,
        risk_score: risk.score,
        risk_interval: risk.interval(intervals),
        confidence: 1.0 - epistemic.psi,
        explanation: reason::explanation(*category, &risk.contributions, risk.score),
        category: *category,
        evidence: *assessment.counts,
        contributions: risk.contributions,
        risk_factors: risk.factors,
        expected_losses: assessment.losses,
        epistemic: *epistemic,
        policy_violations: reported.chain(denials).map(str::to_owned).collect(),
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

/// All that the choice rests on. No rule depends on the time yet.
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

    let findings = policy::evaluate(intent, evidence, rules);
    let mut risk = Risk::new(intent, category, evidence, settings);
    let mut epistemic = epistemic::uncertainty(&intent.context, counts.trials, &settings.epistemic);
    let non_finite = non_finite::replace(&mut risk, &mut epistemic);
    let inputs = LossInputs::new(&intent.context, &risk, &epistemic, settings);
    let mut losses = inputs.losses(&settings.losses);
    let non_finite = non_finite.or(non_finite::replace_losses(&mut losses, &mut risk));
    Assessment {
        intent,
        category,
        counts,
        settings,
        findings,
        risk,
        epistemic,
        losses,
        non_finite,
        intervals,
    }
}
