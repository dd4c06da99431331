//! A start: from whatever the last stop left behind to a log that can be written and tables that
//! hold what it says.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Env;
use super::disk::{Disk, LogFile, len_u64};
use super::log::frame::{HEADER, Kind, Tail};
use super::log::scan::{Scan, Torn};
use super::log::segment::Wal;
use super::manifest::{self, BadManifest, Manifest};
use super::rescue::{restore, salvage};
use super::schema::Schema;
use super::snapshot::keep;
use super::snapshot::{self, Snapshot};
use super::tables::rebuild::Origin;
use super::tables::settle::{Settle, Settled};
use crate::store::{OpenError, StoreConfig};

pub(super) const LOCK: &str = "LOCK";
/// How often a lock that somebody has is tried, and how long it is waited between.
const LOCK_TRIES: u32 = 20;
const LOCK_PAUSE: Duration = Duration::from_millis(10);
pub(super) const WAL: &str = "wal";
/// What is of no use to a start, and may be to somebody.
pub(super) const QUARANTINE: &str = "quarantine";

/// The directory for it; durably there on return, so that what is moved into it is not lost.
pub(super) fn quarantine(disk: &dyn Disk, data: &Path) -> io::Result<PathBuf> {
    let dir = data.join(QUARANTINE);
    disk.create_dir(&dir)?;
    disk.sync_dir(data)?;
    Ok(dir)
}

/// What a start found and made.
pub(super) struct Recovered {
    pub lock: File,
    pub wal: Wal,
    pub scan: Scan,
    /// What rows that are still to come are made from.
    pub origin: Origin,
    /// Where the log goes on, in this start's epoch.
    pub tail: Tail,
    /// The segment it goes on in.
    pub file: Box<dyn LogFile>,
    /// The segment after it, if it was made already.
    pub preallocator: Option<Box<dyn LogFile>>,
    pub settled: Settled,
    /// Whether the last stop was an orderly one.
    pub clean: bool,
}

/// Opens the data directory.
pub(super) fn recover(
    config: &StoreConfig,
    schema: &Schema,
    env: &Env,
) -> Result<Recovered, OpenError> {
    let data = config.data.as_path();
    let disk = &env.disk;
    let wal = Wal::new(disk.clone(), data.join(WAL), config.segment_bytes);
    let snapshots = data.join(snapshot::DIR);
    restore::refuse_unfinished(disk.as_ref(), data)?;
    for dir in [&wal.dir, &snapshots] {
        disk.create_dir(dir)
            .map_err(|error| OpenError::io(dir, error))?;
    }
    let lock = lock(data)?;
    if !config.finish_salvage {
        salvage::refuse_unfinished(disk.as_ref(), data)?;
    }

    wal.remove_unfinished()
        .map_err(|error| OpenError::io(&wal.dir, error))?;
    let Examined {
        scan,
        snapshots,
        damaged,
        before,
    } = examine(data, &wal, schema)?;
    if before.epoch.is_none() {
        // The directory itself may be new.
        let parent = data
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty());
        let parent = parent.unwrap_or(Path::new("."));
        disk.sync_dir(parent)
            .map_err(|error| OpenError::io(parent, error))?;
    }
    let boot_epoch = before.epoch.unwrap_or(0).saturating_add(1);
    Manifest { boot_epoch }
        .save(disk.as_ref(), data)
        .map_err(|error| OpenError::io(data, error))?;

    if let Some(torn) = &scan.torn {
        keep_torn(config, env, torn, boot_epoch)?;
    }
    for path in &damaged {
        keep::set_aside(disk.as_ref(), data, path, boot_epoch)
            .map_err(|error| OpenError::io(path, error))?;
    }
    let (file, preallocator) = settle_log(&wal, &scan, before.clean)?;
    wal.measure()
        .map_err(|error| OpenError::io(&wal.dir, error))?;
    let origin = Origin {
        snapshots,
        end: scan.tail,
    };
    let settle = Settle {
        config,
        schema,
        env,
        wal: &wal,
        scan: &scan,
        origin: &origin,
        boot_epoch,
    };
    let settled = settle.run()?;
    let tail = Tail {
        epoch: boot_epoch,
        ..scan.tail
    };
    Ok(Recovered {
        lock,
        wal,
        scan,
        origin,
        tail,
        file,
        preallocator,
        settled,
        clean: before.clean,
    })
}

/// What the last stop left, as far as the manifest and the log tell.
pub(super) struct Before {
    /// The number of the last start; `None` if there was none.
    pub epoch: Option<u32>,
    /// The last stop was an orderly one, or there was none.
    pub clean: bool,
}

/// What there is, as far as the manifest, the snapshots and the log tell.
pub(super) struct Examined {
    pub scan: Scan,
    /// The snapshots that count, the oldest first.
    pub snapshots: Vec<Snapshot>,
    /// Those that are damaged.
    pub damaged: Vec<PathBuf>,
    pub before: Before,
}

/// Reads manifest, snapshots and log, and holds them against each other.
pub(super) fn examine(data: &Path, wal: &Wal, schema: &Schema) -> Result<Examined, OpenError> {
    let manifest = load_manifest(data, wal.disk.as_ref())?;
    let found = keep::find(wal, &data.join(snapshot::DIR), schema)?;
    let scan = Scan::read(wal, schema, found.base)?;
    let epoch = match manifest {
        Some(manifest) if manifest.boot_epoch >= scan.tail.epoch => Some(manifest.boot_epoch),
        None if scan.last.is_none() => None,
        Some(_) | None => {
            let why = "the log is of a later start than this file";
            return Err(scan.damaged(data.join(manifest::FILE), 0, None, why));
        }
    };
    // A SHUTDOWN frame of an earlier epoch says nothing of the start after it.
    let clean =
        epoch.is_none_or(|epoch| scan.last == Some(Kind::Shutdown) && scan.tail.epoch == epoch);
    if clean && let Some(torn) = &scan.torn {
        return Err(scan.damaged(torn.file.clone(), torn.offset, None, torn.why));
    }
    Ok(Examined {
        scan,
        snapshots: found.snapshots,
        damaged: found.damaged,
        before: Before { epoch, clean },
    })
}

/// Sets aside what the log ends in: if it turns out to have been more than an unfinished write, it
/// is still there.
fn keep_torn(
    config: &StoreConfig,
    env: &Env,
    torn: &Torn,
    boot_epoch: u32,
) -> Result<(), OpenError> {
    let aside = config.data.join(QUARANTINE);
    let aside = aside.join(format!("{WAL}-{boot_epoch}"));
    let file = torn.file.display();
    tracing::warn!(%file, torn.offset, torn.why, "the log ends in a write that was cut short");
    let disk = &env.disk;
    quarantine(disk.as_ref(), &config.data)
        .and_then(|dir| {
            disk.create(&aside, &torn.bytes, len_u64(&torn.bytes))?;
            disk.sync_dir(&dir)
        })
        .map_err(|error| OpenError::io(&aside, error))
}

/// Takes the data directory; nobody else has it until the file is closed.
pub(super) fn lock(data: &Path) -> Result<File, OpenError> {
    let path = data.join(LOCK);
    let io = |error| OpenError::io(&path, error);
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(io)?;
    // A process that this one starts has the lock too, until it becomes another program.
    for _ in 0..LOCK_TRIES {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(std::fs::TryLockError::WouldBlock) => std::thread::park_timeout(LOCK_PAUSE),
            Err(std::fs::TryLockError::Error(error)) => return Err(io(error)),
        }
    }
    Err(OpenError::InUse {
        data: data.to_owned(),
    })
}

pub(super) fn load_manifest(data: &Path, disk: &dyn Disk) -> Result<Option<Manifest>, OpenError> {
    let file = data.join(manifest::FILE);
    Manifest::load(disk, data).map_err(|bad| match bad {
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
/// After a stop that was not orderly the last segment's frames are copied to a new file: if its
/// last sync failed, what was just read may be in the page cache only, and syncing it again may do
/// nothing and say that all is well. The copy also ends whatever was torn. After an orderly stop the
/// same holds for the SHUTDOWN frame, and for nothing else: it is written once more.
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
        let file = open(number)?;
        let frame = scan.front.len().saturating_sub(HEADER);
        let shutdown = scan.front.get(frame..).unwrap_or_default();
        file.write_at(shutdown, scan.tail.offset - len_u64(shutdown))
            .and_then(|()| file.sync_data())
            .map_err(|error| OpenError::io(&wal.path(number), error))?;
        file
    } else {
        create(&scan.front, scan.len)?
    };
    let preallocator = match scan.preallocator {
        Some(len) if len >= wal.segment_bytes => Some(open(number + 1)?),
        _ => None,
    };
    Ok((file, preallocator))
}
