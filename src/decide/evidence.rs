//! What is known of the past when a decision is made. Stored with the decision, so that anyone can
//! make it again; complete from the start, so that old decisions stay recomputable.

use serde::{Deserialize, Serialize};

use super::category::PerCategory;
use crate::number::Probability;

/// How often what was learned went wrong, in whole numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counts {
    /// Trials that failed.
    pub failures: u64,
    /// All trials.
    pub trials: u64,
    /// Trials that only the key that asked reported.
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

/// What the intent's change set has asked so far, this intent not included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ChangeSetTotals {
    /// Intents.
    pub intents: u32,
    /// Of them deletes and replaces.
    pub deletes: u32,
}

/// Every number of the past that a decision may use.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Evidence {
    /// What was learned, by category.
    pub counts: PerCategory<Counts>,
    /// The component's smoothed risk before this intent; none before its first.
    pub smoothed: Option<Probability>,
    /// Similar past intents.
    pub memory: MemorySums,
    /// What the change set has asked so far.
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
