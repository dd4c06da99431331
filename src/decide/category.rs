//! Categories of intents, each with its own prior and counts (rules.md 4).

use serde::{Deserialize, Serialize};

use super::intent::{Intent, IntentKind, ResourceType};
use crate::string_enum;

string_enum!(
    Category {
        Database = 1 "database",
        Network = 2 "network",
        Compute = 3 "compute",
        Security = 4 "security",
        Default = 5 "default",
    }
);

impl Category {
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
                let mut windows = service_name.as_str().as_bytes().windows("database".len());
                let named = windows.any(|it| it.eq_ignore_ascii_case(b"database"));
                if named { Self::Database } else { Self::Default }
            }
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PerCategory<T> {
    pub database: T,
    pub network: T,
    pub compute: T,
    pub security: T,
    pub default: T,
}

impl<T> PerCategory<T> {
    pub const fn of(&self, category: Category) -> &T {
        match category {
            Category::Database => &self.database,
            Category::Network => &self.network,
            Category::Compute => &self.compute,
            Category::Security => &self.security,
            Category::Default => &self.default,
        }
    }

    pub const fn of_mut(&mut self, category: Category) -> &mut T {
        match category {
            Category::Database => &mut self.database,
            Category::Network => &mut self.network,
            Category::Compute => &mut self.compute,
            Category::Security => &mut self.security,
            Category::Default => &mut self.default,
        }
    }

    /// In the order of [`Category::ALL`].
    pub fn iter(&self) -> impl Iterator<Item = (Category, &T)> {
        let categories = Category::ALL.iter();
        categories.map(|&category| (category, self.of(category)))
    }
}
