//! Directories that are only read, and backups of open and closed stores.

use super::*;

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
            let claim = reader.tenant(*id).unwrap().unwrap();
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
    f.write_head_with_a_missing_row();
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
        let restored = PendingRestore::begin(&elsewhere.path().join("restored")).unwrap();
        restored.copy(&dir, &backup, &[], quiet).unwrap();
        restored.finish().unwrap();
        let restored = elsewhere.path().join("restored");
        let store = Store::open(&config(&restored), &SCHEMA).unwrap();
        assert!(store.open_stats().clean && store.tenants() == 3);
        for id in (0..3).map(tenant) {
            let claim = store.reader().tenant(id).unwrap().unwrap();
            assert!(claim.head.sequence.get() >= 99);
        }
        store.close().unwrap();
        let error = PendingRestore::begin(&restored).unwrap_err();
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
            assert_eq!(reader.tenant(id).unwrap().unwrap().head, head);
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
