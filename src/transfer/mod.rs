//! Exports of tenants: as NDJSON, one file a table, and as a script for PostgreSQL.
//!
//! A [`StoredTenant`] is one tenant, read and checked: its hot rows against its head, every entry
//! against the one before it and all of them against the root, every opening against the commitments
//! of its entry. [`ndjson`] and [`sql`] write it. A failed check ends the export: no file is better than
//! an incomplete one. [`audit_logs`] verifies the logs of all tenants before a restore.
//!
//! No secrets are exported but the seeds of openings, which prove the commitments.
//!
//! **Must not know**: files, directories, callers, the store's tables and log; it reads rows through a
//! [`Reader`](crate::store::Reader) or a [`ReadOnly`](crate::store::ReadOnly), and writes to a [`Sink`].

pub mod audit_logs;
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

/// Writes a line with its newline to a file or section.
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

#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
enum OpeningState {
    Kept,
    /// Fields that come from the opening are null.
    Erased,
    None,
}
