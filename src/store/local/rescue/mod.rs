//! A data directory in other hands than a running store's: looked at, copied, mended.
//!
//! - Looked at: [`survey`] by its names alone, [`readonly`] with everything that a start would check.
//! - Copied: [`backup`], of an open store too, and [`restore`].
//! - Mended: [`repair`] makes one tenant's rows in the tables anew; [`salvage`] makes a log that a
//!   start refuses into one that opens, from the [`fragments`] of a snapshot where that is damaged.
//!
//! **Promises**: nothing is changed that was not asked for, nothing is deleted that cannot be had
//! elsewhere, and a crash in the middle leaves what a start either opens or refuses.
//!
//! **Is never asked** by log, tables and snapshots; only a start looks whether a salvage or a restore is
//! unfinished.

mod backup;
mod fragments;
mod read_only_disk;
mod readonly;
mod repair;
pub(super) mod restore;
pub mod salvage;
mod survey;

pub use backup::{Backup, BackupError, Copied, backups_in, remove_old_backups};
pub use readonly::{Facts, ReadOnly, Visit};
pub use repair::{Repair, RepairError, Repaired};
pub use restore::Restoring;
pub use salvage::{Gap, Loss, Salvage, SalvageReport, Unreadable};
pub use survey::Survey;

/// What long work tells of how far it is: what it does, bytes done, bytes in all.
pub type Progress<'a> = &'a mut dyn FnMut(&'static str, u64, u64);
