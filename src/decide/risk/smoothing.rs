//! A component's risk averaged over its past requests.

use crate::number::Probability;

/// S, an exponential moving average: `factor` of the average so far and the rest of the new risk. The
/// first risk is its own average.
pub fn smooth(before: Option<Probability>, raw: f64, factor: f64) -> f64 {
    match before {
        Some(before) => factor * before.get() + (1.0 - factor) * raw,
        None => raw,
    }
}
