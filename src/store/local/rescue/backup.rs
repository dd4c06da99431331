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
//! It is written under another name and gets its own once all of it was read back. A log that is being
//! written is copied up to where it is durable when the copy begins: those bytes do not change any
//! more, so commits do not wait for it.
//!
//! A salvage writes one too, with a report of what is lost beside it (`salvage.json`).

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use thiserror::Error;

use super::Progress;
use super::readonly::{ReadOnly, newest_whole};
use crate::store::local::dir::{self, BACKUP, DataDir, MANIFEST, SNAPSHOTS, WAL};
use crate::store::local::disk::{Disk, RealDisk, len_u64};
use crate::store::local::log::frame::{HEADER, Kind, Tail};
use crate::store::local::log::segment::Wal;
use crate::store::local::manifest::{self, Manifest};
use crate::store::local::recover;
use crate::store::local::schema::Schema;
use crate::store::local::snapshot::Snapshot;
use crate::store::{OpenError, TableSpec};
use crate::time::Timestamp;

/// Suffix of a backup's directory until it is complete.
const UNFINISHED: &str = ".new";
/// Suffix of it while it is being removed.
const REMOVED: &str = ".old";
/// Bytes copied at once.
const STEP: usize = 1 << 20;

/// The contents of `backup.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Backup {
    pub format: u32,
    /// When it was begun; everything that was acknowledged before is in it.
    pub made_at: Timestamp,
    pub lsn: u64,
    pub tenants: u64,
    /// Every file but this one, by its path.
    pub files: BTreeMap<String, BackupFile>,
    /// SHA-256 of this file without this member, in hexadecimal.
    #[serde(default)]
    sha256: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackupFile {
    pub bytes: u64,
    pub sha256: String,
}

#[derive(Debug, Error)]
pub enum BackupError {
    #[error("{} is not empty", dir.display())]
    NotEmpty { dir: PathBuf },
    #[error("{} is inside of the data directory", dir.display())]
    Inside { dir: PathBuf },
    #[error(
        "{} exists: another backup is running, or one was interrupted; if so, remove it",
        dir.display()
    )]
    Unfinished { dir: PathBuf },
    #[error(
        "{}: not enough space: {free} bytes free, {wants} needed, with those reserved for the log",
        dir.display()
    )]
    NoRoom { dir: PathBuf, free: u64, wants: u64 },
    #[error("{} holds no data", data.display())]
    NoData { data: PathBuf },
    #[error("{} is not a backup: {why}", dir.display())]
    NotABackup { dir: PathBuf, why: String },
    #[error("{} is damaged: {why}", file.display())]
    Damaged { file: PathBuf, why: String },
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error("the store was closed before the backup was complete")]
    Closed,
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
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
    /// Reads `backup.json`.
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
            let what = format!("data directory format {}", backup.format);
            let newer = OpenError::newer(&path, what);
            return Err(recover::name_writer(&DataDir::real(dir))(newer).into());
        }
        // One spelling only: whatever differs from what would be written is damage.
        if backup.clone().sealed().render() == text {
            Ok(backup)
        } else {
            Err(not(format!("{BACKUP} is not what was written")))
        }
    }

    /// Checks every file against its SHA-256, every frame and every record, and that the log ends where
    /// `backup.json` says.
    pub fn check(
        dir: &Path,
        schema: &'static [TableSpec],
        progress: Progress<'_>,
    ) -> Result<(Self, ReadOnly), BackupError> {
        let backup = Self::read(dir)?;
        let data = DataDir::real(dir);
        let lock = data.lock_shared()?;
        let mut seen = backup.check_files(&data, Schema::new(schema), &|| true, progress)?;
        seen.hold(lock);
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
        dir: &DataDir,
        schema: Schema,
        open: &dyn Fn() -> bool,
        progress: Progress<'_>,
    ) -> Result<ReadOnly, BackupError> {
        let damaged = |file: &str, why: &str| BackupError::Damaged {
            file: dir.at(file),
            why: why.to_owned(),
        };
        let total = self.files.values().map(|file| file.bytes).sum();
        let mut done = 0;
        for (name, copied) in &self.files {
            let mut read = |bytes: u64| {
                progress("checking the copy", done + bytes, total);
                open().then_some(()).ok_or(BackupError::Closed)
            };
            match copy((dir.disk(), &dir.at(name)), None, u64::MAX, &mut read) {
                Ok(found) if found == *copied => done += copied.bytes,
                Ok(_) => return Err(damaged(name, "its checksum does not match")),
                Err(BackupError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                    return Err(damaged(name, "it is missing"));
                }
                Err(error) => return Err(error),
            }
        }
        for below in [WAL, SNAPSHOTS] {
            let path = dir.at(below);
            for extra in dir.disk().list(&path).map_err(BackupError::io(&path))? {
                let name = format!("{below}/{extra}");
                if !self.files.contains_key(&name) {
                    return Err(damaged(&name, "it is not a file of this backup"));
                }
            }
        }
        Ok(ReadOnly::open_locked(dir, schema, None)?)
    }

    fn sealed(mut self) -> Self {
        self.sha256 = String::new();
        self.sha256 = format!("{:x}", Sha256::digest(self.render()));
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
/// earlier attempts to make or remove one of these left; returns how many. Touches nothing else.
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
        let (path, removed) = (dir.join(name), dir.join(format!("{name}{REMOVED}")));
        // The rename is atomic, the removal is not: a partial backup must not look like a whole one.
        fs::rename(&path, &removed).map_err(BackupError::io(&path))?;
        fs::remove_dir_all(&removed).map_err(BackupError::io(&removed))?;
    }
    Ok(old)
}

/// A backup that is written under another name. Dropped before [`BackupWriter::finish`], it leaves
/// nothing.
pub struct BackupWriter<'a> {
    new: DataDir,
    dir: PathBuf,
    files: BTreeMap<String, BackupFile>,
    finished: bool,
    open: &'a dyn Fn() -> bool,
}

impl<'a> BackupWriter<'a> {
    /// `dir` must be empty or missing, and outside of the data directory.
    pub fn create(
        dir: &Path,
        data: &Path,
        open: &'a dyn Fn() -> bool,
    ) -> Result<Self, BackupError> {
        // By components, to drop a trailing slash.
        let dir = std::path::absolute(dir).map_err(BackupError::io(dir))?;
        let dir: PathBuf = dir.components().collect();
        if !names(&dir)?.is_empty() {
            return Err(BackupError::NotEmpty { dir });
        }
        let real = |path: &Path| fs::canonicalize(path).map_err(BackupError::io(path));
        let dir = if dir.exists() { real(&dir)? } else { dir };
        let parent = real(dir.parent().unwrap_or(Path::new("/")))?;
        // The backup is renamed to it.
        let device = |path: &Path| fs::metadata(path).map(|found| found.dev());
        if dir.exists() && device(&dir).ok() != device(&parent).ok() {
            let why = "it is a mount point: name a directory in it";
            return Err(BackupError::io(&dir)(io::Error::other(why)));
        }
        if parent.starts_with(real(data)?) {
            return Err(BackupError::Inside { dir });
        }
        let new = unfinished(&dir);
        match DirBuilder::new().mode(0o700).create(&new) {
            Ok(()) => Self::create_on(Arc::new(RealDisk), &dir, open),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Err(BackupError::Unfinished { dir: new })
            }
            Err(error) => Err(BackupError::io(&new)(error)),
        }
    }

    /// As [`BackupWriter::create`] without checking where `dir` is.
    pub fn create_on(
        disk: Arc<dyn Disk>,
        dir: &Path,
        open: &'a dyn Fn() -> bool,
    ) -> Result<Self, BackupError> {
        let new = DataDir::new(disk, unfinished(dir));
        let writer = Self {
            new,
            dir: dir.to_owned(),
            files: BTreeMap::new(),
            finished: false,
            open,
        };
        for dir in [writer.new.wal(), writer.new.snapshots()] {
            let created = writer.new.disk().create_dir(&dir);
            created.map_err(BackupError::io(&dir))?;
        }
        Ok(writer)
    }

    pub fn new_dir(&self) -> &DataDir {
        &self.new
    }

    fn check_room(&self, wants: u64) -> Result<(), BackupError> {
        let dir = self.new.path();
        let free = self.new.disk().free(dir).map_err(BackupError::io(dir))?;
        if free < wants {
            let dir = dir.to_owned();
            return Err(BackupError::NoRoom { dir, free, wants });
        }
        Ok(())
    }

    /// Copies the first `len` bytes of a file of a data directory.
    pub fn copy(
        &mut self,
        from: &DataDir,
        name: &str,
        len: u64,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), BackupError> {
        let mut read = |bytes: u64| {
            progress(bytes);
            (self.open)().then_some(()).ok_or(BackupError::Closed)
        };
        let source = from.at(name);
        let copied = copy(
            (from.disk(), &source),
            Some((self.new.disk(), &self.new.at(name))),
            len,
            &mut read,
        )?;
        if copied.bytes != len {
            return Err(BackupError::Damaged {
                file: source,
                why: "it became shorter".to_owned(),
            });
        }
        self.files.insert(name.to_owned(), copied);
        Ok(())
    }

    /// Writes a file.
    pub fn write(&mut self, name: &str, bytes: &[u8]) -> Result<(), BackupError> {
        let path = self.new.at(name);
        let written = self.new.disk().create(&path, bytes, len_u64(bytes));
        written.map_err(BackupError::io(&path))?;
        self.add(name)
    }

    /// Adds a file that was written to [`BackupWriter::new_dir`].
    pub fn add(&mut self, name: &str) -> Result<(), BackupError> {
        let path = self.new.at(name);
        let copied = copy((self.new.disk(), &path), None, u64::MAX, &mut |_| Ok(()))?;
        self.files.insert(name.to_owned(), copied);
        Ok(())
    }

    /// Writes the SHUTDOWN frame unless the log `ended` in one, reads everything back and renames it.
    pub fn finish(
        mut self,
        made_at: Timestamp,
        (mut end, ended): (Tail, bool),
        schema: &Schema,
        progress: Progress<'_>,
    ) -> Result<Backup, BackupError> {
        let new = self.new.clone();
        let disk = new.disk();
        if !ended {
            let name = in_wal(end.segment);
            let path = new.at(&name);
            let (mut frame, at) = (vec![0; HEADER], end.offset);
            end.finish(Kind::Shutdown, 0, &mut frame);
            disk.open(&path)
                .and_then(|file| {
                    file.write_at(&frame, at)?;
                    file.sync_data()
                })
                .map_err(BackupError::io(&path))?;
            self.add(&name)?;
        }
        Manifest::default()
            .started(end.epoch, schema)
            .save(&new)
            .map_err(BackupError::io(new.path()))?;
        self.add(MANIFEST)?;
        let sync = |dir: &Path| disk.sync_dir(dir).map_err(BackupError::io(dir));
        sync(&new.wal())?;
        sync(&new.snapshots())?;

        let mut backup = Backup {
            format: manifest::FORMAT,
            made_at,
            lsn: end.next.get() - 1,
            tenants: 0,
            files: std::mem::take(&mut self.files),
            sha256: String::new(),
        };
        let seen = backup.check_files(&new, schema.clone(), self.open, progress)?;
        if seen.scan.tail != end {
            return Err(BackupError::Damaged {
                file: self.dir.join(in_wal(end.segment)),
                why: "the copy of the log does not end where the log did".to_owned(),
            });
        }
        backup.tenants = u64::try_from(seen.facts().tenants).unwrap_or(u64::MAX);
        let backup = backup.sealed();
        let path = new.at(BACKUP);
        let text = backup.render();
        disk.create(&path, text.as_bytes(), len_u64(text.as_bytes()))
            .map_err(BackupError::io(&path))?;
        sync(new.path())?;
        disk.rename(new.path(), &self.dir)
            .map_err(BackupError::io(&self.dir))?;
        self.finished = true;
        sync(self.dir.parent().unwrap_or(Path::new("/")))?;
        Ok(backup)
    }
}

impl Drop for BackupWriter<'_> {
    fn drop(&mut self) {
        if !self.finished {
            // A partial backup must not take the space that the next one needs.
            let _ = self.new.disk().remove(self.new.path());
        }
    }
}

pub struct BackupSource<'a> {
    pub data: DataDir,
    /// The oldest first. Neither they nor the log may be removed meanwhile.
    pub snapshots: &'a [Snapshot],
    /// Where the log ends: what is before it is durable and does not change.
    pub end: Tail,
    pub ended: bool,
    /// Names of private files to copy if they exist.
    pub secrets: &'a [&'a str],
    pub schema: &'a Schema,
    /// Bytes that must stay free for the log.
    pub reserve: u64,
    pub open: &'a dyn Fn() -> bool,
}

impl BackupSource<'_> {
    /// Copies all of it and reads the copy back.
    pub fn copy_with(
        &self,
        writer: BackupWriter<'_>,
        made_at: Timestamp,
        progress: Progress<'_>,
    ) -> Result<Backup, BackupError> {
        match self.copy_all(writer, made_at, progress) {
            Err(_) if !(self.open)() => Err(BackupError::Closed),
            copied => copied,
        }
    }

    fn copy_all(
        &self,
        mut writer: BackupWriter<'_>,
        made_at: Timestamp,
        progress: Progress<'_>,
    ) -> Result<Backup, BackupError> {
        let lens = self.files(progress)?;
        let total: u64 = lens.iter().map(|(_, len)| len).sum();
        writer.check_room(total.saturating_add(self.reserve))?;
        let mut done = 0;
        for (name, len) in lens {
            writer.copy(&self.data, &name, len, &mut |bytes| {
                progress("copying", done + bytes, total);
            })?;
            done += len;
        }
        writer.finish(made_at, (self.end, self.ended), self.schema, progress)
    }

    /// The files to copy, below the data directory, and how many bytes of each.
    fn files(&self, progress: Progress<'_>) -> Result<Vec<(String, u64)>, BackupError> {
        let stopped = || !(self.open)();
        let wal = Wal::new(&self.data, 0);
        let base = newest_whole(&wal, self.snapshots, &stopped, progress)?;
        let mut files = Vec::new();
        if let Some(Snapshot { path, bytes, .. }) = base {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            files.push((format!("{SNAPSHOTS}/{name}"), *bytes));
        }
        let len = |name: &str| self.data.disk().len(&self.data.at(name));
        let covered = base.map_or(0, |base| base.prefix.segment);
        let mut numbers = wal.numbers().map_err(BackupError::io(&wal.dir))?;
        numbers.retain(|number| (covered + 1..=self.end.segment).contains(number));
        for number in numbers {
            let name = in_wal(number);
            let bytes = match number == self.end.segment {
                true => self.end.offset,
                false => len(&name).map_err(BackupError::io(&wal.path(number)))?,
            };
            files.push((name, bytes));
        }
        for name in self.secrets {
            match len(name) {
                Ok(bytes) => files.push(((*name).to_owned(), bytes)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(BackupError::io(&self.data.at(name))(error)),
            }
        }
        Ok(files)
    }
}

impl ReadOnly {
    pub fn backup(
        &self,
        dir: &Path,
        made_at: Timestamp,
        secrets: &[&str],
        progress: Progress<'_>,
    ) -> Result<Backup, BackupError> {
        let (end, ended) = self.end().ok_or_else(|| BackupError::NoData {
            data: self.dir.path().to_owned(),
        })?;
        let source = BackupSource {
            data: self.dir.clone(),
            snapshots: &self.snapshots,
            end,
            ended,
            secrets,
            schema: &self.schema,
            reserve: 0,
            open: &|| true,
        };
        let writer = BackupWriter::create(dir, self.dir.path(), &|| true)?;
        source.copy_with(writer, made_at, progress)
    }
}

type File<'a> = (&'a Arc<dyn Disk>, &'a Path);

/// Copies up to `len` bytes of a file, or only reads them without a target. `read` gets the bytes read so
/// far; its error ends the copy.
pub(super) fn copy(
    (disk, from): File<'_>,
    to: Option<File<'_>>,
    len: u64,
    read: &mut dyn FnMut(u64) -> Result<(), BackupError>,
) -> Result<BackupFile, BackupError> {
    let create = |(disk, path): File<'_>| {
        let file = disk.create(path, &[], 0).map_err(BackupError::io(path))?;
        Ok::<_, BackupError>((file, path.to_owned()))
    };
    let target = to.map(create).transpose()?;
    let (mut hash, mut bytes) = (Sha256::new(), 0);
    while bytes < len {
        let step = usize::try_from(len - bytes).map_or(STEP, |left| left.min(STEP));
        let chunk = disk
            .read_at(from, bytes, step)
            .map_err(BackupError::io(from))?;
        if chunk.is_empty() {
            break;
        }
        hash.update(&chunk);
        if let Some((file, path)) = &target {
            file.write_at(&chunk, bytes)
                .map_err(BackupError::io(path))?;
        }
        bytes += len_u64(&chunk);
        read(bytes)?;
    }
    if let Some((file, path)) = &target {
        file.sync_data().map_err(BackupError::io(path))?;
    }
    Ok(BackupFile {
        bytes,
        sha256: format!("{:x}", hash.finalize()),
    })
}

/// The names in a directory; none if it is missing.
fn names(dir: &Path) -> Result<Vec<String>, BackupError> {
    RealDisk.list(dir).map_err(BackupError::io(dir))
}

/// The name of a backup's directory until it is complete.
fn unfinished(dir: &Path) -> PathBuf {
    let mut name = dir.as_os_str().to_owned();
    name.push(UNFINISHED);
    name.into()
}

/// A segment's name below the data directory.
fn in_wal(number: u64) -> String {
    format!("{WAL}/{}", dir::segment_name(number))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden;

    #[test]
    fn what_a_backup_says_of_itself_is_frozen() {
        let copied = |bytes| BackupFile {
            bytes,
            sha256: format!("{:x}", Sha256::digest(b"x")),
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
