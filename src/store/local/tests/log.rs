//! What a start makes of the log: torn tails are cut off, and all other damage is refused.

use super::*;
use crate::store::local::log::scan::Scan;

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
            let claim = f.store().reader().tenant(tenant(1)).unwrap();
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
        let claim = f.store().reader().tenant(tenant(1)).unwrap().unwrap();
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

/// [`SCHEMA`] and a table that only a later version knows.
fn newer_schema() -> &'static [TableSpec] {
    static LATER: TableSpec = TableSpec {
        id: 99,
        name: "later",
        load: Load::Hot,
        key_kind: KeyKind::Natural,
        version: 1,
    };
    Vec::leak(SCHEMA.iter().copied().chain([LATER]).collect())
}

#[test]
fn a_newer_data_directory_is_refused() {
    let mut f = Fixture::new();
    f.close();
    for manifest in [
        "arf-data/2 newest-writer=9.1.0 x\n",
        "arf-data/2 something=else\n",
    ] {
        fs::write(f.path("MANIFEST"), manifest).unwrap();
        assert!(matches!(f.refuses(), OpenError::Newer { .. }));
    }
    fs::write(f.path("MANIFEST"), "arf-data/2 newest-writer=9.1.0 x\n").unwrap();
    let error = f.refuses().to_string();
    assert!(
        error.ends_with("data directory format 2: written by arf 9.1.0; start that one"),
        "{error}"
    );
}

#[test]
fn a_directory_of_a_version_with_another_table_is_newer_and_not_damaged() {
    let mut f = Fixture::new();
    f.write([1]);
    f.close();
    // The later version starts, and writes nothing.
    drop(Store::open(&f.config, newer_schema()).unwrap());
    let is_newer = |error: &OpenError| {
        let OpenError::Newer { what, .. } = error else {
            panic!("{error}");
        };
        assert_eq!(what, "table 99");
    };
    is_newer(&f.refuses());
    is_newer(&ReadOnly::open(f.dir.path(), &SCHEMA).unwrap_err());
    let scratch = tempfile::tempdir().unwrap();
    let salvage = Salvage::plan(f.dir.path(), &SCHEMA, scratch.path(), &mut |_, _, _| {});
    is_newer(&salvage.unwrap_err());
    assert!(Store::open(&f.config, newer_schema()).is_ok());
}

#[test]
fn a_row_of_an_unknown_table_in_the_log_is_newer_and_not_damaged() {
    let mut f = Fixture::new();
    f.write([1]);
    f.close();
    let manifest = fs::read(f.path("MANIFEST")).unwrap();
    let schema = newer_schema();
    let store = Store::open(&f.config, schema).unwrap();
    let id = tenant(1);
    let row = Op::put(id, schema.last().unwrap(), vec![1], 1, b"of tomorrow");
    let record = f
        .tenants
        .entry(id)
        .or_default()
        .of_rows(id, vec![row], None);
    store.append(record, ()).wait().unwrap();
    store.close().unwrap();
    // As if the manifest did not tell.
    let text = String::from_utf8(manifest).unwrap();
    let (fields, _) = text.split_once(" crc32=").unwrap();
    let fields = fields.replace("boot-epoch=1", "boot-epoch=2");
    let crc = crc32fast::hash(fields.as_bytes());
    fs::write(f.path("MANIFEST"), format!("{fields} crc32={crc:08x}\n")).unwrap();
    let error = f.refuses();
    assert!(
        matches!(&error, OpenError::Newer { what, .. } if what.starts_with("a row of an unknown table")),
        "{error}"
    );
}
