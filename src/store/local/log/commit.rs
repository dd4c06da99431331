//! The committer: one thread, one frame, one write and one `fdatasync` at a time.
//!
//! It never waits for more records to come: while one group is being synced the next one gathers by
//! itself, so groups are as large as the load is high.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use thiserror::Error;
use tokio::sync::oneshot;

use super::frame::{HEADER, Kind, Position, Tail};
use super::scan::{Sealed, follows};
use crate::id::{Sequence, TenantId};
use crate::store::Mark;
use crate::store::local::Shared;
use crate::store::local::disk::{LogFile, len_u64};
use crate::store::local::stopwatch;
use crate::store::record::{Body, Lsn, Record};

/// One group has at most this many records …
const GROUP_RECORDS_MAX: usize = 1024;
/// … and, unless it is a single one, at most this many bytes.
const GROUP_BYTES_MAX: usize = 1 << 20;
/// How long the log is idle before a SEAL frame proves its last group acknowledged.
const SEAL_AFTER: Duration = Duration::from_millis(50);

/// A record on its way to the log, and who waits for it.
pub struct Pending {
    pub record: Record,
    /// Dropped unanswered, it tells that the record is lost.
    pub done: oneshot::Sender<Mark>,
    /// The record's place in whatever bounds the queue.
    pub hold: Box<dyn Send>,
}

/// Who may still put records into the queue, and how it ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Door {
    Open,
    /// Only the store itself.
    Closing,
    /// Nobody; what is in the queue is still written.
    Finishing,
    /// Nobody; what is in the queue is lost.
    Abandoned,
}

/// The queue in front of the committer.
pub struct Inbox {
    state: Mutex<Queue>,
    /// Something for the committer.
    arrived: Condvar,
    /// The committer has nothing left.
    idle: Condvar,
}

struct Queue {
    records: VecDeque<Pending>,
    door: Door,
    /// The committer is at work on what it took last.
    busy: bool,
    /// The committer sleeps and must be woken.
    parked: bool,
}

/// What the committer is to do next.
enum Turn {
    Write(Vec<Pending>),
    Seal,
    Shutdown,
    Abandon,
}

impl Inbox {
    pub fn new() -> Self {
        let queue = Queue {
            records: VecDeque::new(),
            door: Door::Open,
            busy: false,
            parked: false,
        };
        Self {
            state: Mutex::new(queue),
            arrived: Condvar::new(),
            idle: Condvar::new(),
        }
    }

    /// Queues a caller's record; drops it, and so tells that it is lost, once the store is closing.
    pub fn push(&self, pending: Pending) {
        self.push_while(|door| door == Door::Open, pending);
    }

    /// Queues the note that the tables hold everything up to `applied`. Nobody waits for it.
    pub fn push_checkpoint(&self, applied: Position) {
        let record = Record::checkpoint(applied.lsn, applied.chain);
        let (done, _) = oneshot::channel();
        let pending = Pending {
            record,
            done,
            hold: Box::new(()),
        };
        self.push_while(|door| matches!(door, Door::Open | Door::Closing), pending);
    }

    fn push_while(&self, open: impl FnOnce(Door) -> bool, pending: Pending) {
        let mut queue = self.lock();
        if !open(queue.door) {
            // Whatever `hold` does when it is dropped, it does without our lock.
            drop(queue);
            drop(pending);
            return;
        }
        queue.records.push_back(pending);
        if std::mem::take(&mut queue.parked) {
            drop(queue);
            self.arrived.notify_one();
        }
    }

    /// Whether it still takes callers' records.
    pub fn is_open(&self) -> bool {
        self.lock().door == Door::Open
    }

    /// Takes no more records from callers, and waits until those that came are dealt with.
    pub fn close(&self) {
        let mut queue = self.lock();
        if queue.door == Door::Open {
            queue.door = Door::Closing;
        }
        let pending = |queue: &mut Queue| {
            queue.door != Door::Abandoned && (queue.busy || !queue.records.is_empty())
        };
        drop(self.idle.wait_while(queue, pending).expect(NO_PANIC));
    }

    /// Has the committer write what is left and a SHUTDOWN frame, and end.
    pub fn finish(&self) {
        self.end(Door::Finishing);
    }

    /// Has the committer end at once; whatever waits is lost.
    pub fn abandon(&self) {
        let lost = self.end(Door::Abandoned);
        drop(lost);
    }

    fn end(&self, door: Door) -> VecDeque<Pending> {
        let mut queue = self.lock();
        let mut lost = VecDeque::new();
        if queue.door != Door::Abandoned {
            queue.door = door;
        }
        if queue.door == Door::Abandoned {
            lost = std::mem::take(&mut queue.records);
        }
        drop(queue);
        self.arrived.notify_one();
        self.idle.notify_all();
        lost
    }

    /// Waits for work. With `seal`, only so long until the log counts as idle.
    fn next(&self, seal: bool) -> Turn {
        let mut queue = self.lock();
        queue.busy = false;
        if queue.records.is_empty() {
            self.idle.notify_all();
        }
        let nothing = |queue: &mut Queue| {
            let nothing =
                queue.records.is_empty() && matches!(queue.door, Door::Open | Door::Closing);
            queue.parked = nothing;
            nothing
        };
        let mut queue = if seal {
            self.arrived
                .wait_timeout_while(queue, SEAL_AFTER, nothing)
                .expect(NO_PANIC)
                .0
        } else {
            self.arrived.wait_while(queue, nothing).expect(NO_PANIC)
        };
        queue.parked = false;
        if queue.door == Door::Abandoned {
            return Turn::Abandon;
        }
        let group = take_group(&mut queue.records);
        if !group.is_empty() {
            queue.busy = true;
            Turn::Write(group)
        } else if queue.door == Door::Finishing {
            Turn::Shutdown
        } else {
            Turn::Seal
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.state.lock().expect(NO_PANIC)
    }
}

const NO_PANIC: &str = "no holder of this lock panics";

fn take_group(records: &mut VecDeque<Pending>) -> Vec<Pending> {
    let mut bytes = 0;
    let fits = |pending: &&Pending| {
        bytes += pending.record.bytes();
        bytes <= GROUP_BYTES_MAX
    };
    let count = records
        .iter()
        .take(GROUP_RECORDS_MAX)
        .take_while(fits)
        .count();
    // A record that is larger than a group may be goes alone.
    records.drain(..count.max(1).min(records.len())).collect()
}

/// A write or a sync of the log that failed. What the disk holds now is not known, and a sync that
/// is tried again may say that all is well when it is not (PostgreSQL's "fsyncgate"): only a start
/// can tell.
#[derive(Debug, Error)]
#[error("the log could not be {what}, {} at {offset}: {source}", path.display())]
pub(in crate::store) struct Fatal {
    pub what: &'static str,
    pub path: PathBuf,
    pub offset: u64,
    pub source: io::Error,
}

/// Abandons the queue when the committer ends, even by a panic.
struct Abandon<'a>(&'a Inbox);

impl Drop for Abandon<'_> {
    fn drop(&mut self) {
        self.0.abandon();
    }
}

/// The thread that writes the log.
pub struct Committer {
    pub shared: Arc<Shared>,
    /// The segment that is being written.
    pub file: Box<dyn LogFile>,
    /// Where the next frame goes.
    pub tail: Tail,
    /// Every tenant's last sequence.
    pub heads: HashMap<TenantId, Sequence>,
    /// The frame that is being made; kept for its room.
    pub frame: Vec<u8>,
    /// Whether there is nothing that a SEAL frame would prove.
    pub sealed: bool,
}

impl Committer {
    /// Writes until told to end. Whether the log ends with a SHUTDOWN frame.
    pub fn run(mut self) -> bool {
        let shared = Arc::clone(&self.shared);
        let _nobody_waits_in_vain = Abandon(&shared.inbox);
        self.serve().unwrap_or_else(|fatal| {
            (shared.env.fatal)(&fatal);
            false
        })
    }

    fn serve(&mut self) -> Result<bool, Fatal> {
        loop {
            match self.shared.inbox.next(!self.sealed) {
                Turn::Write(group) => {
                    self.shared
                        .memtable_queue
                        .wait_for_room(self.shared.config.lag_bytes);
                    self.commit(group)?;
                }
                Turn::Seal => {
                    // Without room for it the seal is left out: it proves, it does not promise.
                    self.mark(Kind::Seal)?;
                    self.sealed = true;
                }
                Turn::Shutdown => return self.mark(Kind::Shutdown),
                Turn::Abandon => return Ok(false),
            }
        }
    }

    /// Makes a group durable and tells everybody who waits. Records that cannot be written are
    /// lost, and so is what follows them in their tenant's order.
    fn commit(&mut self, group: Vec<Pending>) -> Result<(), Fatal> {
        let bytes: usize = group.iter().map(|pending| pending.record.bytes()).sum();
        if !self.make_room(bytes) {
            tracing::error!(
                records = group.len(),
                "no room for the log: records are lost"
            );
            return Ok(());
        }
        self.frame.clear();
        self.frame.resize(HEADER, 0);
        let group: Vec<_> = group
            .into_iter()
            .filter(|pending| self.encode_in_order(&pending.record))
            .collect();
        let Ok(count @ 1..) = u32::try_from(group.len()) else {
            return Ok(());
        };
        let first = self.tail.next;
        self.write(Kind::Group, count)?;
        self.sealed = false;

        let last = Lsn::new(self.tail.next.get() - 1);
        let through = Position {
            lsn: last,
            chain: self.tail.chain,
        };
        let mut waiting = Vec::with_capacity(group.len());
        let mut ops = Vec::new();
        let mut checkpoint = None;
        for Pending { record, done, hold } in group {
            if let Body::Checkpoint { applied, .. } = record.body {
                checkpoint = Some(applied);
            }
            waiting.push((done, hold));
            ops.extend(record.into_ops());
        }
        self.shared.memtable_queue.absorb(ops, through);
        self.shared
            .counters
            .durable
            .store(last.get(), Ordering::Release);
        self.shared.counters.groups.fetch_add(1, Ordering::Relaxed);
        if let Some(applied) = checkpoint {
            self.shared.snapshot_manager.checkpointed(applied);
        }
        for (lsn, (done, hold)) in (0..).map(|n| first.plus(n)).zip(waiting) {
            // Whoever waited may have left; the record is durable all the same.
            let _ = done.send(Mark::new(lsn));
            drop(hold);
        }
        Ok(())
    }

    /// Adds a record to the frame, unless one before it in its tenant's order is not in the log.
    fn encode_in_order(&mut self, record: &Record) -> bool {
        if let Body::Tenant {
            sequence, log_base, ..
        } = record.body
        {
            let last = self.heads.get(&record.tenant).copied();
            if !follows(last, sequence, log_base) {
                let tenant = record.tenant;
                tracing::warn!(%tenant, %sequence, ?last, "a record out of order is lost");
                return false;
            }
            if self.heads.insert(record.tenant, sequence).is_none() {
                self.shared.counters.tenants.fetch_add(1, Ordering::Relaxed);
            }
        }
        record.encode(&mut self.frame);
        true
    }

    /// Writes a frame without records; `false` if there is no room for it.
    fn mark(&mut self, kind: Kind) -> Result<bool, Fatal> {
        if !self.make_room(0) {
            return Ok(false);
        }
        self.frame.clear();
        self.frame.resize(HEADER, 0);
        self.write(kind, 0)?;
        Ok(true)
    }

    /// Goes on to the next segment if a frame with this much in it does not fit into this one;
    /// `false` if there is none.
    fn make_room(&mut self, bytes: usize) -> bool {
        let frame = u64::try_from((HEADER + bytes).next_multiple_of(8)).unwrap_or(u64::MAX);
        if self.tail.offset.saturating_add(frame) <= self.file.len() {
            return true;
        }
        let usual = self.shared.wal.segment_bytes;
        let Some(file) = self.shared.preallocator.take(frame, usual) else {
            return false;
        };
        self.shared.snapshot_manager.sealed(Sealed {
            segment: self.tail.segment,
            bytes: self.tail.offset,
            through: Position {
                lsn: Lsn::new(self.tail.next.get() - 1),
                chain: self.tail.chain,
            },
        });
        self.file = file;
        self.tail = self.tail.next_segment();
        true
    }

    /// One write, one sync.
    fn write(&mut self, kind: Kind, count: u32) -> Result<(), Fatal> {
        let Tail {
            segment, offset, ..
        } = self.tail;
        let path = || self.shared.wal.path(segment);
        let fatal = |what| {
            move |source| Fatal {
                what,
                path: path(),
                offset,
                source,
            }
        };
        self.tail.finish(kind, count, &mut self.frame);
        self.file
            .write_at(&self.frame, offset)
            .map_err(fatal("written"))?;
        let began = stopwatch::now();
        self.file.sync_data().map_err(fatal("synced"))?;
        self.shared
            .counters
            .synced(began.elapsed(), len_u64(&self.frame));
        *self.shared.position.lock().expect(NO_PANIC) = self.tail;
        Ok(())
    }
}
