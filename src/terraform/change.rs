//! One resource change as an intent.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::address;
use super::attribute::{Attribute, is_marked};
use super::environment::environment;
use super::kind::{Kind, kind};
use super::permission::permission;
use super::plan::Resource;
use super::region::{ProviderRegions, region};
use super::size::size;
use crate::bounded::{BoundedString, BoundedVec};
use crate::decide::intent::{ChangeScope, Context, Environment, Intent, IntentKind, Operation};

const CHANGED_FIELDS_MAX: usize = 64;
const CHANGED_FIELD_CHARS_MAX: usize = 128;
const UNKNOWN: &str = "unknown";

/// No `Debug`: plans hold secrets.
pub struct Change<'p> {
    /// Of the resource.
    pub address: &'p str,
    /// Terraform's, as `aws_db_instance`.
    pub resource_type: &'p str,
    pub operation: Operation,
    /// Still without its change set.
    pub intent: Intent,
    pub(super) before: &'p Value,
    pub(super) after: &'p Value,
}

impl<'p> Change<'p> {
    pub(super) fn new(
        resource: &'p Resource,
        given: Option<Environment>,
        variables: &Value,
        regions: &ProviderRegions,
    ) -> Self {
        let sides = [resource.before(), resource.after()];
        let environment = given.unwrap_or_else(|| environment(sides, variables));
        let requester = BoundedString::new("terraform").expect("nine characters are a requester");
        let intent = Intent {
            kind: intent_kind(resource, environment, regions),
            environment,
            requester,
            operation: Some(resource.operation),
            changed_fields: changed_fields(resource),
            change_set: None,
            estimated_cost: None,
            policy_violations: BoundedVec::default(),
            provenance: provenance(resource),
            configuration: Map::new(),
            context: Context::default(),
        };
        Self {
            address: &resource.address,
            resource_type: &resource.resource_type,
            operation: resource.operation,
            intent,
            before: &resource.before,
            after: &resource.after,
        }
    }
}

fn intent_kind(
    resource: &Resource,
    environment: Environment,
    regions: &ProviderRegions,
) -> IntentKind {
    let remaining = remaining(resource);
    match kind(&resource.resource_type) {
        Kind::Grant => IntentKind::GrantAccess {
            principal: address::name(&resource.address),
            permission_level: permission(&resource.resource_type, remaining),
            resource_scope: address::scope(&resource.address),
            justification: None,
        },
        Kind::Provision(resource_type) => IntentKind::ProvisionResource {
            resource_type,
            region: or_unknown(region(remaining, &resource.provider, regions)),
            size: or_unknown(size(remaining)),
        },
        Kind::Deploy => IntentKind::DeployConfig {
            service_name: address::name(&resource.address),
            change_scope: ChangeScope::SingleInstance,
            deployment_target: environment,
            risk_level_hint: None,
        },
    }
}

/// The resource after the change; before it, if it is deleted.
fn remaining(resource: &Resource) -> Attribute<'_> {
    if resource.after.is_null() {
        resource.before()
    } else {
        resource.after()
    }
}

fn or_unknown(word: Option<String>) -> BoundedString<1, 256> {
    let word = word.unwrap_or_else(|| UNKNOWN.to_owned());
    BoundedString::new(word).expect("words of a plan have 1 to 64 characters")
}

/// Names of the attributes that change or are not known yet, sorted. Only those of the resource itself:
/// deeper keys may be values.
fn changed_fields(
    resource: &Resource,
) -> BoundedVec<BoundedString<1, CHANGED_FIELD_CHARS_MAX>, CHANGED_FIELDS_MAX> {
    fn value<'s>(side: &'s Value, name: &str) -> Option<&'s Value> {
        side.get(name).filter(|value| !value.is_null())
    }
    let Resource {
        before,
        after,
        after_unknown,
        ..
    } = resource;
    let names = [before, after, after_unknown]
        .into_iter()
        .filter_map(Value::as_object);
    let changed = names.flat_map(Map::keys).filter(|name| {
        value(before, name) != value(after, name)
            || value(after_unknown, name).is_some_and(is_marked)
    });
    let truncate = |name: &String| {
        name.chars()
            .take(CHANGED_FIELD_CHARS_MAX)
            .collect::<String>()
    };
    let sorted: BTreeSet<_> = changed.map(truncate).collect();
    let texts = sorted
        .into_iter()
        .filter_map(|name| BoundedString::new(name).ok());
    BoundedVec::new(texts.take(CHANGED_FIELDS_MAX).collect()).expect("no more were taken")
}

/// Identifies the resource for a reviewer.
fn provenance(resource: &Resource) -> Map<String, Value> {
    let address = address::name::<3>(&resource.address).as_str().to_owned();
    let resource_type: String = resource.resource_type.chars().take(128).collect();
    let members = [
        ("source", "terraform".into()),
        ("address", address),
        ("type", resource_type),
    ];
    members
        .into_iter()
        .map(|(name, value)| (name.to_owned(), Value::from(value)))
        .collect()
}
