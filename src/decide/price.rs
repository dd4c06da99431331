//! Monthly prices, by the table in `data/defaults/prices.toml`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::intent::{Intent, IntentKind, ResourceType};
use crate::number::Usd;

/// US dollars a month by type and size.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Prices(BTreeMap<ResourceType, BTreeMap<String, Usd>>);

impl Prices {
    /// `None` is unknown, not free.
    pub fn get(&self, resource_type: ResourceType, size: &str) -> Option<Usd> {
        self.0.get(&resource_type)?.get(size).copied()
    }

    /// The caller's, else the table's price.
    pub fn estimate(&self, intent: &Intent) -> Option<Usd> {
        intent.estimated_cost.or_else(|| match &intent.kind {
            IntentKind::ProvisionResource {
                resource_type,
                size,
                ..
            } => self.get(*resource_type, size.as_str()),
            IntentKind::GrantAccess { .. } | IntentKind::DeployConfig { .. } => None,
        })
    }

    /// The most expensive first; all sizes if `size` is not in the table.
    pub fn cheaper_than(&self, resource_type: ResourceType, size: &str) -> Vec<&str> {
        let price = self.get(resource_type, size);
        let bound = price.map_or(f64::INFINITY, Usd::get);
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
