//! Evaluations a second over HTTP, durable and signed, beside a bare actix-web JSON echo: the ceiling
//! of this machine's HTTP, and beside one `fdatasync` after the other on the same disk, the floor of
//! durability. All in one run, in turns, because absolute times drift; the ratio counts.
//!
//! The clients are keep-alive connections on one thread, each with one request under way.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a benchmark measures time and prints"
)]

use std::cell::Cell;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::time::{Duration, Instant};

use actix_web::rt::net::TcpStream;
use actix_web::{App, HttpServer, web};
use serde_json::Value;

const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_millis(1_000);
const CONNECTIONS: [usize; 2] = [1, 64];

const INTENT: &str = r#"{"intent_type":"deploy_config","environment":"staging","requester":"bench","service_name":"payments","change_scope":"canary","deployment_target":"staging","operation":"update"}"#;

fn main() {
    let rounds = if std::env::args().any(|argument| argument == "--bench") {
        ROUNDS
    } else {
        1
    };
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let (_server, address, key) = serve(folder.path());
    let echo = echo();
    let request = |path: &str| {
        format!(
            "POST {path} HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer {key}\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{INTENT}",
            INTENT.len()
        )
    };
    let targets = [
        (echo, request("/")),
        (address, request("/api/v1/intents/evaluate")),
    ];

    println!("medians of {rounds} rounds of {ROUND:?}");
    println!("connections  fdatasync/s  echo/s  evaluate/s  ratio to echo");
    for connections in CONNECTIONS {
        let mut rates: [Vec<f64>; 4] = Default::default();
        for _ in 0..rounds {
            let synced = syncs(folder.path());
            let [echoed, evaluated] = targets
                .each_ref()
                .map(|(to, what)| rate(to, what, connections));
            let round = [synced, echoed, evaluated, evaluated / echoed];
            for (all, one) in rates.iter_mut().zip(round) {
                all.push(one);
            }
        }
        let [synced, echoed, evaluated, ratio] = rates.map(median);
        println!("{connections:>11} {synced:>12.0} {echoed:>7.0} {evaluated:>11.0} {ratio:>14.3}");
    }
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}

/// A child that does not outlive the benchmark.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The real binary on a new data folder; its address, and a key without a quota.
fn serve(folder: &Path) -> (Server, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_arf"));
    command.args([
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--no-print-keys",
        "--data",
    ]);
    let mut child = command.arg(folder).stdout(Stdio::piped()).spawn().unwrap();
    let stdout = BufReader::new(child.stdout.take().unwrap());
    let server = Server(child);
    let address = stdout
        .lines()
        .map_while(Result::ok)
        .find_map(|line| line.strip_prefix("listening on http://").map(str::to_owned))
        .expect("the server says where it listens");
    let credentials = std::fs::read(folder.join("credentials.json")).unwrap();
    let credentials: Value = serde_json::from_slice(&credentials).unwrap();
    (
        server,
        address,
        credentials["api_key"].as_str().unwrap().to_owned(),
    )
}

/// A server that reads JSON and answers it, with as many threads as the real one; its address.
fn echo() -> String {
    let workers = std::thread::available_parallelism()
        .map_or(1, usize::from)
        .div_ceil(2);
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        actix_web::rt::System::new().block_on(async move {
            let app =
                || App::new().route("/", web::post().to(|body: web::Json<Value>| async { body }));
            let server = HttpServer::new(app)
                .workers(workers)
                .bind("127.0.0.1:0")
                .unwrap();
            tell.send(server.addrs()[0].to_string()).unwrap();
            server.run().await.unwrap();
        });
    });
    told.recv().unwrap()
}

/// Writes of 8 KiB a second, each synced, to a file that is as long as it will be.
fn syncs(folder: &Path) -> f64 {
    let mut file = File::create(folder.join("synced")).unwrap();
    file.write_all(&vec![0; 1 << 20]).unwrap();
    file.sync_all().unwrap();
    let (begun, mut count) = (Instant::now(), 0_u64);
    while begun.elapsed() < ROUND / 4 {
        file.write_all_at(&[1; 8_192], count % 128 * 8_192).unwrap();
        file.sync_data().unwrap();
        count += 1;
    }
    count as f64 / begun.elapsed().as_secs_f64()
}

/// Answers a second from `address` on so many connections, after a moment to get warm.
fn rate(address: &str, request: &str, connections: usize) -> f64 {
    actix_web::rt::System::new().block_on(async {
        let (counting, answers) = (Rc::new(Cell::new(true)), Rc::new(Cell::new(0_u64)));
        let clients: Vec<_> = (0..connections)
            .map(|_| {
                let (address, request) = (address.to_owned(), request.to_owned());
                let (counting, answers) = (counting.clone(), answers.clone());
                actix_web::rt::spawn(async move {
                    let stream = TcpStream::connect(address).await.unwrap();
                    stream.set_nodelay(true).unwrap();
                    let mut buffer = Vec::new();
                    while counting.get() {
                        ask(&stream, request.as_bytes(), &mut buffer).await;
                        answers.set(answers.get() + 1);
                    }
                })
            })
            .collect();
        actix_web::rt::time::sleep(ROUND / 5).await;
        let (begun, before) = (Instant::now(), answers.get());
        actix_web::rt::time::sleep(ROUND).await;
        let rate = (answers.get() - before) as f64 / begun.elapsed().as_secs_f64();
        counting.set(false);
        for client in clients {
            client.await.unwrap();
        }
        rate
    })
}

/// Sends one request and reads the whole answer, which must be a 200 with a length.
async fn ask(stream: &TcpStream, request: &[u8], buffer: &mut Vec<u8>) {
    let would_block = |error: &std::io::Error| error.kind() == std::io::ErrorKind::WouldBlock;
    let mut rest = request;
    while !rest.is_empty() {
        stream.writable().await.unwrap();
        match stream.try_write(rest) {
            Ok(sent) => rest = &rest[sent..],
            Err(error) => assert!(would_block(&error), "{error}"),
        }
    }
    buffer.clear();
    while !is_whole(buffer) {
        stream.readable().await.unwrap();
        let filled = buffer.len();
        buffer.resize(filled + 8_192, 0);
        let read = match stream.try_read(&mut buffer[filled..]) {
            Ok(read) => {
                assert_ne!(read, 0, "the connection was closed");
                read
            }
            Err(error) => {
                assert!(would_block(&error), "{error}");
                0
            }
        };
        buffer.truncate(filled + read);
    }
}

fn is_whole(answer: &[u8]) -> bool {
    let Some(head) = answer.windows(4).position(|window| window == b"\r\n\r\n") else {
        return false;
    };
    let text = std::str::from_utf8(&answer[..head]).unwrap();
    assert!(
        text.starts_with("HTTP/1.1 200"),
        "{}",
        String::from_utf8_lossy(answer)
    );
    let length = text
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .unwrap();
    answer.len() == head + 4 + length.parse::<usize>().unwrap()
}
