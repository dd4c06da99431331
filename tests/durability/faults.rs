//! A disk that fails: `strace` has one system call or another on the data folder fail, in the
//! unmodified binary, in a start or at work. The server stops or refuses; it never says that something
//! is kept which is not.

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::harness::{Random, Server, until};
use crate::journal::Crowd;
use crate::{cycles, leave_out, whenever};

/// System calls that fail together, the error they fail with, and how many of them, at most, are let
/// pass in each thread before one fails. A `?` says that not every machine has it.
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

/// What is missing on this machine, if anything.
fn lacking() -> Option<String> {
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

/// Every place in the data folder that a fault may strike, also those that are not there yet.
fn places(server: &Server) -> Vec<String> {
    let data = server.data();
    let numbers = fs::read_dir(data.join("wal")).unwrap().filter_map(|entry| {
        let name = entry.unwrap().file_name().into_string().unwrap();
        u64::from_str_radix(name.split('.').next()?, 16).ok()
    });
    let last = numbers.max().unwrap_or_default();
    let segments = last.saturating_sub(40)..last + 10;
    let named = [
        ".",
        "MANIFEST",
        "MANIFEST.new",
        "wal",
        "snapshots",
        "quarantine",
        "tables",
        "tables/db",
        "tables/conf",
        "tables.new",
        "tables.new/db",
        "tables.new/conf",
    ];
    let named = named.map(|name| data.join(name));
    let segments = segments.flat_map(|number| {
        ["wal", "wal.new"].map(|end| data.join("wal").join(format!("{number:016x}.{end}")))
    });
    let paths = named.into_iter().chain(segments);
    paths
        .map(|path| path.to_str().unwrap().to_owned())
        .collect()
}

#[test]
fn a_failing_disk_loses_nothing_that_was_answered() {
    if let Some(why) = lacking() {
        return leave_out("a failing disk", "REQUIRE_STRACE", &why);
    }
    let mut random = Random::new();
    let cycles = cycles(32);
    let mut server = Server::start();
    let mut crowd = Crowd::gather(&server, 2, &mut random);
    let trace = server.beside("trace");
    let (mut struck, mut not_started, mut stopped, mut went_on) = (0, 0, 0, 0);
    crowd.work(|tally| {
        for cycle in 0..cycles {
            whenever(&mut random, Duration::from_millis(200));
            // What a start has to do depends on how the last stop was.
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
            server.wrapper = ["strace", "-D", "-f", "-o", trace.to_str().unwrap()]
                .map(str::to_owned)
                .into();
            server
                .wrapper
                .extend(["-e".to_owned(), format!("trace={calls}")]);
            server.wrapper.extend(["-e".to_owned(), inject.clone()]);
            for place in places(&server) {
                server.wrapper.extend(["-P".to_owned(), place]);
            }

            tally.faults_begin_or_end();
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
            // 1 and 65 are said in a line; a log that cannot be trusted ends with SIGABRT.
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
            let words: Vec<_> = log
                .lines()
                .filter(|l| !l.starts_with("strace: ") && !l.starts_with("  "))
                .collect();
            eprintln!(
                "{inject}: struck {strikes} times; {} {ended:?} {:.400}",
                started.is_ok(),
                words.join(" | ")
            );
            if ended.is_none() && random.below(2) == 0 {
                let code = server.stop();
                assert!(
                    matches!(code, 0 | 1 | -6),
                    "{inject}: {code}\n{}",
                    server.log()
                );
                eprintln!("TERM {code}");
            } else {
                server.kill();
            }
            tally.faults_begin_or_end();

            server.wrapper.clear();
            server.launch();
            tally.check();
        }
    });
    crowd.settle();
    crowd.report(&format!(
        "failing disk: {cycles} faults, {struck} struck: {not_started} times it did not start, \
         {stopped} times it stopped, {went_on} times it went on",
    ));
    assert_eq!(server.stop(), 0);
}
