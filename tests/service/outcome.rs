//! Outcomes and what is learned from them.

use serde_json::{Value, json};

use crate::harness::{Client, Server, assert_like};

fn intent(id: &str, category: &str, more: Value) -> Value {
    let mut intent = json!({"deterministic_id": id, "environment": "dev", "requester": "ci"});
    let fields = match category {
        "database" => json!({"resource_type": "database", "region": "r", "size": id}),
        "compute" => json!({"resource_type": "vm", "region": "r", "size": id}),
        "network" => json!({"resource_type": "virtual_network", "region": "r", "size": id}),
        "security" => {
            json!({"principal": id, "permission_level": "read", "resource_scope": "/a/b"})
        }
        _ => json!({"service_name": format!("service-{id}"), "change_scope": "canary",
                    "deployment_target": "dev"}),
    };
    for part in [fields, more] {
        intent
            .as_object_mut()
            .unwrap()
            .extend(part.as_object().unwrap().clone());
    }
    intent
}

/// Evaluates an intent and reports how it turned out.
#[track_caller]
fn live(client: &Client, id: &str, category: &str, success: bool) -> Value {
    client.evaluate(&intent(id, category, json!({})));
    client.outcome(id, success)
}

/// The risk of a component that was never seen before, by what its category has learned.
#[track_caller]
fn risk(client: &Client, category: &str) -> f64 {
    let fresh = intent("risk-of-something-new", category, json!({}));
    let answer = client
        .post("intents/evaluate?dry_run=true", &fresh)
        .expect(200);
    answer["risk_score"].as_f64().unwrap()
}

#[test]
fn a_failure_raises_the_risk_and_a_success_lowers_it() {
    let server = Server::start();
    let ci = server.ci();
    let priors = [
        ("database", 1.5, 8.0),
        ("network", 1.2, 10.0),
        ("compute", 1.0, 12.0),
        ("security", 2.0, 10.0),
    ];
    for (category, alpha, beta) in priors.into_iter().chain([("default", 1.0, 10.0)]) {
        let none = risk(&ci, category);
        let failed = live(&ci, &format!("{category}-1"), category, false);
        assert_like(
            &failed,
            &json!({
                "message": "Outcome recorded", "outcome_id": failed["outcome_id"],
                "deterministic_id": format!("{category}-1"), "category": category,
                "alpha": alpha + 1.0, "beta": beta,
                "learned": true, "not_learned_because": null, "replayed": false,
            }),
        );
        let worse = risk(&ci, category);
        assert!(
            worse > none,
            "{category}: {worse} after a failure, {none} before"
        );

        let worked = live(&ci, &format!("{category}-2"), category, true);
        assert_like(&worked["alpha"], &json!(alpha + 1.0));
        assert_like(&worked["beta"], &json!(beta + 1.0));
        let better = risk(&ci, category);
        assert!(
            better < worse,
            "{category}: {better} after a success, {worse} before"
        );

        let learned = ci.learned(category);
        assert_like(
            &learned["mean"],
            &json!((alpha + 1.0) / (alpha + beta + 2.0)),
        );
        assert_eq!(
            (&learned["trials"], &learned["failures"]),
            (&json!(2), &json!(1))
        );
        assert_eq!(learned["self_reported"], 2);
        assert_eq!(learned["outcomes_needed"], 12);
    }
}

#[test]
fn before_the_first_outcome_there_are_the_priors() {
    let server = Server::start();
    let state = server.ci().get("beta-state").expect(200);
    let categories: Vec<_> = state["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["category"].clone())
        .collect();
    assert_eq!(
        categories,
        ["database", "network", "compute", "security", "default"]
    );
    for item in state["items"].as_array().unwrap() {
        assert_eq!(
            (&item["trials"], &item["updated_at"]),
            (&json!(0), &Value::Null),
            "{item}"
        );
        assert_eq!(item["outcomes_needed"], 14);
        assert_eq!(item["interval"]["level"], 0.9);
        let (low, high) = (&item["interval"]["low"], &item["interval"]["high"]);
        assert!(low.as_f64() < item["mean"].as_f64() && item["mean"].as_f64() < high.as_f64());
    }
}

#[test]
fn fourteen_outcomes_open_the_gate_and_escalate_turns_into_approve() {
    let server = Server::start();
    let ci = server.ci();
    let mut decisions = Vec::new();
    for number in 0..20 {
        let id = format!("step-{number}");
        let answer = ci.evaluate(&intent(&id, "compute", json!({})));
        let action = answer["action"].as_str().unwrap();
        let reason = &answer["reasons"][0];
        if number < 14 {
            assert_eq!(action, "escalate", "after {number} outcomes: {answer}");
            assert_eq!(reason["code"], "epistemic_gate");
            assert_eq!(
                (&reason["have"], &reason["need"]),
                (&json!(number), &json!(14))
            );
            let detail = format!(
                "compute: {number} of 14 outcomes recorded; a person decides until {} more are in",
                14 - number
            );
            assert_eq!(reason["detail"], detail);
        } else {
            assert_eq!(action, "approve", "after {number} outcomes: {answer}");
            assert_eq!(answer["next"]["do"], "proceed");
            assert_eq!(answer["standing"]["state"], "approved");
            assert_eq!(answer["counterfactual"], Value::Null);
        }
        decisions.push((
            answer["risk_score"].as_f64().unwrap(),
            answer["confidence"].as_f64().unwrap(),
        ));
        assert_eq!(ci.outcome(&id, true)["learned"], true);
    }
    // Each success lowers the risk and raises the confidence.
    for pair in decisions.windows(2) {
        assert!(pair[1].0 < pair[0].0 && pair[1].1 > pair[0].1, "{pair:?}");
    }
    // The gate is the category's own.
    assert_eq!(
        ci.evaluate(&intent("other", "network", json!({})))["action"],
        "escalate"
    );
    assert_eq!(ci.learned("compute")["outcomes_needed"], 0);
}

#[test]
fn failures_take_the_approval_back() {
    let server = Server::start();
    let ci = server.ci();
    for number in 0..20 {
        live(&ci, &format!("good-{number}"), "default", true);
    }
    let ask = |id: &str| ci.evaluate(&intent(id, "default", json!({})));
    assert_eq!(ask("before")["action"], "approve");
    for number in 0..30 {
        live(&ci, &format!("bad-{number}"), "default", false);
    }
    let after = ask("after");
    assert_ne!(after["action"], "approve", "{after}");
    assert_eq!(after["reasons"][0]["code"], "expected_loss", "{after}");
}

#[test]
fn a_bad_past_of_one_component_outlasts_its_good_news() {
    let server = Server::start();
    let ci = server.ci();
    let ask = |id: &str| {
        let named = json!({"service_name": "flaky", "deterministic_id": id});
        ci.evaluate(&intent("service", "default", named))
    };
    for number in 0..5 {
        live(&ci, &format!("bad-{number}"), "default", false);
    }
    ask("first");
    for number in 0..10 {
        live(&ci, &format!("good-{number}"), "default", true);
    }
    let answer = ask("second");
    let parts = &answer["contributions"];
    assert!(
        parts["smoothed_risk"].as_f64() > parts["raw_risk"].as_f64(),
        "{answer}"
    );
    assert_eq!(answer["risk_score"], parts["smoothed_risk"]);
    let mixed = 0.9 * (6.0 / 16.0) + 0.1 * (6.0 / 26.0);
    assert_like(&parts["smoothed_risk"], &json!(mixed));
}

#[test]
fn the_outcome_of_a_denied_intent_is_kept_and_not_learned() {
    let server = Server::start();
    let ci = server.ci();
    let violating = intent("denied", "default", json!({"policy_violations": ["no"]}));
    assert_eq!(ci.evaluate(&violating)["action"], "deny");
    let recorded = ci.outcome("denied", false);
    assert_eq!(
        (&recorded["learned"], &recorded["not_learned_because"]),
        (&json!(false), &json!("denied"))
    );
    assert_eq!(ci.learned("default")["trials"], 0);
    let row = ci.get("intents/denied").expect(200);
    assert_eq!(row["outcome"]["success"], false);
    assert_eq!(row["outcome"]["not_learned_because"], "denied");
}

#[test]
fn sixty_successes_of_one_change_set_count_once_in_each_category() {
    let server = Server::start();
    let ci = server.ci();
    let set = json!({"change_set": {"id": "pr-7"}});
    std::thread::scope(|scope| {
        for category in ["default", "compute"] {
            let (ci, set) = (ci.clone(), set.clone());
            scope.spawn(move || {
                for number in 0..60 {
                    let id = format!("{category}-{number}");
                    ci.evaluate(&intent(&id, category, set.clone()));
                    let recorded = ci.outcome(&id, true);
                    assert_eq!(recorded["learned"], number == 0, "{recorded}");
                    if number > 0 {
                        assert_eq!(recorded["not_learned_because"], "same_change_set");
                    }
                }
            });
        }
    });
    for category in ["default", "compute"] {
        let learned = ci.learned(category);
        assert_eq!(
            (&learned["trials"], &learned["failures"]),
            (&json!(1), &json!(0)),
            "{learned}"
        );
    }
    // The first failure makes the one trial a failure; the second changes nothing.
    for (id, learned, failures) in [("f-1", true, 1), ("f-2", false, 1)] {
        ci.evaluate(&intent(id, "default", set.clone()));
        assert_eq!(ci.outcome(id, false)["learned"], learned);
        let counts = ci.learned("default");
        assert_eq!(
            (&counts["trials"], &counts["failures"]),
            (&json!(1), &json!(failures))
        );
    }
    // Another revision of it is a trial of its own.
    let next = json!({"change_set": {"id": "pr-7", "revision": "2"}});
    ci.evaluate(&intent("next", "default", next));
    assert_eq!(ci.outcome("next", true)["learned"], true);
    assert_eq!(ci.learned("default")["trials"], 2);
}

#[test]
fn one_outcome_is_recorded_for_each_intent() {
    let server = Server::start();
    let ci = server.ci();
    let first = live(&ci, "once", "default", true);
    let footprint = ci.footprint();

    let again = ci.outcome("once", true);
    assert_eq!(
        (&again["replayed"], &again["outcome_id"]),
        (&json!(true), &first["outcome_id"])
    );
    assert_eq!(
        (&again["alpha"], &again["beta"]),
        (&first["alpha"], &first["beta"])
    );
    let other = json!({"deterministic_id": "once", "success": false});
    ci.post("intents/outcome", &other)
        .problem(409, "outcome_conflict");
    let unknown = json!({"deterministic_id": "never-asked", "success": true});
    ci.post("intents/outcome", &unknown)
        .problem(404, "not_found");
    assert_eq!(ci.footprint(), footprint);
    assert_eq!(ci.learned("default")["trials"], 1);
}

#[test]
fn an_idempotency_key_names_one_report() {
    let server = Server::start();
    let ci = server.ci();
    for id in ["a", "b"] {
        ci.evaluate(&intent(id, "default", json!({})));
    }
    let report = |id: &str, key: &str| {
        let body = json!({"deterministic_id": id, "success": true, "idempotency_key": key});
        ci.post("intents/outcome", &body)
    };
    assert_eq!(report("a", "k").expect(200)["replayed"], false);
    assert_eq!(report("a", "k").expect(200)["replayed"], true);
    report("b", "k").problem(409, "idempotency_conflict");
    // The header is another way to say it.
    let body = json!({"deterministic_id": "b", "success": true});
    let header = [("idempotency-key", "k")];
    ci.post_with("intents/outcome", &header, &body)
        .problem(409, "idempotency_conflict");
    let header = [("idempotency-key", "k2")];
    assert_eq!(
        ci.post_with("intents/outcome", &header, &body).expect(200)["replayed"],
        false
    );
    let both = json!({"deterministic_id": "b", "success": true, "idempotency_key": "k3"});
    ci.post_with("intents/outcome", &header, &both)
        .problem(422, "invalid_request");
    assert_eq!(ci.learned("default")["trials"], 2);
}

#[test]
fn who_reported_is_known() {
    let server = Server::start();
    let ci = server.ci();
    let tenant = server.credentials().tenant_id;
    let (reporter, other) = server.key(&tenant, &json!({"tier": "enterprise", "role": "ci"}));
    ci.evaluate(&intent("seen", "default", json!({})));
    assert_eq!(other.outcome("seen", true)["learned"], true);
    let learned = ci.learned("default");
    assert_eq!(
        (&learned["trials"], &learned["self_reported"]),
        (&json!(1), &json!(0))
    );
    let entries = ci.list("audit?type=outcome");
    assert_eq!(entries[0]["caller"], reporter);
}
