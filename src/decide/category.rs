//! What a decision learns from: five categories, each with its own prior and counts (rules.md 4).

use serde::{Deserialize, Serialize};

use super::intent::{Intent, IntentKind, ResourceType};
use crate::string_enum;

string_enum!(
    /// A category of action, the unit of learning.
    Category {
        /// Databases and storage, and services named after one.
        Database = 1 "database",
        /// Networks.
        Network = 2 "network",
        /// Machines.
        Compute = 3 "compute",
        /// Rights.
        Security = 4 "security",
        /// Everything else.
        Default = 5 "default",
    }
);

impl Category {
    /// The category that `intent` falls into.
    pub fn of(intent: &Intent) -> Self {
        match &intent.kind {
            IntentKind::ProvisionResource { resource_type, .. } => match resource_type {
                ResourceType::Database | ResourceType::StorageAccount => Self::Database,
                ResourceType::Vm => Self::Compute,
                ResourceType::VirtualNetwork => Self::Network,
                ResourceType::KubernetesCluster | ResourceType::FunctionApp => Self::Default,
            },
            IntentKind::GrantAccess { .. } => Self::Security,
            IntentKind::DeployConfig { service_name, .. } => {
                let mut places = service_name.as_str().as_bytes().windows("database".len());
                let named = places.any(|place| place.eq_ignore_ascii_case(b"database"));
                if named { Self::Database } else { Self::Default }
            }
        }
    }
}

/// One value for each category.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PerCategory<T> {
    /// Of [`Category::Database`].
    pub database: T,
    /// Of [`Category::Network`].
    pub network: T,
    /// Of [`Category::Compute`].
    pub compute: T,
    /// Of [`Category::Security`].
    pub security: T,
    /// Of [`Category::Default`].
    pub default: T,
}

impl<T> PerCategory<T> {
    /// The value of one category.
    pub const fn of(&self, category: Category) -> &T {
        match category {
            Category::Database => &self.database,
            Category::Network => &self.network,
            Category::Compute => &self.compute,
            Category::Security => &self.security,
            Category::Default => &self.default,
        }
    }

    /// The value of one category, to change.
    pub const fn of_mut(&mut self, category: Category) -> &mut T {
        match category {
            Category::Database => &mut self.database,
            Category::Network => &mut self.network,
            Category::Compute => &mut self.compute,
            Category::Security => &mut self.security,
            Category::Default => &mut self.default,
        }
    }

    /// Every category with its value, in the order of [`Category::ALL`].
    pub fn iter(&self) -> impl Iterator<Item = (Category, &T)> {
        Category::ALL
            .iter()
            .map(|&category| (category, self.of(category)))
    }
}
