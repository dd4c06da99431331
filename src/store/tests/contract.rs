//! What every store promises, wherever it keeps its bytes: order, durability, ownership, ranges.
//!
//! A backend implements [`Backend`] and calls [`contract!`](crate::store::tests::contract::contract). The tests name
//! tenants, rows and entries; how these become one unit of the backend is its own affair.

use std::ops::ControlFlow;
use std::path::Path;

use crate::id::{Sequence, TenantId};
use crate::store::{
    Claim, Durable, Head, KeyKind, Ledger, Load, Lost, Op, Owner, ReadError, Store, TableSpec,
    open_envelope,
};
use crate::time::Timestamp;

/// How a kind of store is opened and appended to.
pub trait Backend {
    /// The store in this directory, with [`TABLES`]; what was there before is there again.
    fn open(dir: &Path) -> Store;

    /// Appends one step of a tenant: `head.sequence` is its number.
    fn append(
        store: &Store,
        owner: Owner,
        rows: Vec<Op<'static>>,
        entry: &[u8],
        head: Head,
    ) -> Durable;
}

pub static TABLES: [TableSpec; 2] = [
    TableSpec {
        id: 1,
        name: "facts",
        load: Load::Hot,
        key_kind: KeyKind::Natural,
        version: 1,
    },
    TableSpec {
        id: 2,
        name: "notes",
        load: Load::Cold,
        key_kind: KeyKind::Sequence,
        version: 1,
    },
];

fn facts() -> &'static TableSpec {
    &TABLES[0]
}

fn notes() -> &'static TableSpec {
    &TABLES[1]
}

fn tenant(number: u8) -> TenantId {
    TenantId::from_bytes([number; 16])
}

fn number(number: u64) -> Vec<u8> {
    number.to_be_bytes().to_vec()
}

/// A tenant's owner, as an engine has it.
struct Actor {
    owner: Owner,
    next: Sequence,
    ledger: Ledger,
}

/// Facts of a claim: key and payload.
type Facts = Vec<(Vec<u8>, Vec<u8>)>;

impl Actor {
    fn claim(store: &Store, tenant: TenantId) -> (Self, Facts) {
        let mut rows = Vec::new();
        let claimed = store.claim(tenant, &mut |table, key, envelope| {
            let stored = open_envelope(tenant, table, key, envelope).unwrap();
            rows.push((key.to_vec(), stored.payload));
        });
        let Claim {
            owner,
            head,
            ledger,
        } = claimed.unwrap();
        let next = head.map_or(Sequence::FIRST, |head| head.sequence.next());
        let actor = Self {
            owner,
            next,
            ledger,
        };
        (actor, rows)
    }

    fn tenant(&self) -> TenantId {
        self.owner.tenant()
    }

    fn append<B: Backend>(&mut self, store: &Store, rows: Vec<Op<'static>>) -> Durable {
        rows.iter().for_each(|row| self.ledger.fold(row));
        let head = Head {
            sequence: self.next,
            at: Timestamp::MIN,
            log_base: Sequence::FIRST,
            next_due: None,
            hot_rows: self.ledger.count(),
            hot_hash: self.ledger.hash(),
            root: [0; 32],
            range: Vec::new(),
        };
        let entry = entry(self.next);
        self.next = self.next.next();
        B::append(store, self.owner, rows, &entry, head)
    }

    /// A step that sets one fact.
    fn set<B: Backend>(&mut self, store: &Store, key: &[u8], value: &[u8]) -> Durable {
        let row = Op::put(self.tenant(), facts(), key.to_vec(), 1, value);
        self.append::<B>(store, vec![row])
    }
}

fn entry(sequence: Sequence) -> Vec<u8> {
    format!("entry {sequence}").into_bytes()
}

fn fact(store: &Store, tenant: TenantId, key: &[u8]) -> Option<Vec<u8>> {
    let stored = store.reader().get(tenant, facts(), key).unwrap();
    stored.map(|stored| stored.payload)
}

fn store<B: Backend>() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = B::open(dir.path());
    (dir, store)
}

pub fn what_is_durable_is_read_at_once<B: Backend>() {
    let (_dir, store) = store::<B>();
    let (mut actor, rows) = Actor::claim(&store, tenant(1));
    assert!(rows.is_empty());
    for round in 0..50u8 {
        actor.set::<B>(&store, b"key", &[round]).wait().unwrap();
        assert_eq!(fact(&store, tenant(1), b"key"), Some(vec![round]));
        let sequence = Sequence::new(round.into());
        let read = store.reader().entry(tenant(1), sequence).unwrap();
        assert_eq!(read, Some(entry(sequence)));
    }
    assert_eq!(fact(&store, tenant(2), b"key"), None);
}

pub fn a_tenants_steps_have_an_order<B: Backend>() {
    let (_dir, store) = store::<B>();
    let (mut actor, _) = Actor::claim(&store, tenant(1));
    let (mut other, _) = Actor::claim(&store, tenant(2));
    actor.set::<B>(&store, b"a", b"1").wait().unwrap();
    actor.next = actor.next.next();
    // One that is missing, and with it all behind it; of no other tenant.
    let orphans = [b"2", b"3"].map(|value| actor.set::<B>(&store, b"a", value));
    let others = [b"2", b"3"].map(|value| other.set::<B>(&store, b"a", value));
    assert!(
        orphans
            .into_iter()
            .all(|step| step.wait() == Err(Lost::Fenced))
    );
    assert!(others.into_iter().all(|step| step.wait().is_ok()));
    assert_eq!(fact(&store, tenant(1), b"a"), Some(b"1".to_vec()));
    assert_eq!(
        store.reader().entry(tenant(1), Sequence::new(2)).unwrap(),
        None
    );
    // A claim goes on behind what is durable.
    let (mut actor, rows) = Actor::claim(&store, tenant(1));
    assert_eq!(rows, [(b"a".to_vec(), b"1".to_vec())]);
    actor.set::<B>(&store, b"a", b"2").wait().unwrap();
}

pub fn a_step_is_there_whole_or_not_at_all<B: Backend>() {
    let (_dir, store) = store::<B>();
    let (mut actor, _) = Actor::claim(&store, tenant(1));
    for round in 0..20u8 {
        let put = |key: u8| Op::put(tenant(1), facts(), vec![key], 1, &[round]);
        let step = actor.append::<B>(&store, (0..8).map(put).collect());
        let reader = store.reader();
        let rows = reader.rows_from(tenant(1), facts(), &[], 100).unwrap();
        let first = rows.first().map(|(_, stored)| stored.payload.clone());
        assert!(rows.len() % 8 == 0, "half a step: {rows:?}");
        assert!(
            rows.iter()
                .all(|(_, row)| Some(&row.payload) == first.as_ref())
        );
        step.wait().unwrap();
    }
}

pub fn a_claim_is_what_the_steps_come_to<B: Backend>() {
    let (_dir, store) = store::<B>();
    let (mut actor, _) = Actor::claim(&store, tenant(1));
    for key in 0..10u8 {
        actor.set::<B>(&store, &[key], &[key]).wait().unwrap();
    }
    let delete = Op::delete(tenant(1), facts(), vec![3]);
    let note = Op::put(tenant(1), notes(), number(1), 1, b"cold");
    actor
        .append::<B>(&store, vec![delete, note])
        .wait()
        .unwrap();
    let (again, mut rows) = Actor::claim(&store, tenant(1));
    rows.sort();
    let expected: Facts = (0..10)
        .filter(|key| *key != 3)
        .map(|key| (vec![key], vec![key]))
        .collect();
    assert_eq!(rows, expected);
    assert_eq!((again.next, again.ledger.count()), (actor.next, 9));
    assert_eq!(again.ledger.hash(), actor.ledger.hash());
}

pub fn a_claim_fences_the_owner_before_it<B: Backend>() {
    let (_dir, store) = store::<B>();
    let (mut former, _) = Actor::claim(&store, tenant(1));
    former.set::<B>(&store, b"by", b"former").wait().unwrap();
    let (mut owner, _) = Actor::claim(&store, tenant(1));
    assert_eq!(
        former.set::<B>(&store, b"by", b"former").wait(),
        Err(Lost::Fenced)
    );
    owner.set::<B>(&store, b"by", b"owner").wait().unwrap();
    // Not even the step that would follow.
    former.next = owner.next;
    assert_eq!(
        former.set::<B>(&store, b"by", b"former").wait(),
        Err(Lost::Fenced)
    );
    owner.set::<B>(&store, b"and", b"again").wait().unwrap();
    assert_eq!(fact(&store, tenant(1), b"by"), Some(b"owner".to_vec()));
}

/// What a claim shows is final: no step of an owner before it becomes durable behind it.
pub fn a_claim_sees_all_that_its_former_owner_made_durable<B: Backend>() {
    let (_dir, store) = store::<B>();
    for _ in 0..20 {
        let (mut former, _) = Actor::claim(&store, tenant(1));
        let first = former.next.get();
        let writer = store.clone();
        let writing = std::thread::spawn(move || {
            let steps: Vec<_> = (0..200u8)
                .map(|n| former.set::<B>(&writer, b"n", &[n]))
                .collect();
            let outcomes = steps.into_iter().map(Durable::wait);
            outcomes.filter(Result::is_ok).count() as u64
        });
        let (owner, _) = Actor::claim(&store, tenant(1));
        let durable = writing.join().unwrap();
        assert_eq!(owner.next.get(), first + durable);
    }
}

pub fn ranges_are_in_order_and_of_one_tenant<B: Backend>() {
    let (_dir, store) = store::<B>();
    for id in [2u8, 1, 255] {
        let (mut actor, _) = Actor::claim(&store, tenant(id));
        let note = |n: u64| Op::put(tenant(id), notes(), number(n), 1, &[id]);
        for chunk in (0..100).collect::<Vec<_>>().chunks(7) {
            let rows = chunk.iter().rev().map(|n| note(*n)).collect();
            actor.append::<B>(&store, rows).wait().unwrap();
        }
        let erase = Op::delete_range(tenant(id), notes(), number(10), number(90));
        actor.append::<B>(&store, vec![erase]).wait().unwrap();
    }
    let reader = store.reader();
    let keys = |id, from: u64, limit| -> Vec<u64> {
        let rows = reader
            .rows_from(tenant(id), notes(), &number(from), limit)
            .unwrap();
        assert!(rows.iter().all(|(_, row)| row.payload == [id]));
        let key = |key: &[u8]| u64::from_be_bytes(key.try_into().unwrap());
        rows.iter().map(|(bytes, _)| key(bytes)).collect()
    };
    let all: Vec<u64> = (0..10).chain(90..100).collect();
    for id in [1, 2, 255] {
        assert_eq!(keys(id, 0, 1_000), all);
        assert_eq!(keys(id, 5, 7), [5, 6, 7, 8, 9, 90, 91]);
        assert_eq!(keys(id, 100, 7), [0u64; 0]);
    }
    assert_eq!(keys(3, 0, 7), [0u64; 0]);
    assert_eq!(reader.count(notes()).unwrap(), 60);
    let mut scanned = Vec::new();
    let scan = |id: TenantId, key: &[u8]| (id, key.to_vec());
    reader
        .scan(notes(), &mut |id, key, row| {
            assert_eq!(row.unwrap().payload, [id.as_bytes()[0]]);
            scanned.push(scan(id, key));
            ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(scanned.len(), 60);
    assert!(scanned.is_sorted(), "by tenant, then by key");
}

pub fn everything_durable_is_there_after_a_stop<B: Backend>() {
    let (dir, mut store) = store::<B>();
    let mut expected = 0;
    for close in [true, false, true] {
        let (mut actor, _) = Actor::claim(&store, tenant(1));
        assert_eq!(actor.next.get(), expected);
        let steps: Vec<_> = (0..30u8)
            .map(|key| actor.set::<B>(&store, &[key], &[key]))
            .collect();
        steps
            .into_iter()
            .for_each(|step| assert!(step.wait().is_ok()));
        expected += 30;
        if close {
            store.close().unwrap();
        }
        drop(store);
        store = B::open(dir.path());
        let last = Sequence::new(expected - 1);
        assert_eq!(
            store.reader().entry(tenant(1), last).unwrap(),
            Some(entry(last))
        );
        assert_eq!(fact(&store, tenant(1), &[29]), Some(vec![29]));
        assert_eq!(store.tenants(), 1);
    }
}

pub fn a_closed_store_takes_and_shows_nothing<B: Backend>() {
    let (_dir, store) = store::<B>();
    let (mut actor, _) = Actor::claim(&store, tenant(1));
    actor.set::<B>(&store, b"a", b"1").wait().unwrap();
    let reader = store.reader();
    store.close().unwrap();
    assert!(actor.set::<B>(&store, b"a", b"2").wait().is_err());
    assert!(matches!(
        reader.get(tenant(1), facts(), b"a"),
        Err(ReadError::Closed)
    ));
    store.close().unwrap();
}

/// The tests of the contract, for one backend.
macro_rules! contract {
    ($backend:ty: $($test:ident)+) => {
        $(#[test]
        fn $test() {
            $crate::store::tests::contract::$test::<$backend>();
        })+
    };
    ($backend:ty) => {
        $crate::store::tests::contract::contract! { $backend:
            what_is_durable_is_read_at_once
            a_tenants_steps_have_an_order
            a_step_is_there_whole_or_not_at_all
            a_claim_is_what_the_steps_come_to
            a_claim_fences_the_owner_before_it
            a_claim_sees_all_that_its_former_owner_made_durable
            ranges_are_in_order_and_of_one_tenant
            everything_durable_is_there_after_a_stop
            a_closed_store_takes_and_shows_nothing
        }
    };
}
pub(in crate::store) use contract;
