//! Snapshots: they have the rows that the log says, the log before them is removed, and what a start
//! makes of intact and damaged ones.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::hooks::{DiskCall, TablesCall, hooked_disk, hooked_tables};
use super::{FACTS, Fixture, INTENTS, LAST_USED, SCHEMA, eventually, tenant};
use crate::id::Sequence;
use crate::store::local::dir::SNAPSHOTS;
use crate::store::local::disk::{Disk, RealDisk};
use crate::store::local::key::full_key;
use crate::store::local::schema::{Part, rank};
use crate::store::local::snapshot::Snapshot;
use crate::store::local::*;
use crate::store::table::{ENTRIES, HEADS, OPENINGS};
use crate::store::{Effect, Op, ReadError};

/// Every row there is, in the order of a snapshot.
type Rows = BTreeMap<(u8, u8, Vec<u8>), Vec<u8>>;

/// A store that makes snapshots of every little log.
fn fixture() -> Fixture {
    Fixture::with(|config| {
        config.segment_bytes = 16 << 10;
        config.snapshot_bytes = 24 << 10;
        config.checkpoint_every = Duration::from_millis(10);
    })
}

/// Writes so many snapshots, ends in order, and has the next start make no others.
fn closed_with_snapshots(count: u64) -> Fixture {
    let mut f = fixture();
    write_snapshots(&mut f, count);
    f.wait_until_applied();
    f.close();
    f.config.snapshot_bytes = u64::MAX;
    f
}

fn snapshots(f: &Fixture) -> Vec<Snapshot> {
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let paths = snapshot::list(&DataDir::real(f.path(""))).unwrap();
    let schema = Schema::new(&SCHEMA);
    let open = |path| Snapshot::open(&disk, &schema, path).unwrap();
    paths.into_iter().map(open).collect()
}

fn rows_of(snapshot: &Snapshot) -> Rows {
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let schema = Schema::new(&SCHEMA);
    snapshot.check(&disk, &schema, &|| false).unwrap();
    let rows = snapshot.rows(&disk, &schema, Part::Whole);
    rows.map(|op| {
        let op = op.unwrap();
        let envelope = op.envelope().expect("a snapshot only puts").to_vec();
        let key = full_key(op.tenant, &op.key);
        ((rank(op.table), op.table.id, key), envelope)
    })
    .collect()
}

fn apply(rows: &mut Rows, op: &Op<'_>) {
    let place = |key: &[u8]| (rank(op.table), op.table.id, full_key(op.tenant, key));
    match &op.effect {
        Effect::Put(envelope) => drop(rows.insert(place(&op.key), envelope.to_vec())),
        Effect::Delete => drop(rows.remove(&place(&op.key))),
        Effect::DeleteTo(to) => {
            let (from, to) = (place(&op.key), place(to));
            rows.retain(|row, _| !(*row >= from && *row < to));
        }
    }
}

/// Writes until so many more snapshots were made.
fn write_snapshots(f: &mut Fixture, count: u64) {
    let before = f.store().stats().snapshots_made;
    eventually("snapshots are made", || {
        f.write([1, 2, 3, 1]);
        f.store().stats().snapshots_made >= before + count
    });
}

fn segments(f: &Fixture) -> Vec<u64> {
    let wal = Wal::new(&DataDir::real(f.path("")), 0);
    wal.numbers().unwrap()
}

fn new_files(f: &Fixture) -> Vec<String> {
    let mut names = RealDisk.list(&f.path(SNAPSHOTS)).unwrap();
    names.retain(|name| !name.ends_with(".snap"));
    names
}

fn damage(path: &Path, at: usize) -> Vec<u8> {
    let whole = fs::read(path).unwrap();
    let mut changed = whole.clone();
    changed[at] ^= 0x10;
    fs::write(path, changed).unwrap();
    whole
}

#[derive(Debug, Clone)]
enum Step {
    Put(u8, &'static TableSpec, u8, usize),
    Delete(u8, &'static TableSpec, u8),
    DeleteRange(u8, &'static TableSpec, u8, u8),
}

fn step() -> impl Strategy<Value = Step> {
    let cold = prop::sample::select(vec![&OPENINGS, LAST_USED]);
    let any = prop::sample::select(vec![FACTS, INTENTS, &OPENINGS, LAST_USED]);
    let who = 1..4u8;
    prop_oneof![
        6 => (who.clone(), any.clone(), 0..40u8, 0..600usize)
            .prop_map(|(t, table, key, len)| Step::Put(t, table, key, len)),
        2 => (who.clone(), any, 0..40u8).prop_map(|(t, table, key)| Step::Delete(t, table, key)),
        1 => (who, cold, 0..40u8, 0..40u8)
            .prop_map(|(t, table, a, b)| Step::DeleteRange(t, table, a, b)),
    ]
}

#[test]
fn a_snapshot_is_what_all_records_before_it_come_to() {
    // Openings under numbers that no record has for its own.
    let key = |table: &TableSpec, key: u8| match table.key_kind {
        crate::store::KeyKind::Sequence => (1_000_000 + u64::from(key)).to_be_bytes().to_vec(),
        crate::store::KeyKind::Natural => vec![key / 3; usize::from(key % 3)],
    };
    let seen = AtomicUsize::new(0);
    let mut runner = TestRunner::new(Config::with_cases(12));
    let steps = prop::collection::vec(step(), 400..900);
    runner
        .run(&steps, |steps| {
            let mut f = fixture();
            let mut log: Vec<(u64, Vec<Op<'static>>)> = Vec::new();
            let mut kept: BTreeMap<u64, Rows> = BTreeMap::new();
            for step in steps {
                let (who, op) = match step {
                    Step::Put(who, table, number, len) => {
                        let payload = vec![number; len];
                        let put = Op::put(tenant(who), table, key(table, number), 1, &payload);
                        (who, put)
                    }
                    Step::Delete(who, table, number) => {
                        let key = key(table, number);
                        (who, Op::delete(tenant(who), table, key))
                    }
                    Step::DeleteRange(who, table, a, b) => {
                        let (from, to) = (key(table, a), key(table, b));
                        (who, Op::delete_range(tenant(who), table, from, to))
                    }
                };
                let id = tenant(who);
                let record = if op.table.id == LAST_USED.id {
                    Record::side(id, vec![op])
                } else {
                    let tenant = f.tenants.entry(id).or_default();
                    tenant.of_rows(id, vec![op], None)
                };
                let ops = record.ops().to_vec();
                let mark = f.store().append(record, ()).wait().unwrap();
                log.push((mark.place, ops));
                for snapshot in f.store().0.snapshots.kept() {
                    let lsn = snapshot.prefix.lsn.get();
                    if snapshot.path.exists() && !kept.contains_key(&lsn) {
                        kept.insert(lsn, rows_of(&snapshot));
                    }
                }
            }
            f.kill();
            for snapshot in snapshots(&f) {
                kept.insert(snapshot.prefix.lsn.get(), rows_of(&snapshot));
            }
            seen.fetch_add(kept.len(), Ordering::Relaxed);
            let mut model = Rows::new();
            let mut log = log.into_iter().peekable();
            for (lsn, rows) in kept {
                while let Some((_, ops)) = log.next_if(|(number, _)| *number <= lsn) {
                    ops.iter().for_each(|op| apply(&mut model, op));
                }
                prop_assert!(rows == model, "the snapshot of {lsn} is something else");
            }
            Ok(())
        })
        .unwrap();
    let seen = seen.into_inner();
    assert!(seen > 24, "snapshots lie on snapshots: {seen}");
}

#[test]
fn the_log_goes_only_as_far_as_the_older_of_two_snapshots_covers_it() {
    let mut f = fixture();
    write_snapshots(&mut f, 1);
    assert_eq!(segments(&f)[0], 1, "one snapshot is none");
    write_snapshots(&mut f, 4);
    eventually("the log is shortened", || {
        let kept = f.store().0.snapshots.kept();
        segments(&f)[0] == kept[0].prefix.segment + 1
    });
    let stats = f.store().stats();
    let on_disk = segments(&f).len() as u64 * (16 << 10);
    eventually("the next segment is there", || {
        f.store().stats().log_on_disk == segments(&f).len() as u64 * (16 << 10)
    });
    assert!(stats.log_on_disk <= on_disk + (32 << 10), "{stats:?}");
    assert!(stats.snapshot.is_some() && stats.snapshot_bytes > 0 && stats.snapshots_failed == 0);
    f.close();
    assert_eq!((snapshots(&f).len(), new_files(&f).len()), (2, 0));
    let opened = f.open();
    assert!(opened.clean && opened.replayed < 10, "{opened:?}");
    assert_eq!(opened.records, f.store().stats().durable.get());
    f.check();
}

#[test]
fn a_start_from_a_snapshot_knows_what_a_start_from_the_whole_log_knows() {
    let mut f = fixture();
    for round in 0..3 {
        write_snapshots(&mut f, 3);
        if round == 1 {
            f.close();
        } else {
            f.kill();
        }
        assert!(segments(&f)[0] > 1);
        fs::remove_dir_all(f.path("tables")).unwrap();
        let newest = snapshots(&f).pop().unwrap();
        let opened = f.open();
        assert_eq!(opened.replayed, opened.records - newest.prefix.lsn.get());
        f.check();
        assert!(!f.path("tables.rebuilding").exists());
        f.kill();
        assert!(!f.open().rebuilt, "once is enough");
        f.check();
    }
}

#[test]
fn a_damaged_snapshot_makes_way_for_the_older_one() {
    let mut f = closed_with_snapshots(3);
    let kept = snapshots(&f);
    let newest = &kept[1].path;
    let len = kept[1].bytes as usize;
    let name = newest.file_name().unwrap().to_owned();
    for (turn, at) in (0..len)
        .step_by(len / 23)
        .chain([0, 80, len - 1])
        .enumerate()
    {
        let rebuild = turn % 2 == 0;
        let whole = damage(newest, at);
        if rebuild {
            fs::remove_dir_all(f.path("tables")).unwrap();
        }
        f.open();
        f.check();
        f.kill();
        // The start moved it to the quarantine, or did not notice: put it back.
        drop(fs::remove_file(newest));
        fs::write(newest, whole).unwrap();
        assert_eq!(snapshots(&f).len(), 2, "{name:?} is back");
    }
    f.open();
    f.check();
}

#[test]
fn two_damaged_snapshots_are_damage_that_names_a_file() {
    let mut f = closed_with_snapshots(4);
    let kept = snapshots(&f);
    // In their fronts: not even heads can be had.
    let fronts = kept.iter().map(|kept| damage(&kept.path, 100));
    let wholes: Vec<_> = fronts.collect();
    let error = f.refuses();
    let OpenError::Damaged { file, offset, .. } = &error else {
        panic!("{error}")
    };
    assert_eq!((file, *offset), (&kept[1].path, 0));
    // In their last rows: tables that are there are enough, and nothing else is.
    for (kept, whole) in kept.iter().zip(&wholes) {
        fs::write(&kept.path, whole).unwrap();
        damage(&kept.path, whole.len() - 200);
    }
    f.open();
    f.check();
    f.close();
    fs::remove_dir_all(f.path("tables")).unwrap();
    let error = f.refuses();
    assert!(matches!(error, OpenError::Damaged { .. }), "{error}");
    for (kept, whole) in kept.iter().zip(wholes) {
        fs::write(&kept.path, whole).unwrap();
    }
    f.open();
    f.check();
}

#[test]
fn a_snapshot_without_its_log_is_damage() {
    let mut f = closed_with_snapshots(3);
    let newest = snapshots(&f)[1].prefix.segment;
    let next = f.segment(newest + 1);
    let whole = fs::read(&next).unwrap();
    fs::remove_file(&next).unwrap();
    assert!(matches!(f.refuses(), OpenError::Damaged { .. }));
    fs::write(&next, whole).unwrap();
    let wal = f.path("wal");
    fs::rename(&wal, f.path("elsewhere")).unwrap();
    assert!(matches!(f.refuses(), OpenError::Damaged { .. }));
    fs::remove_dir_all(&wal).unwrap();
    fs::rename(f.path("elsewhere"), &wal).unwrap();
    f.open();
    f.check();
}

#[test]
fn a_damaged_snapshot_is_replaced_while_the_store_is_open() {
    let mut f = fixture();
    write_snapshots(&mut f, 2);
    f.close();
    let newest = snapshots(&f).pop().unwrap();
    f.open();
    damage(&newest.path, newest.bytes as usize / 2);
    write_snapshots(&mut f, 2);
    assert_eq!(f.store().stats().snapshots_failed, 1);
    assert!(f.path("quarantine").is_dir() && !newest.path.exists());
    f.kill();
    fs::remove_dir_all(f.path("tables")).unwrap();
    f.open();
    f.check();
}

/// A store whose log lost its beginning and of whose snapshots none is whole; its next start may build
/// others. Their fronts can be read.
fn without_whole_snapshots() -> (Fixture, Vec<Snapshot>) {
    let mut f = fixture();
    write_snapshots(&mut f, 3);
    f.wait_until_applied();
    f.close();
    assert!(segments(&f)[0] > 1);
    let all = snapshots(&f);
    for snapshot in &all {
        damage(&snapshot.path, snapshot.bytes as usize - 200);
    }
    (f, all)
}

#[test]
fn where_no_snapshot_is_whole_the_next_is_built_from_the_tables() {
    let (mut f, damaged) = without_whole_snapshots();
    f.open();
    write_snapshots(&mut f, 2);
    let stats = f.store().stats();
    assert!(stats.snapshots_failed >= 2, "{stats:?}");
    f.check();
    f.kill();
    assert!(damaged.iter().all(|snapshot| !snapshot.path.exists()));
    snapshots(&f).iter().for_each(|snapshot| {
        rows_of(snapshot);
    });
    fs::remove_dir_all(f.path("tables")).unwrap();
    f.open();
    f.check();
}

#[test]
fn tables_that_lack_a_row_make_no_snapshot_and_the_damaged_ones_stay() {
    let (mut f, damaged) = without_whole_snapshots();
    // The oldest of them, which the log does not have any more.
    f.in_sled(INTENTS, |tree| {
        let row = tree.scan_prefix(tenant(1).as_bytes()).next();
        tree.remove(row.unwrap().unwrap().0).unwrap();
    });
    f.open();
    eventually("it is tried and tried again", || {
        f.write([2; 20]);
        f.store().stats().snapshots_failed >= 4
    });
    assert_eq!(f.store().stats().snapshots_made, 0);
    let first = segments(&f)[0];
    f.close();
    assert_eq!(snapshots(&f), damaged);
    assert_eq!(segments(&f)[0], first);
    f.open();
    let reader = f.store().reader();
    assert!(reader.tenant(tenant(2)).unwrap().is_some());
}

fn is_of_snapshots(path: &Path) -> bool {
    path.parent().is_some_and(|dir| dir.ends_with(SNAPSHOTS))
}

#[test]
fn a_disk_without_room_for_a_snapshot_has_room_for_records() {
    for deed in [
        DiskCall::Create,
        DiskCall::Write,
        DiskCall::Sync,
        DiskCall::Rename,
    ] {
        let mut f = fixture();
        let full = Arc::new(AtomicBool::new(true));
        let armed = Arc::clone(&full);
        f.open_in(hooked_disk(move |what, path| {
            if what == deed && is_of_snapshots(path) && armed.load(Ordering::SeqCst) {
                return Err(io::Error::from_raw_os_error(28));
            }
            Ok(())
        }));
        eventually("it is tried again when another segment is sealed", || {
            f.write([1; 20]);
            f.store().stats().snapshots_failed >= 2
        });
        assert!(f.store().writable());
        assert_eq!(f.store().stats().snapshots_made, 0);
        eventually("nothing is left behind", || new_files(&f).is_empty());
        assert_eq!((snapshots(&f).len(), segments(&f)[0]), (0, 1));
        full.store(false, Ordering::SeqCst);
        write_snapshots(&mut f, 2);
        f.check();
        f.kill();
        fs::remove_dir_all(f.path("tables")).unwrap();
        f.open();
        f.check();
    }
}

#[test]
fn a_kill_while_a_snapshot_is_made_costs_nothing() {
    // The number of deeds done to files of snapshots before the store is dropped.
    for kill_at in [1, 2, 3, 5, 8, 11] {
        let mut f = fixture();
        write_snapshots(&mut f, 1);
        let (count, dead) = (AtomicUsize::new(0), Arc::new(AtomicBool::new(false)));
        let (reached, is_reached) = mpsc::channel();
        let killed = Arc::clone(&dead);
        f.open_in(hooked_disk(move |_, path| {
            if is_of_snapshots(path) && count.fetch_add(1, Ordering::SeqCst) + 1 == kill_at {
                killed.store(true, Ordering::SeqCst);
                let _ = reached.send(());
            }
            if killed.load(Ordering::SeqCst) && is_of_snapshots(path) {
                return Err(io::Error::other("the power is off"));
            }
            Ok(())
        }));
        eventually("a snapshot is being made", || {
            f.write([1, 2]);
            is_reached.try_recv().is_ok()
        });
        f.kill();
        let leftover = f.path(SNAPSHOTS).join("run-99.new");
        fs::write(&leftover, b"half").unwrap();
        f.open();
        assert!(!leftover.exists());
        f.check();
        write_snapshots(&mut f, 1);
        f.check();
    }
}

#[test]
fn what_reads_the_files_keeps_them() {
    let mut f = fixture();
    write_snapshots(&mut f, 1);
    let hold = f.store().0.snapshots.hold_files();
    write_snapshots(&mut f, 3);
    assert_eq!((segments(&f)[0], snapshots(&f).len()), (1, 4));
    drop(hold);
    eventually("what was held goes", || {
        segments(&f)[0] > 1 && snapshots(&f).len() == 2
    });
    f.check();
}

#[test]
fn a_damaged_segment_makes_no_snapshot() {
    let mut f = fixture();
    f.write([1; 20]);
    // In the page cache and behind the store's back.
    let path = f.segment(1);
    let mut bytes = fs::read(&path).unwrap();
    bytes[200] ^= 1;
    fs::write(&path, bytes).unwrap();
    eventually("it is found", || {
        f.write([1; 20]);
        f.store().stats().snapshots_failed > 0
    });
    assert!(f.store().writable() && snapshots(&f).is_empty());
    assert_eq!(segments(&f)[0], 1);
}

#[test]
fn tables_that_lose_rows_do_not_lose_them_for_snapshots() {
    let mut f = fixture();
    f.open_in(hooked_tables(|call, table| {
        call != TablesCall::Write || table.id != OPENINGS.id
    }));
    write_snapshots(&mut f, 3);
    f.wait_until_applied();
    let reader = f.store().reader();
    assert_eq!(reader.opening(tenant(1), Sequence::new(0)).unwrap(), None);
    f.kill();
    fs::remove_dir_all(f.path("tables")).unwrap();
    f.open();
    f.check();
}

/// Opens the fixture's directory without its tables; cold rows come back only as the gate lets them.
fn open_slowly(f: &mut Fixture) -> mpsc::Sender<()> {
    f.kill();
    fs::remove_dir_all(f.path("tables")).unwrap();
    let (go, may_go) = mpsc::channel::<()>();
    let may_go = Mutex::new(may_go);
    f.open_in(hooked_tables(move |call, table| {
        if call == TablesCall::Write && table.id == ENTRIES.id {
            // Open for good once the sender is gone.
            let _ = may_go.lock().unwrap().recv();
        }
        true
    }));
    go
}

#[test]
fn tenants_are_served_while_their_old_rows_are_on_their_way_back() {
    let mut f = fixture();
    write_snapshots(&mut f, 2);
    let memtable_queue = open_slowly(&mut f);
    assert!(f.store().stats().rebuilding && f.path("tables.rebuilding").exists());
    let reader = f.store().reader();
    for number in 1..4 {
        assert!(f.store().reader().tenant(tenant(number)).unwrap().is_some());
    }
    let next = f.tenants[&tenant(1)].next;
    let (known, unknown) = (Sequence::new(0), Sequence::new(next + 50));
    for sequence in [known, unknown] {
        let read = reader.entry(tenant(1), sequence);
        assert!(matches!(read, Err(ReadError::Rebuilding)), "{read:?}");
    }
    let page = reader.rows_from(tenant(1), &ENTRIES, &[], 10);
    assert!(matches!(page, Err(ReadError::Rebuilding)));
    let scan = reader.scan(&OPENINGS, &mut |_, _, _| ControlFlow::Continue(()));
    assert!(matches!(scan, Err(ReadError::Rebuilding)));
    assert!(reader.rows_from(tenant(1), FACTS, &[], 10).is_ok());
    // What is new is there at once.
    f.write([1]);
    assert!(
        reader
            .entry(tenant(1), Sequence::new(next))
            .unwrap()
            .is_some()
    );
    drop(memtable_queue);
    f.check();
    assert_eq!(reader.entry(tenant(1), unknown).unwrap(), None);
    assert!(!f.path("tables.rebuilding").exists());
}

#[test]
fn an_old_row_neither_overwrites_nor_revives() {
    let mut f = fixture();
    write_snapshots(&mut f, 2);
    let id = tenant(1);
    let opening = |number: u64| number.to_be_bytes().to_vec();
    let memtable_queue = open_slowly(&mut f);
    let changes = vec![
        Op::put(id, &OPENINGS, opening(0), 1, b"newer"),
        Op::delete(id, &OPENINGS, opening(2)),
        Op::delete_range(id, &OPENINGS, opening(4), opening(8)),
        Op::put(id, &OPENINGS, opening(5), 1, b"after the range"),
    ];
    let record = f.tenants.entry(id).or_default().of_rows(id, changes, None);
    let last = record.ops().len();
    assert_eq!(last, 6);
    f.store().append(record, ()).wait().unwrap();
    drop(memtable_queue);
    f.wait_until_whole();
    f.wait_until_applied();
    for _ in 0..2 {
        let reader = f.store().reader();
        let read = |number| {
            let opening = reader.opening(id, Sequence::new(number)).unwrap();
            opening.map(|bytes| String::from_utf8(bytes).unwrap())
        };
        let expected = [
            Some("newer"),
            Some("opening 1"),
            None,
            Some("opening 3"),
            None,
            Some("after the range"),
            None,
            None,
            Some("opening 8"),
        ];
        for (number, expected) in (0..).zip(expected) {
            assert_eq!(read(number).as_deref(), expected, "{number}");
        }
        f.kill();
        fs::remove_dir_all(f.path("tables")).unwrap();
        f.open();
        f.wait_until_whole();
    }
}

#[test]
fn a_rebuild_that_is_cut_short_begins_again() {
    let mut f = fixture();
    write_snapshots(&mut f, 2);
    f.wait_until_applied();
    for orderly in [false, true] {
        let memtable_queue = open_slowly(&mut f);
        memtable_queue.send(()).unwrap();
        f.write([1, 2]);
        drop(memtable_queue);
        if orderly {
            f.close();
        } else {
            f.kill();
        }
        if f.path("tables.rebuilding").exists() {
            assert!(f.open().rebuilt);
        } else {
            f.open();
        }
        f.check();
        assert!(!f.path("tables.rebuilding").exists());
        f.kill();
        assert!(!f.open().rebuilt);
        f.check();
    }
}

#[test]
fn snapshots_and_checkpoints_go_on_during_a_rebuild() {
    let mut f = fixture();
    write_snapshots(&mut f, 2);
    let memtable_queue = open_slowly(&mut f);
    let feed = memtable_queue.clone();
    let done = Arc::new(AtomicBool::new(false));
    let stop = Arc::clone(&done);
    let feeder = std::thread::spawn(move || {
        while !stop.load(Ordering::SeqCst) && feed.send(()).is_ok() {
            std::thread::yield_now();
        }
    });
    write_snapshots(&mut f, 2);
    done.store(true, Ordering::SeqCst);
    feeder.join().unwrap();
    drop(memtable_queue);
    f.check();
    f.close();
    assert!(!f.open().rebuilt);
    f.check();
}

#[test]
fn heads_come_first_and_cold_rows_last() {
    let mut f = fixture();
    write_snapshots(&mut f, 1);
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
    // The first may be one that was begun before.
    write_snapshots(&mut f, 2);
    f.close();
    let newest = snapshots(&f).pop().unwrap();
    let mut tables: Vec<_> = rows_of(&newest).into_keys().map(|(_, id, _)| id).collect();
    tables.dedup();
    assert_eq!(
        tables,
        [
            HEADS.id,
            FACTS.id,
            INTENTS.id,
            LAST_USED.id,
            ENTRIES.id,
            OPENINGS.id
        ]
    );
}
