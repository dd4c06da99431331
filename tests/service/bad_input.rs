//! What is wrong is refused with a clear problem document, and nothing of it is stored.

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::{Value, json};

use crate::harness::{PATIENCE, Server, deployment};

const BODY_MAX: usize = 65_536;

/// An intent whose text has one member more.
fn raw(member: &str) -> String {
    let text = deployment(json!({})).to_string();
    format!("{},{member}}}", &text[..text.len() - 1])
}

/// An intent with `depth` objects and lists inside each other, itself the first.
fn nested(depth: usize) -> String {
    let lists = depth - 2;
    raw(&format!(
        "\"configuration\":{{\"a\":{}{}}}",
        "[".repeat(lists),
        "]".repeat(lists)
    ))
}

#[test]
fn a_bad_intent_is_refused_with_what_is_wrong_and_where() {
    let server = Server::start();
    let ci = server.ci();
    let before = ci.footprint();
    let malformed = (400, "malformed_json");
    let invalid = (422, "invalid_request");
    let rows: &[(&str, (u16, &str), &str, &str)] = &[
        // Not JSON.
        ("", malformed, "", "empty"),
        ("{", malformed, "", "line 1"),
        ("{} {}", malformed, "", "trailing"),
        ("not json", malformed, "", ""),
        (&raw("\"estimated_cost\":NaN"), malformed, "", ""),
        (&raw("\"estimated_cost\":Infinity"), malformed, "", ""),
        (&raw("\"estimated_cost\":01"), malformed, "", ""),
        (&raw("\"configuration\":{'a':1}"), malformed, "", ""),
        // JSON that means nothing certain.
        ("[]", invalid, "", "object"),
        ("null", invalid, "", "object"),
        ("\"text\"", invalid, "", "object"),
        (
            &raw("\"requester\":\"other\""),
            invalid,
            "/requester",
            "duplicate key",
        ),
        (
            &raw("\"configuration\":{\"a\":1,\"a\":1}"),
            invalid,
            "/configuration/a",
            "duplicate key",
        ),
        (
            &raw("\"estimated_cost\":9007199254740992"),
            invalid,
            "/estimated_cost",
            "9007199254740991",
        ),
        (
            &raw("\"estimated_cost\":1e300"),
            invalid,
            "/estimated_cost",
            "9007199254740991",
        ),
        (&raw("\"estimated_cost\":1e999"), invalid, "", "range"),
        (
            &raw("\"configuration\":{\"n\":-9007199254740992}"),
            invalid,
            "/configuration/n",
            "9007199254740991",
        ),
        (&nested(33), invalid, "/configuration", "nested"),
        // Fields that are missing, unknown or of another type.
        ("{}", invalid, "/intent_type", "required"),
        (
            "{\"intent_type\":\"grant_access\",\"environment\":\"dev\",\"requester\":\"r\"}",
            invalid,
            "/principal",
            "required",
        ),
        (
            &raw("\"enviroment\":\"dev\""),
            invalid,
            "/enviroment",
            "did you mean `environment`",
        ),
        (
            &raw("\"whatever\":1"),
            invalid,
            "/whatever",
            "unknown field",
        ),
        (
            &raw("\"context\":{\"latency\":1}"),
            invalid,
            "/context/latency",
            "unknown field",
        ),
        (&raw("\"region\":\"eu\""), invalid, "", ""),
        (
            &raw("\"estimated_cost\":\"12\""),
            invalid,
            "/estimated_cost",
            "number",
        ),
        (
            &raw("\"estimated_cost\":-1"),
            invalid,
            "/estimated_cost",
            "",
        ),
        (
            &raw("\"policy_violations\":\"v\""),
            invalid,
            "/policy_violations",
            "array",
        ),
        (
            &raw("\"policy_violations\":[1]"),
            invalid,
            "/policy_violations/0",
            "string",
        ),
        (
            &raw("\"operation\":\"destroy\""),
            invalid,
            "/operation",
            "delete",
        ),
        (
            &raw("\"change_set\":\"pr-1\""),
            invalid,
            "/change_set",
            "object",
        ),
        (
            &raw("\"change_set\":{}"),
            invalid,
            "/change_set/id",
            "required",
        ),
        (
            &raw("\"deterministic_id\":\"\""),
            invalid,
            "/deterministic_id",
            "1 to 64",
        ),
        (
            &raw("\"deterministic_id\":7"),
            invalid,
            "/deterministic_id",
            "string",
        ),
        (
            &raw("\"deterministic_id\":\"a\\nb\""),
            invalid,
            "/deterministic_id",
            "control",
        ),
        (
            &raw("\"context\":{\"hour\":24}"),
            invalid,
            "/context/hour",
            "23",
        ),
        (
            &raw("\"context\":{\"error_rate\":1.5}"),
            invalid,
            "/context/error_rate",
            "",
        ),
        (
            &raw("\"risk_level_hint\":2"),
            invalid,
            "/risk_level_hint",
            "",
        ),
    ];
    for &(body, (status, code), pointer, words) in rows {
        let problem = ci
            .post_bytes("intents/evaluate", &[], body.as_bytes())
            .problem(status, code);
        let told = problem.to_string();
        assert!(
            told.contains(words),
            "no `{words}` in {told} about {body:.200}"
        );
        if !pointer.is_empty() {
            let errors = problem["errors"].as_array().unwrap();
            let at = |error: &Value| error["pointer"].as_str().unwrap().starts_with(pointer);
            assert!(errors.iter().any(at), "no `{pointer}` in {told}");
            assert!(
                errors.iter().all(|error| error["message"].is_string()),
                "{told}"
            );
        }
    }
    // Bytes that are no text.
    let garbage = b"{\"requester\":\"\xff\xfe\"}";
    ci.post_bytes("intents/evaluate", &[], garbage)
        .problem(400, "malformed_json");
    assert_eq!(ci.footprint(), before);
    ci.post("intents/evaluate?dry_run=perhaps", &deployment(json!({})))
        .problem(422, "invalid_request");
    assert_eq!(ci.footprint(), before);
    // 32 deep is deep enough.
    ci.post_bytes("intents/evaluate", &[], nested(32).as_bytes())
        .expect(200);
}

#[test]
fn errors_are_those_of_the_kind_that_was_named() {
    let server = Server::start();
    let body = json!({"intent_type": "deploy_config", "environment": "dev", "requester": "r"});
    let problem = server
        .ci()
        .post("intents/evaluate", &body)
        .problem(422, "invalid_request");
    let pointers: Vec<_> = problem["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|error| error["pointer"].clone())
        .collect();
    assert_eq!(
        pointers,
        ["/service_name", "/change_scope", "/deployment_target"]
    );
}

#[test]
fn a_body_may_have_64_kib_and_not_a_byte_more() {
    let server = Server::start();
    let ci = server.ci();
    let padded = |len: usize| {
        let text = deployment(json!({"deterministic_id": "large"})).to_string();
        format!("{text}{}", " ".repeat(len - text.len()))
    };
    let before = ci.footprint();
    for path in [
        "intents/evaluate",
        "intents/evaluate?dry_run=true",
        "intents/outcome",
    ] {
        let body = padded(BODY_MAX + 1);
        ci.post_bytes(path, &[], body.as_bytes())
            .problem(413, "payload_too_large");
    }
    // Megabytes are refused too, however little of them is read.
    if let Ok(answer) = ci.try_send(
        "POST",
        "intents/evaluate",
        &[("content-type", "application/json")],
        Some(padded(8 << 20).as_bytes()),
    ) {
        answer.problem(413, "payload_too_large");
    }
    assert_eq!(ci.footprint(), before);
    ci.post_bytes("intents/evaluate", &[], padded(BODY_MAX).as_bytes())
        .expect(200);
}

#[test]
fn a_body_that_hides_its_length_is_refused_all_the_same() {
    let server = Server::start();
    let ci = server.ci();
    let before = ci.footprint();
    let mut stream = TcpStream::connect(server.url().strip_prefix("http://").unwrap()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let head = format!(
        "POST /api/v1/intents/evaluate HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\n\
         content-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n",
        ci.key.as_deref().unwrap()
    );
    stream.write_all(head.as_bytes()).unwrap();
    let chunk = format!("{:x}\r\n{}\r\n", 4_096, " ".repeat(4_096));
    // It may hang up before everything is sent.
    let _ = (0..32).try_for_each(|_| stream.write_all(chunk.as_bytes()));
    let _ = stream.write_all(b"0\r\n\r\n");
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 413");
    assert_eq!(ci.footprint(), before);
}

#[test]
fn a_bad_report_is_refused() {
    let server = Server::start();
    let ci = server.ci();
    ci.evaluate(&deployment(json!({"deterministic_id": "known"})));
    let before = ci.footprint();
    for (body, pointer) in [
        (json!({}), "/deterministic_id"),
        (json!({"deterministic_id": "known"}), "/success"),
        (
            json!({"deterministic_id": "known", "success": "true"}),
            "/success",
        ),
        (
            json!({"deterministic_id": "known", "success": 1}),
            "/success",
        ),
        (
            json!({"deterministic_id": "known", "success": null}),
            "/success",
        ),
        (
            json!({"deterministic_id": "known", "succes": true}),
            "/success",
        ),
        (
            json!({"deterministic_id": "known", "success": true, "note": "n"}),
            "/note",
        ),
        (
            json!({"deterministic_id": "known", "success": true, "recorded_by": "x".repeat(129)}),
            "/recorded_by",
        ),
        (
            json!({"deterministic_id": "known", "success": true, "idempotency_key": ""}),
            "/idempotency_key",
        ),
    ] {
        let problem = ci
            .post("intents/outcome", &body)
            .problem(422, "invalid_request");
        assert_eq!(problem["errors"][0]["pointer"], pointer, "{problem}");
    }
    ci.post_bytes("intents/outcome", &[], b"{")
        .problem(400, "malformed_json");
    ci.post(
        "intents/outcome",
        &json!({"deterministic_id": "unknown", "success": true}),
    )
    .problem(404, "not_found");
    assert_eq!(ci.footprint(), before);
    assert_eq!(ci.get("intents/known").expect(200)["outcome"], Value::Null);
}

#[test]
fn a_body_that_is_not_called_json_is_not_read() {
    let server = Server::start();
    let ci = server.ci();
    let before = ci.footprint();
    let body = deployment(json!({})).to_string();
    for kind in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/jsonp",
    ] {
        let headers = [("content-type", kind)];
        let answer = ci.send("POST", "intents/evaluate", &headers, Some(body.as_bytes()));
        answer.problem(415, "unsupported_media_type");
    }
    assert_eq!(ci.footprint(), before);
    let headers = [("content-type", "application/json; charset=utf-8")];
    ci.send("POST", "intents/evaluate", &headers, Some(body.as_bytes()))
        .expect(200);
}

#[test]
fn a_path_that_is_none_is_told_as_a_problem() {
    let server = Server::start();
    let ci = server.ci();
    for (method, path) in [
        ("GET", "nothing"),
        ("GET", "/nothing"),
        ("GET", "/"),
        ("GET", "intents/evaluate/x"),
        ("GET", "intents/%FF"),
        ("GET", "audit/%FF"),
        ("GET", "intents/%00"),
        ("GET", "intents/%E2%28%A1"),
        ("DELETE", "intents"),
        ("PUT", "usage"),
    ] {
        let answer = ci.send(method, path, &[], (method == "PUT").then_some(b"{}"));
        assert!(
            [404, 405].contains(&answer.status),
            "{method} {path}: {answer:?}"
        );
        assert_eq!(
            answer.header("content-type"),
            Some("application/problem+json"),
            "{method} {path}"
        );
        assert!(answer.header("x-request-id").is_some(), "{method} {path}");
    }
}

#[test]
fn what_the_server_is_sent_by_mistake_does_not_stop_it() {
    let server = Server::start();
    let address = server.url().strip_prefix("http://").unwrap().to_owned();
    let key = server.credentials().api_key;
    let long = "x".repeat(1 << 20);
    for bytes in [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
        b"GET\r\n\r\n".to_vec(),
        b"GET / HTTP/9.9\r\n\r\n".to_vec(),
        b"POST /api/v1/intents/evaluate HTTP/1.1\r\ncontent-length: -1\r\n\r\n".to_vec(),
        format!("GET /{long} HTTP/1.1\r\nhost: x\r\n\r\n").into_bytes(),
        format!("GET / HTTP/1.1\r\nhost: x\r\nx: {long}\r\n\r\n").into_bytes(),
        format!(
            "POST /api/v1/intents/evaluate HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\n\
            content-type: application/json\r\ncontent-length: 10\r\ncontent-length: 20\r\n\r\n{{}}"
        )
        .into_bytes(),
    ] {
        let mut stream = TcpStream::connect(&address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        // It may hang up in the middle of it.
        let _ = stream.write_all(&bytes);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let accepted = answer.starts_with(b"HTTP/1.1 2") || answer.starts_with(b"HTTP/1.1 5");
        assert!(!accepted, "{}", String::from_utf8_lossy(&answer));
    }
    server.ci().evaluate(&deployment(json!({})));
}
