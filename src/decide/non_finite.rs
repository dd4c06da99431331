//! Numbers that are none. Each becomes the worst it could be, so that an answer holds only numbers
//! that JSON can say, and the first is named, because it sends the intent to a person.

use super::decision::{Epistemic, Losses};
use super::risk::Risk;

/// The variance of a probability that is 0 or 1, each as likely: there is no larger one.
const VARIANCE_MAX: f64 = 0.25;

/// The name of the first number that was not finite, if there was one.
pub type Broken = Option<&'static str>;

/// Replaces what is not finite before losses are made of it. A risk with a broken part is 1.
pub fn replace_non_finite(risk: &mut Risk, epistemic: &mut Epistemic) -> Broken {
    let mut first = None;
    let mut replace_non_finite =
        |name, value: &mut f64, worst| replace(&mut first, name, value, worst);
    let parts = &mut risk.contributions;
    replace_non_finite("conjugate_alpha", &mut parts.conjugate_alpha, f64::MAX);
    replace_non_finite("conjugate_beta", &mut parts.conjugate_beta, 0.0);
    replace_non_finite("conjugate_mean", &mut parts.conjugate_mean, 1.0);
    replace_non_finite(
        "conjugate_variance",
        &mut parts.conjugate_variance,
        VARIANCE_MAX,
    );
    replace_non_finite("context_multiplier", &mut parts.context_multiplier, 1.0);
    replace_non_finite("blend", &mut parts.blend, 1.0);
    replace_non_finite("raw_risk", &mut parts.raw_risk, 1.0);
    replace_non_finite("smoothed_risk", &mut parts.smoothed_risk, 1.0);
    let factors = &mut risk.factors;
    for share in [
        &mut factors.conjugate,
        &mut factors.hyperprior,
        &mut factors.hmc,
    ]
    .into_iter()
    .flatten()
    {
        replace_non_finite("risk_factors", share, 1.0);
    }
    replace_non_finite("risk_variance", &mut risk.variance, VARIANCE_MAX);
    replace_non_finite("risk_score", &mut risk.used, 1.0);
    replace_non_finite("hallucination_risk", &mut epistemic.hallucination_risk, 1.0);
    replace_non_finite(
        "forecast_uncertainty",
        &mut epistemic.forecast_uncertainty,
        1.0,
    );
    replace_non_finite("data_sparsity", &mut epistemic.data_sparsity, 1.0);
    replace_non_finite("psi", &mut epistemic.psi, 1.0);
    if first.is_some() {
        risk.used = 1.0;
    }
    first
}

/// The same for the losses; settings in range do not let them overflow.
pub fn replace_non_finite_in_losses(losses: &mut Losses, risk: &mut Risk) -> Broken {
    let mut first = None;
    replace(
        &mut first,
        "expected_losses.approve",
        &mut losses.approve,
        f64::MAX,
    );
    replace(
        &mut first,
        "expected_losses.deny",
        &mut losses.deny,
        f64::MAX,
    );
    replace(
        &mut first,
        "expected_losses.escalate",
        &mut losses.escalate,
        f64::MAX,
    );
    if first.is_some() {
        risk.used = 1.0;
    }
    first
}

fn replace(first: &mut Broken, name: &'static str, value: &mut f64, worst: f64) {
    if !value.is_finite() {
        *value = worst;
        *first = first.or(Some(name));
    }
}
