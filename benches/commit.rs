//! Durable commits per second, beside a bare `fdatasync`.
//!
//! Throughput and latency of commits with 1, 16, 64 and 256 records in flight, and in the same round
//! those of a bare `fdatasync` of 4 KiB on the same disk. Compare the ratios: absolute times drift from
//! minute to minute. `ARF_BENCH_DIR` chooses the disk.

#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a benchmark measures and prints"
)]

use std::collections::VecDeque;
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use arf::id::{Sequence, TenantId};
use arf::store::{
    Durable, Head, KeyKind, Ledger, Load, Op, Owner, Record, Store, StoreConfig, TableSpec,
};
use arf::time::Timestamp;

const ROUNDS: usize = 5;
const IN_FLIGHT: [usize; 4] = [1, 16, 64, 256];
/// Of one measurement: 5 rounds of 5 of them are 50 seconds.
const MEASURE: Duration = Duration::from_millis(1_800);

static SCHEMA: [TableSpec; 1] = [TableSpec {
    id: 1,
    name: "intents",
    load: Load::Hot,
    key_kind: KeyKind::Sequence,
    version: 1,
}];

fn main() {
    let place = std::env::var_os("ARF_BENCH_DIR").map_or_else(|| "target".into(), PathBuf::from);
    std::fs::create_dir_all(&place).expect("the bench directory can be made");
    let dir = tempfile::tempdir_in(&place).expect("the bench directory can be written");
    let mut floor = Vec::new();
    let mut commits = IN_FLIGHT.map(|_| Vec::new());
    for round in 0..ROUNDS {
        floor.push(bare_fdatasync(dir.path()));
        let data = dir.path().join(format!("round-{round}"));
        let store = Store::open(&StoreConfig::new(&data), &SCHEMA).expect("the store opens");
        let mut actor = Actor::new(&store);
        for (in_flight, measured) in IN_FLIGHT.into_iter().zip(&mut commits) {
            measured.push(measure(&store, &mut actor, in_flight));
        }
        store.close().expect("the store closes");
        std::fs::remove_dir_all(data).expect("the round can be removed");
    }

    let floor_micros = median(floor.iter().map(|syncs| syncs.p50_micros));
    let floor_tail = median(floor.iter().map(|syncs| syncs.p99_micros));
    let floor_rate = median(floor.iter().map(|syncs| syncs.per_second));
    println!("medians of {ROUNDS} rounds in {}", place.display());
    println!(
        "{:>22} {:>12} {:>10} {:>10} {:>10} {:>12}",
        "", "per second", "p50 us", "p99 us", "x floor", "p50 / floor"
    );
    println!(
        "{:>22} {floor_rate:>12.0} {floor_micros:>10.0} {floor_tail:>10.0} {:>10.2} {:>12.2}",
        "bare fdatasync, 4 KiB", 1.0, 1.0
    );
    for (in_flight, measured) in IN_FLIGHT.into_iter().zip(&commits) {
        let rate = median(measured.iter().map(|commits| commits.per_second));
        let micros = median(measured.iter().map(|commits| commits.p50_micros));
        let tail = median(measured.iter().map(|commits| commits.p99_micros));
        println!(
            "{:>22} {rate:>12.0} {micros:>10.0} {tail:>10.0} {:>10.2} {:>12.2}",
            format!("{in_flight} in flight"),
            rate / floor_rate,
            micros / floor_micros,
        );
    }
}

struct Measured {
    per_second: f64,
    p50_micros: f64,
    p99_micros: f64,
}

impl Measured {
    fn of(times: &[Duration], took: Duration) -> Self {
        let micros = || times.iter().map(|time| time.as_secs_f64() * 1e6);
        Self {
            per_second: times.len() as f64 / took.as_secs_f64(),
            p50_micros: median(micros()),
            p99_micros: percentile(micros(), 99),
        }
    }
}

fn median(numbers: impl Iterator<Item = f64>) -> f64 {
    percentile(numbers, 50)
}

fn percentile(numbers: impl Iterator<Item = f64>, percent: usize) -> f64 {
    let mut numbers: Vec<_> = numbers.collect();
    numbers.sort_by(f64::total_cmp);
    let at = numbers.len() * percent / 100;
    numbers.get(at).copied().unwrap_or(f64::NAN)
}

/// The floor of durability: overwrites zero-filled, synced space, 4 KiB at a time.
fn bare_fdatasync(dir: &Path) -> Measured {
    const BLOCKS: u64 = 4096;
    let file = OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .open(dir.join("floor"))
        .expect("the floor's file can be made");
    let block = [0x5A; 4096];
    for number in 0..BLOCKS {
        file.write_all_at(&[0; 4096], number * 4096)
            .expect("the floor's file can be filled");
    }
    file.sync_all().expect("the floor's file can be synced");
    let began = Instant::now();
    let mut times = Vec::new();
    for number in (0..BLOCKS).cycle() {
        if began.elapsed() >= MEASURE {
            break;
        }
        let before = Instant::now();
        file.write_all_at(&block, number * 4096)
            .expect("a block can be written");
        file.sync_data().expect("a block can be synced");
        times.push(before.elapsed());
    }
    Measured::of(&times, began.elapsed())
}

/// Keeps `in_flight` records in flight: each replaces one that is durable.
fn measure(store: &Store, actor: &mut Actor, in_flight: usize) -> Measured {
    let mut flying: VecDeque<(Instant, Durable)> = VecDeque::new();
    let mut times = Vec::new();
    let began = Instant::now();
    loop {
        while flying.len() < in_flight && began.elapsed() < MEASURE {
            let before = Instant::now();
            flying.push_back((before, store.append(actor.record(), ())));
        }
        let Some((before, durable)) = flying.pop_front() else {
            break;
        };
        durable.wait().expect("the record becomes durable");
        times.push(before.elapsed());
    }
    Measured::of(&times, began.elapsed())
}

/// Records as large as a decision's: 1.3 KB of entry, 1 KB of opening, 200 bytes of rows.
struct Actor {
    owner: Owner,
    sequence: Sequence,
    ledger: Ledger,
}

impl Actor {
    fn new(store: &Store) -> Self {
        let tenant = TenantId::from_bytes([7; 16]);
        let claim = store.claim(tenant, &mut |_, _, _| {}).expect("a new store");
        Self {
            owner: claim.owner,
            sequence: Sequence::FIRST,
            ledger: Ledger::new(),
        }
    }

    fn record(&mut self) -> Record {
        let sequence = self.sequence;
        let key = sequence.get().to_be_bytes().to_vec();
        let rows = vec![Op::put(self.owner.tenant(), &SCHEMA[0], key, 1, &[1; 200])];
        rows.iter().for_each(|op| self.ledger.fold(op));
        let head = Head {
            sequence,
            at: Timestamp::MIN,
            log_base: Sequence::FIRST,
            next_due: None,
            hot_rows: self.ledger.count(),
            hot_hash: self.ledger.hash(),
            root: [2; 32],
            range: vec![[3; 32]; 10],
        };
        self.sequence = sequence.next();
        Record::new(
            self.owner,
            sequence,
            rows,
            vec![4; 1_300],
            Some(vec![5; 1_000]),
            head,
        )
    }
}
