//! Exponential smoothing of a component's risk.

use crate::number::Probability;

/// S = `factor` S + (1 - `factor`) `raw`. The first risk is its own average.
pub fn smooth(before: Option<Probability>, raw: f64, factor: f64) -> f64 {
    match before {
        Some(before) => factor * before.get() + (1.0 - factor) * raw,
        None => raw,
    }
}
