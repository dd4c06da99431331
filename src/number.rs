//! Numbers in range: a probability is never NaN or 1.2, a cost is never negative. Arithmetic uses `f64`.

use serde::{Deserialize, Serialize};
use thiserror::Error;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("must be {0}")]
pub struct RangeError(&'static str);

macro_rules! bounded {
    ($(#[$doc:meta])* $name:ident, $range:expr, $what:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Serialize, Deserialize)]
        #[serde(try_from = "f64")]
        pub struct $name(f64);

        impl $name {
            /// Rejects NaN and infinities. Minus zero becomes zero.
            pub fn new(value: f64) -> Result<Self, RangeError> {
                if value.is_finite() && $range.contains(&value) {
                    Ok(Self(value + 0.0))
                } else {
                    Err(RangeError($what))
                }
            }

            pub fn get(self) -> f64 {
                self.0
            }
        }

        impl TryFrom<f64> for $name {
            type Error = RangeError;
            fn try_from(value: f64) -> Result<Self, RangeError> {
                Self::new(value)
            }
        }
    };
}

bounded!(
    /// A probability or share: 0 to 1, both included.
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
