//! What a decision knows of the past. Stored with the decision, so that it can be recomputed: fields that
//! no rule reads yet are there too.

use serde::{Deserialize, Serialize};

use super::category::PerCategory;
use crate::number::Probability;

/// Learned outcomes of one category.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counts {
    pub failures: u64,
    pub trials: u64,
    /// Trials reported only by the key that asked.
    pub self_reported: u64,
    pub imported: u64,
}

/// Over similar past intents (rules.md 10).
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct MemorySums {
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
    /// Of the component; `None` before its first intent.
    pub smoothed: Option<Probability>,
    pub memory: MemorySums,
    pub change_set: ChangeSetTotals,
}
