//! Where the risk lies: the shortest interval with 90 % of a Beta's mass, computed once.
//!
//! It costs a hundred times more than the rest of a decision, so it is asked for late and remembered:
//! the answer, the width gate and the search for a counterfactual share one [`Intervals`].

use std::cell::RefCell;

use super::beta::Beta;

/// The mass of every interval.
pub const LEVEL: f64 = 0.9;

/// The intervals worked out so far within one evaluation.
#[derive(Debug, Default)]
pub struct Intervals(RefCell<Vec<(Beta, (f64, f64))>>);

impl Intervals {
    /// Both ends of the shortest interval. All of 0 to 1, which no approval may be, for parameters that
    /// are none, and where even `f64` has no digits left.
    pub fn of(&self, beta: Beta) -> (f64, f64) {
        if !beta.is_proper() {
            return (0.0, 1.0);
        }
        let known = self
            .0
            .borrow()
            .iter()
            .find(|(of, _)| *of == beta)
            .map(|(_, ends)| *ends);
        known.unwrap_or_else(|| {
            let (low, high) = beta.shortest_interval(LEVEL);
            let ends = if low <= high { (low, high) } else { (0.0, 1.0) };
            self.0.borrow_mut().push((beta, ends));
            ends
        })
    }
}
