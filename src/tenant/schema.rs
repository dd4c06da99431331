//! The list of tables, one line each; the rest of a table is in its feature's file, with its row.
//!
//! Codes are frozen: a table keeps its number for ever, and a number that was dropped stays unused. A new
//! table, or a new version of its rows, ends rollback: once a version of arf that has it has started on a
//! directory, an older one refuses and names the version to start.

use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

use super::Tenant;
use super::intents::IntentRow;
use crate::decide::Category;
use crate::id::{KeyId, Pseudonym, Sequence, TenantId};
use crate::store::codec;
use crate::store::{KeyKind, Load, Op, TableSpec};
use crate::time::Timestamp;

/// The layout of every table's rows. A table whose row changes gets a version of its own.
const VERSION: u16 = 1;

/// A row's key after the tenant.
pub trait RowKey: Sized {
    const KEY_KIND: KeyKind = KeyKind::Natural;

    /// Ordered as range reads are.
    fn to_bytes(&self) -> Vec<u8>;

    fn from_bytes(bytes: &[u8]) -> Option<Self>;
}

/// A row of one table, and all that is particular to the table.
pub trait TableRow: Serialize + DeserializeOwned {
    /// Unique within a tenant.
    type Key: RowKey + PartialEq;

    const LOAD: Load;

    /// The file of an export that has a line for each row.
    const EXPORT: Option<&'static str>;

    /// Bytes that a row takes in the state, roughly, with its share of maps that are half full.
    const WEIGHT: usize;

    /// What changes in this table when an intent is evicted; `None` if nothing does. INVARIANT:
    /// afterwards no hot row of the table names the intent.
    const EVICTION: Option<Eviction>;

    /// Inserts the row into the state, and returns the one it replaces.
    fn absorb(&self, key: &Self::Key, tenant: &mut Tenant) -> Option<Self>;

    fn forget(key: &Self::Key, tenant: &mut Tenant) -> Option<Self>;

    fn weight(&self) -> usize {
        Self::WEIGHT
    }

    /// When something must be done about the row.
    fn due(&self) -> Option<Timestamp> {
        None
    }
}

/// The mutations of one table when the intent at this sequence is evicted.
pub type Eviction = fn(Sequence, &IntentRow, &Tenant) -> Vec<Mutation>;

#[derive(Debug, Error)]
#[error("a row of `{table}` (version {version}) cannot be read: {why}")]
pub struct RowError {
    table: &'static str,
    version: u16,
    why: String,
}

macro_rules! tables {
    ($($(#[$meta:meta])* $code:literal $spec:ident $name:literal $module:ident::$row:ident;)+) => {
        $(
            $(#[$meta])*
            pub static $spec: TableSpec = TableSpec {
                id: $code,
                name: $name,
                load: <super::$module::$row as TableRow>::LOAD,
                key_kind: <<super::$module::$row as TableRow>::Key as RowKey>::KEY_KIND,
                version: VERSION,
            };
        )+

        pub static TABLES: &[TableSpec] = &[$($(#[$meta])* $spec),+];

        /// The export file of every table that has one.
        pub static EXPORTS: &[(&TableSpec, Option<&str>)] =
            &[$($(#[$meta])* (&$spec, <super::$module::$row as TableRow>::EXPORT)),+];

        #[derive(Debug, Clone)]
        pub enum Row {
            $(
                $(#[$meta])*
                $row(<super::$module::$row as TableRow>::Key, super::$module::$row),
            )+
        }

        #[derive(Debug, Clone)]
        pub enum RowId {
            $(
                $(#[$meta])*
                $row(<super::$module::$row as TableRow>::Key),
            )+
        }

        impl Row {
            fn absorb(&self, tenant: &mut Tenant) {
                match self {
                    $($(#[$meta])* Self::$row(key, row) => {
                        let replaced = row.absorb(key, tenant);
                        tenant.totals.replace(replaced.as_ref(), Some(row));
                    })+
                }
            }

            /// `version` is the one in the row's envelope.
            pub fn decode(table: &TableSpec, version: u16, key: &[u8], payload: &[u8]) -> Result<Self, RowError> {
                let error = |why: &dyn std::fmt::Display| RowError { table: table.name, version, why: why.to_string() };
                if version != VERSION {
                    return Err(error(&"this version is unknown here"));
                }
                match table.id {
                    $($(#[$meta])* $code => {
                        let key = RowKey::from_bytes(key).ok_or_else(|| error(&"its key is malformed"))?;
                        let row = codec::decode(payload).map_err(|why| error(&why))?;
                        Ok(Self::$row(key, row))
                    })+
                    _ => Err(error(&"the table is unknown here")),
                }
            }

            fn op(&self, tenant: TenantId) -> Op<'static> {
                match self {
                    $($(#[$meta])* Self::$row(key, row) => {
                        Op::put(tenant, &$spec, key.to_bytes(), VERSION, &codec::encode(row))
                    })+
                }
            }

            #[cfg(test)]
            pub(super) fn samples() -> Vec<Self> {
                vec![$({
                    let (key, row) = <super::$module::$row as super::tests::sample::Sample>::sample();
                    Self::$row(key, row)
                }),+]
            }
        }

        impl RowId {
            fn forget(&self, tenant: &mut Tenant) {
                match self {
                    $($(#[$meta])* Self::$row(key) => {
                        let removed = <super::$module::$row as TableRow>::forget(key, tenant);
                        tenant.totals.replace(removed.as_ref(), None);
                    })+
                }
            }

            fn op(&self, tenant: TenantId) -> Op<'static> {
                match self {
                    $($(#[$meta])* Self::$row(key) => Op::delete(tenant, &$spec, key.to_bytes()),)+
                }
            }
        }

        impl Mutation {
            pub(super) fn is_of_row(&self, other: &Row) -> bool {
                match (self, other) {
                    $($(#[$meta])*
                    (Self::Put(Row::$row(key, _)) | Self::Delete(RowId::$row(key)), Row::$row(other, _)) => key == other,)+
                    (Self::Put(_) | Self::Delete(_), _) => false,
                }
            }
        }

        pub(super) fn evict(sequence: Sequence, intent: &IntentRow, tenant: &Tenant) -> Vec<Mutation> {
            let evictions = [$($(#[$meta])* <super::$module::$row as TableRow>::EVICTION),+];
            let evictions = evictions.into_iter().flatten();
            evictions.flat_map(|eviction| eviction(sequence, intent, tenant)).collect()
        }
    };
}

tables! {
    1 TENANTS "tenants" lifecycle::AccountRow;
    2 API_KEYS "api_keys" key::KeyRow;
    3 KEY_USAGE "key_usage" usage::KeyUsageRow;
    4 INTENTS "intents" intents::IntentRow;
    5 INTENT_OUTCOMES "intent_outcomes" outcome::OutcomeRow;
    6 BETA_STATE "beta_state" learning::BetaRow;
    7 COMPONENTS "components" component::ComponentRow;
    8 CHANGE_SETS "change_sets" change_set::ChangeSetRow;
    9 USAGE_LOGS "usage_logs" usage::UsageLogRow;
    10 KEY_CLAIMS "key_claims" claims::Claims;
    11 FORMER_LOGS "former_logs" restore::FormerLogRow;
    #[cfg(test)] 200 REMINDERS "reminders" tests::ReminderRow;
}

#[derive(Debug, Clone)]
pub enum Mutation {
    Put(Row),
    Delete(RowId),
}

impl Mutation {
    /// The effect as the log stores it: absolute, so replay needs neither clock nor today's code.
    pub fn op(&self, tenant: TenantId) -> Op<'static> {
        match self {
            Self::Put(row) => row.op(tenant),
            Self::Delete(id) => id.op(tenant),
        }
    }
}

impl Tenant {
    /// The only way to change the state.
    pub fn absorb(&mut self, mutation: &Mutation) {
        match mutation {
            Mutation::Put(row) => row.absorb(self),
            Mutation::Delete(id) => id.forget(self),
        }
    }

    /// `version` is the one in the row's envelope.
    pub fn absorb_stored(
        &mut self,
        table: &TableSpec,
        version: u16,
        key: &[u8],
        payload: &[u8],
    ) -> Result<(), RowError> {
        Row::decode(table, version, key, payload)?.absorb(self);
        Ok(())
    }
}

impl From<Row> for Mutation {
    fn from(row: Row) -> Self {
        Self::Put(row)
    }
}

impl From<RowId> for Mutation {
    fn from(id: RowId) -> Self {
        Self::Delete(id)
    }
}

impl RowKey for () {
    fn to_bytes(&self) -> Vec<u8> {
        Vec::new()
    }
    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.is_empty().then_some(())
    }
}

impl RowKey for Sequence {
    const KEY_KIND: KeyKind = KeyKind::Sequence;

    fn to_bytes(&self) -> Vec<u8> {
        self.get().to_be_bytes().to_vec()
    }
    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Some(Self::new(u64::from_be_bytes(bytes.try_into().ok()?)))
    }
}

impl RowKey for Category {
    fn to_bytes(&self) -> Vec<u8> {
        vec![self.code()]
    }
    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let [code] = <[u8; 1]>::try_from(bytes).ok()?;
        Self::from_code(code)
    }
}

macro_rules! sixteen_byte_key {
    ($($key:ident),+) => {
        $(impl RowKey for $key {
            fn to_bytes(&self) -> Vec<u8> {
                self.as_bytes().to_vec()
            }
            fn from_bytes(bytes: &[u8]) -> Option<Self> {
                Some(Self::from_bytes(bytes.try_into().ok()?))
            }
        })+
    };
}

sixteen_byte_key!(Pseudonym, KeyId);

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fmt::Write as _;

    use super::super::tests::sample::{self, Sample as _};
    use super::*;
    use crate::golden;
    use crate::store::{ENTRIES, OPENINGS, open_envelope};

    const TENANT: TenantId = TenantId::from_bytes([9; 16]);

    fn put(row: &Row) -> (&'static TableSpec, Vec<u8>, Vec<u8>) {
        let op = row.op(TENANT);
        let envelope = op.envelope().expect("a row is put").to_vec();
        (op.table, op.key.into_owned(), envelope)
    }

    #[test]
    fn the_bytes_of_every_table_are_frozen() {
        let hex = |bytes: &[u8]| golden::hex(bytes).replace('\n', "");
        let mut text = String::new();
        for row in Row::samples() {
            let (table, key, value) = put(&row);
            if *table != REMINDERS {
                writeln!(text, "{} {} {}", table.name, hex(&key), hex(&value)).unwrap();
            }
        }
        golden::check("rows.hex", &text);
    }

    #[test]
    fn every_row_comes_back_as_it_went() {
        for row in Row::samples() {
            let (table, key, value) = put(&row);
            let stored = open_envelope(TENANT, table, &key, &value).unwrap();
            let back = Row::decode(table, stored.version, &key, &stored.payload).unwrap();
            assert_eq!(put(&back).2, value, "{}", table.name);
            assert!(Row::decode(table, 2, &key, &stored.payload).is_err());
        }
    }

    /// One row of every table, and then the intent that some of them belong to is evicted.
    #[test]
    fn no_table_keeps_a_row_that_names_an_evicted_intent() {
        let mut tenant = Tenant::blank(TENANT);
        let mut rows = BTreeMap::new();
        let mut apply = |tenant: &mut Tenant, mutation: &Mutation| {
            tenant.absorb(mutation);
            let op = mutation.op(TENANT);
            let place = (op.table.name, op.key.to_vec());
            match mutation {
                Mutation::Put(row) => rows.insert(place, row.clone()),
                Mutation::Delete(_) => rows.remove(&place),
            };
        };
        for row in Row::samples() {
            apply(&mut tenant, &row.into());
        }
        let (sequence, intent) = IntentRow::sample();
        for mutation in evict(sequence, &intent, &tenant) {
            apply(&mut tenant, &mutation);
        }
        for ((table, key), row) in &rows {
            let (spec, _, value) = put(row);
            let stored = open_envelope(TENANT, spec, key, &value).unwrap();
            let names = |bytes: &[u8]| sample::names(bytes, sequence, Some(intent.id));
            let named = names(key) || names(&stored.payload);
            assert!(spec.load == Load::Cold || !named, "{table}: {row:?}");
        }
    }

    #[test]
    fn the_guide_lists_every_table() {
        let guide = concat!(env!("CARGO_MANIFEST_DIR"), "/data/guides/rules.md");
        let guide = std::fs::read_to_string(guide).unwrap();
        let (_, section) = guide.split_once("## 1. Rows").unwrap();
        let (hot, rest) = section.split_once("are loaded into memory").unwrap();
        let (cold, _) = rest.split_once("are read when asked for").unwrap();
        let listed = |text: &str| -> Vec<String> {
            text.split('`')
                .skip(1)
                .step_by(2)
                .map(str::to_owned)
                .collect()
        };
        let tables = |load| -> Vec<&str> {
            let tables = TABLES.iter().filter(|table| **table != REMINDERS);
            tables
                .filter(|table| table.load == load)
                .map(|table| table.name)
                .collect()
        };
        assert_eq!(listed(hot), tables(Load::Hot));
        assert_eq!(
            listed(cold),
            [&[ENTRIES.name, OPENINGS.name], &tables(Load::Cold)[..]].concat()
        );
    }
}
