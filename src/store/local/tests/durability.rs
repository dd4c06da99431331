//! What is acknowledged is there, at once and after every stop; what is not is whole or not there.

use super::*;

#[test]
fn what_is_acknowledged_is_there_at_once_and_after_a_stop() {
    let mut f = Fixture::new();
    assert!(f.store().open_stats().first_start);
    assert!(f.store().reader().tenant(tenant(1)).unwrap().is_none());
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
                .place,
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
    let head = f
        .store()
        .reader()
        .tenant(tenant(1))
        .unwrap()
        .map(|claim| claim.head);
    let kept = head.map_or(0, |head| head.sequence.get() + 1);
    assert!(kept >= acknowledged as u64);
}

#[test]
fn one_process_at_a_time() {
    let mut f = Fixture::new();
    assert!(matches!(f.refuses(), OpenError::InUse { .. }));
    f.close();
    f.open();
}

#[test]
fn a_closed_store_says_so() {
    let mut f = Fixture::new();
    f.write([1]);
    let store = f.store().clone();
    let reader: Reader = store.reader();
    store.close().unwrap();
    store.close().unwrap();
    assert_eq!(f.append(1).wait(), Err(Lost::Unknown));
    assert!(matches!(
        reader.entry(tenant(1), Sequence::FIRST),
        Err(ReadError::Closed)
    ));
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
    assert_eq!(
        (orphan.wait(), unfounded.wait()),
        (Err(Lost::Fenced), Err(Lost::Fenced))
    );
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
        assert_eq!(
            f.store().reader().tenant(id).unwrap().unwrap().rows.len(),
            2
        );
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
    f.in_sled(&crate::store::table::PIECES, |tree| pieces = tree.len());
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
