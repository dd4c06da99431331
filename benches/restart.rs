//! Time to restart and size on disk after a million decisions, or as many as the first argument says:
//! after `kill -9`, after a graceful stop, and with the tables deleted.
//!
//! `cargo bench --bench restart -- 100000`
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a benchmark measures time and prints"
)]

use std::cell::{Cell, RefCell};
use std::fs;
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use actix_web::rt::net::TcpStream;
use actix_web::rt::{self, System};
use harness::{Server, evaluate_request, send};
use serde_json::Value;

mod harness;

const CONNECTIONS: u64 = 64;
const PARTS: [&str; 3] = ["wal", "tables", "snapshots"];

fn main() {
    let arguments: Vec<_> = std::env::args().collect();
    let measured = arguments.iter().any(|argument| argument == "--bench");
    let decisions = arguments.iter().find_map(|argument| argument.parse().ok());
    let decisions = decisions.unwrap_or(if measured { 1_000_000 } else { 1_000 });
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let data = folder.path().join("db");

    let started_at = Instant::now();
    let server = Server::start(&data);
    let (first, most) = decide(&server, &data, decisions);
    println!("{decisions} decisions in {:.1?}", started_at.elapsed());
    let print_sizes = |when: &str| {
        let [log, tables, snapshots] = PARTS.map(|part| mib(size_on_disk(&data.join(part))));
        println!("{when}: log {log:.0} MiB, tables {tables:.0} MiB, snapshots {snapshots:.0} MiB");
    };
    print_sizes("on disk");
    println!("on disk at most: {:.0} MiB", mib(most));
    let live = newest_snapshot(&data).unwrap_or_else(|| size_on_disk(&data.join("wal")));
    println!(
        "live bytes per decision, at most: {}",
        live / decisions.max(1)
    );

    drop(server);
    let server = started("after kill -9", &data);
    server.stop();
    let server = started("after a graceful stop", &data);
    server.stop();
    fs::remove_dir_all(data.join("tables")).unwrap();
    let started_at = Instant::now();
    let server = started("with its tables deleted", &data);
    whole(&server, &first);
    println!("every row readable in {:.1?}", started_at.elapsed());
    server.stop();
    print_sizes("at the end");
}

fn started(when: &str, data: &Path) -> Server {
    let started_at = Instant::now();
    let server = Server::start(data);
    println!("{when} ready in {:.1?}", started_at.elapsed());
    server
}

/// Returns the id of the first decision, and the largest size on disk meanwhile.
fn decide(server: &Server, data: &Path, decisions: u64) -> (String, u64) {
    let request = evaluate_request("/api/v1/intents/evaluate", &server.key);
    let (left, first) = (Rc::new(Cell::new(decisions)), Rc::new(RefCell::new(None)));
    System::new().block_on(async {
        let clients: Vec<_> = (0..CONNECTIONS)
            .map(|_| {
                let (address, request) = (server.address.clone(), request.clone());
                let (left, first) = (left.clone(), first.clone());
                rt::spawn(async move {
                    let stream = TcpStream::connect(address).await.unwrap();
                    stream.set_nodelay(true).unwrap();
                    let mut buffer = Vec::new();
                    while let Some(fewer) = left.get().checked_sub(1) {
                        left.set(fewer);
                        send(&stream, request.as_bytes(), &mut buffer).await;
                        first.borrow_mut().get_or_insert_with(|| buffer.clone());
                    }
                })
            })
            .collect();
        let mut most = 0;
        while left.get() > 0 {
            most = most.max(size_on_disk(data));
            rt::time::sleep(Duration::from_secs(1)).await;
        }
        for client in clients {
            client.await.unwrap();
        }
        let answer = first.borrow_mut().take().unwrap();
        let body = answer
            .windows(4)
            .position(|window| window == b"\r\n\r\n")
            .unwrap()
            + 4;
        let decision: Value = serde_json::from_slice(&answer[body..]).unwrap();
        let id = decision["decision_id"].as_str().unwrap().to_owned();
        (id, most.max(size_on_disk(data)))
    })
}

fn whole(server: &Server, decision: &str) {
    let url = format!("http://{}/api/v1/audit/{decision}", server.address);
    let started_at = Instant::now();
    let key = format!("Bearer {}", server.key);
    while ureq::get(&url)
        .header("Authorization", &key)
        .call()
        .is_err()
    {
        assert!(
            started_at.elapsed() < Duration::from_secs(600),
            "never readable"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Of a directory's files, bytes.
fn size_on_disk(path: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(path) else {
        return fs::metadata(path).map_or(0, |file| file.len());
    };
    entries
        .flatten()
        .map(|entry| size_on_disk(&entry.path()))
        .sum()
}

/// Bytes per record of the newest snapshot, whose name is the number of its last record.
fn newest_snapshot(data: &Path) -> Option<u64> {
    let names = fs::read_dir(data.join("snapshots")).ok()?.flatten();
    let newest = names.map(|entry| entry.path()).max()?;
    let records = u64::from_str_radix(newest.file_stem()?.to_str()?, 16).ok()?;
    Some(size_on_disk(&newest) / records)
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
