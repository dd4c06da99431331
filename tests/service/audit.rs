//! The audit log as it is read, and what its entries say.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::harness::{Server, verified_log};

fn intent(id: &str, more: Value) -> Value {
    let mut intent = json!({
        "deterministic_id": id, "environment": "dev", "requester": "Requester-Requiem",
        "service_name": "Service-Serenade", "change_scope": "canary", "deployment_target": "dev",
    });
    intent
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    intent
}

/// Members that every entry has (rules.md 15).
const COMMON: &str = "v type log index ts tenant_id decision_id caller kid sig c";

#[track_caller]
fn check_members(entry: &Value, own: &str, committed: &str) {
    let names = |value: &Value| {
        value
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect::<BTreeSet<_>>()
    };
    let words = |text: &str| {
        text.split_whitespace()
            .map(str::to_owned)
            .collect::<BTreeSet<_>>()
    };
    assert_eq!(names(entry), words(&format!("{COMMON} {own}")), "{entry:#}");
    assert_eq!(names(&entry["c"]), words(committed), "{entry:#}");
}

#[test]
fn every_kind_of_entry_has_the_members_of_its_kind() {
    let server = Server::start();
    let ci = server.ci();
    let tenant = server.credentials().tenant_id;
    ci.evaluate(&intent(
        "first",
        json!({"operation": "create", "change_set": {"id": "s"}}),
    ));
    ci.evaluate(&intent(
        "first",
        json!({"operation": "create", "change_set": {"id": "t"}}),
    ));
    let body =
        json!({"deterministic_id": "first", "success": true, "recorded_by": "bob", "notes": "n"});
    ci.post("intents/outcome", &body).expect(200);
    let owned = json!({"tier": "pro", "role": "reviewer", "owner": "Olga", "name": "laptop"});
    let (key, _) = server.key(&tenant, &owned);
    server
        .operator()
        .delete(&format!("admin/tenants/{tenant}/keys/{key}"));

    let log = verified_log(&ci);
    let kinds: Vec<_> = log
        .iter()
        .map(|entry| entry["type"].as_str().unwrap())
        .collect();
    assert_eq!(
        kinds,
        [
            "genesis", "decision", "move", "outcome", "api_key", "api_key"
        ]
    );
    let [genesis, decision, moved, outcome, created, revoked] = &log[..] else {
        unreachable!()
    };
    for (index, entry) in log.iter().enumerate() {
        assert_eq!((&entry["v"], &entry["index"]), (&json!(1), &json!(index)));
        assert_eq!(
            (&entry["tenant_id"], &entry["log"]),
            (&json!(tenant), &genesis["log"])
        );
        let id = entry["decision_id"].as_str().unwrap();
        assert_eq!(
            (id.len(), &id[14..15]),
            (36, "8"),
            "a UUID of version 8: {id}"
        );
    }
    let name = genesis["log"].as_str().unwrap();
    assert_eq!(
        name.strip_prefix("arf.invalid/audit/").unwrap().len(),
        26,
        "{name}"
    );

    check_members(genesis, "retention_days public_key keys prior", "name");
    assert_eq!(genesis["caller"], Value::Null);
    assert_eq!(
        (&genesis["retention_days"], &genesis["prior"]),
        (&json!(800), &Value::Null)
    );
    let keys = genesis["keys"].as_array().unwrap();
    let scopes: Vec<_> = keys.iter().map(|key| key["scopes"].clone()).collect();
    let expected = [
        json!(["audit:read", "decide", "outcome"]),
        json!(["audit:read", "review"]),
    ];
    assert_eq!(scopes, expected);

    check_members(
        decision,
        "action risk_score category environment operation change_set failures trials self_reported \
         imported memory_success_rate memory_weight trace_id rules policies settings prices model",
        "request intent requester deterministic_id evidence decision justification counterfactual",
    );
    assert_eq!(decision["caller"], keys[0]["key_id"]);
    assert_eq!(
        (&decision["action"], &decision["operation"]),
        (&json!("escalate"), &json!("create"))
    );
    let set = STANDARD
        .decode(decision["change_set"].as_str().unwrap())
        .unwrap();
    assert_eq!(set.len(), 16);
    let defaults = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/defaults");
    for (member, file) in [
        ("settings", "settings.toml"),
        ("prices", "prices.toml"),
        ("policies", "policies.cedar"),
    ] {
        let hash = fs::read(defaults.join(file))
            .ok()
            .map(|bytes| STANDARD.encode(Sha256::digest(bytes)));
        assert_eq!(decision[member], json!(hash), "{member}");
    }
    assert_eq!(decision["model"], Value::Null);

    check_members(moved, "of change_set", "change_set");
    assert_eq!(moved["of"], decision["decision_id"]);
    assert_ne!(moved["change_set"], decision["change_set"]);

    check_members(
        outcome,
        "of success learned not_learned_because category failures trials",
        "recorded_by notes",
    );
    assert_eq!(outcome["of"], decision["decision_id"]);
    assert_eq!(
        (&outcome["trials"], &outcome["failures"]),
        (&json!(1), &json!(0))
    );

    for (entry, change) in [(created, "created"), (revoked, "revoked")] {
        check_members(entry, "key_id change tier scopes expires_at", "name owner");
        assert_eq!(
            (&entry["key_id"], &entry["change"]),
            (&json!(key), &json!(change))
        );
        assert!(
            entry["caller"].is_string() && entry["caller"] != *key,
            "{entry}"
        );
    }
}

#[test]
fn an_entry_shows_no_text_of_its_caller() {
    let server = Server::start();
    let ci = server.ci();
    let id = "Deterministic-Danse";
    ci.evaluate(&intent(
        id,
        json!({
            "configuration": {"Field-Fugue": "Value-Valse"},
            "change_set": {"id": "Change-Chaconne"},
            "policy_violations": ["Violation-Villanelle"],
        }),
    ));
    let body = json!({
        "deterministic_id": id, "success": false,
        "recorded_by": "Recorder-Rondo", "notes": "Notes-Nocturne", "idempotency_key": "Key-Kyrie",
    });
    ci.post("intents/outcome", &body).expect(200);
    let words = [
        "Requiem",
        "Serenade",
        "Danse",
        "Fugue",
        "Valse",
        "Chaconne",
        "Villanelle",
        "Rondo",
        "Nocturne",
        "Kyrie",
    ];
    for entry in verified_log(&ci) {
        let entry = entry.to_string();
        for word in words {
            assert!(!entry.contains(word), "`{word}` in {entry}");
        }
    }
}

#[test]
fn the_opening_of_a_decision_holds_what_was_asked_and_what_was_answered() {
    let server = Server::start();
    let ci = server.ci();
    let sent = format!(
        " {} ",
        intent("o", json!({"context": {"latency_p99": 10.5}}))
    );
    let answer = ci
        .post_bytes("intents/evaluate", &[], sent.as_bytes())
        .expect(200);
    let id = answer["decision_id"].as_str().unwrap();
    let detail = ci.get(&format!("audit/{id}")).expect(200);
    let part = |name: &str| {
        let parts = detail["opening"]["parts"].as_array().unwrap();
        let part = parts.iter().find(|part| part["name"] == name);
        part.unwrap_or_else(|| panic!("no `{name}`"))["value"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    assert_eq!(part("request"), sent);
    assert_eq!(part("requester"), "Requester-Requiem");
    assert_eq!(part("deterministic_id"), "o");
    assert_eq!(part("justification"), answer["justification"]);
    let decision: Value = serde_json::from_str(&part("decision")).unwrap();
    assert_eq!(decision["risk_score"], answer["risk_score"]);
    let asked: Value = serde_json::from_str(&part("intent")).unwrap();
    assert_eq!(asked["deterministic_id"], "o");

    // The entry in the answer is the entry in the log.
    for name in ["index", "leaf_hash", "signature"] {
        assert_eq!(answer["audit"][name], detail[name], "{name}");
    }
    assert_eq!(answer["audit"]["key_id"], detail["signing_key"]);
    for (name, value) in [
        ("type", "decision"),
        ("action", "escalate"),
        ("deterministic_id", "o"),
    ] {
        assert_eq!(detail[name], value);
    }
    for name in ["risk_score", "justification", "counterfactual", "trace_id"] {
        assert_eq!(detail[name], answer[name], "{name}");
    }
}

#[test]
fn the_log_is_listed_by_type_action_requester_id_and_time_and_page_by_page() {
    let server = Server::start();
    let ci = server.ci();
    ci.evaluate(&intent("a", json!({})));
    ci.evaluate(&intent("b", json!({"policy_violations": ["v"]})));
    ci.outcome("a", true);
    let middle = ci.evaluate(&intent("c", json!({"requester": "someone else"})));
    let middle = middle["created_at"].as_str().unwrap();
    ci.outcome("b", true);

    let indices = |query: &str, limit| -> Vec<u64> {
        let items = ci.pages(&format!("audit{query}"), limit);
        items
            .iter()
            .map(|item| item["index"].as_u64().unwrap())
            .collect()
    };
    for (query, expected) in [
        ("", &[0, 1, 2, 3, 4, 5][..]),
        ("?type=decision", &[1, 2, 4]),
        ("?type=outcome", &[3, 5]),
        ("?type=genesis", &[0]),
        ("?type=nothing", &[]),
        ("?action=deny", &[2]),
        ("?action=escalate", &[1, 4]),
        ("?requester=someone%20else", &[4]),
        ("?deterministic_id=a", &[1, 3]),
        ("?deterministic_id=b&type=outcome", &[5]),
        ("?deterministic_id=unknown", &[]),
        (&format!("?from={middle}"), &[4, 5]),
        (&format!("?to={middle}"), &[0, 1, 2, 3]),
    ] {
        for limit in [1, 2, 3, 1_000] {
            assert_eq!(indices(query, limit), expected, "{query} by {limit}");
        }
    }
    for query in [
        "?limit=0",
        "?limit=1001",
        "?cursor=%2B",
        "?action=maybe",
        "?to=today",
    ] {
        ci.get(&format!("audit{query}"))
            .problem(422, "invalid_request");
    }
    for id in ["00000000-0000-8000-8000-000000000000", "not-an-id"] {
        ci.get(&format!("audit/{id}")).problem(404, "not_found");
    }
}
