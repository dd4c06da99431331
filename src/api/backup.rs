//! Backups: the request of an operator, and its response.

use serde::Serialize;

use super::json::{self, Fields};
use super::problem::{Code, Problem};
use crate::bounded::BoundedString;
use crate::jobs::backup::{BackupName, BackupRequestError, CompletedBackup};
use crate::time::Timestamp;

/// The body that requests a backup.
#[derive(Debug)]
pub struct BackupRequest {
    /// By default the time.
    pub name: Option<BackupName>,
    /// The directory in which the caller expects the backup.
    pub parent: Option<BoundedString<1, 4096>>,
    /// Whether it includes private keys.
    pub with_keys: bool,
}

pub fn parse(bytes: &[u8]) -> Result<BackupRequest, Problem> {
    json::parse(bytes, |value| {
        let mut fields = Fields::of(value)?;
        let name = fields.optional("name", json::string_as(BackupName::parse));
        let parent = fields.optional("parent", json::string);
        let with_keys = fields.optional("with_keys", json::boolean);
        fields.finish(|| {
            Some(BackupRequest {
                name,
                parent,
                with_keys: with_keys.unwrap_or(false),
            })
        })
    })
}

#[derive(Debug, Serialize)]
pub struct BackupView {
    name: String,
    path: String,
    made_at: Timestamp,
    lsn: u64,
    tenants: u64,
    bytes: u64,
}

impl From<CompletedBackup> for BackupView {
    fn from(backup: CompletedBackup) -> Self {
        Self {
            name: backup.name,
            path: backup.path.display().to_string(),
            made_at: backup.at,
            lsn: backup.lsn,
            tenants: backup.tenants,
            bytes: backup.bytes,
        }
    }
}

impl From<BackupRequestError> for Problem {
    fn from(error: BackupRequestError) -> Self {
        let code = match error {
            BackupRequestError::NotConfigured => Code::NotFound,
            BackupRequestError::OtherDirectory { .. } | BackupRequestError::Exists(_) => {
                Code::IdempotencyConflict
            }
            BackupRequestError::Busy => Code::Overloaded,
            BackupRequestError::ShuttingDown => Code::ShuttingDown,
            BackupRequestError::Failed(_) => Code::StorageFull,
        };
        Self::new(code, error.to_string())
    }
}
