//! Counts of outcomes per category (rules.md 5).

use serde::{Deserialize, Serialize};

use super::Tenant;
use super::change_set::Tally;
use super::schema::{Eviction, TableRow};
use crate::decide::{Category, Counts, PerCategory};
use crate::store::Load;
use crate::time::Timestamp;

/// Alpha and beta are derived: prior plus failures, prior plus successes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BetaRow {
    pub counts: Counts,
    pub updated_at: Timestamp,
}

#[derive(Debug, Default)]
pub struct Learning {
    cells: PerCategory<Option<BetaRow>>,
}

impl Learning {
    pub fn counts(&self, category: Category) -> Counts {
        self.cells
            .of(category)
            .map(|row| row.counts)
            .unwrap_or_default()
    }

    pub fn updated_at(&self, category: Category) -> Option<Timestamp> {
        self.cells.of(category).map(|row| row.updated_at)
    }

    pub fn all_counts(&self) -> PerCategory<Counts> {
        let mut all = PerCategory::default();
        for &category in Category::ALL {
            *all.of_mut(category) = self.counts(category);
        }
        all
    }

    pub fn iter(&self) -> impl Iterator<Item = (Category, &BetaRow)> {
        let rows = Category::ALL.iter();
        rows.filter_map(|&category| Some((category, self.cells.of(category).as_ref()?)))
    }
}

impl TableRow for BetaRow {
    type Key = Category;
    const LOAD: Load = Load::Hot;
    const EXPORT: Option<&'static str> = Some("beta_state.ndjson");
    /// Rows of all categories are in the weight of an empty tenant.
    const WEIGHT: usize = 0;
    /// Counts outlive the intents.
    const EVICTION: Option<Eviction> = None;

    fn absorb(&self, key: &Category, tenant: &mut Tenant) -> Option<Self> {
        tenant.learning.cells.of_mut(*key).replace(*self)
    }

    fn forget(key: &Category, tenant: &mut Tenant) -> Option<Self> {
        tenant.learning.cells.of_mut(*key).take()
    }
}

/// What outcomes add to the counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Contribution {
    failures: u64,
    trials: u64,
    self_reported: u64,
}

impl Contribution {
    /// For an outcome without a change set.
    pub fn of_one(success: bool, self_reported: bool) -> Self {
        Self {
            failures: u64::from(!success),
            trials: 1,
            self_reported: u64::from(self_reported),
        }
    }

    /// All outcomes of a change set in one category are one trial, a failure if one of them is, and
    /// self-reported if all of them are.
    pub fn of_set(tally: Tally) -> Self {
        let any = tally.outcomes > 0;
        Self {
            failures: u64::from(tally.failures > 0),
            trials: u64::from(any),
            self_reported: u64::from(any && tally.self_reported == tally.outcomes),
        }
    }

    /// By trials or failures.
    pub fn differs_from(self, before: Self) -> bool {
        (self.failures, self.trials) != (before.failures, before.trials)
    }

    pub fn replacing(self, before: Self, counts: Counts) -> Counts {
        let swap = |count: u64, old: u64, new: u64| (count + new).saturating_sub(old);
        Counts {
            failures: swap(counts.failures, before.failures, self.failures),
            trials: swap(counts.trials, before.trials, self.trials),
            self_reported: swap(
                counts.self_reported,
                before.self_reported,
                self.self_reported,
            ),
            imported: counts.imported,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(outcomes: u32, failures: u32, self_reported: u32) -> Contribution {
        Contribution::of_set(Tally {
            outcomes,
            failures,
            self_reported,
        })
    }

    #[test]
    fn a_change_set_is_one_trial_and_one_failure_at_most() {
        assert!(!tally(0, 0, 0).differs_from(Contribution::default()));
        assert!(tally(1, 0, 0).differs_from(tally(0, 0, 0)));
        assert!(!tally(60, 0, 60).differs_from(tally(1, 0, 1)));
        assert!(tally(61, 1, 60).differs_from(tally(60, 0, 60)));
        assert!(!tally(62, 2, 60).differs_from(tally(61, 1, 60)));
    }

    #[test]
    fn a_second_reporter_takes_the_mark_of_self_reporting_away() {
        let counts = Counts {
            failures: 2,
            trials: 9,
            self_reported: 4,
            imported: 1,
        };
        let after = tally(2, 0, 1).replacing(tally(1, 0, 1), counts);
        assert_eq!(
            after,
            Counts {
                self_reported: 3,
                ..counts
            }
        );
    }
}
