//! The probability that the change fails (rules.md 6), and its uncertainty.

pub mod beta;
mod blend;
mod interval;
mod libm;
mod smoothing;
mod special;

pub use self::interval::{Intervals, LEVEL};
pub use self::libm::exp;
pub use self::smoothing::smooth;

use self::beta::Beta;
use self::blend::{Estimate, blend};
use super::category::Category;
use super::decision::{Contributions, Interval, RiskFactors, Weights};
use super::evidence::{Counts, Evidence};
use super::intent::Intent;
use super::settings::Settings;

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Posterior {
    pub alpha: f64,
    pub beta: f64,
    /// Of the failure probability.
    pub mean: f64,
    pub variance: f64,
    pub interval: Interval,
}

/// Takes up to 20 us, because the interval is computed.
pub fn posterior(category: Category, counts: &Counts, settings: &Settings) -> Posterior {
    let beta = conjugate(category, counts, settings);
    let (low, high) = Intervals::default().of(beta);
    Posterior {
        alpha: beta.alpha,
        beta: beta.beta,
        mean: beta.mean(),
        variance: beta.variance(),
        interval: Interval {
            level: LEVEL,
            low,
            high,
        },
    }
}

/// Prior plus counts; sums of integers do not depend on the order of outcomes. A failure adds to alpha.
pub fn conjugate(category: Category, counts: &Counts, settings: &Settings) -> Beta {
    let prior = settings.priors.of(category);
    let successes = counts.trials.saturating_sub(counts.failures);
    Beta {
        alpha: prior.alpha + counts.failures as f64,
        beta: prior.beta + successes as f64,
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct Risk {
    pub contributions: Contributions,
    pub factors: RiskFactors,
    /// R, or the larger of R and S.
    pub score: f64,
    /// Of R: that of the blend, times kappa squared.
    pub variance: f64,
    /// The Beta with the mean and variance of the blend, before kappa.
    beta: Beta,
}

impl Risk {
    pub fn new(
        intent: &Intent,
        category: Category,
        evidence: &Evidence,
        settings: &Settings,
    ) -> Self {
        let conjugate = conjugate(category, evidence.counts.of(category), settings);
        let weights = Weights {
            conjugate: 1.0,
            hyper: 0.0,
            hmc: 0.0,
        };
        let estimates = [Estimate {
            weight: weights.conjugate,
            mean: conjugate.mean(),
            variance: conjugate.variance(),
        }];
        let (mean, variance) = blend(&estimates);
        // Matching the moments of the conjugate Beta alone would only round it.
        let beta = if weights.conjugate == 1.0 {
            conjugate
        } else {
            Beta::matching(mean, variance)
        };

        let kappa = if intent.touches_prod() {
            settings.risk.kappa_prod
        } else {
            1.0
        };
        let raw = (kappa * mean).min(1.0);
        let smoothed = smooth(evidence.smoothed, raw, settings.risk.smoothing_factor);
        Self {
            score: if settings.smoothing {
                raw.max(smoothed)
            } else {
                raw
            },
            variance: kappa * kappa * variance,
            beta,
            contributions: Contributions {
                conjugate_mean: conjugate.mean(),
                conjugate_alpha: conjugate.alpha,
                conjugate_beta: conjugate.beta,
                hyper_mean: None,
                hmc_prediction: None,
                weights,
                context_multiplier: kappa,
                blend: mean,
                raw_risk: raw,
                smoothed_risk: smoothed,
                conjugate_variance: conjugate.variance(),
            },
            factors: RiskFactors {
                conjugate: Some(weights.conjugate * conjugate.mean()),
                hyperprior: None,
                hmc: None,
            },
        }
    }

    /// The 90 % interval of R: that of the blend, its ends times kappa, at most 1.
    pub fn interval(&self, intervals: &Intervals) -> Interval {
        let (low, high) = intervals.of(self.beta);
        let kappa = self.contributions.context_multiplier;
        Interval {
            level: LEVEL,
            low: (kappa * low).min(1.0),
            high: (kappa * high).min(1.0),
        }
    }
}
