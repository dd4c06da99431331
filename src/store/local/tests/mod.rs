//! The store as a whole, in a file for each behaviour. Tests of one file's types stand in that file, the
//! simulated disk in `simulation`.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use tempfile::TempDir;

use super::log::frame::HEADER;
use super::*;
use crate::id::{Sequence, TenantId};
use crate::store::table::{ENTRIES, HEADS, OPENINGS};
use crate::store::{
    Durable, Head, KeyKind, Ledger, Load, Lost, Op, ReadError, Reader, Store, TenantRows,
};
use crate::time::Timestamp;

mod backups;
mod contract;
mod durability;
mod faults;
mod hooks;
mod log;
#[cfg(feature = "shuttle")]
mod races;
mod repair;
mod salvage;
mod snapshots;
mod tables;

pub(super) static SCHEMA: [TableSpec; 3] = [
    TableSpec {
        id: 1,
        name: "facts",
        load: Load::Hot,
        key_kind: KeyKind::Natural,
        version: 1,
    },
    TableSpec {
        id: 2,
        name: "intents",
        load: Load::Hot,
        key_kind: KeyKind::Sequence,
        version: 1,
    },
    TableSpec {
        id: 3,
        name: "last_used",
        load: Load::Side,
        key_kind: KeyKind::Natural,
        version: 2,
    },
];

pub(super) static FACTS: &TableSpec = &SCHEMA[0];

pub(super) static INTENTS: &TableSpec = &SCHEMA[1];

pub(super) static LAST_USED: &TableSpec = &SCHEMA[2];

/// A data directory with a store in it, and what the store must know.
pub(super) struct Fixture {
    pub dir: TempDir,
    pub config: StoreConfig,
    pub store: Option<Store>,
    pub tenants: BTreeMap<TenantId, Tenant>,
}

/// What a tenant's actor would keep.
#[derive(Default)]
pub(super) struct Tenant {
    pub next: u64,
    pub ledger: Ledger,
}

impl Tenant {
    /// The next record: an intent, a fact that is overwritten every ten records, an entry, an
    /// opening.
    fn record(&mut self, id: TenantId) -> Record {
        let number = self.next;
        let intent = number.to_be_bytes().to_vec();
        let mut rows = vec![
            Op::put(
                id,
                INTENTS,
                intent,
                1,
                format!("intent {number}").as_bytes(),
            ),
            Op::put(
                id,
                FACTS,
                vec![(number % 10) as u8],
                1,
                format!("fact {number}").as_bytes(),
            ),
        ];
        if number % 7 == 6 {
            rows.push(Op::delete(id, INTENTS, (number - 3).to_be_bytes().to_vec()));
        }
        self.of_rows(id, rows, Some(format!("opening {number}").into_bytes()))
    }

    pub fn of_rows(
        &mut self,
        id: TenantId,
        rows: Vec<Op<'static>>,
        opening: Option<Vec<u8>>,
    ) -> Record {
        rows.iter().for_each(|op| self.ledger.fold(op));
        let sequence = Sequence::new(self.next);
        let head = Head {
            sequence,
            at: Timestamp::from_micros(self.next as i64),
            log_base: Sequence::FIRST,
            next_due: None,
            hot_rows: self.ledger.count(),
            hot_hash: self.ledger.hash(),
            root: [self.next as u8; 32],
            range: Vec::new(),
        };
        let entry = format!("entry {sequence}").into_bytes();
        self.next += 1;
        Record::new(Owner::unclaimed(id), sequence, rows, entry, opening, head)
    }
}

pub(super) fn tenant(number: u8) -> TenantId {
    TenantId::from_bytes([number; 16])
}

fn config(dir: &Path) -> StoreConfig {
    StoreConfig {
        segment_bytes: 64 << 10,
        tables_every: Duration::from_millis(5),
        table_cache_bytes: 1 << 20,
        ..StoreConfig::new(dir)
    }
}

/// Waits for a condition that threads bring about.
pub(super) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = stopwatch::now() + Duration::from_secs(30);
    while !holds() {
        assert!(stopwatch::now() < deadline, "in 30 seconds not: {what}");
        std::thread::yield_now();
    }
}

impl Fixture {
    pub fn new() -> Self {
        Self::with(|_| {})
    }

    /// With another config.
    pub fn with(change: impl FnOnce(&mut StoreConfig)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut config = config(dir.path());
        change(&mut config);
        let mut fixture = Self {
            dir,
            config,
            store: None,
            tenants: BTreeMap::new(),
        };
        fixture.open();
        fixture
    }

    pub fn store(&self) -> &Store {
        self.store.as_ref().unwrap()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn segment(&self, number: u64) -> PathBuf {
        self.path("wal").join(format!("{number:016x}.wal"))
    }

    pub fn open(&mut self) -> OpenStats {
        let store = Store::open(&self.config, &SCHEMA).unwrap();
        let opened = store.open_stats();
        self.store = Some(store);
        opened
    }

    /// In another world.
    pub fn open_in(&mut self, env: Env) -> OpenStats {
        self.kill();
        let local = LocalStore::open_with(&self.config, &SCHEMA, env).unwrap();
        let opened = local.open_stats();
        self.store = Some(Store(Arc::new(local)));
        opened
    }

    pub fn refuses(&self) -> OpenError {
        Store::open(&self.config, &SCHEMA).unwrap_err()
    }

    pub fn append(&mut self, number: u8) -> Durable {
        let id = tenant(number);
        let record = self.tenants.entry(id).or_default().record(id);
        self.store().append(record, ())
    }

    /// Writes a record of tenant 1 whose head counts a row that is in no record.
    pub fn write_head_with_a_missing_row(&mut self) {
        let missing = Op::put(tenant(1), FACTS, vec![99], 1, b"in no record");
        let expected = self.tenants.get_mut(&tenant(1)).unwrap();
        expected.ledger.fold(&missing);
        self.write([1]);
    }

    pub fn write(&mut self, numbers: impl IntoIterator<Item = u8>) {
        let durable: Vec<_> = numbers
            .into_iter()
            .map(|number| self.append(number))
            .collect();
        for durable in durable {
            durable.wait().unwrap();
        }
    }

    /// As a crash: nothing is finished.
    pub fn kill(&mut self) {
        self.store = None;
    }

    pub fn close(&mut self) {
        self.store.take().unwrap().close().unwrap();
    }

    pub fn wait_until_applied(&self) {
        eventually("the lag is empty", || {
            self.store().stats().memtable_bytes == 0
        });
    }

    pub fn wait_until_whole(&self) {
        eventually("the tables are whole", || !self.store().stats().rebuilding);
    }

    /// Everything that was acknowledged is there, and nothing else.
    pub fn check(&self) {
        self.wait_until_whole();
        let reader = self.store().reader();
        assert_eq!(self.store().tenants(), self.tenants.len() as u64);
        for (id, expected) in &self.tenants {
            let claim = self.store().reader().tenant(*id).unwrap().unwrap();
            assert_eq!(claim.head.sequence.get() + 1, expected.next);
            assert_eq!(claim.ledger.count(), expected.ledger.count());
            assert_eq!(claim.ledger.hash(), expected.ledger.hash());
            for number in 0..expected.next {
                let sequence = Sequence::new(number);
                let entry = reader.entry(*id, sequence).unwrap().unwrap();
                assert_eq!(entry, format!("entry {number}").into_bytes());
                let opening = reader.opening(*id, sequence).unwrap().unwrap();
                assert_eq!(opening, format!("opening {number}").into_bytes());
            }
            assert_eq!(
                reader.entry(*id, Sequence::new(expected.next)).unwrap(),
                None
            );
        }
    }

    /// Changes the tables behind the store's back.
    fn in_sled(&self, table: &TableSpec, change: impl FnOnce(&sled::Tree)) {
        let config = sled::Config::new()
            .path(self.path("tables"))
            .segment_size(8 << 20)
            .mode(sled::Mode::LowSpace);
        let mut opened = None;
        eventually("sled releases its lock", || {
            opened = config.open().ok();
            opened.is_some()
        });
        let db = opened.unwrap();
        change(&db.open_tree(table.name).unwrap());
        db.flush().unwrap();
    }
}

/// Every file below a directory, with its bytes.
fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            let bytes = fs::read(&path).unwrap();
            found.insert(path, bytes);
        }
    }
    found
}
