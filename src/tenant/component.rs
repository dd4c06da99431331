//! The smoothed risk of each component (rules.md 6), for the 4,096 that were touched last.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use super::Tenant;
use super::intents::IntentRow;
use super::schema::{Mutation, Row, RowId, TableRow};
use crate::id::{Pseudonym, Sequence};
use crate::number::Probability;
use crate::store::Load;

pub const COMPONENTS_MAX: usize = 4_096;

/// The row of `components`, keyed by the pseudonym of kind and name.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ComponentRow {
    /// S: the smoothed risk after its last decision.
    pub smoothed: Probability,
    pub last: Sequence,
}

#[derive(Debug, Default)]
pub struct Components {
    pub(super) rows: HashMap<Pseudonym, ComponentRow>,
    by_last: BTreeMap<Sequence, Pseudonym>,
}

impl Components {
    pub fn iter(&self) -> impl Iterator<Item = (Pseudonym, &ComponentRow)> {
        self.rows.iter().map(|(component, row)| (*component, row))
    }

    /// `None` before the first decision, or after eviction.
    pub fn smoothed(&self, component: Pseudonym) -> Option<Probability> {
        self.rows.get(&component).map(|row| row.smoothed)
    }

    /// The component after a decision. A new one evicts the least recently used.
    pub fn update(
        &self,
        component: Pseudonym,
        smoothed: Probability,
        at: Sequence,
    ) -> Vec<Mutation> {
        let mut rows =
            vec![Row::ComponentRow(component, ComponentRow { smoothed, last: at }).into()];
        if !self.rows.contains_key(&component) && self.rows.len() >= COMPONENTS_MAX {
            rows.extend(
                self.by_last
                    .values()
                    .next()
                    .map(|&oldest| RowId::ComponentRow(oldest).into()),
            );
        }
        rows
    }
}

impl TableRow for ComponentRow {
    type Key = Pseudonym;
    const LOAD: Load = Load::Hot;
    const EXPORT: Option<&'static str> = Some("components.ndjson");

    fn absorb(&self, key: &Pseudonym, tenant: &mut Tenant) -> Option<Self> {
        let replaced = Self::forget(key, tenant);
        tenant.components.rows.insert(*key, *self);
        tenant.components.by_last.insert(self.last, *key);
        replaced
    }

    fn forget(key: &Pseudonym, tenant: &mut Tenant) -> Option<Self> {
        let row = tenant.components.rows.remove(key)?;
        tenant.components.by_last.remove(&row.last);
        Some(row)
    }

    fn weight(&self) -> usize {
        120
    }

    /// Components are evicted by their own limit.
    fn evict(_: Sequence, _: &IntentRow, _: &Tenant) -> Vec<Mutation> {
        Vec::new()
    }
}
