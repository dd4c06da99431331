//! What a change costs a month, by the table in `data/defaults/prices.toml`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::intent::{Intent, IntentKind, ResourceType};
use crate::number::Usd;

/// US dollars a month by type and size.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Prices(BTreeMap<ResourceType, BTreeMap<String, Usd>>);

impl Prices {
    /// The price of one size; none if the table does not have it, which is not a price of 0.
    pub fn of(&self, resource_type: ResourceType, size: &str) -> Option<Usd> {
        self.0.get(&resource_type)?.get(size).copied()
    }

    /// What `intent` costs: by its caller's estimate, else by the table, else unknown.
    pub fn estimate(&self, intent: &Intent) -> Option<Usd> {
        intent.estimated_cost.or_else(|| match &intent.kind {
            IntentKind::ProvisionResource {
                resource_type,
                size,
                ..
            } => self.of(*resource_type, size.as_str()),
            IntentKind::GrantAccess { .. } | IntentKind::DeployConfig { .. } => None,
        })
    }

    /// The sizes of a type that cost less than `size`, the dearest first; all of them if the table
    /// does not know `size`.
    pub fn cheaper_than(&self, resource_type: ResourceType, size: &str) -> Vec<&str> {
        let bound = self.of(resource_type, size).map_or(f64::INFINITY, Usd::get);
        let mut cheaper: Vec<(&str, f64)> = self
            .0
            .get(&resource_type)
            .into_iter()
            .flatten()
            .map(|(size, price)| (size.as_str(), price.get()))
            .filter(|(_, price)| *price < bound)
            .collect();
        cheaper.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(b.0)));
        cheaper.into_iter().map(|(size, _)| size).collect()
    }
}
