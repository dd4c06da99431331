//! Whole decisions: what holds of every one, examples, golden files, and values computed elsewhere.

mod arbitrary;
mod examples;
mod golden;
mod oracle;
mod properties;

use super::category::PerCategory;
use super::evidence::Counts;
use super::intent::{
    ChangeScope, Context, Environment, IntentKind, Operation, PermissionLevel, ResourceScope,
    ResourceType,
};
use super::{Decision, Evidence, Intent, Rules, decide};
use crate::bounded::{BoundedString, BoundedVec};
use crate::number::{Magnitude, Probability};
use crate::time::Timestamp;

fn decided(intent: &Intent, evidence: &Evidence) -> Decision {
    decide(intent, evidence, Rules::built_in(), noon())
}

fn codes(decision: &Decision) -> Vec<&str> {
    decision
        .reasons
        .iter()
        .map(|reason| reason.code.as_ref())
        .collect()
}

/// When every test decides.
pub fn noon() -> Timestamp {
    Timestamp::parse("2026-03-02T12:00:00Z").unwrap()
}

pub fn text<const MIN: usize, const MAX: usize>(text: &str) -> BoundedString<MIN, MAX> {
    BoundedString::new(text).unwrap()
}

pub fn share(value: f64) -> Probability {
    Probability::new(value).unwrap()
}

pub fn magnitude(value: f64) -> Magnitude {
    Magnitude::new(value).unwrap()
}

/// An intent with nothing but what is asked.
pub fn intent(kind: IntentKind, environment: Environment, operation: Option<Operation>) -> Intent {
    Intent {
        kind,
        environment,
        requester: text("ada"),
        operation,
        changed_fields: BoundedVec::default(),
        change_set: None,
        estimated_cost: None,
        policy_violations: BoundedVec::default(),
        provenance: serde_json::Map::new(),
        configuration: serde_json::Map::new(),
        context: Context::default(),
    }
}

pub fn provision(resource_type: ResourceType, size: &str) -> IntentKind {
    IntentKind::ProvisionResource {
        resource_type,
        region: text("westeurope"),
        size: text(size),
    }
}

pub fn grant(permission_level: PermissionLevel, scope: &str) -> IntentKind {
    IntentKind::GrantAccess {
        principal: text("eve"),
        permission_level,
        resource_scope: ResourceScope::new(scope).unwrap(),
        justification: None,
    }
}

pub fn deploy(service: &str, change_scope: ChangeScope, target: Environment) -> IntentKind {
    IntentKind::DeployConfig {
        service_name: text(service),
        change_scope,
        deployment_target: target,
        risk_level_hint: None,
    }
}

/// A tenant that has learned the same in every category.
pub fn learned(failures: u64, trials: u64) -> Evidence {
    let counts = Counts {
        failures,
        trials,
        self_reported: 0,
        imported: 0,
    };
    Evidence {
        counts: PerCategory {
            database: counts,
            network: counts,
            compute: counts,
            security: counts,
            default: counts,
        },
        ..Evidence::default()
    }
}
