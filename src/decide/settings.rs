//! What a tenant may set about its decisions. The values it starts with, and where each comes from,
//! stand in `data/defaults/settings.toml`.

use std::ops::RangeInclusive;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

use super::category::PerCategory;
use crate::string_enum;

string_enum!(
    /// What a gate does with a decision; it never changes the action.
    Enforcement {
        /// Nothing stops.
        Observe = "observe",
        /// Only denials stop.
        Deny = "deny",
        /// Denials and escalations stop.
        Full = "full",
    }
);

string_enum!(
    /// What becomes of an outcome that the key reports that asked for the change.
    SelfReported {
        /// It is learned, and counted as self-reported.
        Learn = "learn",
        /// It is kept but not learned.
        Keep = "keep",
    }
);

/// All settings of a tenant. Read from text they are in range: [`Settings::check`] has passed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self", deny_unknown_fields)]
pub struct Settings {
    /// What gates do with an action.
    pub enforcement: Enforcement,
    /// Decide on the larger of risk and smoothed risk; else on the risk alone.
    pub smoothing: bool,
    /// Expected losses.
    pub losses: LossSettings,
    /// Failure before the first outcome.
    pub priors: PerCategory<Prior>,
    /// From posterior to risk.
    pub risk: RiskSettings,
    /// When too little is known.
    pub epistemic: EpistemicSettings,
    /// When a service counts as suffering.
    pub telemetry: TelemetrySettings,
    /// How long an approval holds.
    pub approvals: TtlSettings,
    /// How long a review waits.
    pub reviews: TtlSettings,
    /// What is learned.
    pub learning: LearningSettings,
    /// When a change set destroys much.
    pub change_set: ChangeSetSettings,
    /// How many intents are kept.
    pub intents: IntentSettings,
}

/// Constants of the expected losses (rules.md 7), without unit, 0 to 1,000,000.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LossSettings {
    /// Approving what fails.
    pub cost_fp: f64,
    /// Denying what would have worked.
    pub cost_fn: f64,
    /// Approving a change to a service that suffers already.
    pub cost_impact: f64,
    /// Approving against the forecasts.
    pub cost_predictive: f64,
    /// Approving on an uncertain risk.
    pub cost_variance: f64,
    /// Denying an opportunity.
    pub cost_opp: f64,
    /// Asking a person.
    pub cost_review: f64,
    /// Asking a person about what is not known.
    pub cost_uncertainty: f64,
}

/// Beta(alpha, beta) of the failure probability before the first outcome; each 0.01 to 1,000,000.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prior {
    /// Failures it stands for.
    pub alpha: f64,
    /// Successes it stands for.
    pub beta: f64,
}

/// From posterior to risk (rules.md 6).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RiskSettings {
    /// kappa in production, 1 to 100.
    pub kappa_prod: f64,
    /// Share of the past in the smoothed risk, 0 to 1.
    pub smoothing_factor: f64,
    /// Widest interval of an approval, 0 to 1.
    pub interval_width_max: f64,
}

/// When too little is known (rules.md 7).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EpistemicSettings {
    /// Most psi that is not escalated, 0 to 1.
    pub psi_max: f64,
    /// How fast outcomes make it less, for each outcome, 0.0001 to 10.
    pub sparsity_rate: f64,
}

/// When a service counts as suffering (rules.md 7).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TelemetrySettings {
    /// Share of failing requests that counts in full, 0.000001 to 1.
    pub error_rate_full: f64,
    /// Latency up to which nothing counts, milliseconds.
    pub latency_p99_free_ms: f64,
    /// Latency that counts in full, milliseconds, more than the one above.
    pub latency_p99_full_ms: f64,
}

/// How long something holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TtlSettings {
    /// Seconds, 60 to 31,536,000 (a year).
    pub ttl_s: u64,
}

impl TtlSettings {
    /// The same as a duration.
    pub const fn ttl(self) -> Duration {
        Duration::from_secs(self.ttl_s)
    }
}

/// What is learned (rules.md 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LearningSettings {
    /// What becomes of self-reported outcomes.
    pub self_reported: SelfReported,
}

/// When a change set destroys much (rules.md 8).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChangeSetSettings {
    /// Deletes and replaces up to which losing data needs nobody outside production.
    pub deletes_max: u32,
}

/// How many intents are kept (rules.md 2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IntentSettings {
    /// Beyond this many, 1 to 100,000,000, a new one deletes the oldest.
    pub max: u64,
}

/// A setting was outside its range.
#[derive(Debug, Clone, PartialEq, Error)]
#[error("`{setting}` must be from {low} to {high}")]
pub struct SettingError {
    /// Its name, as `losses.cost_fp`.
    pub setting: String,
    low: f64,
    high: f64,
}

impl Settings {
    /// Checks every range and names the first setting outside its own. No number inside them can
    /// make a loss overflow.
    pub fn check(&self) -> Result<(), SettingError> {
        let Self {
            losses,
            risk,
            epistemic,
            telemetry,
            ..
        } = self;
        let cost = 0.0..=1e6;
        let share = 0.0..=1.0;
        let ttl = 60.0..=31_536_000.0;
        // Above the free latency, by a millisecond at least.
        let full_latency = telemetry.latency_p99_free_ms + 1.0..=1e9;
        let rows: [(&str, f64, RangeInclusive<f64>); 19] = [
            ("losses.cost_fp", losses.cost_fp, cost.clone()),
            ("losses.cost_fn", losses.cost_fn, cost.clone()),
            ("losses.cost_impact", losses.cost_impact, cost.clone()),
            (
                "losses.cost_predictive",
                losses.cost_predictive,
                cost.clone(),
            ),
            ("losses.cost_variance", losses.cost_variance, cost.clone()),
            ("losses.cost_opp", losses.cost_opp, cost.clone()),
            ("losses.cost_review", losses.cost_review, cost.clone()),
            ("losses.cost_uncertainty", losses.cost_uncertainty, cost),
            ("risk.kappa_prod", risk.kappa_prod, 1.0..=100.0),
            (
                "risk.smoothing_factor",
                risk.smoothing_factor,
                share.clone(),
            ),
            (
                "risk.interval_width_max",
                risk.interval_width_max,
                share.clone(),
            ),
            ("doubt.psi_max", epistemic.psi_max, share),
            ("doubt.sparsity_rate", epistemic.sparsity_rate, 1e-4..=10.0),
            (
                "telemetry.error_rate_full",
                telemetry.error_rate_full,
                1e-6..=1.0,
            ),
            (
                "telemetry.latency_p99_free_ms",
                telemetry.latency_p99_free_ms,
                0.0..=1e9,
            ),
            (
                "telemetry.latency_p99_full_ms",
                telemetry.latency_p99_full_ms,
                full_latency,
            ),
            ("approvals.ttl_s", self.approvals.ttl_s as f64, ttl.clone()),
            ("reviews.ttl_s", self.reviews.ttl_s as f64, ttl),
            ("intents.max", self.intents.max as f64, 1.0..=1e8),
        ];
        let strength = 0.01..=1e6;
        let priors = self.priors.iter().flat_map(|(category, prior)| {
            [("alpha", prior.alpha), ("beta", prior.beta)]
                .map(|(part, value)| (format!("priors.{category}.{part}"), value, strength.clone()))
        });
        rows.into_iter()
            .map(|(setting, value, range)| (setting.to_owned(), value, range))
            .chain(priors)
            .find(|(_, value, range)| !range.contains(value))
            .map_or(Ok(()), |(setting, _, range)| {
                Err(SettingError {
                    setting,
                    low: *range.start(),
                    high: *range.end(),
                })
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
                "`doubt.psi_max` must be from 0 to 1",
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
