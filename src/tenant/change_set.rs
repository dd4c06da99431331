//! Change sets: the plan, change request or agent task that intents are parts of (rules.md 5 and 13).

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::Tenant;
use super::intents::IntentRow;
use super::schema::{Eviction, Mutation, Row, RowId, TableRow};
use crate::bounded::BoundedString;
use crate::decide::intent::ChangeSet;
use crate::decide::{ChangeSetTotals, PerCategory};
use crate::id::{Pseudonym, Pseudonymizer, Sequence};
use crate::store::Load;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Tally {
    pub outcomes: u32,
    pub failures: u32,
    /// Those reported by the key that asked for the intent.
    pub self_reported: u32,
}

/// Keyed by the pseudonym of id and revision; deleted with its last intent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeSetRow {
    /// Of the id alone: revisions of one plan share it.
    pub id: Pseudonym,
    /// The sequence at which the last item was added.
    pub last: Sequence,
    /// Intents in the set.
    pub items: u32,
    pub deletes: u32,
    pub tallies: PerCategory<Tally>,
}

#[derive(Debug, Default)]
pub struct ChangeSets {
    pub(super) rows: HashMap<Pseudonym, ChangeSetRow>,
}

/// No revision is the empty revision.
pub fn pseudonym(pseudonymizer: &Pseudonymizer, set: &ChangeSet) -> Pseudonym {
    let revision = set.revision.as_ref().map_or("", BoundedString::as_str);
    pseudonymizer.pseudonym(&["change_set", set.id.as_str(), revision])
}

impl ChangeSets {
    pub fn iter(&self) -> impl Iterator<Item = (Pseudonym, &ChangeSetRow)> {
        self.rows.iter().map(|(set, row)| (*set, row))
    }

    pub fn get(&self, set: Pseudonym) -> Option<&ChangeSetRow> {
        self.rows.get(&set)
    }

    pub fn totals(&self, set: Pseudonym) -> ChangeSetTotals {
        let totals = self.get(set).map(|row| ChangeSetTotals {
            intents: row.items,
            deletes: row.deletes,
        });
        totals.unwrap_or_default()
    }

    /// Removes `evicted` if it was in this set.
    pub fn add_item(
        &self,
        pseudonymizer: &Pseudonymizer,
        set: &ChangeSet,
        destroys: bool,
        sequence: Sequence,
        evicted: Option<&IntentRow>,
    ) -> Row {
        let key = pseudonym(pseudonymizer, set);
        let mut row = self.get(key).copied().unwrap_or_else(|| ChangeSetRow {
            id: pseudonymizer.pseudonym(&["change_set_id", set.id.as_str()]),
            last: sequence,
            items: 0,
            deletes: 0,
            tallies: PerCategory::default(),
        });
        if let Some(evicted) = evicted.filter(|intent| intent.change_set == Some(key)) {
            row.remove(evicted);
        }
        row.last = sequence;
        row.items = row.items.saturating_add(1);
        row.deletes = row.deletes.saturating_add(u32::from(destroys));
        Row::ChangeSetRow(key, row)
    }

    /// Deletes a set that is empty without the intent.
    pub fn remove_item(&self, intent: &IntentRow) -> Option<Mutation> {
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
    const LOAD: Load = Load::Hot;
    const EXPORT: Option<&'static str> = Some("change_sets.ndjson");
    const WEIGHT: usize = 160;
    const EVICTION: Option<Eviction> =
        Some(|_, intent, tenant| tenant.change_sets.remove_item(intent).into_iter().collect());

    fn absorb(&self, key: &Pseudonym, tenant: &mut Tenant) -> Option<Self> {
        tenant.change_sets.rows.insert(*key, *self)
    }

    fn forget(key: &Pseudonym, tenant: &mut Tenant) -> Option<Self> {
        tenant.change_sets.rows.remove(key)
    }
}
