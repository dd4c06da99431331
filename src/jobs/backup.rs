//! Backups of the running node: when an operator asks, and every so often.
//!
//! One at a time, and only directly below `backup.dir`. Those that it makes by itself are called by
//! their time; of these, and of nothing else there, the oldest are removed.

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

/// The private files that a backup takes along if it is told to.
pub const SECRETS: &[&str] = &[SIGNING_KEY, credentials::FILE];
/// How long to wait after a failure before it is tried again.
const AGAIN: Duration = Duration::from_secs(600);

/// Where and when backups are made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The directory that they are made in, absolute.
    pub dir: PathBuf,
    /// How often one is made; `None` for only when an operator asks.
    pub every: Option<Duration>,
    /// How many of those that were made by themselves are kept.
    pub keep: usize,
}

/// Makes backups. Clones are the same.
#[derive(Debug, Clone)]
pub struct Backups {
    engine: Engine,
    metrics: Metrics,
    plan: Option<Arc<Plan>>,
    busy: Arc<Mutex<()>>,
    stopping: Arc<watch::Sender<bool>>,
}

/// A backup that was just made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    /// What it is called.
    pub name: String,
    /// Where it is.
    pub path: PathBuf,
    /// When it was begun; everything that was acknowledged before is in it.
    pub at: Timestamp,
    /// The last record in it.
    pub lsn: u64,
    /// How many tenants are in it.
    pub tenants: u64,
    /// How long it is.
    pub bytes: u64,
}

/// Why no backup was made.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NotMade {
    /// The node was not told where to.
    #[error("the server has no `backup.dir`")]
    NoDirectory,
    /// It is wanted elsewhere.
    #[error("backups of this server go to {}", dir.display())]
    Elsewhere {
        /// Where they go.
        dir: PathBuf,
    },
    /// Something of this name is there.
    #[error("{0}")]
    Taken(String),
    /// Another one is being made.
    #[error("another backup is being made")]
    Busy,
    /// The node is going down.
    #[error("the node is shutting down")]
    ShuttingDown,
    /// It was begun, and failed.
    #[error("the backup failed: {0}")]
    Failed(String),
}

/// The name of one component of a path that cannot lead anywhere else, nor be taken for what is half
/// made or half removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name(String);

impl Name {
    /// Checks it.
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
                "must be one name: 1 to 100 of a-z, A-Z, 0-9, `.`, `_`, `-`, not beginning with `.` or \
                 `-`, not ending in .new or .old",
            )
        }
    }

    /// The name of a backup that is made by itself: its time, as `20261124T093000Z`.
    fn of(at: Timestamp) -> Self {
        let text: String = at.to_string().chars().take(19).collect();
        Self(text.replace(['-', ':'], "") + "Z")
    }

    /// Whether it looks like one that [`Name::of`] makes.
    fn is_of_a_time(text: &str) -> bool {
        text.len() == 16
            && text.bytes().enumerate().all(|(at, byte)| match at {
                8 => byte == b'T',
                15 => byte == b'Z',
                _ => byte.is_ascii_digit(),
            })
    }
}

impl Backups {
    /// Of this engine; `None` for a node that was not told where to.
    pub fn new(engine: Engine, metrics: Metrics, plan: Option<Plan>) -> Self {
        Self {
            engine,
            metrics,
            plan: plan.map(Arc::new),
            busy: Arc::default(),
            stopping: Arc::default(),
        }
    }

    /// Makes one, called `name` or by its time, with the private keys in it if so told. `parent` is
    /// where the caller believes that it will be.
    pub async fn make(
        &self,
        name: Option<Name>,
        parent: Option<&str>,
        with_keys: bool,
    ) -> Result<Made, NotMade> {
        let plan = self.plan.as_deref().ok_or(NotMade::NoDirectory)?;
        if parent.is_some_and(|parent| plan.dir.to_str() != Some(parent)) {
            return Err(NotMade::Elsewhere {
                dir: plan.dir.clone(),
            });
        }
        let alone = self.busy.clone().try_lock_owned();
        let alone = alone.map_err(|_| NotMade::Busy)?;
        let Name(name) = name.unwrap_or_else(|| Name::of(clock::now()));
        let path = plan.dir.join(&name);
        let secrets = if with_keys { SECRETS } else { &[] };
        let backups = self.clone();
        // It is made, and is the only one, also where whoever asked for it went away.
        let making = tokio::task::spawn_blocking(move || {
            let _alone = alone;
            backups.copy(name, path, secrets)
        });
        let mut stopping = self.stopping.subscribe();
        tokio::select! {
            made = making => made.unwrap_or_else(|why| Err(NotMade::Failed(why.to_string()))),
            // What was begun ends, and is cleared away, when the store closes.
            _ = stopping.wait_for(|stopping| *stopping) => Err(NotMade::ShuttingDown),
        }
    }

    fn copy(
        &self,
        name: String,
        path: PathBuf,
        secrets: &'static [&'static str],
    ) -> Result<Made, NotMade> {
        let backup = self.engine.backup(&path, secrets);
        let backup = backup.map_err(|error| match error {
            BackupError::NotEmpty { .. } | BackupError::Unfinished { .. } => {
                NotMade::Taken(error.to_string())
            }
            BackupError::Closed => NotMade::ShuttingDown,
            BackupError::Inside { .. }
            | BackupError::NoRoom { .. }
            | BackupError::NoData { .. }
            | BackupError::NotABackup { .. }
            | BackupError::Damaged { .. }
            | BackupError::Open(_)
            | BackupError::Io { .. } => {
                self.metrics.backup_failed();
                tracing::error!("a backup failed: {error}");
                NotMade::Failed(error.to_string())
            }
        })?;
        self.metrics.backed_up(backup.made_at);
        let made = Made {
            name,
            path,
            at: backup.made_at,
            lsn: backup.lsn,
            tenants: backup.tenants,
            bytes: backup.files.values().map(|file| file.bytes).sum(),
        };
        tracing::info!(path = %made.path.display(), made.lsn, made.bytes, "a backup was made");
        Ok(made)
    }

    /// Keeps nobody waiting for a backup any more: the node is going down.
    pub fn stop(&self) {
        self.stopping.send_replace(true);
    }

    /// Waits until none is being made: one that the end of the store cut short is cleared away then.
    pub async fn rest(&self) {
        let _alone = self.busy.lock().await;
    }

    /// Makes one whenever it is time, and removes old ones; ends only where there is no plan for it.
    pub async fn keep_making(&self) {
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
            self.metrics.last_backup_was(at);
        }
        let mut wait = last.map_or(Duration::ZERO, |last| {
            every.saturating_sub(clock::now().since(last))
        });
        loop {
            tokio::time::sleep(wait).await;
            let made = self.make(None, None, false).await;
            wait = if made.is_ok() {
                every
            } else {
                every.min(AGAIN)
            };
            // What somebody else is making right now is unfinished, and not left over.
            let _alone = self.busy.lock().await;
            let plan = plan.clone();
            let removed = tokio::task::spawn_blocking(move || plan.remove_old()).await;
            match removed {
                Ok(Ok(count @ 1..)) => tracing::info!(count, "old backups were removed"),
                Ok(Err(error)) => tracing::error!("old backups stay: {error}"),
                Ok(Ok(0)) | Err(_) => {}
            }
        }
    }
}

impl Plan {
    /// When the last backup here was made.
    pub fn last(&self) -> Option<Timestamp> {
        let found = store::backups_in(&self.dir).ok()?;
        found.last().map(|(_, backup)| backup.made_at)
    }

    fn remove_old(&self) -> io::Result<usize> {
        store::remove_old_backups(&self.dir, self.keep, Name::is_of_a_time)
            .map_err(io::Error::other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_leads_nowhere_else() {
        for bad in [
            "", ".", "..", "a/b", "/a", "../a", ".a", "-a", "a b", "a.new", "a.old", "\u{e9}",
            "a\0",
        ] {
            assert!(Name::parse(bad).is_err(), "{bad}");
        }
        assert!(Name::parse(&"a".repeat(101)).is_err());
        for good in ["a", "before-upgrade_1.2"] {
            assert_eq!(Name::parse(good), Ok(Name(good.into())));
        }
    }

    #[test]
    fn the_name_of_a_time_is_known_again_and_in_its_order() {
        let at = Timestamp::parse("2026-11-24T09:30:00.999999Z").unwrap();
        let Name(name) = Name::of(at);
        assert_eq!(name, "20261124T093000Z");
        assert!(Name::is_of_a_time(&name) && Name::parse(&name).is_ok());
        for other in [
            "20261124T093000",
            "20261124-093000Z",
            "mine",
            "20261124T09300aZ",
        ] {
            assert!(!Name::is_of_a_time(other), "{other}");
        }
    }
}
