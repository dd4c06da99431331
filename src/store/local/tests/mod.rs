//! The store as a whole: what it keeps, what it notices, what it survives.
//!
//! What concerns snapshots or rescue has a file of its own here, and so have the schedules of its
//! threads. The simulated disk stands with the rest of the fault suite, in `tests/durability`.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use tempfile::TempDir;

use super::disk::LogFile;
use super::log::frame::HEADER;
use super::*;
use crate::id::{Sequence, TenantId};
use crate::store::row::{ENTRIES, HEADS, OPENINGS};
use crate::store::{Claim, Durable, Head, Keyed, Ledger, Load, Lost, Op, ReadError, Reader, Store};
use crate::time::Timestamp;

#[cfg(feature = "shuttle")]
mod races;
mod rescue;
mod snapshots;

pub(super) static SCHEMA: [TableSpec; 3] = [
    TableSpec {
        id: 1,
        name: "facts",
        load: Load::Hot,
        keyed: Keyed::Natural,
    },
    TableSpec {
        id: 2,
        name: "intents",
        load: Load::Hot,
        keyed: Keyed::Sequence,
    },
    TableSpec {
        id: 3,
        name: "last_used",
        load: Load::Side,
        keyed: Keyed::Natural,
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
        Record::new(id, sequence, rows, entry, opening, head)
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

    pub fn open(&mut self) -> Opened {
        let store = Store::open(&self.config, &SCHEMA).unwrap();
        let opened = store.opened();
        self.store = Some(store);
        opened
    }

    /// In another world.
    pub fn open_in(&mut self, env: Env) -> Opened {
        self.kill();
        let local = Local::open_with(&self.config, &SCHEMA, env).unwrap();
        let opened = local.opened();
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
        eventually("the lag is empty", || self.store().stats().lag_bytes == 0);
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
            let claim = self.store().claim(*id).unwrap().unwrap();
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
        eventually("sled lets go of its lock", || {
            opened = config.open().ok();
            opened.is_some()
        });
        let db = opened.unwrap();
        change(&db.open_tree(table.name).unwrap());
        db.flush().unwrap();
    }
}

fn claim_rows(claim: &Claim) -> Vec<(&'static str, Vec<u8>, Vec<u8>)> {
    claim
        .rows
        .iter()
        .map(|(table, key, value)| (table.name, key.clone(), value.clone()))
        .collect()
}

#[test]
fn what_is_acknowledged_is_there_at_once_and_after_a_stop() {
    let mut f = Fixture::new();
    assert!(f.store().opened().first_start);
    assert!(f.store().claim(tenant(1)).unwrap().is_none());
    f.write([1, 2, 1, 1, 2]);
    f.check();
    f.wait_until_applied();
    f.check();
    f.close();
    let opened = f.open();
    assert!(
        opened.clean && !opened.first_start && !opened.rebuilt,
        "{opened:?}"
    );
    assert_eq!(
        (f.store().tenants(), opened.replayed),
        (2, 1),
        "only the checkpoint itself"
    );
    f.check();
    f.write([1, 2, 3]);
    f.check();
}

#[test]
fn marks_count_records_and_holds_are_let_go_when_durable() {
    let mut f = Fixture::new();
    let held = Arc::new(());
    let mut marks = Vec::new();
    for _ in 0..5 {
        let record = f.tenants.entry(tenant(1)).or_default().record(tenant(1));
        marks.push(
            f.store()
                .append(record, Arc::clone(&held))
                .wait()
                .unwrap()
                .lsn()
                .get(),
        );
    }
    assert_eq!(marks, [1, 2, 3, 4, 5]);
    assert_eq!(f.store().stats().durable.get(), 5);
    eventually("all holds are let go", || Arc::strong_count(&held) == 1);
}

#[test]
fn a_kill_keeps_everything_acknowledged() {
    let mut f = Fixture::new();
    for round in 0..6u8 {
        f.write((0..200).map(|n| (n + round) % 3));
        if round % 2 == 0 {
            f.wait_until_applied();
        }
        f.kill();
        let opened = f.open();
        assert!(!opened.clean && !opened.rebuilt, "{opened:?}");
        f.check();
    }
    assert!(f.segment(3).exists(), "the log went over several segments");
}

#[test]
fn appended_and_not_acknowledged_is_whole_or_not_there() {
    let mut f = Fixture::new();
    let durable: Vec<_> = (0..500).map(|_| f.append(1)).collect();
    f.kill();
    let acknowledged = durable
        .into_iter()
        .map(Durable::wait)
        .take_while(Result::is_ok)
        .count();
    f.open();
    let head = f.store().claim(tenant(1)).unwrap().map(|claim| claim.head);
    let kept = head.map_or(0, |head| head.sequence.get() + 1);
    assert!(kept >= acknowledged as u64);
}

#[test]
fn a_torn_tail_is_cut_off_wherever_it_tore() {
    let mut f = Fixture::new();
    (0..4).for_each(|_| f.write([1, 1]));
    f.kill();
    let whole = fs::read(f.segment(1)).unwrap();
    fs::remove_dir_all(f.path("tables")).unwrap();
    // Where each frame ends, and the log as it is there.
    let mut ends = vec![Tail::START];
    let mut tail = Tail::START;
    while tail.accept(&whole[tail.offset as usize..]).is_ok() {
        ends.push(tail);
    }
    let schema = Schema::new(&SCHEMA);
    let wal = Wal::new(&DataDir::real(f.path("")), whole.len() as u64);
    for cut in 0..=tail.offset as usize {
        let mut torn = whole.clone();
        torn[cut..].fill(0);
        fs::write(f.segment(1), &torn).unwrap();
        let scan = Scan::read(&wal, &schema, None).unwrap();
        let set_aside = scan.torn.as_ref().map_or(&[][..], |torn| &torn.bytes);
        let end = scan.tail.offset as usize + set_aside.len();
        assert_eq!(&torn[scan.tail.offset as usize..end], set_aside);
        assert!(disk::all_zero(&torn[end..]));
        let intact = |end: &&Tail| torn[..end.offset as usize] == whole[..end.offset as usize];
        let last = ends.iter().rev().find(intact).unwrap();
        assert_eq!(scan.tail, *last, "cut at {cut}");
        if cut % 401 == 0 {
            f.open();
            let claim = f.store().claim(tenant(1)).unwrap();
            let sequence = claim.as_ref().map(|claim| claim.head.sequence);
            assert_eq!(
                sequence,
                scan.heads.get(&tenant(1)).map(|last| last.sequence)
            );
            let next = sequence.map_or(0, |sequence| sequence.get() + 1);
            let ledger = claim.map(|claim| claim.ledger).unwrap_or_default();
            f.tenants.insert(tenant(1), Tenant { next, ledger });
            f.write([1]);
            f.kill();
            assert!(!f.open().clean);
            f.check();
            f.kill();
            fs::remove_dir_all(f.path("tables")).unwrap();
            for number in 2.. {
                if fs::remove_file(f.segment(number)).is_err() {
                    break;
                }
            }
        }
    }
}

#[test]
fn a_torn_first_frame_of_a_segment_is_a_torn_tail() {
    let mut f = Fixture::new();
    let in_segment = |f: &Fixture, number| fs::read(f.segment(number)).unwrap_or_default();
    while disk::all_zero(&in_segment(&f, 2)) {
        f.write([1]);
    }
    f.kill();
    let kept = f.tenants[&tenant(1)].next - 1;
    let mut torn = in_segment(&f, 2);
    torn[HEADER + 8..].fill(0);
    fs::write(f.segment(2), torn).unwrap();
    fs::remove_dir_all(f.path("tables")).unwrap();
    for _ in 0..2 {
        f.open();
        let claim = f.store().claim(tenant(1)).unwrap().unwrap();
        assert_eq!(claim.head.sequence.get() + 1, kept);
        f.tenants.insert(
            tenant(1),
            Tenant {
                next: kept,
                ledger: claim.ledger,
            },
        );
        f.check();
        f.kill();
    }
    f.open();
    f.write([1]);
    f.check();
}

#[test]
fn a_flipped_bit_in_the_middle_is_damage_and_nothing_is_changed() {
    let mut f = Fixture::new();
    (0..10).for_each(|_| f.write([1]));
    f.close();
    let segment = f.segment(1);
    let whole = fs::read(&segment).unwrap();
    let used = whole.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    for place in (0..used).step_by(211) {
        let mut changed = whole.clone();
        changed[place] ^= 0x10;
        fs::write(&segment, &changed).unwrap();
        let error = f.refuses();
        assert!(
            matches!(error, OpenError::Damaged { .. }),
            "at {place}: {error}"
        );
        assert_eq!(error.to_string().lines().count(), 1);
        assert_eq!(fs::read(&segment).unwrap(), changed);
    }
    fs::write(&segment, &whole).unwrap();
    f.open();
    f.check();
}

#[test]
fn damage_says_what_is_good_before_it_and_behind_it() {
    let mut f = Fixture::new();
    (0..10).for_each(|_| f.write([1]));
    f.close();
    let segment = f.segment(1);
    let mut bytes = fs::read(&segment).unwrap();
    let entry = bytes
        .windows(7)
        .position(|window| window == b"entry 4")
        .unwrap();
    bytes[entry] ^= 1;
    fs::write(&segment, bytes).unwrap();
    let OpenError::Damaged {
        file,
        last_good,
        next_valid,
        ..
    } = f.refuses()
    else {
        panic!()
    };
    assert_eq!((file, last_good, next_valid), (segment, Some(4), Some(6)));
}

#[test]
fn behind_a_shutdown_nothing_is_a_torn_tail() {
    let mut f = Fixture::new();
    f.write([1]);
    f.close();
    let segment = f.segment(1);
    let whole = fs::read(&segment).unwrap();
    let end = (whole.iter().rposition(|byte| *byte != 0).unwrap() + 1).next_multiple_of(8);
    let mut changed = whole.clone();
    changed[end] = 1;
    fs::write(&segment, &changed).unwrap();
    assert!(matches!(f.refuses(), OpenError::Damaged { .. }));
    // The same behind the SHUTDOWN of an earlier start is the first frame of the later one, torn.
    fs::write(&segment, &whole).unwrap();
    f.open();
    f.kill();
    fs::write(&segment, &changed).unwrap();
    assert!(!f.open().clean);
    f.check();
}

#[test]
fn a_missing_segment_and_a_missing_end_are_noticed() {
    let mut f = Fixture::new();
    f.write((0..600).map(|_| 1));
    f.wait_until_applied();
    f.close();
    assert!(f.segment(2).exists());
    let first = fs::read(f.segment(1)).unwrap();
    fs::remove_file(f.segment(1)).unwrap();
    assert!(matches!(f.refuses(), OpenError::Damaged { .. }));
    fs::write(f.segment(1), &first).unwrap();
    // All segments but the first vanish: the tables know better.
    for number in 2.. {
        if fs::remove_file(f.segment(number)).is_err() {
            break;
        }
    }
    let error = f.refuses().to_string();
    assert!(
        error.contains("the tables hold what is not in the log"),
        "{error}"
    );
}

#[test]
fn tables_without_a_log_are_damage() {
    let mut f = Fixture::new();
    f.store()
        .append(
            Record::side(
                tenant(1),
                vec![Op::put(tenant(1), LAST_USED, vec![], 1, b"x")],
            ),
            (),
        )
        .wait()
        .unwrap();
    f.close();
    fs::remove_dir_all(f.path("wal")).unwrap();
    fs::remove_file(f.path("MANIFEST")).unwrap();
    let error = f.refuses().to_string();
    assert!(
        error.contains("the log is empty and the tables are not"),
        "{error}"
    );
}

#[test]
fn deleted_tables_come_back_the_same() {
    let mut f = Fixture::new();
    f.write((0..300).map(|n| (n % 3) as u8));
    f.wait_until_applied();
    let claims = |f: &Fixture| {
        (0..3)
            .map(|n| claim_rows(&f.store().claim(tenant(n)).unwrap().unwrap()))
            .collect::<Vec<_>>()
    };
    let before = claims(&f);
    f.close();
    fs::remove_dir_all(f.path("tables")).unwrap();
    let opened = f.open();
    assert!(!opened.first_start && !opened.rebuilt);
    assert_eq!(claims(&f), before);
    f.check();
}

#[test]
fn tables_that_lost_their_newest_rows_are_built_anew() {
    for lose_all_tenants in [false, true] {
        let mut f = Fixture::new();
        f.write((0..100).map(|n| n % 2));
        f.close();
        // What a bad checksum does to sled: it opens, and the newest writes never were.
        f.in_sled(&HEADS, |heads| {
            drop(heads.remove(full_key(tenant(0), &[])).unwrap());
            if lose_all_tenants {
                drop(heads.remove(full_key(tenant(1), &[])).unwrap());
            }
        });
        let opened = f.open();
        assert!(opened.rebuilt);
        assert!(f.path("quarantine").join("tables-2").is_dir());
        f.check();
        f.close();
        assert!(!f.open().rebuilt);
    }
}

#[test]
fn lost_rows_are_noticed_even_if_the_tenant_went_on_after_the_checkpoint() {
    let mut f = Fixture::new();
    f.write([1; 50]);
    f.close();
    let mut old = None;
    f.in_sled(&HEADS, |heads| {
        old = heads.get(full_key(tenant(1), &[])).unwrap()
    });
    f.open();
    f.write([1; 50]);
    f.close();
    f.open();
    f.write([1]);
    f.kill();
    // The tables fall back to before the last checkpoint; the replay alone would cover it up.
    f.in_sled(&HEADS, |heads| {
        drop(
            heads
                .insert(full_key(tenant(1), &[]), old.unwrap())
                .unwrap(),
        )
    });
    assert!(f.open().rebuilt);
    f.check();
}

#[test]
fn a_changed_byte_in_the_tables_is_an_error_for_whoever_reads_it() {
    let mut f = Fixture::new();
    f.write([1; 3]);
    f.close();
    let flip = |tree: &sled::Tree, place: usize| {
        let (key, mut value) = tree.first().unwrap().unwrap();
        let at = value.len() - place;
        value[at] ^= 1;
        tree.insert(key, value).unwrap();
    };
    f.in_sled(&ENTRIES, |tree| flip(tree, 1));
    f.in_sled(FACTS, |tree| flip(tree, 1));
    assert!(!f.open().rebuilt);
    let reader = f.store().reader();
    assert!(reader.entry(tenant(1), Sequence::new(0)).unwrap().is_some());
    let error = reader.entry(tenant(1), Sequence::new(2)).unwrap_err();
    assert!(matches!(error, ReadError::Damaged(_)), "{error}");
    assert!(matches!(
        f.store().claim(tenant(1)),
        Err(ReadError::Damaged(_))
    ));
}

#[test]
fn a_missing_and_an_extra_hot_row_are_an_error_for_the_tenant() {
    let mut f = Fixture::new();
    f.write([1; 3]);
    f.close();
    let mut taken = None;
    f.in_sled(FACTS, |tree| taken = tree.pop_min().unwrap());
    f.open();
    assert!(matches!(
        f.store().claim(tenant(1)),
        Err(ReadError::Damaged(_))
    ));
    f.close();
    let (key, value) = taken.unwrap();
    f.in_sled(FACTS, |tree| drop(tree.insert(key, value).unwrap()));
    f.open();
    f.check();
}

#[test]
fn one_process_at_a_time() {
    let mut f = Fixture::new();
    assert!(matches!(f.refuses(), OpenError::InUse { .. }));
    f.close();
    f.open();
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

#[test]
fn what_is_only_looked_at_is_shown_whole_and_left_as_it_is() {
    let mut f = Fixture::new();
    (0..4).for_each(|_| f.write((0..75).map(|n| n % 3)));
    assert!(matches!(
        ReadOnly::open(f.dir.path(), &SCHEMA),
        Err(OpenError::InUse { .. })
    ));
    for crash in [true, false] {
        if crash {
            f.kill();
            // Leftovers of the crash, which a start would clear away.
            fs::write(f.path("wal").join("00000000000000ff.new"), "half").unwrap();
        } else {
            f.close();
        }
        let before = files(f.dir.path());
        let seen = ReadOnly::open(f.dir.path(), &SCHEMA).unwrap();
        let facts = seen.facts();
        assert_eq!((facts.clean, facts.tenants), (!crash, 3));
        assert!(facts.segments > 1 && facts.last.get() >= 300, "{facts:?}");
        assert!(matches!(f.refuses(), OpenError::InUse { .. }));
        seen.check_rows(&mut |_, _, _| {}).unwrap();
        let scratch = tempfile::tempdir().unwrap();
        let reader = seen.reader(scratch.path()).unwrap();
        let heads: BTreeMap<_, _> = seen.heads().collect();
        assert_eq!(heads.len(), f.tenants.len());
        for (id, expected) in &f.tenants {
            let claim = reader.claim(*id).unwrap().unwrap();
            assert_eq!(claim.head, heads[id]);
            assert_eq!(claim.ledger.hash(), expected.ledger.hash());
            for number in 0..expected.next {
                let entry = reader.entry(*id, Sequence::new(number)).unwrap();
                assert_eq!(entry, Some(format!("entry {number}").into_bytes()));
            }
        }
        drop((seen, reader));
        assert!(files(f.dir.path()) == before, "something was changed");
        f.open();
        f.check();
    }
}

#[test]
fn a_look_finds_rows_that_are_not_those_of_the_head() {
    let mut f = Fixture::new();
    f.write([1; 20]);
    let extra = Op::put(tenant(1), FACTS, vec![99], 1, b"in no record");
    let expected = f.tenants.get_mut(&tenant(1)).unwrap();
    expected.ledger.fold(&extra);
    f.write([1]);
    f.close();
    let seen = ReadOnly::open(f.dir.path(), &SCHEMA).unwrap();
    let error = seen.check_rows(&mut |_, _, _| {}).unwrap_err();
    assert!(matches!(error, OpenError::Row(_)), "{error}");
}

fn check_backup(dir: &Path) -> Result<(Backup, ReadOnly), BackupError> {
    Backup::check(dir, &SCHEMA, &mut |_, _, _| {})
}

#[test]
fn a_backup_holds_what_was_acknowledged_before_it_and_ends_in_order() {
    let mut f = Fixture::new();
    let at = Timestamp::from_micros(1);
    let quiet: Progress<'_> = &mut |_, _, _| {};
    fs::write(f.path("secret"), "key").unwrap();
    (0..4).for_each(|_| f.write((0..75).map(|n| n % 3)));
    let elsewhere = tempfile::tempdir().unwrap();
    let live = elsewhere.path().join("live");
    let made = f.store().backup(&live, at, &[], quiet).unwrap();
    let durable = f.store().stats().durable.get();
    assert!(made.lsn >= 300 && made.lsn <= durable && made.tenants == 3);
    assert!(!live.join("secret").exists());
    f.check();
    f.write([1]);

    // Of a directory that a crash left, and of one that was closed.
    for (name, crash) in [("crashed", true), ("closed", false)] {
        if crash {
            f.kill()
        } else {
            f.close()
        }
        let seen = ReadOnly::open(f.dir.path(), &SCHEMA).unwrap();
        let dir = elsewhere.path().join(name);
        let made = seen.backup(&dir, at, &["secret", "none"], quiet).unwrap();
        assert_eq!(made.lsn, seen.facts().last.get());
        assert_eq!(fs::read(dir.join("secret")).unwrap(), b"key");
        drop(seen);
        let again = ReadOnly::open(f.dir.path(), &SCHEMA).unwrap();
        let error = again.backup(&dir, at, &[], quiet).unwrap_err();
        assert!(matches!(error, BackupError::NotEmpty { .. }), "{error}");
        drop(again);
        f.open();
    }
    f.kill();

    for name in ["live", "crashed", "closed"] {
        let dir = elsewhere.path().join(name);
        let (backup, seen) = check_backup(&dir).unwrap();
        assert!(seen.facts().clean);
        seen.check_rows(quiet).unwrap();
        drop(seen);
        let restored = Restoring::begin(&elsewhere.path().join("restored")).unwrap();
        restored.copy(&dir, &backup, &[], quiet).unwrap();
        restored.finish().unwrap();
        let restored = elsewhere.path().join("restored");
        let store = Store::open(&config(&restored), &SCHEMA).unwrap();
        assert!(store.opened().clean && store.tenants() == 3);
        for id in (0..3).map(tenant) {
            let claim = store.claim(id).unwrap().unwrap();
            assert!(claim.head.sequence.get() >= 99);
        }
        store.close().unwrap();
        let error = Restoring::begin(&restored).unwrap_err();
        assert!(matches!(error, BackupError::NotEmpty { .. }), "{error}");
        fs::remove_dir_all(restored).unwrap();
    }
    assert_eq!(backups_in(elsewhere.path()).unwrap().len(), 3);
}

#[test]
fn a_backup_of_a_log_with_snapshots_is_the_newest_and_what_is_behind_it() {
    let mut f = Fixture::new();
    f.close();
    let small = StoreConfig {
        snapshot_bytes: 64 << 10,
        checkpoint_every: Duration::from_millis(5),
        ..config(f.dir.path())
    };
    f.store = Some(Store::open(&small, &SCHEMA).unwrap());
    let quiet: Progress<'_> = &mut |_, _, _| {};
    let elsewhere = tempfile::tempdir().unwrap();
    let at = Timestamp::MIN;
    let mut nth = 0;
    eventually("the log lost its beginning", || {
        f.write((0..75).map(|n| n % 3));
        nth += 1;
        if nth % 20 == 0 {
            // While snapshots are made and files removed.
            let dir = elsewhere.path().join(nth.to_string());
            f.store().backup(&dir, at, &[], quiet).unwrap();
        }
        !f.segment(1).exists()
    });
    let live = elsewhere.path().join("live");
    f.store().backup(&live, at, &[], quiet).unwrap();
    f.close();
    let seen = ReadOnly::open(f.dir.path(), &SCHEMA).unwrap();
    assert_eq!(seen.facts().snapshots.len(), 2);
    let newest = seen.facts().snapshots.pop().unwrap().0;
    seen.check_rows(quiet).unwrap();
    let offline = elsewhere.path().join("offline");
    seen.backup(&offline, at, &[], quiet).unwrap();
    drop(seen);

    // With the newest damaged, where only a whole reading finds it, the one before it serves.
    let mut bytes = fs::read(&newest).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&newest, bytes).unwrap();
    let seen = ReadOnly::open(f.dir.path(), &SCHEMA).unwrap();
    seen.check_rows(quiet).unwrap();
    let damaged = elsewhere.path().join("damaged");
    seen.backup(&damaged, at, &[], quiet).unwrap();

    for (name, _) in backups_in(elsewhere.path()).unwrap() {
        let dir = elsewhere.path().join(&name);
        let (_, seen) = check_backup(&dir).unwrap();
        assert!(seen.facts().snapshots.len() <= 1, "{name}");
        seen.check_rows(quiet).unwrap();
        let scratch = tempfile::tempdir().unwrap();
        let reader = seen.reader(scratch.path()).unwrap();
        for (id, head) in seen.heads() {
            assert_eq!(reader.claim(id).unwrap().unwrap().head, head);
            for number in 0..=head.sequence.get() {
                let entry = reader.entry(id, Sequence::new(number)).unwrap();
                assert_eq!(entry, Some(format!("entry {number}").into_bytes()));
            }
        }
        if ["offline", "damaged"].contains(&name.as_str()) {
            let expected: BTreeMap<_, _> = f.tenants.iter().map(|(id, t)| (*id, t.next)).collect();
            let heads = seen.heads().map(|(id, head)| (id, head.sequence.get() + 1));
            assert_eq!(heads.collect::<BTreeMap<_, _>>(), expected);
        }
    }
}

#[test]
fn every_flipped_byte_of_a_backup_is_found() {
    let mut f = Fixture::new();
    f.write([1; 3]);
    let elsewhere = tempfile::tempdir().unwrap();
    let dir = elsewhere.path().join("one");
    let quiet: Progress<'_> = &mut |_, _, _| {};
    f.store().backup(&dir, Timestamp::MIN, &[], quiet).unwrap();
    for (path, bytes) in files(&dir) {
        for at in (0..bytes.len()).step_by(bytes.len().div_ceil(200)) {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1;
            fs::write(&path, flipped).unwrap();
            assert!(check_backup(&dir).is_err(), "{} at {at}", path.display());
        }
        fs::remove_file(&path).unwrap();
        assert!(check_backup(&dir).is_err(), "without {}", path.display());
        fs::write(&path, bytes).unwrap();
    }
    fs::write(dir.join("wal/00000000000000aa.wal"), "").unwrap();
    assert!(check_backup(&dir).is_err(), "with a file more");
}

#[test]
fn old_backups_go_and_nothing_else_does() {
    let mut f = Fixture::new();
    f.write([1]);
    let elsewhere = tempfile::tempdir().unwrap();
    let dir = elsewhere.path().to_owned();
    let quiet: Progress<'_> = &mut |_, _, _| {};
    for (name, at) in [("t1", 1), ("t2", 2), ("t3", 3), ("mine", 0)] {
        let at = Timestamp::from_micros(at);
        f.store().backup(&dir.join(name), at, &[], quiet).unwrap();
    }
    fs::create_dir_all(dir.join("t0/not a backup")).unwrap();
    fs::create_dir_all(dir.join("t9.new/cut short")).unwrap();
    fs::create_dir_all(dir.join("mine.new")).unwrap();
    let ours = |name: &str| name.starts_with('t') && name.len() == 2;
    assert_eq!(remove_old_backups(&dir, 2, ours).unwrap(), 1);
    assert_eq!(remove_old_backups(&dir, 0, ours).unwrap(), 1, "one stays");
    let mut left: Vec<_> = fs::read_dir(&dir)
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    left.sort();
    assert_eq!(left, ["mine", "mine.new", "t0", "t3"]);
}

#[test]
fn a_closed_store_says_so() {
    let mut f = Fixture::new();
    f.write([1]);
    let store = f.store().clone();
    let reader: Reader = store.reader();
    store.close().unwrap();
    store.close().unwrap();
    assert_eq!(f.append(1).wait(), Err(Lost));
    assert!(matches!(
        reader.entry(tenant(1), Sequence::FIRST),
        Err(ReadError::Closed)
    ));
}

#[test]
fn a_newer_data_directory_is_refused() {
    let mut f = Fixture::new();
    f.close();
    fs::write(f.path("MANIFEST"), "arf-data/2 something=else\n").unwrap();
    assert!(matches!(f.refuses(), OpenError::Newer { .. }));
}

#[test]
fn out_of_order_is_lost_and_in_order_goes_on() {
    let mut f = Fixture::new();
    f.write([1, 1]);
    let mut skipped = Tenant {
        next: 3,
        ledger: Ledger::new(),
    };
    let orphan = f.store().append(skipped.record(tenant(1)), ());
    let unfounded = f.store().append(skipped.record(tenant(9)), ());
    assert_eq!((orphan.wait(), unfounded.wait()), (Err(Lost), Err(Lost)));
    f.write([1]);
    f.check();
}

#[test]
fn long_rows_and_records_longer_than_a_segment() {
    let mut f = Fixture::new();
    let id = tenant(1);
    // Not to be compressed.
    let mut random = 1_u64;
    let long: Vec<u8> = std::iter::repeat_with(|| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random as u8
    })
    .take(100_000)
    .collect();
    let rows = vec![
        Op::put(id, FACTS, b"long".to_vec(), 1, &long[..20_000]),
        Op::put(id, INTENTS, 0u64.to_be_bytes().to_vec(), 1, &long[..5_000]),
    ];
    let record = f
        .tenants
        .entry(id)
        .or_default()
        .of_rows(id, rows, Some(long.clone()));
    assert!(record.bytes() > 64 << 10);
    f.store().append(record, ()).wait().unwrap();
    f.wait_until_applied();
    for _ in 0..2 {
        let reader = f.store().reader();
        assert_eq!(reader.opening(id, Sequence::FIRST).unwrap().unwrap(), long);
        assert_eq!(f.store().claim(id).unwrap().unwrap().rows.len(), 2);
        f.kill();
        f.open();
    }
    let rows = vec![Op::delete(id, FACTS, b"long".to_vec())];
    let erase = Op::delete_range(id, &OPENINGS, vec![0; 8], vec![0xFF; 8]);
    let rows = rows.into_iter().chain([erase]).collect();
    let record = f.tenants.entry(id).or_default().of_rows(id, rows, None);
    f.store().append(record, ()).wait().unwrap();
    f.close();
    f.open();
    assert_eq!(
        f.store().reader().opening(id, Sequence::FIRST).unwrap(),
        None
    );
    f.close();
    let mut pieces = 0;
    f.in_sled(&crate::store::row::PIECES, |tree| pieces = tree.len());
    assert_eq!(pieces, 2, "of the intent alone");
}

#[test]
fn side_rows_and_scans() {
    let mut f = Fixture::new();
    f.write((0..30).map(|n| n % 3));
    for number in 0..3 {
        let id = tenant(number);
        let used = Record::side(id, vec![Op::put(id, LAST_USED, vec![number], 2, b"now")]);
        f.store().append(used, ()).wait().unwrap();
    }
    for _ in 0..2 {
        let reader = f.store().reader();
        let mut shown = Vec::new();
        reader
            .scan(LAST_USED, &mut |tenant, key, stored| {
                shown.push((tenant, key.to_vec(), stored.unwrap().version));
                if shown.len() == 2 {
                    std::ops::ControlFlow::Break(())
                } else {
                    std::ops::ControlFlow::Continue(())
                }
            })
            .unwrap();
        assert_eq!(shown, [(tenant(0), vec![0], 2), (tenant(1), vec![1], 2)]);
        let keys = |from: u64, limit| {
            let rows = reader.rows_from(tenant(1), &ENTRIES, &from.to_be_bytes(), limit);
            rows.unwrap()
                .into_iter()
                .map(|(key, _)| u64::from_be_bytes(key.try_into().unwrap()))
                .collect::<Vec<_>>()
        };
        assert_eq!(keys(3, 3), [3, 4, 5]);
        assert_eq!(keys(8, 9), [8, 9], "not the next tenant's");
        assert!(keys(10, 9).is_empty());
        f.close();
        f.open();
    }
}

/// A disk that can be told to fail, and forgets what was not synced.
#[derive(Default)]
struct Faults {
    sync: AtomicBool,
    write: AtomicBool,
    create: AtomicBool,
    full: AtomicBool,
}

struct FaultyDisk(Arc<Faults>);
struct FaultyFile {
    faults: Arc<Faults>,
    file: Box<dyn LogFile>,
    unsynced: Mutex<Vec<(Vec<u8>, u64)>>,
}

impl FaultyFile {
    fn of(disk: &FaultyDisk, file: Box<dyn LogFile>) -> Box<dyn LogFile> {
        Box::new(Self {
            faults: Arc::clone(&disk.0),
            file,
            unsynced: Mutex::default(),
        })
    }
}

fn fault(armed: &AtomicBool) -> io::Result<()> {
    if armed.load(Ordering::SeqCst) {
        Err(io::Error::from_raw_os_error(28))
    } else {
        Ok(())
    }
}

impl LogFile for FaultyFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        fault(&self.faults.write)?;
        self.unsynced.lock().unwrap().push((bytes.to_vec(), offset));
        Ok(())
    }
    fn sync_data(&self) -> io::Result<()> {
        fault(&self.faults.sync)?;
        for (bytes, offset) in self.unsynced.lock().unwrap().drain(..) {
            self.file.write_at(&bytes, offset)?;
        }
        Ok(())
    }
    fn len(&self) -> u64 {
        self.file.len()
    }
}

impl Disk for FaultyDisk {
    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        RealDisk.list(dir)
    }
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        RealDisk.read(path)
    }
    fn read_at(&self, path: &Path, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        RealDisk.read_at(path, offset, len)
    }
    fn len(&self, path: &Path) -> io::Result<u64> {
        RealDisk.len(path)
    }
    fn free(&self, dir: &Path) -> io::Result<u64> {
        match self.0.full.load(Ordering::SeqCst) {
            true => Ok(config(dir).lag_bytes as u64),
            false => RealDisk.free(dir),
        }
    }
    fn create(&self, path: &Path, front: &[u8], len: u64) -> io::Result<Box<dyn LogFile>> {
        fault(&self.0.create)?;
        Ok(FaultyFile::of(self, RealDisk.create(path, front, len)?))
    }
    fn open(&self, path: &Path) -> io::Result<Box<dyn LogFile>> {
        Ok(FaultyFile::of(self, RealDisk.open(path)?))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealDisk.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        RealDisk.remove(path)
    }
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        RealDisk.create_dir(dir)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        RealDisk.sync_dir(dir)
    }
}

/// Opens the fixture's directory on a disk that can fail; what is fatal comes out of the channel.
fn open_faulty(f: &mut Fixture) -> (Arc<Faults>, mpsc::Receiver<String>) {
    let faults = Arc::new(Faults::default());
    let (fatal, reported) = mpsc::channel();
    let env = Env {
        disk: Arc::new(FaultyDisk(faults.clone())),
        fatal: Box::new(move |error| drop(fatal.send(error.to_string()))),
        ..Env::real()
    };
    f.open_in(env);
    (faults, reported)
}

#[test]
fn nothing_is_acknowledged_before_it_is_synced() {
    let mut f = Fixture::new();
    for _ in 0..5 {
        open_faulty(&mut f);
        f.write((0..100).map(|n| n % 3));
        f.check();
        f.kill();
    }
    fs::remove_dir_all(f.path("tables")).unwrap();
    f.open();
    f.check();
}

#[test]
fn a_failed_write_or_sync_of_the_log_is_fatal_once_and_acknowledges_nothing() {
    for (what, arm) in [
        (
            "synced",
            (|faults: &Faults| &faults.sync) as fn(&Faults) -> &AtomicBool,
        ),
        ("written", |faults| &faults.write),
    ] {
        let mut f = Fixture::new();
        let (faults, fatal) = open_faulty(&mut f);
        f.write([1, 1]);
        arm(&faults).store(true, Ordering::SeqCst);
        let next = f.tenants.get(&tenant(1)).unwrap().next;
        let lost: Vec<_> = (0..20).map(|_| f.append(1)).collect();
        assert!(lost.into_iter().all(|durable| durable.wait() == Err(Lost)));
        let report = fatal.recv_timeout(Duration::from_secs(30)).unwrap();
        assert!(
            report.contains(what) && report.contains(".wal at "),
            "{report}"
        );
        arm(&faults).store(false, Ordering::SeqCst);
        assert_eq!(f.append(1).wait(), Err(Lost), "never tried again");
        f.kill();
        assert!(fatal.try_recv().is_err(), "reported once");
        f.open();
        let kept = f
            .store()
            .claim(tenant(1))
            .unwrap()
            .unwrap()
            .head
            .sequence
            .get();
        assert!(kept + 1 >= next);
    }
}

#[test]
fn a_full_disk_stops_writes_and_does_not_hang_and_goes_on_when_there_is_room() {
    let mut f = Fixture::new();
    f.write([1]);
    let (faults, fatal) = open_faulty(&mut f);
    faults.create.store(true, Ordering::SeqCst);
    let mut lost = false;
    for _ in 0..2_000 {
        if f.append(1).wait().is_err() {
            lost = true;
            break;
        }
    }
    assert!(lost && !f.store().writable());
    let id = tenant(1);
    let claim = f.store().claim(id).unwrap().unwrap();
    faults.create.store(false, Ordering::SeqCst);
    eventually("there is room again", || f.store().writable());
    assert_eq!(f.append(1).wait(), Err(Lost), "its predecessor was lost");
    let next = claim.head.sequence.get() + 1;
    f.tenants.insert(
        id,
        Tenant {
            next,
            ledger: claim.ledger,
        },
    );
    f.write([1, 1]);
    f.check();
    assert!(fatal.try_recv().is_err());
    f.close();
    f.open();
    f.check();
}

#[test]
fn writes_stop_before_the_disk_is_full_and_go_on_by_themselves() {
    let mut f = Fixture::new();
    let (faults, fatal) = open_faulty(&mut f);
    f.write([1]);
    assert!(f.store().writable());
    faults.full.store(true, Ordering::SeqCst);
    eventually("the disk is looked at", || !f.store().writable());
    let stats = f.store().stats();
    assert!(stats.free_bytes < stats.watermark_bytes, "{stats:?}");
    f.write([1, 2]);
    f.check();
    faults.full.store(false, Ordering::SeqCst);
    eventually("there is room again", || f.store().writable());
    f.write([1]);
    f.check();
    assert!(fatal.try_recv().is_err());
}

/// What is about to be done to the tables.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Call {
    Range,
    Write,
}

pub(super) type Hook = dyn Fn(Call, &TableSpec) + Send + Sync;

/// sled, behind somebody who is asked first.
pub(super) struct HookedTables(pub Arc<Hook>, pub Box<dyn Tables>);

impl Tables for HookedTables {
    fn get(&self, table: &TableSpec, key: &[u8]) -> Result<Option<Vec<u8>>, TableError> {
        self.1.get(table, key)
    }
    fn range(&self, table: &TableSpec, from: &[u8], to: Option<&[u8]>) -> tables::Pairs<'_> {
        (self.0)(Call::Range, table);
        self.1.range(table, from, to)
    }
    fn last(
        &self,
        table: &TableSpec,
        from: &[u8],
        to: &[u8],
    ) -> Result<Option<tables::Pair>, TableError> {
        self.1.last(table, from, to)
    }
    fn write(
        &self,
        table: &TableSpec,
        key: &[u8],
        value: Option<&[u8]>,
    ) -> Result<Option<Vec<u8>>, TableError> {
        (self.0)(Call::Write, table);
        self.1.write(table, key, value)
    }
    fn write_together(
        &self,
        table: &TableSpec,
        changes: &[tables::Change],
    ) -> Result<(), TableError> {
        (self.0)(Call::Write, table);
        self.1.write_together(table, changes)
    }
    fn sync(&self) -> Result<(), TableError> {
        self.1.sync()
    }
}

/// Opens the fixture's directory with somebody in front of its tables.
pub(super) fn open_hooked(
    f: &mut Fixture,
    hook: impl Fn(Call, &TableSpec) + Send + Sync + 'static,
) {
    let real = Env::real();
    let hook: Arc<Hook> = Arc::new(hook);
    let env = Env {
        open_tables: Box::new(move |dir, schema, cache| {
            let sled = (real.open_tables)(dir, schema, cache)?;
            Ok(Box::new(HookedTables(Arc::clone(&hook), sled)))
        }),
        ..Env::real()
    };
    f.open_in(env);
}

#[test]
fn a_failed_table_write_stops_writes_while_reads_go_on_and_the_next_start_rebuilds() {
    let mut f = Fixture::new();
    let failing = Arc::new(AtomicBool::new(false));
    let armed = Arc::clone(&failing);
    // Half of a generation goes in before it fails; some failures of sled are panics.
    open_hooked(&mut f, move |call, table| {
        let fails = call == Call::Write && table.id == HEADS.id;
        assert!(!(fails && armed.load(Ordering::SeqCst)), "sled fails");
    });
    f.write([1; 20]);
    f.wait_until_applied();
    assert!(f.store().writable());
    failing.store(true, Ordering::SeqCst);
    f.write([1; 20]);
    eventually("the failure is seen", || !f.store().writable());
    f.check();
    f.write([1; 5]);
    f.check();
    assert_eq!(f.store.take().unwrap().close(), Err(CloseError::Tables));
    assert!(f.open().rebuilt);
    f.check();
    f.close();
    assert!(!f.open().rebuilt);
}

#[test]
fn a_read_that_is_overtaken_by_a_record_sees_nothing_of_it() {
    let mut f = Fixture::new();
    let (entered, is_in) = mpsc::channel();
    let (go, may_go) = mpsc::channel::<()>();
    let may_go = Mutex::new(may_go);
    let pause = Arc::new(AtomicBool::new(false));
    let armed = Arc::clone(&pause);
    open_hooked(&mut f, move |call, table| {
        let pauses = call == Call::Range && table.id == LAST_USED.id;
        if pauses && armed.swap(false, Ordering::SeqCst) {
            entered.send(()).unwrap();
            may_go.lock().unwrap().recv().unwrap();
        }
    });
    let used = |keys: &[u8], value: &[u8]| {
        let put = |key: &u8| Op::put(tenant(1), LAST_USED, vec![*key], 1, value);
        Record::side(tenant(1), keys.iter().map(put).collect())
    };
    f.store().append(used(&[1], b"old"), ()).wait().unwrap();
    f.wait_until_applied();
    let reader = f.store().reader();
    pause.store(true, Ordering::SeqCst);
    let read = std::thread::spawn(move || reader.rows_from(tenant(1), LAST_USED, &[], 9).unwrap());
    // The read has looked at the lag and not yet at the tables: now a record changes both rows.
    is_in.recv().unwrap();
    f.store().append(used(&[1, 2], b"new"), ()).wait().unwrap();
    let deadline = stopwatch::now() + Duration::from_millis(200);
    while stopwatch::now() < deadline {
        assert_ne!(
            f.store().stats().lag_bytes,
            0,
            "the tables did not wait for the read"
        );
        std::thread::yield_now();
    }
    go.send(()).unwrap();
    let rows = read.join().unwrap();
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].1.payload, b"old");
    f.wait_until_applied();
}

#[test]
fn a_full_lag_slows_commits_and_drops_nothing() {
    let mut f = Fixture::new();
    f.kill();
    let config = StoreConfig {
        lag_bytes: 4 << 10,
        ..config(f.dir.path())
    };
    f.store = Some(Store::open(&config, &SCHEMA).unwrap());
    f.write((0..600).map(|n| (n % 5) as u8));
    f.check();
}

#[test]
fn checkpoints_are_made_however_much_there_is_to_do() {
    let mut f = Fixture::with(|config| {
        config.lag_bytes = 4 << 10;
        config.checkpoint_every = Duration::from_millis(20);
    });
    let busy: Vec<_> = (0..3_000).map(|n| f.append((n % 5) as u8)).collect();
    busy.into_iter().for_each(|durable| {
        durable.wait().unwrap();
    });
    f.kill();
    let opened = f.open();
    assert!(opened.replayed < opened.records, "{opened:?}");
}

#[test]
fn readers_see_every_record_whole_while_the_tables_follow() {
    let mut f = Fixture::new();
    let done = Arc::new(AtomicBool::new(false));
    let reader = f.store().reader();
    let stop = Arc::clone(&done);
    // Each record overwrites all of these rows with its own number.
    let id = tenant(7);
    let watch = std::thread::spawn(move || {
        let mut last = Vec::new();
        while !stop.load(Ordering::SeqCst) {
            let rows = reader.rows_from(id, FACTS, &[], 100).unwrap();
            let values: Vec<_> = rows.into_iter().map(|(_, stored)| stored.payload).collect();
            assert!(
                values.windows(2).all(|pair| pair[0] == pair[1]),
                "half of a record"
            );
            if let Some(value) = values.into_iter().next() {
                assert!(value >= last, "an older record than before");
                last = value;
            }
        }
    });
    for number in 0..400u64 {
        let payload = number.to_be_bytes();
        let rows = (0..8)
            .map(|key| Op::put(id, FACTS, vec![key], 1, &payload))
            .collect();
        let record = f.tenants.entry(id).or_default().of_rows(id, rows, None);
        f.store().append(record, ()).wait().unwrap();
    }
    done.store(true, Ordering::SeqCst);
    watch.join().unwrap();
}
