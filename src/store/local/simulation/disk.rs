//! A machine that is not there: its disk, its page cache, its tables, and what a power cut leaves.
//!
//! What the living process sees and what the disk holds are kept apart. Between them lie the writes
//! that no sync has followed and the names that no sync of their directory has followed; a power cut
//! keeps whichever of them the seed likes. A failed sync cleans its pages: they read as written until
//! the power goes, and are in no later sync.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use super::chance::Chance;
use super::tables::TableData;
use crate::store::local::disk::{Disk, LogFile};

/// What a disk writes whole or not at all.
const SECTOR: usize = 512;
/// Operations that are shown when a test fails.
const TRACE: usize = 300;

/// What an operation is about; faults choose by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    Read,
    /// Bytes into a file.
    Write,
    /// A new name: a file, a directory.
    Make,
    /// Moving and removing.
    Move,
    Sync,
    SyncDir,
    TableOpen,
    TableWrite,
    TableSync,
}

impl Class {
    fn takes_room(self) -> bool {
        matches!(
            self,
            Self::Write | Self::Make | Self::TableWrite | Self::TableSync
        )
    }
}

/// What goes wrong, at the `n`-th operation (from 1) of those that it can happen to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// Any operation ends with EIO.
    Eio(u64),
    /// What takes room ends with ENOSPC, once …
    NoRoom(u64),
    /// … or from then on.
    NeverRoom(u64),
    /// Half of the bytes are written, then EIO.
    ShortWrite(u64),
    /// A sync ends with EIO and cleans its pages.
    Sync(u64),
}

/// What a disk says of the log that it did, and did not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lie {
    None,
    /// `fdatasync` and `fsync` of files do nothing.
    Data,
    /// `fsync` of directories does nothing.
    Names,
    /// One sync in eight takes the pages and forgets them.
    Forgets,
}

/// How a life of the process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The page cache goes with it.
    Power,
    /// The page cache stays, and with it what no sync has followed.
    Kill,
}

type Ino = u64;

enum Inode {
    Dir,
    File(FileData),
    Tables(TableData),
}

#[derive(Default)]
struct FileData {
    /// What is on disk whatever happens.
    durable: Vec<u8>,
    /// What the living see.
    live: Vec<u8>,
    /// What leads from one to the other, unless a failed sync forgot it.
    pending: Vec<Change>,
}

enum Change {
    /// The file was emptied.
    Truncate,
    Write {
        at: usize,
        bytes: Vec<u8>,
    },
}

fn put(file: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    if file.len() < at + bytes.len() {
        file.resize(at + bytes.len(), 0);
    }
    file[at..at + bytes.len()].copy_from_slice(bytes);
}

impl FileData {
    fn write(&mut self, at: usize, bytes: &[u8]) {
        put(&mut self.live, at, bytes);
        let bytes = bytes.to_vec();
        self.pending.push(Change::Write { at, bytes });
    }

    fn truncate(&mut self) {
        self.live.clear();
        self.pending.push(Change::Truncate);
    }

    fn sync(&mut self) {
        for change in self.pending.drain(..) {
            match change {
                Change::Truncate => self.durable.clear(),
                Change::Write { at, bytes } => put(&mut self.durable, at, &bytes),
            }
        }
    }

    /// The power goes.
    fn cut(&mut self, chance: &mut Chance) {
        let pending = std::mem::take(&mut self.pending);
        let (part, whole) = chance.pick(&[(0, 1), (1, 1), (1, 2), (1, 2), (9, 10), (1, 10)]);
        let ordered = chance.chance(1, 3);
        let mut going = true;
        let changed = !pending.is_empty();
        for change in pending {
            match change {
                // What was written after it went to blocks that are the file's only with it.
                Change::Truncate if going && chance.chance(1, 2) => self.durable.clear(),
                Change::Truncate => going = false,
                Change::Write { at, bytes } => {
                    let mut from = 0;
                    while going && from < bytes.len() {
                        // Up to the next border of a sector of the file.
                        let to = bytes.len().min(from + SECTOR - (at + from) % SECTOR);
                        if chance.chance(part, whole) {
                            put(&mut self.durable, at + from, &bytes[from..to]);
                        } else if ordered {
                            going = false;
                        }
                        from = to;
                    }
                }
            }
        }
        if changed && self.live.len() > self.durable.len() && chance.chance(1, 2) {
            self.durable.resize(self.live.len(), 0);
        }
        self.live = self.durable.clone();
    }
}

/// A change of the names.
enum Naming {
    Link(PathBuf, Ino),
    Unlink(PathBuf),
    Rename(PathBuf, PathBuf, Ino),
}

impl Naming {
    fn touches(&self, dir: &Path) -> bool {
        match self {
            Self::Link(path, _) | Self::Unlink(path) => path.parent() == Some(dir),
            Self::Rename(from, to, _) => [from, to].iter().any(|path| path.parent() == Some(dir)),
        }
    }

    fn is_below(&self, dir: &Path) -> bool {
        let (Self::Link(path, _) | Self::Unlink(path) | Self::Rename(path, _, _)) = self;
        path != dir && path.starts_with(dir)
    }

    fn apply(self, names: &mut BTreeMap<PathBuf, Ino>) {
        match self {
            Self::Link(path, ino) => drop(names.insert(path, ino)),
            Self::Unlink(path) => drop(names.remove(&path)),
            Self::Rename(from, to, ino) => {
                if names.get(&from) == Some(&ino) {
                    rename_tree(names, &from, &to);
                }
                names.insert(to, ino);
            }
        }
    }
}

/// The path below `to` of one that is at or below `from`.
fn moved(path: &Path, from: &Path, to: &Path) -> Option<PathBuf> {
    let below = path.strip_prefix(from).ok()?;
    Some(match below.as_os_str().is_empty() {
        true => to.to_owned(),
        false => to.join(below),
    })
}

/// Moves a name and, if it is a directory's, everything below it.
fn rename_tree(names: &mut BTreeMap<PathBuf, Ino>, from: &Path, to: &Path) {
    let below: Vec<_> = names
        .range(from.to_owned()..)
        .take_while(|(path, _)| path.starts_with(from))
        .filter_map(|(path, ino)| Some((path.clone(), moved(path, from, to)?, *ino)))
        .collect();
    for (old, new, ino) in below {
        names.remove(&old);
        names.insert(new, ino);
    }
}

/// One operation of the trace.
struct Step {
    number: u64,
    thread: String,
    what: &'static str,
    path: PathBuf,
    at: usize,
    len: usize,
    ended: &'static str,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.path.iter().rev().take(2).collect();
        let path: PathBuf = names.into_iter().rev().collect();
        let (number, thread, what, ended) = (self.number, &self.thread, self.what, self.ended);
        write!(f, "{number:>5} {thread:<14} {what:<10} {}", path.display())?;
        if self.len > 0 {
            write!(f, " {}+{}", self.at, self.len)?;
        }
        write!(f, " {ended}")
    }
}

/// The machine. It outlives the processes on it.
pub(super) struct Machine {
    seed: u64,
    lie: Lie,
    state: Mutex<State>,
}

pub(super) struct State {
    /// Operations since the process was started.
    ops: u64,
    /// Of these, the ones that the fault can happen to.
    eligible: u64,
    /// The operation at which everything ends.
    end_at: Option<u64>,
    /// The end is delayed while the test reads.
    held: bool,
    pub off: bool,
    fault: Option<Fault>,
    fault_hit: bool,
    inodes: BTreeMap<Ino, Inode>,
    live: BTreeMap<PathBuf, Ino>,
    durable: BTreeMap<PathBuf, Ino>,
    /// What leads from the names on disk to those that the living see.
    naming: Vec<Naming>,
    trace: VecDeque<Step>,
    /// How often the tables were synced.
    pub table_syncs: u64,
    panics: Vec<String>,
    lives: u64,
}

/// How much of an operation happens, and how it ends.
pub(super) struct Turn {
    happens: Happens,
    error: Option<io::Error>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Happens {
    Whole,
    Half,
    Not,
}

impl Turn {
    pub fn happens(&self) -> bool {
        self.happens != Happens::Not
    }

    /// The bytes of a write that happen.
    fn part<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        match self.happens {
            Happens::Whole => bytes,
            Happens::Half => &bytes[..bytes.len() / 2],
            Happens::Not => &[],
        }
    }

    pub fn end<T>(self, value: T) -> io::Result<T> {
        self.error.map_or(Ok(value), Err)
    }
}

fn power_is_off() -> io::Error {
    io::Error::other("the power is off")
}

fn eio() -> io::Error {
    io::Error::from_raw_os_error(5)
}

fn not_found() -> io::Error {
    io::Error::from(io::ErrorKind::NotFound)
}

impl State {
    /// Every operation begins here.
    pub fn turn(
        &mut self,
        seed: u64,
        class: Class,
        what: &'static str,
        path: &Path,
        at: usize,
        len: usize,
    ) -> Turn {
        self.ops += 1;
        let turn = self.decide(seed, class);
        let ended = match (&turn.error, turn.happens) {
            (None, _) => "",
            (Some(_), Happens::Not) => "FAILS",
            (Some(_), Happens::Half) => "FAILS half-way",
            (Some(_), Happens::Whole) => "FAILS and is done",
        };
        if self.trace.len() == TRACE {
            self.trace.pop_front();
        }
        self.trace.push_back(Step {
            number: self.ops,
            thread: std::thread::current().name().unwrap_or("?").to_owned(),
            what,
            path: path.to_owned(),
            at,
            len,
            ended,
        });
        turn
    }

    fn decide(&mut self, seed: u64, class: Class) -> Turn {
        let fails = |happens, error| Turn {
            happens,
            error: Some(error),
        };
        if self.off {
            return fails(Happens::Not, power_is_off());
        }
        if !self.held && self.end_at.is_some_and(|end| self.ops >= end) {
            self.off = true;
            let mut chance = Chance::of(seed ^ self.ops, "the last operation");
            let happens = chance.pick(&[Happens::Whole, Happens::Half, Happens::Not]);
            let happens = match (class, happens) {
                (Class::Write, happens) => happens,
                (_, Happens::Whole) => Happens::Whole,
                (_, _) => Happens::Not,
            };
            return fails(happens, power_is_off());
        }
        let eligible = match self.fault {
            None => false,
            Some(Fault::Eio(_)) => true,
            Some(Fault::NoRoom(_) | Fault::NeverRoom(_)) => class.takes_room(),
            Some(Fault::ShortWrite(_)) => class == Class::Write,
            Some(Fault::Sync(_)) => {
                matches!(class, Class::Sync | Class::SyncDir | Class::TableSync)
            }
        };
        self.eligible += u64::from(eligible);
        let hit = match self.fault.filter(|_| eligible) {
            None => None,
            Some(Fault::Eio(n)) => (self.eligible == n).then(|| fails(Happens::Not, eio())),
            Some(Fault::Sync(n)) => (self.eligible == n).then(|| fails(Happens::Not, eio())),
            Some(Fault::ShortWrite(n)) => (self.eligible == n).then(|| fails(Happens::Half, eio())),
            Some(Fault::NoRoom(n)) => {
                (self.eligible == n).then(|| fails(Happens::Not, io::Error::from_raw_os_error(28)))
            }
            Some(Fault::NeverRoom(n)) => {
                (self.eligible >= n).then(|| fails(Happens::Not, io::Error::from_raw_os_error(28)))
            }
        };
        self.fault_hit |= hit.is_some();
        hit.unwrap_or(Turn {
            happens: Happens::Whole,
            error: None,
        })
    }

    fn file(&mut self, ino: Ino) -> &mut FileData {
        match self.inodes.get_mut(&ino) {
            Some(Inode::File(file)) => file,
            _ => panic!("a file that is open is there"),
        }
    }

    fn file_at(&mut self, path: &Path) -> io::Result<&mut FileData> {
        let ino = *self.live.get(path).ok_or_else(not_found)?;
        match self.inodes.get_mut(&ino) {
            Some(Inode::File(file)) => Ok(file),
            _ => Err(io::Error::from(io::ErrorKind::IsADirectory)),
        }
    }

    pub fn tables(&mut self, ino: Ino) -> &mut TableData {
        match self.inodes.get_mut(&ino) {
            Some(Inode::Tables(tables)) => tables,
            _ => panic!("tables that are open are there"),
        }
    }

    fn add(&mut self, path: &Path, inode: Inode) -> Ino {
        let ino = self.inodes.last_key_value().map_or(1, |(last, _)| last + 1);
        self.inodes.insert(ino, inode);
        self.live.insert(path.to_owned(), ino);
        self.naming.push(Naming::Link(path.to_owned(), ino));
        ino
    }

    fn parent_exists(&self, path: &Path) -> io::Result<()> {
        let parent = path.parent().ok_or_else(not_found)?;
        self.live.get(parent).map(|_| ()).ok_or_else(not_found)
    }

    /// The tables at a path; new ones are durable under their name on return, as sled's are.
    pub fn tables_at(&mut self, path: &Path) -> io::Result<Ino> {
        if let Some(ino) = self.live.get(path) {
            return Ok(*ino);
        }
        self.parent_exists(path)?;
        let ino = self.add(path, Inode::Tables(TableData::default()));
        let parent = path.parent().unwrap_or(path).to_owned();
        self.sync_names(&parent);
        Ok(ino)
    }

    fn sync_names(&mut self, dir: &Path) {
        let mut left = Vec::new();
        for naming in std::mem::take(&mut self.naming) {
            if !naming.touches(dir) {
                left.push(naming);
                continue;
            }
            if let Naming::Rename(from, _, ino) = &naming {
                // The name that is moved does not come afterwards.
                left.retain(
                    |earlier| !matches!(earlier, Naming::Link(path, i) if path == from && i == ino),
                );
            }
            if let Naming::Unlink(gone) = &naming {
                // What was in a directory goes with it, and not out of one of the same name after it.
                left.retain(|earlier| !earlier.is_below(gone));
                self.durable
                    .retain(|path, _| path == gone || !path.starts_with(gone));
            }
            naming.apply(&mut self.durable);
        }
        self.naming = left;
    }

    fn remove(&mut self, path: &Path) {
        let gone: Vec<_> = self
            .live
            .range(path.to_owned()..)
            .map(|(found, _)| found.clone())
            .take_while(|found| found.starts_with(path))
            .collect();
        for path in gone.into_iter().rev() {
            if let Some(ino) = self.live.remove(&path)
                && let Some(Inode::Tables(tables)) = self.inodes.get_mut(&ino)
            {
                tables.being_removed = true;
            }
            self.naming.push(Naming::Unlink(path));
        }
    }

    /// The power goes.
    fn cut(&mut self, chance: &mut Chance) {
        let ordered = chance.chance(1, 2);
        let keep = chance.below(self.naming.len() + 1);
        for (i, naming) in std::mem::take(&mut self.naming).into_iter().enumerate() {
            if if ordered {
                i < keep
            } else {
                chance.chance(1, 2)
            } {
                naming.apply(&mut self.durable);
            }
        }
        let names = self.durable.clone();
        let hangs = |path: &Path| {
            path.ancestors()
                .skip(1)
                .any(|above| above != Path::new("/") && !names.contains_key(above))
        };
        self.durable.retain(|path, _| !hangs(path));
        for (ino, inode) in &mut self.inodes {
            let named = self.durable.values().any(|named| named == ino);
            match inode {
                Inode::Dir => {}
                Inode::File(file) if named => file.cut(chance),
                Inode::Tables(tables) if named => tables.cut(chance),
                Inode::File(_) | Inode::Tables(_) => {}
            }
        }
        self.live = self.durable.clone();
    }

    /// Drops inodes without a name.
    fn forget(&mut self) {
        let coming = self.naming.iter().filter_map(|naming| match naming {
            Naming::Link(_, ino) | Naming::Rename(_, _, ino) => Some(ino),
            Naming::Unlink(_) => None,
        });
        let named: BTreeSet<_> = self
            .live
            .values()
            .chain(self.durable.values())
            .chain(coming)
            .copied()
            .collect();
        self.inodes.retain(|ino, _| named.contains(ino));
    }

    /// The process dies and the machine goes on.
    fn kill(&mut self, chance: &mut Chance) {
        for inode in self.inodes.values_mut() {
            if let Inode::Tables(tables) = inode {
                tables.kill(chance);
            }
        }
    }
}

impl Machine {
    /// A machine with an empty directory `root`.
    pub fn new(seed: u64, lie: Lie, root: &Path) -> Arc<Self> {
        let mut state = State {
            ops: 0,
            eligible: 0,
            end_at: None,
            held: false,
            off: false,
            fault: None,
            fault_hit: false,
            inodes: BTreeMap::new(),
            live: BTreeMap::new(),
            durable: BTreeMap::new(),
            naming: Vec::new(),
            trace: VecDeque::new(),
            table_syncs: 0,
            panics: Vec::new(),
            lives: 0,
        };
        for dir in root.ancestors() {
            state.add(dir, Inode::Dir);
        }
        state.durable = state.live.clone();
        state.naming.clear();
        Arc::new(Self {
            seed,
            lie,
            state: Mutex::new(state),
        })
    }

    pub fn seed(&self) -> u64 {
        self.seed
    }

    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Everything ends at the `n`-th operation from now.
    pub fn end_at(&self, n: u64) {
        let mut state = self.lock();
        state.end_at = Some(state.ops + n);
    }

    /// Nothing ends while it is held.
    pub fn hold(&self, held: bool) {
        self.lock().held = held;
    }

    /// From now on something goes wrong.
    pub fn fault(&self, fault: Fault) {
        let mut state = self.lock();
        (state.fault, state.eligible, state.fault_hit) = (Some(fault), 0, false);
    }

    /// Whether something may still go wrong, or did and has not been mended.
    pub fn is_faulty(&self) -> bool {
        self.lock().fault.is_some()
    }

    /// From now on nothing goes wrong any more; whether anything did.
    pub fn mend(&self) -> bool {
        let mut state = self.lock();
        state.fault = None;
        state.fault_hit
    }

    pub fn is_off(&self) -> bool {
        self.lock().off
    }

    /// How often the fault could have happened.
    pub fn eligible(&self) -> u64 {
        self.lock().eligible
    }

    pub fn table_syncs(&self) -> u64 {
        self.lock().table_syncs
    }

    /// After the end of a process: whatever the end has left, ready for the next start.
    pub fn restart(&self, end: End) {
        let state = &mut *self.lock();
        state.lives += 1;
        let mut chance = Chance::of(self.seed ^ (state.lives << 32), "what an end leaves");
        match end {
            End::Power => state.cut(&mut chance),
            End::Kill => state.kill(&mut chance),
        }
        state.forget();
        (state.ops, state.end_at, state.off) = (0, None, false);
        state.trace.push_back(Step {
            number: 0,
            thread: String::new(),
            what: match end {
                End::Power => "== power cut",
                End::Kill => "== kill",
            },
            path: PathBuf::new(),
            at: 0,
            len: 0,
            ended: "",
        });
    }

    /// Removes a file or directory while the store is not open.
    pub fn remove(&self, path: &Path) {
        let state = &mut *self.lock();
        state.remove(path);
        state.sync_names(path.parent().unwrap_or(path));
    }

    /// A thread of the store panicked.
    pub fn panicked(&self, how: String) {
        if let Ok(mut state) = self.state.try_lock() {
            state.panics.push(how);
        }
    }

    /// How the store's threads panicked, if they did.
    pub fn panics(&self) -> Vec<String> {
        self.lock().panics.clone()
    }

    /// The last operations, one a line.
    pub fn trace(&self) -> String {
        // A failed test may have left the lock poisoned.
        let state = self.state.lock().unwrap_or_else(|state| state.into_inner());
        let lines: Vec<_> = state.trace.iter().map(Step::to_string).collect();
        lines.join("\n")
    }
}

/// The machine's disk.
pub(super) struct SimDisk(pub Arc<Machine>);

struct SimFile {
    machine: Arc<Machine>,
    ino: Ino,
    path: PathBuf,
    len: u64,
}

impl SimDisk {
    fn turn(&self, class: Class, what: &'static str, path: &Path) -> (MutexGuard<'_, State>, Turn) {
        super::on_this_thread(&self.0);
        let mut state = self.0.lock();
        let turn = state.turn(self.0.seed, class, what, path, 0, 0);
        (state, turn)
    }

    fn look<T>(
        &self,
        what: &'static str,
        path: &Path,
        look: impl FnOnce(&mut State) -> io::Result<T>,
    ) -> io::Result<T> {
        let (mut state, turn) = self.turn(Class::Read, what, path);
        turn.end(())?;
        look(&mut state)
    }
}

impl Disk for SimDisk {
    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.look("list", dir, |state| {
            let inside = state.live.keys().filter(|path| path.parent() == Some(dir));
            let name = |path: &PathBuf| path.file_name().map(|name| name.to_string_lossy().into());
            Ok(inside.filter_map(name).collect())
        })
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.look("read", path, |state| Ok(state.file_at(path)?.live.clone()))
    }

    fn read_at(&self, path: &Path, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        self.look("read_at", path, |state| {
            let file = &state.file_at(path)?.live;
            let from = file.len().min(offset as usize);
            let to = file.len().min(from.saturating_add(len));
            Ok(file[from..to].to_vec())
        })
    }

    fn len(&self, path: &Path) -> io::Result<u64> {
        self.look("len", path, |state| {
            Ok(state.file_at(path)?.live.len() as u64)
        })
    }

    fn free(&self, dir: &Path) -> io::Result<u64> {
        self.look("free", dir, |_| Ok(1 << 40))
    }

    fn create(&self, path: &Path, front: &[u8], len: u64) -> io::Result<Box<dyn LogFile>> {
        let (mut state, turn) = self.turn(Class::Make, "create", path);
        state.parent_exists(path)?;
        let mut made = None;
        if turn.happens() {
            made = Some(match state.live.get(path).copied() {
                Some(ino) => {
                    state.file(ino).truncate();
                    ino
                }
                None => state.add(path, Inode::File(FileData::default())),
            });
        }
        drop(state);
        turn.end(())?;
        let file = SimFile {
            machine: Arc::clone(&self.0),
            ino: made.unwrap(),
            path: path.to_owned(),
            len: len.max(front.len() as u64),
        };
        if !front.is_empty() {
            file.write_at(front, 0)?;
        }
        if file.len > front.len() as u64 {
            file.write_at(
                &vec![0; file.len as usize - front.len()],
                front.len() as u64,
            )?;
        }
        file.sync_data()?;
        Ok(Box::new(file))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn LogFile>> {
        let (ino, len) = self.look("open", path, |state| {
            let len = state.file_at(path)?.live.len() as u64;
            Ok((state.live[path], len))
        })?;
        Ok(Box::new(SimFile {
            machine: Arc::clone(&self.0),
            ino,
            path: path.to_owned(),
            len,
        }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let (mut state, turn) = self.turn(Class::Move, "rename", from);
        state.parent_exists(to)?;
        let ino = *state.live.get(from).ok_or_else(not_found)?;
        if turn.happens() {
            let tables = |ino: &Ino| matches!(state.inodes.get(ino), Some(Inode::Tables(_)));
            // Directories do not replace each other.
            assert!(
                !state.live.get(to).is_some_and(tables),
                "tables over tables"
            );
            rename_tree(&mut state.live, from, to);
            for naming in &mut state.naming {
                if let Naming::Link(path, _) | Naming::Unlink(path) = naming
                    && let Some(new) = moved(path, from, to)
                    && path != from
                {
                    *path = new;
                }
            }
            let (from, to) = (from.to_owned(), to.to_owned());
            state.naming.push(Naming::Rename(from, to, ino));
        }
        turn.end(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let (mut state, turn) = self.turn(Class::Move, "remove", path);
        if turn.happens() {
            state.remove(path);
        }
        turn.end(())
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        let (mut state, turn) = self.turn(Class::Make, "create_dir", dir);
        if turn.happens() {
            let missing: Vec<_> = dir
                .ancestors()
                .take_while(|dir| !state.live.contains_key(*dir))
                .collect();
            for dir in missing.into_iter().rev() {
                state.add(dir, Inode::Dir);
            }
        }
        turn.end(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let (mut state, turn) = self.turn(Class::SyncDir, "sync_dir", dir);
        let lies = self.0.lie == Lie::Names && dir.ends_with("wal");
        if turn.happens() && !lies {
            state.sync_names(dir);
        }
        turn.end(())
    }
}

impl LogFile for SimFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        super::on_this_thread(&self.machine);
        let mut state = self.machine.lock();
        let (seed, at) = (self.machine.seed, offset as usize);
        let turn = state.turn(seed, Class::Write, "write", &self.path, at, bytes.len());
        if turn.happens() {
            state.file(self.ino).write(at, turn.part(bytes));
        }
        turn.end(())
    }

    fn sync_data(&self) -> io::Result<()> {
        super::on_this_thread(&self.machine);
        let mut state = self.machine.lock();
        let turn = state.turn(self.machine.seed, Class::Sync, "sync", &self.path, 0, 0);
        let (off, ops) = (state.off, state.ops);
        let file = state.file(self.ino);
        let log = self.path.parent().is_some_and(|dir| dir.ends_with("wal"));
        let lie = if log { self.machine.lie } else { Lie::None };
        match (turn.happens(), lie) {
            (true, Lie::Data) => {}
            (true, Lie::Forgets) if ops.is_multiple_of(8) => file.pending.clear(),
            (true, _) => file.sync(),
            // What the power took is torn; what a sync failed to write is forgotten.
            (false, _) if off => {}
            (false, _) => file.pending.clear(),
        }
        turn.end(())
    }

    fn len(&self) -> u64 {
        self.len
    }
}
