//! One tenant's rows in the tables, rebuilt from the log or a snapshot.

use super::salvage::aged;
use super::*;
use crate::store::{Repair, RepairError};

fn leaf(_: &[u8]) -> [u8; 32] {
    [0; 32]
}

/// The root that [`Tenant::of_rows`] writes into heads.
fn root(leaves: &[[u8; 32]]) -> [u8; 32] {
    [(leaves.len() - 1) as u8; 32]
}

fn repair(f: &Fixture, number: u8) -> Result<crate::store::RepairReport, RepairError> {
    let repair = Repair {
        tenant: tenant(number),
        from: None,
        leaf,
        root,
    };
    repair.run(&config(f.dir.path()), &SCHEMA, &mut |_, _, _| {})
}

/// A stopped store with three tenants.
pub(super) fn stopped() -> Fixture {
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
        // A row that was never put.
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
            f.store().reader().tenant(tenant(1)),
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
    f.write_head_with_a_missing_row();
    f.wait_until_applied();
    f.close();
    let before = files(f.dir.path());
    let error = repair(&f, 1).unwrap_err();
    assert!(matches!(error, RepairError::Differs { .. }), "{error}");
    assert!(error.to_string().contains("hot rows"), "{error}");
    let unknown = repair(&f, 9).unwrap_err();
    assert!(matches!(unknown, RepairError::NoTenant(_)), "{unknown}");
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
