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
//! **Is never asked** by log, tables and snapshots; only a start looks whether a salvage is
//! unfinished.

mod backup;
mod fragments;
mod readonly;
mod repair;
mod restore;
pub mod salvage;
mod survey;

pub use backup::{Backup, BackupError, Copied, backups_in, remove_old_backups};
pub use readonly::{Change, Facts, ReadOnly, Told, Visit};
pub use repair::{Repair, RepairError, Repaired};
pub use restore::Restoring;
pub use salvage::{Gap, Loss, Salvage, SalvageReport, Unreadable};
pub use survey::{Survey, TablesAre};
