//! Errors of the store.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::local::TableError;
use super::row::EnvelopeError;

/// Why a store does not open.
#[derive(Debug, Error)]
pub enum OpenError {
    #[error("{} is in use by another process", data.display())]
    InUse { data: PathBuf },
    /// A file holds what no crash explains. It was not changed.
    #[error(
        "{} is damaged at offset {offset}: {why} (last good record {}, next valid record {})",
        file.display(), or_none(last_good), or_none(next_valid)
    )]
    Damaged {
        file: PathBuf,
        offset: u64,
        /// The last record before it.
        last_good: Option<u64>,
        /// The first readable record behind it.
        next_valid: Option<u64>,
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
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    /// A row is not what was put, or a tenant's rows are not those of its head.
    #[error(transparent)]
    Row(#[from] EnvelopeError),
    /// Not even new tables could be opened.
    #[error("cannot create the tables: {0}")]
    Tables(#[from] TableError),
    #[error("cannot build the tables from the log: {why}")]
    Rebuild { why: String },
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

/// Why a read fails.
#[derive(Debug, Error)]
pub enum ReadError {
    #[error(transparent)]
    Damaged(#[from] EnvelopeError),
    #[error("cannot read the tables: {0}")]
    Tables(#[from] TableError),
    /// The row is missing, and a rebuild of the tables may still bring it.
    #[error("the tables are being rebuilt")]
    Rebuilding,
    #[error("the store is closed")]
    Closed,
}

/// Why a store was not closed in order. Nothing that was acknowledged is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum CloseError {
    /// The next start recovers as after a crash.
    #[error("cannot close the log in order")]
    Log,
    /// The next start rebuilds the tables.
    #[error("cannot close the tables in order")]
    Tables,
}
