//! Numbers that cannot be wrong: a probability is never NaN or 1.2, a cost is never negative.
//!
//! Arithmetic happens on plain `f64`; these types stand where a number crosses a border.

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A number was outside the range that its type promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("must be {0}")]
pub struct OutOfRange(&'static str);

macro_rules! bounded {
    ($(#[$doc:meta])* $name:ident, $range:expr, $what:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Serialize, Deserialize)]
        #[serde(try_from = "f64", into = "f64")]
        pub struct $name(f64);

        impl $name {
            /// Checks the range; NaN and infinities never pass. Minus zero becomes zero.
            pub fn new(value: f64) -> Result<Self, OutOfRange> {
                if value.is_finite() && $range.contains(&value) {
                    Ok(Self(value + 0.0))
                } else {
                    Err(OutOfRange($what))
                }
            }

            /// The number itself.
            pub fn get(self) -> f64 {
                self.0
            }
        }

        impl TryFrom<f64> for $name {
            type Error = OutOfRange;
            fn try_from(value: f64) -> Result<Self, OutOfRange> {
                Self::new(value)
            }
        }

        impl From<$name> for f64 {
            fn from(value: $name) -> f64 {
                value.0
            }
        }
    };
}

bounded!(
    /// A probability, or any share of one: 0 to 1, both included.
    Probability,
    (0.0..=1.0),
    "a number from 0 to 1"
);
bounded!(
    /// US dollars a month, zero or more.
    Usd,
    (0.0..=f64::MAX),
    "a number of zero or more"
);
bounded!(
    /// A measurement that cannot be negative: milliseconds, requests per second, nats.
    Magnitude,
    (0.0..=f64::MAX),
    "a number of zero or more"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_outside_the_range_gets_in() {
        for bad in [
            f64::NAN,
            f64::INFINITY,
            f64::NEG_INFINITY,
            -1e-300,
            1.0 + 1e-15,
        ] {
            assert!(Probability::new(bad).is_err(), "{bad}");
        }
        for good in [0.0, 0.5, 1.0] {
            assert_eq!(Probability::new(good).map(Probability::get), Ok(good));
        }
        assert!(Usd::new(-0.01).is_err());
        assert!(Probability::new(-0.0).is_ok_and(|p| p.get().is_sign_positive()));
    }
}
