//! Strategies: every intent and all evidence that the types allow.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::{deploy, grant, intent, magnitude, provision, share, text};
use crate::bounded::BoundedVec;
use crate::decide::category::PerCategory;
use crate::decide::evidence::{ChangeSetTotals, Counts, MemorySums};
use crate::decide::intent::{
    ChangeScope, ChangeSet, Context, Environment, Forecast, HallucinationSignals, IntentKind,
    Operation, PermissionLevel, ResourceType, RiskLevel,
};
use crate::decide::{Evidence, Intent};
use crate::number::Probability;

fn one_of<T: Copy + std::fmt::Debug + 'static>(all: &'static [T]) -> impl Strategy<Value = T> {
    proptest::sample::select(all)
}

fn shares() -> impl Strategy<Value = Probability> {
    prop_oneof![Just(0.0), Just(1.0), 0.0..=1.0].prop_map(share)
}

fn asks() -> impl Strategy<Value = IntentKind> {
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
            HallucinationSignals {
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
            change_set: ChangeSetTotals {
                intents: deletes,
                deletes,
            },
        }
    })
}
