//! Epistemic uncertainty, psi (rules.md 7): how little is known, not how uncertain the answer is.

use super::decision::Epistemic;
use super::intent::{Context, Forecast, HallucinationSignals};
use super::risk::exp;
use super::settings::{EpistemicSettings, Settings};

/// Of upstream's hallucination probe.
const ENTROPY_WEIGHT: f64 = 0.5;
const EVIDENCE_LIFT_WEIGHT: f64 = 0.3;
const CONTRADICTION_WEIGHT: f64 = 0.2;

pub fn uncertainty(context: &Context, trials: u64, settings: &EpistemicSettings) -> Epistemic {
    let data_sparsity = sparsity(trials, settings);
    let forecasts = context.forecasts.as_slice();
    let forecast_uncertainty = if forecasts.is_empty() {
        0.0
    } else {
        1.0 - mean_confidence(forecasts)
    };
    let signals = context.hallucination.as_ref();
    let hallucination_risk = signals.map_or(0.0, hallucination_risk);
    Epistemic {
        psi: psi(hallucination_risk, forecast_uncertainty, data_sparsity),
        data_sparsity,
        forecast_uncertainty,
        hallucination_risk,
    }
}

/// The total of outcomes that opens the gate while the caller's signals stay the same; `None` if those
/// signals alone keep it closed.
pub fn trials_that_open(epistemic: &Epistemic, settings: &EpistemicSettings) -> Option<u64> {
    let opens = |trials: u64| {
        let sparsity = sparsity(trials, settings);
        psi(
            epistemic.hallucination_risk,
            epistemic.forecast_uncertainty,
            sparsity,
        ) <= settings.psi_max
    };
    // exp(-40) vanishes beside 1: more outcomes than this change no bit.
    let (mut shut, mut open) = (0, (40.0 / settings.sparsity_rate) as u64);
    if opens(shut) {
        return Some(shut);
    }
    if !opens(open) {
        return None;
    }
    // Bisection instead of a closed form, so that rounding is the decision's own.
    while open - shut > 1 {
        let middle = shut + (open - shut) / 2;
        if opens(middle) {
            open = middle;
        } else {
            shut = middle;
        }
    }
    Some(open)
}

/// How many more outcomes open the gate of a category with `trials` if only sparsity counts.
/// `u64::MAX` if none do.
pub fn outcomes_needed(trials: u64, settings: &Settings) -> u64 {
    let only_sparsity = Epistemic {
        psi: 1.0,
        data_sparsity: 1.0,
        forecast_uncertainty: 0.0,
        hallucination_risk: 0.0,
    };
    trials_that_open(&only_sparsity, &settings.epistemic)
        .map_or(u64::MAX, |needed| needed.saturating_sub(trials))
}

/// NaN without forecasts.
pub fn mean_confidence(forecasts: &[Forecast]) -> f64 {
    let confidences = forecasts.iter().map(|forecast| forecast.confidence.get());
    confidences.fold(0.0, |sum, confidence| sum + confidence) / forecasts.len() as f64
}

/// The entropy at which [`hallucination_risk`] is `risk`.
pub fn entropy_for(risk: f64, signals: &HallucinationSignals) -> f64 {
    let rest = CONTRADICTION_WEIGHT * signals.contradiction.get()
        - EVIDENCE_LIFT_WEIGHT * signals.evidence_lift;
    (risk - rest) / ENTROPY_WEIGHT
}

fn psi(hallucination: f64, forecast: f64, sparsity: f64) -> f64 {
    1.0 - (1.0 - hallucination) * (1.0 - forecast) * (1.0 - sparsity)
}

fn sparsity(trials: u64, settings: &EpistemicSettings) -> f64 {
    exp(-settings.sparsity_rate * trials as f64)
}

/// 0 to 1, or NaN if a signal is not finite: clamping would hide an infinite signal.
fn hallucination_risk(signals: &HallucinationSignals) -> f64 {
    let risk = ENTROPY_WEIGHT * signals.entropy.get()
        - EVIDENCE_LIFT_WEIGHT * signals.evidence_lift
        + CONTRADICTION_WEIGHT * signals.contradiction.get();
    if risk.is_finite() {
        risk.clamp(0.0, 1.0)
    } else {
        f64::NAN
    }
}
