//! Epistemic uncertainty, psi (rules.md 7): how little is known, not how unsure the answer is.

use super::decision::Epistemic;
use super::intent::{Context, Forecast, HallucinationSignals};
use super::risk::exp;
use super::settings::{EpistemicSettings, Settings};

/// How upstream's probe weighs the signs that a language model invented its answer.
const ENTROPY_WEIGHT: f64 = 0.5;
const EVIDENCE_LIFT_WEIGHT: f64 = 0.3;
const CONTRADICTION_WEIGHT: f64 = 0.2;

/// psi from too few outcomes of the category, unsure forecasts, and signs of an invented request.
pub fn uncertainty(context: &Context, trials: u64, settings: &EpistemicSettings) -> Epistemic {
    let data_sparsity = sparsity(trials, settings);
    let forecasts = context.forecasts.as_slice();
    let forecast_uncertainty = if forecasts.is_empty() {
        0.0
    } else {
        1.0 - mean_confidence(forecasts)
    };
    let hallucination_risk = context
        .hallucination
        .as_ref()
        .map_or(0.0, hallucination_risk);
    Epistemic {
        psi: psi(hallucination_risk, forecast_uncertainty, data_sparsity),
        data_sparsity,
        forecast_uncertainty,
        hallucination_risk,
    }
}

/// How many outcomes in all open the gate if the caller's own signals stay as they are; none if those
/// signals alone keep it shut.
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
    // Bisection and not a closed form, so that rounding is that of the decision itself.
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

/// How many more outcomes let a category with `trials` pass the gate, if nothing but sparsity counts.
/// `u64::MAX` if the settings let nothing pass.
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

/// Of at least one forecast.
pub fn mean_confidence(forecasts: &[Forecast]) -> f64 {
    let sum = forecasts
        .iter()
        .fold(0.0, |sum, forecast| sum + forecast.confidence.get());
    sum / forecasts.len() as f64
}

/// The inverse of [`hallucination_risk`] in the entropy: the entropy at which the signals give `risk`.
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
