//! Recovery at a start: from what the last stop left to a log that can be written and tables that
//! hold what it says.

use std::fs::File;
use std::path::{Path, PathBuf};

use super::dir::{DataDir, MANIFEST, QUARANTINE, RESTORE, WAL};
use super::disk::{LogFile, len_u64};
use super::env::Env;
use super::log::frame::{HEADER, Kind, Tail};
use super::log::scan::{Scan, TornWrite};
use super::log::segment::Wal;
use super::manifest::{Manifest, ManifestError};
use super::schema::Schema;
use super::snapshot::{self, Snapshot};
use super::tables::rebuild::Rebuild;
use super::tables::recovery::{RecoveredTables, TableRecovery};
use crate::store::{OpenError, StoreConfig};

/// A data directory that is ready to be written.
pub(super) struct RecoveredStore {
    pub lock: File,
    pub scan: Scan,
    pub rebuild: Rebuild,
    /// The end of the log, in this start's epoch.
    pub tail: Tail,
    /// The last segment.
    pub file: Box<dyn LogFile>,
    /// The segment after it, if it was preallocated.
    pub next_segment: Option<Box<dyn LogFile>>,
    pub tables: RecoveredTables,
    /// Whether the last stop was an orderly one.
    pub clean: bool,
}

/// Locks and recovers the data directory.
pub(super) fn recover(
    config: &StoreConfig,
    schema: &Schema,
    env: &Env,
) -> Result<RecoveredStore, OpenError> {
    let data = &DataDir::new(env.disk.clone(), &config.data);
    let disk = data.disk();
    let wal = Wal::new(data, config.segment_bytes);
    refuse_unfinished_restore(data)?;
    for dir in [data.wal(), data.snapshots()] {
        disk.create_dir(&dir)
            .map_err(|error| OpenError::io(&dir, error))?;
    }
    let lock = data.lock()?;

    wal.remove_unfinished()
        .map_err(|error| OpenError::io(&wal.dir, error))?;
    let Inspection {
        scan,
        snapshots,
        damaged,
        last_stop,
    } = inspect(data, &wal, schema)?;
    let LastStop { clean, .. } = last_stop;
    let last_epoch = last_stop.epoch();
    if last_epoch.is_none() {
        // The directory itself may be new.
        let parent = data
            .path()
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty());
        let parent = parent.unwrap_or(Path::new("."));
        disk.sync_dir(parent)
            .map_err(|error| OpenError::io(parent, error))?;
    }
    let boot_epoch = last_epoch.unwrap_or(0).saturating_add(1);
    last_stop
        .manifest
        .unwrap_or_default()
        .started(boot_epoch, schema)
        .save(data)
        .map_err(|error| OpenError::io(data.path(), error))?;

    if let Some(torn) = &scan.torn {
        quarantine_torn(data, torn, boot_epoch)?;
    }
    for path in &damaged {
        snapshot::quarantine(data, path, boot_epoch).map_err(|error| OpenError::io(path, error))?;
    }
    let (file, next_segment) = reopen_log(&wal, &scan, clean)?;
    wal.measure()
        .map_err(|error| OpenError::io(&wal.dir, error))?;
    let rebuild = Rebuild {
        data: data.clone(),
        wal,
        schema: schema.clone(),
        snapshots,
        end: scan.tail,
    };
    let recovery = TableRecovery {
        env,
        cache_bytes: config.table_cache_bytes,
        scan: &scan,
        rebuild: &rebuild,
        boot_epoch,
    };
    let tables = recovery.run()?;
    let tail = Tail {
        epoch: boot_epoch,
        ..scan.tail
    };
    Ok(RecoveredStore {
        lock,
        scan,
        rebuild,
        tail,
        file,
        next_segment,
        tables,
        clean,
    })
}

/// The last stop, according to manifest and log.
pub(super) struct LastStop {
    /// `None` if there was no start.
    pub manifest: Option<Manifest>,
    /// It was an orderly one, or there was none.
    pub clean: bool,
}

impl LastStop {
    /// The number of the last start.
    pub fn epoch(&self) -> Option<u32> {
        self.manifest.as_ref().map(|manifest| manifest.boot_epoch)
    }
}

/// What is in a data directory, according to manifest, snapshots and log.
pub(super) struct Inspection {
    pub scan: Scan,
    /// The valid ones, oldest first.
    pub snapshots: Vec<Snapshot>,
    /// Damaged snapshots.
    pub damaged: Vec<PathBuf>,
    pub last_stop: LastStop,
}

/// Reads manifest, snapshots and log, and checks them against each other. Changes nothing.
pub(super) fn inspect(data: &DataDir, wal: &Wal, schema: &Schema) -> Result<Inspection, OpenError> {
    read(data, wal, schema).map_err(name_writer(data))
}

fn read(data: &DataDir, wal: &Wal, schema: &Schema) -> Result<Inspection, OpenError> {
    let manifest = load_manifest(data, schema)?;
    let found = snapshot::find(data, wal, schema)?;
    let scan = Scan::read(wal, schema, found.base)?;
    let epoch = manifest.as_ref().map(|manifest| manifest.boot_epoch);
    let log_is_older = epoch.map_or(scan.last.is_none(), |epoch| epoch >= scan.tail.epoch);
    if !log_is_older {
        let why = "the log is of a later start than this file";
        return Err(scan.damaged(data.at(MANIFEST), 0, None, why));
    }
    // A SHUTDOWN frame of an earlier epoch says nothing of the start after it.
    let clean =
        epoch.is_none_or(|epoch| scan.last == Some(Kind::Shutdown) && scan.tail.epoch == epoch);
    if clean && let Some(torn) = &scan.torn {
        return Err(scan.damaged(torn.file.clone(), torn.offset, None, torn.why));
    }
    Ok(Inspection {
        scan,
        snapshots: found.snapshots,
        damaged: found.damaged,
        last_stop: LastStop { manifest, clean },
    })
}

/// Keeps a copy of what the log ends in, in case it was more than an unfinished write.
fn quarantine_torn(data: &DataDir, torn: &TornWrite, boot_epoch: u32) -> Result<(), OpenError> {
    let file = torn.file.display();
    tracing::warn!(%file, torn.offset, torn.why, "the log ends in a torn write");
    let copy = || {
        let dir = data.quarantine()?;
        let path = dir.join(format!("{WAL}-{boot_epoch}"));
        data.disk()
            .create(&path, &torn.bytes, len_u64(&torn.bytes))?;
        data.disk().sync_dir(&dir)
    };
    copy().map_err(|error| OpenError::io(&data.at(QUARANTINE), error))
}

/// An interrupted restore may have left half of a data directory, or none.
fn refuse_unfinished_restore(data: &DataDir) -> Result<(), OpenError> {
    match data.restore_unfinished() {
        Ok(false) => Ok(()),
        Ok(true) => Err(OpenError::Damaged {
            file: data.at(RESTORE),
            offset: 0,
            last_good: None,
            next_valid: None,
            why: "a restore was cut short: run `arf restore` again",
        }),
        Err(error) => Err(OpenError::io(data.path(), error)),
    }
}

/// Adds to an error which version wrote what this one does not know.
pub(super) fn name_writer(data: &DataDir) -> impl Fn(OpenError) -> OpenError {
    |mut error| {
        if let OpenError::Newer { writer, .. } = &mut error {
            *writer = Manifest::newer_writer(data).map(|newest| newest.to_string());
        }
        error
    }
}

/// The manifest of a directory that this version can read; `None` if there is none yet.
pub(super) fn load_manifest(
    data: &DataDir,
    schema: &Schema,
) -> Result<Option<Manifest>, OpenError> {
    let file = data.at(MANIFEST);
    let manifest = Manifest::load(data).map_err(|error| match error {
        ManifestError::Io(error) => OpenError::io(&file, error),
        ManifestError::Newer(format) => {
            OpenError::newer(&file, format!("data directory format {format}"))
        }
        ManifestError::Damaged => OpenError::Damaged {
            file: file.clone(),
            offset: 0,
            last_good: None,
            next_valid: None,
            why: "not a manifest",
        },
    })?;
    match manifest
        .as_ref()
        .and_then(|manifest| manifest.unknown(schema))
    {
        Some(what) => Err(OpenError::newer(&file, what)),
        None => Ok(manifest),
    }
}

type LogFiles = (Box<dyn LogFile>, Option<Box<dyn LogFile>>);

/// Opens the last segment for writing, and the preallocated one behind it.
///
/// After a stop that was not orderly the last segment's frames are copied to a new file: if its
/// last sync failed, what was just read may be in the page cache only, and syncing it again may
/// succeed without writing it. The copy also drops a torn write. After an orderly stop the same holds
/// for the SHUTDOWN frame, and for nothing else: it is written again.
fn reopen_log(wal: &Wal, scan: &Scan, clean: bool) -> Result<LogFiles, OpenError> {
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
    // No frame was ever written: a lone zeroed segment is then the first one, not a preallocated one.
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
    let next_segment = match scan.next_segment {
        Some(len) if len >= wal.segment_bytes => Some(open(number + 1)?),
        _ => None,
    };
    Ok((file, next_segment))
}
