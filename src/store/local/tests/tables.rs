//! Tables that are missing, stale, damaged, slow or failing.

use super::hooks::{TablesCall, hooked_tables};
use super::*;
use crate::store::local::key::full_key;

fn hot_rows(stored: &TenantRows) -> Vec<(&'static str, Vec<u8>, Vec<u8>)> {
    stored
        .rows
        .iter()
        .map(|(table, key, value)| (table.name, key.clone(), value.clone()))
        .collect()
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
            .map(|n| hot_rows(&f.store().reader().tenant(tenant(n)).unwrap().unwrap()))
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
fn a_changed_byte_in_the_tables_is_an_error_when_it_is_read() {
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
        f.store().reader().tenant(tenant(1)),
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
        f.store().reader().tenant(tenant(1)),
        Err(ReadError::Damaged(_))
    ));
    f.close();
    let (key, value) = taken.unwrap();
    f.in_sled(FACTS, |tree| drop(tree.insert(key, value).unwrap()));
    f.open();
    f.check();
}

#[test]
fn a_failed_table_write_stops_writes_while_reads_go_on_and_the_next_start_rebuilds() {
    let mut f = Fixture::new();
    let failing = Arc::new(AtomicBool::new(false));
    let armed = Arc::clone(&failing);
    // Half of a generation goes in before it fails; some failures of sled are panics.
    f.open_in(hooked_tables(move |call, table| {
        let fails = call == TablesCall::Write && table.id == HEADS.id;
        assert!(!(fails && armed.load(Ordering::SeqCst)), "sled fails");
        true
    }));
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
    f.open_in(hooked_tables(move |call, table| {
        let pauses = call == TablesCall::Range && table.id == LAST_USED.id;
        if pauses && armed.swap(false, Ordering::SeqCst) {
            entered.send(()).unwrap();
            may_go.lock().unwrap().recv().unwrap();
        }
        true
    }));
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
            f.store().stats().memtable_bytes,
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
        memtable_bytes: 4 << 10,
        ..config(f.dir.path())
    };
    f.store = Some(Store::open(&config, &SCHEMA).unwrap());
    f.write((0..600).map(|n| (n % 5) as u8));
    f.check();
}

#[test]
fn checkpoints_are_made_however_much_there_is_to_do() {
    let mut f = Fixture::with(|config| {
        config.memtable_bytes = 4 << 10;
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
