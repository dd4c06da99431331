//! kill -9, at random times.

use std::collections::BTreeSet;
use std::fs;
use std::time::{Duration, Instant};

use crate::harness::Random;
use crate::journal::Workload;
use crate::{cycles, log_extent, sleep_random, small_server};

#[test]
fn kill_9_loses_nothing_that_was_answered_and_doubles_nothing() {
    let mut random = Random::new();
    let cycles = cycles(60);
    let mut server = small_server();
    server.launch();
    let mut workload = Workload::start(&server, 4, &mut random);
    let (mut in_start, mut without_tables) = (0, 0);
    let mut snapshots = BTreeSet::new();
    let mut start = Duration::from_millis(200);
    workload.work(|tally| {
        for _ in 0..cycles {
            sleep_random(&mut random, Duration::from_millis(1_500));
            server.kill();
            if random.below(6) == 0 {
                without_tables += 1;
                fs::remove_dir_all(server.data().join("tables")).unwrap();
            }
            while random.below(3) == 0 {
                in_start += 1;
                server.begin();
                sleep_random(&mut random, start);
                server.kill();
            }
            let begun = Instant::now();
            server.launch();
            snapshots.insert(log_extent(&server).0);
            start = begun.elapsed();
            tally.check();
        }
    });
    workload.verify();
    workload.report(&format!(
        "kill -9: {} kills survived, {in_start} of them in a start, {without_tables} times without \
         tables, over {} snapshots and a log that begins at segment {}",
        cycles + in_start,
        snapshots.len(),
        log_extent(&server).1
    ));
    assert_eq!(server.stop(), 0);
}
