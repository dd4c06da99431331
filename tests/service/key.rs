//! Keys: who may do what, and for how long.

use arf::http::ROUTES;
use serde_json::{Value, json};

use crate::harness::{Client, Server, deployment, until};

/// Every route below `/api/`, with ids that nothing has, and one that does not exist.
fn routes() -> impl Iterator<Item = (&'static str, String)> {
    let id = |segment: &'static str| match segment.starts_with('{') {
        true => "00000000-0000-8000-8000-000000000000",
        false => segment,
    };
    let api = ROUTES
        .iter()
        .filter(|(_, path)| path.starts_with("/api/"))
        .map(move |(method, path)| {
            let segments: Vec<_> = path.split('/').map(id).collect();
            (*method, segments.join("/"))
        });
    api.chain([("GET", "/api/v1/no/such/route".to_owned())])
}

#[test]
fn without_a_good_key_nothing_is_looked_at() {
    let server = Server::start();
    let none = server.anonymous();
    let unknown = server.with_key(&format!("arf_enterprise_{}", "A".repeat(43)));
    let nonsense = server.with_key("nonsense");
    for client in [none, unknown, nonsense] {
        for (method, path) in routes() {
            // The body would be refused, if anybody read it.
            let body = (method == "POST").then_some(&b"{"[..]);
            let headers = [("content-type", "application/json")];
            client
                .send(method, &path, &headers, body)
                .problem(401, "unauthenticated");
        }
    }
    for header in ["", "Bearer", "Bearer ", "Basic YTpi", "bearer  x"] {
        let answer = server
            .anonymous()
            .send("GET", "usage", &[("authorization", header)], None);
        answer.problem(401, "unauthenticated");
    }
}

#[test]
fn a_method_that_a_path_does_not_have_is_not_found() {
    let server = Server::start();
    let ci = server.ci();
    let body = json!({});
    for answer in [
        ci.put("intents/x", &body),
        ci.patch("usage", &body),
        ci.post("beta-state", &body),
        ci.delete("intents"),
        ci.options("audit"),
        ci.get("intents/outcome"),
    ] {
        answer.problem(404, "not_found");
    }
    // The response to HEAD has no body.
    ci.head("usage").expect(404);
    server.anonymous().head("usage").expect(401);
}

#[test]
fn a_key_may_come_in_either_header() {
    let server = Server::start();
    let key = server.credentials().api_key;
    let anonymous = server.anonymous();
    anonymous
        .send("GET", "usage", &[("x-api-key", &key)], None)
        .expect(200);
    anonymous
        .send(
            "GET",
            "usage",
            &[("authorization", &format!("bearer {key}"))],
            None,
        )
        .expect(200);
    assert_eq!(key.strip_prefix("arf_enterprise_").unwrap().len(), 43);
}

#[test]
fn a_role_allows_its_scopes_and_no_more() {
    let server = Server::start();
    let tenant = server.credentials().tenant_id;
    server
        .ci()
        .evaluate(&deployment(json!({"deterministic_id": "known"})));
    let outcome = json!({"deterministic_id": "known", "success": true});
    // Scopes by route: evaluate, outcome, audit, admin; the other reads are for every key.
    let rows = [
        ("agent", [true, false, true, false]),
        ("ci", [true, true, true, false]),
        ("reviewer", [false, false, true, false]),
        ("auditor", [false, false, true, false]),
        ("policy", [false, false, true, false]),
    ];
    let check = |name: &str, client: &Client, allowed: [bool; 4]| {
        let answers = [
            client.post("intents/evaluate", &deployment(json!({}))),
            client.post("intents/outcome", &outcome),
            client.get("audit"),
            client.get("admin/tenants"),
        ];
        for (answer, allowed) in answers.into_iter().zip(allowed) {
            if allowed {
                answer.expect(200);
            } else {
                let detail = answer.problem(403, "forbidden");
                assert!(
                    detail["detail"].as_str().unwrap().contains("scope"),
                    "{name}: {detail}"
                );
            }
        }
    };
    for (role, allowed) in rows {
        let body = json!({"tier": "enterprise", "role": role, "owner": "somebody"});
        let (_, client) = server.key(&tenant, &body);
        check(role, &client, allowed);
        for path in ["usage", "beta-state", "intents", "intents/known"] {
            client.get(path).expect(200);
        }
    }
    check("operator", &server.operator(), [false, false, false, true]);

    // Scopes one by one.
    let body = json!({"tier": "enterprise", "scopes": ["outcome"]});
    check(
        "outcome only",
        &server.key(&tenant, &body).1,
        [false, true, false, false],
    );
    // Forbidden comes before what is wrong with the body.
    let (_, auditor) = server.key(&tenant, &json!({"tier": "enterprise", "role": "auditor"}));
    auditor
        .post_bytes("intents/evaluate", &[], b"{")
        .problem(403, "forbidden");
}

#[test]
fn a_key_that_could_not_be_used_rightly_is_not_made() {
    let server = Server::start();
    let operator = server.operator();
    let tenant = server.credentials().tenant_id;
    let keys = format!("admin/tenants/{tenant}/keys");
    let before = server.ci().footprint();
    for (body, pointer) in [
        (json!({"tier": "pro", "role": "reviewer"}), "/owner"),
        (json!({"tier": "pro", "scopes": ["review"]}), "/owner"),
        (json!({"tier": "pro", "role": "operator"}), "/role"),
        (json!({"tier": "pro", "scopes": ["admin"]}), "/scopes"),
        (
            json!({"tier": "pro", "scopes": ["decide", "admin"]}),
            "/scopes",
        ),
        (json!({"tier": "pro", "scopes": []}), "/scopes"),
        (
            json!({"tier": "pro", "scopes": ["decide"], "role": "ci"}),
            "",
        ),
        (
            json!({"tier": "pro", "expires_at": "2020-01-01T00:00:00Z"}),
            "/expires_at",
        ),
        (
            json!({"tier": "pro", "expires_at": "tomorrow"}),
            "/expires_at",
        ),
        (json!({"tier": "gold"}), "/tier"),
        (json!({"role": "ci"}), "/tier"),
        (json!({"tier": "pro", "role": "boss"}), "/role"),
        (json!({"tier": "pro", "owner": ""}), "/owner"),
    ] {
        let problem = operator.post(&keys, &body).problem(422, "invalid_request");
        let at = problem["errors"][0]["pointer"].as_str().unwrap_or_default();
        // A rule about scopes may point at what gave them.
        let fits = at == pointer || pointer.is_empty() || (pointer == "/scopes" && at == "/role");
        assert!(fits, "{body}: {problem}");
    }
    assert_eq!(server.ci().footprint(), before);
    let unknown = "admin/tenants/00000000-0000-4000-8000-000000000001/keys";
    operator
        .post(unknown, &json!({"tier": "pro"}))
        .problem(404, "not_found");
}

#[test]
fn a_revoked_key_is_good_for_nothing() {
    let server = Server::start();
    let tenant = server.credentials().tenant_id;
    let (id, client) = server.key(&tenant, &json!({"tier": "enterprise", "name": "laptop"}));
    client.evaluate(&deployment(json!({"deterministic_id": "before"})));
    let path = format!("admin/tenants/{tenant}/keys/{id}");
    let operator = server.operator();
    for _ in 0..2 {
        let status = operator.delete(&path).status;
        assert!([200, 204].contains(&status), "{status}");
        for (method, path) in routes() {
            let body = (method == "POST").then_some(&b"{}"[..]);
            client
                .send(method, &path, &[], body)
                .problem(401, "unauthenticated");
        }
    }
    let keys = operator
        .get(&format!("admin/tenants/{tenant}/keys"))
        .expect(200);
    let keys = keys["items"].as_array().unwrap();
    let listed = keys.iter().find(|key| key["key_id"] == *id).unwrap();
    assert_eq!(
        (&listed["is_active"], &listed["name"]),
        (&json!(false), &json!("laptop"))
    );

    // What it asked stays.
    server.ci().get("intents/before").expect(200);
    let changes: Vec<_> = server.ci().list("audit?type=api_key");
    assert_eq!(changes.len(), 2, "created once, revoked once: {changes:?}");
}

#[test]
fn a_revoked_key_stays_revoked_after_a_crash() {
    let mut server = Server::start();
    let tenant = server.credentials().tenant_id;
    let (id, client) = server.key(&tenant, &json!({"tier": "enterprise"}));
    server
        .operator()
        .delete(&format!("admin/tenants/{tenant}/keys/{id}"));
    server.kill();
    server.launch();
    client.get("usage").problem(401, "unauthenticated");
    server.ci().get("usage").expect(200);
}

#[test]
fn an_expired_key_is_good_for_nothing() {
    let server = Server::start();
    let tenant = server.credentials().tenant_id;
    let soon = chrono::Utc::now() + chrono::Duration::milliseconds(1_500);
    let body = json!({"tier": "enterprise", "expires_at": soon.to_rfc3339()});
    let (_, client) = server.key(&tenant, &body);
    client.get("usage").expect(200);
    until("the key to expire", || {
        (client.get("usage").status == 401).then_some(())
    });
    assert!(chrono::Utc::now() >= soon, "it expired before its time");
    client
        .post("intents/evaluate", &deployment(json!({})))
        .problem(401, "unauthenticated");
}

#[test]
fn a_rotated_key_has_a_new_secret_and_the_same_id() {
    let server = Server::start();
    let tenant = server.credentials().tenant_id;
    let (id, old) = server.key(
        &tenant,
        &json!({"tier": "pro", "role": "agent", "name": "n"}),
    );
    old.evaluate(&deployment(json!({})));
    let path = format!("admin/tenants/{tenant}/keys/{id}/rotate");
    let answer = server.operator().post(&path, &json!({}));
    assert!([200, 201].contains(&answer.status), "{answer:?}");
    let rotated = answer.json();
    assert_eq!(rotated["key_id"], id);
    let new = server.with_key(rotated["key"].as_str().unwrap());
    old.get("usage").problem(401, "unauthenticated");
    // Rotation does not give the quota back, and leaves the rights as they are.
    assert_eq!(new.get("usage").expect(200)["used"], 1);
    new.evaluate(&deployment(json!({})));
    assert_eq!(new.get("usage").expect(200)["used"], 2);
    new.post(
        "intents/outcome",
        &json!({"deterministic_id": "x", "success": true}),
    )
    .problem(403, "forbidden");

    let changes: Vec<Value> = server.ci().list("audit?type=api_key");
    assert_eq!(changes.len(), 2, "created and rotated: {changes:?}");
    let unknown =
        format!("admin/tenants/{tenant}/keys/00000000-0000-4000-8000-000000000001/rotate");
    server
        .operator()
        .post(&unknown, &json!({}))
        .problem(404, "not_found");
    // A revoked key is not brought back.
    server
        .operator()
        .delete(&format!("admin/tenants/{tenant}/keys/{id}"));
    let status = server.operator().post(&path, &json!({})).status;
    assert!((400..500).contains(&status), "{status}");
    new.get("usage").problem(401, "unauthenticated");
}

#[test]
fn a_key_with_claims_may_ask_for_what_they_cover() {
    let server = Server::start();
    let tenant = server.credentials().tenant_id;
    let claimed = |claims: Value| {
        server
            .key(
                &tenant,
                &json!({"tier": "enterprise", "role": "ci", "claims": claims}),
            )
            .1
    };
    let grant = json!({
        "environment": "dev", "requester": "ci",
        "principal": "p", "permission_level": "read", "resource_scope": "/a/b",
    });
    let prod = deployment(json!({"environment": "prod"}));
    let robot = deployment(json!({"requester": "team-a/robot"}));
    let rows = [
        (
            json!({"environments": ["dev", "test"]}),
            deployment(json!({})),
            true,
        ),
        (
            json!({"environments": ["dev", "test"]}),
            prod.clone(),
            false,
        ),
        (json!({"requesters": ["team-a/*"]}), robot.clone(), true),
        (
            json!({"requesters": ["team-b/*", "team-a/*"]}),
            robot.clone(),
            true,
        ),
        (json!({"requesters": ["team-b/*"]}), robot.clone(), false),
        (json!({"requesters": ["team-a"]}), robot.clone(), false),
        (json!({"requesters": ["*"]}), robot.clone(), true),
        (
            json!({"intent_types": ["deploy_config"]}),
            deployment(json!({})),
            true,
        ),
        (json!({"intent_types": ["deploy_config"]}), grant, false),
        (
            json!({"environments": ["dev"], "requesters": ["x"]}),
            robot,
            false,
        ),
    ];
    for (claims, intent, allowed) in rows {
        let client = claimed(claims.clone());
        let before = server.ci().footprint();
        for path in ["intents/evaluate?dry_run=true", "intents/evaluate"] {
            let answer = client.post(path, &intent);
            if allowed {
                answer.expect(200);
            } else {
                answer.problem(403, "claim_not_allowed");
            }
        }
        let written = usize::from(allowed);
        assert_eq!(
            server.ci().footprint().0,
            before.0 + written,
            "{claims} {intent}"
        );
    }
    // A deployment into production from elsewhere is one into production.
    let into_prod = deployment(json!({"deployment_target": "prod"}));
    claimed(json!({"environments": ["dev"]}))
        .post("intents/evaluate", &into_prod)
        .problem(403, "claim_not_allowed");

    let keys = format!("admin/tenants/{tenant}/keys");
    for claims in [
        json!({"environment": ["dev"]}),
        json!({"environments": ["production"]}),
        json!({"intent_types": ["deploy"]}),
        json!({"requesters": "x"}),
        json!([]),
    ] {
        let body = json!({"tier": "pro", "claims": claims});
        server
            .operator()
            .post(&keys, &body)
            .problem(422, "invalid_request");
    }
}

#[test]
fn another_tenants_things_do_not_exist() {
    let server = Server::start();
    let ours = server.ci();
    let (their_tenant, theirs) = server.found("neighbours", "enterprise");
    let answer = theirs.evaluate(&deployment(json!({"deterministic_id": "secret"})));
    let decision = answer["decision_id"].as_str().unwrap();
    let before = theirs.footprint();

    ours.get("intents/secret").problem(404, "not_found");
    ours.get(&format!("audit/{decision}"))
        .problem(404, "not_found");
    ours.post(
        "intents/outcome",
        &json!({"deterministic_id": "secret", "success": true}),
    )
    .problem(404, "not_found");
    assert_eq!(theirs.footprint(), before);
    // The same id is ours to use for something else.
    ours.evaluate(&deployment(
        json!({"deterministic_id": "secret", "environment": "prod"}),
    ));
    assert_eq!(
        theirs.get("intents/secret").expect(200)["environment"],
        "dev"
    );
    assert_eq!(ours.list("audit?type=decision").len(), 1);
    assert_eq!(theirs.learned("default")["trials"], 0);

    // A key belongs to its tenant, also for the operator.
    let default = server.credentials().tenant_id;
    let (their_key, _) = server.key(&their_tenant, &json!({"tier": "pro"}));
    let wrong = format!("admin/tenants/{default}/keys/{their_key}");
    server.operator().delete(&wrong).problem(404, "not_found");
    // And a tenant's key administers nothing, not even its own tenant.
    for path in [
        format!("admin/tenants/{their_tenant}"),
        format!("admin/tenants/{default}/keys"),
    ] {
        theirs.get(&path).problem(403, "forbidden");
    }
}

#[test]
fn the_operator_sees_tenants_and_keys_and_no_secret() {
    let server = Server::start();
    let credentials = server.credentials();
    let (tenant, client) = server.found("acme", "pro");
    let operator = server.operator();
    let tenants = operator.list("admin/tenants");
    let names: Vec<_> = tenants
        .iter()
        .map(|tenant| tenant["name"].as_str().unwrap())
        .collect();
    assert!(
        names.contains(&"acme") && names.contains(&"default"),
        "{names:?}"
    );
    let one = operator.get(&format!("admin/tenants/{tenant}")).expect(200);
    assert_eq!(
        (&one["name"], &one["tier"], &one["retention_days"]),
        (&json!("acme"), &json!("pro"), &json!(30))
    );
    let default = operator
        .get(&format!("admin/tenants/{}", credentials.tenant_id))
        .expect(200);
    let is = (
        &default["name"],
        &default["tier"],
        &default["retention_days"],
    );
    assert_eq!(is, (&json!("default"), &json!("enterprise"), &json!(800)));

    let answer = operator.get(&format!("admin/tenants/{tenant}/keys"));
    assert!(
        !answer.text.contains(client.key.as_deref().unwrap()),
        "{}",
        answer.text
    );
    let keys = answer.expect(200);
    assert_eq!(keys["items"].as_array().unwrap().len(), 1);
    let key = &keys["items"][0];
    assert_eq!(key["scopes"], json!(["audit:read", "decide", "outcome"]));
    assert_eq!(
        (&key["role"], &key["tier"], &key["is_active"]),
        (&json!("ci"), &json!("pro"), &json!(true))
    );
    assert_eq!(key["last_used_at"], Value::Null);
    client.evaluate(&deployment(json!({})));
    let keys = operator
        .get(&format!("admin/tenants/{tenant}/keys"))
        .expect(200);
    assert!(keys["items"][0]["last_used_at"].is_string(), "{keys}");

    for body in [
        json!({}),
        json!({"name": "x"}),
        json!({"name": "", "tier": "pro"}),
        json!({"name": "x", "tier": "gold"}),
    ] {
        operator
            .post("admin/tenants", &body)
            .problem(422, "invalid_request");
    }
    operator
        .get("admin/tenants/00000000-0000-4000-8000-000000000001")
        .problem(404, "not_found");
}

#[test]
fn keys_are_made_rotated_and_revoked_on_the_command_line() {
    let server = Server::start();
    let credentials = server.credentials();
    let run = |arguments: &[&str]| server.run(&credentials.operator_key, arguments);
    let tenant = ["--tenant", &credentials.tenant_id];
    let made = [
        &[
            "key", "create", "--tier", "pro", "--role", "auditor", "--json",
        ][..],
        &tenant,
    ]
    .concat();
    let made = run(&made);
    assert_eq!(made.code, 0, "{made:#?}");
    let made: Value = serde_json::from_str(&made.stdout).unwrap();
    let client = server.with_key(made["key"].as_str().unwrap());
    client.get("audit").expect(200);

    let id = made["key_id"].as_str().unwrap();
    let rotated = run(&[&["key", "rotate", id][..], &tenant].concat());
    assert_eq!(rotated.code, 0, "{rotated:#?}");
    client.get("audit").problem(401, "unauthenticated");
    let client = server.with_key(rotated.stdout.trim_end());
    client.get("audit").expect(200);

    let revoked = run(&[&["key", "revoke", id][..], &tenant].concat());
    assert_eq!(revoked.code, 0, "{revoked:#?}");
    client.get("audit").problem(401, "unauthenticated");
    // What the server refuses is one line.
    let nobody = ["key", "revoke", "00000000-0000-4000-8000-000000000001"];
    run(&[&nobody[..], &tenant].concat()).says_in_one_line(1, &["404"]);
}
