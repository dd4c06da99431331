//! The settings of a tenant. `data/defaults/settings.toml` has the defaults, each with its source.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

use super::category::PerCategory;
use crate::string_enum;

string_enum!(
    /// What a gate blocks; the action stays the same.
    Enforcement {
        Observe = "observe",
        Deny = "deny",
        /// Blocks denials and escalations.
        Full = "full",
    }
);

string_enum!(
    /// Whether to learn an outcome that was reported by the key that asked.
    SelfReported {
        Learn = "learn",
        /// Record it only.
        Keep = "keep",
    }
);

/// Deserialized settings are in range: [`Settings::check`] has passed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self", deny_unknown_fields)]
pub struct Settings {
    pub enforcement: Enforcement,
    /// Decide on the larger of risk and smoothed risk.
    pub smoothing: bool,
    pub losses: LossSettings,
    pub priors: PerCategory<Prior>,
    pub risk: RiskSettings,
    pub epistemic: EpistemicSettings,
    pub telemetry: TelemetrySettings,
    pub approvals: TtlSettings,
    pub reviews: TtlSettings,
    pub learning: LearningSettings,
    pub change_set: ChangeSetSettings,
    pub intents: IntentSettings,
}

/// Weights of the expected losses (rules.md 7), without unit, 0 to 1,000,000.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LossSettings {
    /// Approving a change that fails.
    pub cost_fp: f64,
    /// Denying a change that would have succeeded.
    pub cost_fn: f64,
    /// Approving a change to a service that is impaired already.
    pub cost_impact: f64,
    /// Approving against the forecasts.
    pub cost_predictive: f64,
    /// Approving on an uncertain risk.
    pub cost_variance: f64,
    /// Denying an opportunity.
    pub cost_opp: f64,
    pub cost_review: f64,
    /// Added to a review, times psi.
    pub cost_uncertainty: f64,
}

/// Beta(alpha, beta) of the failure probability before the first outcome; each 0.01 to 1,000,000.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prior {
    pub alpha: f64,
    pub beta: f64,
}

/// From posterior to risk (rules.md 6).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RiskSettings {
    /// kappa in production, 1 to 100.
    pub kappa_prod: f64,
    /// Weight of the past in the smoothed risk, 0 to 1.
    pub smoothing_factor: f64,
    /// Of an approval, 0 to 1.
    pub interval_width_max: f64,
}

/// The epistemic gate (rules.md 7).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EpistemicSettings {
    /// More is escalated, 0 to 1.
    pub psi_max: f64,
    /// n outcomes leave a sparsity of exp(-rate n), 0.0001 to 10.
    pub sparsity_rate: f64,
}

/// The measurements of an impaired service (rules.md 7).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TelemetrySettings {
    /// The error rate that counts in full, 0.000001 to 1.
    pub error_rate_full: f64,
    /// Up to here latency does not count.
    pub latency_p99_free_ms: f64,
    /// From here it counts in full; more than the one above.
    pub latency_p99_full_ms: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TtlSettings {
    /// Seconds, 60 to 31,536,000 (a year).
    pub ttl_s: u64,
}

impl TtlSettings {
    pub const fn ttl(self) -> Duration {
        Duration::from_secs(self.ttl_s)
    }
}

/// rules.md 5.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LearningSettings {
    pub self_reported: SelfReported,
}

/// rules.md 8.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChangeSetSettings {
    /// More deletes and replaces than this escalate each one that loses data, outside production too.
    pub deletes_max: u32,
}

/// rules.md 2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IntentSettings {
    /// Beyond this many, 1 to 100,000,000, a new one evicts the oldest.
    pub max: u64,
}

#[derive(Debug, Clone, PartialEq, Error)]
#[error("`{setting}` must be from {low} to {high}")]
pub struct SettingError {
    pub setting: String,
    low: f64,
    high: f64,
}

/// Name, value and range of each setting.
macro_rules! ranges {
    ($settings:expr; $($group:ident.$setting:ident: $range:expr,)+) => {
        [$({
            let name = concat!(stringify!($group), ".", stringify!($setting));
            (name.to_owned(), $settings.$group.$setting as f64, $range)
        }),+]
    };
}

impl Settings {
    /// Names the first setting that is out of range. Within the ranges no loss can overflow.
    pub fn check(&self) -> Result<(), SettingError> {
        let cost = || 0.0..=1e6;
        let share = || 0.0..=1.0;
        let ttl = || 60.0..=31_536_000.0;
        // At least a millisecond above the free latency.
        let full_latency = self.telemetry.latency_p99_free_ms + 1.0..=1e9;
        let ranges = ranges! { self;
            losses.cost_fp: cost(),
            losses.cost_fn: cost(),
            losses.cost_impact: cost(),
            losses.cost_predictive: cost(),
            losses.cost_variance: cost(),
            losses.cost_opp: cost(),
            losses.cost_review: cost(),
            losses.cost_uncertainty: cost(),
            risk.kappa_prod: 1.0..=100.0,
            risk.smoothing_factor: share(),
            risk.interval_width_max: share(),
            epistemic.psi_max: share(),
            epistemic.sparsity_rate: 1e-4..=10.0,
            telemetry.error_rate_full: 1e-6..=1.0,
            telemetry.latency_p99_free_ms: 0.0..=1e9,
            telemetry.latency_p99_full_ms: full_latency,
            approvals.ttl_s: ttl(),
            reviews.ttl_s: ttl(),
            intents.max: 1.0..=1e8,
        };
        let strength = 0.01..=1e6;
        let priors = self.priors.iter().flat_map(|(category, prior)| {
            [("alpha", prior.alpha), ("beta", prior.beta)]
                .map(|(part, value)| (format!("priors.{category}.{part}"), value, strength.clone()))
        });
        let wrong = ranges
            .into_iter()
            .chain(priors)
            .find(|(_, value, range)| !range.contains(value));
        wrong.map_or(Ok(()), |(setting, _, range)| {
            let (low, high) = range.into_inner();
            Err(SettingError { setting, low, high })
        })
    }
}

impl Serialize for Settings {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Self::serialize(self, serializer)
    }
}

impl<'de> Deserialize<'de> for Settings {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let settings = Self::deserialize(deserializer)?;
        settings.check().map_err(serde::de::Error::custom)?;
        Ok(settings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::rules::Rules;

    fn edited(from: &str, to: &str) -> Result<Settings, String> {
        let text = include_str!("../../data/defaults/settings.toml");
        assert!(text.contains(from), "{from}");
        toml::from_str(&text.replacen(from, to, 1)).map_err(|error| error.message().to_owned())
    }

    #[test]
    fn what_is_out_of_range_or_unknown_is_refused_by_name() {
        for (from, to, says) in [
            (
                "cost_fp = 10 ",
                "cost_fp = -1 ",
                "`losses.cost_fp` must be from 0 to 1000000",
            ),
            (
                "psi_max = 0.5",
                "psi_max = nan",
                "`epistemic.psi_max` must be from 0 to 1",
            ),
            (
                "kappa_prod = 1.5",
                "kappa_prod = 0.5",
                "`risk.kappa_prod` must be from 1 to 100",
            ),
            (
                "latency_p99_full_ms = 500",
                "latency_p99_full_ms = 150",
                "`telemetry.latency_p99_full_ms` must be from 151 to 1000000000",
            ),
            (
                "default = { alpha = 1,",
                "default = { alpha = 0,",
                "`priors.default.alpha` must be from 0.01 to 1000000",
            ),
            (
                "smoothing = true",
                "smoothing = true\nsmothing = true",
                "unknown field `smothing`",
            ),
            ("\"learn\"", "\"forget\"", "`forget` is no SelfReported"),
            (
                "[approvals]\nttl_s = 86400",
                "[approvals]\nttl_s = 5",
                "`approvals.ttl_s` must be",
            ),
        ] {
            let error = edited(from, to).unwrap_err();
            assert!(error.starts_with(says), "{error}");
        }
        assert!(edited("psi_max = 0.5", "psi_max = 0.25").is_ok());
    }

    #[test]
    fn settings_come_back_from_json() {
        let settings = &Rules::built_in().settings;
        let json = serde_json::to_string(settings).unwrap();
        assert_eq!(&serde_json::from_str::<Settings>(&json).unwrap(), settings);
    }
}
