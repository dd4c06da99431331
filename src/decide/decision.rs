//! A decision with every number it rests on. Stored as JSON in the opening of its entry and read back
//! for replays: fields may be added, but none changes its meaning.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Number;

use super::category::Category;
use super::evidence::Counts;
use super::settings::Enforcement;
use crate::string_enum;

string_enum!(
    Action {
        Approve = 1 "approve",
        Deny = 2 "deny",
        Escalate = 3 "escalate",
    }
);

/// The first reason of a decision decided.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reason {
    /// Stable, snake_case: `caller_violation`, `policy`, `non_finite`, `epistemic_gate`,
    /// `expected_loss`, `wide_interval`.
    pub code: Cow<'static, str>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub policy: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub have: Option<Number>,
    /// The bound of `have`; absent where nothing is measured.
    #[serde(
        skip_serializing_if = "Option::is_none",
        default,
        deserialize_with = "deserialize_some"
    )]
    pub need: Option<Need>,
    pub detail: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Need {
    Amount(Number),
    /// Null in JSON.
    NoAmount,
}

/// Null is a [`Need`].
fn deserialize_some<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Need>, D::Error> {
    Need::deserialize(deserializer).map(Some)
}

/// An integer has no decimal point in JSON. `None` if `value` is not finite.
pub fn number(value: f64) -> Option<Number> {
    // Up to 2^53 an f64 without a fraction is exactly one integer.
    if value.fract() == 0.0 && value.abs() <= 9_007_199_254_740_992.0 {
        Some(Number::from(value as i64))
    } else {
        Number::from_f64(value)
    }
}

/// The shortest interval that holds the failure probability with this mass.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    pub level: f64,
    pub low: f64,
    pub high: f64,
}

impl Interval {
    pub fn width(&self) -> f64 {
        self.high - self.low
    }
}

/// Weights of the models in the blend; their sum is 1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Weights {
    pub conjugate: f64,
    pub hyper: f64,
    pub hmc: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Contributions {
    pub conjugate_mean: f64,
    /// Prior and failures.
    pub conjugate_alpha: f64,
    /// Prior and successes.
    pub conjugate_beta: f64,
    pub hyper_mean: Option<f64>,
    pub hmc_prediction: Option<f64>,
    pub weights: Weights,
    /// kappa: 1.5 in production, else 1.
    pub context_multiplier: f64,
    /// Before kappa.
    pub blend: f64,
    /// R: the blend times kappa, at most 1.
    pub raw_risk: f64,
    /// S: smoothed over the component's intents, this one included.
    pub smoothed_risk: f64,
    pub conjugate_variance: f64,
}

/// Shares of the raw risk before kappa, of models with weight.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct RiskFactors {
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub conjugate: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub hyperprior: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub hmc: Option<f64>,
}

/// rules.md 7.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Losses {
    pub approve: f64,
    pub deny: f64,
    pub escalate: f64,
}

/// rules.md 7.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Epistemic {
    /// 1 - (1 - hallucination)(1 - forecast uncertainty)(1 - sparsity).
    pub psi: f64,
    /// exp(-rate trials).
    pub data_sparsity: f64,
    /// 1 - mean confidence of the forecasts; 0 without any.
    pub forecast_uncertainty: f64,
    /// 0 without signals.
    pub hallucination_risk: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct MemoryView {
    pub success_rate: Option<f64>,
    pub weight: f64,
    pub similar: u32,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    pub action: Action,
    /// One sentence.
    pub justification: String,
    /// Never empty.
    pub reasons: Vec<Reason>,
    /// The risk that decided, 0 to 1.
    pub risk_score: f64,
    pub risk_interval: Interval,
    /// 1 - psi: how much is known, not how certain the answer is.
    pub confidence: f64,
    /// Upstream's sentence about the risk.
    pub explanation: String,
    pub category: Category,
    pub evidence: Counts,
    pub contributions: Contributions,
    pub risk_factors: RiskFactors,
    pub expected_losses: Losses,
    pub epistemic: Epistemic,
    /// The caller's, then the ids of denying policies.
    pub policy_violations: Vec<String>,
    pub policy_version: u32,
    /// USD a month: the caller's, else from the price table, else unknown.
    pub estimated_cost: Option<f64>,
    pub memory: MemoryView,
    pub enforcement: Enforcement,
}

string_enum!(
    ChangeKind {
        /// The caller can make it.
        Choice = "choice",
        /// The caller can only wait for it, or fix it outside the request.
        Fact = "fact",
    }
);

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Difference {
    pub kind: ChangeKind,
    /// A field of the intent, or `evidence`: trials of the category.
    pub field: String,
    pub from: serde_json::Value,
    pub to: serde_json::Value,
}

/// The smallest change that gets a better action.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Counterfactual {
    pub target: Action,
    pub changes: Vec<Difference>,
    /// The choices among the changes, as RFC 6902 operations on the intent.
    pub patch: Vec<serde_json::Value>,
    /// Always true: the changed intent was decided, and its action is `target`.
    pub flips: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_keeps_its_null_and_its_integers_in_json() {
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
