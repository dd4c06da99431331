//! A data directory that no store has open: inspected, copied, restored, repaired.
//!
//! - Inspected: [`summary`] by its names alone, [`readonly`] with everything that a start would check.
//! - Copied: [`backup`], of an open store too, and [`restore`].
//! - Repaired: [`repair`] rebuilds one tenant's rows in the tables; [`salvage`] writes what can be read of
//!   a directory that a start refuses as a backup.
//!
//! **Promises**: a command changes nothing but what it names, and a crash in the middle leaves what a
//! start either opens or refuses.
//!
//! **Never called** by log, tables and snapshots.

mod backup;
mod read_only_disk;
mod readonly;
mod repair;
mod restore;
mod salvage;
mod summary;

pub use backup::{
    Backup, BackupError, BackupFile, BackupSource, BackupWriter, backups_in, remove_old_backups,
};
pub use readonly::{DirectoryInfo, ReadOnly, Visit};
pub use repair::{Repair, RepairError, RepairReport};
pub use restore::PendingRestore;
pub use salvage::{LogGap, Salvage, SalvageReport, TenantLoss};
pub use summary::DirectorySummary;

pub use crate::store::local::log::frames::DamagedRange;

/// Called with the name of a step, what is done of it and its total.
pub type Progress<'a> = &'a mut dyn FnMut(&'static str, u64, u64);
