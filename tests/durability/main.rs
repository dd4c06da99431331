//! Nothing answered is ever lost: the real binary under kill -9, power cuts, failing disks and load.
//!
//! `cargo test --release --test durability -- --nocapture --test-threads=1`, one test after the other,
//! some seven minutes. Each prints its seed, what it did and what it checked; `ARF_SEED` repeats one,
//! `ARF_CYCLES` sets how often it kills or cuts. What a machine lacks is left out with a notice,
//! unless `REQUIRE_POWERFAIL=1` or `REQUIRE_STRACE=1` makes that a failure.
//!
//! `journal.rs` is what all of them lean on: clients that write down what they were told.
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "tests live in the real world: they wait, measure, and fail by panicking"
)]

mod faults;
mod full;
mod journal;
mod kill;
mod overload;
mod power;

#[path = "../service/harness.rs"]
#[allow(
    dead_code,
    reason = "shared with the other suite, which needs more of it"
)]
mod harness;

use std::time::Duration;

use harness::{Random, Server, notice};

/// How often to kill or cut: `ARF_CYCLES`, or this.
fn cycles(usual: u64) -> u64 {
    match std::env::var("ARF_CYCLES") {
        Ok(text) => text.parse().expect("ARF_CYCLES is an integer"),
        Err(_) => usual,
    }
}

/// A server that was not started yet, with a log in small pieces and snapshots that are soon due: what
/// happens once a day elsewhere happens every few seconds here.
fn small() -> Server {
    let server = Server::at_rest();
    let config = "[store]\nsegment_bytes = 1048576\nsnapshot_bytes = 4194304\n";
    std::fs::write(server.beside("arf.toml"), config).unwrap();
    server
}

/// The last record in the newest snapshot in a server's data folder, and the number of the first
/// segment of the log.
fn kept(server: &Server) -> (u64, u64) {
    let numbers = |folder: &str, end: &str| {
        let folder = std::fs::read_dir(server.data().join(folder));
        let names = folder
            .into_iter()
            .flatten()
            .map(|entry| entry.unwrap().file_name());
        let numbers = names.filter_map(|name| {
            let number = name.to_str()?.strip_suffix(end)?;
            u64::from_str_radix(number, 16).ok()
        });
        numbers.collect::<Vec<_>>()
    };
    let newest = numbers("snapshots", ".snap").into_iter().max();
    let first = numbers("wal", ".wal").into_iter().min();
    (newest.unwrap_or_default(), first.unwrap_or_default())
}

/// Lets a random time below `end` pass: faults come whenever they like. Nothing is waited for.
fn whenever(random: &mut Random, end: Duration) {
    let micros = u64::try_from(end.as_micros()).unwrap().max(1);
    std::thread::sleep(Duration::from_micros(random.below(micros)));
}

/// Leaves a test out, and says so, unless this variable makes it compulsory.
fn leave_out(what: &str, variable: &str, why: &str) {
    let required = std::env::var(variable).is_ok_and(|text| text == "1");
    assert!(!required, "{variable}=1, but {why}");
    notice(&format!("{what}: left out, {why}"));
}
