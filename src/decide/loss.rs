//! What each action is expected to cost (rules.md 7). No unit: only the ratios count.

use super::decision::{Epistemic, Losses};
use super::epistemic::mean_confidence;
use super::intent::{Context, Forecast, RiskLevel};
use super::risk::{Risk, exp};
use super::settings::{LossSettings, Settings, TelemetrySettings};

/// The three losses.
pub fn expected(
    context: &Context,
    risk: &Risk,
    epistemic: &Epistemic,
    settings: &Settings,
) -> Losses {
    let opportunity = context.opportunity_value.map_or(0.0, |value| value.get());
    of(
        &LossInputs {
            risk: risk.used,
            variance: risk.contributions.conjugate_variance,
            impact: Impact::of(context, &settings.telemetry).total(),
            predicted: predictive_risk(context.forecasts.as_slice()),
            opportunity,
            psi: epistemic.psi,
        },
        &settings.losses,
    )
}

/// What the losses are made of.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LossInputs {
    /// r: the risk of the decision, 0 to 1.
    pub risk: f64,
    /// Var: the variance of the conjugate Beta.
    pub variance: f64,
    /// b: how much the service suffers already, 0 to 1.
    pub impact: f64,
    /// pred: what the forecasts foresee, 0 to 1.
    pub predicted: f64,
    /// v: the value of the opportunity, 0 to 1.
    pub opportunity: f64,
    /// psi: what is not known, 0 to 1.
    pub psi: f64,
}

/// The losses, affine in every stake.
pub fn of(stakes: &LossInputs, settings: &LossSettings) -> Losses {
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
    let LossInputs {
        risk,
        variance,
        impact,
        predicted,
        opportunity,
        psi,
    } = *stakes;
    Losses {
        approve: cost_fp * risk
            + cost_impact * impact
            + cost_predictive * predicted
            + cost_variance * variance,
        deny: cost_fn * (1.0 - risk) + cost_opp * opportunity,
        escalate: cost_review + cost_uncertainty * psi,
    }
}

/// How much a service suffers already, by each measurement: 0 not at all, 1 in full. What was not
/// measured counts as 0.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Impact {
    /// By its failing requests.
    pub errors: f64,
    /// By its latency.
    pub latency: f64,
}

impl Impact {
    /// What the caller has measured.
    pub fn of(context: &Context, settings: &TelemetrySettings) -> Self {
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

    /// b: both together, 0 to 1.
    pub fn total(self) -> f64 {
        1.0 - (1.0 - self.errors) * (1.0 - self.latency)
    }
}

/// What the forecasts foresee, 0 to 1: their levels, averaged with the softmax of their confidences,
/// times the mean confidence; 0 without forecasts.
fn predictive_risk(forecasts: &[Forecast]) -> f64 {
    if forecasts.is_empty() {
        return 0.0;
    }
    let (weighted, weights) = forecasts
        .iter()
        .fold((0.0, 0.0), |(weighted, weights), forecast| {
            let weight = exp(forecast.confidence.get());
            (
                weighted + weight * level(forecast.risk_level),
                weights + weight,
            )
        });
    weighted / weights * mean_confidence(forecasts)
}

/// How likely a failure of this level is, by upstream's specification.
const fn level(risk_level: RiskLevel) -> f64 {
    match risk_level {
        RiskLevel::Low => 0.1,
        RiskLevel::Medium => 0.4,
        RiskLevel::High => 0.7,
        RiskLevel::Critical => 0.95,
    }
}
