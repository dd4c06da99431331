//! What a salvage keeps of a damaged directory, what it reports lost, and that a restore installs it.

use super::disk::all_zero;
use super::repair::stopped;
use super::*;
use crate::store::local::disk::{Disk as _, RealDisk};
use crate::store::{Salvage, SalvageReport};

fn plan(f: &Fixture) -> Option<(Salvage, TempDir)> {
    let scratch = tempfile::tempdir().unwrap();
    let planned = Salvage::plan(f.dir.path(), &SCHEMA, scratch.path(), &mut |_, _, _| {});
    Some((planned.unwrap()?, scratch))
}

fn report(f: &Fixture) -> SalvageReport {
    let (salvage, _scratch) = plan(f).expect("a start refuses it");
    salvage.report().clone()
}

/// Salvages, restores what was written to another directory, and opens it: everything but the losses is
/// there. The damaged directory is as it was.
#[track_caller]
fn salvage(f: &mut Fixture) -> SalvageReport {
    let before = files(f.dir.path());
    let (salvage, scratch) = plan(f).expect("a start refuses it");
    let report = salvage.report().clone();
    let beside = tempfile::tempdir().unwrap();
    let backup = beside.path().join("backup");
    let quiet: Progress<'_> = &mut |_, _, _| {};
    let written = salvage.write(&backup, Timestamp::MIN, b"{}", &[], quiet);
    let written = written.unwrap();
    drop((salvage, scratch));
    assert!(
        files(f.dir.path()) == before,
        "the damaged directory was changed"
    );
    assert_eq!(fs::read(backup.join("salvage.json")).unwrap(), b"{}");

    let (checked, seen) = Backup::check(&backup, &SCHEMA, quiet).unwrap();
    assert_eq!(checked, written);
    seen.check_rows(quiet).unwrap();
    drop(seen);
    f.dir = tempfile::tempdir().unwrap();
    f.config.data = f.dir.path().to_owned();
    let restoring = PendingRestore::begin(f.dir.path()).unwrap();
    restoring.copy(&backup, &checked, &[], quiet).unwrap();
    restoring.finish().unwrap();
    assert!(!f.path("salvage.json").exists());
    for loss in &report.losses {
        match loss.last_kept {
            Some(last) => cut_back(f, loss.tenant, last.get() + 1),
            None => drop(f.tenants.remove(&loss.tenant)),
        }
    }
    assert!(f.open().clean);
    f.check();
    let ids: Vec<_> = f.tenants.keys().map(|id| id.as_bytes()[0]).collect();
    f.write(ids.clone());
    f.check();
    f.close();
    assert!(plan(f).is_none(), "{report:#?}");
    f.open();
    f.write(ids);
    f.check();
    f.close();
    report
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
}

#[test]
fn what_follows_a_gap_of_its_tenant_is_dropped_and_reported() {
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
fn whatever_is_damaged_no_more_is_lost_than_is_reported() {
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
        // Not the last one: damage to the very end cannot be distinguished from a write that was cut short.
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
        if plan(&f).is_none() {
            // Only what was zero became zero.
            f.open();
            f.check();
            continue;
        }
        refused += 1;
        let report = salvage(&mut f);
        println!("round {round}: {report:#?}");
        let records: u64 = report
            .losses
            .iter()
            .map(|loss| loss.last_kept.map_or(0, |last| last.get() + 1))
            .sum();
        assert!(
            report.kept >= records + 240 * report.unharmed,
            "round {round}"
        );
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
    let report = report(&f);
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
    let report = salvage(&mut f);
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
}

#[test]
fn a_manifest_that_is_none_costs_nothing() {
    for harm in ["arf-data/1 boot-epoch=7 crc32=00000000\n", ""] {
        let mut f = stopped();
        fs::write(f.path("MANIFEST"), harm).unwrap();
        let report = salvage(&mut f);
        assert!(
            report.gaps.is_empty() && report.losses.is_empty(),
            "{report:#?}"
        );
    }
    let mut f = stopped();
    fs::remove_file(f.path("MANIFEST")).unwrap();
    assert!(salvage(&mut f).losses.is_empty());
    fs::write(f.path("MANIFEST"), "arf-data/2 of tomorrow\n").unwrap();
    let scratch = tempfile::tempdir().unwrap();
    let newer = Salvage::plan(f.dir.path(), &SCHEMA, scratch.path(), &mut |_, _, _| {});
    assert!(matches!(newer, Err(OpenError::Newer { .. })));
}

#[test]
fn a_salvage_is_written_to_an_empty_directory_only() {
    let mut f = stopped();
    fs::remove_file(f.path("MANIFEST")).unwrap();
    let (salvage, _scratch) = plan(&f).unwrap();
    let write = |dir: &Path| {
        let quiet: Progress<'_> = &mut |_, _, _| {};
        salvage.write(dir, Timestamp::MIN, b"{}", &[], quiet)
    };
    let beside = tempfile::tempdir().unwrap();
    fs::write(beside.path().join("precious"), "").unwrap();
    let not_empty = write(beside.path());
    assert!(matches!(not_empty, Err(BackupError::NotEmpty { .. })));
    let inside = write(&f.path("backup"));
    assert!(matches!(inside, Err(BackupError::Inside { .. })));
    assert!(write(&beside.path().join("backup")).is_ok());
    let mut left: Vec<_> = RealDisk.list(beside.path()).unwrap();
    left.sort();
    assert_eq!(left, ["backup", "precious"]);
    drop(salvage);
    assert!(matches!(f.refuses(), OpenError::Damaged { .. }));
    f.tenants.clear();
}

/// A stopped store with two snapshots, whose log has lost its beginning.
pub(super) fn aged() -> Fixture {
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
fn a_salvage_goes_on_from_a_snapshot() {
    // With both snapshots intact, and with the newest damaged behind its front.
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
    }
}

#[test]
fn with_both_snapshots_damaged_the_tables_make_up_for_them() {
    let mut f = aged();
    for path in snapshots(&f) {
        flip(&path, 400);
    }
    assert!(matches!(f.refuses(), OpenError::Damaged { .. }));
    let report = salvage(&mut f);
    assert_eq!(
        (report.unharmed, report.from_tables, report.losses.len()),
        (3, 3, 0),
        "{report:#?}"
    );
}

#[test]
fn a_tenant_whose_rows_in_the_tables_are_not_those_of_its_head_does_not_come_from_them() {
    let mut f = aged();
    for path in snapshots(&f) {
        flip(&path, 400);
    }
    f.in_sled(FACTS, |tree| {
        let row = tree.scan_prefix(tenant(1).as_bytes()).next();
        tree.remove(row.unwrap().unwrap().0).unwrap();
    });
    let report = salvage(&mut f);
    let lost: Vec<_> = report.losses.iter().map(|loss| loss.tenant).collect();
    assert_eq!(
        (report.from_tables, lost),
        (2, vec![tenant(1)]),
        "{report:#?}"
    );
}

#[test]
fn with_both_snapshots_and_the_tables_gone_what_was_in_them_is_reported_lost() {
    let mut f = aged();
    for path in snapshots(&f) {
        flip(&path, 400);
    }
    fs::remove_dir_all(f.path("tables")).unwrap();
    let report = salvage(&mut f);
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
}
