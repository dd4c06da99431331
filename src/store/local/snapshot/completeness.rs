//! Whether all rows of a tenant are there, as far as that can be checked.
//!
//! They are if its head is there, the hot rows are those that the head counts and hashes, and no entry
//! of its audit log is missing up to the head's. Missing openings and other cold rows cannot be
//! detected.

use crate::id::Sequence;
use crate::store::head::Head;
use crate::store::ledger::Tally;
use crate::store::local::log::scan::open_head;
use crate::store::row::{EnvelopeError, Op, check_envelope};
use crate::store::table::{ENTRIES, HEADS, Load};

/// The totals of one tenant's rows.
#[derive(Default)]
pub struct Completeness {
    head: Option<Head>,
    hot: Tally,
    /// The first and the last entry.
    entries: Option<(Sequence, Sequence)>,
    has_gap: bool,
}

impl Completeness {
    /// Checks and adds a row; entries in order of their sequences.
    pub fn add(&mut self, row: &Op<'_>) -> Result<(), EnvelopeError> {
        let Some(envelope) = row.envelope() else {
            return Ok(());
        };
        let (fields, _) = check_envelope(row.tenant, row.table, &row.key, envelope)?;
        if row.table.load == Load::Hot {
            self.hot.put(row.tenant, row.table, &row.key, fields.crc);
        } else if row.table.id == HEADS.id {
            self.head = open_head(row.tenant, envelope);
        } else if row.table.id == ENTRIES.id
            && let Ok(key) = row.key.as_ref().try_into()
        {
            let sequence = Sequence::new(u64::from_be_bytes(key));
            let (first, last) = self.entries.unwrap_or((sequence, sequence));
            self.has_gap |= self.entries.is_some() && sequence != last.next();
            self.entries = Some((first, sequence));
        }
        Ok(())
    }

    /// The tenant's last sequence, if its head could be read.
    pub fn last(&self) -> Option<Sequence> {
        self.head.as_ref().map(|head| head.sequence)
    }

    pub fn is_complete(&self) -> bool {
        let Some(head) = &self.head else {
            return false;
        };
        let entries = self
            .entries
            .is_some_and(|(first, last)| first <= head.log_base && last == head.sequence);
        entries && !self.has_gap && (self.hot.rows, self.hot.hash) == (head.hot_rows, head.hot_hash)
    }
}
