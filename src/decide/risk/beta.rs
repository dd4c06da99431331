//! The Beta distribution: moments, distribution function, quantiles, and its shortest interval.
//!
//! Everything happens in `t = logit(p)`, where nothing underflows at the edges and the density of
//! `t` is `w(t) = p^a (1-p)^b / B(a, b)`, the term that carries the digits. Measured against values
//! of 50 digits, quantiles and interval ends agree to 2e-11 for `a` and `b` from 1e-6 to 1e6
//! (`tests/oracle/decide_reference.json`).
//!
//! DLMF is the NIST Digital Library of Mathematical Functions; A&S its ancestor, Abramowitz and
//! Stegun.

use std::f64::consts::{FRAC_1_SQRT_2, TAU};

use super::libm::{erfc, exp, exp_m1, ln, ln_1p, ln_gamma};

/// Beta(alpha, beta) over a probability.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Beta {
    /// Pseudo-count of failures, more than 0.
    pub alpha: f64,
    /// Pseudo-count of successes, more than 0.
    pub beta: f64,
}

/// Which end of the distribution a mass is counted from. Masses near 1 are asked for from the other
/// end, because `1 - p` has lost the digits of `p`.
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

    /// Expected probability.
    pub fn mean(self) -> f64 {
        self.alpha / (self.alpha + self.beta)
    }

    /// Variance of the probability.
    pub fn variance(self) -> f64 {
        let sum = self.alpha + self.beta;
        self.alpha * self.beta / (sum * sum * (sum + 1.0))
    }

    /// The mass below `x` and the mass above it; the one on the far side from the mean, which may be
    /// tiny, has all its digits.
    #[cfg(test)]
    pub fn masses(self, x: f64) -> (f64, f64) {
        let split = NormalizedBeta::new(self).split(ProbabilityPair { p: x, q: 1.0 - x });
        (split.below, split.above)
    }

    /// The point that has `mass` (0 to 1, both excluded) on the side of `tail`.
    pub fn quantile(self, mass: f64, tail: Tail) -> f64 {
        NormalizedBeta::new(self).quantile(mass, tail).p
    }

    /// The shortest interval that holds `mass` (0 to 1, both excluded). A U-shaped density has it at
    /// one of the edges, at the upper one if both are as short; the uniform one has it in the middle.
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
            let density = NormalizedBeta::new(self);
            let low = density.quantile(rest, Tail::Lower);
            let high = density.quantile(rest, Tail::Upper);
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
    /// deviations. What is left out is of second order in it, 1e-7 of the width at the most. It
    /// bounds the time of a decision, whatever the counts: the continued fraction of [`NormalizedBeta`]
    /// needs some sqrt(a + b) steps.
    fn nearly_normal_interval(self, mass: f64) -> (f64, f64) {
        let (a, b) = (self.alpha, self.beta);
        let z = normal_upper_quantile(0.5 * (1.0 - mass));
        let sd = self.variance().sqrt();
        let skewness = 2.0 * (b - a) * (a + b + 1.0).sqrt() / ((a + b + 2.0) * (a * b).sqrt());
        let middle = self.mean() + sd * skewness * (z * z - 3.0) / 6.0;
        ((middle - z * sd).max(0.0), (middle + z * sd).min(1.0))
    }
}

/// From this many failures and as many successes on, the interval is taken as nearly normal.
const NEARLY_NORMAL: f64 = 1e7;

/// A probability and its complement, each with its own digits.
#[derive(Debug, Clone, Copy)]
struct ProbabilityPair {
    p: f64,
    q: f64,
}

impl ProbabilityPair {
    /// The probability whose logit is `t`.
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

/// The distribution cut in two.
#[derive(Debug, Clone, Copy)]
struct Cdf {
    below: f64,
    above: f64,
    /// The density in `t`: how fast mass moves from above to below.
    slope: f64,
}

/// A Beta with the constant of its density worked out.
#[derive(Debug, Clone, Copy)]
struct NormalizedBeta {
    a: f64,
    b: f64,
    constant: Normalization,
}

/// What stands before `p^a q^b`, in the form that keeps the digits.
#[derive(Debug, Clone, Copy)]
enum Normalization {
    /// `ln B(a, b)`, where a parameter is small.
    LnBeta(f64),
    /// By Stirling's formula, where both are 10 or more: the value of the density at the mean.
    AtMean(f64),
}

/// Steps that no loop below comes near; they bound the time of a decision by construction.
const FRACTION_STEPS_MAX: u32 = 2_000;
const SERIES_TERMS_MAX: u32 = 500;
const ROOT_STEPS_MAX: u32 = 200;

/// A step of Newton's method this small, beside the distance from the mode, is the last: convergence
/// is quadratic, so the one after it would change no digit that rounding leaves.
const CONVERGED: f64 = 1e-7;

impl NormalizedBeta {
    fn new(beta: Beta) -> Self {
        let Beta { alpha: a, beta: b } = beta;
        let constant = if a.min(b) >= 10.0 {
            let correction =
                stirling_remainder(a) + stirling_remainder(b) - stirling_remainder(a + b);
            Normalization::AtMean((a * b / (TAU * (a + b))).sqrt() * exp(-correction))
        } else {
            Normalization::LnBeta(ln_beta(a, b))
        };
        Self { a, b, constant }
    }

    /// `p^a q^b / B(a, b)`. The plain form loses 8 to 10 digits at 1e6; the one around the mean,
    /// `exp(-a phi(e) - b phi(f))` with `e = p/mean - 1` and `f = q/(1-mean) - 1`, does not.
    fn at(&self, ProbabilityPair { p, q }: ProbabilityPair) -> f64 {
        let (a, b) = (self.a, self.b);
        match self.constant {
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
    fn split(&self, at: ProbabilityPair) -> Cdf {
        let (a, b, ProbabilityPair { p, q }) = (self.a, self.b, at);
        if p <= 0.0 {
            return Cdf {
                below: 0.0,
                above: 1.0,
                slope: 0.0,
            };
        }
        if q <= 0.0 {
            return Cdf {
                below: 1.0,
                above: 0.0,
                slope: 0.0,
            };
        }
        let slope = self.at(at);
        if p * (a + b + 2.0) >= a + 1.0 {
            let above = slope * continued_fraction(b, a, q) / b;
            return Cdf {
                below: 1.0 - above,
                above,
                slope,
            };
        }
        let below = if b * p <= 0.7 && p < 0.7 && a < 50.0 {
            let ln_q = if p < 0.5 { ln_1p(-p) } else { ln(q) };
            slope * exp(-b * ln_q) * power_series(a, b, p)
        } else {
            slope * continued_fraction(a, b, p) / a
        };
        Cdf {
            below,
            above: 1.0 - below,
            slope,
        }
    }

    /// Newton's method on the logarithm of the mass, in `t`, inside a bracket that only shrinks.
    fn quantile(&self, mass: f64, tail: Tail) -> ProbabilityPair {
        let mut t = self.quantile_start(mass, tail);
        let (mut low, mut high) = (f64::NEG_INFINITY, f64::INFINITY);
        for step in 0..ROOT_STEPS_MAX {
            let split = self.split(ProbabilityPair::from_logit(t));
            let (found, direction) = match tail {
                Tail::Lower => (split.below, 1.0),
                Tail::Upper => (split.above, -1.0),
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
            let mut next = t - direction * ln(found / mass) * found / split.slope;
            if !inside(next, low, high) {
                next = between(low, high, t);
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
        ProbabilityPair::from_logit(t)
    }

    /// A point near the quantile: normal in `t`, or the leading term at an edge that `a` or `b` makes
    /// steep, `F(t) ~ e^(a t) / (a B)`.
    fn quantile_start(&self, mass: f64, tail: Tail) -> f64 {
        let (a, b) = (self.a, self.b);
        let (mean, sd) = logit_moments(a, b);
        let normal = mean + sd * normal_quantile(mass, tail);
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
    /// strictly with `l`, where `u(l)` is the point beyond the mode with the density of `l`.
    /// [`LogDensity::equal_density_point`] finds it without a distribution function. Newton with bisection to fall
    /// back on cannot fail.
    fn interior_interval(&self, rest: f64) -> (f64, f64) {
        let peak = LogDensity::of(self.a, self.b);
        let (mean, sd) = logit_moments(self.a, self.b);
        let mut lower = (mean - 1.7 * sd).min(peak.mode - 0.3 * sd);
        let mut upper = peak.mode + (peak.mode - lower);
        let (mut lowest, mut highest) = (f64::NEG_INFINITY, peak.mode);
        for _ in 0..ROOT_STEPS_MAX {
            upper = peak.equal_density_point(lower, upper);
            let (low, high) = (
                ProbabilityPair::from_logit(lower),
                ProbabilityPair::from_logit(upper),
            );
            let (left, right) = (self.split(low), self.split(high));
            let excess = left.below + right.above - rest;
            if excess == 0.0 {
                break;
            }
            if excess > 0.0 {
                highest = lower;
            } else {
                lowest = lower;
            }
            // How far the upper end moves when the lower one does: both stay at one density.
            let moves = peak.slope(low.p) / peak.slope(high.p);
            let mut next = lower - excess / (left.slope - right.slope * moves);
            if !inside(next, lowest, highest) {
                next = if lowest.is_finite() {
                    0.5 * (lowest + highest)
                } else {
                    lower - 2.0 * (peak.mode - lower) - 1.0
                };
            }
            let moved = next - lower;
            upper += moves * moved;
            let converged = moved.abs() <= CONVERGED * (peak.mode - lower);
            lower = next;
            if converged {
                break;
            }
            if upper.is_nan() || upper <= peak.mode {
                upper = peak.mode + (peak.mode - lower);
            }
        }
        (
            ProbabilityPair::from_logit(lower).p,
            ProbabilityPair::from_logit(upper).p,
        )
    }
}

/// `(a-1) ln p + (b-1) ln(1-p)`, the logarithm of a density that has its peak inside. It is concave
/// in `t`.
struct LogDensity {
    failures: f64,
    successes: f64,
    /// Logit of the mode.
    mode: f64,
}

impl LogDensity {
    fn of(a: f64, b: f64) -> Self {
        let (failures, successes) = (a - 1.0, b - 1.0);
        Self {
            failures,
            successes,
            mode: ln(failures / successes),
        }
    }

    fn height(&self, t: f64) -> f64 {
        self.failures * ln_sigmoid(t) + self.successes * ln_sigmoid(-t)
    }

    /// Derivative of the height in `t`, at the probability `p`.
    fn slope(&self, p: f64) -> f64 {
        self.failures - (self.failures + self.successes) * p
    }

    /// The point above the mode that is as high as `t` below it. Newton from outside a concave
    /// function never overshoots.
    fn equal_density_point(&self, t: f64, start: f64) -> f64 {
        let height = self.height(t);
        let (mut low, mut high) = (self.mode, f64::INFINITY);
        let mut u = start;
        for _ in 0..ROOT_STEPS_MAX {
            let above = self.height(u) - height;
            if above > 0.0 {
                low = u;
            } else {
                high = u;
            }
            let mut next = u - above / self.slope(ProbabilityPair::from_logit(u).p);
            if !inside(next, low, high) {
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

/// True for a step that may be taken. A bound itself may be: near the root a step can be too small to
/// change a digit.
fn inside(next: f64, low: f64, high: f64) -> bool {
    next.is_finite() && low <= next && next <= high
}

/// A point strictly between the bounds, wherever they are.
fn between(low: f64, high: f64, t: f64) -> f64 {
    match (low.is_finite(), high.is_finite()) {
        (true, true) => 0.5 * (low + high),
        (true, false) => low + 2.0 + low.abs(),
        (false, true) => high - 2.0 - high.abs(),
        (false, false) => t,
    }
}

/// `I_x(a, b) a B / (x^a (1-x)^b)` by Lentz's method as modified by Thompson and Barnett
/// (DLMF 8.17.22 and 3.10).
fn continued_fraction(a: f64, b: f64, x: f64) -> f64 {
    let sum = a + b;
    let (mut c, mut d, mut value) = (1.0, 0.0, 1.0);
    let mut j = 0.0;
    for _ in 0..FRACTION_STEPS_MAX {
        let odd = -(a + j) * (sum + j) * x / ((a + 2.0 * j) * (a + 2.0 * j + 1.0));
        d = 1.0 / (1.0 + odd * d);
        c = 1.0 + odd / c;
        value *= c * d;
        j += 1.0;
        let even = j * (b - j) * x / ((a + 2.0 * j - 1.0) * (a + 2.0 * j));
        d = 1.0 / (1.0 + even * d);
        c = 1.0 + even / c;
        let factor = c * d;
        value *= factor;
        if (factor - 1.0).abs() < 1e-16 {
            break;
        }
    }
    1.0 / value
}

/// `sum over n of (1-b)_n x^n / (n! (a+n))`, which is `I_x(a, b) B / x^a`.
fn power_series(a: f64, b: f64, x: f64) -> f64 {
    let mut sum = 1.0 / a;
    let mut term = 1.0;
    let mut n = 0.0;
    for _ in 0..SERIES_TERMS_MAX {
        n += 1.0;
        term *= (n - b) / n * x;
        let part = term / (a + n);
        sum += part;
        if part.abs() <= 1e-17 * sum.abs() {
            break;
        }
    }
    sum
}

/// `ln B(a, b)`, without subtracting large logarithms of gamma (DLMF 5.12.1, 5.11.1).
fn ln_beta(a: f64, b: f64) -> f64 {
    let (small, large) = if a < b { (a, b) } else { (b, a) };
    let sum = small + large;
    if small >= 10.0 {
        HALF_LN_TAU - 0.5 * ln(large)
            + (small - 0.5) * ln(small / sum)
            + large * ln_1p(-small / sum)
            + stirling_remainder(small)
            + stirling_remainder(large)
            - stirling_remainder(sum)
    } else if large >= 10.0 {
        ln_gamma(small) + small - small * ln(sum)
            + (large - 0.5) * ln_1p(-small / sum)
            + stirling_remainder(large)
            - stirling_remainder(sum)
    } else {
        ln_gamma(small) + (ln_gamma(large) - ln_gamma(sum))
    }
}

/// `ln(2 pi) / 2`.
const HALF_LN_TAU: f64 = 0.918_938_533_204_672_8;

/// What Stirling's formula leaves out of `ln Gamma(z)`: `ln Gamma(z) - [(z - 1/2) ln z - z + ln(2 pi)/2]`
/// (DLMF 5.11.1), for `z > 0`.
fn stirling_remainder(z: f64) -> f64 {
    if z < 10.0 {
        return ln_gamma(z) - ((z - 0.5) * ln(z) - z + HALF_LN_TAU);
    }
    let w = 1.0 / (z * z);
    let series = [
        -691.0 / 360_360.0,
        1.0 / 1_188.0,
        -1.0 / 1_680.0,
        1.0 / 1_260.0,
        -1.0 / 360.0,
        1.0 / 12.0,
    ];
    series
        .into_iter()
        .fold(1.0 / 156.0, |sum, term| sum * w + term)
        / z
}

/// `t - ln(1 + t)`, with all digits near 0: there `ln(1 + t) = 2 artanh(r)` with `r = t / (2 + t)`.
fn phi(t: f64) -> f64 {
    if t.abs() > 0.25 {
        return t - ln_1p(t);
    }
    let r = t / (2.0 + t);
    let w = r * r;
    // 1/3 + w/5 + w^2/7 + …; |r| is at most 1/7, so eleven terms are enough.
    let odd = [21.0, 19.0, 17.0, 15.0, 13.0, 11.0, 9.0, 7.0, 5.0, 3.0];
    let series = odd.into_iter().fold(1.0 / 23.0, |sum, k| sum * w + 1.0 / k);
    t * r - 2.0 * r * w * series
}

/// Logarithm of the logistic function.
fn ln_sigmoid(t: f64) -> f64 {
    if t > 0.0 {
        -ln_1p(exp(-t))
    } else {
        t - ln_1p(exp(t))
    }
}

/// Mean and standard deviation of the logit of a Beta variable: `psi(a) - psi(b)` and
/// `sqrt(psi'(a) + psi'(b))`. Start values only.
fn logit_moments(a: f64, b: f64) -> (f64, f64) {
    let ((mean_a, variance_a), (mean_b, variance_b)) = (polygamma(a), polygamma(b));
    (mean_a - mean_b, (variance_a + variance_b).sqrt())
}

/// Digamma and trigamma by recurrence and asymptotic series (DLMF 5.5.2, 5.11.2, 5.15.8): 8 digits,
/// which a start value does not need.
fn polygamma(mut x: f64) -> (f64, f64) {
    let (mut digamma, mut trigamma) = (0.0, 0.0);
    while x < 6.0 {
        let inverse = 1.0 / x;
        digamma -= inverse;
        trigamma += inverse * inverse;
        x += 1.0;
    }
    let w = 1.0 / (x * x);
    digamma += ln(x) - 0.5 / x - w * (1.0 / 12.0 - w * (1.0 / 120.0 - w / 252.0));
    trigamma += 1.0 / x + 0.5 * w + w / x * (1.0 / 6.0 - w * (1.0 / 30.0 - w / 42.0));
    (digamma, trigamma)
}

/// Where a standard normal variable has `mass` on the side of `tail`, to 5e-4.
fn normal_quantile(mass: f64, tail: Tail) -> f64 {
    let upper = if mass < 0.5 {
        hastings(mass)
    } else {
        -hastings(1.0 - mass)
    };
    match tail {
        Tail::Lower => -upper,
        Tail::Upper => upper,
    }
}

/// The point that a standard normal variable exceeds with probability `mass < 0.5`, to 4.5e-4
/// (A&S 26.2.23).
fn hastings(mass: f64) -> f64 {
    let t = (-2.0 * ln(mass)).sqrt();
    t - (2.515_517 + t * (0.802_853 + t * 0.010_328))
        / (1.0 + t * (1.432_788 + t * (0.189_269 + t * 0.001_308)))
}

/// The point that a standard normal variable exceeds with probability `mass < 0.5`, to all digits.
fn normal_upper_quantile(mass: f64) -> f64 {
    let mut z = hastings(mass);
    for _ in 0..3 {
        let above = 0.5 * erfc(z * FRAC_1_SQRT_2);
        let density = exp(-0.5 * z * z) / TAU.sqrt();
        z += (above - mass) / density;
    }
    z
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
