//! The log read once, from its first frame to its last.

use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;

use super::frame::{Frame, Kind, Position, Tail};
use super::frames::{DamagedRange, FrameReader, Policy, Step};
use super::segment::Wal;
use crate::id::{Sequence, TenantId};
use crate::store::OpenError;
use crate::store::cursor::Cursor;
use crate::store::head::Head;
use crate::store::local::schema::Schema;
use crate::store::record::{LogBody, LogPrefix, LogRecord, Lsn, RecordError, next_record};
use crate::store::row::open_envelope;
use crate::store::table::HEADS;

/// A tenant's head as its last record left it.
pub struct LastHead {
    pub sequence: Sequence,
    /// Its whole envelope, as the tables must have it.
    pub envelope: Vec<u8>,
}

/// A segment that nothing more is written to.
#[derive(Debug, Clone, Copy)]
pub struct SealedSegment {
    pub segment: u64,
    /// How many bytes of it are frames.
    pub bytes: u64,
    /// The last record in it or before it.
    pub through: Position,
}

/// The log up to a snapshot.
pub struct SnapshotBase {
    pub prefix: LogPrefix,
    pub heads: HashMap<TenantId, LastHead>,
}

/// The log behind a snapshot, or all of it, as far as it is valid.
pub struct Scan {
    /// The last record that a snapshot covers.
    pub base: Lsn,
    /// Where it goes on.
    pub tail: Tail,
    /// Where each segment with frames begins.
    pub segments: Vec<Tail>,
    /// Those before the last of them.
    pub sealed: Vec<SealedSegment>,
    /// The bytes of the last segment that are frames.
    pub front: Vec<u8>,
    /// How long the last segment is; 0 if there is none.
    pub len: u64,
    /// The length of the empty segment that follows, if there is one.
    pub next_segment: Option<u64>,
    /// Every tenant's last head.
    pub heads: HashMap<TenantId, LastHead>,
    /// The last record that the tables are known to hold.
    pub applied: Lsn,
    /// The last record, and the chain value of its frame.
    pub through: Position,
    /// What the last frame was for.
    pub last: Option<Kind>,
    pub torn: Option<TornWrite>,
    /// The places of the frames that a CHECKPOINT may still name.
    frames: VecDeque<Position>,
}

/// A write behind the last frame that a crash cut short.
pub struct TornWrite {
    pub file: PathBuf,
    pub offset: u64,
    pub why: &'static str,
    pub bytes: Vec<u8>,
}

impl TornWrite {
    fn read(wal: &Wal, range: DamagedRange) -> Result<Self, OpenError> {
        let DamagedRange {
            file,
            offset,
            bytes,
            why,
        } = range;
        let len = usize::try_from(bytes).unwrap_or(usize::MAX);
        let bytes = wal.disk.read_at(&file, offset, len);
        let bytes = bytes.map_err(|error| OpenError::io(&file, error))?;
        Ok(Self {
            file,
            offset,
            why,
            bytes,
        })
    }
}

impl Scan {
    /// Reads the log behind `base`. What is damaged, and not merely unfinished, is an error.
    pub fn read(wal: &Wal, schema: &Schema, base: Option<SnapshotBase>) -> Result<Self, OpenError> {
        let mut scan = Self::begin(base);
        let mut reader = FrameReader::all_of_log(wal, scan.tail, Policy::TornTail)?;
        loop {
            match reader.step()? {
                Step::Frame => scan.note(&reader, schema)?,
                Step::Damage(range) => {
                    // It may be the first write to a segment.
                    scan.begin_segment(reader.tail());
                    scan.torn = Some(TornWrite::read(wal, range)?);
                }
                Step::End => break,
            }
        }
        if scan.applied < scan.base {
            // A snapshot is built only after a CHECKPOINT says that the tables hold its rows.
            let why = "the log ends before the checkpoint of its snapshot";
            return Err(scan.damaged(wal.path(scan.tail.segment), scan.tail.offset, None, why));
        }
        scan.read_last_segment(wal)?;
        Ok(scan)
    }

    /// What a start needs to go on writing.
    fn read_last_segment(&mut self, wal: &Wal) -> Result<(), OpenError> {
        let Tail {
            segment, offset, ..
        } = self.tail;
        if self.segments.is_empty() {
            return Ok(());
        }
        let path = wal.path(segment);
        let io = |error| OpenError::io(&path, error);
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        self.front = wal.disk.read_at(&path, 0, offset).map_err(io)?;
        self.len = wal.disk.len(&path).map_err(io)?;
        let numbers = wal
            .numbers()
            .map_err(|error| OpenError::io(&wal.dir, error))?;
        if numbers.contains(&(segment + 1)) {
            let next = wal.path(segment + 1);
            let len = wal.disk.len(&next);
            self.next_segment = Some(len.map_err(|error| OpenError::io(&next, error))?);
        }
        Ok(())
    }

    /// Before the first frame behind `base`.
    fn begin(base: Option<SnapshotBase>) -> Self {
        let (prefix, heads) = base.map_or((None, HashMap::new()), |base| {
            (Some(base.prefix), base.heads)
        });
        let tail = prefix.map_or(Tail::START, LogPrefix::tail);
        let through = Position {
            lsn: prefix.map_or(Lsn::ZERO, |prefix| prefix.lsn),
            chain: tail.chain,
        };
        Self {
            base: through.lsn,
            tail,
            segments: Vec::new(),
            sealed: Vec::new(),
            front: Vec::new(),
            len: 0,
            next_segment: None,
            heads,
            applied: Lsn::ZERO,
            through,
            last: None,
            torn: None,
            frames: VecDeque::from([through]),
        }
    }

    fn note(&mut self, reader: &FrameReader, schema: &Schema) -> Result<(), OpenError> {
        let start = reader.start();
        self.begin_segment(start);
        let Some(frame) = reader.frame() else {
            return Ok(());
        };
        self.last = Some(frame.kind);
        self.tail = reader.tail();
        for record in records(&frame, schema) {
            let record = record.map_err(|error| match error {
                RecordError::Damaged(why) => {
                    self.damaged(reader.path().to_owned(), start.offset, None, why)
                }
                RecordError::Newer(why) => reader.newer(why).into(),
            })?;
            self.note_record(record)
                .map_err(|why| self.damaged(reader.path().to_owned(), start.offset, None, why))?;
        }
        if frame.count > 0 {
            self.through = Position {
                lsn: Lsn::new(self.tail.next.get() - 1),
                chain: self.tail.chain,
            };
            self.frames.push_back(self.through);
        }
        Ok(())
    }

    fn begin_segment(&mut self, start: Tail) {
        match self.segments.last() {
            Some(last) if last.segment == start.segment => return,
            Some(_) => self.sealed.push(SealedSegment {
                segment: start.segment - 1,
                bytes: self.tail.offset,
                // Its last frame may be a SEAL behind the last record.
                through: Position {
                    lsn: self.through.lsn,
                    chain: self.tail.chain,
                },
            }),
            None => {}
        }
        self.segments.push(start);
        self.tail = start;
    }

    fn note_record(&mut self, record: LogRecord<'_>) -> Result<(), &'static str> {
        let tenant = record.tenant;
        match record.body {
            LogBody::Tenant {
                sequence,
                head: envelope,
                ..
            } => {
                let head = open_head(tenant, envelope).ok_or("a head is unreadable")?;
                let last = self.heads.get(&tenant).map(|last| last.sequence);
                if head.sequence != sequence || !follows(last, sequence, head.log_base) {
                    return Err("a tenant's records are not in order");
                }
                let envelope = envelope.to_vec();
                self.heads.insert(tenant, LastHead { sequence, envelope });
            }
            LogBody::Side(_) => {}
            // Older than the snapshot: the place it names is gone.
            LogBody::Checkpoint { applied, .. } if applied < self.base => {}
            // Its frame's chain value is not known: what a snapshot has is that of the segment's last
            // frame, which may be a SEAL behind it.
            LogBody::Checkpoint { applied, .. } if applied == self.base => {
                self.applied = applied;
            }
            LogBody::Checkpoint { applied, chain } => {
                while self.frames.front().is_some_and(|frame| frame.lsn < applied) {
                    self.frames.pop_front();
                }
                if self.frames.front()
                    != Some(&Position {
                        lsn: applied,
                        chain,
                    })
                {
                    return Err("a checkpoint names a place that is not in this log");
                }
                self.applied = applied;
            }
            LogBody::Snapshot(_) | LogBody::Rows(_) => {
                return Err("a record of a snapshot in the log");
            }
        }
        Ok(())
    }

    /// The error for a place that no crash explains.
    pub fn damaged(
        &self,
        file: PathBuf,
        offset: u64,
        next_valid: Option<Lsn>,
        why: &'static str,
    ) -> OpenError {
        let last = self.through.lsn.get();
        let last_good = (last > 0).then_some(last);
        OpenError::Damaged {
            file,
            offset,
            last_good,
            next_valid: next_valid.map(Lsn::get),
            why,
        }
    }
}

/// The records of a frame; an error ends them.
pub fn records<'a>(
    frame: &Frame<'a>,
    schema: &Schema,
) -> impl Iterator<Item = Result<LogRecord<'a>, RecordError>> {
    let (mut left, mut body) = (frame.count, Cursor::new(frame.body));
    std::iter::from_fn(move || {
        if left == 0 {
            let rest = std::mem::replace(&mut body, Cursor::new(&[])).rest();
            let error = RecordError::Damaged("a frame holds more than its records");
            return (!rest.is_empty()).then_some(Err(error));
        }
        let record = next_record(&mut body, |id| schema.get(id));
        left = if record.is_ok() { left - 1 } else { 0 };
        if left == 0 && record.is_err() {
            body = Cursor::new(&[]);
        }
        Some(record)
    })
}

/// Whether `sequence` is the next of a tenant whose last is `last`; a first one begins its log.
pub(super) fn follows(last: Option<Sequence>, sequence: Sequence, log_base: Sequence) -> bool {
    sequence == last.map_or(log_base, Sequence::next)
}

/// The head in the value of a `_heads` row.
pub fn open_head(tenant: TenantId, envelope: &[u8]) -> Option<Head> {
    let stored = open_envelope(tenant, &HEADS, &[], envelope).ok()?;
    (stored.version == crate::store::head::VERSION).then(|| Head::decode(&stored.payload))?
}
