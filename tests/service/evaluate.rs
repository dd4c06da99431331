//! `POST /intents/evaluate` and the intents that can be read afterwards.

use std::fmt;

use serde::de::{Deserializer as _, IgnoredAny, MapAccess, Visitor};
use serde_json::{Value, json};

use crate::harness::{Server, assert_like};

/// A deployment to staging; null in `changes` takes a member away.
fn deploy(id: &str, changes: Value) -> Value {
    let mut intent = json!({
        "deterministic_id": id, "intent_type": "deploy_config", "environment": "staging",
        "requester": "ci", "operation": "update",
        "service_name": "payments", "change_scope": "canary", "deployment_target": "staging",
    });
    for (name, value) in changes.as_object().unwrap() {
        if value.is_null() {
            intent.as_object_mut().unwrap().remove(name);
        } else {
            intent[name] = value.clone();
        }
    }
    intent
}

/// The names of an object's members in the order in which they were sent.
fn members(text: &str) -> Vec<String> {
    struct Names;
    impl<'de> Visitor<'de> for Names {
        type Value = Vec<String>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Vec<String>, A::Error> {
            let mut names = Vec::new();
            while let Some((name, IgnoredAny)) = map.next_entry()? {
                names.push(name);
            }
            Ok(names)
        }
    }
    serde_json::Deserializer::from_str(text)
        .deserialize_map(Names)
        .unwrap()
}

const MEMBERS: &str = "action justification next standing reasons counterfactual intent_id \
    deterministic_id decision_id risk_score risk_interval confidence explanation category environment \
    operation change_set enforcement evidence contributions risk_factors expected_losses epistemic \
    policy_violations policy_version estimated_cost memory audit trace_id created_at evaluated_at \
    dry_run replayed";

#[test]
fn the_first_answer_of_a_new_tenant_is_that_of_the_contract() {
    let server = Server::start();
    let answer = server
        .ci()
        .post("intents/evaluate", &deploy("pay-42", json!({})));
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(
        members(&answer.text),
        MEMBERS.split_whitespace().collect::<Vec<_>>()
    );

    let body = answer.json();
    let expected = json!({
        "action": "escalate",
        "justification": "A person must decide: default has 0 of 14 outcomes.",
        "next": {
            "do": "wait", "detail": "pending review", "href": "…", "retry_after_s": 30,
            "expires_at": "…",
        },
        "standing": {"state": "pending", "review_id": "…", "expires_at": "…", "permit": null},
        "reasons": [{
            "code": "epistemic_gate", "have": 0, "need": 14,
            "detail":
                "default: 0 of 14 outcomes recorded; a person decides until 14 more are in",
        }],
        "counterfactual": {
            "target": "approve",
            "changes": [{"kind": "fact", "field": "evidence", "from": 0, "to": 14}],
            "patch": [], "flips": true,
        },
        "intent_id": "pay-42", "deterministic_id": "pay-42", "decision_id": "…",
        "risk_score": 0.0909, "risk_interval": {"level": 0.9, "low": 0.0, "high": 0.2057},
        "confidence": 0.0, "explanation": "…",
        "category": "default", "environment": "staging", "operation": "update", "change_set": null,
        "enforcement": "full",
        "evidence": {"trials": 0, "self_reported": 0, "imported": 0},
        "contributions": {
            "conjugate_mean": 0.0909, "conjugate_alpha": 1.0, "conjugate_beta": 10.0,
            "hyper_mean": null, "hmc_prediction": null,
            "weights": {"conjugate": 1.0, "hyper": 0.0, "hmc": 0.0},
            "context_multiplier": 1.0, "raw_risk": 0.0909, "smoothed_risk": 0.0909,
        },
        "risk_factors": {"conjugate": 0.0909},
        "expected_losses": {"approve": 0.9435, "deny": 7.2727, "escalate": 6.0},
        "epistemic": {
            "psi": 1.0, "data_sparsity": 1.0, "forecast_uncertainty": 0.0,
            "hallucination_risk": 0.0,
        },
        "policy_violations": [], "policy_version": 1, "estimated_cost": null,
        "memory": {"success_rate": null, "weight": 0.0, "similar": 0},
        "audit": {"index": 1, "leaf_hash": "…", "key_id": "…", "signature": "…"},
        "trace_id": null, "created_at": "…", "evaluated_at": "…",
        "dry_run": false, "replayed": false,
    });
    assert_like(&body, &expected);

    let decision = body["decision_id"].as_str().unwrap();
    assert_eq!(body["standing"]["review_id"], decision);
    assert_eq!(body["next"]["href"], format!("/api/v1/reviews/{decision}"));
    assert_eq!(body["next"]["expires_at"], body["standing"]["expires_at"]);
    assert_eq!(body["created_at"], body["evaluated_at"]);
    // RFC 3339, UTC, six decimals.
    let created = body["created_at"].as_str().unwrap();
    assert_eq!(
        (created.len(), &created[19..20], &created[26..]),
        (27, ".", "Z"),
        "{created}"
    );
}

#[test]
fn each_kind_of_intent_falls_into_its_category() {
    let server = Server::start();
    let ci = server.ci();
    let rows = [
        (
            json!({"resource_type": "database", "region": "r", "size": "Basic"}),
            "database",
            json!(15),
        ),
        (
            json!({"resource_type": "storage_account", "region": "r", "size": "1TB"}),
            "database",
            json!(100),
        ),
        (
            json!({"resource_type": "vm", "region": "r", "size": "Standard_D2s_v3"}),
            "compute",
            json!(70),
        ),
        // An unknown size has no price, which is not a price of 0.
        (
            json!({"resource_type": "vm", "region": "r", "size": "huge"}),
            "compute",
            Value::Null,
        ),
        (
            json!({"resource_type": "vm", "region": "r", "size": "huge", "estimated_cost": 7.5}),
            "compute",
            json!(7.5),
        ),
        (
            json!({"resource_type": "virtual_network", "region": "r", "size": "default"}),
            "network",
            json!(0),
        ),
        (
            json!({"resource_type": "function_app", "region": "r", "size": "Premium"}),
            "default",
            json!(75),
        ),
        (
            json!({"principal": "alice", "permission_level": "read", "resource_scope": "/a/b"}),
            "security",
            Value::Null,
        ),
        (
            json!({"service_name": "api", "change_scope": "canary", "deployment_target": "dev"}),
            "default",
            Value::Null,
        ),
        (
            json!({"service_name": "UserDataBase", "change_scope": "canary", "deployment_target": "dev"}),
            "database",
            Value::Null,
        ),
    ];
    // alpha and beta of rules.md 4.
    let priors = [
        ("database", 1.5, 8.0),
        ("network", 1.2, 10.0),
        ("compute", 1.0, 12.0),
        ("security", 2.0, 10.0),
        ("default", 1.0, 10.0),
    ];
    for (fields, category, cost) in rows {
        for (environment, kappa) in [("dev", 1.0), ("prod", 1.5)] {
            let mut intent = json!({"environment": environment, "requester": "ci"});
            intent
                .as_object_mut()
                .unwrap()
                .extend(fields.as_object().unwrap().clone());
            let answer = ci
                .post("intents/evaluate?dry_run=true", &intent)
                .expect(200);
            let &(_, alpha, beta) = priors.iter().find(|prior| prior.0 == category).unwrap();
            assert_eq!(answer["category"], category, "{intent}");
            assert_like(&answer["contributions"]["conjugate_alpha"], &json!(alpha));
            assert_like(&answer["contributions"]["conjugate_beta"], &json!(beta));
            assert_like(
                &answer["risk_score"],
                &json!(kappa * alpha / (alpha + beta)),
            );
            assert_like(&answer["estimated_cost"], &cost);
        }
    }
    // A deployment from elsewhere into production is one in production.
    let into_prod = deploy("x", json!({"deployment_target": "prod"}));
    let answer = ci
        .post("intents/evaluate?dry_run=true", &into_prod)
        .expect(200);
    assert_eq!(answer["contributions"]["context_multiplier"], 1.5);
}

#[test]
fn an_intent_without_its_type_is_the_one_that_its_fields_fit() {
    let server = Server::start();
    let ci = server.ci();
    let common = json!({"environment": "dev", "requester": "upstream"});
    let kinds = [
        (
            "provision_resource",
            json!({"resource_type": "vm", "region": "eastus", "size": "s"}),
        ),
        (
            "grant_access",
            json!({"principal": "p", "permission_level": "read", "resource_scope": "/s"}),
        ),
        (
            "deploy_config",
            json!({"service_name": "api", "change_scope": "canary", "deployment_target": "dev"}),
        ),
    ];
    for (kind, fields) in kinds {
        let mut intent = common.clone();
        intent
            .as_object_mut()
            .unwrap()
            .extend(fields.as_object().unwrap().clone());
        let id = ci.evaluate(&intent)["deterministic_id"]
            .as_str()
            .unwrap()
            .to_owned();
        // A made id is a UUID of version 7.
        assert_eq!((id.len(), &id[14..15]), (36, "7"), "{id}");
        assert_eq!(
            ci.get(&format!("intents/{id}")).expect(200)["intent_type"],
            kind
        );
        // With the type said it is the same intent.
        intent["deterministic_id"] = json!(id);
        intent["intent_type"] = json!(kind);
        assert_eq!(ci.evaluate(&intent)["replayed"], true);
    }
}

#[test]
fn a_dry_run_decides_and_writes_nothing() {
    let server = Server::start();
    let ci = server.ci();
    let before = ci.footprint();
    let dry = ci
        .post("intents/evaluate?dry_run=true", &deploy("dry", json!({})))
        .expect(200);
    assert_eq!(dry["dry_run"], true);
    assert_eq!(
        (&dry["decision_id"], &dry["audit"]),
        (&Value::Null, &Value::Null)
    );
    assert_eq!(ci.footprint(), before);
    ci.get("intents/dry").problem(404, "not_found");

    // But for what only a stored one has, it is the decision that would be made.
    let wet = ci.evaluate(&deploy("dry", json!({})));
    assert_eq!(wet["replayed"], false);
    for (name, value) in wet.as_object().unwrap() {
        let stored = [
            "decision_id",
            "audit",
            "created_at",
            "evaluated_at",
            "dry_run",
            "next",
            "standing",
        ];
        if !stored.contains(&name.as_str()) {
            assert_eq!(&dry[name], value, "{name}");
        }
    }
    assert_eq!(dry["standing"]["state"], wet["standing"]["state"]);
}

#[test]
fn a_minimal_answer_has_what_a_caller_acts_on_and_the_ids() {
    let server = Server::start();
    let ci = server.ci();
    let full = ci.evaluate(&deploy("m", json!({})));
    let prefer = [("prefer", "return=minimal")];
    let minimal = ci.post_with("intents/evaluate", &prefer, &deploy("m", json!({})));
    let names = "action justification next standing reasons intent_id deterministic_id decision_id";
    let got = members(&minimal.text);
    assert_eq!(
        got[..8],
        names.split(' ').collect::<Vec<_>>()[..],
        "{got:?}"
    );
    assert!(got[8..].iter().all(|name| name == "replayed"), "{got:?}");
    for name in names.split(' ').filter(|name| *name != "next") {
        assert_eq!(minimal.json()[name], full[name], "{name}");
    }
    let applied = minimal.header("preference-applied");
    assert!(
        applied.is_none_or(|applied| applied == "return=minimal"),
        "{applied:?}"
    );
}

#[test]
fn the_idempotency_key_is_the_deterministic_id() {
    let server = Server::start();
    let ci = server.ci();
    let anonymous = deploy("", json!({"deterministic_id": null}));
    let send =
        |intent: &Value, key| ci.post_with("intents/evaluate", &[("idempotency-key", key)], intent);
    let first = send(&anonymous, "from-header").expect(200);
    assert_eq!(first["deterministic_id"], "from-header");
    assert_eq!(
        send(&anonymous, "from-header").expect(200)["replayed"],
        true
    );
    assert_eq!(
        ci.evaluate(&deploy("from-header", json!({})))["replayed"],
        true
    );
    assert_eq!(
        send(&deploy("from-header", json!({})), "from-header").expect(200)["replayed"],
        true
    );

    let before = ci.footprint();
    let problem = send(&deploy("one", json!({})), "another").problem(422, "invalid_request");
    assert_eq!(
        problem["errors"][0]["pointer"], "/deterministic_id",
        "{problem}"
    );
    send(&anonymous, &"x".repeat(65)).problem(422, "invalid_request");
    assert_eq!(ci.footprint(), before);
}

#[test]
fn the_same_intent_under_the_same_id_is_the_stored_decision() {
    let server = Server::start();
    let ci = server.ci();
    let rich = json!({
        "context": {"latency_p99": 200, "error_rate": 0.01, "forecasts": [
            {"risk_level": "low", "confidence": 0.9},
        ]},
        "configuration": {"replicas": 3, "b": [1.5, null, "ü\u{0000}"]},
        "changed_fields": ["image", "replicas"],
        "estimated_cost": 12.5,
    });
    let first = ci.evaluate(&deploy("r", rich.clone()));
    let footprint = ci.footprint();

    // The same intent, however it is written.
    let same = [
        deploy("r", rich.clone()),
        deploy("r", {
            let mut rich = rich.clone();
            rich["provenance"] = json!({});
            rich["policy_violations"] = json!([]);
            rich["estimated_cost"] = json!(12.50);
            rich
        }),
        deploy("r", {
            let mut rich = rich.clone();
            rich["intent_type"] = Value::Null;
            rich["context"]["latency_p99"] = json!(200.0);
            rich
        }),
    ];
    let without = |answer: &Value| {
        let mut answer = answer.clone();
        for name in ["standing", "next", "replayed"] {
            answer.as_object_mut().unwrap().remove(name);
        }
        answer
    };
    for intent in same {
        let again = ci.evaluate(&intent);
        assert_eq!(again["replayed"], true, "{intent}");
        assert_eq!(without(&again), without(&first), "{intent}");
    }
    // A member that is null is no member.
    let text = deploy("r", rich.clone()).to_string();
    let null = format!("{{\"region\":null,{}", &text[1..]);
    assert_eq!(
        ci.post_bytes("intents/evaluate", &[], null.as_bytes())
            .expect(200)["replayed"],
        true
    );

    // The outcome changes where it stands, and nothing else.
    assert_eq!(ci.footprint(), footprint, "replays are free");
    ci.outcome("r", true);
    let closed = ci.evaluate(&deploy("r", rich));
    assert_eq!(without(&closed), without(&first));
    assert_eq!(
        (&closed["standing"]["state"], &closed["next"]["do"]),
        (&json!("closed"), &json!("renew"))
    );
}

#[test]
fn of_many_who_ask_the_same_at_once_one_is_first_and_all_get_its_answer() {
    let server = Server::start();
    let ci = server.ci();
    let before = ci.footprint().0;
    let answers: Vec<Value> = std::thread::scope(|scope| {
        let ask = || server.ci().evaluate(&deploy("race", json!({})));
        let threads: Vec<_> = (0..16).map(|_| scope.spawn(ask)).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    let id = |answer: &Value| answer["decision_id"].clone();
    assert!(answers.iter().all(|answer| id(answer) == id(&answers[0])));
    let first = answers.iter().filter(|answer| answer["replayed"] == false);
    assert_eq!(first.count(), 1);
    assert_eq!(ci.footprint(), (before + 1, json!(1)));
}

#[test]
fn another_intent_under_the_same_id_is_a_conflict() {
    let server = Server::start();
    let ci = server.ci();
    ci.evaluate(&deploy("c", json!({})));
    let footprint = ci.footprint();
    let others = [
        json!({"environment": "dev"}),
        json!({"requester": "someone"}),
        json!({"operation": "delete"}),
        json!({"service_name": "payments2"}),
        json!({"change_scope": "global"}),
        json!({"estimated_cost": 1}),
        json!({"policy_violations": ["v"]}),
        json!({"context": {"hour": 3}}),
        json!({"configuration": {"a": null}}),
        json!({"changed_fields": ["a"]}),
        json!({"risk_level_hint": 0.5}),
    ];
    for other in others {
        ci.post("intents/evaluate", &deploy("c", other))
            .problem(409, "idempotency_conflict");
    }
    assert_eq!(ci.footprint(), footprint);
    assert_eq!(ci.evaluate(&deploy("c", json!({})))["replayed"], true);
}

#[test]
fn an_intent_asked_again_under_another_change_set_moves_there_until_its_outcome_is_in() {
    let server = Server::start();
    let ci = server.ci();
    let ask = |set: Value| ci.evaluate(&deploy("mv", json!({"change_set": set})));
    let members = |set: &str| ci.list(&format!("intents?change_set={set}")).len();
    let moves = || ci.list("audit?type=move").len();

    let first = ask(json!({"id": "pr-1"}));
    assert_eq!(first["change_set"]["id"], "pr-1");
    assert_eq!((members("pr-1"), members("pr-2"), moves()), (1, 0, 0));
    // The same set again, or none: nothing moves.
    ask(json!({"id": "pr-1"}));
    ask(Value::Null);
    assert_eq!((members("pr-1"), members("pr-2"), moves()), (1, 0, 0));

    let footprint = ci.footprint();
    assert_eq!(
        ask(json!({"id": "pr-2", "revision": "b"}))["replayed"],
        true
    );
    assert_eq!((members("pr-1"), members("pr-2"), moves()), (0, 1, 1));
    let after = ci.footprint();
    assert_eq!(
        (after.0, after.1),
        (footprint.0 + 1, footprint.1),
        "one entry, no quota"
    );
    // A revision is a set of its own.
    ask(json!({"id": "pr-2", "revision": "c"}));
    assert_eq!((members("pr-2"), moves()), (1, 2));

    ci.outcome("mv", true);
    assert_eq!(ask(json!({"id": "pr-3"}))["replayed"], true);
    assert_eq!((members("pr-2"), members("pr-3"), moves()), (1, 0, 2));
}

#[test]
fn an_intent_can_be_read_by_its_id() {
    let server = Server::start();
    let ci = server.ci();
    let sent = " {\"deterministic_id\":\"read/me ü\", \"environment\": \"staging\",\"requester\":\"r\",\
        \"service_name\":\"api\",\"change_scope\":\"canary\",\"deployment_target\":\"staging\",\
        \"estimated_cost\":1.50} ";
    let answer = ci
        .post_bytes("intents/evaluate", &[], sent.as_bytes())
        .expect(200);
    let read = || ci.get("intents/read%2Fme%20%C3%BC");
    let row = read().expect(200);
    assert_eq!(row["deterministic_id"], "read/me ü");
    assert_eq!(row["intent_type"], "deploy_config");
    assert_eq!(row["environment"], "staging");
    assert_eq!(row["created_at"], answer["created_at"]);
    assert_eq!(row["decision"]["decision_id"], answer["decision_id"]);
    assert_eq!(row["decision"]["risk_score"], answer["risk_score"]);
    assert_eq!(row["standing"]["state"], "pending");
    assert_eq!(row["outcome"], Value::Null);
    // The payload as sent: its spaces within, its decimals.
    assert!(read().text.contains(sent.trim()), "{}", read().text);

    let body = json!({
        "deterministic_id": "read/me ü", "success": false, "recorded_by": "bob", "notes": "it broke",
    });
    let recorded = ci.post("intents/outcome", &body).expect(200);
    let row = read().expect(200);
    assert_eq!(row["outcome"]["outcome_id"], recorded["outcome_id"]);
    let told = (
        &row["outcome"]["success"],
        &row["outcome"]["recorded_by"],
        &row["outcome"]["notes"],
    );
    assert_eq!(told, (&json!(false), &json!("bob"), &json!("it broke")));
    assert_eq!(row["standing"]["state"], "closed");
    ci.get("intents/unknown").problem(404, "not_found");
}

#[test]
fn intents_are_listed_by_environment_action_outcome_set_and_time() {
    let server = Server::start();
    let ci = server.ci();
    ci.evaluate(&deploy("a", json!({"environment": "dev"})));
    ci.evaluate(&deploy("b", json!({"policy_violations": ["v"]})));
    ci.evaluate(&deploy("c", json!({"change_set": {"id": "s"}})));
    ci.outcome("c", true);
    let middle = ci.evaluate(&deploy("d", json!({})));
    let middle = middle["created_at"].as_str().unwrap();
    ci.evaluate(&deploy(
        "e",
        json!({"environment": "prod", "change_set": {"id": "s"}}),
    ));

    let ids = |query: &str| -> String {
        let items = ci.pages(&format!("intents{query}"), 2);
        items
            .iter()
            .map(|item| item["deterministic_id"].as_str().unwrap().to_owned())
            .collect()
    };
    for (query, expected) in [
        ("", "abcde"),
        ("?environment=dev", "a"),
        ("?environment=staging", "bcd"),
        ("?action=deny", "b"),
        ("?action=escalate", "acde"),
        ("?action=approve", ""),
        ("?outcome=recorded", "c"),
        ("?outcome=missing", "abde"),
        ("?change_set=s", "ce"),
        ("?change_set=none", ""),
        ("?change_set=s&outcome=missing", "e"),
        (&format!("?from={middle}"), "de"),
        (&format!("?to={middle}"), "abc"),
    ] {
        assert_eq!(ids(query), expected, "{query}");
    }
    for query in [
        "?limit=0",
        "?limit=1001",
        "?limit=x",
        "?cursor=!",
        "?action=maybe",
        "?from=today",
    ] {
        ci.get(&format!("intents{query}"))
            .problem(422, "invalid_request");
    }
}

#[test]
fn requests_and_traces_keep_their_ids() {
    let server = Server::start();
    let ci = server.ci();
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let traceparent = format!("00-{trace}-00f067aa0ba902b7-01");
    let headers = [
        ("x-request-id", "my-request"),
        ("traceparent", traceparent.as_str()),
    ];
    let answer = ci.post_with("intents/evaluate", &headers, &deploy("t", json!({})));
    assert_eq!(answer.header("x-request-id"), Some("my-request"));
    let body = answer.expect(200);
    assert_eq!(body["trace_id"], trace);
    let entry = ci.list("audit?deterministic_id=t");
    assert_eq!(entry[0]["trace_id"], trace);

    // Everything that answers has one, made where none was sent.
    let paths = ["/health", "usage", "intents/none", "/nothing/here"];
    let ids: Vec<_> = paths
        .iter()
        .map(|path| {
            ci.get(path)
                .header("x-request-id")
                .expect("X-Request-ID")
                .to_owned()
        })
        .collect();
    assert!(
        ids.iter()
            .enumerate()
            .all(|(n, id)| !id.is_empty() && !ids[..n].contains(id)),
        "{ids:?}"
    );
}
