//! The hard rules: what they escalate and deny, however good the past was.

use std::fs;

use serde_json::{Value, json};

use crate::harness::{Client, Server};

fn provision(resource_type: &str, more: Value) -> Value {
    let intent = json!({
        "environment": "prod", "requester": "terraform",
        "resource_type": resource_type, "region": "eu", "size": "large",
    });
    with(intent, more)
}

fn grant(more: Value) -> Value {
    let intent = json!({
        "environment": "dev", "requester": "alice",
        "principal": "bob", "permission_level": "read", "resource_scope": "/a/b",
    });
    with(intent, more)
}

fn deploy(more: Value) -> Value {
    let intent = json!({
        "environment": "staging", "requester": "ci",
        "service_name": "web", "change_scope": "canary", "deployment_target": "staging",
    });
    with(intent, more)
}

fn with(mut intent: Value, more: Value) -> Value {
    intent
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    intent
}

/// Records so many successes of intents like this one, on several connections.
fn succeed(client: &Client, like: &Value, name: &str, count: usize) {
    std::thread::scope(|scope| {
        for part in 0..8 {
            scope.spawn(move || {
                for number in (part..count).step_by(8) {
                    let id = format!("{name}-{number}");
                    client.evaluate(&with(like.clone(), json!({"deterministic_id": id})));
                    assert_eq!(client.outcome(&id, true)["learned"], true);
                }
            });
        }
    });
}

/// A tenant that approves whatever no rule is against.
fn trusting() -> Server {
    let server = Server::start();
    let ci = server.ci();
    let dev = json!({"environment": "dev"});
    succeed(&ci, &provision("database", dev.clone()), "database", 40);
    succeed(
        &ci,
        &provision("virtual_network", dev.clone()),
        "network",
        40,
    );
    succeed(&ci, &provision("vm", dev), "compute", 40);
    succeed(&ci, &grant(json!({})), "security", 40);
    succeed(&ci, &deploy(json!({})), "default", 40);
    server
}

#[test]
fn after_500_successes_replacing_a_production_database_still_needs_a_person() {
    let server = Server::start();
    let ci = server.ci();
    succeed(
        &ci,
        &provision("database", json!({"operation": "update"})),
        "db",
        500,
    );
    assert_eq!(ci.learned("database")["trials"], 500);

    let update = ci.evaluate(&provision("database", json!({"operation": "update"})));
    assert_eq!(update["action"], "approve", "{update}");
    let replace = ci.evaluate(&provision("database", json!({"operation": "replace"})));
    assert_eq!(replace["action"], "escalate", "{replace}");
    let reason = &replace["reasons"][0];
    assert_eq!(reason["code"], "policy", "{replace}");
    let policy = reason["policy"].as_str().unwrap();
    assert!(
        replace["justification"].as_str().unwrap().contains(policy),
        "{replace}"
    );
    assert!(
        reason["detail"].as_str().unwrap().contains("replace"),
        "{replace}"
    );

    // The same as a plan.
    let plan = json!({
        "format_version": "1.2",
        "resource_changes": [{
            "address": "aws_db_instance.main", "mode": "managed", "type": "aws_db_instance",
            "name": "main", "provider_name": "registry.terraform.io/hashicorp/aws",
            "change": {
                "actions": ["delete", "create"],
                "before": {"identifier": "old", "instance_class": "db.t3.large"},
                "after": {"identifier": "new", "instance_class": "db.t3.large"},
            },
        }],
    });
    let file = server.beside("plan.json");
    fs::write(&file, plan.to_string()).unwrap();
    let key = server.credentials().api_key;
    let ran = server.run(
        &key,
        &["gate", file.to_str().unwrap(), "--environment", "prod"],
    );
    assert_eq!(ran.code, 3, "{ran:#?}");
    assert!(ran.stdout.contains(policy), "{ran:#?}");
}

#[test]
fn what_cannot_be_taken_back_goes_to_a_person_and_its_neighbour_does_not() {
    let server = trusting();
    let ci = server.ci();
    let prod_delete = json!({"operation": "delete"});
    let rows = [
        // Losing data or a network in production.
        ("escalate", provision("database", prod_delete.clone())),
        (
            "escalate",
            provision("database", json!({"operation": "replace"})),
        ),
        (
            "escalate",
            provision("storage_account", prod_delete.clone()),
        ),
        (
            "escalate",
            provision("virtual_network", prod_delete.clone()),
        ),
        ("approve", provision("vm", prod_delete.clone())),
        (
            "approve",
            provision("database", json!({"operation": "create"})),
        ),
        (
            "approve",
            provision("database", json!({"operation": "import"})),
        ),
        ("approve", provision("database", json!({}))),
        (
            "approve",
            provision(
                "database",
                json!({"operation": "delete", "environment": "test"}),
            ),
        ),
        // Grants of everything.
        (
            "escalate",
            grant(json!({"permission_level": "admin", "environment": "prod"})),
        ),
        (
            "escalate",
            grant(json!({"permission_level": "admin", "resource_scope": "/a"})),
        ),
        (
            "escalate",
            grant(json!({"permission_level": "admin", "resource_scope": "/"})),
        ),
        (
            "escalate",
            grant(json!({"permission_level": "admin", "resource_scope": "/a/"})),
        ),
        ("approve", grant(json!({"permission_level": "admin"}))),
        (
            "approve",
            grant(json!({"permission_level": "write", "environment": "prod"})),
        ),
        (
            "approve",
            grant(json!({"permission_level": "write", "resource_scope": "/"})),
        ),
        // Global deployments into production, by either name.
        (
            "escalate",
            deploy(json!({"change_scope": "global", "environment": "prod"})),
        ),
        (
            "escalate",
            deploy(json!({"change_scope": "global", "deployment_target": "prod"})),
        ),
        ("approve", deploy(json!({"change_scope": "global"}))),
        (
            "approve",
            deploy(json!({"environment": "prod", "deployment_target": "prod"})),
        ),
        // Many deletes at once, anywhere, as far as they take data along.
        (
            "escalate",
            provision(
                "database",
                json!({
                    "environment": "dev", "operation": "delete",
                    "change_set": {"id": "declared", "deletes": 6},
                }),
            ),
        ),
        (
            "approve",
            provision(
                "database",
                json!({
                    "environment": "dev", "operation": "delete",
                    "change_set": {"id": "few", "deletes": 5},
                }),
            ),
        ),
        (
            "approve",
            provision(
                "vm",
                json!({
                    "environment": "dev", "operation": "delete",
                    "change_set": {"id": "declared", "deletes": 6},
                }),
            ),
        ),
    ];
    for (action, intent) in rows {
        let answer = ci
            .post("intents/evaluate?dry_run=true", &intent)
            .expect(200);
        assert_eq!(answer["action"], action, "{intent}\n{answer}");
        if action == "escalate" {
            assert_eq!(answer["reasons"][0]["code"], "policy", "{answer}");
            assert!(answer["reasons"][0]["policy"].is_string(), "{answer}");
        }
    }
}

#[test]
fn deletes_are_counted_as_they_are_seen_whatever_was_declared() {
    let server = trusting();
    let ci = server.ci();
    for number in 1..=7 {
        // The sixth of the set is one too many; the kind of those before does not matter.
        let kind = if number % 2 == 0 { "database" } else { "vm" };
        let intent = provision(
            kind,
            json!({
                "environment": "dev", "operation": "delete",
                "change_set": {"id": "creeping", "deletes": 1},
            }),
        );
        let expected = if number >= 6 && kind == "database" {
            "escalate"
        } else {
            "approve"
        };
        assert_eq!(ci.evaluate(&intent)["action"], expected, "delete {number}");
    }
    // Asked again, a delete is no further one.
    let again = provision(
        "database",
        json!({
            "environment": "dev", "operation": "delete", "deterministic_id": "again",
            "change_set": {"id": "patient", "deletes": 1},
        }),
    );
    for _ in 0..8 {
        assert_eq!(ci.evaluate(&again)["action"], "approve");
    }
}

#[test]
fn a_violation_that_the_caller_reports_denies() {
    let server = trusting();
    let ci = server.ci();
    let intent = deploy(json!({
        "deterministic_id": "v", "policy_violations": ["region not allowed", "too expensive"],
    }));
    let answer = ci.evaluate(&intent);
    assert_eq!(answer["action"], "deny", "{answer}");
    assert_eq!(
        answer["policy_violations"],
        json!(["region not allowed", "too expensive"])
    );
    assert_eq!(answer["reasons"][0]["code"], "caller_violation");
    assert!(
        answer["justification"]
            .as_str()
            .unwrap()
            .contains("region not allowed"),
        "{answer}"
    );
    assert_eq!(answer["standing"]["state"], "denied");
    assert!(
        ["stop", "change"].contains(&answer["next"]["do"].as_str().unwrap()),
        "{answer}"
    );
    // It outranks what would have gone to a person.
    let both = provision(
        "database",
        json!({"operation": "delete", "policy_violations": ["no"]}),
    );
    assert_eq!(ci.evaluate(&both)["action"], "deny");
}

#[test]
fn a_counterfactual_names_a_change_that_flips_the_decision() {
    let server = trusting();
    let ci = server.ci();
    let admin = grant(json!({"permission_level": "admin", "environment": "prod"}));
    let answer = ci.post("intents/evaluate?dry_run=true", &admin).expect(200);
    let counterfactual = &answer["counterfactual"];
    assert_eq!(
        (&counterfactual["target"], &counterfactual["flips"]),
        (&json!("approve"), &json!(true))
    );
    let patch = counterfactual["patch"].as_array().unwrap();
    assert!(!patch.is_empty(), "{answer}");

    let mut changed = admin;
    for operation in patch {
        assert_eq!(operation["op"], "replace", "{operation}");
        *changed
            .pointer_mut(operation["path"].as_str().unwrap())
            .unwrap() = operation["value"].clone();
    }
    let answer = ci
        .post("intents/evaluate?dry_run=true", &changed)
        .expect(200);
    assert_eq!(answer["action"], "approve", "{changed}\n{answer}");
}
