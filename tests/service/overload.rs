//! Clients that take more than their share: of connections, of time, of a node that is stopping.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::{PATIENCE, Server, until};

/// A server with this `[http]` section.
fn server(http: &str) -> Server {
    let mut server = Server::at_rest();
    let text = format!("[store]\nsegment_bytes = 1048576\n[http]\n{http}\n");
    fs::write(server.beside("arf.toml"), text).unwrap();
    server.launch();
    server
}

fn connect(url: &str) -> TcpStream {
    let stream = TcpStream::connect(url.strip_prefix("http://").unwrap()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Sends a request without a body and reads its answer: the head, and as much as it announces.
fn ask(stream: &mut TcpStream, path: &str, headers: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    answer(stream)
}

fn answer(stream: &mut TcpStream) -> String {
    let mut text = String::new();
    loop {
        let mut byte = [0];
        assert_eq!(stream.read(&mut byte).unwrap(), 1, "it ended: {text}");
        text.push(char::from(byte[0]));
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let head = head.to_lowercase();
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
            return text.to_lowercase();
        }
    }
}

/// True once the other side has ended the connection.
fn is_cut(stream: &mut TcpStream) -> bool {
    stream
        .set_read_timeout(Some(Duration::from_millis(10)))
        .unwrap();
    match stream.read(&mut [0; 4096]) {
        Ok(0) => true,
        Ok(_) => false,
        Err(error) => !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
    }
}

#[test]
fn a_connection_on_which_nothing_is_done_is_cut_whatever_it_does() {
    let server = server("idle_ms = 300");
    let url = server.url();
    // It has sent a whole request before; then one byte after the other of a second.
    let mut slow = connect(&url);
    assert!(ask(&mut slow, "/livez", "").starts_with("http/1.1 200"));
    slow.write_all(b"GET /livez HTTP/1.1\r\nx: ").unwrap();
    let mut silent = connect(&url);
    assert!(ask(&mut silent, "/livez", "").starts_with("http/1.1 200"));
    until("the slow and the silent client to be cut", || {
        // What it still sends may meet an end.
        let _ = slow.write_all(b"y");
        (is_cut(&mut slow) && is_cut(&mut silent)).then_some(())
    });

    // It asks and asks, and reads nothing, until nothing more fits on the way.
    let mut deaf = connect(&url);
    deaf.set_write_timeout(Some(Duration::from_millis(10)))
        .unwrap();
    let asks = "GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n".repeat(100);
    let begun = Instant::now();
    loop {
        match deaf.write(asks.as_bytes()) {
            Ok(_) => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => break,
        }
        assert!(
            begun.elapsed() < PATIENCE,
            "a client that reads nothing is kept"
        );
    }
    assert!(ask(&mut connect(&url), "/livez", "").starts_with("http/1.1 200"));
}

#[test]
fn a_connection_that_never_says_anything_is_cut() {
    let server = server("request_ms = 300\nidle_ms = 300");
    let url = server.url();
    let begins: [&[u8]; 4] = [b"", b"P", b"PRI * HT", PREFACE];
    for begin in begins {
        let mut stream = connect(&url);
        stream.write_all(begin).unwrap();
        until("the connection to be cut", || {
            is_cut(&mut stream).then_some(())
        });
    }
    assert!(ask(&mut connect(&url), "/livez", "").starts_with("http/1.1 200"));
}

#[test]
fn a_stop_does_not_wait_for_connections_on_which_nothing_is_done() {
    let mut server = server("");
    let url = server.url();
    let begins: [&[u8]; 3] = [b"", b"GET /livez HT", PREFACE];
    let held = |begin: &&[u8]| {
        let mut stream = connect(&url);
        stream.write_all(begin).unwrap();
        stream
    };
    let held: Vec<_> = begins.iter().cycle().take(60).map(held).collect();
    assert!(ask(&mut connect(&url), "/livez", "").starts_with("http/1.1 200"));
    let begun = Instant::now();
    assert_eq!(server.stop(), 0);
    // Requests under way have 30 seconds.
    assert!(begun.elapsed() < Duration::from_secs(20));
    drop(held);
}

/// How HTTP/2 begins; what has to follow is missing.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

#[test]
fn behind_the_last_connection_the_node_still_says_how_it_is() {
    let server = server("connections = 4");
    let url = server.url();
    let key = format!("authorization: Bearer {}\r\n", server.credentials().api_key);
    let mut held: Vec<_> = (0..4).map(|_| connect(&url)).collect();
    for stream in &mut held {
        assert!(ask(stream, "/livez", "").starts_with("http/1.1 200"));
    }
    for path in ["/health", "/livez", "/readyz", "/metrics"] {
        let mut stream = connect(&url);
        let answer = ask(&mut stream, path, "");
        assert!(answer.starts_with("http/1.1 200"), "{path}: {answer}");
        // It makes room for the next who asks.
        assert!(answer.contains("connection: close"), "{answer}");
        until("the end", || is_cut(&mut stream).then_some(()));
    }
    let refused = ask(&mut connect(&url), "/api/v1/usage", &key);
    assert!(refused.starts_with("http/1.1 503"), "{refused}");
    for part in [
        "\"overloaded\"",
        "retry-after: ",
        "connection: close",
        "x-request-id: ",
    ] {
        assert!(refused.contains(part), "no `{part}`: {refused}");
    }
    // Those who are inside are served on.
    assert!(ask(&mut held[0], "/api/v1/usage", &key).starts_with("http/1.1 200"));
    held.pop();
    until("a place that became free", || {
        let answer = ask(&mut connect(&url), "/api/v1/usage", &key);
        answer.starts_with("http/1.1 200").then_some(())
    });
}

#[test]
fn a_stop_refuses_what_was_not_begun_and_ends_in_order() {
    let mut server = server("");
    let (url, key) = (server.url(), server.credentials().api_key);
    let body = json!({
        "environment": "dev", "requester": "ci",
        "service_name": "api", "change_scope": "canary", "deployment_target": "dev",
    })
    .to_string();
    let head = format!(
        "POST /api/v1/intents/evaluate HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\nexpect: 100-continue\r\n\r\n",
        body.len()
    );
    let mut half = connect(&url);
    half.write_all(head.as_bytes()).unwrap();
    // The handler waits for the body: it asks for it.
    let mut go_on = [0; 25];
    half.read_exact(&mut go_on).unwrap();
    assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");
    let mut idle = connect(&url);
    assert!(ask(&mut idle, "/readyz", "").starts_with("http/1.1 200"));

    std::thread::scope(|scope| {
        let stopped = scope.spawn(|| server.stop());
        until("the door to close", || {
            TcpStream::connect(url.strip_prefix("http://").unwrap())
                .is_err()
                .then_some(())
        });
        until("the idle connection to end", || {
            is_cut(&mut idle).then_some(())
        });
        half.write_all(body.as_bytes()).unwrap();
        let refused = answer(&mut half);
        assert!(refused.starts_with("http/1.1 503"), "{refused}");
        for part in ["\"shutting_down\"", "retry-after: ", "connection: close"] {
            assert!(refused.contains(part), "no `{part}`: {refused}");
        }
        assert_eq!(stopped.join().unwrap(), 0);
    });
    server.launch();
    assert_eq!(server.ci().list("audit?type=decision").len(), 0);
}
