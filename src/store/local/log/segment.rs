//! Segments: the files of the log, each made before it is needed.
//!
//! A segment is filled with zeros and synced before its first frame, so that a commit's `fdatasync`
//! changes no metadata, and a full disk is found out here and not in the middle of a write.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use crate::store::local::dir::{self, DataDir};
use crate::store::local::disk::{Disk, LogFile};

/// How long to wait before a segment that could not be made is tried again, and before the disk is
/// looked at again.
const RETRY: Duration = Duration::from_secs(1);

/// The log's directory and the names in it.
#[derive(Clone)]
pub struct Wal {
    pub disk: Arc<dyn Disk>,
    pub dir: PathBuf,
    /// How long a segment is, unless one frame needs more.
    pub segment_bytes: u64,
    /// How many bytes all segments take, roughly.
    on_disk: Arc<AtomicU64>,
}

impl Wal {
    /// The log in a data directory.
    pub fn new(data: &DataDir, segment_bytes: u64) -> Self {
        Self {
            disk: data.disk().clone(),
            dir: data.wal(),
            segment_bytes,
            on_disk: Arc::default(),
        }
    }

    /// How many bytes all segments take, as far as this has been followed.
    pub fn on_disk(&self) -> u64 {
        self.on_disk.load(Ordering::Relaxed)
    }

    /// Looks how many bytes all segments take.
    pub fn measure(&self) -> io::Result<()> {
        let lens = self.numbers()?.into_iter();
        let lens = lens.map(|number| self.disk.len(&self.path(number)));
        self.on_disk
            .store(lens.sum::<io::Result<u64>>()?, Ordering::Relaxed);
        Ok(())
    }

    /// Removes a segment; for good once the directory is synced.
    pub fn remove(&self, number: u64) -> io::Result<()> {
        let path = self.path(number);
        let len = self.disk.len(&path)?;
        self.disk.remove(&path)?;
        self.on_disk.fetch_sub(len, Ordering::Relaxed);
        Ok(())
    }

    /// Where a segment lies.
    pub fn path(&self, number: u64) -> PathBuf {
        self.dir.join(dir::segment_name(number))
    }

    /// The numbers of the segments there are, ascending.
    pub fn numbers(&self) -> io::Result<Vec<u64>> {
        let names = self.disk.list(&self.dir)?;
        let mut numbers: Vec<_> = names
            .iter()
            .filter_map(|name| dir::segment_number(name))
            .collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// Removes segments that were never finished. To be called while nobody makes one.
    pub fn remove_unfinished(&self) -> io::Result<()> {
        let mut names = self.disk.list(&self.dir)?;
        names.retain(|name| dir::is_unfinished(name));
        names
            .iter()
            .try_for_each(|name| self.disk.remove(&self.dir.join(name)))
    }

    /// Makes a segment that begins with `front`, or replaces one; durable under its name on return.
    /// What could not be finished gives its space back.
    pub fn create(&self, number: u64, front: &[u8], len: u64) -> io::Result<Box<dyn LogFile>> {
        let path = self.path(number);
        let unfinished = path.with_extension(dir::NEW);
        let made = self.disk.create(&unfinished, front, len).and_then(|file| {
            self.disk.rename(&unfinished, &path)?;
            self.disk.sync_dir(&self.dir)?;
            Ok(file)
        });
        if made.is_err()
            && let Err(error) = self.disk.remove(&unfinished)
        {
            tracing::warn!(path = %unfinished.display(), %error, "an unfinished segment stays");
        }
        made
    }
}

/// The next segment, made on a thread of its own while the log still fills the one before it.
pub struct SegmentPreallocator {
    state: Mutex<State>,
    changed: Condvar,
}

enum State {
    Wanted { number: u64, len: u64 },
    Ready { number: u64, file: Box<dyn LogFile> },
    Failed { number: u64, len: u64 },
    Stopped,
}

impl SegmentPreallocator {
    /// With `ready`, if that segment was made before the last stop.
    pub fn new(number: u64, len: u64, ready: Option<Box<dyn LogFile>>) -> Self {
        let state = match ready {
            Some(file) => State::Ready { number, file },
            None => State::Wanted { number, len },
        };
        Self {
            state: Mutex::new(state),
            changed: Condvar::new(),
        }
    }

    /// Whether no segment can be had: the disk is full, or worse.
    pub fn failed(&self) -> bool {
        matches!(*self.lock(), State::Failed { .. } | State::Stopped)
    }

    /// Takes the next segment, at least `len` bytes long, and orders the one after it, of `usual`
    /// bytes. Waits while it is being made; `None` if it cannot be.
    pub fn take(&self, len: u64, usual: u64) -> Option<Box<dyn LogFile>> {
        let mut state = self.lock();
        loop {
            match &*state {
                State::Ready { number, file } => {
                    let (number, fits) = (*number, file.len() >= len);
                    let next = if fits {
                        State::Wanted {
                            number: number + 1,
                            len: usual,
                        }
                    } else {
                        State::Wanted { number, len }
                    };
                    let ready = std::mem::replace(&mut *state, next);
                    self.changed.notify_all();
                    if let (true, State::Ready { file, .. }) = (fits, ready) {
                        return Some(file);
                    }
                }
                State::Wanted { .. } => {
                    state = self
                        .changed
                        .wait(state)
                        .expect("no holder of this lock panics");
                }
                State::Failed { .. } | State::Stopped => return None,
            }
        }
    }

    /// Ends [`SegmentPreallocator::run`].
    pub fn stop(&self) {
        *self.lock() = State::Stopped;
        self.changed.notify_all();
    }

    /// Makes segments as they are wanted, until stopped, and has the disk `watch`ed.
    pub fn run(&self, wal: &Wal, watch: impl Fn()) {
        let _nobody_waits_in_vain = Stop(self);
        let mut state = self.lock();
        loop {
            match *state {
                State::Stopped => return,
                State::Ready { .. } => {
                    let waited = self.changed.wait_timeout(state, RETRY);
                    let (waited, timeout) = waited.expect("no holder of this lock panics");
                    state = waited;
                    if timeout.timed_out() {
                        drop(state);
                        watch();
                        state = self.lock();
                    }
                }
                State::Failed { number, len } => {
                    let waited = self.changed.wait_timeout(state, RETRY);
                    state = waited.expect("no holder of this lock panics").0;
                    if matches!(*state, State::Failed { .. }) {
                        // Still failed while it is tried, so that nobody waits for it.
                        drop(state);
                        watch();
                        let made = make(wal, number, len);
                        state = self.lock();
                        self.put(&mut state, number, len, made);
                    }
                }
                State::Wanted { number, len } => {
                    drop(state);
                    watch();
                    let made = make(wal, number, len);
                    state = self.lock();
                    self.put(&mut state, number, len, made);
                }
            }
        }
    }

    fn put(&self, state: &mut State, number: u64, len: u64, made: Option<Box<dyn LogFile>>) {
        if !matches!(state, State::Stopped) {
            *state = match made {
                Some(file) => State::Ready { number, file },
                None => State::Failed { number, len },
            };
        }
        self.changed.notify_all();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().expect("no holder of this lock panics")
    }
}

/// Stops making segments when their thread ends, even by a panic.
struct Stop<'a>(&'a SegmentPreallocator);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.stop();
    }
}

fn make(wal: &Wal, number: u64, len: u64) -> Option<Box<dyn LogFile>> {
    let path: &Path = &wal.path(number);
    wal.create(number, &[], len)
        .inspect(|file| {
            wal.on_disk.fetch_add(file.len(), Ordering::Relaxed);
        })
        .inspect_err(|error| tracing::error!(path = %path.display(), %error, "no room for the log"))
        .ok()
}
