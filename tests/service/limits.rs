//! Nobody can make the server wait, and nobody has to wait for others.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{PATIENCE, Server, until};

fn intent() -> Value {
    json!({
        "environment": "dev", "requester": "ci",
        "service_name": "api", "change_scope": "canary", "deployment_target": "dev",
    })
}

#[test]
fn a_client_that_does_not_finish_its_request_is_cut_off() {
    let server = Server::start();
    let key = server.credentials().api_key;
    let slow_body = format!(
        "POST /api/v1/intents/evaluate HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\n\
         content-type: application/json\r\ncontent-length: 1000\r\n\r\n{{"
    );
    // All at once, so that the test is as long as the longest of them.
    let streams = ["GET /health HTTP/1.1\r\nhost:", slow_body.as_str()].map(|bytes| {
        let mut stream = TcpStream::connect(server.url().strip_prefix("http://").unwrap()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(bytes.as_bytes()).unwrap();
        (bytes, stream)
    });
    for (bytes, mut stream) in streams {
        let mut answer = Vec::new();
        // An end or a reset; not the time-out of our own reading.
        if let Err(error) = stream.read_to_end(&mut answer) {
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{bytes}");
        }
        let answer = String::from_utf8_lossy(&answer);
        let told = ["HTTP/1.1 408", "HTTP/1.1 504"]
            .iter()
            .any(|status| answer.starts_with(status));
        assert!(answer.is_empty() || told, "{bytes}: {answer}");
    }
    assert_eq!(server.ci().list("audit?type=decision").len(), 0);
}

#[test]
fn health_is_answered_while_64_connections_load_the_engine() {
    let server = Server::start();
    let stop = AtomicBool::new(false);
    let answered = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..64 {
            // A client each: a connection each.
            let client = server.ci();
            let (stop, answered) = (&stop, &answered);
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    client.evaluate(&intent());
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        until("the load", || {
            (answered.load(Ordering::Relaxed) >= 64).then_some(())
        });
        let mut slowest = Duration::ZERO;
        for _ in 0..10 {
            let begun = Instant::now();
            assert_eq!(
                server.anonymous().get("/health").expect(200),
                json!({"status": "ok"})
            );
            slowest = slowest.max(begun.elapsed());
        }
        stop.store(true, Ordering::Relaxed);
        assert!(
            slowest < Duration::from_secs(2),
            "the slowest answer took {slowest:?}"
        );
    });
}

#[test]
fn operations_need_no_key() {
    let server = Server::start();
    let anonymous = server.anonymous();
    anonymous.get("/livez").expect(200);
    assert!(anonymous.get("/readyz").expect(200).is_object());
    let metrics = anonymous.get("/metrics");
    assert_eq!(metrics.status, 200);
    // From the start, also at zero.
    for name in [
        "scoring_latency_seconds",
        "policy_evaluation_duration",
        "escalation_total",
        "denial_total",
        "confidence_distribution",
    ] {
        assert!(metrics.text.contains(name), "no {name}:\n{}", metrics.text);
    }
    let count = |name: &str| {
        let text = anonymous.get("/metrics").text;
        let line = text
            .lines()
            .find(|line| line.starts_with(name))
            .unwrap()
            .to_owned();
        line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()
    };
    assert_eq!(
        (count("escalation_total"), count("denial_total")),
        (0.0, 0.0)
    );
    let ci = server.ci();
    ci.evaluate(&intent());
    let mut denied = intent();
    denied["policy_violations"] = json!(["v"]);
    ci.evaluate(&denied);
    assert_eq!(
        (count("escalation_total"), count("denial_total")),
        (1.0, 1.0)
    );
}
