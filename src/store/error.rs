//! What can go wrong with a store.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::local::TableError;
use super::row::EnvelopeError;

/// The store does not open.
#[derive(Debug, Error)]
pub enum OpenError {
    /// Another process has it open.
    #[error("{} is in use by another process", data.display())]
    InUse {
        /// The data directory.
        data: PathBuf,
    },
    /// A file holds what no crash explains. It was left as it is.
    #[error(
        "{} is damaged at offset {offset}: {why} (last good record {}, next valid record {})",
        file.display(), or_none(last_good), or_none(next_valid)
    )]
    Damaged {
        /// Which file.
        file: PathBuf,
        /// Where in it.
        offset: u64,
        /// The number of the last record before it.
        last_good: Option<u64>,
        /// The number of the first record that is readable behind it.
        next_valid: Option<u64>,
        /// What is wrong.
        why: &'static str,
    },
    /// A file says what only a later version of arf knows.
    #[error(
        "{}: {what}: written by {}",
        file.display(),
        writer.as_ref().map_or_else(|| "a newer arf".to_owned(), |writer| format!("arf {writer}; start that one"))
    )]
    Newer {
        file: PathBuf,
        what: String,
        /// The newest version that started on the directory, if it is newer than this one.
        writer: Option<String>,
    },
    /// The operating system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which file or directory.
        path: PathBuf,
        /// What happened.
        source: io::Error,
    },
    /// A row in the log is not what was put, or a tenant's rows are not those of its head.
    #[error(transparent)]
    Row(#[from] EnvelopeError),
    /// The tables could not be opened even when new.
    #[error("the tables cannot be made: {0}")]
    Tables(#[from] TableError),
    /// The tables were built from the log and are not what it says.
    #[error("the tables cannot be built from the log: {why}")]
    Rebuild {
        /// What is wrong with them.
        why: String,
    },
}

impl OpenError {
    pub(super) fn newer(file: &Path, what: String) -> Self {
        Self::Newer {
            file: file.to_owned(),
            what,
            writer: None,
        }
    }

    pub(super) fn io(path: &Path, source: io::Error) -> Self {
        Self::Io {
            path: path.to_owned(),
            source,
        }
    }
}

fn or_none(number: &Option<u64>) -> String {
    number.map_or_else(|| "none".to_owned(), |number| number.to_string())
}

/// A read that gives no answer.
#[derive(Debug, Error)]
pub enum ReadError {
    /// What was found is not what was put.
    #[error(transparent)]
    Damaged(#[from] EnvelopeError),
    /// The tables could not be read.
    #[error("the tables cannot be read: {0}")]
    Tables(#[from] TableError),
    /// What is not there may still be on its way back: the tables are being built anew.
    #[error("the tables are being rebuilt")]
    Rebuilding,
    /// The store is closed.
    #[error("the store is closed")]
    Closed,
}

/// An end that was not in order. Nothing that was acknowledged is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum CloseError {
    /// The log could not be ended; the next start recovers as after a crash.
    #[error("the log could not be closed in order")]
    Log,
    /// The tables could not be written; the next start builds them anew.
    #[error("the tables could not be closed in order")]
    Tables,
}
