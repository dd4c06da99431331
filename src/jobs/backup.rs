//! Backups of the running node: on request and on a schedule.
//!
//! One at a time, and only directly below `backup.dir`. A scheduled backup is named by its time; of
//! these, and of nothing else in the directory, the oldest are removed.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::sync::{Mutex, watch};

use crate::credentials;
use crate::engine::{Engine, clock};
use crate::store::keyfile::SIGNING_KEY;
use crate::store::{self, BackupError};
use crate::telemetry::Metrics;
use crate::time::Timestamp;

/// The private files that a backup includes on request.
pub const SECRETS: &[&str] = &[SIGNING_KEY, credentials::FILE];
/// Delay before a failed scheduled backup is retried.
const RETRY_DELAY: Duration = Duration::from_secs(600);

/// Where backups are written, and the schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Absolute.
    pub dir: PathBuf,
    /// `None` for backups on request only.
    pub every: Option<Duration>,
    /// Scheduled backups that are retained.
    pub keep: usize,
}

/// Creates backups. Clones share one state.
#[derive(Debug, Clone)]
pub struct Backups {
    engine: Engine,
    metrics: Metrics,
    plan: Option<Arc<Plan>>,
    busy: Arc<Mutex<()>>,
    stopping: Arc<watch::Sender<bool>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompletedBackup {
    pub name: String,
    pub path: PathBuf,
    /// Everything that was acknowledged before is in it.
    pub at: Timestamp,
    /// The last record in it.
    pub lsn: u64,
    pub tenants: u64,
    pub bytes: u64,
}

/// Why no backup was created.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum BackupRequestError {
    #[error("backups are not configured: set `backup.dir`")]
    NotConfigured,
    #[error("this server writes backups to {}", dir.display())]
    OtherDirectory { dir: PathBuf },
    #[error("{0}")]
    Exists(String),
    #[error("another backup is in progress")]
    Busy,
    #[error("the server is shutting down")]
    ShuttingDown,
    #[error("backup failed: {0}")]
    Failed(String),
}

/// One path component that cannot escape `backup.dir` and is not the name of an unfinished or
/// half-removed backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupName(String);

impl BackupName {
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        let ends = [".new", ".old"].iter().any(|end| text.ends_with(end));
        if (1..=100).contains(&text.len())
            && text.chars().all(plain)
            && !text.starts_with(['.', '-'])
            && !ends
        {
            Ok(Self(text.to_owned()))
        } else {
            Err(
                "must be 1 to 100 characters of a-z, A-Z, 0-9, `.`, `_` and `-`, must not start with `.` \
                 or `-` and must not end in `.new` or `.old`",
            )
        }
    }

    /// The name of a scheduled backup: its time, as `20261124T093000Z`.
    fn from_time(at: Timestamp) -> Self {
        let text: String = at.to_string().chars().take(19).collect();
        Self(text.replace(['-', ':'], "") + "Z")
    }

    /// True if [`Self::from_time`] makes such names.
    fn is_time(text: &str) -> bool {
        text.len() == 16
            && text.bytes().enumerate().all(|(at, byte)| match at {
                8 => byte == b'T',
                15 => byte == b'Z',
                _ => byte.is_ascii_digit(),
            })
    }
}

impl Backups {
    /// Without a `plan` every request is rejected.
    pub fn new(engine: Engine, metrics: Metrics, plan: Option<Plan>) -> Self {
        Self {
            engine,
            metrics,
            plan: plan.map(Arc::new),
            busy: Arc::default(),
            stopping: Arc::default(),
        }
    }

    /// Creates a backup, named by its time by default. `parent` is the directory in which the caller
    /// expects it.
    pub async fn create(
        &self,
        name: Option<BackupName>,
        parent: Option<&str>,
        with_keys: bool,
    ) -> Result<CompletedBackup, BackupRequestError> {
        let plan = self
            .plan
            .as_deref()
            .ok_or(BackupRequestError::NotConfigured)?;
        if parent.is_some_and(|parent| plan.dir.to_str() != Some(parent)) {
            return Err(BackupRequestError::OtherDirectory {
                dir: plan.dir.clone(),
            });
        }
        let guard = self.busy.clone().try_lock_owned();
        let guard = guard.map_err(|_| BackupRequestError::Busy)?;
        let BackupName(name) = name.unwrap_or_else(|| BackupName::from_time(clock::now()));
        let path = plan.dir.join(&name);
        let secrets = if with_keys { SECRETS } else { &[] };
        let backups = self.clone();
        // A cancelled caller does not cancel the backup, nor release the guard.
        let task = tokio::task::spawn_blocking(move || {
            let _guard = guard;
            backups.copy(name, path, secrets)
        });
        let mut stopping = self.stopping.subscribe();
        tokio::select! {
            result = task => {
                result.unwrap_or_else(|error| Err(BackupRequestError::Failed(error.to_string())))
            }
            // The store cancels the copy and removes it when it closes.
            _ = stopping.wait_for(|stopping| *stopping) => Err(BackupRequestError::ShuttingDown),
        }
    }

    fn copy(
        &self,
        name: String,
        path: PathBuf,
        secrets: &'static [&'static str],
    ) -> Result<CompletedBackup, BackupRequestError> {
        let backup = self.engine.backup(&path, secrets);
        let backup = backup.map_err(|error| match error {
            BackupError::NotEmpty { .. } | BackupError::Unfinished { .. } => {
                BackupRequestError::Exists(error.to_string())
            }
            BackupError::Closed => BackupRequestError::ShuttingDown,
            BackupError::Inside { .. }
            | BackupError::NoRoom { .. }
            | BackupError::NoData { .. }
            | BackupError::NotABackup { .. }
            | BackupError::Damaged { .. }
            | BackupError::Open(_)
            | BackupError::Io { .. } => {
                self.metrics.record_backup_failure();
                tracing::error!("backup failed: {error}");
                BackupRequestError::Failed(error.to_string())
            }
        })?;
        self.metrics.record_backup(backup.made_at);
        let backup = CompletedBackup {
            name,
            path,
            at: backup.made_at,
            lsn: backup.lsn,
            tenants: backup.tenants,
            bytes: backup.files.values().map(|file| file.bytes).sum(),
        };
        tracing::info!(path = %backup.path.display(), lsn = backup.lsn, bytes = backup.bytes, "backup created");
        Ok(backup)
    }

    /// Answers every waiting caller: the node is shutting down.
    pub fn stop(&self) {
        self.stopping.send_replace(true);
    }

    /// Waits until no backup is in progress: the store has removed a cancelled one by then.
    pub async fn wait_idle(&self) {
        let _guard = self.busy.lock().await;
    }

    /// Creates a backup whenever one is due, and removes old ones. Returns only if there is no schedule.
    pub async fn run_schedule(&self) {
        let Some((plan, every)) = self
            .plan
            .clone()
            .and_then(|plan| plan.every.map(|every| (plan, every)))
        else {
            return;
        };
        let last = plan.clone();
        let last = tokio::task::spawn_blocking(move || last.last()).await;
        let last = last.ok().flatten();
        if let Some(at) = last {
            self.metrics.set_last_backup(at);
        }
        let mut wait = last.map_or(Duration::ZERO, |last| {
            every.saturating_sub(clock::now().since(last))
        });
        loop {
            tokio::time::sleep(wait).await;
            wait = if self.create(None, None, false).await.is_ok() {
                every
            } else {
                every.min(RETRY_DELAY)
            };
            // A backup that is in progress must not be removed as an unfinished one.
            let _guard = self.busy.lock().await;
            let plan = plan.clone();
            let removed = tokio::task::spawn_blocking(move || plan.remove_old()).await;
            match removed {
                Ok(Ok(count @ 1..)) => tracing::info!(count, "removed old backups"),
                Ok(Err(error)) => tracing::error!("cannot remove old backups: {error}"),
                Ok(Ok(0)) | Err(_) => {}
            }
        }
    }
}

impl Plan {
    /// The time of the last backup in the directory.
    pub fn last(&self) -> Option<Timestamp> {
        let found = store::backups_in(&self.dir).ok()?;
        found.last().map(|(_, backup)| backup.made_at)
    }

    fn remove_old(&self) -> io::Result<usize> {
        store::remove_old_backups(&self.dir, self.keep, BackupName::is_time)
            .map_err(io::Error::other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_path_component() {
        for bad in [
            "", ".", "..", "a/b", "/a", "../a", ".a", "-a", "a b", "a.new", "a.old", "\u{e9}",
            "a\0",
        ] {
            assert!(BackupName::parse(bad).is_err(), "{bad}");
        }
        assert!(BackupName::parse(&"a".repeat(101)).is_err());
        for good in ["a", "before-upgrade_1.2"] {
            assert_eq!(BackupName::parse(good), Ok(BackupName(good.into())));
        }
    }

    #[test]
    fn the_name_of_a_time_is_recognized() {
        let at = Timestamp::parse("2026-11-24T09:30:00.999999Z").unwrap();
        let BackupName(name) = BackupName::from_time(at);
        assert_eq!(name, "20261124T093000Z");
        assert!(BackupName::is_time(&name) && BackupName::parse(&name).is_ok());
        for other in [
            "20261124T093000",
            "20261124-093000Z",
            "mine",
            "20261124T09300aZ",
        ] {
            assert!(!BackupName::is_time(other), "{other}");
        }
    }
}
