//! Frames off files that are read in pieces: no more of a file is in memory than a piece and a frame.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use thiserror::Error;

use super::frame::{Flaw, Frame, HEADER, Kind, Tail, announced};
use super::segment::Wal;
use crate::store::OpenError;
use crate::store::local::disk::{Disk, all_zero};

/// How much of a file is read at once.
const PIECE: usize = 1 << 20;

/// Why files could not be read through, or made from one another.
#[derive(Debug, Error)]
pub enum LogError {
    /// Nobody wants it any more.
    #[error("the store ends")]
    Stopped,
    /// The operating system refused.
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    /// A file does not hold what was written to it.
    #[error("{} is damaged at offset {offset}: {why}", path.display())]
    Damaged {
        path: PathBuf,
        offset: u64,
        why: &'static str,
        /// The last record of the log before it, if the file is of the log.
        last_good: Option<u64>,
    },
    /// A file of a later version.
    #[error("{} is of frame version {version}", path.display())]
    Newer { path: PathBuf, version: u16 },
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
    fn from(trouble: LogError) -> Self {
        match trouble {
            LogError::Stopped => Self::Rebuild {
                why: trouble.to_string(),
            },
            LogError::Io { path, source } => Self::Io { path, source },
            LogError::Damaged {
                path,
                offset,
                why,
                last_good,
            } => Self::Damaged {
                file: path,
                offset,
                last_good,
                next_valid: None,
                why,
            },
            LogError::Newer { path, version } => Self::Newer {
                file: path,
                what: format!("of log version {version}"),
            },
        }
    }
}

/// An error once nobody wants it any more.
pub fn go_on(stopped: &dyn Fn() -> bool) -> Result<(), LogError> {
    if stopped() {
        Err(LogError::Stopped)
    } else {
        Ok(())
    }
}

/// The frames of one file, one after the other.
pub struct Frames {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    tail: Tail,
    /// The file from some place before the tail on, as far as it was read.
    window: Vec<u8>,
    /// Where in the window the tail is.
    at: usize,
    current: Option<Current>,
}

/// Where in the window the frame is that was read last.
struct Current {
    kind: Kind,
    count: u32,
    body: Range<usize>,
}

impl Frames {
    /// The frames from `tail` on.
    pub fn new(disk: Arc<dyn Disk>, path: PathBuf, tail: Tail) -> Self {
        Self {
            disk,
            path,
            tail,
            window: Vec::new(),
            at: 0,
            current: None,
        }
    }

    /// Where the next frame must be.
    pub fn tail(&self) -> Tail {
        self.tail
    }

    /// Goes on to the next frame; the flaw if there is none.
    pub fn step(&mut self) -> Result<Result<(), Flaw>, LogError> {
        self.current = None;
        let bytes = self.ahead(HEADER)?;
        if let Some(len) = announced(bytes) {
            self.ahead(len)?;
        }
        let at = self.at;
        let bytes = self.window.get(at..).unwrap_or_default();
        let begun = self.tail.offset;
        let (kind, count, body) = match self.tail.accept(bytes) {
            Ok(frame) => (frame.kind, frame.count, frame.body.len()),
            Err(flaw) => return Ok(Err(flaw)),
        };
        self.at += usize::try_from(self.tail.offset - begun).unwrap_or(usize::MAX);
        self.current = Some(Current {
            kind,
            count,
            body: at + HEADER..at + HEADER + body,
        });
        Ok(Ok(()))
    }

    /// The frame that the last step reached.
    pub fn frame(&self) -> Option<Frame<'_>> {
        let current = self.current.as_ref()?;
        Some(Frame {
            kind: current.kind,
            count: current.count,
            body: self.window.get(current.body.clone())?,
        })
    }

    /// Whether the file has only zeros from here on. Afterwards no frame can be read.
    pub fn ends(&mut self) -> Result<bool, LogError> {
        let here = self.tail;
        loop {
            let rest = self.ahead(PIECE)?;
            let (len, zero) = (rest.len(), all_zero(rest));
            if len == 0 || !zero {
                self.tail = here;
                return Ok(zero);
            }
            self.at += len;
            self.tail.offset += u64::try_from(len).unwrap_or(u64::MAX);
        }
    }

    /// The trouble of damage right here.
    pub fn damaged(&self, why: &'static str) -> LogError {
        LogError::Damaged {
            path: self.path.clone(),
            offset: self.tail.offset,
            why,
            last_good: (self.tail.segment > 0).then(|| self.tail.next.get() - 1),
        }
    }

    /// The trouble that a flaw is where a frame has to be.
    pub fn flawed(&self, flaw: Flaw) -> LogError {
        match flaw {
            Flaw::Newer(version) => LogError::Newer {
                path: self.path.clone(),
                version,
            },
            Flaw::Header | Flaw::Order(_) | Flaw::Body => self.damaged(flaw.why()),
        }
    }

    /// The next `len` bytes, or as many as there are; reads on if need be.
    fn ahead(&mut self, len: usize) -> Result<&[u8], LogError> {
        let have = self.window.len() - self.at;
        if have < len {
            self.window.drain(..self.at);
            self.at = 0;
            let from = self.tail.offset + u64::try_from(have).unwrap_or(u64::MAX);
            let more = self.disk.read_at(&self.path, from, PIECE.max(len - have));
            let more = more.map_err(|error| {
                if error.kind() == io::ErrorKind::NotFound {
                    self.damaged("the file is missing")
                } else {
                    LogError::io(&self.path)(error)
                }
            })?;
            self.window.extend_from_slice(&more);
        }
        let end = self.window.len().min(self.at + len.max(have));
        Ok(self.window.get(self.at..end).unwrap_or_default())
    }
}

/// The frames of the log from one place to another, over all segments between them.
pub struct LogFrames<'w> {
    wal: &'w Wal,
    frames: Frames,
    end: Tail,
}

impl<'w> LogFrames<'w> {
    /// From `begin` to `end`, both at places where a frame can begin.
    pub fn new(wal: &'w Wal, begin: Tail, end: Tail) -> Self {
        Self {
            frames: Frames::new(wal.disk.clone(), wal.path(begin.segment), begin),
            wal,
            end,
        }
    }

    /// Where the next frame must be.
    pub fn tail(&self) -> Tail {
        self.frames.tail()
    }

    /// The frame that the last step reached.
    pub fn frame(&self) -> Option<Frame<'_>> {
        self.frames.frame()
    }

    /// Goes on to the next frame; `false` at the end. Whatever is not as it was written is damage:
    /// the log went on behind this, so no crash explains it.
    pub fn step(&mut self) -> Result<bool, LogError> {
        loop {
            let at = self.frames.tail();
            if (at.segment, at.offset) >= (self.end.segment, self.end.offset) {
                return if (at.next, at.chain) == (self.end.next, self.end.chain) {
                    Ok(false)
                } else {
                    Err(self.damaged("the log is not what it was"))
                };
            }
            match self.frames.step()? {
                Ok(()) => return Ok(true),
                Err(flaw) if at.segment == self.end.segment || !self.frames.ends()? => {
                    return Err(self.frames.flawed(flaw));
                }
                Err(_) => {
                    let next = at.next_segment();
                    let path = self.wal.path(next.segment);
                    self.frames = Frames::new(self.wal.disk.clone(), path, next);
                }
            }
        }
    }

    /// The trouble of damage right here.
    pub fn damaged(&self, why: &'static str) -> LogError {
        self.frames.damaged(why)
    }
}
