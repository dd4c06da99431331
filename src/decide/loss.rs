//! Expected losses of the actions (rules.md 7), without unit: only ratios count.

use super::decision::{Epistemic, Losses};
use super::epistemic::mean_confidence;
use super::intent::{Context, Forecast, RiskLevel};
use super::risk::{Risk, exp};
use super::settings::{LossSettings, Settings, TelemetrySettings};

/// Each 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LossInputs {
    /// r.
    pub risk: f64,
    /// Var: the variance of the conjugate Beta.
    pub variance: f64,
    /// b: how impaired the service is.
    pub impact: f64,
    /// pred.
    pub predicted: f64,
    /// v.
    pub opportunity: f64,
    pub psi: f64,
}

impl LossInputs {
    pub fn new(context: &Context, risk: &Risk, epistemic: &Epistemic, settings: &Settings) -> Self {
        Self {
            risk: risk.score,
            variance: risk.contributions.conjugate_variance,
            impact: Impact::new(context, &settings.telemetry).total(),
            predicted: predicted_risk(context.forecasts.as_slice()),
            opportunity: context.opportunity_value.map_or(0.0, |value| value.get()),
            psi: epistemic.psi,
        }
    }

    /// Affine in every input.
    pub fn losses(&self, settings: &LossSettings) -> Losses {
        let LossSettings {
            cost_fp,
            cost_fn,
            cost_impact,
            cost_predictive,
            cost_variance,
            cost_opp,
            cost_review,
            cost_uncertainty,
        } = *settings;
        Losses {
            approve: cost_fp * self.risk
                + cost_impact * self.impact
                + cost_predictive * self.predicted
                + cost_variance * self.variance,
            deny: cost_fn * (1.0 - self.risk) + cost_opp * self.opportunity,
            escalate: cost_review + cost_uncertainty * self.psi,
        }
    }
}

/// How impaired a service is by each measurement, 0 to 1; 0 if it was not measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Impact {
    pub errors: f64,
    pub latency: f64,
}

impl Impact {
    pub fn new(context: &Context, settings: &TelemetrySettings) -> Self {
        let TelemetrySettings {
            error_rate_full,
            latency_p99_free_ms,
            latency_p99_full_ms,
        } = *settings;
        let errors = context
            .error_rate
            .map_or(0.0, |rate| rate.get() / error_rate_full);
        let latency = context.latency_p99.map_or(0.0, |latency| {
            (latency.get() - latency_p99_free_ms) / (latency_p99_full_ms - latency_p99_free_ms)
        });
        Self {
            errors: errors.clamp(0.0, 1.0),
            latency: latency.clamp(0.0, 1.0),
        }
    }

    /// b, 0 to 1.
    pub fn total(self) -> f64 {
        1.0 - (1.0 - self.errors) * (1.0 - self.latency)
    }
}

/// The forecasts' levels, averaged with the softmax of their confidences, times the mean confidence: 0
/// to 1, and 0 without forecasts.
fn predicted_risk(forecasts: &[Forecast]) -> f64 {
    if forecasts.is_empty() {
        return 0.0;
    }
    let (mut weighted, mut weights) = (0.0, 0.0);
    for forecast in forecasts {
        let weight = exp(forecast.confidence.get());
        weighted += weight * failure_probability(forecast.risk_level);
        weights += weight;
    }
    weighted / weights * mean_confidence(forecasts)
}

const fn failure_probability(risk_level: RiskLevel) -> f64 {
    match risk_level {
        RiskLevel::Low => 0.1,
        RiskLevel::Medium => 0.4,
        RiskLevel::High => 0.7,
        RiskLevel::Critical => 0.95,
    }
}
