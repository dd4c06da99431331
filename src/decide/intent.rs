//! An intent: one requested change. Its types hold only values in range.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use thiserror::Error;

use crate::bounded::{BoundedString, BoundedVec};
use crate::number::{Magnitude, Probability, Usd};
use crate::string_enum;

string_enum!(
    Environment {
        Dev = 1 "dev",
        Staging = 2 "staging",
        Prod = 3 "prod",
        Test = 4 "test",
    }
);
string_enum!(
    IntentType {
        ProvisionResource = 1 "provision_resource",
        GrantAccess = 2 "grant_access",
        DeployConfig = 3 "deploy_config",
    }
);
string_enum!(
    Operation {
        Create = 1 "create",
        Update = 2 "update",
        Delete = 3 "delete",
        Replace = 4 "replace",
        Import = 5 "import",
    }
);
string_enum!(
    ResourceType {
        Vm = "vm",
        StorageAccount = "storage_account",
        Database = "database",
        KubernetesCluster = "kubernetes_cluster",
        FunctionApp = "function_app",
        VirtualNetwork = "virtual_network",
    }
);
string_enum!(
    /// Ordered: each level includes those before it.
    PermissionLevel {
        Read = "read",
        Write = "write",
        Admin = "admin",
    }
);
string_enum!(
    /// How far a deployment reaches; ordered.
    ChangeScope {
        SingleInstance = "single_instance",
        Canary = "canary",
        Global = "global",
    }
);
string_enum!(
    RiskLevel {
        Low = "low",
        Medium = "medium",
        High = "high",
        Critical = "critical",
    }
);

impl Operation {
    /// True if the resource or its data is lost. A change set counts it as a delete.
    pub const fn destroys(self) -> bool {
        match self {
            Self::Delete | Self::Replace => true,
            Self::Create | Self::Update | Self::Import => false,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("must start with `/` and have at most 1024 characters")]
pub struct ScopeError;

/// A path of 1 to 1,024 characters that starts with `/`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct ResourceScope(String);

impl ResourceScope {
    pub fn new(text: impl Into<String>) -> Result<Self, ScopeError> {
        let text = text.into();
        if text.starts_with('/') && text.chars().count() <= 1_024 {
            Ok(Self(text))
        } else {
            Err(ScopeError)
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Counts segments that are not empty: 0 for `/`, 1 for `/subscriptions`.
    pub fn segments(&self) -> usize {
        let segments = self.0.split('/');
        segments.filter(|segment| !segment.is_empty()).count()
    }
}

impl TryFrom<String> for ResourceScope {
    type Error = ScopeError;
    fn try_from(text: String) -> Result<Self, ScopeError> {
        Self::new(text)
    }
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "intent_type", rename_all = "snake_case")]
pub enum IntentKind {
    ProvisionResource {
        resource_type: ResourceType,
        /// The provider's name, like the size.
        region: BoundedString<1, 256>,
        size: BoundedString<1, 256>,
    },
    GrantAccess {
        principal: BoundedString<1, 1_024>,
        permission_level: PermissionLevel,
        resource_scope: ResourceScope,
        #[serde(skip_serializing_if = "Option::is_none")]
        justification: Option<BoundedString<0, 4_096>>,
    },
    DeployConfig {
        service_name: BoundedString<3, 1_024>,
        change_scope: ChangeScope,
        deployment_target: Environment,
        /// Recorded, not used.
        #[serde(skip_serializing_if = "Option::is_none")]
        risk_level_hint: Option<Probability>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Forecast {
    pub risk_level: RiskLevel,
    pub confidence: Probability,
}

/// Signals that a language model invented the request.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HallucinationSignals {
    /// Semantic entropy of the model's answers, 0 and up.
    pub entropy: Magnitude,
    /// How much evidence raises the answer's probability, -1 to 1.
    pub evidence_lift: f64,
    /// Share of contradicting answers.
    pub contradiction: Probability,
}

/// The state of the service around the request, as the caller measured it. Throughput, processor and
/// memory use are recorded, not used.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Context {
    /// 99th percentile, milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency_p99: Option<Magnitude>,
    /// Share of failing requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_rate: Option<Probability>,
    /// Requests per second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub throughput: Option<Magnitude>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_util: Option<Probability>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_util: Option<Probability>,
    /// What is lost if the change is not made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub opportunity_value: Option<Probability>,
    #[serde(skip_serializing_if = "BoundedVec::is_empty")]
    pub forecasts: BoundedVec<Forecast, 64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hallucination: Option<HallucinationSignals>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<BoundedString<0, 256>>,
    /// Hour of the day, 0 to 23, where it is not the server's (UTC).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hour: Option<u8>,
}

impl Context {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A plan, change request or agent task that consists of intents.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ChangeSet {
    pub id: BoundedString<1, 64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<BoundedString<1, 2_048>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<BoundedString<1, 128>>,
    /// In all, as declared by the caller.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub intents: Option<u32>,
    /// Deletes and replaces among them, as declared by the caller.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deletes: Option<u32>,
}

/// Equal intents have the same digest, and so get the same answer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Intent {
    #[serde(flatten)]
    pub kind: IntentKind,
    pub environment: Environment,
    pub requester: BoundedString<1, 256>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation: Option<Operation>,
    /// Names, never values.
    #[serde(skip_serializing_if = "BoundedVec::is_empty")]
    pub changed_fields: BoundedVec<BoundedString<1, 128>, 64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub change_set: Option<ChangeSet>,
    /// By the caller.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub estimated_cost: Option<Usd>,
    /// Found by the caller; any one denies.
    #[serde(skip_serializing_if = "BoundedVec::is_empty")]
    pub policy_violations: BoundedVec<BoundedString<1, 1_024>, 64>,
    /// Recorded, not used, like the configuration.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub provenance: Map<String, Value>,
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub configuration: Map<String, Value>,
    #[serde(skip_serializing_if = "Context::is_empty")]
    pub context: Context,
}

impl Intent {
    pub const fn intent_type(&self) -> IntentType {
        match self.kind {
            IntentKind::ProvisionResource { .. } => IntentType::ProvisionResource,
            IntentKind::GrantAccess { .. } => IntentType::GrantAccess,
            IntentKind::DeployConfig { .. } => IntentType::DeployConfig,
        }
    }

    /// Kind and name of the component over which risk is smoothed (rules.md 6).
    pub fn component(&self) -> (&'static str, &str) {
        match &self.kind {
            IntentKind::ProvisionResource { resource_type, .. } => {
                ("resource_type", resource_type.as_str())
            }
            IntentKind::GrantAccess { principal, .. } => ("principal", principal.as_str()),
            IntentKind::DeployConfig { service_name, .. } => ("service", service_name.as_str()),
        }
    }

    pub const fn deployment_target(&self) -> Option<Environment> {
        match self.kind {
            IntentKind::DeployConfig {
                deployment_target, ..
            } => Some(deployment_target),
            IntentKind::ProvisionResource { .. } | IntentKind::GrantAccess { .. } => None,
        }
    }

    pub fn touches_prod(&self) -> bool {
        self.environment == Environment::Prod || self.deployment_target() == Some(Environment::Prod)
    }

    pub fn destroys(&self) -> bool {
        self.operation.is_some_and(Operation::destroys)
    }

    /// RFC 8785 JSON without the change set. Requests are the same if its digests are equal.
    pub fn canonical(&self) -> Vec<u8> {
        let without_change_set = Self {
            change_set: None,
            ..self.clone()
        };
        serde_json_canonicalizer::to_vec(&without_change_set)
            .expect("an intent holds nothing that JSON has no form for")
    }
}
