//! What is asked: an intent whose every value is in range, because no other can be made.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use thiserror::Error;

use crate::number::{Magnitude, Probability, Usd};
use crate::string_enum;

string_enum!(
    /// Where a change takes effect.
    Environment {
        /// Development.
        Dev = 1 "dev",
        /// The last stop before production.
        Staging = 2 "staging",
        /// Production: risk counts half as much again (kappa, rules.md 6).
        Prod = 3 "prod",
        /// Tests.
        Test = 4 "test",
    }
);
string_enum!(
    /// The three kinds of intent.
    IntentType {
        /// Make or change a resource.
        ProvisionResource = 1 "provision_resource",
        /// Give somebody rights.
        GrantAccess = 2 "grant_access",
        /// Roll out a configuration.
        DeployConfig = 3 "deploy_config",
    }
);
string_enum!(
    /// What happens to the thing.
    Operation {
        /// It comes into being.
        Create = 1 "create",
        /// It stays and changes.
        Update = 2 "update",
        /// It goes.
        Delete = 3 "delete",
        /// It goes and comes back: data in it is lost.
        Replace = 4 "replace",
        /// An existing thing comes under management.
        Import = 5 "import",
    }
);
string_enum!(
    /// Types of resource that can be provisioned.
    ResourceType {
        /// A virtual machine.
        Vm = "vm",
        /// Object or block storage.
        StorageAccount = "storage_account",
        /// A managed database.
        Database = "database",
        /// A managed Kubernetes cluster.
        KubernetesCluster = "kubernetes_cluster",
        /// Serverless functions.
        FunctionApp = "function_app",
        /// A network.
        VirtualNetwork = "virtual_network",
    }
);
string_enum!(
    /// How much a grant allows; ordered.
    PermissionLevel {
        /// Look.
        Read = "read",
        /// Change.
        Write = "write",
        /// Everything, rights included.
        Admin = "admin",
    }
);
string_enum!(
    /// How far a deployment reaches; ordered.
    ChangeScope {
        /// One instance.
        SingleInstance = "single_instance",
        /// A small share of the traffic.
        Canary = "canary",
        /// Everything at once.
        Global = "global",
    }
);
string_enum!(
    /// How bad a forecast is.
    RiskLevel {
        /// 0.1
        Low = "low",
        /// 0.4
        Medium = "medium",
        /// 0.7
        High = "high",
        /// 0.95
        Critical = "critical",
    }
);

impl Operation {
    /// True for what a change set counts as a delete: the thing, or the data in it, is lost.
    pub const fn destroys(self) -> bool {
        match self {
            Self::Delete | Self::Replace => true,
            Self::Create | Self::Update | Self::Import => false,
        }
    }
}

/// Text was too short or too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("must have {min} to {max} characters")]
pub struct LengthError {
    min: usize,
    max: usize,
}

/// Text of `MIN` to `MAX` characters.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BoundedString<const MIN: usize, const MAX: usize>(String);

impl<const MIN: usize, const MAX: usize> BoundedString<MIN, MAX> {
    /// Checks the length, in characters.
    pub fn new(text: impl Into<String>) -> Result<Self, LengthError> {
        let text = text.into();
        if (MIN..=MAX).contains(&text.chars().count()) {
            Ok(Self(text))
        } else {
            Err(LengthError { min: MIN, max: MAX })
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<const MIN: usize, const MAX: usize> TryFrom<String> for BoundedString<MIN, MAX> {
    type Error = LengthError;
    fn try_from(text: String) -> Result<Self, LengthError> {
        Self::new(text)
    }
}

impl<const MIN: usize, const MAX: usize> From<BoundedString<MIN, MAX>> for String {
    fn from(text: BoundedString<MIN, MAX>) -> String {
        text.0
    }
}

/// A list of at most `MAX` things.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<T>", into = "Vec<T>")]
#[serde(bound(
    serialize = "T: Serialize + Clone",
    deserialize = "T: Deserialize<'de>"
))]
pub struct BoundedVec<T, const MAX: usize>(Vec<T>);

impl<T, const MAX: usize> BoundedVec<T, MAX> {
    /// Checks how many there are.
    pub fn new(items: Vec<T>) -> Result<Self, CountError> {
        if items.len() <= MAX {
            Ok(Self(items))
        } else {
            Err(CountError { max: MAX })
        }
    }

    /// The things.
    pub fn as_slice(&self) -> &[T] {
        &self.0
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<T, const MAX: usize> Default for BoundedVec<T, MAX> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T, const MAX: usize> TryFrom<Vec<T>> for BoundedVec<T, MAX> {
    type Error = CountError;
    fn try_from(items: Vec<T>) -> Result<Self, CountError> {
        Self::new(items)
    }
}

impl<T, const MAX: usize> From<BoundedVec<T, MAX>> for Vec<T> {
    fn from(few: BoundedVec<T, MAX>) -> Vec<T> {
        few.0
    }
}

/// A list was too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("must have at most {max} items")]
pub struct CountError {
    max: usize,
}

/// A resource scope: text of 1 to 1,024 characters that starts with `/`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ResourceScope(String);

impl ResourceScope {
    /// Checks that it starts with `/` and its length.
    pub fn new(text: impl Into<String>) -> Result<Self, ScopeError> {
        let text = text.into();
        if text.starts_with('/') && text.chars().count() <= 1_024 {
            Ok(Self(text))
        } else {
            Err(ScopeError)
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// How many segments are not empty: 0 for `/`, 1 for `/subscriptions`.
    pub fn segments(&self) -> usize {
        self.0
            .split('/')
            .filter(|segment| !segment.is_empty())
            .count()
    }
}

impl TryFrom<String> for ResourceScope {
    type Error = ScopeError;
    fn try_from(text: String) -> Result<Self, ScopeError> {
        Self::new(text)
    }
}

impl From<ResourceScope> for String {
    fn from(scope: ResourceScope) -> String {
        scope.0
    }
}

/// A scope was not one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("must start with `/` and have at most 1024 characters")]
pub struct ScopeError;

/// What the kind of intent adds to the common fields.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "intent_type", rename_all = "snake_case")]
pub enum IntentKind {
    /// Make or change a resource.
    ProvisionResource {
        /// Of what type.
        resource_type: ResourceType,
        /// Where, in the provider's own word.
        region: BoundedString<1, 256>,
        /// How large, in the provider's own word.
        size: BoundedString<1, 256>,
    },
    /// Give somebody rights.
    GrantAccess {
        /// Who gets them.
        principal: BoundedString<1, 1_024>,
        /// How much.
        permission_level: PermissionLevel,
        /// On what.
        resource_scope: ResourceScope,
        /// Why, in the caller's words.
        #[serde(skip_serializing_if = "Option::is_none")]
        justification: Option<BoundedString<0, 4_096>>,
    },
    /// Roll out a configuration.
    DeployConfig {
        /// Of what.
        service_name: BoundedString<3, 1_024>,
        /// How far.
        change_scope: ChangeScope,
        /// To where.
        deployment_target: Environment,
        /// The caller's own guess; kept, not used.
        #[serde(skip_serializing_if = "Option::is_none")]
        risk_level_hint: Option<Probability>,
    },
}

/// One forecast about the thing touched.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Forecast {
    /// How bad.
    pub risk_level: RiskLevel,
    /// How sure.
    pub confidence: Probability,
}

/// Signals that the request rests on something invented (for agents driven by a language model).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HallucinationSignals {
    /// Semantic entropy of the answers, 0 and up.
    pub entropy: Magnitude,
    /// How much evidence raises the answer's probability, -1 to 1.
    pub evidence_lift: f64,
    /// Share of contradicting answers.
    pub contradiction: Probability,
}

/// The state of the world around the request, as the caller sees it.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Context {
    /// 99th percentile latency, milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency_p99: Option<Magnitude>,
    /// Share of failing requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_rate: Option<Probability>,
    /// Requests per second; kept, not used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub throughput: Option<Magnitude>,
    /// Share of the processors in use; kept, not used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_util: Option<Probability>,
    /// Share of the memory in use; kept, not used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_util: Option<Probability>,
    /// What is lost by not doing it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub opportunity_value: Option<Probability>,
    /// Forecasts about the thing touched.
    #[serde(skip_serializing_if = "BoundedVec::is_empty")]
    pub forecasts: BoundedVec<Forecast, 64>,
    /// Signals that the request rests on something invented.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hallucination: Option<HallucinationSignals>,
    /// The caller's role, in its own words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<BoundedString<0, 256>>,
    /// Hour of the day, 0 to 23, if it is not the server's (UTC).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hour: Option<u8>,
}

impl Context {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// The plan, change request or agent task that the intent is a part of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ChangeSet {
    /// The caller's name for it.
    pub id: BoundedString<1, 64>,
    /// Where a person can see it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<BoundedString<1, 2_048>>,
    /// Which version of it; none is the empty one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<BoundedString<1, 128>>,
    /// How many intents it has in all, by the caller's count.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub intents: Option<u32>,
    /// How many of them delete or replace, by the caller's count.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deletes: Option<u32>,
}

/// What is asked, complete. Two equal intents get the same digest, and so the same answer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Intent {
    /// The kind and its own fields.
    #[serde(flatten)]
    pub kind: IntentKind,
    /// Where it takes effect.
    pub environment: Environment,
    /// Who wants it.
    pub requester: BoundedString<1, 256>,
    /// What happens to the thing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation: Option<Operation>,
    /// Names of what changes, never values.
    #[serde(skip_serializing_if = "BoundedVec::is_empty")]
    pub changed_fields: BoundedVec<BoundedString<1, 128>, 64>,
    /// The plan it is a part of. Not part of its digest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub change_set: Option<ChangeSet>,
    /// Its cost by the caller's estimate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub estimated_cost: Option<Usd>,
    /// Violations that somebody else found; any one denies.
    #[serde(skip_serializing_if = "BoundedVec::is_empty")]
    pub policy_violations: BoundedVec<BoundedString<1, 1_024>, 64>,
    /// Where the request comes from; kept as given.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub provenance: Map<String, Value>,
    /// Configuration; kept as given.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub configuration: Map<String, Value>,
    /// The state of the world around it.
    #[serde(skip_serializing_if = "Context::is_empty")]
    pub context: Context,
}

impl Intent {
    /// The kind of intent.
    pub const fn intent_type(&self) -> IntentType {
        match self.kind {
            IntentKind::ProvisionResource { .. } => IntentType::ProvisionResource,
            IntentKind::GrantAccess { .. } => IntentType::GrantAccess,
            IntentKind::DeployConfig { .. } => IntentType::DeployConfig,
        }
    }

    /// The component whose risk is smoothed: kind of name, and name (rules.md 6).
    pub fn component(&self) -> (&'static str, &str) {
        match &self.kind {
            IntentKind::ProvisionResource { resource_type, .. } => {
                ("resource_type", resource_type.as_str())
            }
            IntentKind::GrantAccess { principal, .. } => ("principal", principal.as_str()),
            IntentKind::DeployConfig { service_name, .. } => ("service", service_name.as_str()),
        }
    }

    /// Where a deployment goes to.
    pub const fn target(&self) -> Option<Environment> {
        match self.kind {
            IntentKind::DeployConfig {
                deployment_target, ..
            } => Some(deployment_target),
            IntentKind::ProvisionResource { .. } | IntentKind::GrantAccess { .. } => None,
        }
    }

    /// True if the change, or the thing deployed to, is in production.
    pub fn touches_prod(&self) -> bool {
        self.environment == Environment::Prod || self.target() == Some(Environment::Prod)
    }

    /// True if the thing, or the data in it, is lost.
    pub fn destroys(&self) -> bool {
        self.operation.is_some_and(Operation::destroys)
    }

    /// The canonical form: RFC 8785 JSON without the change set. Its digest says whether two
    /// requests are the same one.
    pub fn canonical(&self) -> Vec<u8> {
        let bare = Self {
            change_set: None,
            ..self.clone()
        };
        serde_json_canonicalizer::to_vec(&bare).expect("an intent holds nothing JSON cannot say")
    }
}
