//! What is known of the past when a decision is made. Stored with the decision, so that anyone can
//! recompute it. Every field is there from the start, so that old decisions stay recomputable.

use serde::{Deserialize, Serialize};

use super::category::PerCategory;
use crate::number::Probability;

/// Trials of one category: learned outcomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counts {
    pub failures: u64,
    pub trials: u64,
    /// Trials reported by the key that asked, and by no other.
    pub self_reported: u64,
    /// Trials from imported history.
    pub imported: u64,
}

/// Weighted sums over similar past intents (rules.md 10).
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct MemorySums {
    /// Groups that are similar enough to count.
    pub similar: u32,
    /// Sum of similarity times trials.
    pub trials: f64,
    /// Sum of similarity times successes.
    pub successes: f64,
}

/// The intents of a change set before this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ChangeSetTotals {
    pub intents: u32,
    /// Deletes and replaces among them.
    pub deletes: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Evidence {
    pub counts: PerCategory<Counts>,
    /// The component's smoothed risk before this intent; none before its first.
    pub smoothed: Option<Probability>,
    pub memory: MemorySums,
    pub change_set: ChangeSetTotals,
}

impl Evidence {
    /// Trials over all categories: n of rules.md 6.
    pub fn trials(&self) -> u64 {
        self.counts
            .iter()
            .fold(0, |sum, (_, counts)| sum.saturating_add(counts.trials))
    }
}
