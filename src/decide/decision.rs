//! The answer, with every number it rests on. Stored as JSON in the opening of its entry and read
//! back for replays, so a field may be added but never change its meaning.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Number;

use super::category::Category;
use super::evidence::Counts;
use super::settings::Enforcement;
use crate::string_enum;

string_enum!(
    /// What may be done.
    Action {
        /// Go ahead.
        Approve = 1 "approve",
        /// Do not.
        Deny = 2 "deny",
        /// A person decides.
        Escalate = 3 "escalate",
    }
);

/// Why the action is what it is, with its numbers. The first one decided.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reason {
    /// Stable, snake_case: `caller_violation`, `policy`, `non_finite`, `epistemic_gate`,
    /// `expected_loss`, `wide_interval`.
    pub code: Cow<'static, str>,
    /// The policy that says so.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub policy: Option<String>,
    /// What there is of the thing that is measured.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub have: Option<Number>,
    /// What it would have to be; left out where nothing is measured.
    #[serde(
        skip_serializing_if = "Option::is_none",
        default,
        deserialize_with = "present"
    )]
    pub need: Option<Need>,
    /// One sentence for people.
    pub detail: String,
}

/// What a measured thing would have to be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Need {
    /// This much, or this little.
    Amount(Number),
    /// No amount of it would help: null in JSON.
    NoAmount,
}

/// A member that is there: null is a [`Need`], not the absence of one.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Need>, D::Error> {
    Need::deserialize(deserializer).map(Some)
}

/// `value` as answers print it: a whole number without a point. None if it is not finite.
pub fn number(value: f64) -> Option<Number> {
    // 2^53: up to here every whole f64 is one whole number.
    if value.fract() == 0.0 && value.abs() <= 9_007_199_254_740_992.0 {
        Some(Number::from(value as i64))
    } else {
        Number::from_f64(value)
    }
}

/// The shortest interval that holds the failure probability with the given mass.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// Mass, 0.9.
    pub level: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

impl Interval {
    /// Upper minus lower end.
    pub fn width(&self) -> f64 {
        self.high - self.low
    }
}

/// Shares of the parts of the blend; they add up to one.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Weights {
    /// Of the conjugate Beta.
    pub conjugate: f64,
    /// Of the hierarchical model.
    pub hyper: f64,
    /// Of the logistic model.
    pub hmc: f64,
}

/// The parts of the risk.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Contributions {
    /// Mean of the conjugate Beta.
    pub conjugate_mean: f64,
    /// Its alpha: prior and failures.
    pub conjugate_alpha: f64,
    /// Its beta: prior and successes.
    pub conjugate_beta: f64,
    /// Mean of the hierarchical model, where it has weight.
    pub hyper_mean: Option<f64>,
    /// Prediction of the logistic model, where one is loaded.
    pub hmc_prediction: Option<f64>,
    /// Their shares.
    pub weights: Weights,
    /// kappa: 1.5 in production, else 1.
    pub context_multiplier: f64,
    /// The blend before kappa.
    pub blend: f64,
    /// R: the blend times kappa, at most 1.
    pub raw_risk: f64,
    /// S: smoothed over the component, this intent included.
    pub smoothed_risk: f64,
    /// Variance of the conjugate Beta.
    pub conjugate_variance: f64,
}

/// Shares of the raw risk before kappa, those with weight only.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct RiskFactors {
    /// Of the conjugate Beta.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub conjugate: Option<f64>,
    /// Of the hierarchical model.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub hyperprior: Option<f64>,
    /// Of the logistic model.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub hmc: Option<f64>,
}

/// What each action is expected to cost (rules.md 7).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Losses {
    /// Of approving.
    pub approve: f64,
    /// Of denying.
    pub deny: f64,
    /// Of asking a person.
    pub escalate: f64,
}

/// What is not known (rules.md 7, psi).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Epistemic {
    /// 1 - (1 - hallucination)(1 - forecast uncertainty)(1 - sparsity).
    pub psi: f64,
    /// exp(-0.05 trials).
    pub data_sparsity: f64,
    /// 1 - mean confidence; 0 without forecasts.
    pub forecast_uncertainty: f64,
    /// Of the caller's signals; 0 without.
    pub hallucination_risk: f64,
}

/// What memory of similar intents said.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct MemoryView {
    /// Their success rate, if there are any.
    pub success_rate: Option<f64>,
    /// Its weight in the blend.
    pub weight: f64,
    /// Groups that counted.
    pub similar: u32,
}

/// The decision.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// What may be done.
    pub action: Action,
    /// Why this action, in one sentence.
    pub justification: String,
    /// Why, with numbers; never empty.
    pub reasons: Vec<Reason>,
    /// The risk that the decision used, 0 to 1.
    pub risk_score: f64,
    /// Where the risk lies with 90 %.
    pub risk_interval: Interval,
    /// 1 - psi: how much is known, not how sure the answer is.
    pub confidence: f64,
    /// Upstream's sentence on the risk.
    pub explanation: String,
    /// What it learns from.
    pub category: Category,
    /// What had been learned in that category.
    pub evidence: Counts,
    /// Parts of the risk.
    pub contributions: Contributions,
    /// Their shares.
    pub risk_factors: RiskFactors,
    /// What each action would cost.
    pub expected_losses: Losses,
    /// What is not known.
    pub epistemic: Epistemic,
    /// Violations: the caller's, then those of our policies, by id.
    pub policy_violations: Vec<String>,
    /// Version of the policies.
    pub policy_version: u32,
    /// USD a month: the caller's, else from the price table, else unknown.
    pub estimated_cost: Option<f64>,
    /// What memory said.
    pub memory: MemoryView,
    /// What the gates of this tenant do with the action.
    pub enforcement: Enforcement,
}

string_enum!(
    /// Who can bring a change about.
    ChangeKind {
        /// The caller may decide it.
        Choice = "choice",
        /// The caller can only wait for it, or fix it in the world.
        Fact = "fact",
    }
);

/// One difference between what was asked and what would get a better answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Difference {
    /// Who can bring it about.
    pub kind: ChangeKind,
    /// Of what: a field of the intent, or `evidence` (trials of the category).
    pub field: String,
    /// What it is.
    pub from: serde_json::Value,
    /// What it would have to be.
    pub to: serde_json::Value,
}

/// The smallest change that would get the nearest better action, proven by deciding again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Counterfactual {
    /// The action it would get.
    pub target: Action,
    /// What would have to change.
    pub changes: Vec<Difference>,
    /// The choices among them as RFC 6902 operations on the intent.
    pub patch: Vec<serde_json::Value>,
    /// True: the decision was made again on the changed intent and came out as `target`.
    pub flips: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_comes_back_with_its_null_and_its_whole_numbers() {
        let reason = |need| Reason {
            code: "epistemic_gate".into(),
            policy: None,
            have: number(3.0),
            need,
            detail: "…".to_owned(),
        };
        for (need, json) in [
            (None, r#"{"code":"epistemic_gate","have":3,"detail":"…"}"#),
            (
                Some(Need::NoAmount),
                r#"{"code":"epistemic_gate","have":3,"need":null,"detail":"…"}"#,
            ),
            (
                number(14.0).map(Need::Amount),
                r#"{"code":"epistemic_gate","have":3,"need":14,"detail":"…"}"#,
            ),
            (
                number(0.3).map(Need::Amount),
                r#"{"code":"epistemic_gate","have":3,"need":0.3,"detail":"…"}"#,
            ),
        ] {
            let reason = reason(need);
            assert_eq!(serde_json::to_string(&reason).unwrap(), json);
            assert_eq!(serde_json::from_str::<Reason>(json).unwrap(), reason);
        }
        assert_eq!(number(f64::NAN), None);
    }
}
