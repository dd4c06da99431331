//! What repair and salvage keep, tell and lose.

use super::disk::all_zero;
use super::*;
use crate::store::{Repair, RepairError, Salvage, SalvageReport};

fn leaf(_: &[u8]) -> [u8; 32] {
    [0; 32]
}

/// The root that [`Tenant::of_rows`] writes into heads.
fn root(leaves: &[[u8; 32]]) -> [u8; 32] {
    [(leaves.len() - 1) as u8; 32]
}

fn repair(f: &Fixture, number: u8) -> Result<crate::store::Repaired, RepairError> {
    let repair = Repair {
        tenant: tenant(number),
        from: None,
        leaf,
        root,
    };
    repair.run(&config(f.dir.path()), &SCHEMA, &mut |_, _, _| {})
}

/// A stopped store with three tenants.
fn stopped() -> Fixture {
    let mut f = Fixture::new();
    (0..4).for_each(|_| f.write((0..60).map(|n| n % 3)));
    f.wait_until_applied();
    f.close();
    f
}

#[test]
fn a_tenants_rows_are_made_anew_from_the_log_and_no_others_change() {
    type Harm = fn(&sled::Tree, &[u8]);
    let harms: [(&TableSpec, Harm); 4] = [
        // A row that says something else, with a checksum that does not say so.
        (FACTS, |tree, prefix| {
            let (key, value) = tree.scan_prefix(prefix).next().unwrap().unwrap();
            let mut value = value.to_vec();
            *value.last_mut().unwrap() ^= 1;
            tree.insert(key, value).unwrap();
        }),
        // Rows that are gone.
        (FACTS, |tree, prefix| {
            let keys: Vec<_> = tree
                .scan_prefix(prefix)
                .keys()
                .map(Result::unwrap)
                .collect();
            keys.iter().for_each(|key| drop(tree.remove(key).unwrap()));
        }),
        // A block that is none.
        (INTENTS, |tree, prefix| {
            let (key, _) = tree.scan_prefix(prefix).next().unwrap().unwrap();
            tree.insert(key, b"not a block".to_vec()).unwrap();
        }),
        // A row nobody wrote.
        (FACTS, |tree, prefix| {
            drop(tree.insert([prefix, b"extra"].concat(), vec![]).unwrap());
        }),
    ];
    for (table, harm) in harms {
        let mut f = stopped();
        let whole = |f: &Fixture, number: u8| {
            let mut found = Vec::new();
            for table in [FACTS, INTENTS, &ENTRIES, &OPENINGS, &HEADS] {
                f.in_sled(table, |tree| {
                    found.extend(
                        tree.scan_prefix(tenant(number).as_bytes())
                            .map(Result::unwrap),
                    );
                });
            }
            found
        };
        let others: Vec<_> = [0, 2].map(|number| whole(&f, number)).into();
        f.in_sled(table, |tree| harm(tree, tenant(1).as_bytes()));
        f.open();
        assert!(matches!(
            f.store().claim(tenant(1)),
            Err(ReadError::Damaged(_))
        ));
        f.close();

        let repaired = repair(&f, 1).unwrap();
        assert!(repaired.log_sufficed && repaired.replaced, "{repaired:?}");
        assert_eq!(
            (repaired.sequence, repaired.entries),
            (Sequence::new(79), 80)
        );
        assert_eq!([0, 2].map(|number| whole(&f, number)).to_vec(), others);
        assert!(!f.path("tables.doubtful").exists());
        let opened = f.open();
        assert!(!opened.rebuilt, "{opened:?}");
        f.check();
        f.write([0, 1, 2]);
        f.close();
        f.open();
        f.check();
    }
}

#[test]
fn after_a_crash_a_repair_brings_a_tenant_to_the_end_of_the_log() {
    let mut f = Fixture::new();
    f.write((0..60).map(|n| n % 3));
    f.kill();
    assert!(repair(&f, 1).unwrap().replaced);
    f.open();
    f.check();
}

#[test]
fn without_tables_that_can_be_used_the_next_start_makes_them() {
    let mut f = stopped();
    fs::remove_dir_all(f.path("tables")).unwrap();
    assert!(!repair(&f, 1).unwrap().replaced);
    f.open();
    f.check();
    f.close();
    fs::write(f.path("tables.doubtful"), "").unwrap();
    assert!(!repair(&f, 1).unwrap().replaced);
    assert!(f.open().rebuilt);
    f.check();
    f.close();
    // What sled cannot open.
    fs::remove_dir_all(f.path("tables")).unwrap();
    fs::write(f.path("tables"), "no directory").unwrap();
    assert!(!repair(&f, 1).unwrap().replaced);
    assert!(f.open().rebuilt);
    f.check();
}

#[test]
fn a_repair_that_does_not_come_to_the_head_changes_nothing() {
    let mut f = Fixture::new();
    f.write([1; 20]);
    // A row that no record has.
    let extra = Op::put(tenant(1), FACTS, vec![99], 1, b"in no record");
    let expected = f.tenants.get_mut(&tenant(1)).unwrap();
    expected.ledger.fold(&extra);
    f.write([1]);
    f.wait_until_applied();
    f.close();
    let before = files(f.dir.path());
    let error = repair(&f, 1).unwrap_err();
    assert!(matches!(error, RepairError::Differs { .. }), "{error}");
    assert!(error.to_string().contains("hot rows"), "{error}");
    let nobody = repair(&f, 9).unwrap_err();
    assert!(matches!(nobody, RepairError::NoTenant(_)), "{nobody}");
    let other_root = Repair {
        tenant: tenant(1),
        from: None,
        leaf,
        root: |_| [0; 32],
    };
    let other = other_root.run(&config(f.dir.path()), &SCHEMA, &mut |_, _, _| {});
    assert!(other.is_err());
    assert!(files(f.dir.path()) == before, "something was changed");
    f.open();
    let in_use = repair(&f, 1).unwrap_err();
    assert!(matches!(in_use, RepairError::Open(OpenError::InUse { .. })));
}

fn plan(f: &Fixture) -> Option<Salvage> {
    Salvage::plan(&config(f.dir.path()), &SCHEMA, &mut |_, _, _| {}).unwrap()
}

/// Salvages, and opens what comes of it: everything but the losses is there.
#[track_caller]
fn salvage(f: &mut Fixture) -> SalvageReport {
    let salvage = plan(f).expect("a start refuses it");
    let report = salvage.report().clone();
    salvage.execute(b"{}", &mut |_, _, _| {}).unwrap();
    let unfinished = Salvage::unfinished(f.dir.path()).unwrap().unwrap();
    let harmed = report.losses.iter().map(|loss| &loss.tenant);
    assert!(harmed.eq(&unfinished), "{report:#?} and {unfinished:?}");
    settled(f, &report);
    report
}

/// What was salvaged opens and is what the report says; from here on the fixture knows no more. Where
/// one was taken up again and could not look into the tables, more tenants may have lost something.
#[track_caller]
fn settled(f: &mut Fixture, report: &SalvageReport) {
    assert!(plan(f).is_none(), "{report:#?}");
    let unfinished = Salvage::unfinished(f.dir.path()).unwrap().unwrap();
    let mut harmed = report.losses.iter().map(|loss| &loss.tenant);
    let all = harmed.all(|tenant| unfinished.contains(tenant));
    assert!(all, "{report:#?} and {unfinished:?}");
    assert!(f.refuses().to_string().contains("arf repair --salvage"));
    Salvage::finish(f.dir.path()).unwrap();
    let opened = f.open();
    assert!(opened.clean || report.gaps.is_empty(), "{report:#?}");
    for loss in &report.losses {
        match loss.last_kept {
            Some(last) => cut_back(f, loss.tenant, last.get() + 1),
            None => drop(f.tenants.remove(&loss.tenant)),
        }
    }
    f.check();
    assert!(f.path("quarantine").exists());
    let ids: Vec<_> = f.tenants.keys().map(|id| id.as_bytes()[0]).collect();
    f.write(ids.clone());
    f.check();
    f.close();
    f.open();
    f.write(ids);
    f.check();
    f.close();
}

/// The tenant as it was when it had so many records.
fn cut_back(f: &mut Fixture, id: TenantId, records: u64) {
    let mut tenant = Tenant::default();
    (0..records).for_each(|_| drop(tenant.record(id)));
    f.tenants.insert(id, tenant);
}

#[test]
fn where_nothing_is_damaged_there_is_nothing_to_salvage() {
    let mut f = stopped();
    assert!(plan(&f).is_none());
    f.open();
    f.write([1]);
    f.kill();
    // A write that was cut short is no damage.
    let used = |number: &u64| fs::read(f.segment(*number)).is_ok_and(|bytes| !all_zero(&bytes));
    let segment = f.segment((1..).take_while(used).last().unwrap());
    let mut bytes = fs::read(&segment).unwrap();
    let end = (bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1).next_multiple_of(8);
    if end < bytes.len() {
        bytes[end] = 7;
        fs::write(&segment, bytes).unwrap();
    }
    // sled tidies up for a little while after it was dropped.
    let but_for_tables = || {
        let mut files = files(f.dir.path());
        files.retain(|path, _| !path.starts_with(f.path("tables")));
        files
    };
    let before = but_for_tables();
    assert!(plan(&f).is_none());
    assert!(but_for_tables() == before, "something was changed");
}

#[test]
fn a_flipped_bit_costs_the_tenants_of_its_frame_and_no_others() {
    let mut f = Fixture::new();
    // One frame each, or nearly: what is lost is known to the record.
    for number in [1, 2, 1, 3, 2, 1, 3] {
        f.write([number]);
    }
    f.close();
    let segment = f.segment(1);
    let whole = fs::read(&segment).unwrap();
    // In the second record of tenant 2, the fifth of all.
    let entry = whole
        .windows(7)
        .enumerate()
        .filter(|(_, w)| w == b"entry 1")
        .nth(1);
    let mut changed = whole.clone();
    changed[entry.unwrap().0] ^= 1;
    fs::write(&segment, &changed).unwrap();
    let report = salvage(&mut f);
    assert!(
        report.refused.contains("damaged at offset"),
        "{}",
        report.refused
    );
    assert_eq!(report.gaps.len(), 1, "{report:#?}");
    assert_eq!((report.gaps[0].records, report.kept), (Some(1), 6));
    // Tenants 1 and 3 have records behind it that follow, so nothing of theirs was in it.
    assert_eq!(report.unharmed, 2);
    let [loss] = &report.losses[..] else {
        panic!("{report:#?}");
    };
    assert_eq!(
        (loss.tenant, loss.last_kept),
        (tenant(2), Some(Sequence::FIRST))
    );
    // Nothing of it is behind the damage; that it was there is known from the tables.
    assert_eq!(
        (loss.dropped, loss.tables_knew),
        (None, Some(Sequence::new(1)))
    );
    let kept = report.aside.join("wal").join("0000000000000001.wal");
    assert_eq!(fs::read(kept).unwrap(), changed, "as it was found");
    assert!(report.aside.join("tables").exists() && report.aside.join("report.json").exists());
}

#[test]
fn what_follows_a_gap_of_its_tenant_is_dropped_and_told() {
    let mut f = Fixture::new();
    for number in [1, 2, 1, 2, 1, 2] {
        f.write([number]);
    }
    f.close();
    let segment = f.segment(1);
    let mut bytes = fs::read(&segment).unwrap();
    let entry = bytes.windows(7).position(|window| window == b"entry 1");
    bytes[entry.unwrap()] ^= 1;
    fs::write(&segment, &bytes).unwrap();
    let report = salvage(&mut f);
    let [loss] = &report.losses[..] else {
        panic!("{report:#?}");
    };
    assert_eq!(
        (loss.tenant, loss.last_kept),
        (tenant(1), Some(Sequence::FIRST))
    );
    assert_eq!(loss.dropped, Some((Sequence::new(2), Sequence::new(2))));
    assert!(loss.certain());
}

/// Random numbers; the seed is printed, and `ARF_SEED` sets it.
struct Random(u64);

impl Random {
    #[expect(clippy::disallowed_methods, reason = "a test's seed")]
    fn new() -> Self {
        let seed = std::env::var("ARF_SEED")
            .ok()
            .and_then(|seed| seed.parse().ok());
        let seed = seed.unwrap_or_else(|| u64::from(std::process::id()));
        println!("ARF_SEED={seed}");
        Self(seed)
    }

    fn below(&mut self, end: usize) -> usize {
        // A multiplicative generator (Steele and Vigna 2021) is enough to choose places.
        self.0 = (self.0 | 1).wrapping_mul(0xF135_7AEA_2E62_A9C5);
        (self.0 >> 33) as usize % end
    }
}

/// A log of several segments with three tenants, stopped in order or not.
fn long(stop: bool) -> Fixture {
    let mut f = Fixture::new();
    (0..8).for_each(|_| f.write((0..90).map(|n| n % 3)));
    if stop {
        f.close();
    } else {
        f.kill();
    }
    assert!(f.segment(3).exists());
    f
}

#[test]
fn whatever_is_damaged_what_is_left_opens_and_loses_no_more_than_is_told() {
    let mut random = Random::new();
    let template = long(true);
    let log = files(&template.path("wal"));
    let mut refused = 0;
    for round in 0..40 {
        let dir = tempfile::tempdir().unwrap();
        let mut f = Fixture {
            config: config(dir.path()),
            dir,
            store: None,
            tenants: BTreeMap::new(),
        };
        for number in 0..3 {
            cut_back(&mut f, tenant(number), 240);
        }
        fs::create_dir(f.path("wal")).unwrap();
        fs::copy(template.path("MANIFEST"), f.path("MANIFEST")).unwrap();
        for (path, bytes) in &log {
            fs::write(f.path("wal").join(path.file_name().unwrap()), bytes).unwrap();
        }
        // Not the last one: damage to the very end cannot be told from a write that was cut short.
        let mut segments: Vec<_> = (1..)
            .map(|n| f.segment(n))
            .take_while(|path| path.exists())
            .collect();
        segments.retain(|path| !all_zero(&fs::read(path).unwrap()));
        segments.pop();
        // One to three harms.
        for _ in 0..=random.below(3) {
            let path = &segments[random.below(segments.len())];
            let Ok(mut bytes) = fs::read(path) else {
                continue;
            };
            let used = bytes
                .iter()
                .rposition(|byte| *byte != 0)
                .map_or(1, |last| last + 1);
            let at = random.below(used);
            match random.below(5) {
                0 => bytes[at] ^= 1 << random.below(8),
                1 => {
                    let end = (at + random.below(9_000)).min(used);
                    bytes[at..end].fill(0);
                }
                2 => bytes.truncate(at),
                3 => {
                    let end = (at + random.below(3_000)).min(used);
                    bytes[at..end]
                        .iter_mut()
                        .for_each(|byte| *byte = random.below(256) as u8);
                }
                _ => {
                    fs::remove_file(path).unwrap();
                    continue;
                }
            }
            fs::write(path, bytes).unwrap();
        }
        let Some(salvage) = plan(&f) else {
            // Only what was zero became zero.
            f.open();
            f.check();
            continue;
        };
        refused += 1;
        let report = salvage.report().clone();
        println!("round {round}: {report:#?}");
        salvage.execute(b"{}", &mut |_, _, _| {}).unwrap();
        let records: u64 = report
            .losses
            .iter()
            .map(|loss| loss.last_kept.map_or(0, |last| last.get() + 1))
            .sum();
        assert!(
            report.kept >= records + 240 * report.unharmed,
            "round {round}"
        );
        settled(&mut f, &report);
    }
    assert!(refused > 15, "only {refused} were damaged");
}

#[test]
fn beside_other_damage_the_tables_know_of_an_end_that_is_gone() {
    let mut f = Fixture::new();
    (0..8).for_each(|_| f.write((0..75).map(|n| n % 3)));
    f.wait_until_applied();
    f.close();
    let segments = (1..).take_while(|number| f.segment(*number).exists());
    let last = segments
        .filter(|n| !all_zero(&fs::read(f.segment(*n)).unwrap()))
        .last();
    fs::remove_file(f.segment(last.unwrap())).unwrap();
    let mut bytes = fs::read(f.segment(1)).unwrap();
    bytes[5_000] ^= 1;
    fs::write(f.segment(1), bytes).unwrap();
    let report = plan(&f).unwrap().report().clone();
    assert_eq!(
        (report.unharmed, report.losses.len()),
        (0, 3),
        "{report:#?}"
    );
    assert!(
        report
            .losses
            .iter()
            .all(|loss| loss.tables_knew == Some(Sequence::new(199)))
    );
}

#[test]
fn a_log_whose_end_is_gone_is_known_by_the_tables() {
    let mut f = Fixture::new();
    (0..8).for_each(|_| f.write((0..75).map(|n| n % 3)));
    f.wait_until_applied();
    f.close();
    for number in (2..).take_while(|number| f.segment(*number).exists()) {
        fs::remove_file(f.segment(number)).unwrap();
    }
    assert!(
        f.refuses()
            .to_string()
            .contains("tables hold what is not in the log")
    );
    let found = plan(&f).unwrap();
    let report = found.report().clone();
    assert_eq!(
        (report.unharmed, report.losses.len()),
        (0, 3),
        "{report:#?}"
    );
    assert!(
        report
            .losses
            .iter()
            .all(|loss| loss.tables_knew == Some(Sequence::new(199)) && loss.certain())
    );
    found.execute(b"{}", &mut |_, _, _| {}).unwrap();
    Salvage::finish(f.dir.path()).unwrap();
    f.open();
    for loss in &report.losses {
        cut_back(&mut f, loss.tenant, loss.last_kept.unwrap().get() + 1);
    }
    f.check();
}

#[test]
fn a_manifest_that_is_none_costs_nothing() {
    let mut f = stopped();
    for harm in ["arf-data/1 boot-epoch=7 crc32=00000000\n", ""] {
        fs::write(f.path("MANIFEST"), harm).unwrap();
        let report = salvage(&mut f);
        assert!(
            report.gaps.is_empty() && report.losses.is_empty(),
            "{report:#?}"
        );
        assert_eq!(
            fs::read_to_string(report.aside.join("MANIFEST")).unwrap(),
            harm
        );
    }
    fs::remove_file(f.path("MANIFEST")).unwrap();
    assert!(salvage(&mut f).losses.is_empty());
    fs::write(f.path("MANIFEST"), "arf-data/2 of tomorrow\n").unwrap();
    let newer = Salvage::plan(&config(f.dir.path()), &SCHEMA, &mut |_, _, _| {});
    assert!(matches!(newer, Err(OpenError::Newer { .. })));
}

/// The disk there is, until it fails for good.
struct EndingDisk(std::sync::atomic::AtomicUsize);

impl EndingDisk {
    fn may(&self) -> io::Result<()> {
        let left = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                left.checked_sub(1)
            });
        left.map(drop)
            .map_err(|_| io::Error::other("the power is gone"))
    }
}

impl Disk for EndingDisk {
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
        RealDisk.free(dir)
    }
    fn create(&self, path: &Path, front: &[u8], len: u64) -> io::Result<Box<dyn LogFile>> {
        self.may()?;
        RealDisk.create(path, front, len)
    }
    fn open(&self, path: &Path) -> io::Result<Box<dyn LogFile>> {
        RealDisk.open(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.may()?;
        RealDisk.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.may()?;
        RealDisk.remove(path)
    }
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.may()?;
        RealDisk.create_dir(dir)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.may()?;
        RealDisk.sync_dir(dir)
    }
}

#[test]
fn a_salvage_that_is_cut_short_is_taken_up_again() {
    let mut last = None;
    for operations in 0.. {
        let mut f = long(true);
        let segment = f.segment(2);
        let mut bytes = fs::read(&segment).unwrap();
        bytes[5_000] ^= 1;
        fs::write(&segment, bytes).unwrap();
        let env = Env {
            disk: Arc::new(EndingDisk(operations.into())),
            ..Env::real()
        };
        let config = config(f.dir.path());
        let found = Salvage::plan_with(&config, &SCHEMA, env, &mut |_, _, _| {});
        let found = found.unwrap().unwrap();
        let report = found.report().clone();
        let ended = found.execute(b"{}", &mut |_, _, _| {});
        // What is there is refused, or whole.
        let again = plan(&f);
        assert!(again.is_some() || !f.segment(9).exists());
        if let Some(again) = again {
            again.execute(b"{}", &mut |_, _, _| {}).unwrap();
        }
        settled(&mut f, &report);
        if ended.is_ok() {
            last = Some(operations);
            break;
        }
    }
    assert!(last.is_some_and(|operations| operations > 15), "{last:?}");
}

/// A stopped store with two snapshots, whose log has lost its beginning.
fn aged() -> Fixture {
    let mut f = Fixture::new();
    f.close();
    let small = StoreConfig {
        snapshot_bytes: 64 << 10,
        checkpoint_every: Duration::from_millis(5),
        ..config(f.dir.path())
    };
    f.store = Some(Store::open(&small, &SCHEMA).unwrap());
    eventually("the log lost its beginning", || {
        f.write((0..75).map(|n| n % 3));
        !f.segment(1).exists()
    });
    f.write((0..75).map(|n| n % 3));
    f.wait_until_applied();
    f.close();
    f
}

fn snapshots(f: &Fixture) -> Vec<PathBuf> {
    files(&f.path("snapshots")).into_keys().collect()
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 1;
    fs::write(path, bytes).unwrap();
}

/// Flips a bit of the last entry in the log but some.
fn harm_log(f: &Fixture) {
    let number = f.tenants[&tenant(1)].next - 5;
    let text = format!("entry {number}");
    let harmed = files(&f.path("wal"))
        .into_iter()
        .rev()
        .find_map(|(path, bytes)| {
            let at = bytes
                .windows(text.len())
                .rposition(|w| w == text.as_bytes())?;
            Some((path, at))
        });
    let (path, at) = harmed.unwrap();
    flip(&path, at);
}

#[test]
fn a_repair_takes_the_rows_of_a_snapshot_too() {
    let mut f = aged();
    f.in_sled(FACTS, |tree| {
        let (key, _) = tree
            .scan_prefix(tenant(1).as_bytes())
            .next()
            .unwrap()
            .unwrap();
        tree.remove(key).unwrap();
    });
    let repaired = Repair {
        tenant: tenant(1),
        from: None,
        leaf,
        root,
    };
    let repaired = repaired.run(&config(f.dir.path()), &SCHEMA, &mut |_, _, _| {});
    let repaired = repaired.unwrap();
    assert!(repaired.log_sufficed && repaired.replaced, "{repaired:?}");
    assert!(!f.open().rebuilt);
    f.check();
}

#[test]
fn a_salvage_goes_on_from_a_snapshot() {
    // With both snapshots whole, and with the newest of no use where only a whole reading finds it.
    for newest_is_harmed in [false, true] {
        let mut f = aged();
        harm_log(&f);
        let all = snapshots(&f);
        assert_eq!(all.len(), 2);
        if newest_is_harmed {
            flip(&all[1], fs::read(&all[1]).unwrap().len() * 3 / 4);
        }
        let report = salvage(&mut f);
        assert_eq!(report.gaps.len(), 1, "{report:#?}");
        assert_eq!(report.aside.join("snapshots").exists(), newest_is_harmed);
        f.open();
        f.check();
    }
}

#[test]
fn with_both_snapshots_gone_what_was_in_them_is_told_to_be_lost() {
    let mut f = aged();
    for path in snapshots(&f) {
        flip(&path, 400);
    }
    assert!(matches!(f.refuses(), OpenError::Damaged { .. }));
    let found = plan(&f).unwrap();
    let report = found.report().clone();
    assert_eq!(
        (report.unharmed, report.losses.len()),
        (0, 3),
        "{report:#?}"
    );
    assert!(
        report
            .losses
            .iter()
            .all(|loss| loss.last_kept.is_none() && loss.certain())
    );
    found.execute(b"{}", &mut |_, _, _| {}).unwrap();
    Salvage::finish(f.dir.path()).unwrap();
    f.open();
    f.tenants.clear();
    f.check();
    f.write([7]);
    f.check();
}
