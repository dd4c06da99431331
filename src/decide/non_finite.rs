//! Replaces numbers that are not finite by their worst value, because JSON has only finite ones. The
//! name of the first is returned, because it escalates the intent.

use super::decision::{Epistemic, Losses};
use super::risk::Risk;

/// The largest variance of a probability: 0 or 1, equally likely.
const VARIANCE_MAX: f64 = 0.25;

/// To be called before losses are computed. A risk with such a part is 1.
pub fn replace(risk: &mut Risk, epistemic: &mut Epistemic) -> Option<&'static str> {
    let parts = &mut risk.contributions;
    let factors = &mut risk.factors;
    let mut first = replace_each([
        ("conjugate_alpha", &mut parts.conjugate_alpha, f64::MAX),
        ("conjugate_beta", &mut parts.conjugate_beta, 0.0),
        ("conjugate_mean", &mut parts.conjugate_mean, 1.0),
        (
            "conjugate_variance",
            &mut parts.conjugate_variance,
            VARIANCE_MAX,
        ),
        ("context_multiplier", &mut parts.context_multiplier, 1.0),
        ("blend", &mut parts.blend, 1.0),
        ("raw_risk", &mut parts.raw_risk, 1.0),
        ("smoothed_risk", &mut parts.smoothed_risk, 1.0),
    ]);
    let shares = [
        &mut factors.conjugate,
        &mut factors.hyperprior,
        &mut factors.hmc,
    ];
    let shares = shares.into_iter().flatten();
    first = first.or(replace_each(shares.map(|it| ("risk_factors", it, 1.0))));
    first = first.or(replace_each([
        ("risk_variance", &mut risk.variance, VARIANCE_MAX),
        ("risk_score", &mut risk.score, 1.0),
        ("hallucination_risk", &mut epistemic.hallucination_risk, 1.0),
        (
            "forecast_uncertainty",
            &mut epistemic.forecast_uncertainty,
            1.0,
        ),
        ("data_sparsity", &mut epistemic.data_sparsity, 1.0),
        ("psi", &mut epistemic.psi, 1.0),
    ]));
    if first.is_some() {
        risk.score = 1.0;
    }
    first
}

/// Losses cannot overflow with settings in range.
pub fn replace_losses(losses: &mut Losses, risk: &mut Risk) -> Option<&'static str> {
    let first = replace_each([
        ("expected_losses.approve", &mut losses.approve, f64::MAX),
        ("expected_losses.deny", &mut losses.deny, f64::MAX),
        ("expected_losses.escalate", &mut losses.escalate, f64::MAX),
    ]);
    if first.is_some() {
        risk.score = 1.0;
    }
    first
}

/// Takes name, value and worst value. Replaces all, and returns the first name.
fn replace_each<'a>(
    values: impl IntoIterator<Item = (&'static str, &'a mut f64, f64)>,
) -> Option<&'static str> {
    values
        .into_iter()
        .fold(None, |first, (name, value, worst)| {
            if value.is_finite() {
                return first;
            }
            *value = worst;
            first.or(Some(name))
        })
}
