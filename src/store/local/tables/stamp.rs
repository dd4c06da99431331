//! The stamp of the tables: how far they are, in one row, written before each of their syncs.
//!
//! sled may open and silently be in the state of an earlier sync. Heads show that for tenants that
//! lost records, but side rows are in no head, and backfilled rows change none.

#![deny(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

use super::{TableError, Tables};
use crate::store::cursor::Cursor;
use crate::store::record::Lsn;
use crate::store::table::APPLIED;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TableStamp {
    /// The last record whose rows the tables hold.
    pub applied: Lsn,
    /// No rebuild is going on.
    pub whole: bool,
}

impl TableStamp {
    /// Of tables without a stamp.
    const NONE: Self = Self {
        applied: Lsn::ZERO,
        whole: true,
    };

    /// Empty tables stay empty.
    pub fn write(self, tables: &dyn Tables) -> Result<(), TableError> {
        if self.applied > Lsn::ZERO {
            let mut value = self.applied.get().to_le_bytes().to_vec();
            value.push(u8::from(self.whole));
            tables.write(&APPLIED, &[], Some(&value))?;
        }
        Ok(())
    }

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
