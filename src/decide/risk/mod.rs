//! How likely it is that the change fails (rules.md 6), and how sure that number is.

pub mod beta;
mod blend;
mod interval;
mod libm;
mod smoothing;

pub use self::interval::{Intervals, LEVEL};
pub use self::libm::exp;
pub use self::smoothing::smooth;

use self::beta::Beta;
use self::blend::{Part, blend};
use super::category::Category;
use super::decision::{Contributions, Interval, RiskFactors, Weights};
use super::evidence::{Counts, Evidence};
use super::intent::Intent;
use super::settings::Settings;

/// What one category has taught, as `GET /beta-state` shows it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Posterior {
    /// Prior and failures.
    pub alpha: f64,
    /// Prior and successes.
    pub beta: f64,
    /// Expected probability of failure.
    pub mean: f64,
    /// Its variance.
    pub variance: f64,
    /// Where it lies with 90 %.
    pub interval: Interval,
}

/// The posterior of `category` after `counts`. Costs up to 20 us: the interval is worked out.
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

/// Prior and counts, added up anew each time: whole numbers do not depend on the order in which the
/// outcomes came. A failure adds to alpha.
pub fn conjugate(category: Category, counts: &Counts, settings: &Settings) -> Beta {
    let prior = settings.priors.of(category);
    let successes = counts.trials.saturating_sub(counts.failures);
    Beta {
        alpha: prior.alpha + counts.failures as f64,
        beta: prior.beta + successes as f64,
    }
}

/// The risk of one intent with all its parts.
#[derive(Debug, Clone, PartialEq)]
pub struct Risk {
    /// The parts, as answers show them.
    pub contributions: Contributions,
    /// Shares of the blend, as answers show them.
    pub factors: RiskFactors,
    /// What the decision uses: R, or the larger of R and S.
    pub used: f64,
    /// Variance of R: that of the mixture, times kappa squared.
    pub variance: f64,
    /// The Beta with the mean and variance of the blend, before kappa.
    shape: Beta,
}

impl Risk {
    /// The risk of `intent`, which falls into `category`.
    pub fn of(
        intent: &Intent,
        category: Category,
        evidence: &Evidence,
        settings: &Settings,
    ) -> Self {
        let conjugate = conjugate(category, evidence.counts.of(category), settings);
        // The hierarchical and the logistic model and memory join here, each with its weight.
        let weights = Weights {
            conjugate: 1.0,
            hyper: 0.0,
            hmc: 0.0,
        };
        let parts = [Part {
            weight: weights.conjugate,
            mean: conjugate.mean(),
            variance: conjugate.variance(),
        }];
        let (mean, variance) = blend(&parts);
        // The conjugate part alone has its Beta already; matching its moments would only round it.
        let alone = weights.conjugate == 1.0;
        let shape = if alone {
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
            used: if settings.smoothing {
                raw.max(smoothed)
            } else {
                raw
            },
            variance: kappa * kappa * variance,
            shape,
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

    /// Where R lies with 90 %: the interval before kappa, its ends times kappa, at most 1.
    pub fn interval(&self, intervals: &Intervals) -> Interval {
        let (low, high) = intervals.of(self.shape);
        let kappa = self.contributions.context_multiplier;
        Interval {
            level: LEVEL,
            low: (kappa * low).min(1.0),
            high: (kappa * high).min(1.0),
        }
    }
}
