//! Change sets: the plan, change request or agent task that intents are parts of (rules.md 5 and 13).

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::Tenant;
use super::intents::IntentRow;
use super::schema::{Mutation, Row, RowId, TableRow};
use crate::decide::intent::ChangeSet;
use crate::decide::{ChangeSetTotals, PerCategory};
use crate::id::{Pseudonym, Pseudonymizer, Sequence};

/// The outcomes that one change set has in one category.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Tally {
    /// All of them.
    pub outcomes: u32,
    /// Those that failed.
    pub failures: u32,
    /// Those that the key that asked reported.
    pub self_reported: u32,
}

/// The row of `change_sets`, keyed by the name of id and revision; goes with its last intent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeSetRow {
    /// Name of the id alone: revisions of one plan share it.
    pub id: Pseudonym,
    /// The sequence at which the last item came.
    pub last: Sequence,
    /// Intents that belong to it.
    pub items: u32,
    /// Of them deletes and replaces.
    pub deletes: u32,
    /// Outcomes of its intents, by category.
    pub tallies: PerCategory<Tally>,
}

/// The change sets of a tenant.
#[derive(Debug, Default)]
pub struct ChangeSets {
    pub(super) rows: HashMap<Pseudonym, ChangeSetRow>,
}

/// The name of a set: id and revision, `""` where there is none.
pub fn name(pseudonymizer: &Pseudonymizer, set: &ChangeSet) -> Pseudonym {
    let revision = set
        .revision
        .as_ref()
        .map_or("", |revision| revision.as_str());
    pseudonymizer.pseudonym(&["change_set", set.id.as_str(), revision])
}

impl ChangeSets {
    /// How many there are.
    pub fn count(&self) -> usize {
        self.rows.len()
    }

    /// The set with this name.
    pub fn get(&self, set: Pseudonym) -> Option<&ChangeSetRow> {
        self.rows.get(&set)
    }

    /// What the set has asked so far.
    pub fn so_far(&self, set: Pseudonym) -> ChangeSetTotals {
        self.get(set)
            .map_or_else(ChangeSetTotals::default, |row| ChangeSetTotals {
                intents: row.items,
                deletes: row.deletes,
            })
    }

    /// The set after one more item came at `sequence`, and `leaving`, if it was of this set, went.
    pub fn joined(
        &self,
        pseudonymizer: &Pseudonymizer,
        set: &ChangeSet,
        destroys: bool,
        sequence: Sequence,
        leaving: Option<&IntentRow>,
    ) -> Row {
        let key = name(pseudonymizer, set);
        let mut row = self.get(key).copied().unwrap_or_else(|| ChangeSetRow {
            id: pseudonymizer.pseudonym(&["change_set_id", set.id.as_str()]),
            last: sequence,
            items: 0,
            deletes: 0,
            tallies: PerCategory::default(),
        });
        if let Some(leaving) = leaving.filter(|intent| intent.change_set == Some(key)) {
            row.remove(leaving);
        }
        row.last = sequence;
        row.items = row.items.saturating_add(1);
        row.deletes = row.deletes.saturating_add(u32::from(destroys));
        Row::ChangeSetRow(key, row)
    }

    /// The set that `intent` belongs to after it left; gone with its last item.
    pub fn left(&self, intent: &IntentRow) -> Option<Mutation> {
        let key = intent.change_set?;
        let mut row = *self.get(key)?;
        row.remove(intent);
        Some(if row.items == 0 {
            RowId::ChangeSetRow(key).into()
        } else {
            Row::ChangeSetRow(key, row).into()
        })
    }
}

impl ChangeSetRow {
    fn remove(&mut self, intent: &IntentRow) {
        self.items = self.items.saturating_sub(1);
        self.deletes = self.deletes.saturating_sub(u32::from(intent.destroys()));
    }
}

impl TableRow for ChangeSetRow {
    type Key = Pseudonym;

    fn absorb(&self, key: &Pseudonym, tenant: &mut Tenant) {
        tenant.change_sets.rows.insert(*key, *self);
    }

    fn forget(key: &Pseudonym, tenant: &mut Tenant) {
        tenant.change_sets.rows.remove(key);
    }
}
