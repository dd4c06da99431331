//! Tables on the machine: ordered keys and values that a power cut leaves as the seed likes.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::chance::Chance;
use super::disk::{Class, Machine};
use crate::store::TableSpec;
use crate::store::local::tables::{Pair, Pairs, TableError, Tables};

/// A table's id and a key in it.
type Key = (u8, Vec<u8>);
/// What a key is now, or was.
type KeyWrite = (Key, Option<Vec<u8>>);

/// How many syncs tables can fall back behind.
const FALLS_BACK: usize = 3;

#[derive(Default)]
pub(super) struct TableData {
    /// As of the last sync.
    durable: BTreeMap<Key, Vec<u8>>,
    /// What the living see.
    live: BTreeMap<Key, Vec<u8>>,
    /// What was written since; what was written together stays together.
    pending: Vec<Vec<KeyWrite>>,
    /// What undoes the last syncs, the oldest first.
    undo: VecDeque<Vec<KeyWrite>>,
    /// Its directory was removed, which is not one step.
    pub being_removed: bool,
}

fn set(map: &mut BTreeMap<Key, Vec<u8>>, key: Key, value: Option<Vec<u8>>) -> Option<Vec<u8>> {
    match value {
        Some(value) => map.insert(key, value),
        None => map.remove(&key),
    }
}

impl TableData {
    fn write(&mut self, key: Key, value: Option<Vec<u8>>) -> Option<Vec<u8>> {
        self.pending.push(vec![(key.clone(), value.clone())]);
        set(&mut self.live, key, value)
    }

    fn write_together(&mut self, changes: Vec<KeyWrite>) {
        for (key, value) in &changes {
            set(&mut self.live, key.clone(), value.clone());
        }
        self.pending.push(changes);
    }

    fn sync(&mut self) {
        let mut undo = Vec::new();
        for (key, value) in self.pending.drain(..).flatten() {
            let before = set(&mut self.durable, key.clone(), value);
            undo.push((key, before));
        }
        undo.reverse();
        self.undo.push_back(undo);
        if self.undo.len() > FALLS_BACK {
            self.undo.pop_front();
        }
    }

    /// The power goes.
    pub fn cut(&mut self, chance: &mut Chance) {
        let pending = std::mem::take(&mut self.pending);
        let keep = chance.below(pending.len() + 1);
        match chance.below(100) {
            // sled keeps what was written in the order it was written.
            0..50 => self.apply(pending.into_iter().take(keep).flatten()),
            50..60 => self.apply(pending.into_iter().flatten()),
            60..85 => {}
            // sled is silent about a damaged end of its file: what lay there never was.
            85..93 => {
                let falls = 1 + chance.below(FALLS_BACK);
                for undo in self.undo.drain(..).rev().take(falls) {
                    for (key, value) in undo {
                        set(&mut self.durable, key, value);
                    }
                }
            }
            _ => self.durable.clear(),
        }
        if self.being_removed {
            self.durable.retain(|_, _| chance.chance(1, 2));
        }
        self.undo.clear();
        self.live = self.durable.clone();
    }

    fn apply(&mut self, changes: impl Iterator<Item = KeyWrite>) {
        for (key, value) in changes {
            set(&mut self.durable, key, value);
        }
    }

    /// The process dies: what sled had not yet handed to the system goes with it.
    pub fn kill(&mut self, chance: &mut Chance) {
        self.pending.truncate(chance.below(self.pending.len() + 1));
        self.live = self.durable.clone();
        for (key, value) in self.pending.iter().flatten() {
            set(&mut self.live, key.clone(), value.clone());
        }
    }
}

/// The machine's tables in one directory.
pub(super) struct SimTables {
    machine: Arc<Machine>,
    ino: u64,
    path: PathBuf,
}

impl SimTables {
    pub fn open(machine: &Arc<Machine>, path: &Path) -> Result<Self, TableError> {
        super::on_this_thread(machine);
        let mut state = machine.lock();
        let turn = state.turn(machine.seed(), Class::TableOpen, "t.open", path, 0, 0);
        let ino = match turn.happens() {
            true => state.tables_at(path).and_then(|ino| turn.end(ino)),
            false => turn.end(0),
        };
        Ok(Self {
            machine: Arc::clone(machine),
            ino: ino.map_err(|source| io_error(path, source))?,
            path: path.to_owned(),
        })
    }

    fn read<T>(&self, look: impl FnOnce(&BTreeMap<Key, Vec<u8>>) -> T) -> Result<T, TableError> {
        let mut state = self.machine.lock();
        if state.off {
            return Err(io_error(&self.path, io::Error::other("the power is off")));
        }
        Ok(look(&state.tables(self.ino).live))
    }
}

fn io_error(path: &Path, source: io::Error) -> TableError {
    TableError::Io {
        path: path.to_owned(),
        source,
    }
}

/// The first pair of a table whose key is not below `from` and below `to`.
fn first(map: &BTreeMap<Key, Vec<u8>>, id: u8, from: &[u8], to: Option<&[u8]>) -> Option<Pair> {
    let ((found, key), value) = map.range((id, from.to_vec())..).next()?;
    let inside = *found == id && to.is_none_or(|to| key.as_slice() < to);
    inside.then(|| (key.clone(), value.clone()))
}

impl Tables for SimTables {
    fn get(&self, table: &TableSpec, key: &[u8]) -> Result<Option<Vec<u8>>, TableError> {
        self.read(|map| map.get(&(table.id, key.to_vec())).cloned())
    }

    fn range(&self, table: &TableSpec, from: &[u8], to: Option<&[u8]>) -> Pairs<'_> {
        let (id, to) = (table.id, to.map(<[u8]>::to_vec));
        let mut next = Some(from.to_vec());
        Box::new(std::iter::from_fn(move || {
            let from = next.take()?;
            match self.read(|map| first(map, id, &from, to.as_deref())) {
                Ok(Some((key, value))) => {
                    next = Some([key.as_slice(), &[0]].concat());
                    Some(Ok((key, value)))
                }
                Ok(None) => None,
                Err(error) => Some(Err(error)),
            }
        }))
    }

    fn last(&self, table: &TableSpec, from: &[u8], to: &[u8]) -> Result<Option<Pair>, TableError> {
        if from >= to {
            return Ok(None);
        }
        let bounds = (table.id, from.to_vec())..(table.id, to.to_vec());
        self.read(|map| {
            let ((_, key), value) = map.range(bounds).next_back()?;
            Some((key.clone(), value.clone()))
        })
    }

    fn write(
        &self,
        table: &TableSpec,
        key: &[u8],
        value: Option<&[u8]>,
    ) -> Result<Option<Vec<u8>>, TableError> {
        super::on_this_thread(&self.machine);
        let mut state = self.machine.lock();
        let (seed, len) = (self.machine.seed(), value.map_or(0, <[u8]>::len));
        let turn = state.turn(seed, Class::TableWrite, table.name, &self.path, 0, len);
        let mut before = None;
        if turn.happens() {
            let key = (table.id, key.to_vec());
            before = state.tables(self.ino).write(key, value.map(<[u8]>::to_vec));
        }
        turn.end(before)
            .map_err(|source| io_error(&self.path, source))
    }

    fn write_together(
        &self,
        table: &TableSpec,
        changes: &[(Vec<u8>, Option<Vec<u8>>)],
    ) -> Result<(), TableError> {
        super::on_this_thread(&self.machine);
        let mut state = self.machine.lock();
        let (seed, len) = (self.machine.seed(), changes.len());
        let turn = state.turn(seed, Class::TableWrite, table.name, &self.path, 0, len);
        if turn.happens() {
            let placed = |(key, value): &(Vec<u8>, Option<Vec<u8>>)| {
                ((table.id, key.clone()), value.clone())
            };
            let changes = changes.iter().map(placed).collect();
            state.tables(self.ino).write_together(changes);
        }
        turn.end(()).map_err(|source| io_error(&self.path, source))
    }

    fn sync(&self) -> Result<(), TableError> {
        super::on_this_thread(&self.machine);
        let mut state = self.machine.lock();
        let seed = self.machine.seed();
        let turn = state.turn(seed, Class::TableSync, "t.sync", &self.path, 0, 0);
        if turn.happens() {
            state.tables(self.ino).sync();
            state.table_syncs += 1;
        }
        turn.end(()).map_err(|source| io_error(&self.path, source))
    }
}
