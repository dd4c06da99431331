//! The committer: one thread, one frame, one write and one `fdatasync` at a time.
//!
//! It never waits for more records to come: while one group is being synced the next one gathers by
//! itself, so groups are as large as the load is high.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use thiserror::Error;
use tokio::sync::oneshot;

use super::frame::{HEADER, Kind, Position, Tail};
use super::inbox::{AbandonOnDrop, Inbox, PendingRecord, Work};
use super::owners::Owners;
use super::scan::{SealedSegment, follows};
use super::segment::{SegmentPreallocator, Wal};
use crate::id::{Sequence, TenantId};
use crate::store::durable::{Lost, Mark, Outcome};
use crate::store::local::counters::Counters;
use crate::store::local::disk::{LogFile, len_u64};
use crate::store::local::stopwatch;
use crate::store::record::{Body, Lsn, Record};
use crate::store::row::Op;

/// A write or a sync of the log that failed. What the disk holds now is not known, and a sync that
/// is tried again may say that all is well when it is not (PostgreSQL's "fsyncgate"): only a start
/// can tell.
#[derive(Debug, Error)]
#[error("the log could not be {what}, {} at {offset}: {source}", path.display())]
pub struct FatalError {
    pub what: &'static str,
    pub path: PathBuf,
    pub offset: u64,
    pub source: io::Error,
}

/// Ends the process; a test's returns.
pub type FatalHandler = Arc<dyn Fn(&FatalError) + Send + Sync>;

/// What comes after the log.
pub trait Downstream: Send {
    /// Waits until it can take more.
    fn wait_for_room(&self);
    /// These operations are durable, up to `through`.
    fn committed(&self, ops: Vec<Op<'static>>, through: Position);
    /// The log says that the tables hold everything up to this record.
    fn checkpointed(&self, applied: Lsn);
    /// Nothing more is written to a segment.
    fn sealed(&self, segment: SealedSegment);
}

/// The thread that writes the log.
pub struct Committer {
    pub inbox: Arc<Inbox>,
    pub owners: Arc<Owners>,
    pub wal: Wal,
    pub preallocator: Arc<SegmentPreallocator>,
    pub downstream: Box<dyn Downstream>,
    pub counters: Arc<Counters>,
    /// Where the log goes on: everything before it is durable.
    pub end: Arc<Mutex<Tail>>,
    pub on_fatal: FatalHandler,
    /// The segment that is being written.
    pub file: Box<dyn LogFile>,
    /// Where the next frame goes.
    pub tail: Tail,
    /// Every tenant's last sequence.
    pub heads: HashMap<TenantId, Sequence>,
    /// The frame that is being built; kept for its allocation.
    pub frame: Vec<u8>,
    /// Whether there is nothing that a SEAL frame would prove.
    pub sealed: bool,
}

impl Committer {
    /// Writes until the inbox ends. Whether the log ends with a SHUTDOWN frame.
    pub fn run(mut self) -> bool {
        let inbox = Arc::clone(&self.inbox);
        let _abandon = AbandonOnDrop(&inbox);
        self.serve().unwrap_or_else(|error| {
            (self.on_fatal)(&error);
            false
        })
    }

    fn serve(&mut self) -> Result<bool, FatalError> {
        loop {
            match self.inbox.next(!self.sealed) {
                Work::Write(group) => {
                    self.downstream.wait_for_room();
                    self.commit(group)?;
                }
                Work::Seal => {
                    // Without space for it the seal is left out: it proves, it does not promise.
                    self.mark(Kind::Seal)?;
                    self.sealed = true;
                }
                Work::Shutdown => return self.mark(Kind::Shutdown),
                Work::Abandon => return Ok(false),
            }
        }
    }

    /// Makes a group durable and resolves its records.
    fn commit(&mut self, group: Vec<PendingRecord>) -> Result<(), FatalError> {
        let bytes: usize = group.iter().map(|pending| pending.record.bytes()).sum();
        if !self.make_room(bytes) {
            tracing::error!(
                records = group.len(),
                "no space for the log: records are lost"
            );
            for PendingRecord { done, hold, .. } in group {
                resolve(done, hold, Err(Lost::Full));
            }
            return Ok(());
        }
        let owners = Arc::clone(&self.owners);
        let _group = owners.begin_group();
        self.frame.clear();
        self.frame.resize(HEADER, 0);
        let mut waiting = Vec::with_capacity(group.len());
        let mut ops = Vec::new();
        let mut checkpoint = None;
        for PendingRecord { record, done, hold } in group {
            if let Err(lost) = self.encode(&record) {
                resolve(done, hold, Err(lost));
                continue;
            }
            if let Body::Checkpoint { applied, .. } = record.body {
                checkpoint = Some(applied);
            }
            waiting.push((done, hold));
            ops.extend(record.into_ops());
        }
        let Ok(count @ 1..) = u32::try_from(waiting.len()) else {
            return Ok(());
        };
        let first = self.tail.next;
        self.write(Kind::Group, count)?;
        self.sealed = false;

        let lsn = Lsn::new(self.tail.next.get() - 1);
        let chain = self.tail.chain;
        self.downstream.committed(ops, Position { lsn, chain });
        self.counters.set_durable(lsn);
        self.counters.groups.fetch_add(1, Ordering::Relaxed);
        if let Some(applied) = checkpoint {
            self.downstream.checkpointed(applied);
        }
        for (lsn, (done, hold)) in (first.get()..).zip(waiting) {
            resolve(done, hold, Ok(Mark::new(lsn)));
        }
        Ok(())
    }

    /// Adds a record to the frame, unless its owner is fenced or the record before it in its tenant's
    /// order is not in the log.
    fn encode(&mut self, record: &Record) -> Result<(), Lost> {
        if let Body::Tenant {
            owner,
            sequence,
            log_base,
            ..
        } = record.body
        {
            let tenant = record.tenant;
            if !self.owners.is_current(owner) {
                tracing::warn!(%tenant, %sequence, "a record of a former owner is refused");
                return Err(Lost::Fenced);
            }
            let last = self.heads.get(&tenant).copied();
            if !follows(last, sequence, log_base) {
                tracing::warn!(%tenant, %sequence, ?last, "a record out of order is refused");
                return Err(Lost::Fenced);
            }
            if self.heads.insert(tenant, sequence).is_none() {
                self.counters.add_tenant();
            }
        }
        record.encode(&mut self.frame);
        Ok(())
    }

    /// Writes a frame without records; `false` if there is no room for it.
    fn mark(&mut self, kind: Kind) -> Result<bool, FatalError> {
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
        let usual = self.wal.segment_bytes;
        let Some(file) = self.preallocator.take(frame, usual) else {
            return false;
        };
        self.downstream.sealed(SealedSegment {
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
    fn write(&mut self, kind: Kind, count: u32) -> Result<(), FatalError> {
        let Tail {
            segment, offset, ..
        } = self.tail;
        let path = || self.wal.path(segment);
        let fatal = |what| {
            move |source| FatalError {
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
        let bytes = len_u64(&self.frame);
        self.counters.add_sync(began.elapsed(), bytes);
        *self.end.lock().expect(NO_PANIC) = self.tail;
        Ok(())
    }
}

/// In this order, so that the place is free once the caller knows. The caller may be gone.
fn resolve(done: oneshot::Sender<Outcome>, hold: Box<dyn Send>, outcome: Outcome) {
    drop(hold);
    let _ = done.send(outcome);
}

const NO_PANIC: &str = "no holder of this lock panics";
