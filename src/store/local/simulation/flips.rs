//! One bit flips at rest, anywhere: the state is the same, or there is an error.
//!
//! A store of some 200 records, on the real disk and with sled, ended in three ways. Of each file
//! some bytes get one flipped bit each, a copy with it is opened and everything is read. What is
//! read must be what was there, or an error: never another state, a panic, a hang, or the end of the
//! process. Since sled may do any of these, a process of its own tries the flips, and this one
//! watches it.
//!
//! A sample is tried. `ARF_FLIPS=all` has every 64th byte of the log and the snapshots tried and every
//! 512th of the tables, `ARF_FLIPS=64` every 64th of the tables too, which takes ten minutes.
//!
//! One flip cannot be distinguished from a crash (`store/mod.rs`, "Assumptions about disks"): in the very
//! last frame of a log that was not closed. The state may then be the one before that frame.

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::io::{BufRead, BufReader, Write as _};
use std::ops::ControlFlow;
use std::os::unix::fs::FileExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use super::chance::Chance;
use super::disk::{Lie, Machine};
use super::world::{SCHEMA, World};
use super::{setting, words};
use crate::id::{Sequence, TenantId};
use crate::store::local::log::scan::Scan;
use crate::store::local::*;
use crate::store::table::{ENTRIES, HEADS, OPENINGS};
use crate::store::{EnvelopeError, ReadError, Store, StoredRow};

/// The test that tries flips for another process.
const WORKER: &str = "store::local::simulation::flips::tries_what_another_process_wants";
/// The variable with the file that lists them.
const JOB: &str = "ARF_FLIP_JOB";
/// One byte of so many is hit …
const EVERY: usize = 64;
/// … and of the tables, which are mostly what was overwritten, when all are tried.
const TABLES_EVERY: usize = 512;
/// How many flips in each folder each ending is tried with, unless all are wanted.
const SAMPLE: usize = 50;
/// No flip takes that long, unless it hangs.
const HANGS: Duration = Duration::from_secs(30);
const TENANTS: u8 = 3;
/// No tenant has more records.
const SEQUENCES: u64 = 80;

/// How the data set was left.
#[derive(Debug, Clone, Copy)]
enum Left {
    Closed,
    /// Killed at work.
    Killed,
    /// Killed with a CHECKPOINT as the last frame.
    AtCheckpoint,
}

/// A flipped bit.
#[derive(Debug, Clone)]
struct Flip {
    file: String,
    at: usize,
    bit: usize,
    /// Whether the tables are there, or have to come from the file that is hit.
    tables: bool,
}

/// Room for copies. Nothing here is about syncs, so memory will do.
fn room() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let place = if memory.is_dir() {
        memory.to_owned()
    } else {
        std::env::temp_dir()
    };
    tempfile::tempdir_in(place).unwrap()
}

fn make(dir: &Path, left: Left, seed: u64) {
    let machine = Machine::new(seed, Lie::None, dir);
    let mut world = World::new(machine, dir, seed);
    world.real = true;
    world.config = StoreConfig {
        checkpoint_every: Duration::from_millis(20),
        ..config(dir)
    };
    world.open().unwrap();
    let record = |world: &mut World, number: u8| {
        let id = TenantId::from_bytes([number % TENANTS; 16]);
        match number % 10 {
            9 => world.append_side(id),
            _ => world.append(id),
        }
        world.resolve();
    };
    let applied = |world: &World| world.until(|world| world.store().stats().memtable_bytes == 0);
    for number in 0..150 {
        record(&mut world, number);
        if number % 50 == 49 {
            applied(&world);
            world.until(|world| world.store().stats().snapshots_made > u64::from(number / 50));
        }
    }
    // A second start, so that sled's snapshot is there and not the whole story.
    world.close().unwrap();
    if !matches!(left, Left::AtCheckpoint) {
        world.config.checkpoint_every = Duration::from_secs(60);
    }
    world.open().unwrap();
    for number in 150..200 {
        record(&mut world, number);
    }
    applied(&world);
    match left {
        Left::Closed => world.close().unwrap(),
        Left::Killed => world.kill(),
        Left::AtCheckpoint => {
            // Durable, and never to be applied: only a CHECKPOINT is that.
            world.until(|world| {
                let stats = world.store().stats();
                stats.memtable_bytes == 0 && stats.durable > stats.applied
            });
            world.kill();
        }
    }
}

fn config(dir: &Path) -> StoreConfig {
    StoreConfig {
        segment_bytes: 16 << 10,
        tables_every: Duration::from_millis(5),
        snapshot_bytes: 20 << 10,
        table_cache_bytes: 1 << 20,
        ..StoreConfig::new(dir)
    }
}

fn wal(dir: &Path) -> Wal {
    Wal::new(&DataDir::real(dir), config(dir).segment_bytes)
}

/// The files below a directory, by their path in it.
fn files(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if entry.file_type().unwrap().is_dir() {
            found.extend(
                files(&entry.path())
                    .iter()
                    .map(|file| format!("{name}/{file}")),
            );
        } else {
            found.push(name);
        }
    }
    found.sort();
    found
}

/// A data directory as it was left: of each file how long it is, and the blocks that are not zero.
struct Base(BTreeMap<String, (u64, BTreeMap<usize, Vec<u8>>)>);

impl Base {
    const BLOCK: usize = 4096;

    fn read(dir: &Path) -> Self {
        let blocks = |name: String| {
            let bytes = fs::read(dir.join(&name)).unwrap();
            let blocks = bytes.chunks(Self::BLOCK).map(<[u8]>::to_vec).enumerate();
            let kept = blocks.filter(|(_, block)| !disk::all_zero(block)).collect();
            (name, (bytes.len() as u64, kept))
        };
        Self(files(dir).into_iter().map(blocks).collect())
    }

    /// Puts a copy of it somewhere; what is zero in its files stays a hole.
    fn copy(&self, to: &Path, flip: Option<&Flip>) {
        if to.exists() {
            fs::remove_dir_all(to).unwrap();
        }
        let tables = flip.is_none_or(|flip| flip.tables);
        if tables {
            fs::create_dir_all(to.join("tables/blobs")).unwrap();
        }
        for (name, (len, blocks)) in &self.0 {
            if !tables && name.starts_with("tables/") {
                continue;
            }
            let path = to.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let file = File::create(path).unwrap();
            file.set_len(*len).unwrap();
            for (number, block) in blocks {
                file.write_all_at(block, (number * Self::BLOCK) as u64)
                    .unwrap();
            }
            if let Some(flip) = flip.filter(|flip| flip.file == *name) {
                let block = blocks.get(&(flip.at / Self::BLOCK));
                let byte = block.map_or(0, |block| block[flip.at % Self::BLOCK]);
                file.write_all_at(&[byte ^ (1 << flip.bit)], flip.at as u64)
                    .unwrap();
            }
        }
    }
}

/// Something that can be read, and what was read: `None` if there was an error.
type Reads = BTreeMap<String, Option<Vec<u8>>>;

/// Everything that there is to read: by scans, and some sequences one by one as well.
fn read_all(store: &Store, sequences: &[u64]) -> Reads {
    let mut reads = Reads::new();
    let deadline = stopwatch::now() + HANGS / 2;
    while store.stats().rebuilding && stopwatch::now() < deadline {
        std::thread::park_timeout(Duration::from_micros(200));
    }
    let reader = store.reader();
    reads.insert("tenants".to_owned(), Some(vec![store.tenants() as u8]));
    for number in 0..TENANTS {
        let id = TenantId::from_bytes([number; 16]);
        let claim = store.reader().tenant(id).ok().map(|claim| {
            let claim = claim.expect("it was there");
            format!("{:?} {:?}", claim.head, claim.rows).into_bytes()
        });
        reads.insert(format!("claim {number}"), claim);
        for sequence in sequences {
            let sequence = Sequence::new(*sequence);
            let bytes = |read: Result<Option<Vec<u8>>, ReadError>| {
                read.ok().map(|read| format!("{read:?}").into_bytes())
            };
            reads.insert(
                format!("entry {number} {sequence}"),
                bytes(reader.entry(id, sequence)),
            );
            reads.insert(
                format!("opening {number} {sequence}"),
                bytes(reader.opening(id, sequence)),
            );
        }
    }
    for table in SCHEMA.iter().chain([&ENTRIES, &OPENINGS, &HEADS]) {
        let mut rows = 0u32;
        let mut damaged = 0;
        let mut show = |id, key: &[u8], stored: Result<StoredRow, EnvelopeError>| {
            rows += 1;
            damaged += u32::from(stored.is_err());
            let name = format!("row {} {id} {key:?}", table.name);
            reads.insert(name, stored.ok().map(|stored| stored.payload));
            ControlFlow::Continue(())
        };
        let all = reader.scan(table, &mut show).ok();
        let count = all.map(|()| rows.to_le_bytes().to_vec());
        reads.insert(format!("rows of {}", table.name), count);
    }
    reads
}

/// What is read differently, and not as an error.
fn difference(expected: &Reads, found: &Reads) -> Option<String> {
    for (what, read) in found {
        if let Some(read) = read
            && expected
                .get(what)
                .is_some_and(|expected| expected.as_ref() != Some(read))
        {
            return Some(format!("{what} is another"));
        }
        if what.starts_with("row ") && !expected.contains_key(what) {
            return Some(format!("{what} was not there"));
        }
    }
    None
}

/// What a data directory is to be read as.
struct Expected {
    whole: Reads,
    /// The last frame of a log that was not closed, and what is there without it.
    last_frame: Option<(String, std::ops::Range<usize>, Reads)>,
}

impl Expected {
    fn of(base: &Base, work: &Path) -> Self {
        let read = |work: &Path| {
            let store = Store::open(&config(work), &SCHEMA)?;
            assert!(
                !store.open_stats().rebuilt,
                "a copy is as good as the original"
            );
            Ok::<_, OpenError>(read_all(&store, &(0..SEQUENCES).collect::<Vec<_>>()))
        };
        base.copy(work, None);
        let (log, schema) = (wal(work), Schema::new(&SCHEMA));
        let found = snapshot::find(&DataDir::real(work), &log, &schema).unwrap();
        let scan = Scan::read(&log, &schema, found.base).unwrap();
        let whole = read(work).unwrap();
        let last_frame = (scan.last != Some(Kind::Shutdown))
            .then_some(())
            .and_then(|()| {
                let segment = scan.segments.last().unwrap();
                let file = format!("wal/{:016x}.wal", segment.segment);
                base.copy(work, None);
                let mut bytes = fs::read(work.join(&file)).unwrap();
                let mut tail = *segment;
                let mut begins = 0;
                while tail.offset < scan.tail.offset {
                    begins = tail.offset as usize;
                    assert!(tail.accept(&bytes[begins..]).is_ok());
                }
                let range = begins..tail.offset as usize;
                bytes[range.clone()].fill(0);
                fs::write(work.join(&file), bytes).unwrap();
                fs::remove_dir_all(work.join("tables")).unwrap();
                // Refused if a snapshot was made since: then a flip has to be refused as well.
                Some((file, range, read(work).ok()?))
            });
        Self { whole, last_frame }
    }
}

/// Opens a copy with a flipped bit and reads all of it.
fn try_flip(base: &Base, work: &Path, flip: &Flip, expected: &Expected) -> String {
    base.copy(work, Some(flip));
    let store = match Store::open(&config(work), &SCHEMA) {
        Ok(store) => store,
        Err(_) => return "refused".to_owned(),
    };
    let mut chance = Chance::of(flip.at as u64, &flip.file);
    let some: Vec<_> = (0..10)
        .map(|_| chance.below(SEQUENCES as usize) as u64)
        .collect();
    let found = read_all(&store, &some);
    let rebuilt = store.open_stats().rebuilt;
    let outcome = match difference(&expected.whole, &found) {
        None if found.values().any(Option::is_none) => "error on read".to_owned(),
        None if rebuilt => "rebuilt".to_owned(),
        None => "harmless".to_owned(),
        Some(what) => match &expected.last_frame {
            Some((file, range, without))
                if *file == flip.file
                    && range.contains(&flip.at)
                    && difference(without, &found).is_none() =>
            {
                "taken for a torn write".to_owned()
            }
            _ => format!("WRONG: {what} (rebuilt: {rebuilt})"),
        },
    };
    drop(store);
    outcome
}

/// Tries flips and tells of each on standard output. Without a job, nothing.
#[test]
fn tries_what_another_process_wants() {
    let Some(job) = setting(JOB) else { return };
    let job = fs::read_to_string(job).unwrap();
    let mut lines = job.lines();
    let base = Base::read(Path::new(lines.next().unwrap()));
    let room = room();
    let work = room.path().join("copy");
    let expected = Expected::of(&base, &work);
    let mut out = std::io::stdout();
    for line in lines {
        let mut words_of = line.split(' ');
        let mut word = || words_of.next().unwrap();
        let flip = Flip {
            file: word().to_owned(),
            at: word().parse().unwrap(),
            bit: word().parse().unwrap(),
            tables: word().parse().unwrap(),
        };
        let tried = catch_unwind(AssertUnwindSafe(|| {
            try_flip(&base, &work, &flip, &expected)
        }));
        let outcome =
            tried.unwrap_or_else(|panic| format!("WRONG: it panics: {}", words(panic.as_ref())));
        writeln!(out, "\nEND {}", outcome.replace('\n', " ")).unwrap();
    }
}

/// Has a process try flips; how each of them ended.
fn watch(base: &Path, flips: &[Flip]) -> Vec<(Flip, String)> {
    let room = room();
    let job = room.path().join("job");
    let mut left: VecDeque<_> = flips.iter().cloned().collect();
    let mut ended = Vec::new();
    while !left.is_empty() {
        let lines = left
            .iter()
            .map(|flip| format!("{} {} {} {}\n", flip.file, flip.at, flip.bit, flip.tables));
        let text: String = [format!("{}\n", base.display())]
            .into_iter()
            .chain(lines)
            .collect();
        fs::write(&job, text).unwrap();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", WORKER, "--nocapture", "--test-threads=1"])
            .env(JOB, &job)
            .env("RUST_BACKTRACE", "0")
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let (said, heard) = mpsc::channel();
        let listener = std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                if said.send(line).is_err() {
                    return;
                }
            }
        });
        let how = loop {
            match heard.recv_timeout(HANGS) {
                Ok(line) => {
                    if let Some(outcome) = line.strip_prefix("END ") {
                        ended.push((left.pop_front().unwrap(), outcome.to_owned()));
                    }
                }
                Err(mpsc::RecvTimeoutError::Timeout) => break "WRONG: it hangs",
                Err(mpsc::RecvTimeoutError::Disconnected) => break "WRONG: the process ends",
            }
        };
        drop(heard);
        let _gone = child.kill();
        child.wait().unwrap();
        listener.join().unwrap();
        if let Some(flip) = left.pop_front() {
            ended.push((flip, how.to_owned()));
        }
    }
    ended
}

/// The flips to try in a data directory.
fn flips(base: &Path, which: Option<&str>, seed: u64) -> Vec<Flip> {
    let mut chance = Chance::of(seed, "which bits");
    let mut found = Vec::new();
    for file in files(base) {
        let inside = ["wal/", "snapshots/", "tables/"];
        if !inside.iter().any(|dir| file.starts_with(dir)) {
            continue;
        }
        let bytes = fs::read(base.join(&file)).unwrap();
        let used = bytes
            .iter()
            .rposition(|byte| *byte != 0)
            .map_or(0, |last| last + 1);
        let every = match which {
            Some("all") if file.starts_with("tables/") => TABLES_EVERY,
            Some(number) if file.starts_with("tables/") => number.parse().unwrap(),
            Some(_) | None => EVERY,
        };
        for at in (0..bytes.len()).step_by(every) {
            // Where nothing was ever written one place is like another.
            let unused =
                at > used + EVERY || disk::all_zero(&bytes[at..bytes.len().min(at + 4096)]);
            if unused && chance.below(256) > 0 {
                continue;
            }
            // Tables that are ahead of the log would reveal the damage.
            let tables = match file.split('/').next() {
                Some("snapshots") => chance.chance(1, 4),
                Some("wal") => chance.chance(1, 2),
                _ => true,
            };
            found.push(Flip {
                file: file.clone(),
                at,
                bit: chance.below(8),
                tables,
            });
        }
    }
    if which.is_none() {
        // The tables are most of the bytes, and not most of what can go wrong.
        let inside = |flip: &Flip| flip.file.split('/').next().map(str::to_owned);
        let mut of = BTreeMap::new();
        for flip in &found {
            *of.entry(inside(flip)).or_insert(0) += 1;
        }
        found.retain(|flip| chance.below(of[&inside(flip)]) < SAMPLE);
    }
    found
}

fn no_flip_is_another_state(left: Left) {
    let which = setting("ARF_FLIPS");
    let seed = setting("ARF_SEED").map_or(1, |seed| seed.parse().unwrap());
    let room = room();
    make(room.path(), left, seed);
    let flips = flips(room.path(), which.as_deref(), seed);
    let half = flips.len() / 2;
    let ended = std::thread::scope(|scope| {
        let first = scope.spawn(|| watch(room.path(), &flips[..half]));
        let second = watch(room.path(), &flips[half..]);
        [first.join().unwrap(), second].concat()
    });
    let mut count = BTreeMap::new();
    for (flip, outcome) in &ended {
        let kind = flip.file.split('/').next().unwrap_or_default();
        let outcome = outcome.split(':').next().unwrap_or_default();
        *count.entry((kind, outcome)).or_insert(0) += 1;
    }
    println!("{left:?}, seed {seed}: {} flips: {count:?}", ended.len());
    let wrong: Vec<_> = ended
        .iter()
        .filter(|(_, outcome)| outcome.starts_with("WRONG"))
        .map(|(flip, outcome)| format!("{flip:?}: {outcome}"))
        .collect();
    assert!(wrong.is_empty(), "seed {seed}:\n{}", wrong.join("\n"));
}

#[test]
fn no_flip_after_a_close_is_another_state() {
    no_flip_is_another_state(Left::Closed);
}

#[test]
fn no_flip_after_a_kill_is_another_state() {
    no_flip_is_another_state(Left::Killed);
}

#[test]
fn no_flip_after_a_checkpoint_is_another_state() {
    no_flip_is_another_state(Left::AtCheckpoint);
}
