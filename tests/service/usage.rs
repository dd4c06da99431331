//! Quotas: counted with the decision they pay for, and never beyond.

use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::harness::Server;

fn intent(id: &str) -> Value {
    json!({
        "deterministic_id": id, "environment": "dev", "requester": "ci",
        "service_name": "api", "change_scope": "canary", "deployment_target": "dev",
    })
}

#[test]
fn a_free_key_has_a_thousand_evaluations_a_month() {
    let mut server = Server::start();
    let (tenant, client) = server.found("small", "free");
    let usage = client.get("usage").expect(200);
    let expected = json!({
        "tier": "free", "limit": 1000, "used": 0, "remaining": 1000, "resets_at": usage["resets_at"],
    });
    assert_eq!(usage, expected);
    let resets =
        chrono::DateTime::parse_from_rfc3339(usage["resets_at"].as_str().unwrap()).unwrap();
    let left = resets.to_utc() - chrono::Utc::now();
    assert!(left.num_days() <= 31 && left.num_seconds() > 0, "{resets}");
    assert_eq!(
        resets.format("%d %T%.f %:z").to_string(),
        "01 00:00:00 +00:00"
    );

    // More than there are, from many sides at once: not one too many is answered.
    let (answered, refused) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for part in 0..16 {
            let (client, answered, refused) = (&client, &answered, &refused);
            scope.spawn(move || {
                for number in 0..64 {
                    let answer =
                        client.post("intents/evaluate", &intent(&format!("{part}-{number}")));
                    match answer.status {
                        200 => answered.fetch_add(1, Ordering::Relaxed),
                        _ => {
                            answer.problem(429, "quota_exceeded");
                            refused.fetch_add(1, Ordering::Relaxed)
                        }
                    };
                }
            });
        }
    });
    assert_eq!((answered.into_inner(), refused.into_inner()), (1_000, 24));
    let usage = client.get("usage").expect(200);
    assert_eq!(
        (&usage["used"], &usage["remaining"]),
        (&json!(1_000), &json!(0))
    );

    let refused = client.post("intents/evaluate", &intent("beyond"));
    let retry_after: i64 = refused.header("retry-after").unwrap().parse().unwrap();
    let problem = refused.problem(429, "quota_exceeded");
    assert_eq!(problem["resets_at"], usage["resets_at"], "{problem}");
    let left = (resets.to_utc() - chrono::Utc::now()).num_seconds();
    assert!(
        (retry_after - left).abs() < 60,
        "{retry_after} s, and it is {left} s to the reset"
    );

    // What is free stays free.
    let known = client.get("intents?limit=1").expect(200)["items"][0]["deterministic_id"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(client.evaluate(&intent(&known))["replayed"], true);
    client
        .post("intents/evaluate?dry_run=true", &intent("dry"))
        .expect(200);
    client.outcome(&known, true);
    assert_eq!(client.get("usage").expect(200)["used"], 1_000);

    // Another key of the tenant pays for itself; a crash gives nothing back.
    let (_, other) = server.key(&tenant, &json!({"tier": "pro"}));
    other.evaluate(&intent("other"));
    let usage = other.get("usage").expect(200);
    assert_eq!(
        (&usage["limit"], &usage["used"]),
        (&json!(10_000), &json!(1))
    );
    server.kill();
    server.launch();
    client
        .post("intents/evaluate", &intent("beyond"))
        .problem(429, "quota_exceeded");
}

#[test]
fn replays_and_dry_runs_and_refusals_are_free() {
    let server = Server::start();
    let (_, client) = server.found("small", "free");
    client.evaluate(&intent("one"));
    for _ in 0..3 {
        client.evaluate(&intent("one"));
        client
            .post("intents/evaluate?dry_run=true", &intent("two"))
            .expect(200);
        client
            .post("intents/evaluate", &json!({}))
            .problem(422, "invalid_request");
        let mut other = intent("one");
        other["environment"] = json!("prod");
        client
            .post("intents/evaluate", &other)
            .problem(409, "idempotency_conflict");
    }
    assert_eq!(client.get("usage").expect(200)["used"], 1);
}

#[test]
fn an_enterprise_key_has_no_limit() {
    let server = Server::start();
    let ci = server.ci();
    ci.evaluate(&intent("one"));
    let usage = ci.get("usage").expect(200);
    let expected = json!({
        "tier": "enterprise", "limit": null, "used": 1, "remaining": null,
        "resets_at": usage["resets_at"],
    });
    assert_eq!(usage, expected);
}
