//! Segments: the files of the log, each preallocated before it is needed.
//!
//! A segment is filled with zeros and synced before its first frame, so that a commit's `fdatasync`
//! changes no metadata, and a full disk is noticed here and not in the middle of a write.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use crate::store::local::dir::{self, DataDir};
use crate::store::local::disk::{Disk, LogFile};

/// How long to wait before a failed preallocation is retried, and between checks of the free space.
const RETRY: Duration = Duration::from_secs(1);

/// The directory of the log.
#[derive(Clone)]
pub struct Wal {
    pub disk: Arc<dyn Disk>,
    pub dir: PathBuf,
    /// How long a segment is, unless one frame needs more.
    pub segment_bytes: u64,
    /// Bytes of all segments, as far as changes are known.
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

    /// Bytes of all segments.
    pub fn on_disk(&self) -> u64 {
        self.on_disk.load(Ordering::Relaxed)
    }

    /// Reads the sizes of all segments.
    pub fn measure(&self) -> io::Result<()> {
        let lens = self.numbers()?.into_iter();
        let lens = lens.map(|number| self.disk.len(&self.path(number)));
        self.on_disk
            .store(lens.sum::<io::Result<u64>>()?, Ordering::Relaxed);
        Ok(())
    }

    /// Removes a segment; durable once the directory is synced.
    pub fn remove(&self, number: u64) -> io::Result<()> {
        let path = self.path(number);
        let len = self.disk.len(&path)?;
        self.disk.remove(&path)?;
        self.on_disk.fetch_sub(len, Ordering::Relaxed);
        Ok(())
    }

    pub fn path(&self, number: u64) -> PathBuf {
        self.dir.join(dir::segment_name(number))
    }

    /// The numbers of all segments, ascending.
    pub fn numbers(&self) -> io::Result<Vec<u64>> {
        let names = self.disk.list(&self.dir)?;
        let mut numbers: Vec<_> = names
            .iter()
            .filter_map(|name| dir::segment_number(name))
            .collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// Removes unfinished segments. Not while one is being created.
    pub fn remove_unfinished(&self) -> io::Result<()> {
        let mut names = self.disk.list(&self.dir)?;
        names.retain(|name| dir::is_unfinished(name));
        names
            .iter()
            .try_for_each(|name| self.disk.remove(&self.dir.join(name)))
    }

    /// Creates or replaces a segment that begins with `front`; durable under its name on return. On an
    /// error its space is freed.
    pub fn create(&self, number: u64, front: &[u8], len: u64) -> io::Result<Box<dyn LogFile>> {
        let path = self.path(number);
        let unfinished = path.with_extension(dir::NEW);
        let created = self.disk.create(&unfinished, front, len).and_then(|file| {
            self.disk.rename(&unfinished, &path)?;
            self.disk.sync_dir(&self.dir)?;
            Ok(file)
        });
        if created.is_err()
            && let Err(error) = self.disk.remove(&unfinished)
        {
            tracing::warn!(path = %unfinished.display(), %error, "cannot remove an unfinished segment");
        }
        created
    }
}

/// Creates the next segment, on a thread of its own, while the log still fills the one before it.
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
    /// `ready` is the segment if it was preallocated before the last stop.
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

    /// Whether the last preallocation failed.
    pub fn failed(&self) -> bool {
        matches!(*self.lock(), State::Failed { .. } | State::Stopped)
    }

    /// Takes the next segment, at least `len` bytes long, and requests the one after it, of `usual`
    /// bytes. Waits while it is being created; `None` if that fails.
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

    pub fn stop(&self) {
        *self.lock() = State::Stopped;
        self.changed.notify_all();
    }

    /// Creates segments as they are requested, until stopped; `check_space` is called before each and
    /// regularly.
    pub fn run(&self, wal: &Wal, check_space: impl Fn()) {
        let _stop = StopOnDrop(self);
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
                        check_space();
                        state = self.lock();
                    }
                }
                State::Failed { number, len } => {
                    let waited = self.changed.wait_timeout(state, RETRY);
                    state = waited.expect("no holder of this lock panics").0;
                    if matches!(*state, State::Failed { .. }) {
                        // The state stays failed meanwhile, so that no commit waits for it.
                        drop(state);
                        check_space();
                        let file = preallocate(wal, number, len);
                        state = self.lock();
                        self.put(&mut state, number, len, file);
                    }
                }
                State::Wanted { number, len } => {
                    drop(state);
                    check_space();
                    let file = preallocate(wal, number, len);
                    state = self.lock();
                    self.put(&mut state, number, len, file);
                }
            }
        }
    }

    fn put(&self, state: &mut State, number: u64, len: u64, file: Option<Box<dyn LogFile>>) {
        if !matches!(state, State::Stopped) {
            *state = match file {
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

/// Unblocks the committer when the thread ends, even by a panic.
struct StopOnDrop<'a>(&'a SegmentPreallocator);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.stop();
    }
}

fn preallocate(wal: &Wal, number: u64, len: u64) -> Option<Box<dyn LogFile>> {
    let path: &Path = &wal.path(number);
    wal.create(number, &[], len)
        .inspect(|file| {
            wal.on_disk.fetch_add(file.len(), Ordering::Relaxed);
        })
        .inspect_err(
            |error| tracing::error!(path = %path.display(), %error, "cannot preallocate a segment"),
        )
        .ok()
}
