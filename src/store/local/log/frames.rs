//! Frames read back: from the segments of the log one after the other, or from a snapshot's one file.
//!
//! One reader for start, snapshots, restore and salvage; what it does where no frame follows is its
//! [`Policy`]. No more of a file is in memory than a piece and a frame.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use thiserror::Error;

use super::frame::{Frame, FrameError, HEADER, Kind, Tail, announced, find_frames};
use super::segment::Wal;
use crate::id::TenantId;
use crate::store::OpenError;
use crate::store::local::disk::{Disk, len_u64};
use crate::store::record::{Lsn, RecordError};
use crate::store::row::EnvelopeError;

/// Bytes read at once.
const PIECE: usize = 1 << 20;

/// Why frames, or files that are derived from them, could not be read or written.
#[derive(Debug, Error)]
pub enum LogError {
    #[error("the store is closing")]
    Stopped,
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    /// A file does not hold what was written to it.
    #[error("{} is damaged at offset {offset}: {why}", path.display())]
    Damaged {
        path: PathBuf,
        offset: u64,
        why: &'static str,
        /// The last record before it and the first readable one behind it, if the file is of the log.
        last_good: Option<u64>,
        next_valid: Option<u64>,
    },
    #[error("{}: {what}", path.display())]
    Newer { path: PathBuf, what: String },
    #[error("the tables cannot be read: {0}")]
    Tables(String),
    #[error(transparent)]
    Row(#[from] EnvelopeError),
    #[error(
        "the rows of tenant {tenant} in the tables are not complete: `arf repair --tenant {tenant} --from \
         BACKUP` restores them"
    )]
    Incomplete { tenant: TenantId },
}

impl LogError {
    pub fn io(path: &Path) -> impl Fn(io::Error) -> Self {
        move |source| Self::Io {
            path: path.to_owned(),
            source,
        }
    }
}

impl From<LogError> for OpenError {
    fn from(error: LogError) -> Self {
        match error {
            LogError::Stopped | LogError::Incomplete { .. } => Self::Rebuild {
                why: error.to_string(),
            },
            LogError::Row(damaged) => Self::Row(damaged),
            LogError::Io { path, source } => Self::Io { path, source },
            LogError::Damaged {
                path,
                offset,
                why,
                last_good,
                next_valid,
            } => Self::Damaged {
                file: path,
                offset,
                last_good,
                next_valid,
                why,
            },
            LogError::Newer { path, what } => Self::newer(&path, what),
            LogError::Tables(why) => Self::Rebuild { why },
        }
    }
}

/// Cooperative cancellation of long reads.
pub fn go_on(stopped: &dyn Fn() -> bool) -> Result<(), LogError> {
    if stopped() {
        Err(LogError::Stopped)
    } else {
        Ok(())
    }
}

/// What to do where no frame follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// Fail: the frames are known to go on.
    Strict,
    /// End if it is a write that a crash cut short, with nothing behind it; else fail.
    TornTail,
    /// Report it, and go on at the next whole frame.
    SkipDamage,
}

/// Bytes that are not frames.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DamagedRange {
    pub file: PathBuf,
    pub offset: u64,
    /// 0 where a whole file is missing, or a whole frame only does not continue the log.
    pub bytes: u64,
    pub why: &'static str,
}

/// What [`FrameReader::step`] found.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// See [`FrameReader::frame`].
    Frame,
    /// Never with [`Policy::Strict`].
    Damage(DamagedRange),
    End,
}

/// Frames in order, each checked to continue the one before it.
pub struct FrameReader {
    file: FrameFile,
    /// Where the last frame began.
    start: Tail,
    /// The segments behind that of the file; a snapshot has none.
    wal: Option<Wal>,
    following: VecDeque<u64>,
    policy: Policy,
    /// Where the log is known to end.
    end: Option<Tail>,
    phase: Phase,
}

#[derive(Debug, PartialEq, Eq)]
enum Phase {
    /// Before the first segment.
    Start,
    Reading,
    End,
}

impl FrameReader {
    /// The frames of one file; the caller recognizes the last.
    pub fn file(disk: &Arc<dyn Disk>, path: PathBuf, begin: Tail, policy: Policy) -> Self {
        Self {
            file: FrameFile::new(disk.clone(), path, begin),
            start: begin,
            wal: None,
            following: VecDeque::new(),
            policy,
            end: None,
            phase: Phase::Reading,
        }
    }

    /// The log from `begin` to `end`, both at places where a frame can begin.
    pub fn log(wal: &Wal, begin: Tail, end: Tail) -> Self {
        Self {
            wal: Some(wal.clone()),
            following: (begin.segment + 1..=end.segment).collect(),
            end: Some(end),
            ..Self::file(&wal.disk, wal.path(begin.segment), begin, Policy::Strict)
        }
    }

    /// The log from `begin`, the beginning of a segment, to its end.
    pub fn all_of_log(wal: &Wal, begin: Tail, policy: Policy) -> Result<Self, LogError> {
        let mut following = VecDeque::from(wal.numbers().map_err(LogError::io(&wal.dir))?);
        following.retain(|number| *number >= begin.segment);
        Ok(Self {
            wal: Some(wal.clone()),
            following,
            phase: Phase::Start,
            ..Self::file(&wal.disk, wal.path(begin.segment), begin, policy)
        })
    }

    /// Where the next frame must be.
    pub fn tail(&self) -> Tail {
        self.file.tail
    }

    /// Where the current frame begins.
    pub fn start(&self) -> Tail {
        self.start
    }

    pub fn path(&self) -> &Path {
        &self.file.path
    }

    /// The current frame.
    pub fn frame(&self) -> Option<Frame<'_>> {
        self.file.frame()
    }

    /// Goes on to the next frame.
    pub fn step(&mut self) -> Result<Step, LogError> {
        loop {
            let at = self.file.tail;
            if let Some(end) = self.end
                && (at.segment, at.offset) >= (end.segment, end.offset)
            {
                return if (at.next, at.chain) == (end.next, end.chain) {
                    Ok(Step::End)
                } else {
                    Err(self.damaged("the log is not what it was"))
                };
            }
            match self.phase {
                Phase::Reading => {}
                Phase::End => return Ok(Step::End),
                Phase::Start => match self.next_segment(at.segment)? {
                    Some(step) => return Ok(step),
                    None => continue,
                },
            }
            let flaw = match self.file.step()? {
                Ok(()) => {
                    self.start = at;
                    return Ok(Step::Frame);
                }
                Err(flaw @ FrameError::Newer(_)) => return Err(self.flawed(flaw)),
                Err(flaw) => flaw,
            };
            let Some(written) = self.file.last_written()? else {
                if self.wal.is_none() || self.end.is_some_and(|end| end.segment == at.segment) {
                    return self.ends_early(flaw);
                }
                match self.next_segment(at.segment + 1)? {
                    Some(step) => return Ok(step),
                    None => continue,
                }
            };
            let mut range = DamagedRange {
                file: self.file.path.clone(),
                offset: at.offset,
                bytes: written - at.offset,
                why: flaw.why(),
            };
            match self.policy {
                Policy::Strict => return Err(self.flawed(flaw)),
                Policy::TornTail => {
                    self.check_torn(flaw)?;
                    self.phase = Phase::End;
                }
                // A frame that is whole here and does not continue the log is where to go on.
                Policy::SkipDamage => match self.file.find(at.offset, true)? {
                    Some(next) => {
                        range.bytes = next.offset - at.offset;
                        self.file.seek(next);
                    }
                    None => self.file.seek(Tail {
                        offset: written.next_multiple_of(8),
                        ..at
                    }),
                },
            }
            return Ok(Step::Damage(range));
        }
    }

    /// Only zeros, or nothing, follow in a file that should go on.
    fn ends_early(&self, flaw: FrameError) -> Result<Step, LogError> {
        match self.policy {
            Policy::SkipDamage => Ok(Step::End),
            Policy::Strict | Policy::TornTail => Err(self.flawed(flaw)),
        }
    }

    /// Opens the next segment, which should have this number; returns what to report instead.
    fn next_segment(&mut self, expected: u64) -> Result<Option<Step>, LogError> {
        let (Some(wal), Some(number)) = (&self.wal, self.following.pop_front()) else {
            self.phase = Phase::End;
            return Ok(Some(Step::End));
        };
        self.phase = Phase::Reading;
        let begin = Tail {
            segment: number,
            offset: 0,
            ..self.file.tail
        };
        let missing = DamagedRange {
            file: wal.path(expected),
            offset: 0,
            bytes: 0,
            why: "the segment is missing",
        };
        self.file = FrameFile::new(wal.disk.clone(), wal.path(number), begin);
        match self.policy {
            _ if number == expected => Ok(None),
            Policy::SkipDamage => Ok(Some(Step::Damage(missing))),
            Policy::Strict | Policy::TornTail => {
                Err(self.damaged("the segment before it is missing"))
            }
        }
    }

    /// Fails unless nothing is behind a write that was cut short: neither a frame in its file nor
    /// anything in a later one.
    fn check_torn(&self, flaw: FrameError) -> Result<(), LogError> {
        let from = match flaw {
            FrameError::Order(_) => self.file.tail.offset,
            FrameError::Header | FrameError::Body | FrameError::Newer(_) => {
                self.file.tail.offset + 8
            }
        };
        if let Some(next) = self.file.find(from, false)? {
            return Err(self.file.damaged(flaw.why(), Some(next.next)));
        }
        let later = self.wal.iter().flat_map(|wal| {
            let file = |number: &u64| {
                let begin = Tail {
                    segment: *number,
                    offset: 0,
                    ..self.file.tail
                };
                FrameFile::new(wal.disk.clone(), wal.path(*number), begin)
            };
            self.following.iter().map(file)
        });
        for file in later {
            if file.last_written()?.is_some() {
                let next = file.find(0, false)?.map(|next| next.next);
                return Err(self.file.damaged(flaw.why(), next));
            }
        }
        Ok(())
    }

    /// The error of damage right here.
    pub fn damaged(&self, why: &'static str) -> LogError {
        self.file.damaged(why, None)
    }

    /// The error of a record that cannot be read in a frame whose checksum holds.
    pub fn unreadable(&self, error: RecordError) -> LogError {
        match error {
            RecordError::Damaged(why) => self.damaged(why),
            RecordError::Newer(why) => self.newer(why),
        }
    }

    /// The error of a record that cannot be understood in a frame whose checksum holds.
    pub fn newer(&self, why: &str) -> LogError {
        let at = self.start.offset;
        LogError::Newer {
            path: self.file.path.clone(),
            what: format!("{why} at offset {at}"),
        }
    }

    fn flawed(&self, flaw: FrameError) -> LogError {
        match flaw {
            FrameError::Newer(version) => LogError::Newer {
                path: self.file.path.clone(),
                what: format!("log version {version}"),
            },
            FrameError::Header | FrameError::Order(_) | FrameError::Body => {
                self.damaged(flaw.why())
            }
        }
    }
}

/// One file of frames, read in pieces.
struct FrameFile {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    tail: Tail,
    /// The file from some place before the tail on, as far as it was read.
    window: Vec<u8>,
    /// Where in the window the tail is.
    at: usize,
    current: Option<CurrentFrame>,
}

/// The current frame's place in the window.
struct CurrentFrame {
    kind: Kind,
    count: u32,
    body: Range<usize>,
}

impl FrameFile {
    fn new(disk: Arc<dyn Disk>, path: PathBuf, tail: Tail) -> Self {
        Self {
            disk,
            path,
            tail,
            window: Vec::new(),
            at: 0,
            current: None,
        }
    }

    fn seek(&mut self, tail: Tail) {
        self.tail = tail;
        self.window.clear();
        self.at = 0;
        self.current = None;
    }

    fn frame(&self) -> Option<Frame<'_>> {
        let current = self.current.as_ref()?;
        Some(Frame {
            kind: current.kind,
            count: current.count,
            body: self.window.get(current.body.clone())?,
        })
    }

    fn step(&mut self) -> Result<Result<(), FrameError>, LogError> {
        self.current = None;
        let bytes = self.ahead(HEADER)?;
        if let Some(len) = announced(bytes) {
            self.ahead(len)?;
        }
        let at = self.at;
        let bytes = self.window.get(at..).unwrap_or_default();
        let begin = self.tail.offset;
        let (kind, count, body) = match self.tail.accept(bytes) {
            Ok(frame) => (frame.kind, frame.count, frame.body.len()),
            Err(flaw) => return Ok(Err(flaw)),
        };
        self.at += usize::try_from(self.tail.offset - begin).unwrap_or(usize::MAX);
        self.current = Some(CurrentFrame {
            kind,
            count,
            body: at + HEADER..at + HEADER + body,
        });
        Ok(Ok(()))
    }

    /// Where the bytes from the tail on that are not zero end; `None` if there are none.
    fn last_written(&self) -> Result<Option<u64>, LogError> {
        let (mut offset, mut last) = (self.tail.offset, None);
        loop {
            let piece = self.read_at(offset, PIECE)?;
            if piece.is_empty() {
                return Ok(last);
            }
            if let Some(at) = piece.iter().rposition(|byte| *byte != 0) {
                last = Some(offset + len_u64(piece.get(..=at).unwrap_or_default()));
            }
            offset += len_u64(&piece);
        }
    }

    /// The first header from an offset on that is in its own place, as the tail that it continues; with
    /// `whole`, the first whose frame is whole.
    fn find(&self, from: u64, whole: bool) -> Result<Option<Tail>, LogError> {
        let mut offset = from;
        loop {
            // A header may lie across the end of a piece.
            let piece = self.read_at(offset, PIECE + HEADER)?;
            for tail in find_frames(&piece, self.tail.segment, offset) {
                if !whole || self.is_whole(tail)? {
                    return Ok(Some(tail));
                }
            }
            if piece.len() < PIECE + HEADER {
                return Ok(None);
            }
            offset += PIECE as u64;
        }
    }

    fn is_whole(&self, mut tail: Tail) -> Result<bool, LogError> {
        let header = self.read_at(tail.offset, HEADER)?;
        let len = announced(&header).unwrap_or(HEADER);
        let bytes = self.read_at(tail.offset, len)?;
        Ok(tail.accept(&bytes).is_ok())
    }

    /// The error of damage right here, before this record.
    fn damaged(&self, why: &'static str, next_valid: Option<Lsn>) -> LogError {
        let last = self.tail.next.get() - 1;
        LogError::Damaged {
            path: self.path.clone(),
            offset: self.tail.offset,
            why,
            last_good: (self.tail.segment > 0 && last > 0).then_some(last),
            next_valid: next_valid.map(Lsn::get),
        }
    }

    /// The next `len` bytes, or as many as there are; reads on if need be.
    fn ahead(&mut self, len: usize) -> Result<&[u8], LogError> {
        let have = self.window.len() - self.at;
        if have < len {
            self.window.drain(..self.at);
            self.at = 0;
            let from = self.tail.offset + u64::try_from(have).unwrap_or(u64::MAX);
            let more = self.read_at(from, PIECE.max(len - have))?;
            self.window.extend_from_slice(&more);
        }
        let end = self.window.len().min(self.at + len.max(have));
        Ok(self.window.get(self.at..end).unwrap_or_default())
    }

    fn read_at(&self, offset: u64, len: usize) -> Result<Vec<u8>, LogError> {
        self.disk.read_at(&self.path, offset, len).map_err(|error| {
            if error.kind() == io::ErrorKind::NotFound {
                self.damaged("the file is missing", None)
            } else {
                LogError::io(&self.path)(error)
            }
        })
    }
}
