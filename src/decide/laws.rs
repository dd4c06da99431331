//! What must hold of every decision, whatever is asked.

use proptest::prelude::*;

use super::arbitrary::{
    deploy, evidences, grant, intent, intents, learned, magnitude, noon, provision, share, text,
};
use super::category::Category;
use super::choice::guarded;
use super::decision::{Action, ChangeKind, Losses, Need, number};
use super::intent::{
    BoundedVec, ChangeScope, ChangeSet, Environment, Forecast, Hallucination, Operation,
    PermissionLevel, ResourceType, RiskLevel,
};
use super::risk::LEVEL;
use super::risk::beta::Beta;
use super::settings::Enforcement;
use super::{
    Decision, Evidence, Intent, Rules, Settings, counterfactual, decide, outcomes_needed, posterior,
};

fn decided(intent: &Intent, evidence: &Evidence) -> Decision {
    decide(intent, evidence, Rules::built_in(), noon())
}

/// How much an action allows.
fn allows(action: Action) -> u8 {
    match action {
        Action::Deny => 0,
        Action::Escalate => 1,
        Action::Approve => 2,
    }
}

fn codes(decision: &Decision) -> Vec<&str> {
    decision
        .reasons
        .iter()
        .map(|reason| reason.code.as_ref())
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn same_arguments_same_bits_and_json_keeps_them(intent in intents(), evidence in evidences()) {
        let once = decided(&intent, &evidence);
        prop_assert_eq!(&once, &decided(&intent, &evidence));
        let json = serde_json::to_string(&once).unwrap();
        prop_assert_eq!(&once, &serde_json::from_str::<Decision>(&json).unwrap());
    }

    #[test]
    fn what_is_only_kept_decides_nothing(intent in intents(), evidence in evidences()) {
        let kept = serde_json::Map::from_iter([("version".to_owned(), serde_json::json!("2"))]);
        let more = Intent { provenance: kept.clone(), configuration: kept, ..intent.clone() };
        prop_assert_eq!(decided(&intent, &evidence), decided(&more, &evidence));
    }

    #[test]
    fn counts_that_cannot_be_do_no_harm(
        intent in intents(), failures in any::<u64>(), trials in any::<u64>(), shift in 0_u32..64,
    ) {
        let evidence = learned(failures >> shift, trials);
        let decision = decided(&intent, &evidence);
        let json = serde_json::to_string(&decision).unwrap();
        prop_assert_eq!(&decision, &serde_json::from_str::<Decision>(&json).unwrap());
        prop_assert!((0.0..=1.0).contains(&decision.risk_interval.width()));
        let _ = counterfactual(&intent, &evidence, Rules::built_in(), noon(), &decision);
    }

    #[test]
    fn numbers_stay_in_their_ranges(intent in intents(), evidence in evidences()) {
        let decision = decided(&intent, &evidence);
        let interval = decision.risk_interval;
        prop_assert!((0.0..=1.0).contains(&decision.risk_score));
        prop_assert!(0.0 <= interval.low && interval.low <= interval.high && interval.high <= 1.0);
        prop_assert!((0.0..=1.0).contains(&decision.confidence));
        prop_assert!(!decision.reasons.is_empty());
        prop_assert_eq!(decision.category, Category::of(&intent));
    }

    #[test]
    fn the_first_reason_is_the_one_that_decided(intent in intents(), evidence in evidences()) {
        let decision = decided(&intent, &evidence);
        let first = &decision.reasons[0];
        match first.code.as_ref() {
            "caller_violation" => prop_assert_eq!(decision.action, Action::Deny),
            "policy" | "epistemic_gate" | "wide_interval" => prop_assert_eq!(decision.action, Action::Escalate),
            "expected_loss" => prop_assert_eq!(
                decision.action,
                guarded(&decision.expected_losses, Rules::built_in().settings.losses.cost_review)
            ),
            other => prop_assert!(false, "{}", other),
        }
        if decision.action == Action::Approve {
            prop_assert_eq!(decision.reasons.len(), 1);
        }
    }

    #[test]
    fn nothing_with_a_violation_is_approved(intent in intents(), evidence in evidences()) {
        let violated = Intent {
            policy_violations: BoundedVec::new(vec![text("forbidden region")]).unwrap(),
            ..intent
        };
        prop_assert_eq!(decided(&violated, &evidence).action, Action::Deny);
    }

    #[test]
    fn a_failure_raises_the_risk_and_a_success_lowers_it(intent in intents(), evidence in evidences()) {
        let category = Category::of(&intent);
        let (mut worse, mut better) = (evidence, evidence);
        worse.counts.of_mut(category).trials += 1;
        worse.counts.of_mut(category).failures += 1;
        better.counts.of_mut(category).trials += 1;
        let blend = |evidence: &Evidence| decided(&intent, evidence).contributions.blend;
        prop_assert!(blend(&better) < blend(&evidence));
        prop_assert!(blend(&evidence) < blend(&worse));
        let score = |evidence: &Evidence| decided(&intent, evidence).risk_score;
        prop_assert!(score(&better) <= score(&evidence) && score(&evidence) <= score(&worse));
    }

    #[test]
    fn more_doubt_never_makes_an_escalation_an_approval(
        intent in intents(), evidence in evidences(), entropy in 0.0..3.0_f64, more in 0.0..3.0_f64,
    ) {
        let with = |entropy| {
            let mut intent = intent.clone();
            intent.context.hallucination = Some(Hallucination {
                entropy: magnitude(entropy), evidence_lift: 0.0, contradiction: share(0.0),
            });
            decided(&intent, &evidence).action
        };
        if with(entropy) != Action::Approve {
            prop_assert_ne!(with(entropy + more), Action::Approve);
        }
    }

    #[test]
    fn more_deletes_never_help(intent in intents(), evidence in evidences(), more in 1_u32..50) {
        let approved = |intent: &Intent, evidence: &Evidence| {
            decided(intent, evidence).action == Action::Approve
        };
        let before = approved(&intent, &evidence);
        let mut seen = evidence;
        seen.change_set.deletes += more;
        prop_assert!(before || !approved(&intent, &seen));
        if let Some(set) = &intent.change_set {
            let deletes = Some(set.deletes.unwrap_or(0) + more);
            let declared = Intent { change_set: Some(ChangeSet { deletes, ..set.clone() }), ..intent };
            prop_assert!(before || !approved(&declared, &evidence));
        }
    }

    #[test]
    fn the_shortest_interval_holds_its_mass(alpha in 0.02..2_000.0_f64, beta in 0.02..2_000.0_f64) {
        let distribution = Beta { alpha, beta };
        let (low, high) = distribution.shortest_interval(LEVEL);
        let outside = distribution.masses(low).0 + distribution.masses(high).1;
        prop_assert!((outside - 0.1).abs() < 1e-9, "{}", outside);
        let mirrored = Beta { alpha: beta, beta: alpha }.shortest_interval(LEVEL);
        if alpha.min(beta) > 1.0 {
            prop_assert!((mirrored.0 - (1.0 - high)).abs() < 1e-9);
            prop_assert!((mirrored.1 - (1.0 - low)).abs() < 1e-9);
        }
        // No other interval with this mass is shorter: moved a little to either side it grows.
        for off in [0.99, 1.01] {
            let moved = distribution.masses(low).0 * off + 1e-4;
            if moved < 0.1 {
                let from = distribution.quantile(moved, super::risk::beta::Tail::Lower);
                let to = distribution.quantile(0.1 - moved, super::risk::beta::Tail::Upper);
                prop_assert!(to - from >= (high - low) * (1.0 - 1e-9));
            }
        }
    }

    #[test]
    fn a_counterfactual_really_flips(intent in intents(), evidence in evidences()) {
        let decision = decided(&intent, &evidence);
        let Some(found) = counterfactual(&intent, &evidence, Rules::built_in(), noon(), &decision) else {
            return Ok(());
        };
        prop_assert!(found.flips && (1..=2).contains(&found.changes.len()));
        prop_assert!(allows(found.target) > allows(decision.action));
        let (changed, learned) = changed_to(&intent, &evidence, &decision, &found.changes);
        prop_assert_eq!(decided(&changed, &learned).action, found.target);
        // The patch is the choices, no more and no less.
        let choices = found.changes.iter().filter(|change| change.kind == ChangeKind::Choice).count();
        prop_assert_eq!(found.patch.len(), choices);
        for operation in &found.patch {
            let path = operation["path"].as_str().unwrap();
            prop_assert!(["/size", "/permission_level", "/change_scope", "/operation"].contains(&path));
        }
        // A step less would not have been enough. (Beside more history a measurement is told as it
        // would have to be today, which is more than enough.)
        for index in 0..found.changes.len() {
            let step = match found.changes[index].field.as_str() {
                "evidence" => -1.0,
                _ if found.changes.len() > 1 => continue,
                "context.error_rate" | "context.hallucination.entropy" => 0.000_1,
                "context.latency_p99" => 1.0,
                _ => continue,
            };
            let mut changes = found.changes.clone();
            let to = changes[index].to.as_f64().unwrap() + step;
            changes[index].to = number(to).map_or(serde_json::Value::Null, Into::into);
            let (nearly, learned) = changed_to(&intent, &evidence, &decision, &changes);
            prop_assert!(allows(decided(&nearly, &learned).action) < allows(found.target));
        }
    }
}

/// The arguments with `changes` made, by a second way than the search's own.
fn changed_to(
    intent: &Intent,
    evidence: &Evidence,
    decision: &Decision,
    changes: &[super::decision::Difference],
) -> (Intent, Evidence) {
    use super::intent::Ask;
    let (mut intent, mut evidence) = (intent.clone(), *evidence);
    for change in changes {
        let word = change.to.as_str().unwrap_or_default();
        match (change.field.as_str(), &mut intent.ask) {
            ("evidence", _) => {
                let counts = evidence.counts.of_mut(decision.category);
                assert_eq!(change.from, counts.trials);
                counts.trials = change.to.as_u64().unwrap();
            }
            ("size", Ask::ProvisionResource { size, .. }) => *size = text(word),
            (
                "permission_level",
                Ask::GrantAccess {
                    permission_level, ..
                },
            ) => {
                *permission_level = PermissionLevel::parse(word).unwrap();
            }
            ("change_scope", Ask::DeployConfig { change_scope, .. }) => {
                *change_scope = ChangeScope::parse(word).unwrap();
            }
            (
                "deployment_target",
                Ask::DeployConfig {
                    deployment_target, ..
                },
            ) => {
                *deployment_target = Environment::parse(word).unwrap();
            }
            ("operation", _) => intent.operation = Operation::parse(word),
            ("environment", _) => intent.environment = Environment::parse(word).unwrap(),
            ("policy_violations", _) => intent.policy_violations = BoundedVec::default(),
            ("change_set.deletes", _) => {
                let deletes = change.to.as_u64().map(|deletes| deletes as u32);
                intent.change_set.as_mut().unwrap().deletes = deletes;
            }
            ("context.error_rate", _) => {
                intent.context.error_rate = change.to.as_f64().map(share);
            }
            ("context.latency_p99", _) => {
                intent.context.latency_p99 = change.to.as_f64().map(magnitude);
            }
            ("context.hallucination.entropy", _) => {
                let entropy = magnitude(change.to.as_f64().unwrap());
                intent.context.hallucination.as_mut().unwrap().entropy = entropy;
            }
            (field, _) => panic!("a field that nothing may change: {field}"),
        }
    }
    (intent, evidence)
}

#[test]
fn the_built_in_files_say_what_the_norm_says() {
    let Rules {
        version,
        settings,
        prices,
        policy_version,
        hashes,
    } = Rules::built_in();
    assert_eq!((*version, *policy_version), (1, 1));
    assert!(hashes.settings.is_some() && hashes.prices.is_some());
    assert!(hashes.policies.is_none() && hashes.model.is_none());
    let losses = settings.losses;
    assert_eq!(
        (losses.cost_fp, losses.cost_fn, losses.cost_impact),
        (10.0, 8.0, 5.0)
    );
    assert_eq!(
        (
            losses.cost_predictive,
            losses.cost_variance,
            losses.cost_opp
        ),
        (2.0, 5.0, 3.0)
    );
    assert_eq!((losses.cost_review, losses.cost_uncertainty), (2.0, 4.0));
    let priors = Category::ALL.iter().map(|category| {
        let prior = settings.priors.of(*category);
        (prior.alpha, prior.beta)
    });
    let expected = [
        (1.5, 8.0),
        (1.2, 10.0),
        (1.0, 12.0),
        (2.0, 10.0),
        (1.0, 10.0),
    ];
    assert_eq!(priors.collect::<Vec<_>>(), expected);
    assert_eq!(
        (settings.doubt.psi_max, settings.doubt.sparsity_rate),
        (0.5, 0.05)
    );
    assert_eq!(
        (settings.risk.kappa_prod, settings.risk.interval_width_max),
        (1.5, 0.3)
    );
    assert_eq!(
        (settings.smoothing, settings.risk.smoothing_factor),
        (true, 0.9)
    );
    assert_eq!(settings.enforcement, Enforcement::Full);
    let hours = |lifetime: super::settings::Lifetime| lifetime.ttl().as_secs() / 3_600;
    assert_eq!(
        (hours(settings.approvals), hours(settings.reviews)),
        (24, 24)
    );
    assert_eq!(
        (settings.change_set.deletes_max, settings.intents.max),
        (5, 2_000_000)
    );
    for (resource_type, size, price) in [
        (ResourceType::Vm, "Standard_D16s_v3", Some(560.0)),
        (ResourceType::StorageAccount, "10TB", Some(900.0)),
        (ResourceType::FunctionApp, "Consumption", Some(0.0)),
        (ResourceType::VirtualNetwork, "default", Some(0.0)),
        (ResourceType::Database, "Gold", None),
    ] {
        assert_eq!(
            prices.of(resource_type, size).map(|price| price.get()),
            price,
            "{size}"
        );
    }
    assert_eq!(
        prices.cheaper_than(ResourceType::Database, "Premium"),
        ["Standard", "Basic"]
    );
}

#[test]
fn the_answer_of_the_contract() {
    let asked = intent(
        deploy("payments-api", ChangeScope::Canary, Environment::Staging),
        Environment::Staging,
        Some(Operation::Update),
    );
    let decision = decided(&asked, &Evidence::default());
    assert_eq!(decision.action, Action::Escalate);
    assert_eq!(
        decision.justification,
        "A person must decide: default has 0 of 14 outcomes."
    );
    assert_eq!(
        serde_json::to_string(&decision.reasons).unwrap(),
        r#"[{"code":"epistemic_gate","have":0,"need":14,"detail":"default: 0 of 14 outcomes recorded; a person decides until 14 more are in"}]"#
    );
    let losses = decision.expected_losses;
    let rounded = [losses.approve, losses.deny, losses.escalate].map(|loss| format!("{loss:.4}"));
    assert_eq!(rounded, ["0.9435", "7.2727", "6.0000"]);
    assert_eq!(format!("{:.4}", decision.risk_score), "0.0909");
    assert_eq!(decision.risk_interval.low, 0.0);
    assert_eq!(format!("{:.4}", decision.risk_interval.high), "0.2057");
    assert_eq!(decision.confidence, 0.0);
    let found = counterfactual(
        &asked,
        &Evidence::default(),
        Rules::built_in(),
        noon(),
        &decision,
    );
    assert_eq!(
        serde_json::to_string(&found).unwrap(),
        r#"{"target":"approve","changes":[{"kind":"fact","field":"evidence","from":0,"to":14}],"patch":[],"flips":true}"#
    );
}

#[test]
fn upstreams_sentence_and_test_vectors() {
    for (ask, environment, risk) in [
        (
            provision(ResourceType::Database, "Basic"),
            Environment::Prod,
            0.236_842_1,
        ),
        (
            provision(ResourceType::Vm, "x"),
            Environment::Dev,
            0.076_923_1,
        ),
        (
            provision(ResourceType::VirtualNetwork, "x"),
            Environment::Prod,
            0.160_714_3,
        ),
        (
            provision(ResourceType::KubernetesCluster, "x"),
            Environment::Prod,
            0.136_363_6,
        ),
        (
            grant(PermissionLevel::Admin, "/a/b"),
            Environment::Dev,
            0.166_666_7,
        ),
        // Upstream's API drops the environment of grants; ours does not.
        (
            grant(PermissionLevel::Admin, "/a/b"),
            Environment::Prod,
            0.25,
        ),
        (
            deploy("payments-api", ChangeScope::Canary, Environment::Prod),
            Environment::Dev,
            0.136_363_6,
        ),
        (
            deploy("user-DataBase", ChangeScope::Canary, Environment::Prod),
            Environment::Dev,
            0.236_842_1,
        ),
    ] {
        let decision = decided(&intent(ask, environment, None), &Evidence::default());
        assert!(
            (decision.risk_score - risk).abs() < 1e-7,
            "{}",
            decision.explanation
        );
    }
    let database = intent(
        provision(ResourceType::Database, "Basic"),
        Environment::Prod,
        None,
    );
    assert_eq!(
        decided(&database, &Evidence::default()).explanation,
        "Bayesian risk for category 'database': conjugate mean = 0.158 (α=1.5, β=8.0). \
         Context multiplier: 1.50. Final risk: 0.237."
    );
    // One success: the spec's rule, not that of upstream's code.
    let after = decided(&database, &learned(0, 1)).risk_score;
    assert!((after - 0.214_285_7).abs() < 1e-7);
}

#[test]
fn the_built_in_policies() {
    use Environment::{Dev, Prod, Staging};
    use Operation::{Create, Delete, Replace, Update};
    let database = || provision(ResourceType::Database, "Basic");
    let rows: [(Intent, u32, &[&str]); 15] = [
        (
            intent(database(), Prod, Some(Delete)),
            0,
            &["prod-destroy-data"],
        ),
        (
            intent(database(), Prod, Some(Replace)),
            5,
            &["prod-destroy-data", "bulk-destroy-data"],
        ),
        (intent(database(), Prod, Some(Update)), 9, &[]),
        (intent(database(), Dev, Some(Delete)), 4, &[]),
        (
            intent(database(), Dev, Some(Delete)),
            5,
            &["bulk-destroy-data"],
        ),
        (
            intent(
                provision(ResourceType::VirtualNetwork, "x"),
                Prod,
                Some(Delete),
            ),
            0,
            &["prod-destroy-data"],
        ),
        (
            intent(
                provision(ResourceType::StorageAccount, "x"),
                Prod,
                Some(Delete),
            ),
            0,
            &["prod-destroy-data"],
        ),
        (
            intent(provision(ResourceType::Vm, "x"), Prod, Some(Delete)),
            9,
            &[],
        ),
        (
            intent(
                deploy("user-database", ChangeScope::Canary, Prod),
                Dev,
                Some(Delete),
            ),
            0,
            &["prod-destroy-data"],
        ),
        (
            intent(grant(PermissionLevel::Admin, "/a/b"), Prod, None),
            0,
            &["prod-admin-grant"],
        ),
        (
            intent(grant(PermissionLevel::Admin, "/a/"), Dev, None),
            0,
            &["broad-admin-grant"],
        ),
        (
            intent(grant(PermissionLevel::Write, "/"), Prod, None),
            0,
            &[],
        ),
        (
            intent(deploy("web", ChangeScope::Global, Prod), Dev, None),
            0,
            &["prod-global-deploy"],
        ),
        (
            intent(deploy("web", ChangeScope::Global, Staging), Dev, None),
            0,
            &[],
        ),
        (
            intent(deploy("web", ChangeScope::Canary, Prod), Prod, Some(Create)),
            0,
            &[],
        ),
    ];
    for (asked, deletes_before, expected) in rows {
        let mut evidence = learned(0, 200);
        evidence.change_set.deletes = deletes_before;
        let decision = decided(&asked, &evidence);
        let policies: Vec<_> = decision
            .reasons
            .iter()
            .filter_map(|r| r.policy.as_deref())
            .collect();
        assert_eq!(policies, expected, "{asked:?}");
        let action = if expected.is_empty() {
            Action::Approve
        } else {
            Action::Escalate
        };
        assert_eq!(decision.action, action, "{}", decision.justification);
        if let [first, ..] = expected {
            let named = format!("(policy `{first}`).");
            assert!(
                decision.justification.ends_with(&named),
                "{}",
                decision.justification
            );
        }
    }
}

#[test]
fn declared_deletes_count_where_more_than_those_seen() {
    let mut asked = intent(
        provision(ResourceType::Database, "Basic"),
        Environment::Dev,
        Some(Operation::Delete),
    );
    asked.change_set = Some(ChangeSet {
        id: text("plan"),
        url: None,
        revision: None,
        intents: None,
        deletes: Some(9),
    });
    let decision = decided(&asked, &learned(0, 200));
    assert_eq!(
        decision.justification,
        "A person must decide: delete of database in a change set with 9 deletes and replaces, more \
         than 5 (policy `bulk-destroy-data`)."
    );
    let found = counterfactual(
        &asked,
        &learned(0, 200),
        Rules::built_in(),
        noon(),
        &decision,
    )
    .unwrap();
    assert_eq!(found.changes[0].field, "change_set.deletes");
    assert!(found.patch.is_empty());
}

#[test]
fn seen_deletes_count_where_fewer_were_declared() {
    let mut asked = intent(
        provision(ResourceType::Database, "Basic"),
        Environment::Dev,
        Some(Operation::Delete),
    );
    asked.change_set = Some(ChangeSet {
        id: text("plan"),
        url: None,
        revision: None,
        intents: None,
        deletes: Some(1),
    });
    let mut evidence = learned(0, 200);
    evidence.change_set.deletes = 5;
    let decision = decided(&asked, &evidence);
    assert_eq!(
        decision.reasons[0].policy.as_deref(),
        Some("bulk-destroy-data")
    );
}

#[test]
fn the_gate_lets_its_own_limit_pass() {
    let mut asked = intent(provision(ResourceType::Vm, "x"), Environment::Dev, None);
    let forecast = Forecast {
        risk_level: RiskLevel::Low,
        confidence: share(0.5),
    };
    asked.context.forecasts = BoundedVec::new(vec![forecast]).unwrap();
    let decision = decided(&asked, &learned(0, 5_000));
    assert_eq!(
        (decision.epistemic.psi, decision.action),
        (0.5, Action::Approve)
    );
}

#[test]
fn all_that_stands_against_it_is_listed_in_order() {
    let mut asked = intent(
        provision(ResourceType::Database, "Basic"),
        Environment::Prod,
        Some(Operation::Delete),
    );
    asked.policy_violations = BoundedVec::new(vec![text("no-public-buckets"), text("x")]).unwrap();
    asked.context.error_rate = Some(share(0.3));
    let decision = decided(&asked, &learned(3, 3));
    assert_eq!(
        codes(&decision),
        [
            "caller_violation",
            "policy",
            "epistemic_gate",
            "expected_loss"
        ]
    );
    assert_eq!(decision.policy_violations, ["no-public-buckets", "x"]);
    assert_eq!(
        decision.justification,
        "Denied: the request reports 2 policy violations, `no-public-buckets` first."
    );
}

#[test]
fn a_gate_that_the_callers_signals_keep_shut_says_so() {
    let mut asked = intent(provision(ResourceType::Vm, "x"), Environment::Dev, None);
    let forecast = Forecast {
        risk_level: RiskLevel::Low,
        confidence: share(0.4),
    };
    asked.context.forecasts = BoundedVec::new(vec![forecast]).unwrap();
    let decision = decided(&asked, &learned(0, 500));
    assert_eq!(
        serde_json::to_string(&decision.reasons[0]).unwrap(),
        r#"{"code":"epistemic_gate","have":500,"need":null,"detail":"forecasts with a mean confidence of 0.40 alone leave a doubt of 0.60, more than 0.5; more outcomes of compute would not help"}"#
    );
    assert_eq!(decision.reasons[0].need, Some(Need::NoAmount));

    // Where they only make it harder, more outcomes are needed than 14.
    let forecast = Forecast {
        risk_level: RiskLevel::Low,
        confidence: share(0.7),
    };
    asked.context.forecasts = BoundedVec::new(vec![forecast]).unwrap();
    let decision = decided(&asked, &learned(0, 20));
    assert_eq!(decision.reasons[0].need, number(26.0).map(Need::Amount));
    let at = |trials| codes(&decided(&asked, &learned(0, trials)))[0].to_owned();
    assert_eq!(
        (at(25).as_str(), at(26).as_str()),
        ("epistemic_gate", "expected_loss")
    );
}

#[test]
fn a_wide_interval_turns_an_approval_into_a_question() {
    // With the built-in settings none of the conjugate part's approvals is wider than 0.298.
    let mut rules = Rules::built_in().clone();
    rules.settings.risk.interval_width_max = 0.25;
    let asked = intent(
        provision(ResourceType::FunctionApp, "x"),
        Environment::Prod,
        None,
    );
    let evidence = learned(2, 14);
    let decision = decide(&asked, &evidence, &rules, noon());
    assert_eq!(
        (decision.action, codes(&decision)),
        (Action::Escalate, vec!["wide_interval"])
    );
    assert_eq!(
        decision.justification,
        "A person must decide: the risk may lie anywhere from 0.03 to 0.32, which is wider than 0.25."
    );
    let found = counterfactual(&asked, &evidence, &rules, noon(), &decision).unwrap();
    let to = found.changes[0].to.as_u64().unwrap();
    let width = |trials| {
        decide(&asked, &learned(2, trials), &rules, noon())
            .risk_interval
            .width()
    };
    assert!(width(to) <= 0.25 && width(to - 1) > 0.25, "{to}");
}

#[test]
fn a_number_that_is_none_escalates() {
    for lift in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let mut asked = intent(provision(ResourceType::Vm, "x"), Environment::Dev, None);
        asked.context.hallucination = Some(Hallucination {
            entropy: magnitude(0.0),
            evidence_lift: lift,
            contradiction: share(0.0),
        });
        let decision = decided(&asked, &learned(0, 200));
        assert_eq!(
            (decision.action, codes(&decision)),
            (Action::Escalate, vec!["non_finite"])
        );
        assert_eq!(decision.risk_score, 1.0);
        let json = serde_json::to_string(&decision).unwrap();
        assert_eq!(serde_json::from_str::<Decision>(&json).unwrap(), decision);
        assert_eq!(
            counterfactual(
                &asked,
                &learned(0, 200),
                Rules::built_in(),
                noon(),
                &decision
            ),
            None
        );
    }
    let mut rules = Rules::built_in().clone();
    rules.settings.priors.compute.alpha = f64::NAN;
    rules.settings.losses.cost_fn = f64::INFINITY;
    let asked = intent(provision(ResourceType::Vm, "x"), Environment::Dev, None);
    let decision = decide(&asked, &learned(0, 200), &rules, noon());
    assert_eq!(
        (decision.action, decision.risk_score),
        (Action::Escalate, 1.0)
    );
    let json = serde_json::to_string(&decision).unwrap();
    assert_eq!(serde_json::from_str::<Decision>(&json).unwrap(), decision);
}

#[test]
fn smoothing_never_hides_a_risky_request() {
    let asked = intent(provision(ResourceType::Vm, "x"), Environment::Dev, None);
    let mut evidence = learned(90, 100);
    evidence.smoothed = Some(share(0.1));
    let decision = decided(&asked, &evidence);
    assert!(decision.contributions.smoothed_risk < 0.2);
    assert_eq!(decision.risk_score, decision.contributions.raw_risk);
    assert_eq!(decision.action, Action::Deny);
    // And a bad past counts, unless the tenant does not want it to.
    evidence = learned(0, 100);
    evidence.smoothed = Some(share(0.9));
    assert_eq!(
        decided(&asked, &evidence).risk_score,
        decided(&asked, &evidence).contributions.smoothed_risk
    );
    let mut rules = Rules::built_in().clone();
    rules.settings.smoothing = false;
    let decision = decide(&asked, &evidence, &rules, noon());
    assert_eq!(decision.risk_score, decision.contributions.raw_risk);
}

#[test]
fn counterfactuals_by_hand() {
    use Environment::{Dev, Prod};
    let with = |mut asked: Intent, edit: &dyn Fn(&mut Intent)| {
        edit(&mut asked);
        asked
    };
    let vm = || intent(provision(ResourceType::Vm, "x"), Dev, None);
    let rows: [(&str, Intent, Evidence, &str); 9] = [
        (
            "less of a permission",
            intent(grant(PermissionLevel::Admin, "/"), Dev, None),
            learned(0, 100),
            r#"approve [{"kind":"choice","field":"permission_level","from":"admin","to":"write"}] [{"op":"replace","path":"/permission_level","value":"write"}]"#,
        ),
        (
            "a smaller reach",
            intent(deploy("web", ChangeScope::Global, Prod), Prod, None),
            learned(0, 100),
            r#"approve [{"kind":"choice","field":"change_scope","from":"global","to":"canary"}] [{"op":"replace","path":"/change_scope","value":"canary"}]"#,
        ),
        (
            "a choice and more history",
            intent(grant(PermissionLevel::Admin, "/"), Dev, None),
            learned(0, 5),
            r#"approve [{"kind":"choice","field":"permission_level","from":"admin","to":"write"},{"kind":"fact","field":"evidence","from":5,"to":14}] [{"op":"replace","path":"/permission_level","value":"write"}]"#,
        ),
        (
            "an update in place",
            intent(
                provision(ResourceType::Database, "Basic"),
                Prod,
                Some(Operation::Replace),
            ),
            learned(0, 100),
            r#"approve [{"kind":"choice","field":"operation","from":"replace","to":"update"}] [{"op":"replace","path":"/operation","value":"update"}]"#,
        ),
        (
            "a deletion stays one",
            intent(
                provision(ResourceType::Database, "Basic"),
                Prod,
                Some(Operation::Delete),
            ),
            learned(0, 100),
            r#"approve [{"kind":"fact","field":"environment","from":"prod","to":"staging"}] []"#,
        ),
        (
            "a violation mended",
            with(vm(), &|asked| {
                asked.policy_violations = BoundedVec::new(vec![text("v")]).unwrap()
            }),
            Evidence::default(),
            r#"escalate [{"kind":"fact","field":"policy_violations","from":["v"],"to":[]}] []"#,
        ),
        (
            "errors that stop",
            with(vm(), &|asked| asked.context.error_rate = Some(share(0.25))),
            learned(0, 100),
            r#"approve [{"kind":"fact","field":"context.error_rate","from":0.25,"to":0.1146}] []"#,
        ),
        (
            "a latency that falls",
            with(vm(), &|asked| {
                asked.context.latency_p99 = Some(magnitude(900.0))
            }),
            learned(0, 100),
            r#"approve [{"kind":"fact","field":"context.latency_p99","from":900,"to":283}] []"#,
        ),
        (
            "a request that is surer",
            with(vm(), &|asked| {
                asked.context.hallucination = Some(Hallucination {
                    entropy: magnitude(2.0),
                    evidence_lift: 0.0,
                    contradiction: share(0.5),
                });
            }),
            learned(0, 200),
            r#"approve [{"kind":"fact","field":"context.hallucination.entropy","from":2,"to":0.7999}] []"#,
        ),
    ];
    for (what, asked, evidence, expected) in rows {
        let decision = decided(&asked, &evidence);
        let found = counterfactual(&asked, &evidence, Rules::built_in(), noon(), &decision)
            .unwrap_or_else(|| panic!("{what}: none for {}", decision.justification));
        let told = format!(
            "{} {} {}",
            found.target,
            serde_json::to_string(&found.changes).unwrap(),
            serde_json::to_string(&found.patch).unwrap()
        );
        assert_eq!(told, expected, "{what}");
    }
}

#[test]
fn a_deletion_in_a_young_tenant_has_no_small_way_out() {
    let asked = intent(
        provision(ResourceType::Database, "Basic"),
        Environment::Prod,
        Some(Operation::Delete),
    );
    let decision = decided(&asked, &learned(9, 10));
    assert_eq!(decision.action, Action::Escalate);
    let found = counterfactual(
        &asked,
        &learned(9, 10),
        Rules::built_in(),
        noon(),
        &decision,
    );
    assert!(found.is_none_or(|found| found.changes.iter().all(|c| c.field != "operation")));
}

#[test]
fn outcomes_needed_until_the_gate_opens() {
    let settings = &Rules::built_in().settings;
    let needed = [0, 3, 13, 14, 500].map(|trials| outcomes_needed(trials, settings));
    assert_eq!(needed, [14, 11, 1, 0, 0]);
    let with = |psi_max, sparsity_rate| {
        let mut settings: Settings = settings.clone();
        (settings.doubt.psi_max, settings.doubt.sparsity_rate) = (psi_max, sparsity_rate);
        outcomes_needed(0, &settings)
    };
    assert_eq!(with(1.0, 0.05), 0);
    assert_eq!(with(0.25, 0.05), 28);
    assert_eq!(with(0.0, 10.0), 4);
    assert_eq!(with(0.5, 1e-4), 6_932);
}

#[test]
fn the_posterior_of_a_category() {
    let settings = &Rules::built_in().settings;
    let counts = *learned(1, 10).counts.of(Category::Database);
    let posterior = posterior(Category::Database, &counts, settings);
    assert_eq!((posterior.alpha, posterior.beta), (2.5, 17.0));
    assert!((posterior.mean - 2.5 / 19.5).abs() < 1e-15);
    let interval = posterior.interval;
    let beta = Beta {
        alpha: 2.5,
        beta: 17.0,
    };
    let outside = beta.masses(interval.low).0 + beta.masses(interval.high).1;
    assert!((outside - 0.1).abs() < 1e-12);
}

#[test]
fn ties_go_to_the_person_then_to_denying() {
    for (approve, deny, escalate, expected) in [
        (2.0, 2.0, 2.0, Action::Escalate),
        (1.0, 1.0, 2.0, Action::Escalate),
        (2.0, 3.0, 2.0, Action::Escalate),
        (3.0, 2.0, 2.0, Action::Escalate),
        (1.0, 2.0, 2.0, Action::Approve),
        (3.0, 1.0, 2.0, Action::Deny),
        // Below the gate: the spec's least loss would approve.
        (3.0, 5.6, 3.8, Action::Escalate),
    ] {
        let losses = Losses {
            approve,
            deny,
            escalate,
        };
        assert_eq!(guarded(&losses, 2.0), expected, "{losses:?}");
    }
}
