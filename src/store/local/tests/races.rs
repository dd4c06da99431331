//! Thousands of schedules of the committer, the thread of the tables, and readers between them.
//!
//! `cargo test --features shuttle --lib races`; see [`schedules`].

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use shuttle::rand::Rng;
use shuttle::thread;

use super::hooks::{HookedTables, TablesCall};
use crate::id::TenantId;
use crate::store::local::log::commit::Inbox;
use crate::store::local::log::frame::{Position, Tail};
use crate::store::local::log::segment::{SegmentPreallocator, Wal};
use crate::store::local::schema::Schema;
use crate::store::local::snapshot::keep::SnapshotManager;
use crate::store::local::space::Space;
use crate::store::local::tables::apply::{Applier, MemtableQueue};
use crate::store::local::tables::layout::{full_key, tenant_end};
use crate::store::local::tables::memory::MemoryTables;
use crate::store::local::tables::memtable::Memtable;
use crate::store::local::{Counters, Env, RwLock, Shared};
use crate::store::row::{Keyed, Load, Op, TableSpec};
use crate::store::{StoreConfig, record::Lsn};
use crate::sync::schedules;

static SCHEMA: [TableSpec; 2] = [
    TableSpec {
        id: 1,
        name: "natural",
        load: Load::Hot,
        keyed: Keyed::Natural,
    },
    TableSpec {
        id: 2,
        name: "sequence",
        load: Load::Cold,
        keyed: Keyed::Sequence,
    },
];
const TENANT: TenantId = TenantId::from_bytes([1; 16]);
/// Keys of each table.
const KEYS: u64 = 3;

/// Tables that other threads run between.
fn slow() -> HookedTables {
    HookedTables {
        hook: Arc::new(|call, _| {
            // A range takes long enough for a record to come, and to be half written.
            let turns = if call == TablesCall::Range { 12 } else { 1 };
            (0..turns).for_each(|_| thread::yield_now());
            true
        }),
        tables: Box::new(MemoryTables::default()),
    }
}

/// What a store shares, over tables in memory; nothing of it touches a disk.
fn shared() -> Arc<Shared> {
    let config = StoreConfig {
        tables_every: Duration::ZERO,
        checkpoint_every: Duration::from_secs(3_600),
        ..StoreConfig::new("nowhere")
    };
    let env = Env::real();
    let wal = Wal::new(env.disk.clone(), config.data.clone(), config.segment_bytes);
    Arc::new(Shared {
        config,
        schema: Schema::new(&SCHEMA),
        env,
        wal,
        inbox: Inbox::new(),
        memtable_queue: MemtableQueue::new(Position::default()),
        preallocator: SegmentPreallocator::new(1, 1, None),
        space: Space::new(),
        position: std::sync::Mutex::new(Tail::START),
        tables: RwLock::new(Some(Box::new(slow()))),
        rebuilding: AtomicBool::new(false),
        snapshot_manager: SnapshotManager::new(Vec::new(), Vec::new(), Lsn::ZERO),
        epoch: 0,
        counters: Counters::default(),
    })
}

fn key(number: u64) -> Vec<u8> {
    number.to_be_bytes().to_vec()
}

/// A record that sets every row to this version, or, now and then, has them all go.
fn record(version: u64, goes: bool) -> Vec<Op<'static>> {
    let [natural, sequence] = &SCHEMA;
    let rows = (0..KEYS).flat_map(|number| {
        [natural, sequence].map(|table| match goes {
            true => Op::delete(TENANT, table, key(number)),
            false => Op::put(TENANT, table, key(number), 1, &version.to_be_bytes()),
        })
    });
    rows.collect()
}

/// The version that a read shows: the same in every row, or none where all are gone.
fn version(table: &'static TableSpec, shared: &Shared) -> u64 {
    let (from, to) = (full_key(TENANT, &[]), tenant_end(TENANT));
    let rows = shared
        .page(table, &from, to.as_deref(), usize::MAX)
        .unwrap();
    let versions: Vec<_> = rows
        .iter()
        .map(|(_, value)| u64::from_be_bytes(value[value.len() - 8..].try_into().unwrap()))
        .collect();
    assert!(
        matches!(versions.len() as u64, 0 | KEYS),
        "half a record: {versions:?}"
    );
    assert!(
        versions.windows(2).all(|two| two[0] == two[1]),
        "half a record: {versions:?}"
    );
    versions.first().copied().unwrap_or(0)
}

#[test]
fn what_is_durable_is_always_there_to_be_read() {
    schedules(4_000, || {
        const VERSIONS: u64 = 4;
        let shared = shared();
        let applier = Applier {
            shared: Arc::clone(&shared),
            applied: Position::default(),
            checkpoint: None,
            erased: None,
        };
        let applier = thread::spawn(move || applier.run());
        let readers = SCHEMA.iter().map(|table| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                let mut last = 0;
                for _ in 0..3 {
                    let durable = shared.durable().get();
                    let seen = version(table, &shared);
                    let one = shared.get(TENANT, table, &key(1)).unwrap();
                    // The third record has the rows go. It is shown a moment before it is counted.
                    let may_be_gone = durable == 0 || shared.durable().get() >= 2;
                    assert!(seen >= durable.max(last) || seen == 0 && may_be_gone);
                    assert!(one.is_some() || may_be_gone);
                    last = seen;
                }
            })
        });
        let readers: Vec<_> = readers.collect();
        for number in 1..=VERSIONS {
            // As the committer; sometimes it finds the lag full.
            let room = if shuttle::rand::thread_rng().gen_ratio(1, 2) {
                0
            } else {
                1 << 20
            };
            shared.memtable_queue.wait_for_room(room);
            let through = Position {
                lsn: Lsn::new(number),
                chain: 0,
            };
            let ops = record(number, number == 3);
            shared.memtable_queue.absorb(ops, through);
            shared
                .counters
                .durable
                .store(number, std::sync::atomic::Ordering::Release);
        }
        for table in &SCHEMA {
            assert_eq!(version(table, &shared), VERSIONS);
        }
        readers
            .into_iter()
            .for_each(|reader| reader.join().unwrap());
        shared.memtable_queue.finish();
        applier.join().unwrap();
        assert_eq!(shared.memtable_queue.with_memtable(Memtable::bytes), 0);
        for table in &SCHEMA {
            assert_eq!(version(table, &shared), VERSIONS, "from the tables alone");
        }
    });
}
