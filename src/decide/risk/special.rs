//! Special functions of the Beta and the normal distribution.
//!
//! DLMF is the NIST Digital Library of Mathematical Functions; A&S its ancestor, Abramowitz and
//! Stegun.

use std::f64::consts::{FRAC_1_SQRT_2, TAU};

use super::libm::{erfc, exp, ln, ln_1p, ln_gamma};

/// No loop comes near these; they bound the time of a decision by construction.
const FRACTION_STEPS_MAX: u32 = 2_000;
const SERIES_TERMS_MAX: u32 = 500;

/// `I_x(a, b) a B / (x^a (1-x)^b)` by Lentz's method as modified by Thompson and Barnett
/// (DLMF 8.17.22 and 3.10).
pub fn continued_fraction(a: f64, b: f64, x: f64) -> f64 {
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
pub fn power_series(a: f64, b: f64, x: f64) -> f64 {
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
pub fn ln_beta(a: f64, b: f64) -> f64 {
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

/// The remainder of Stirling's formula: `ln Gamma(z) - [(z - 1/2) ln z - z + ln(2 pi)/2]`
/// (DLMF 5.11.1), for `z > 0`.
pub fn stirling_remainder(z: f64) -> f64 {
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
pub fn phi(t: f64) -> f64 {
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
pub fn ln_sigmoid(t: f64) -> f64 {
    if t > 0.0 {
        -ln_1p(exp(-t))
    } else {
        t - ln_1p(exp(t))
    }
}

/// Mean and standard deviation of the logit of a Beta variable: `psi(a) - psi(b)` and
/// `sqrt(psi'(a) + psi'(b))`. Start values only.
pub fn logit_moments(a: f64, b: f64) -> (f64, f64) {
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

/// The point that a standard normal variable exceeds with probability `mass`, to 5e-4.
pub fn normal_upper_estimate(mass: f64) -> f64 {
    if mass < 0.5 {
        hastings(mass)
    } else {
        -hastings(1.0 - mass)
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
pub fn normal_upper_quantile(mass: f64) -> f64 {
    let mut z = hastings(mass);
    for _ in 0..3 {
        let above = 0.5 * erfc(z * FRAC_1_SQRT_2);
        let density = exp(-0.5 * z * z) / TAU.sqrt();
        z += (above - mass) / density;
    }
    z
}
