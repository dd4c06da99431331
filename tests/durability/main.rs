//! No acknowledged write is lost: the real binary under kill -9, power cuts, failing disks and overload.
//!
//! `cargo test --release --test durability -- --nocapture --test-threads=1`, one test after the other,
//! some seven minutes. Each prints its seed, what it did and what it checked; `ARF_SEED` repeats one,
//! `ARF_CYCLES` sets how often it kills or cuts. A test whose requirements are missing on a machine is
//! skipped with a notice, unless `REQUIRE_POWERFAIL=1` or `REQUIRE_STRACE=1` makes that a failure.
//!
//! `journal.rs` has the clients of all of them, which record every response.
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "tests wait, measure, and fail by panicking"
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
    reason = "shared with the other suite, which uses more of it"
)]
mod harness;

use std::time::Duration;

use harness::{Random, Server, notice};

/// `ARF_CYCLES`, or this default.
fn cycles(default: u64) -> u64 {
    match std::env::var("ARF_CYCLES") {
        Ok(text) => text.parse().expect("ARF_CYCLES is an integer"),
        Err(_) => default,
    }
}

/// A server, not started yet, with small segments and frequent snapshots, so that they are cut and
/// created every few seconds.
fn small_server() -> Server {
    let server = Server::at_rest();
    let config = "[store]\nsegment_bytes = 1048576\nsnapshot_bytes = 4194304\n";
    std::fs::write(server.beside("arf.toml"), config).unwrap();
    server
}

/// The last record of the newest snapshot, and the number of the first segment of the log.
fn log_extent(server: &Server) -> (u64, u64) {
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

/// A random delay below `end` before a fault. It waits for no condition.
fn sleep_random(random: &mut Random, end: Duration) {
    let micros = u64::try_from(end.as_micros()).unwrap().max(1);
    std::thread::sleep(Duration::from_micros(random.below(micros)));
}

/// Skips a test with a notice, unless this variable makes it required.
fn skip(what: &str, variable: &str, why: &str) {
    let required = std::env::var(variable).is_ok_and(|text| text == "1");
    assert!(!required, "{variable}=1, but {why}");
    notice(&format!("{what}: skipped, {why}"));
}
