//! A table that exists in tests only: its rows are due.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::sample::{self, Sample};
use crate::audit::Fact;
use crate::id::Sequence;
use crate::stamp::Stamp;
use crate::store::Load;
use crate::tenant::Tenant;
use crate::tenant::command::{Change, Command, Plan};
use crate::tenant::key::Scope;
use crate::tenant::schema::{Eviction, Row, RowId, TableRow};
use crate::time::Timestamp;

pub type Reminders = BTreeMap<Sequence, ReminderRow>;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReminderRow {
    pub at: Option<Timestamp>,
}

impl TableRow for ReminderRow {
    type Key = Sequence;
    const LOAD: Load = Load::Hot;
    const EXPORT: Option<&'static str> = None;
    const WEIGHT: usize = 100;
    const EVICTION: Option<Eviction> = None;

    fn absorb(&self, key: &Sequence, tenant: &mut Tenant) -> Option<Self> {
        tenant.reminders.insert(*key, *self)
    }

    fn forget(key: &Sequence, tenant: &mut Tenant) -> Option<Self> {
        tenant.reminders.remove(key)
    }

    fn due(&self) -> Option<Timestamp> {
        self.at
    }
}

impl Sample for ReminderRow {
    fn sample() -> (Sequence, Self) {
        let at = Some(sample::at(11));
        (sample::OTHER, Self { at })
    }
}

/// Sets a reminder, another time for it, or none; or deletes it.
pub struct Remind {
    pub reminder: Sequence,
    pub row: Option<ReminderRow>,
}

impl Command for Remind {
    type Reply = ();
    const SCOPE: Scope = Scope::Admin;

    fn apply(self, _: &Tenant, _: &Stamp) -> Plan<()> {
        let mutation = match self.row {
            Some(row) => Row::ReminderRow(self.reminder, row).into(),
            None => RowId::ReminderRow(self.reminder).into(),
        };
        Ok(Change {
            rows: vec![mutation],
            fact: Fact::new("reminder"),
            reply: (),
        })
    }
}
