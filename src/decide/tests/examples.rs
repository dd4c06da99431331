//! Single decisions, with the answers that are expected of them.

use super::{
    codes, decided, deploy, grant, intent, learned, magnitude, noon, provision, share, text,
};
use crate::bounded::BoundedVec;
use crate::decide::category::Category;
use crate::decide::choice::guarded_choice;
use crate::decide::decision::{Action, Losses, Need, number};
use crate::decide::intent::{
    ChangeScope, ChangeSet, Environment, Forecast, HallucinationSignals, Operation,
    PermissionLevel, ResourceType, RiskLevel,
};
use crate::decide::risk::beta::Beta;
use crate::decide::settings::{Enforcement, TtlSettings};
use crate::decide::{
    Decision, Evidence, Intent, Rules, Settings, counterfactual, decide, outcomes_needed, posterior,
};

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
        (settings.epistemic.psi_max, settings.epistemic.sparsity_rate),
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
    let hours = |lifetime: TtlSettings| lifetime.ttl().as_secs() / 3_600;
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
            prices.get(resource_type, size).map(|price| price.get()),
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
        asked.context.hallucination = Some(HallucinationSignals {
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
                asked.context.hallucination = Some(HallucinationSignals {
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
        (settings.epistemic.psi_max, settings.epistemic.sparsity_rate) = (psi_max, sparsity_rate);
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
        assert_eq!(guarded_choice(&losses, 2.0), expected, "{losses:?}");
    }
}
