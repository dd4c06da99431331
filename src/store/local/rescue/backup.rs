//! Backups: a data directory without tables, ended in order at one record.
//!
//! ```text
//! MANIFEST                 as in the data directory
//! snapshots/<lsn>.snap     the newest snapshot whose every frame is as it was written, if there is one
//! wal/<number>.wal         the log behind it; the last segment ends with a SHUTDOWN frame
//! signing.key, …           private keys, only if they were asked for
//! backup.json              what is in it; written last, so without it there is no backup
//! ```
//!
//! It is made under another name and gets its own once all of it was read back. A log that is being
//! written is copied up to where it is durable when the copy begins: what is there does not change
//! any more, so nobody waits for it.
//!
//! What is made here is foreign ground, so it goes to the file system itself and not through
//! [`Disk`](crate::store::local::disk::Disk): no crash of a backup can harm the store.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use thiserror::Error;

use super::Progress;
use super::read_only_disk::read_only;
use super::readonly::{ReadOnly, newest_whole};
use crate::store::local::Shared;
use crate::store::local::dir::{self, BACKUP, DataDir, MANIFEST, SNAPSHOTS, WAL};
use crate::store::local::disk::{Disk as _, RealDisk, len_u64};
use crate::store::local::log::frame::{HEADER, Kind, Tail};
use crate::store::local::log::segment::Wal;
use crate::store::local::manifest::{self, Manifest};
use crate::store::local::schema::Schema;
use crate::store::local::snapshot::Snapshot;
use crate::store::{OpenError, TableSpec};
use crate::time::Timestamp;

/// What a backup's directory is called besides its name until it is whole.
const UNFINISHED: &str = ".new";
/// What it is called besides its name once it is being removed.
const REMOVED: &str = ".old";
/// How much is copied at once.
const STEP: usize = 1 << 20;

/// `backup.json`: what is in a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Backup {
    /// The format of the data directory.
    pub format: u32,
    /// When it was begun; everything that was acknowledged before is in it.
    pub made_at: Timestamp,
    /// The last record in it.
    pub lsn: u64,
    /// How many tenants have records.
    pub tenants: u64,
    /// Every file but this one, by its path.
    pub files: BTreeMap<String, Copied>,
    /// SHA-256 of this file without this member, hexadecimal: a flipped bit shows here too.
    #[serde(default)]
    sha256: String,
}

/// One file of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Copied {
    /// How long it is.
    pub bytes: u64,
    /// SHA-256 of it, hexadecimal.
    pub sha256: String,
}

/// A backup that cannot be made or read.
#[derive(Debug, Error)]
pub enum BackupError {
    /// The directory is not empty.
    #[error("{} is not empty", dir.display())]
    NotEmpty {
        /// The directory.
        dir: PathBuf,
    },
    /// It would be inside of what it is a copy of.
    #[error("{} is inside of the data directory, and would be lost with it", dir.display())]
    Inside {
        /// The directory.
        dir: PathBuf,
    },
    /// The directory under its unfinished name is there.
    #[error(
        "{} is there: another backup is being made, or one was cut short; if so, remove it",
        dir.display()
    )]
    Unfinished {
        /// The directory under its unfinished name.
        dir: PathBuf,
    },
    /// It would take room that the log wants.
    #[error(
        "{}: there is no room: {free} bytes are free, {wants} are wanted, what the log may need next \
         included",
        dir.display()
    )]
    NoRoom {
        /// Where to.
        dir: PathBuf,
        /// How many bytes are free there.
        free: u64,
        /// How many are wanted.
        wants: u64,
    },
    /// There is nothing to copy.
    #[error("{} holds no data", data.display())]
    NoData {
        /// The data directory.
        data: PathBuf,
    },
    /// It has no `backup.json`, or none that can be read.
    #[error("{} is not a backup: {why}", dir.display())]
    NotABackup {
        /// The directory.
        dir: PathBuf,
        /// Why not.
        why: String,
    },
    /// A file is not what was copied.
    #[error("{} is damaged: {why}", file.display())]
    Damaged {
        /// Which file.
        file: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// What is in it cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The store closed before the backup was whole.
    #[error("the store was closed before the backup was whole")]
    Closed,
    /// The operating system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which file or directory.
        path: PathBuf,
        /// What happened.
        source: io::Error,
    },
}

impl BackupError {
    pub(super) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io {
            path: path.to_owned(),
            source,
        }
    }
}

impl Backup {
    /// Reads what a directory says is in it.
    pub fn read(dir: &Path) -> Result<Self, BackupError> {
        let not = |why: String| BackupError::NotABackup {
            dir: dir.to_owned(),
            why,
        };
        let path = dir.join(BACKUP);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(not(format!("it has no {BACKUP}")));
            }
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                return Err(not(format!("{BACKUP} is not text")));
            }
            Err(error) => return Err(BackupError::io(&path)(error)),
        };
        let backup: Self =
            serde_json::from_str(&text).map_err(|error| not(format!("{BACKUP}: {error}")))?;
        if backup.format > manifest::FORMAT {
            return Err(OpenError::Newer {
                file: path,
                what: format!("of data directory format {}", backup.format),
            }
            .into());
        }
        // One spelling only: whatever differs from what would be written is damage.
        if backup.clone().sealed().render() == text {
            Ok(backup)
        } else {
            Err(not(format!("{BACKUP} is not what was written")))
        }
    }

    /// Checks all of a backup: every file against its SHA-256, every frame and record, and that it
    /// is what it says. What it returns is open.
    pub fn check(
        dir: &Path,
        schema: &'static [TableSpec],
        progress: Progress<'_>,
    ) -> Result<(Self, ReadOnly), BackupError> {
        let backup = Self::read(dir)?;
        let seen = backup.check_files(dir, Schema::new(schema), &|| true, progress)?;
        let facts = seen.facts();
        let tenants = u64::try_from(facts.tenants).unwrap_or(u64::MAX);
        let said = (backup.lsn, backup.tenants);
        if !facts.clean || (facts.last.get(), tenants) != said {
            return Err(BackupError::Damaged {
                file: dir.join(BACKUP),
                why: "its log does not end where it says".to_owned(),
            });
        }
        Ok((backup, seen))
    }

    fn check_files(
        &self,
        dir: &Path,
        schema: Schema,
        open: &dyn Fn() -> bool,
        progress: Progress<'_>,
    ) -> Result<ReadOnly, BackupError> {
        let damaged = |file: &str, why: &str| BackupError::Damaged {
            file: dir.join(file),
            why: why.to_owned(),
        };
        let total = self.files.values().map(|file| file.bytes).sum();
        let mut done = 0;
        for (name, copied) in &self.files {
            let path = dir.join(name);
            if !path.exists() {
                return Err(damaged(name, "it is missing"));
            }
            let mut read = |bytes: u64| {
                progress("checking the copy", done + bytes, total);
                open().then_some(()).ok_or(BackupError::Closed)
            };
            let found = copy(&path, None, u64::MAX, &mut read)?;
            if found != *copied {
                return Err(damaged(name, "it is not what was copied"));
            }
            done += copied.bytes;
        }
        for below in [WAL, SNAPSHOTS] {
            for extra in names(&dir.join(below))? {
                let name = format!("{below}/{extra}");
                if !self.files.contains_key(&name) {
                    return Err(damaged(&name, "it was not there when the backup was made"));
                }
            }
        }
        Ok(ReadOnly::open_with(dir, schema)?)
    }

    fn sealed(mut self) -> Self {
        self.sha256 = String::new();
        self.sha256 = hex(&Sha256::digest(self.render()));
        self
    }

    fn render(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("texts and numbers are JSON");
        text.push('\n');
        text
    }
}

/// Every backup directly below `dir`, by name, the oldest first.
pub fn backups_in(dir: &Path) -> Result<Vec<(String, Backup)>, BackupError> {
    let mut found: Vec<_> = names(dir)?
        .into_iter()
        .filter_map(|name| Some((name.clone(), Backup::read(&dir.join(name)).ok()?)))
        .collect();
    found.sort_by_key(|(name, backup)| (backup.made_at, name.clone()));
    Ok(found)
}

/// Removes all but the last `keep` of the backups below `dir` whose names `ours` accepts, and what
/// earlier attempts to make or remove one of these left. Nothing else is ever touched. How many.
pub fn remove_old_backups(
    dir: &Path,
    keep: usize,
    ours: impl Fn(&str) -> bool,
) -> Result<usize, BackupError> {
    for name in names(dir)? {
        let whole = [UNFINISHED, REMOVED]
            .iter()
            .find_map(|suffix| name.strip_suffix(suffix));
        if whole.is_some_and(&ours) {
            let path = dir.join(&name);
            fs::remove_dir_all(&path).map_err(BackupError::io(&path))?;
        }
    }
    let mut found = backups_in(dir)?;
    found.retain(|(name, _)| ours(name));
    let old = found.len().saturating_sub(keep.max(1));
    for (name, _) in found.iter().take(old) {
        let (path, aside) = (dir.join(name), dir.join(format!("{name}{REMOVED}")));
        // Half a backup is none: it goes out of the way first, whole.
        fs::rename(&path, &aside).map_err(BackupError::io(&path))?;
        fs::remove_dir_all(&aside).map_err(BackupError::io(&aside))?;
    }
    Ok(old)
}

/// What is copied, and up to where.
pub(super) struct Source<'a> {
    /// The data directory.
    pub data: &'a Path,
    /// Its log, to be read only.
    pub wal: Wal,
    /// The snapshots that count, the oldest first. Neither they nor the log may be removed meanwhile.
    pub snapshots: &'a [Snapshot],
    /// Where the log ends: what is before it is durable and does not change.
    pub end: Tail,
    /// Whether it ends there in a SHUTDOWN frame already.
    pub ended: bool,
    /// Names of private files that go with it, if they are there.
    pub secrets: &'a [&'a str],
    pub schema: &'a Schema,
    /// How many bytes must be free besides, for the log.
    pub reserve: u64,
    /// Whether to go on.
    pub open: &'a dyn Fn() -> bool,
}

impl Source<'_> {
    /// Copies all of it to `dir`, which must be empty or not there, and reads the copy back.
    pub fn copy_to(
        &self,
        dir: &Path,
        made_at: Timestamp,
        progress: Progress<'_>,
    ) -> Result<Backup, BackupError> {
        // By components: a slash behind the name is no part of it.
        let dir = std::path::absolute(dir).map_err(BackupError::io(dir))?;
        let dir: PathBuf = dir.components().collect();
        if !names(&dir)?.is_empty() {
            return Err(BackupError::NotEmpty { dir });
        }
        let real = |path: &Path| fs::canonicalize(path).map_err(BackupError::io(path));
        let dir = if dir.exists() { real(&dir)? } else { dir };
        let parent = real(dir.parent().unwrap_or(Path::new("/")))?;
        // It gets its name by being renamed to it.
        let device = |path: &Path| fs::metadata(path).map(|found| found.dev());
        if dir.exists() && device(&dir).ok() != device(&parent).ok() {
            let why = "it is a mount point: name a directory in it";
            return Err(BackupError::io(&dir)(io::Error::other(why)));
        }
        if parent.starts_with(real(self.data)?) {
            return Err(BackupError::Inside { dir });
        }
        let mut unfinished = dir.as_os_str().to_owned();
        unfinished.push(UNFINISHED);
        let unfinished = PathBuf::from(unfinished);
        match DirBuilder::new().mode(0o700).create(&unfinished) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(BackupError::Unfinished { dir: unfinished });
            }
            Err(error) => return Err(BackupError::io(&unfinished)(error)),
        }
        let made = self
            .fill(&unfinished, made_at, progress)
            .and_then(|backup| {
                fs::rename(&unfinished, &dir).map_err(BackupError::io(&dir))?;
                sync_dir(dir.parent().unwrap_or(Path::new("/")))?;
                Ok(backup)
            });
        if made.is_err() {
            // Half a backup must not keep the room that the next one needs.
            let _ = fs::remove_dir_all(&unfinished);
            if !(self.open)() {
                return Err(BackupError::Closed);
            }
        }
        made
    }

    fn fill(
        &self,
        dir: &Path,
        made_at: Timestamp,
        progress: Progress<'_>,
    ) -> Result<Backup, BackupError> {
        let lens = self.files(progress)?;
        let total: u64 = lens.iter().map(|(_, len)| len).sum();
        let free = RealDisk.free(dir).map_err(BackupError::io(dir))?;
        let wants = total.saturating_add(self.reserve);
        if free < wants {
            let dir = dir.to_owned();
            return Err(BackupError::NoRoom { dir, free, wants });
        }
        let (mut files, mut done) = (BTreeMap::new(), 0);
        for below in [WAL, SNAPSHOTS] {
            let below = dir.join(below);
            let made = DirBuilder::new().mode(0o700).create(&below);
            made.map_err(BackupError::io(&below))?;
        }
        for (name, len) in lens {
            let mut read = |bytes: u64| {
                progress("copying", done + bytes, total);
                (self.open)().then_some(()).ok_or(BackupError::Closed)
            };
            let copied = copy(
                &self.data.join(&name),
                Some(&dir.join(&name)),
                len,
                &mut read,
            )?;
            if copied.bytes != len {
                return Err(BackupError::Damaged {
                    file: self.data.join(&name),
                    why: "it became shorter".to_owned(),
                });
            }
            done += len;
            files.insert(name, copied);
        }
        let mut end = self.end;
        if !self.ended {
            let last = segment_name(end.segment);
            let path = dir.join(&last);
            let mut frame = vec![0; HEADER];
            end.finish(Kind::Shutdown, 0, &mut frame);
            let mut file = OpenOptions::new()
                .append(true)
                .open(&path)
                .map_err(BackupError::io(&path))?;
            file.write_all(&frame)
                .and_then(|()| file.sync_all())
                .map_err(BackupError::io(&path))?;
            files.insert(last, copy(&path, None, u64::MAX, &mut |_| Ok(()))?);
        }
        let manifest = Manifest {
            boot_epoch: end.epoch,
        };
        manifest
            .save(&DataDir::real(dir))
            .map_err(BackupError::io(dir))?;
        let path = dir.join(MANIFEST);
        files.insert(
            MANIFEST.to_owned(),
            copy(&path, None, u64::MAX, &mut |_| Ok(()))?,
        );
        sync_dir(&dir.join(WAL))?;
        sync_dir(&dir.join(SNAPSHOTS))?;

        let mut backup = Backup {
            format: manifest::FORMAT,
            made_at,
            lsn: end.next.get() - 1,
            tenants: 0,
            files,
            sha256: String::new(),
        };
        let seen = backup.check_files(dir, self.schema.clone(), self.open, progress)?;
        if seen.scan.tail != end {
            return Err(BackupError::Damaged {
                file: self.data.join(segment_name(end.segment)),
                why: "its copy ends elsewhere".to_owned(),
            });
        }
        backup.tenants = u64::try_from(seen.facts().tenants).unwrap_or(u64::MAX);
        let backup = backup.sealed();
        let path = dir.join(BACKUP);
        let mut file = create(&path)?;
        file.write_all(backup.render().as_bytes())
            .and_then(|()| file.sync_all())
            .map_err(BackupError::io(&path))?;
        sync_dir(dir)?;
        Ok(backup)
    }

    /// What is copied: names below the data directory, and how many bytes of each.
    fn files(&self, progress: Progress<'_>) -> Result<Vec<(String, u64)>, BackupError> {
        let stopped = || !(self.open)();
        let base = newest_whole(&self.wal, self.snapshots, &stopped, progress)?;
        let mut files = Vec::new();
        if let Some(Snapshot { path, bytes, .. }) = base {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            files.push((format!("{}/{name}", SNAPSHOTS), *bytes));
        }
        let covered = base.map_or(0, |base| base.cover.segment);
        let numbers = self.wal.numbers().map_err(BackupError::io(&self.wal.dir))?;
        for number in numbers.into_iter().filter(|number| *number > covered) {
            let path = self.wal.path(number);
            let len = match number.cmp(&self.end.segment) {
                std::cmp::Ordering::Less => {
                    fs::metadata(&path).map_err(BackupError::io(&path))?.len()
                }
                std::cmp::Ordering::Equal => self.end.offset,
                std::cmp::Ordering::Greater => continue,
            };
            files.push((segment_name(number), len));
        }
        for name in self.secrets {
            let path = self.data.join(name);
            if path.exists() {
                let len = fs::metadata(&path).map_err(BackupError::io(&path))?.len();
                files.push(((*name).to_owned(), len));
            }
        }
        Ok(files)
    }
}

impl Shared {
    /// Copies what is durable now, while commits go on.
    pub fn backup(
        self: &Arc<Self>,
        dir: &Path,
        made_at: Timestamp,
        secrets: &[&str],
        progress: Progress<'_>,
    ) -> Result<Backup, BackupError> {
        let _hold = self.hold_files();
        // In this order: what a snapshot covers is before the end of the log.
        let snapshots = self.snapshot_manager.kept();
        let newest = snapshots.last().map_or(0, |newest| newest.bytes);
        let source = Source {
            data: &self.config.data,
            wal: Wal::new(&read_only(self.data.path()), 0),
            snapshots: &snapshots,
            end: *self.position.lock().expect("no holder of this lock panics"),
            ended: false,
            secrets,
            schema: &self.schema,
            // It may be the same disk.
            reserve: self.config.watermark(newest),
            open: &|| self.inbox.is_open(),
        };
        source.copy_to(dir, made_at, progress)
    }
}

impl ReadOnly {
    /// Copies the directory.
    pub fn backup(
        &self,
        dir: &Path,
        made_at: Timestamp,
        secrets: &[&str],
        progress: Progress<'_>,
    ) -> Result<Backup, BackupError> {
        let (end, ended) = self.end().ok_or_else(|| BackupError::NoData {
            data: self.data.clone(),
        })?;
        let source = Source {
            data: &self.data,
            wal: self.wal.clone(),
            snapshots: &self.snapshots,
            end,
            ended,
            secrets,
            schema: &self.schema,
            reserve: 0,
            open: &|| true,
        };
        source.copy_to(dir, made_at, progress)
    }
}

/// Told how many bytes of a file are read; an error ends it.
type Read<'a> = &'a mut dyn FnMut(u64) -> Result<(), BackupError>;

/// Copies up to `len` bytes of a file, or only reads them; what they are.
pub(super) fn copy(
    from: &Path,
    to: Option<&Path>,
    len: u64,
    read: Read<'_>,
) -> Result<Copied, BackupError> {
    let mut source = File::open(from).map_err(BackupError::io(from))?.take(len);
    let mut target = to.map(create).transpose()?;
    let (mut hash, mut bytes) = (Sha256::new(), 0);
    let mut step = vec![0; STEP];
    loop {
        let n = source.read(&mut step).map_err(BackupError::io(from))?;
        let Some(chunk) = step.get(..n).filter(|chunk| !chunk.is_empty()) else {
            break;
        };
        hash.update(chunk);
        if let (Some(file), Some(path)) = (&mut target, to) {
            file.write_all(chunk).map_err(BackupError::io(path))?;
        }
        bytes += len_u64(chunk);
        read(bytes)?;
    }
    if let (Some(file), Some(path)) = (&target, to) {
        file.sync_all().map_err(BackupError::io(path))?;
    }
    Ok(Copied {
        bytes,
        sha256: hex(&hash.finalize()),
    })
}

/// A new file that only this user can read.
fn create(path: &Path) -> Result<File, BackupError> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    options.open(path).map_err(BackupError::io(path))
}

pub(super) fn sync_dir(dir: &Path) -> Result<(), BackupError> {
    File::open(dir)
        .and_then(|dir| dir.sync_all())
        .map_err(BackupError::io(dir))
}

/// The names in a directory; none if it is not there.
pub(super) fn names(dir: &Path) -> Result<Vec<String>, BackupError> {
    RealDisk.list(dir).map_err(BackupError::io(dir))
}

fn segment_name(number: u64) -> String {
    format!("{WAL}/{}", dir::segment_name(number))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden;

    #[test]
    fn what_a_backup_says_of_itself_is_frozen() {
        let copied = |bytes| Copied {
            bytes,
            sha256: hex(&Sha256::digest(b"x")),
        };
        let names = [
            "MANIFEST",
            "snapshots/000000000000002a.snap",
            "wal/0000000000000007.wal",
        ];
        let backup = Backup {
            format: 1,
            made_at: Timestamp::from_micros(1_795_000_000_123_456),
            lsn: 1_204,
            tenants: 2,
            files: names.map(|name| (name.to_owned(), copied(39))).into(),
            sha256: String::new(),
        };
        golden::check("backup.json", &backup.sealed().render());
    }
}
