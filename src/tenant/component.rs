//! The smoothed risk of the 4,096 most recently used components (rules.md 6).

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use super::Tenant;
use super::schema::{Eviction, Mutation, Row, RowId, TableRow};
use crate::id::{Pseudonym, Sequence};
use crate::number::Probability;
use crate::store::Load;

pub const COMPONENTS_MAX: usize = 4_096;

/// Keyed by the pseudonym of kind and name.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ComponentRow {
    /// S, after its last decision.
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

    /// A new component evicts the least recently used one.
    pub fn update(
        &self,
        component: Pseudonym,
        smoothed: Probability,
        at: Sequence,
    ) -> Vec<Mutation> {
        let row = ComponentRow { smoothed, last: at };
        let mut rows = vec![Row::ComponentRow(component, row).into()];
        if !self.rows.contains_key(&component) && self.rows.len() >= COMPONENTS_MAX {
            let oldest = self.by_last.values().next();
            rows.extend(oldest.map(|&oldest| RowId::ComponentRow(oldest).into()));
        }
        rows
    }
}

impl TableRow for ComponentRow {
    type Key = Pseudonym;
    const LOAD: Load = Load::Hot;
    const EXPORT: Option<&'static str> = Some("components.ndjson");
    const WEIGHT: usize = 120;
    /// Components are evicted by their own limit.
    const EVICTION: Option<Eviction> = None;

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
}
