//! The Beta distribution: moments, distribution function, quantiles, and its shortest interval.
//!
//! Everything happens in `t = logit(p)`, where nothing underflows at the edges and the density of
//! `t` is `w(t) = p^a (1-p)^b / B(a, b)`, the term that carries the digits. Measured against values
//! of 50 digits, quantiles and interval ends agree to 2e-11 for `a` and `b` from 1e-6 to 1e6
//! (`tests/oracle/decide_reference.json`).
//!
//! DLMF is the NIST Digital Library of Mathematical Functions.

use std::f64::consts::TAU;

use super::libm::{exp, exp_m1, ln, ln_1p};
use super::special::{
    continued_fraction, ln_beta, ln_sigmoid, logit_moments, normal_upper_estimate,
    normal_upper_quantile, phi, power_series, stirling_remainder,
};

/// Beta(alpha, beta) of a failure probability.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Beta {
    /// Pseudo-count of failures, more than 0.
    pub alpha: f64,
    /// Pseudo-count of successes, more than 0.
    pub beta: f64,
}

/// From which end a mass is counted. A mass near 1 is given from the other end, because `1 - p` has lost
/// the digits of `p`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tail {
    /// From 0 upwards.
    Lower,
    /// From 1 downwards.
    Upper,
}

impl Beta {
    /// The Beta with this mean and variance; not a proper one unless `0 < variance < mean (1 - mean)`.
    pub fn matching(mean: f64, variance: f64) -> Self {
        let strength = mean * (1.0 - mean) / variance - 1.0;
        Self {
            alpha: mean * strength,
            beta: (1.0 - mean) * strength,
        }
    }

    /// True if both parameters are finite and more than 0.
    pub fn is_proper(self) -> bool {
        let proper = |x: f64| x.is_finite() && x > 0.0;
        proper(self.alpha) && proper(self.beta)
    }

    pub fn mean(self) -> f64 {
        self.alpha / (self.alpha + self.beta)
    }

    pub fn variance(self) -> f64 {
        let sum = self.alpha + self.beta;
        self.alpha * self.beta / (sum * sum * (sum + 1.0))
    }

    /// The mass below `x` and the mass above it. The smaller one has all its digits.
    #[cfg(test)]
    pub fn masses(self, x: f64) -> (f64, f64) {
        let cdf = NormalizedBeta::new(self).cdf(Point { p: x, q: 1.0 - x });
        (cdf.below, cdf.above)
    }

    /// The point that has `mass` (0 to 1, both excluded) on the side of `tail`.
    pub fn quantile(self, mass: f64, tail: Tail) -> f64 {
        NormalizedBeta::new(self).quantile(mass, tail).p
    }

    /// The shortest interval that holds `mass` (0 to 1, both excluded). For a U-shaped density it is at an
    /// edge, the upper one if both are as short; for the uniform one it is in the middle.
    pub fn shortest_interval(self, mass: f64) -> (f64, f64) {
        let (a, b) = (self.alpha, self.beta);
        let rest = 1.0 - mass;
        if a == 1.0 && b == 1.0 {
            (0.5 * rest, 1.0 - 0.5 * rest)
        } else if a == 1.0 && b > 1.0 {
            // 1 - F(x) = (1-x)^b.
            (0.0, -exp_m1(ln(rest) / b))
        } else if a <= 1.0 && b >= 1.0 {
            (0.0, self.quantile(rest, Tail::Upper))
        } else if a >= 1.0 && b <= 1.0 {
            (self.quantile(rest, Tail::Lower), 1.0)
        } else if a < 1.0 {
            let distribution = NormalizedBeta::new(self);
            let low = distribution.quantile(rest, Tail::Lower);
            let high = distribution.quantile(rest, Tail::Upper);
            if low.q <= high.p {
                (low.p, 1.0)
            } else {
                (0.0, high.p)
            }
        } else if a.min(b) > NEARLY_NORMAL {
            self.nearly_normal_interval(mass)
        } else {
            NormalizedBeta::new(self).interior_interval(rest)
        }
    }

    /// [`Beta::shortest_interval`] where the distribution is almost normal: equal density at both
    /// ends to first order in the skewness moves the middle by `skewness (z^2 - 3) / 6` standard
    /// deviations. The error is of second order in it, at most 1e-7 of the width. This bounds the time of
    /// a decision, whatever the counts: the continued fraction needs some sqrt(a + b) steps.
    fn nearly_normal_interval(self, mass: f64) -> (f64, f64) {
        let (a, b) = (self.alpha, self.beta);
        let z = normal_upper_quantile(0.5 * (1.0 - mass));
        let sd = self.variance().sqrt();
        let skewness = 2.0 * (b - a) * (a + b + 1.0).sqrt() / ((a + b + 2.0) * (a * b).sqrt());
        let middle = self.mean() + sd * skewness * (z * z - 3.0) / 6.0;
        ((middle - z * sd).max(0.0), (middle + z * sd).min(1.0))
    }
}

/// With more failures and more successes than this the interval is computed as nearly normal.
const NEARLY_NORMAL: f64 = 1e7;

/// A point of the unit interval: `p` and `q = 1 - p`, each with all its digits.
#[derive(Debug, Clone, Copy)]
struct Point {
    p: f64,
    q: f64,
}

impl Point {
    fn from_logit(t: f64) -> Self {
        if t >= 0.0 {
            let e = exp(-t);
            Self {
                p: 1.0 / (1.0 + e),
                q: e / (1.0 + e),
            }
        } else {
            let e = exp(t);
            Self {
                p: e / (1.0 + e),
                q: 1.0 / (1.0 + e),
            }
        }
    }
}

/// The distribution function at a point, and its complement.
#[derive(Debug, Clone, Copy)]
struct Cdf {
    below: f64,
    above: f64,
    /// In `t`: how fast mass moves from above to below.
    density: f64,
}

/// A Beta with the normalization of its density computed.
#[derive(Debug, Clone, Copy)]
struct NormalizedBeta {
    a: f64,
    b: f64,
    normalization: Normalization,
}

/// The factor of `p^a q^b`, in the form that keeps the digits.
#[derive(Debug, Clone, Copy)]
enum Normalization {
    /// `ln B(a, b)`, where a parameter is small.
    LnBeta(f64),
    /// By Stirling's formula, where both are 10 or more: the density at the mean.
    AtMean(f64),
}

/// No loop comes near it; it bounds the time of a decision by construction.
const ROOT_STEPS_MAX: u32 = 200;

/// A step of Newton's method this small, relative to the distance from the mode, is the last: convergence
/// is quadratic, so the next one would change no digit that rounding leaves.
const CONVERGED: f64 = 1e-7;

impl NormalizedBeta {
    fn new(beta: Beta) -> Self {
        let Beta { alpha: a, beta: b } = beta;
        let normalization = if a.min(b) >= 10.0 {
            let correction =
                stirling_remainder(a) + stirling_remainder(b) - stirling_remainder(a + b);
            Normalization::AtMean((a * b / (TAU * (a + b))).sqrt() * exp(-correction))
        } else {
            Normalization::LnBeta(ln_beta(a, b))
        };
        Self {
            a,
            b,
            normalization,
        }
    }

    /// `p^a q^b / B(a, b)`. The plain form loses 8 to 10 digits at 1e6; the one around the mean,
    /// `exp(-a phi(e) - b phi(f))` with `e = p/mean - 1` and `f = q/(1-mean) - 1`, does not.
    fn density(&self, Point { p, q }: Point) -> f64 {
        let (a, b) = (self.a, self.b);
        match self.normalization {
            Normalization::AtMean(peak) => {
                let off = p * b - q * a;
                peak * exp(-(a * phi(off / a) + b * phi(-off / b)))
            }
            Normalization::LnBeta(ln_beta) => {
                let ln_p = if p < 0.5 { ln(p) } else { ln_1p(-q) };
                let ln_q = if q < 0.5 { ln(q) } else { ln_1p(-p) };
                exp(a * ln_p + b * ln_q - ln_beta)
            }
        }
    }

    /// The regularised incomplete beta function I_p(a, b) and its complement: the continued fraction
    /// on whichever side of the mean it converges (DLMF 8.17.22 and 8.17.4), the power series
    /// (DLMF 8.17.7 with 15.2.1) where that is shorter.
    fn cdf(&self, at: Point) -> Cdf {
        let (a, b, Point { p, q }) = (self.a, self.b, at);
        if p <= 0.0 {
            return Cdf {
                below: 0.0,
                above: 1.0,
                density: 0.0,
            };
        }
        if q <= 0.0 {
            return Cdf {
                below: 1.0,
                above: 0.0,
                density: 0.0,
            };
        }
        let density = self.density(at);
        if p * (a + b + 2.0) >= a + 1.0 {
            let above = density * continued_fraction(b, a, q) / b;
            return Cdf {
                below: 1.0 - above,
                above,
                density,
            };
        }
        let below = if b * p <= 0.7 && p < 0.7 && a < 50.0 {
            let ln_q = if p < 0.5 { ln_1p(-p) } else { ln(q) };
            density * exp(-b * ln_q) * power_series(a, b, p)
        } else {
            density * continued_fraction(a, b, p) / a
        };
        Cdf {
            below,
            above: 1.0 - below,
            density,
        }
    }

    /// Newton's method on the logarithm of the mass, in `t`, inside a bracket that only shrinks.
    fn quantile(&self, mass: f64, tail: Tail) -> Point {
        let mut t = self.quantile_start(mass, tail);
        let (mut low, mut high) = (f64::NEG_INFINITY, f64::INFINITY);
        for step in 0..ROOT_STEPS_MAX {
            let cdf = self.cdf(Point::from_logit(t));
            let (found, direction) = match tail {
                Tail::Lower => (cdf.below, 1.0),
                Tail::Upper => (cdf.above, -1.0),
            };
            let excess = direction * (found - mass);
            if excess == 0.0 {
                break;
            }
            if excess > 0.0 {
                high = t;
            } else {
                low = t;
            }
            let mut next = t - direction * ln(found / mass) * found / cdf.density;
            if !is_within(next, low, high) {
                next = bisect(low, high, t);
            }
            let moved = (next - t).abs();
            let scale = 1.0 + t.abs();
            t = next;
            if moved <= 2e-16 * scale
                || (step > 2 && moved < 1e-13 * scale)
                || high - low < 1e-15 * scale
            {
                break;
            }
        }
        Point::from_logit(t)
    }

    /// A start near the quantile: normal in `t`, or the leading term at an edge that `a` or `b` makes
    /// steep, `F(t) ~ e^(a t) / (a B)`.
    fn quantile_start(&self, mass: f64, tail: Tail) -> f64 {
        let (a, b) = (self.a, self.b);
        let (mean, sd) = logit_moments(a, b);
        let z = match tail {
            Tail::Lower => -normal_upper_estimate(mass),
            Tail::Upper => normal_upper_estimate(mass),
        };
        let normal = mean + sd * z;
        if a.min(b) > 0.5 {
            return normal;
        }
        let (below, above) = match tail {
            Tail::Lower => (mass, 1.0 - mass),
            Tail::Upper => (1.0 - mass, mass),
        };
        let ln_beta = ln_beta(a, b);
        let left = (ln(below * a) + ln_beta) / a;
        let right = -(ln(above * b) + ln_beta) / b;
        if left < -1.0 {
            left
        } else if right > 1.0 {
            right
        } else {
            normal
        }
    }

    /// The shortest interval with the mass `1 - rest` of a density with one peak inside: both ends
    /// have the same density.
    ///
    /// One root in the logit `l` of the lower end: the mass outside, `F(l) + 1 - F(u(l))`, rises
    /// strictly with `l`, where `u(l)` is the point beyond the mode with the density of `l`
    /// ([`LogDensity::equal_density_point`]). Newton's method with bisection as the fallback cannot fail.
    fn interior_interval(&self, rest: f64) -> (f64, f64) {
        let log_density = LogDensity::new(self.a, self.b);
        let (mean, sd) = logit_moments(self.a, self.b);
        let mut lower = (mean - 1.7 * sd).min(log_density.mode - 0.3 * sd);
        let mut upper = log_density.mode + (log_density.mode - lower);
        let (mut lowest, mut highest) = (f64::NEG_INFINITY, log_density.mode);
        for _ in 0..ROOT_STEPS_MAX {
            upper = log_density.equal_density_point(lower, upper);
            let (low, high) = (Point::from_logit(lower), Point::from_logit(upper));
            let (left, right) = (self.cdf(low), self.cdf(high));
            let excess = left.below + right.above - rest;
            if excess == 0.0 {
                break;
            }
            if excess > 0.0 {
                highest = lower;
            } else {
                lowest = lower;
            }
            // How far the upper end moves for each step of the lower one: both stay at one density.
            let ratio = log_density.slope(low.p) / log_density.slope(high.p);
            let mut next = lower - excess / (left.density - right.density * ratio);
            if !is_within(next, lowest, highest) {
                next = if lowest.is_finite() {
                    0.5 * (lowest + highest)
                } else {
                    lower - 2.0 * (log_density.mode - lower) - 1.0
                };
            }
            let moved = next - lower;
            upper += ratio * moved;
            let converged = moved.abs() <= CONVERGED * (log_density.mode - lower);
            lower = next;
            if converged {
                break;
            }
            if upper.is_nan() || upper <= log_density.mode {
                upper = log_density.mode + (log_density.mode - lower);
            }
        }
        (Point::from_logit(lower).p, Point::from_logit(upper).p)
    }
}

/// `(a-1) ln p + (b-1) ln(1-p)`, the logarithm of a density with its mode inside. Concave in `t`.
struct LogDensity {
    failures: f64,
    successes: f64,
    /// A logit.
    mode: f64,
}

impl LogDensity {
    fn new(a: f64, b: f64) -> Self {
        let (failures, successes) = (a - 1.0, b - 1.0);
        Self {
            failures,
            successes,
            mode: ln(failures / successes),
        }
    }

    fn value(&self, t: f64) -> f64 {
        self.failures * ln_sigmoid(t) + self.successes * ln_sigmoid(-t)
    }

    /// The derivative in `t`, at the probability `p`.
    fn slope(&self, p: f64) -> f64 {
        self.failures - (self.failures + self.successes) * p
    }

    /// The point above the mode with the density of `t` below it. Newton's method from outside a concave
    /// function never overshoots.
    fn equal_density_point(&self, t: f64, start: f64) -> f64 {
        let value = self.value(t);
        let (mut low, mut high) = (self.mode, f64::INFINITY);
        let mut u = start;
        for _ in 0..ROOT_STEPS_MAX {
            let above = self.value(u) - value;
            if above > 0.0 {
                low = u;
            } else {
                high = u;
            }
            let mut next = u - above / self.slope(Point::from_logit(u).p);
            if !is_within(next, low, high) {
                next = if high.is_finite() {
                    0.5 * (low + high)
                } else {
                    u + 1.0 + (u - self.mode)
                };
            }
            let moved = (next - u).abs();
            u = next;
            if moved <= CONVERGED * (u - self.mode) {
                break;
            }
        }
        u
    }
}

/// The bounds themselves are allowed: near the root a step can be too small to change a digit.
fn is_within(next: f64, low: f64, high: f64) -> bool {
    next.is_finite() && low <= next && next <= high
}

/// A point strictly between the bounds, which may be infinite.
fn bisect(low: f64, high: f64, t: f64) -> f64 {
    match (low.is_finite(), high.is_finite()) {
        (true, true) => 0.5 * (low + high),
        (true, false) => low + 2.0 + low.abs(),
        (false, true) => high - 2.0 - high.abs(),
        (false, false) => t,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beta_is_matched_by_its_own_moments() {
        let beta = Beta {
            alpha: 2.5,
            beta: 18.0,
        };
        let matched = Beta::matching(beta.mean(), beta.variance());
        assert!((matched.alpha - 2.5).abs() < 1e-12 && (matched.beta - 18.0).abs() < 1e-12);
        for (mean, variance) in [(0.5, 0.3), (0.5, 0.0), (0.0, 0.1), (f64::NAN, 0.1)] {
            assert!(
                !Beta::matching(mean, variance).is_proper(),
                "{mean} {variance}"
            );
        }
    }

    #[test]
    fn large_counts_are_nearly_normal() {
        for (alpha, beta) in [(1e7, 1e7), (1e7, 4e7), (5e6, 3e5), (1e6, 1e9)] {
            let beta = Beta { alpha, beta };
            let (low, high) = NormalizedBeta::new(beta).interior_interval(0.1);
            let (near_low, near_high) = beta.nearly_normal_interval(0.9);
            let off = (low - near_low).abs().max((high - near_high).abs());
            assert!(
                off < 1e-5 * (high - low),
                "{beta:?}: {:e}",
                off / (high - low)
            );
        }
    }
}
