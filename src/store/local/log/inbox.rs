//! The queue of records in front of the committer.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::oneshot;

use super::frame::Position;
use crate::store::durable::Outcome;
use crate::store::record::Record;

/// One group has at most this many records …
const GROUP_RECORDS_MAX: usize = 1024;
/// … and, unless it is a single one, at most this many bytes.
const GROUP_BYTES_MAX: usize = 1 << 20;
/// How long the log is idle before a SEAL frame proves its last group acknowledged.
const SEAL_AFTER: Duration = Duration::from_millis(50);

/// A record on its way to the log.
pub struct PendingRecord {
    pub record: Record,
    /// Dropped without an outcome, the record is lost.
    pub done: oneshot::Sender<Outcome>,
    /// Whatever bounds the queue; dropped once the record is durable or lost.
    pub hold: Box<dyn Send>,
}

/// Who may still push records, and how the queue ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Access {
    Open,
    /// Only the store itself may.
    Closing,
    /// Closed; what is in the queue is still written.
    Finishing,
    /// Closed; what is in the queue is lost.
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
    records: VecDeque<PendingRecord>,
    access: Access,
    /// The committer is working on the last group.
    busy: bool,
    /// The committer sleeps and must be woken.
    parked: bool,
}

/// What the committer does next.
pub enum Work {
    Write(Vec<PendingRecord>),
    Seal,
    Shutdown,
    Abandon,
}

impl Inbox {
    pub fn new() -> Self {
        let queue = Queue {
            records: VecDeque::new(),
            access: Access::Open,
            busy: false,
            parked: false,
        };
        Self {
            state: Mutex::new(queue),
            arrived: Condvar::new(),
            idle: Condvar::new(),
        }
    }

    /// Queues a caller's record; once the store is closing the record is dropped, and so lost.
    pub fn push(&self, pending: PendingRecord) {
        self.push_while(|access| access == Access::Open, pending);
    }

    /// Queues the record that the tables hold everything up to `applied`. Its outcome is ignored.
    pub fn push_checkpoint(&self, applied: Position) {
        let record = Record::checkpoint(applied.lsn, applied.chain);
        let (done, _) = oneshot::channel();
        let pending = PendingRecord {
            record,
            done,
            hold: Box::new(()),
        };
        self.push_while(
            |access| matches!(access, Access::Open | Access::Closing),
            pending,
        );
    }

    fn push_while(&self, open: impl FnOnce(Access) -> bool, pending: PendingRecord) {
        let mut queue = self.lock();
        if !open(queue.access) {
            // Dropping `hold` may run foreign code: not under the lock.
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

    /// Whether it accepts callers' records.
    pub fn is_open(&self) -> bool {
        self.lock().access == Access::Open
    }

    /// Accepts no more records from callers, and waits until the queued ones are written.
    pub fn close(&self) {
        let mut queue = self.lock();
        if queue.access == Access::Open {
            queue.access = Access::Closing;
        }
        let pending = |queue: &mut Queue| {
            queue.access != Access::Abandoned && (queue.busy || !queue.records.is_empty())
        };
        drop(self.idle.wait_while(queue, pending).expect(NO_PANIC));
    }

    /// Makes the committer write what is left and a SHUTDOWN frame, and end.
    pub fn finish(&self) {
        self.end(Access::Finishing);
    }

    /// Makes the committer end at once; what is queued is lost.
    pub fn abandon(&self) {
        let lost = self.end(Access::Abandoned);
        drop(lost);
    }

    fn end(&self, access: Access) -> VecDeque<PendingRecord> {
        let mut queue = self.lock();
        let mut lost = VecDeque::new();
        if queue.access != Access::Abandoned {
            queue.access = access;
        }
        if queue.access == Access::Abandoned {
            lost = std::mem::take(&mut queue.records);
        }
        drop(queue);
        self.arrived.notify_one();
        self.idle.notify_all();
        lost
    }

    /// Waits for work; with `seal`, only until the log counts as idle.
    pub fn next(&self, seal: bool) -> Work {
        let mut queue = self.lock();
        queue.busy = false;
        if queue.records.is_empty() {
            self.idle.notify_all();
        }
        let nothing = |queue: &mut Queue| {
            let nothing =
                queue.records.is_empty() && matches!(queue.access, Access::Open | Access::Closing);
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
        if queue.access == Access::Abandoned {
            return Work::Abandon;
        }
        let group = take_group(&mut queue.records);
        if !group.is_empty() {
            queue.busy = true;
            Work::Write(group)
        } else if queue.access == Access::Finishing {
            Work::Shutdown
        } else {
            Work::Seal
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.state.lock().expect(NO_PANIC)
    }
}

const NO_PANIC: &str = "no holder of this lock panics";

fn take_group(records: &mut VecDeque<PendingRecord>) -> Vec<PendingRecord> {
    let mut bytes = 0;
    let fits = |pending: &&PendingRecord| {
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

/// Abandons the queue when the committer ends, even by a panic.
pub struct AbandonOnDrop<'a>(pub &'a Inbox);

impl Drop for AbandonOnDrop<'_> {
    fn drop(&mut self) {
        self.0.abandon();
    }
}
