//! The built-in policies: they deny nothing, and escalate what cannot be undone.

use super::Finding;
use crate::decide::category::Category;
use crate::decide::evidence::Evidence;
use crate::decide::intent::{ChangeScope, Intent, IntentKind, PermissionLevel};
use crate::decide::rules::Rules;

/// An admin grant on a scope of fewer segments covers almost everything.
const NARROW_SCOPE_SEGMENTS_MIN: usize = 2;

pub fn escalations(intent: &Intent, evidence: &Evidence, rules: &Rules) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut escalate = |policy: &'static str, reason: String| {
        found.push(Finding {
            policy: policy.into(),
            reason,
        });
    };

    if let Some(operation) = intent.operation.filter(|operation| operation.destroys())
        && is_irreplaceable(intent)
    {
        let target = target(intent);
        if intent.touches_prod() {
            escalate(
                "prod-destroy-data",
                format!("{operation} of {target} in prod"),
            );
        }
        let deletes = deletes_in_change_set(intent, evidence);
        let most = rules.settings.change_set.deletes_max;
        if deletes > most {
            escalate(
                "bulk-destroy-data",
                format!(
                    "{operation} of {target} in a change set with {deletes} deletes and replaces, \
                     more than {most}"
                ),
            );
        }
    }

    match &intent.kind {
        IntentKind::ProvisionResource { .. } => {}
        IntentKind::GrantAccess {
            permission_level,
            resource_scope,
            ..
        } => {
            if *permission_level == PermissionLevel::Admin {
                if intent.touches_prod() {
                    escalate("prod-admin-grant", "admin grant in prod".to_owned());
                }
                let segments = resource_scope.segments();
                if segments < NARROW_SCOPE_SEGMENTS_MIN {
                    escalate(
                        "broad-admin-grant",
                        format!(
                            "admin grant on a scope of {segments} segment{}, fewer than \
                             {NARROW_SCOPE_SEGMENTS_MIN}",
                            if segments == 1 { "" } else { "s" },
                        ),
                    );
                }
            }
        }
        IntentKind::DeployConfig { change_scope, .. } => {
            if *change_scope == ChangeScope::Global && intent.touches_prod() {
                escalate("prod-global-deploy", "global deployment in prod".to_owned());
            }
        }
    }
    found
}

/// True if creating it again does not restore what a delete takes.
fn is_irreplaceable(intent: &Intent) -> bool {
    match Category::of(intent) {
        Category::Database | Category::Network => true,
        Category::Compute | Category::Security | Category::Default => false,
    }
}

/// The larger of the declared and the recorded number, this one included.
fn deletes_in_change_set(intent: &Intent, evidence: &Evidence) -> u32 {
    let seen = evidence.change_set.deletes.saturating_add(1);
    let declared = intent.change_set.as_ref().and_then(|set| set.deletes);
    declared.map_or(seen, |declared| declared.max(seen))
}

fn target(intent: &Intent) -> String {
    match &intent.kind {
        IntentKind::ProvisionResource { resource_type, .. } => resource_type.as_str().to_owned(),
        IntentKind::GrantAccess { .. } => "grant".to_owned(),
        IntentKind::DeployConfig { service_name, .. } => {
            format!("service `{}`", service_name.as_str())
        }
    }
}
