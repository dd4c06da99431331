//! Thousands of schedules of the committer, the thread of the tables, and readers between them.
//!
//! `cargo test --features shuttle --lib races`; see [`schedules`].

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

use std::sync::Arc;
use std::time::Duration;

use shuttle::rand::Rng;
use shuttle::thread;

use super::hooks::{HookedTables, TablesCall};
use crate::id::TenantId;
use crate::store::local::counters::Counters;
use crate::store::local::dir::DataDir;
use crate::store::local::log::frame::Position;
use crate::store::local::log::inbox::Inbox;
use crate::store::local::schema::Schema;
use crate::store::local::tables::apply::Applier;
use crate::store::local::tables::memory::MemoryTables;
use crate::store::local::tables::memtable::MemtableList;
use crate::store::local::tables::view::TableView;
use crate::store::record::Lsn;
use crate::store::row::Op;
use crate::store::table::{KeyKind, Load, TableSpec};
use crate::sync::schedules;

static SCHEMA: [TableSpec; 2] = [
    TableSpec {
        id: 1,
        name: "natural",
        load: Load::Hot,
        key_kind: KeyKind::Natural,
        version: 1,
    },
    TableSpec {
        id: 2,
        name: "sequence",
        load: Load::Cold,
        key_kind: KeyKind::Sequence,
        version: 1,
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
fn version(table: &'static TableSpec, view: &TableView) -> u64 {
    let rows = view.rows(TENANT, table, &[], usize::MAX).unwrap();
    let versions: Vec<_> = rows
        .iter()
        .map(|(_, row)| u64::from_be_bytes(row.payload.as_slice().try_into().unwrap()))
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
        let schema = Schema::new(&SCHEMA);
        let start = Position::default();
        let view = Arc::new(TableView::new(schema, Box::new(slow()), start, false));
        let counters = Arc::new(Counters::default());
        let applier = Applier {
            view: Arc::clone(&view),
            data: DataDir::real("nowhere"),
            inbox: Arc::new(Inbox::new()),
            counters: Arc::clone(&counters),
            every: Duration::ZERO,
            bytes: 1 << 20,
            checkpoint_every: Duration::from_secs(3_600),
            applied: start,
            checkpoint: None,
            tombstones: None,
        };
        let applier = thread::spawn(move || applier.run());
        let readers = SCHEMA.iter().map(|table| {
            let (view, counters) = (Arc::clone(&view), Arc::clone(&counters));
            thread::spawn(move || {
                let mut last = 0;
                for _ in 0..3 {
                    let durable = counters.durable().get();
                    let seen = version(table, &view);
                    let one = view.get(TENANT, table, &key(1)).unwrap();
                    // The third record has the rows go. It is shown a moment before it is counted.
                    let may_be_gone = durable == 0 || counters.durable().get() >= 2;
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
            view.memtable.wait_for_room(room);
            let through = Position {
                lsn: Lsn::new(number),
                chain: 0,
            };
            let ops = record(number, number == 3);
            view.memtable.absorb(ops, through);
            counters.set_durable(Lsn::new(number));
        }
        for table in &SCHEMA {
            assert_eq!(version(table, &view), VERSIONS);
        }
        readers
            .into_iter()
            .for_each(|reader| reader.join().unwrap());
        view.memtable.finish();
        applier.join().unwrap();
        assert_eq!(view.memtable.read(MemtableList::bytes), 0);
        for table in &SCHEMA {
            assert_eq!(version(table, &view), VERSIONS, "from the tables alone");
        }
    });
}
