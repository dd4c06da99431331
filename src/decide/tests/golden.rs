//! Whole decisions, kept in `tests/golden/decide_*.json`. `UPDATE_GOLDEN=1` writes them anew; the
//! difference is reviewed like any other.

use serde::Serialize;

use crate::golden;

use super::{deploy, grant, intent, learned, magnitude, noon, provision, share, text};
use crate::bounded::BoundedVec;
use crate::decide::intent::{
    ChangeScope, Environment, Forecast, Operation, PermissionLevel, ResourceType, RiskLevel,
};
use crate::decide::{Counterfactual, Decision, Evidence, Intent, Rules, counterfactual, decide};

fn cases() -> Vec<(&'static str, Intent, Evidence)> {
    use Environment::{Dev, Prod, Staging};
    let mut degraded = intent(
        deploy("payments-api", ChangeScope::Canary, Prod),
        Prod,
        Some(Operation::Update),
    );
    degraded.context.error_rate = Some(share(0.12));
    degraded.context.latency_p99 = Some(magnitude(240.0));
    let mut with_forecasts = intent(
        provision(ResourceType::Vm, "Standard_D8s_v3"),
        Dev,
        Some(Operation::Create),
    );
    let forecast = |risk_level, confidence| Forecast {
        risk_level,
        confidence: share(confidence),
    };
    with_forecasts.context.forecasts = BoundedVec::new(vec![
        forecast(RiskLevel::High, 0.4),
        forecast(RiskLevel::Low, 0.3),
    ])
    .unwrap();
    let mut violated = intent(
        provision(ResourceType::StorageAccount, "1TB"),
        Staging,
        None,
    );
    violated.policy_violations = BoundedVec::new(vec![text("no-public-buckets")]).unwrap();
    let mut smoothed = learned(2, 60);
    smoothed.smoothed = Some(share(0.31));
    let vm = intent(
        provision(ResourceType::Vm, "Standard_D4s_v3"),
        Staging,
        Some(Operation::Create),
    );
    vec![
        (
            "first",
            intent(
                deploy("payments-api", ChangeScope::Canary, Staging),
                Staging,
                Some(Operation::Update),
            ),
            Evidence::default(),
        ),
        ("approve", vm.clone(), learned(1, 40)),
        ("deny", vm.clone(), learned(95, 100)),
        ("violation", violated, learned(0, 30)),
        (
            "destroy",
            intent(
                provision(ResourceType::Database, "Premium"),
                Prod,
                Some(Operation::Replace),
            ),
            learned(0, 30),
        ),
        (
            "grant",
            intent(grant(PermissionLevel::Admin, "/"), Prod, None),
            learned(0, 3),
        ),
        ("degraded", degraded, learned(1, 50)),
        ("forecast", with_forecasts, learned(0, 400)),
        ("smoothed", vm, smoothed),
    ]
}

/// One file, its members in the order of their declaration.
#[derive(Serialize)]
struct Whole {
    intent: Intent,
    evidence: Evidence,
    decision: Decision,
    counterfactual: Option<Counterfactual>,
}

#[test]
fn decisions_are_as_they_were() {
    for (name, asked, evidence) in cases() {
        let rules = Rules::built_in();
        let decision = decide(&asked, &evidence, rules, noon());
        let found = counterfactual(&asked, &evidence, rules, noon(), &decision);
        let whole = Whole {
            intent: asked,
            evidence,
            decision,
            counterfactual: found,
        };
        let text = serde_json::to_string_pretty(&whole).unwrap() + "\n";
        golden::check(&format!("decide_{name}.json"), &text);
    }
}
