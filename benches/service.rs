//! Evaluations per second over HTTP, durable and signed, beside a bare actix-web JSON echo, the ceiling of
//! HTTP on this machine, and sequential `fdatasync` calls on the same disk, the floor of durability. All
//! are interleaved in one run, because absolute times drift: compare the ratios.
//!
//! The clients are keep-alive connections on one thread, each with one request in flight.
//!
//! `ARF_BASELINE=/path/to/another/arf` measures that binary as well, in the same rounds, and prints the
//! ratio of the two: `ARF_ROUNDS=7 ARF_BASELINE=... cargo bench --bench service`.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a benchmark measures time and prints"
)]

use std::cell::Cell;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use actix_web::rt::net::TcpStream;
use actix_web::{App, HttpServer, web};
use harness::{Server, evaluate_request, send};
use serde_json::Value;

mod harness;

const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_millis(1_000);
const CONNECTIONS: [usize; 2] = [1, 64];

fn main() {
    let rounds = match std::env::var("ARF_ROUNDS") {
        Ok(rounds) => rounds.parse().expect("ARF_ROUNDS is an integer"),
        Err(_) if std::env::args().any(|argument| argument == "--bench") => ROUNDS,
        Err(_) => 1,
    };
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let server = Server::start(&folder.path().join("db"));
    let baseline = std::env::var_os("ARF_BASELINE").map(|binary| {
        let data = folder.path().join("baseline");
        Server::start_binary(Path::new(&binary), &data)
    });
    let evaluate = |server: &Server| {
        let request = evaluate_request("/api/v1/intents/evaluate", &server.key);
        (server.address.clone(), request)
    };
    let mut targets = vec![
        (echo(), evaluate_request("/", &server.key)),
        evaluate(&server),
    ];
    targets.extend(baseline.as_ref().map(evaluate));

    println!("medians of {rounds} rounds of {ROUND:?}");
    println!(
        "connections  fdatasync/s  echo/s  evaluate/s  ratio to echo  baseline/s  ratio to baseline"
    );
    for connections in CONNECTIONS {
        let mut rates: [Vec<f64>; 6] = Default::default();
        for round in 0..rounds {
            let synced = syncs(folder.path());
            // Rotated: none is always the first, or after the same other.
            let mut measured = vec![f64::NAN; targets.len()];
            for turn in 0..targets.len() {
                let turn = (turn + round) % targets.len();
                let (address, request) = &targets[turn];
                measured[turn] = rate(address, request, connections);
            }
            let [echoed, evaluated] = [measured[0], measured[1]];
            let other = measured.get(2).copied().unwrap_or(f64::NAN);
            let round = [
                synced,
                echoed,
                evaluated,
                evaluated / echoed,
                other,
                evaluated / other,
            ];
            for (all, one) in rates.iter_mut().zip(round) {
                all.push(one);
            }
        }
        let [synced, echoed, evaluated, ratio, other, to_other] = rates.map(median);
        println!(
            "{connections:>11} {synced:>12.0} {echoed:>7.0} {evaluated:>11.0} {ratio:>14.3} {other:>11.0} {to_other:>18.3}"
        );
    }
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}

/// Starts a server that echoes JSON, with as many threads as the real one, and returns its address.
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

/// Synced writes of 8 KiB per second to a preallocated file.
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

/// Responses per second after a warm-up.
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
                        send(&stream, request.as_bytes(), &mut buffer).await;
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
