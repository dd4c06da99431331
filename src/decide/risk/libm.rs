//! The only transcendental functions of a decision.
//!
//! `std` calls the platform's library, whose bits differ between versions and processors. The crate
//! `libm` is plain Rust: the same bits everywhere.

pub fn ln(x: f64) -> f64 {
    ::libm::log(x)
}

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

/// `ln Gamma(x)`, for `x > 0`.
pub fn ln_gamma(x: f64) -> f64 {
    ::libm::lgamma(x)
}

pub fn erfc(x: f64) -> f64 {
    ::libm::erfc(x)
}
