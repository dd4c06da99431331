//! How long a start takes, and what the data directory holds by then.
//!
//! Writes decisions (a million, or `ARF_BENCH_DECISIONS`; about 2.5 KB of log each), kills the store
//! and opens it again: after the kill, after an orderly stop, and without its tables. "ready" is when
//! tenants can be claimed, "whole" when every row can be read. `ARF_BENCH_DIR` chooses the disk. What
//! the operating system has cached stays cached.

#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a benchmark measures and prints"
)]

use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use arf::id::{Sequence, TenantId};
use arf::store::{Head, Keyed, Ledger, Load, Op, Record, Store, StoreConfig, TableSpec};
use arf::time::Timestamp;

/// How many tenants share the decisions.
const TENANTS: u8 = 8;
const IN_FLIGHT: usize = 512;

static SCHEMA: [TableSpec; 3] = [
    table(1, "intents", Load::Hot, Keyed::Sequence),
    table(2, "components", Load::Hot, Keyed::Natural),
    table(3, "usage_logs", Load::Cold, Keyed::Sequence),
];

const fn table(id: u8, name: &'static str, load: Load, keyed: Keyed) -> TableSpec {
    TableSpec {
        id,
        name,
        load,
        keyed,
    }
}

fn main() {
    let place = std::env::var_os("ARF_BENCH_DIR").map_or_else(|| "target".into(), PathBuf::from);
    let decisions = std::env::var("ARF_BENCH_DECISIONS").map_or(1_000_000, |count| {
        count.parse().expect("ARF_BENCH_DECISIONS is a number")
    });
    fs::create_dir_all(&place).expect("the bench directory can be made");
    let dir = tempfile::tempdir_in(&place).expect("the bench directory can be written");
    let config = StoreConfig::new(dir.path().join("data"));

    let store = open(&config);
    let began = Instant::now();
    write(&store, decisions);
    let rate = decisions as f64 / began.elapsed().as_secs_f64();
    println!("{decisions} decisions written, {rate:.0} a second");
    let stats = store.stats();
    println!(
        "snapshots: {} made, {} failed",
        stats.snapshots_made, stats.snapshots_failed
    );
    for name in ["wal", "tables", "snapshots"] {
        let bytes = bytes_in(&config.data.join(name));
        let each = bytes as f64 / decisions as f64;
        println!("{name:>10}: {bytes:>13} bytes, {each:>6.0} a decision");
    }
    drop(store);

    start(&config, "after a kill")
        .close()
        .expect("the store closes");
    start(&config, "after a stop")
        .close()
        .expect("the store closes");
    fs::remove_dir_all(config.data.join("tables")).expect("the tables can be removed");
    drop(start(&config, "without tables"));
}

fn open(config: &StoreConfig) -> Store {
    Store::open(config, &SCHEMA).expect("the store opens")
}

fn start(config: &StoreConfig, what: &str) -> Store {
    let began = Instant::now();
    let store = open(config);
    let ready = began.elapsed();
    while store.stats().rebuilding {
        std::thread::park_timeout(Duration::from_millis(10));
    }
    println!(
        "{what:>15}: ready in {:>6.2} s, whole in {:>6.2} s; {} of {} records replayed",
        ready.as_secs_f64(),
        began.elapsed().as_secs_f64(),
        store.opened().replayed,
        store.opened().records,
    );
    store
}

fn bytes_in(dir: &Path) -> u64 {
    let entries = fs::read_dir(dir).expect("the directory is there");
    let bytes = entries.map(|entry| {
        let metadata = entry.and_then(|entry| entry.metadata());
        metadata.map_or(0, |metadata| metadata.len())
    });
    bytes.sum()
}

fn write(store: &Store, decisions: u64) {
    let mut actors: Vec<_> = (0..TENANTS).map(Actor::new).collect();
    let mut flying = VecDeque::new();
    for number in 0..decisions {
        let place = usize::try_from(number).unwrap_or_default() % actors.len();
        if let Some(actor) = actors.get_mut(place) {
            flying.push_back(store.append(actor.record(), ()));
        }
        if flying.len() == IN_FLIGHT
            && let Some(first) = flying.pop_front()
        {
            first.wait().expect("the record becomes durable");
        }
    }
    for durable in flying {
        durable.wait().expect("the record becomes durable");
    }
}

/// Makes records as large as a decision's.
struct Actor {
    tenant: TenantId,
    sequence: Sequence,
    ledger: Ledger,
    /// A cheap source of bytes that look like nothing else.
    noise: u64,
}

impl Actor {
    fn new(number: u8) -> Self {
        Self {
            tenant: TenantId::from_bytes([number; 16]),
            sequence: Sequence::FIRST,
            ledger: Ledger::new(),
            noise: 1 + u64::from(number),
        }
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(len + 8);
        while bytes.len() < len {
            self.noise ^= self.noise << 13;
            self.noise ^= self.noise >> 7;
            self.noise ^= self.noise << 17;
            bytes.extend(self.noise.to_le_bytes());
        }
        bytes.truncate(len);
        bytes
    }

    fn record(&mut self) -> Record {
        let (tenant, sequence) = (self.tenant, self.sequence);
        let key = || sequence.get().to_be_bytes().to_vec();
        let component = (sequence.get() % 1_000).to_be_bytes().to_vec();
        let rows = vec![
            Op::put(tenant, &SCHEMA[0], key(), 1, &self.bytes(200)),
            Op::put(tenant, &SCHEMA[1], component, 1, &self.bytes(40)),
            Op::put(tenant, &SCHEMA[2], key(), 1, &self.bytes(100)),
        ];
        rows.iter().for_each(|op| self.ledger.fold(tenant, op));
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
        let (entry, opening) = (self.bytes(900), self.bytes(700));
        Record::new(tenant, sequence, rows, entry, Some(opening), head)
    }
}
