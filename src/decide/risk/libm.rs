//! The one door to transcendental functions.
//!
//! `std` calls the platform's mathematics, whose bits differ between versions and processors. The
//! crate `libm` is plain Rust and gives the same bits everywhere, and so does a decision.

/// Natural logarithm.
pub fn ln(x: f64) -> f64 {
    ::libm::log(x)
}

/// `e` to the power of `x`.
pub fn exp(x: f64) -> f64 {
    ::libm::exp(x)
}

/// `ln(1 + x)`, with all digits for small `x`.
pub fn ln_1p(x: f64) -> f64 {
    ::libm::log1p(x)
}

/// `exp(x) - 1`, with all digits for small `x`.
pub fn exp_m1(x: f64) -> f64 {
    ::libm::expm1(x)
}

/// Natural logarithm of the gamma function, for `x > 0`.
pub fn ln_gamma(x: f64) -> f64 {
    ::libm::lgamma(x)
}

/// Complementary error function.
pub fn erfc(x: f64) -> f64 {
    ::libm::erfc(x)
}
