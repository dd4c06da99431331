//! A start: from whatever the last stop left behind to a log that can be written and tables that
//! hold what it says.

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use super::super::{OpenError, StoreConfig};
use super::Seams;
use super::disk::{LogFile, len_u64};
use super::frame::{Kind, Tail};
use super::manifest::{BadManifest, Manifest};
use super::replay::{self, Doubt};
use super::scan::{Scan, Torn};
use super::schema::Schema;
use super::segment::Wal;
use super::tables::{TableError, Tables};

const LOCK: &str = "LOCK";
const WAL: &str = "wal";
const TABLES: &str = "tables";
const TABLES_NEW: &str = "tables.new";
const QUARANTINE: &str = "quarantine";
/// Present if a write to the tables failed: they are built anew at the next start.
const DOUBTFUL: &str = "tables.doubtful";

/// What a start found and made.
pub(super) struct Recovered {
    pub lock: File,
    pub wal: Wal,
    pub scan: Scan,
    /// Where the log goes on, in this start's epoch.
    pub tail: Tail,
    /// The segment it goes on in.
    pub file: Box<dyn LogFile>,
    /// The segment after it, if it was made already.
    pub spare: Option<Box<dyn LogFile>>,
    pub tables: Box<dyn Tables>,
    /// Whether the last stop was an orderly one.
    pub clean: bool,
    /// Whether the tables were built anew from the log, other than at the first start of all.
    pub rebuilt: bool,
}

/// Opens the data directory.
pub(super) fn recover(
    config: &StoreConfig,
    schema: &Schema,
    seams: &Seams,
) -> Result<Recovered, OpenError> {
    let data = config.data.as_path();
    let disk = &seams.disk;
    let wal = Wal {
        disk: disk.clone(),
        dir: data.join(WAL),
        segment_bytes: config.segment_bytes,
    };
    disk.create_dir(&wal.dir)
        .map_err(|error| OpenError::io(&wal.dir, error))?;
    let lock = lock(data)?;

    let before = load_manifest(config, seams)?;
    if before.is_none() {
        // The directory itself may be new.
        let parent = data
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty());
        let parent = parent.unwrap_or(Path::new("."));
        disk.sync_dir(parent)
            .map_err(|error| OpenError::io(parent, error))?;
    }
    let scan = Scan::read(&wal, schema)?;
    let epoch_before = match before {
        Some(manifest) if manifest.boot_epoch >= scan.tail.epoch => manifest.boot_epoch,
        None if scan.last.is_none() => 0,
        Some(_) | None => {
            let why = "the log is of a later start than this file";
            return Err(scan.damaged(data.join("MANIFEST"), 0, None, why));
        }
    };
    // A SHUTDOWN frame of an earlier epoch says nothing of the start after it.
    let clean =
        scan.last == Some(Kind::Shutdown) && scan.tail.epoch == epoch_before || before.is_none();
    if clean && let Some(torn) = &scan.torn {
        return Err(scan.damaged(torn.file.clone(), torn.offset, None, torn.why));
    }
    let boot_epoch = epoch_before.saturating_add(1);
    Manifest { boot_epoch }
        .save(disk.as_ref(), data)
        .map_err(|error| OpenError::io(data, error))?;

    if let Some(torn) = &scan.torn {
        keep_torn(config, seams, torn, boot_epoch)?;
    }
    let (file, spare) = settle_log(&wal, &scan, clean)?;
    let (tables, rebuilt) = settle_tables(config, &wal, &scan, schema, seams, boot_epoch)?;
    let tail = Tail {
        epoch: boot_epoch,
        ..scan.tail
    };
    Ok(Recovered {
        lock,
        wal,
        scan,
        tail,
        file,
        spare,
        tables,
        clean,
        rebuilt,
    })
}

/// Sets aside what the log ends in: if it turns out to have been more than an unfinished write, it
/// is still there.
fn keep_torn(
    config: &StoreConfig,
    seams: &Seams,
    torn: &Torn,
    boot_epoch: u32,
) -> Result<(), OpenError> {
    let dir = config.data.join(QUARANTINE);
    let aside = dir.join(format!("{WAL}-{boot_epoch}"));
    let file = torn.file.display();
    tracing::warn!(%file, torn.offset, torn.why, "the log ends in a write that was cut short");
    let disk = &seams.disk;
    disk.create_dir(&dir)
        .and_then(|()| disk.create(&aside, &torn.bytes, len_u64(&torn.bytes)))
        .and_then(|_| disk.sync_dir(&dir))
        .map_err(|error| OpenError::io(&aside, error))
}

/// Notes that the tables are not to be trusted at the next start.
pub(super) fn doubt_tables(seams: &Seams, data: &Path) -> std::io::Result<()> {
    seams.disk.create(&data.join(DOUBTFUL), &[], 0)?;
    seams.disk.sync_dir(data)
}

fn lock(data: &Path) -> Result<File, OpenError> {
    let path = data.join(LOCK);
    let io = |error| OpenError::io(&path, error);
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(io)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(OpenError::InUse {
            data: data.to_owned(),
        }),
        Err(std::fs::TryLockError::Error(error)) => Err(io(error)),
    }
}

fn load_manifest(config: &StoreConfig, seams: &Seams) -> Result<Option<Manifest>, OpenError> {
    let file = config.data.join("MANIFEST");
    Manifest::load(seams.disk.as_ref(), &config.data).map_err(|bad| match bad {
        BadManifest::Io(error) => OpenError::io(&file, error),
        BadManifest::Newer(format) => OpenError::Newer {
            file,
            what: format!("of data directory format {format}"),
        },
        BadManifest::Damaged => OpenError::Damaged {
            file,
            offset: 0,
            last_good: None,
            next_valid: None,
            why: "not a manifest",
        },
    })
}

type LogFiles = (Box<dyn LogFile>, Option<Box<dyn LogFile>>);

/// Makes the last segment fit to be written, and takes up the one after it.
///
/// After a start that was not orderly the last segment's frames are copied to a new file: if its
/// last sync failed, what was just read may be in the page cache only, and syncing it again may do
/// nothing and say that all is well. The copy also ends whatever was torn.
fn settle_log(wal: &Wal, scan: &Scan, clean: bool) -> Result<LogFiles, OpenError> {
    let number = scan.tail.segment;
    let open = |number: u64| {
        let path = wal.path(number);
        wal.disk
            .open(&path)
            .map_err(|error| OpenError::io(&path, error))
    };
    let create = |front: &[u8], len| {
        wal.create(number, front, len)
            .map_err(|error| OpenError::io(&wal.path(number), error))
    };
    // No frame was ever written: a lone zeroed segment is then the first one, and there is no
    // spare.
    if scan.segments.is_empty() {
        return Ok((create(&[], wal.segment_bytes)?, None));
    }
    let file = if clean {
        open(number)?
    } else {
        create(&scan.front, scan.len)?
    };
    let spare = match scan.spare {
        Some(len) if len >= wal.segment_bytes => Some(open(number + 1)?),
        _ => None,
    };
    Ok((file, spare))
}

/// Opens the tables and brings them to the end of the log; builds them anew if they are missing or
/// not what the log says. `true` if they were there and had to be replaced.
fn settle_tables(
    config: &StoreConfig,
    wal: &Wal,
    scan: &Scan,
    schema: &Schema,
    seams: &Seams,
    boot_epoch: u32,
) -> Result<(Box<dyn Tables>, bool), OpenError> {
    let disk = &seams.disk;
    let data = config.data.as_path();
    let at = |name: &str| data.join(name);
    let io = |path: PathBuf| move |error| OpenError::io(&path, error);
    let open = |name: &str| (seams.open_tables)(&at(name), schema, config.table_cache_bytes);

    let names = disk.list(data).map_err(io(at(".")))?;
    let present = names.iter().any(|name| name == TABLES);
    let doubtful = names.iter().any(|name| name == DOUBTFUL);
    if present {
        let caught_up = if doubtful {
            Err(Doubt::Rebuild("a write to them failed".to_owned()))
        } else {
            open(TABLES)
                .map_err(|error| Doubt::Rebuild(error.to_string()))
                .and_then(|tables| {
                    // sled panics on some of what it does not understand.
                    let caught_up = catch_unwind(AssertUnwindSafe(|| {
                        replay::catch_up(wal, scan, schema, tables.as_ref())
                    }));
                    let panicked = || Err(Doubt::Rebuild(TableError::Panicked.to_string()));
                    caught_up.unwrap_or_else(|_| panicked())?;
                    Ok(tables)
                })
        };
        match caught_up {
            Ok(tables) => return Ok((tables, false)),
            Err(Doubt::Refuse(error)) => return Err(error),
            Err(Doubt::Rebuild(why)) => {
                tracing::warn!(why, "the tables are built anew from the log")
            }
        }
    }

    if doubtful {
        // Why they are of no use is known, and the disk may be full of them.
        disk.remove(&at(TABLES)).map_err(io(at(TABLES)))?;
    }
    disk.remove(&at(TABLES_NEW)).map_err(io(at(TABLES_NEW)))?;
    let build = || {
        let tables = open(TABLES_NEW)?;
        replay::fill(wal, scan, schema, tables.as_ref()).map_err(|doubt| match doubt {
            Doubt::Refuse(error) => error,
            Doubt::Rebuild(why) => OpenError::Rebuild { why },
        })?;
        Ok::<_, OpenError>(tables.sync()?)
    };
    build().inspect_err(|_| {
        // Half-built tables must not keep the room that the next start needs.
        let _ = disk.remove(&at(TABLES_NEW));
    })?;
    if present && !doubtful {
        let aside = at(QUARANTINE).join(format!("{TABLES}-{boot_epoch}"));
        disk.create_dir(&at(QUARANTINE))
            .map_err(io(at(QUARANTINE)))?;
        disk.rename(&at(TABLES), &aside).map_err(io(aside))?;
        disk.sync_dir(&at(QUARANTINE)).map_err(io(at(QUARANTINE)))?;
    }
    disk.rename(&at(TABLES_NEW), &at(TABLES))
        .map_err(io(at(TABLES_NEW)))?;
    if doubtful {
        // The doubt goes after what it was about.
        disk.sync_dir(data).map_err(io(at(".")))?;
        disk.remove(&at(DOUBTFUL)).map_err(io(at(DOUBTFUL)))?;
    }
    disk.sync_dir(data).map_err(io(at(".")))?;
    Ok((open(TABLES)?, present))
}
