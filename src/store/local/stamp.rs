//! How far the tables say that they have come: one row, written right before each of their syncs.
//!
//! sled may open and silently be what it was some syncs ago. Heads give that away for tenants whose
//! records were among what fell away, but side rows are in no head.

#![deny(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

use super::super::record::Lsn;
use super::super::row::APPLIED;
use super::tables::{TableError, Tables};

/// Notes that everything up to `applied` is in the tables. Empty ones stay empty.
pub(super) fn write(tables: &dyn Tables, applied: Lsn) -> Result<(), TableError> {
    if applied > Lsn::ZERO {
        tables.write(&APPLIED, &[], Some(&applied.get().to_le_bytes()))?;
    }
    Ok(())
}

/// What was noted last; nothing means nothing.
pub(super) fn read(tables: &dyn Tables) -> Result<Lsn, TableError> {
    let noted = tables.get(&APPLIED, &[])?;
    let number = noted.and_then(|noted| noted.try_into().ok());
    Ok(number.map_or(Lsn::ZERO, |number| Lsn::new(u64::from_le_bytes(number))))
}
