//! The shortest interval with 90 % of a Beta's mass: the highest density interval, computed once.
//!
//! It costs a hundred times as much as the rest of a decision, so it is computed late and cached: the
//! answer, the width gate and the search for a counterfactual share one [`Intervals`].

use std::cell::RefCell;

use super::beta::Beta;

/// Mass of every interval.
pub const LEVEL: f64 = 0.9;

#[derive(Debug, Default)]
pub struct Intervals(RefCell<Vec<(Beta, (f64, f64))>>);

impl Intervals {
    /// 0 to 1, too wide for an approval, if the parameters are improper or beyond the precision of `f64`.
    pub fn of(&self, beta: Beta) -> (f64, f64) {
        if !beta.is_proper() {
            return (0.0, 1.0);
        }
        let cached = self.0.borrow().iter().find(|(of, _)| *of == beta).copied();
        cached.map(|(_, ends)| ends).unwrap_or_else(|| {
            let (low, high) = beta.shortest_interval(LEVEL);
            let ends = if low <= high { (low, high) } else { (0.0, 1.0) };
            self.0.borrow_mut().push((beta, ends));
            ends
        })
    }
}
