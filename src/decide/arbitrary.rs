//! Intents, evidence and rules for tests: a few by hand, and all that the types allow.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::category::PerCategory;
use super::evidence::{Counts, MemorySums, SetSoFar};
use super::intent::{
    Ask, BoundedString, BoundedVec, ChangeScope, ChangeSet, Context, Environment, Forecast,
    Hallucination, Operation, PermissionLevel, ResourceScope, ResourceType, RiskLevel,
};
use super::{Evidence, Intent};
use crate::number::{Magnitude, Probability};
use crate::time::Timestamp;

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
pub fn intent(ask: Ask, environment: Environment, operation: Option<Operation>) -> Intent {
    Intent {
        ask,
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

pub fn provision(resource_type: ResourceType, size: &str) -> Ask {
    Ask::ProvisionResource {
        resource_type,
        region: text("westeurope"),
        size: text(size),
    }
}

pub fn grant(permission_level: PermissionLevel, scope: &str) -> Ask {
    Ask::GrantAccess {
        principal: text("eve"),
        permission_level,
        resource_scope: ResourceScope::new(scope).unwrap(),
        justification: None,
    }
}

pub fn deploy(service: &str, change_scope: ChangeScope, target: Environment) -> Ask {
    Ask::DeployConfig {
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

fn one_of<T: Copy + std::fmt::Debug + 'static>(all: &'static [T]) -> impl Strategy<Value = T> {
    proptest::sample::select(all)
}

fn shares() -> impl Strategy<Value = Probability> {
    prop_oneof![Just(0.0), Just(1.0), 0.0..=1.0].prop_map(share)
}

fn asks() -> impl Strategy<Value = Ask> {
    let sizes = [
        "Basic",
        "Premium",
        "Standard_D4s_v3",
        "10TB",
        "Large",
        "huge",
    ];
    let scopes = ["/", "/subscriptions", "/subscriptions/7/groups/web"];
    let services = ["web", "User-Database", "payments-api"];
    prop_oneof![
        (
            one_of(ResourceType::ALL),
            proptest::sample::select(sizes.to_vec())
        )
            .prop_map(|(resource_type, size)| provision(resource_type, size))
            .boxed(),
        (
            one_of(PermissionLevel::ALL),
            proptest::sample::select(scopes.to_vec())
        )
            .prop_map(|(level, scope)| grant(level, scope))
            .boxed(),
        (
            proptest::sample::select(services.to_vec()),
            one_of(ChangeScope::ALL),
            one_of(Environment::ALL)
        )
            .prop_map(|(service, scope, target)| deploy(service, scope, target))
            .boxed(),
    ]
}

fn contexts() -> impl Strategy<Value = Context> {
    let forecast =
        (one_of(RiskLevel::ALL), shares()).prop_map(|(risk_level, confidence)| Forecast {
            risk_level,
            confidence,
        });
    let hallucination =
        (0.0..3.0, -1.0..=1.0, shares()).prop_map(|(entropy, evidence_lift, contradiction)| {
            Hallucination {
                entropy: magnitude(entropy),
                evidence_lift,
                contradiction,
            }
        });
    (
        option::of((0.0..800.0).prop_map(magnitude)),
        option::of((0.0..=0.5).prop_map(share)),
        option::of(shares()),
        prop_oneof![3 => Just(Vec::new()), 1 => vec(forecast, 1..4)],
        option::weighted(0.25, hallucination),
    )
        .prop_map(
            |(latency_p99, error_rate, opportunity_value, forecasts, hallucination)| Context {
                latency_p99,
                error_rate,
                opportunity_value,
                forecasts: BoundedVec::new(forecasts).unwrap(),
                hallucination,
                ..Context::default()
            },
        )
}

/// Every intent, those that pass the gates often enough to be of use.
pub fn intents() -> impl Strategy<Value = Intent> {
    let change_set = option::of(option::of(0_u32..20)).prop_map(|set| {
        set.map(|deletes| ChangeSet {
            id: text("plan-1"),
            url: None,
            revision: None,
            intents: None,
            deletes,
        })
    });
    let context = prop_oneof![Just(Context::default()).boxed(), contexts().boxed()];
    let violations = prop_oneof![5 => Just(0_usize), 1 => 1_usize..3];
    (
        asks(),
        one_of(Environment::ALL),
        option::of(one_of(Operation::ALL)),
        change_set,
        violations,
        context,
    )
        .prop_map(
            |(ask, environment, operation, change_set, violations, context)| Intent {
                change_set,
                policy_violations: BoundedVec::new(vec![text("no-public-buckets"); violations])
                    .unwrap(),
                context,
                ..intent(ask, environment, operation)
            },
        )
}

/// What a tenant may have learned.
pub fn evidences() -> impl Strategy<Value = Evidence> {
    let counts = (
        prop_oneof![0_u64..40, 0_u64..2_000],
        0.0..=1.0_f64,
        prop_oneof![Just(0.1), Just(1.0)],
    )
        .prop_map(|(trials, rate, scale)| Counts {
            failures: (trials as f64 * rate * scale) as u64,
            trials,
            self_reported: 0,
            imported: 0,
        });
    (vec(counts, 5), option::of(shares()), 0_u32..20).prop_map(|(counts, smoothed, deletes)| {
        Evidence {
            counts: PerCategory {
                database: counts[0],
                network: counts[1],
                compute: counts[2],
                security: counts[3],
                default: counts[4],
            },
            smoothed,
            memory: MemorySums::default(),
            change_set: SetSoFar {
                intents: deletes,
                deletes,
            },
        }
    })
}
