//! What the tables say of themselves: one row, written right before each of their syncs.
//!
//! sled may open and silently be what it was some syncs ago. Heads give that away for tenants whose
//! records were among what fell away, but side rows are in no head, and the rows that a rebuild
//! brings back later change none.

#![deny(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

use super::{TableError, Tables};
use crate::store::cursor::Cursor;
use crate::store::record::Lsn;
use crate::store::table::APPLIED;

/// How far the tables have come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    /// The last record whose rows they hold.
    pub applied: Lsn,
    /// No old row is still on its way.
    pub whole: bool,
}

impl Stamp {
    /// Of tables that say nothing.
    const NONE: Self = Self {
        applied: Lsn::ZERO,
        whole: true,
    };

    /// Notes it in the tables. Empty ones stay empty.
    pub fn write(self, tables: &dyn Tables) -> Result<(), TableError> {
        if self.applied > Lsn::ZERO {
            let mut value = self.applied.get().to_le_bytes().to_vec();
            value.push(u8::from(self.whole));
            tables.write(&APPLIED, &[], Some(&value))?;
        }
        Ok(())
    }

    /// What was noted last.
    pub fn read(tables: &dyn Tables) -> Result<Self, TableError> {
        let value = tables.get(&APPLIED, &[])?.unwrap_or_default();
        let mut cursor = Cursor::new(&value);
        let stamp = cursor.u64().zip(cursor.u8()).map(|(applied, whole)| Self {
            applied: Lsn::new(applied),
            whole: whole == 1,
        });
        Ok(stamp.unwrap_or(Self::NONE))
    }
}
