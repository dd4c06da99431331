//! A store on a machine, and a model of what it must hold.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::chance::Chance;
use super::disk::{End, Machine, SimDisk};
use super::tables::SimTables;
use crate::id::{Sequence, TenantId};
use crate::store::local::disk::Disk;
use crate::store::local::*;
use crate::store::table::{ENTRIES, HEADS, OPENINGS};
use crate::store::{Durable, Effect, Head, KeyKind, Ledger, Load, Op, Store};
use crate::time::Timestamp;

pub(super) static SCHEMA: [TableSpec; 4] = [
    TableSpec {
        id: 1,
        name: "facts",
        load: Load::Hot,
        key_kind: KeyKind::Natural,
        version: 1,
    },
    TableSpec {
        id: 2,
        name: "intents",
        load: Load::Hot,
        key_kind: KeyKind::Sequence,
        version: 1,
    },
    TableSpec {
        id: 3,
        name: "notes",
        load: Load::Cold,
        key_kind: KeyKind::Natural,
        version: 1,
    },
    TableSpec {
        id: 4,
        name: "last_used",
        load: Load::Side,
        key_kind: KeyKind::Natural,
        version: 1,
    },
];
static FACTS: &TableSpec = &SCHEMA[0];
static INTENTS: &TableSpec = &SCHEMA[1];
static NOTES: &TableSpec = &SCHEMA[2];
static LAST_USED: &TableSpec = &SCHEMA[3];

/// Every row of every table: table, tenant, key; payload.
pub(super) type Rows = BTreeMap<(&'static str, TenantId, Vec<u8>), Vec<u8>>;

/// A data directory, the store on it, and what was appended to it.
pub(super) struct World {
    pub chance: Chance,
    pub machine: Arc<Machine>,
    pub config: StoreConfig,
    /// On the disk there is, with sled; the machine stands idle.
    pub real: bool,
    store: Option<Store>,
    /// The log could not be written: the process is as good as dead.
    fatal: Arc<AtomicBool>,
    tenants: BTreeMap<TenantId, Tenant>,
    sides: BTreeMap<(TenantId, Vec<u8>), Side>,
    /// How many records were made, over all tenants.
    order: u64,
    waiting: Vec<(Durable, Progress)>,
    /// A record was lost though nothing ended: what follows is no suffix any more.
    lost: bool,
    /// How many records were acknowledged, over all lives.
    pub acknowledged: u64,
    /// What the last backup must hold.
    backed_up: Option<Rest>,
}

/// What a data directory must hold while nothing is on its way.
type Rest = (
    BTreeMap<TenantId, Tenant>,
    BTreeMap<(TenantId, Vec<u8>), Side>,
);

/// What a record was about.
enum Progress {
    Step(TenantId, usize),
    Side((TenantId, Vec<u8>), usize),
}

#[derive(Clone, Default)]
struct Tenant {
    /// Its records, by sequence.
    steps: Vec<Step>,
    /// How many of them were acknowledged, or seen after a start.
    kept: usize,
    ledger: Ledger,
}

#[derive(Clone)]
struct Step {
    order: u64,
    ops: Vec<Op<'static>>,
    entry: Vec<u8>,
    opening: Option<Vec<u8>>,
}

/// The values of a side row, and how many of them count.
#[derive(Clone, Default)]
struct Side {
    progress: Vec<(u64, Vec<u8>)>,
    kept: usize,
}

impl Tenant {
    /// The tenant's rows after its first steps.
    fn rows(&self, id: TenantId) -> Rows {
        let mut rows = Rows::new();
        for (number, step) in self.steps.iter().enumerate() {
            let sequence = (number as u64).to_be_bytes().to_vec();
            for op in &step.ops {
                let (table, from) = (op.table.name, op.key.to_vec());
                match &op.effect {
                    Effect::Put(envelope) => {
                        let payload = envelope[crate::store::row::ENVELOPE..].to_vec();
                        rows.insert((table, id, from), payload);
                    }
                    Effect::Delete => {
                        rows.remove(&(table, id, from));
                    }
                    Effect::DeleteTo(to) => rows.retain(|(name, _, key), _| {
                        *name != table || *key < from || key.as_slice() >= &**to
                    }),
                }
            }
            rows.insert((ENTRIES.name, id, sequence.clone()), step.entry.clone());
            if let Some(opening) = &step.opening {
                rows.insert((OPENINGS.name, id, sequence), opening.clone());
            }
        }
        rows
    }
}

impl World {
    /// What is written follows from `seed`. `root` really exists: the lock of the data directory is a
    /// real one.
    pub fn new(machine: Arc<Machine>, root: &Path, seed: u64) -> Self {
        let mut chance = Chance::of(seed, "the world");
        let config = StoreConfig {
            segment_bytes: chance.pick(&[4, 4, 8, 16]) << 10,
            tables_every: Duration::from_millis(chance.pick(&[0, 1, 3])),
            checkpoint_every: Duration::from_millis(chance.pick(&[0, 2, 10])),
            memtable_bytes: chance.pick(&[4 << 10, 64 << 20]),
            snapshot_bytes: chance.pick(&[1, 10 << 10, 30 << 10, 1 << 30]),
            ..StoreConfig::new(root)
        };
        Self {
            chance,
            machine,
            config,
            real: false,
            store: None,
            fatal: Arc::default(),
            tenants: BTreeMap::new(),
            sides: BTreeMap::new(),
            order: 0,
            waiting: Vec::new(),
            lost: false,
            acknowledged: 0,
            backed_up: None,
        }
    }

    /// Backs up what is acknowledged, while the store is open.
    pub fn backup(&mut self, dir: &Path) -> Backup {
        assert!(self.waiting.is_empty());
        let open = || true;
        let writer = BackupWriter::create_on(self.disk(), dir, &open).unwrap();
        let store = &self.store.as_ref().unwrap().0;
        let backup = store.backup_with(writer, Timestamp::MIN, &[], &mut |_, _, _| {});
        self.backed_up = Some((self.tenants.clone(), self.sides.clone()));
        backup.unwrap()
    }

    /// The data directory is now one that was restored from the backup.
    pub fn go_on_with_backup(&mut self, data: &Path) {
        self.config.data = data.to_owned();
        (self.tenants, self.sides) = self.backed_up.take().unwrap();
        self.lost = false;
    }

    pub fn disk(&self) -> Arc<dyn Disk> {
        Arc::new(SimDisk(Arc::clone(&self.machine)))
    }

    pub fn store(&self) -> &Store {
        self.store.as_ref().unwrap()
    }

    pub fn tables_dir(&self) -> PathBuf {
        self.config.data.join("tables")
    }

    /// Starts the store.
    pub fn open(&mut self) -> Result<OpenStats, OpenError> {
        self.fatal.store(false, Ordering::SeqCst);
        let machine = Arc::clone(&self.machine);
        let fatal = Arc::clone(&self.fatal);
        let mut env = Env {
            disk: self.disk(),
            open_tables: Box::new(move |dir, _, _| Ok(Box::new(SimTables::open(&machine, dir)?))),
            on_fatal: Arc::new(move |_| fatal.store(true, Ordering::SeqCst)),
        };
        if self.real {
            env = Env::real();
        }
        let store = Store(Arc::new(LocalStore::open_with(&self.config, &SCHEMA, env)?));
        let opened = store.open_stats();
        self.store = Some(store);
        Ok(opened)
    }

    /// Whether the process has ended, or as good as that.
    pub fn dead(&self) -> bool {
        self.lost || self.machine.is_off() || self.fatal.load(Ordering::SeqCst)
    }

    /// Looks at the store of a process that lives, and does not end meanwhile.
    pub fn unless_dead(&mut self, look: impl FnOnce(&mut Self)) {
        self.machine.hold(true);
        if !self.dead() {
            look(self);
        }
        self.machine.hold(false);
    }

    /// The process ends as it stands.
    pub fn end(&mut self, how: End) {
        self.kill();
        self.machine.restart(how);
    }

    /// The process ends as it stands, and everything else stays.
    pub fn kill(&mut self) {
        self.store = None;
        self.resolve();
    }

    pub fn close(&mut self) -> Result<(), CloseError> {
        let closed = self.store.take().unwrap().close();
        self.resolve();
        closed
    }

    /// Waits for all that is on its way. A record that is lost though the process lives makes it one
    /// that has to start again.
    pub fn resolve(&mut self) {
        for (durable, progress) in std::mem::take(&mut self.waiting) {
            if durable.wait().is_err() {
                self.lost = true;
                continue;
            }
            self.acknowledged += 1;
            match progress {
                Progress::Step(tenant, number) => {
                    let tenant = self.tenants.get_mut(&tenant).unwrap();
                    assert!(tenant.kept <= number, "acknowledged in order");
                    tenant.kept = number + 1;
                }
                Progress::Side(key, number) => self.sides.get_mut(&key).unwrap().kept = number,
            }
        }
    }

    fn payload(&mut self) -> Vec<u8> {
        let segment = self.config.segment_bytes as usize;
        let len = match self.chance.below(100) {
            // Files of which every part is hit are better short.
            0..98 if self.real => self.chance.below(60),
            98.. if self.real => 4_100,
            0..80 => self.chance.below(120),
            80..90 => self.chance.below(1_500),
            // On both sides of a row that is cut into pieces, and of one that fills a segment.
            90..95 => 4_000 + self.chance.below(100),
            95..98 => self.chance.below(9_000),
            _ => segment.saturating_sub(600) + self.chance.below(400),
        };
        let mut payload = format!("{}:", self.order).into_bytes();
        payload.resize(payload.len().max(len), b'.');
        payload
    }

    /// Appends a record of a tenant.
    pub fn append(&mut self, id: TenantId) {
        self.order += 1;
        let number = self.tenants.entry(id).or_default().steps.len();
        let sequence = |number: usize| (number as u64).to_be_bytes().to_vec();
        let mut ops = Vec::new();
        let intent = self.payload();
        ops.push(Op::put(id, INTENTS, sequence(number), 1, &intent));
        let earlier = self.chance.below(number + 1);
        match self.chance.below(8) {
            0 => ops.push(Op::delete(id, INTENTS, sequence(earlier))),
            1 | 2 => {
                let longer = self.payload();
                ops.push(Op::put(id, INTENTS, sequence(earlier), 1, &longer));
            }
            _ => {}
        }
        let key = vec![self.chance.below(12) as u8];
        match self.chance.below(6) {
            0 => ops.push(Op::delete(id, FACTS, key)),
            1 => {}
            _ => {
                let fact = self.payload();
                ops.push(Op::put(id, FACTS, key, 1, &fact));
            }
        }
        let note = vec![7; self.chance.below(20)];
        match self.chance.below(10) {
            0 => ops.push(Op::delete_range(id, NOTES, note, vec![7; 15])),
            1 => ops.push(Op::delete(id, NOTES, note)),
            2..6 => {
                let payload = self.payload();
                ops.push(Op::put(id, NOTES, note, 1, &payload));
            }
            // What is forgotten of the past.
            6 => ops.push(Op::delete_range(
                id,
                &OPENINGS,
                sequence(earlier),
                sequence(earlier + 3),
            )),
            _ => {}
        }
        let opening = self.chance.chance(2, 3).then(|| self.payload());
        let entry = self.payload();
        let step = Step {
            order: self.order,
            ops: ops.clone(),
            entry: entry.clone(),
            opening: opening.clone(),
        };
        let tenant = self.tenants.get_mut(&id).unwrap();
        ops.iter().for_each(|op| tenant.ledger.fold(op));
        let head = Head {
            sequence: Sequence::new(number as u64),
            at: Timestamp::from_micros(number as i64),
            log_base: Sequence::FIRST,
            next_due: None,
            hot_rows: tenant.ledger.count(),
            hot_hash: tenant.ledger.hash(),
            root: [number as u8; 32],
            range: Vec::new(),
        };
        tenant.steps.push(step);
        let record = Record::new(
            Owner::unclaimed(id),
            head.sequence,
            ops,
            entry,
            opening,
            head,
        );
        let durable = self.store().append(record, ());
        self.waiting.push((durable, Progress::Step(id, number)));
    }

    /// Appends a side record.
    pub fn append_side(&mut self, id: TenantId) {
        self.order += 1;
        let key = vec![self.chance.below(4) as u8];
        let payload = self.payload();
        let op = Op::put(id, LAST_USED, key.clone(), 1, &payload);
        let side = self.sides.entry((id, key.clone())).or_default();
        side.progress.push((self.order, payload));
        let number = side.progress.len();
        let durable = self.store().append(Record::side(id, vec![op]), ());
        self.waiting
            .push((durable, Progress::Side((id, key), number)));
    }

    /// Waits, within bounds, until something has been brought about.
    pub fn until(&self, holds: impl Fn(&Self) -> bool) {
        let deadline = stopwatch::now() + Duration::from_millis(100);
        while !holds(self) && !self.dead() && stopwatch::now() < deadline {
            std::thread::park_timeout(Duration::from_micros(200));
        }
    }

    /// After a start: everything acknowledged is there, what was not is there whole or not at all,
    /// and only the last of it is not. What is there now stays.
    pub fn settle(&mut self) {
        let reader = self.store().reader();
        let (mut last_kept, mut first_lost) = (0, u64::MAX);
        for (id, tenant) in &mut self.tenants {
            let claim = self.store.as_ref().unwrap().reader().tenant(*id).unwrap();
            let kept = claim.map_or(0, |claim| {
                tenant.ledger = claim.ledger;
                claim.head.sequence.get() as usize + 1
            });
            assert!(
                kept >= tenant.kept,
                "LOST: tenant {id} has {kept} records, and {} were acknowledged",
                tenant.kept
            );
            assert!(kept <= tenant.steps.len(), "tenant {id} has {kept} records");
            if let Some(lost) = tenant.steps.get(kept) {
                first_lost = first_lost.min(lost.order);
            }
            tenant.steps.truncate(kept);
            tenant.kept = kept;
            if let Some(last) = tenant.steps.last() {
                last_kept = last_kept.max(last.order);
            }
            if kept == 0 {
                tenant.ledger = Ledger::new();
            }
        }
        self.tenants.retain(|_, tenant| tenant.kept > 0);
        for ((id, key), side) in &mut self.sides {
            let found = reader.get(*id, LAST_USED, key).unwrap();
            let found = found.map(|stored| stored.payload);
            let kept = found.as_ref().map_or(0, |found| {
                1 + side
                    .progress
                    .iter()
                    .position(|(_, progress)| progress == found)
                    .unwrap()
            });
            assert!(
                kept >= side.kept,
                "LOST: side row {key:?} of {id} is value {kept}, and {} was acknowledged",
                side.kept
            );
            if let Some((order, _)) = side.progress.get(kept) {
                first_lost = first_lost.min(*order);
            }
            side.progress.truncate(kept);
            side.kept = kept;
            if let Some((order, _)) = side.progress.last() {
                last_kept = last_kept.max(*order);
            }
        }
        self.sides.retain(|_, side| side.kept > 0);
        let holes = last_kept > first_lost && !self.lost;
        assert!(!holes, "record {last_kept} is kept and {first_lost} is not");
        self.lost = false;
        self.check();
    }

    /// Waits until the rows of a rebuild are back; `false` if a fault may keep them away for long.
    fn is_whole(&self) -> bool {
        let deadline = stopwatch::now() + Duration::from_secs(20);
        while self.store().stats().rebuilding {
            if self.machine.is_faulty() {
                return false;
            }
            assert!(stopwatch::now() < deadline, "the rebuild does not end");
            std::thread::park_timeout(Duration::from_micros(200));
        }
        true
    }

    /// The store holds exactly what the model says. Nothing may be on its way.
    pub fn check(&mut self) {
        assert!(self.waiting.is_empty());
        if !self.is_whole() {
            return;
        }
        let store = self.store.as_ref().unwrap();
        assert_eq!(store.tenants(), self.tenants.len() as u64);
        let reader = store.reader();
        let mut expected = Rows::new();
        for (id, tenant) in &self.tenants {
            let rows = tenant.rows(*id);
            let claim = store.reader().tenant(*id).unwrap().unwrap();
            assert_eq!(claim.head.sequence.get() + 1, tenant.steps.len() as u64);
            assert_eq!(claim.ledger.hash(), tenant.ledger.hash());
            let hot = rows
                .keys()
                .filter(|(table, ..)| [FACTS.name, INTENTS.name].contains(table));
            assert_eq!(claim.rows.len(), hot.count());
            for _ in 0..4 {
                let number = self.chance.below(tenant.steps.len() + 1) as u64;
                let place = |table: &TableSpec| (table.name, *id, number.to_be_bytes().to_vec());
                let sequence = Sequence::new(number);
                let entry = reader.entry(*id, sequence).unwrap();
                assert_eq!(entry.as_ref(), rows.get(&place(&ENTRIES)));
                let opening = reader.opening(*id, sequence).unwrap();
                assert_eq!(opening.as_ref(), rows.get(&place(&OPENINGS)));
            }
            expected.extend(rows);
        }
        for ((id, key), side) in &self.sides {
            let value = side.progress.last().unwrap().1.clone();
            expected.insert((LAST_USED.name, *id, key.clone()), value);
        }
        let mut found = Rows::new();
        for table in SCHEMA.iter().chain([&ENTRIES, &OPENINGS]) {
            let mut show = |id, key: &[u8], stored: Result<crate::store::StoredRow, _>| {
                let stored = stored.unwrap();
                found.insert((table.name, id, key.to_vec()), stored.payload);
                ControlFlow::Continue(())
            };
            reader.scan(table, &mut show).unwrap();
        }
        let differs = |(place, payload): &(&(&'static str, TenantId, Vec<u8>), &Vec<u8>)| {
            expected.get(*place) != Some(*payload)
        };
        if let Some((place, _)) = found.iter().find(differs) {
            panic!("{place:?} is there and should not be, or is another");
        }
        if let Some(place) = expected.keys().find(|place| !found.contains_key(*place)) {
            panic!("LOST: {place:?}");
        }
        let mut heads = 0;
        let mut count = |_, _: &[u8], _| {
            heads += 1;
            ControlFlow::Continue(())
        };
        reader.scan(&HEADS, &mut count).unwrap();
        assert_eq!(heads, self.tenants.len());
    }
}
