//! Rows on their way out of a node: as NDJSON, one file a table, and as a script for PostgreSQL.
//!
//! A [`StoredTenant`] is one tenant, read and checked: its hot rows against its head, every entry against the
//! one before it and all of them against the root, every opening against the commitments of its
//! entry. [`ndjson`] and [`sql`] write one down. What does not add up ends the export: a file that
//! has less in it than it seems to would be worse than none.
//!
//! [`follow`] asks of a whole directory what an export asks of each tenant: whether its audit logs hold.
//! A backup has to pass it before it is restored, and a salvage before its logs go on.
//!
//! Of secrets nothing leaves: keys are hashes already, and a tenant's name secret is not among the
//! fields. (The seeds of openings are: they prove what was committed to.)
//!
//! **Must not know**: files and directories, who asks, tables and log; it sees rows through a
//! [`Reader`](crate::store::Reader) or a [`ReadOnly`](crate::store::ReadOnly), and writes to whatever it
//! is handed.

pub mod follow;
pub mod ndjson;
pub mod sql;
mod tenant;
#[cfg(test)]
mod tests;

use std::fmt::Display;
use std::io;

use thiserror::Error;

pub use tenant::StoredTenant;

use crate::id::{Sequence, TenantId};
use crate::store::ReadError;
use crate::tenant::schema::RowError;

/// Where a line goes: the file or section, and the line with its end.
pub type Sink<'a> = &'a mut dyn FnMut(&'static str, &[u8]) -> io::Result<()>;

#[derive(Debug, Error)]
pub enum ExportError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("tenant {tenant}: {source}")]
    Row { tenant: TenantId, source: RowError },
    #[error("tenant {tenant}, {what} {sequence}: {why}")]
    Damaged {
        tenant: TenantId,
        what: &'static str,
        sequence: Sequence,
        why: String,
    },
    /// Upstream numbers rows with 32 bits.
    #[error("{0} has more rows than its 32-bit ids can number")]
    TooMany(&'static str),
    #[error(transparent)]
    Output(#[from] io::Error),
}

impl ExportError {
    fn damaged(
        tenant: TenantId,
        what: &'static str,
        sequence: Sequence,
        why: impl Display,
    ) -> Self {
        Self::Damaged {
            tenant,
            what,
            sequence,
            why: why.to_string(),
        }
    }
}

/// Whether the texts behind an entry's commitments are still there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
enum OpeningState {
    Kept,
    /// Fields that come from them are null.
    Erased,
    None,
}
