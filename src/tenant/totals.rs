//! Running totals of a tenant's hot rows: their weight in memory and the earliest time one is due.

use std::collections::BTreeMap;

use super::schema::TableRow;
use crate::store::Load;
use crate::time::Timestamp;

#[derive(Debug, Default)]
pub struct Totals {
    /// Bytes.
    weight: usize,
    /// Number of rows.
    due: BTreeMap<Timestamp, usize>,
}

impl Totals {
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

    pub fn next_due(&self) -> Option<Timestamp> {
        self.due.keys().next().copied()
    }
}
