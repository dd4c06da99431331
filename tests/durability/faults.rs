//! A disk that fails: `strace` makes system calls on the data directory fail, in the unmodified binary,
//! during a start or under load. The server stops or refuses; it never acknowledges what is not durable.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::harness::{Random, Server, until};
use crate::journal::Workload;
use crate::{cycles, skip, sleep_random, small_server};

/// System calls that fail together, their error, and the most that succeed in each thread before one
/// fails. A `?` marks a call that not every machine has.
const FAULTS: &[(&str, &str, u64)] = &[
    ("fdatasync", "EIO", 60),
    ("pwrite64", "EIO", 60),
    ("fsync", "EIO", 9),
    ("pwrite64", "ENOSPC", 60),
    ("?rename,?renameat,?renameat2", "EIO", 2),
    ("fdatasync", "ENOSPC", 60),
    ("openat", "EIO", 12),
    ("ftruncate", "EIO", 1),
    ("read", "EIO", 12),
    ("pread64", "EIO", 60),
    ("fsync", "ENOSPC", 9),
    ("openat", "ENOSPC", 12),
    ("?rename,?renameat,?renameat2", "ENOSPC", 3),
    ("?unlink,?unlinkat", "EIO", 1),
    ("?mkdir,?mkdirat", "ENOSPC", 3),
    ("getdents64", "EIO", 4),
];

/// Those that are also made on files outside of the data directory.
const READING: [&str; 4] = ["openat", "read", "pread64", "getdents64"];

fn missing_requirement() -> Option<String> {
    let tried = Command::new("strace")
        .args(["-D", "-f", "-o", "/dev/null", "-e", "trace=fsync"])
        .args(["-e", "inject=fsync:error=EIO:when=1", "true"])
        .stdin(Stdio::null())
        .output();
    match tried {
        Err(error) => Some(format!("there is no strace: {error}")),
        Ok(tried) if tried.status.success() => None,
        Ok(tried) => {
            let why = String::from_utf8_lossy(&tried.stderr);
            Some(format!("strace may not trace: {}", why.trim()))
        }
    }
}

/// What a start reads.
fn places(server: &Server) -> Vec<PathBuf> {
    let data = server.data();
    let mut places: Vec<_> = [".", "MANIFEST", "wal", "snapshots", "tables", "tables/db"]
        .map(|name| data.join(name))
        .into();
    for folder in ["wal", "snapshots"] {
        let files = fs::read_dir(data.join(folder)).into_iter().flatten();
        places.extend(files.map(|file| file.unwrap().path()));
    }
    places
}

/// The command that makes a server's system calls fail.
fn failing(server: &Server, calls: &str, inject: &str, trace: &Path) -> Vec<String> {
    // The tracer is a child of the server, which stays our own child.
    let mut command: Vec<String> = ["strace", "-D", "-f", "-o", trace.to_str().unwrap()]
        .map(str::to_owned)
        .into();
    command.extend(["-e".to_owned(), format!("trace={calls}")]);
    command.extend(["-e".to_owned(), inject.to_owned()]);
    // Other files are opened and read too, but none is written or synced.
    if READING.contains(&calls) {
        for place in places(server) {
            command.extend(["-P".to_owned(), place.to_str().unwrap().to_owned()]);
        }
    }
    command
}

#[test]
fn a_failing_disk_loses_nothing_that_was_answered() {
    if let Some(why) = missing_requirement() {
        return skip("a failing disk", "REQUIRE_STRACE", &why);
    }
    let mut random = Random::new();
    let cycles = cycles(48);
    let mut server = small_server();
    server.launch();
    let mut workload = Workload::start(&server, 2, &mut random);
    let trace = server.beside("trace");
    let (mut struck, mut not_started, mut stopped, mut went_on) = (0, 0, 0, 0);
    let mut stopped_in_order = 0;
    workload.work(|tally| {
        for cycle in 0..cycles {
            sleep_random(&mut random, Duration::from_millis(400));
            // The work of a start depends on the last stop.
            if random.below(2) == 0 {
                assert_eq!(server.stop(), 0);
            } else {
                server.kill();
            }
            if random.below(6) == 0 {
                fs::remove_dir_all(server.data().join("tables")).unwrap();
            }
            let (calls, error, most) = FAULTS[(cycle as usize) % FAULTS.len()];
            let number = 1 + random.below(most);
            let from_then_on = if random.below(3) == 0 { "+" } else { "" };
            let inject = format!("inject={calls}:error={error}:when={number}{from_then_on}");
            server.wrapper = failing(&server, calls, &inject, &trace);
            tally.toggle_faults();
            server.begin();
            let started = server.ready();
            if started.is_ok() {
                let (begun, goal) = (Instant::now(), tally.acknowledged() + 80);
                until("enough to happen", || {
                    let enough = server.ended().is_some()
                        || tally.acknowledged() >= goal
                        || begun.elapsed() > Duration::from_secs(3);
                    enough.then_some(())
                });
            }
            let ended = server.ended();
            match (&started, ended) {
                (Err(_), _) => not_started += 1,
                (Ok(_), Some(_)) => stopped += 1,
                (Ok(_), None) => went_on += 1,
            }
            let log = server.log();
            // 1 and 65 come with one line; a failed write of the log ends with SIGABRT.
            assert!(
                matches!(ended, None | Some(1 | 65 | -6)),
                "{inject}: {ended:?}\n{log}"
            );
            assert!(
                ended.is_none() || !log.is_empty(),
                "{inject}: it died without a word"
            );
            let traced = fs::read_to_string(&trace).unwrap();
            let strikes = traced.matches("(INJECTED)").count();
            struck += u32::from(strikes > 0);
            if ended.is_none() && random.below(2) == 0 {
                let code = server.stop();
                assert!(
                    matches!(code, 0 | 1 | -6),
                    "{inject}: {code}\n{}",
                    server.log()
                );
                stopped_in_order += u32::from(code == 0);
            } else {
                server.kill();
            }
            tally.toggle_faults();

            server.wrapper.clear();
            server.launch();
            tally.check();
        }
    });
    workload.verify();
    workload.report(&format!(
        "failing disk: {cycles} faults, {struck} struck: {not_started} times it did not start, \
         {stopped} times it stopped, {went_on} times it went on, {stopped_in_order} of those it also stopped in order",
    ));
    assert_eq!(server.stop(), 0);
}
