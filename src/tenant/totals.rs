//! What a tenant's hot rows add up to, kept row by row: their weight in memory and the next time that
//! one of them is due.

use std::collections::BTreeMap;

use super::schema::TableRow;
use crate::store::Load;
use crate::time::Timestamp;

#[derive(Debug, Default)]
pub struct Totals {
    /// Bytes.
    weight: usize,
    /// How many rows are due at each time.
    due: BTreeMap<Timestamp, usize>,
}

impl Totals {
    /// Takes `old` out and `new` in.
    pub fn replace<R: TableRow>(&mut self, old: Option<&R>, new: Option<&R>) {
        if R::LOAD != Load::Hot {
            return;
        }
        if let Some(row) = old {
            self.weight -= row.weight();
            if let Some(due) = row.due() {
                self.remove_due(due);
            }
        }
        if let Some(row) = new {
            self.weight += row.weight();
            if let Some(due) = row.due() {
                *self.due.entry(due).or_default() += 1;
            }
        }
    }

    fn remove_due(&mut self, due: Timestamp) {
        let count = self
            .due
            .get_mut(&due)
            .expect("a row that was due is counted");
        *count -= 1;
        if *count == 0 {
            self.due.remove(&due);
        }
    }

    pub fn weight(&self) -> usize {
        self.weight
    }

    /// The earliest time at which a row is due.
    pub fn next_due(&self) -> Option<Timestamp> {
        self.due.keys().next().copied()
    }
}
