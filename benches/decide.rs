//! Nanoseconds per decision, and per search for its counterfactual, by kind of case.
//!
//! `cargo bench --bench decide`. Each number is the median of rounds that interleave all cases, so that
//! a change of the machine's speed changes all of them.

#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a bench measures time and prints it"
)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use arf::bounded::{BoundedString, BoundedVec};
use arf::decide::evidence::{ChangeSetTotals, Counts, Evidence};
use arf::decide::intent::{
    ChangeScope, Context, Environment, Intent, IntentKind, Operation, PermissionLevel,
    ResourceScope, ResourceType,
};
use arf::decide::{Rules, counterfactual, decide};
use arf::number::{Magnitude, Probability};
use arf::time::Timestamp;

const ROUNDS: usize = 41;
const ROUND: Duration = Duration::from_millis(12);

fn text<const MIN: usize, const MAX: usize>(text: &str) -> BoundedString<MIN, MAX> {
    BoundedString::new(text).expect("short texts")
}

fn intent(kind: IntentKind, environment: Environment, operation: Operation) -> Intent {
    Intent {
        kind,
        environment,
        requester: text("ci@example.com"),
        operation: Some(operation),
        changed_fields: BoundedVec::default(),
        change_set: None,
        estimated_cost: None,
        policy_violations: BoundedVec::default(),
        provenance: serde_json::Map::new(),
        configuration: serde_json::Map::new(),
        context: Context::default(),
    }
}

fn provision(resource_type: ResourceType, size: &str) -> IntentKind {
    IntentKind::ProvisionResource {
        resource_type,
        region: text("westeurope"),
        size: text(size),
    }
}

fn deploy(change_scope: ChangeScope, target: Environment) -> IntentKind {
    IntentKind::DeployConfig {
        service_name: text("payments-api"),
        change_scope,
        deployment_target: target,
        risk_level_hint: None,
    }
}

fn learned(failures: u64, trials: u64) -> Evidence {
    let counts = Counts {
        failures,
        trials,
        self_reported: 0,
        imported: 0,
    };
    let mut evidence = Evidence {
        change_set: ChangeSetTotals::default(),
        ..Evidence::default()
    };
    for category in arf::decide::Category::ALL {
        *evidence.counts.of_mut(*category) = counts;
    }
    evidence
}

fn cases() -> Vec<(&'static str, Intent, Evidence)> {
    use Environment::{Prod, Staging};
    let canary = || {
        intent(
            deploy(ChangeScope::Canary, Staging),
            Staging,
            Operation::Update,
        )
    };
    let admin = IntentKind::GrantAccess {
        principal: text("eve@example.com"),
        permission_level: PermissionLevel::Admin,
        resource_scope: ResourceScope::new("/").expect("a scope"),
        justification: None,
    };
    let mut degraded = intent(deploy(ChangeScope::Canary, Prod), Prod, Operation::Update);
    degraded.context.error_rate = Probability::new(0.2).ok();
    degraded.context.latency_p99 = Magnitude::new(300.0).ok();
    let mut violated = canary();
    violated.policy_violations = BoundedVec::new(vec![text("no-public-buckets")]).expect("one");
    let mut large = intent(
        provision(ResourceType::Vm, "Standard_D16s_v3"),
        Prod,
        Operation::Replace,
    );
    large.configuration = (0..400)
        .map(|n| (format!("setting_{n}"), serde_json::json!({"value": n})))
        .collect();
    vec![
        ("approve, Beta(1, 60)", canary(), learned(0, 50)),
        ("approve, Beta(3, 60)", canary(), learned(2, 52)),
        ("approve, Beta(301, 9710)", canary(), learned(300, 10_000)),
        (
            "approve, Beta(3e4, 1e6)",
            canary(),
            learned(30_000, 1_030_000),
        ),
        (
            "escalate by the gate, fresh tenant",
            canary(),
            Evidence::default(),
        ),
        (
            "escalate by the gate, database",
            intent(
                provision(ResourceType::Database, "Premium"),
                Prod,
                Operation::Create,
            ),
            Evidence::default(),
        ),
        (
            "escalate by a policy, grant",
            intent(admin, Prod, Operation::Create),
            learned(1, 5),
        ),
        ("escalate by loss, telemetry", degraded, learned(4, 60)),
        (
            "approve, barely",
            intent(
                provision(ResourceType::FunctionApp, "Premium"),
                Prod,
                Operation::Create,
            ),
            learned(2, 14),
        ),
        ("escalate, 400 settings", large, learned(9, 60)),
        ("deny by loss", canary(), learned(95, 100)),
        ("deny by a violation", violated, learned(2, 52)),
    ]
}

fn main() {
    let at = Timestamp::parse("2026-03-02T12:00:00Z").expect("a time");
    let rules = Rules::built_in();
    let cases = cases();
    let mut deciding = vec![Vec::new(); cases.len()];
    let mut searching = vec![Vec::new(); cases.len()];
    for _ in 0..ROUNDS {
        for (index, (_, intent, evidence)) in cases.iter().enumerate() {
            let decision = decide(intent, evidence, rules, at);
            deciding[index].push(nanoseconds(|| {
                black_box(decide(black_box(intent), black_box(evidence), rules, at));
            }));
            searching[index].push(nanoseconds(|| {
                black_box(counterfactual(
                    black_box(intent),
                    evidence,
                    rules,
                    at,
                    &decision,
                ));
            }));
        }
    }
    println!(
        "{:36} {:>9} {:>12} {:>15}",
        "shape", "action", "decide, ns", "and search, ns"
    );
    for (index, (name, intent, evidence)) in cases.iter().enumerate() {
        let action = decide(intent, evidence, rules, at).action;
        let (decide, search) = (median(&mut deciding[index]), median(&mut searching[index]));
        println!("{name:36} {action:>9} {decide:>12.0} {search:>15.0}");
    }
}

/// Mean time of one call over a round.
fn nanoseconds(call: impl Fn()) -> f64 {
    let start = Instant::now();
    let mut calls = 0_u32;
    while start.elapsed() < ROUND {
        for _ in 0..16 {
            call();
        }
        calls += 16;
    }
    start.elapsed().as_nanos() as f64 / f64::from(calls)
}

fn median(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}
