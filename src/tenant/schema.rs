//! The list of tables, one line each; everything else about a table stands in its feature's file.
//!
//! Codes are frozen: a table keeps its number for ever, and a number that was dropped stays unused.

use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

use super::Tenant;
use super::change_set::ChangeSetRow;
use super::claims::Claims;
use super::component::ComponentRow;
use super::intents::IntentRow;
use super::key::KeyRow;
use super::learning::BetaRow;
use super::lifecycle::AccountRow;
use super::outcome::OutcomeRow;
use super::restore::FormerLogRow;
use super::usage::{KeyUsageRow, UsageLogRow};
use crate::decide::Category;
use crate::id::{KeyId, Pseudonym, Sequence, TenantId};
use crate::store::codec;
use crate::store::{Keyed, Load, Op, TableSpec};

/// A row's key after the tenant.
pub trait RowKey: Sized {
    /// The bytes, in the order that ranges follow.
    fn to_bytes(&self) -> Vec<u8>;
    /// The key that these bytes are.
    fn from_bytes(bytes: &[u8]) -> Option<Self>;
}

/// One kind of row: its key and what it does to the state.
pub trait TableRow: Serialize + DeserializeOwned {
    /// What tells its rows apart within a tenant.
    type Key: RowKey;
    /// The row is now this.
    fn absorb(&self, key: &Self::Key, tenant: &mut Tenant);
    /// The row is gone.
    fn forget(key: &Self::Key, tenant: &mut Tenant);
}

/// Bytes of a table that are not one of its rows.
#[derive(Debug, Error)]
#[error("a row of `{table}` (version {version}) cannot be read: {why}")]
pub struct RowError {
    table: &'static str,
    version: u16,
    why: String,
}

macro_rules! tables {
    ($($code:literal $spec:ident $name:literal $load:ident $keyed:ident $row:ident;)+) => {
        $(
            #[doc = concat!("The table `", $name, "`.")]
            pub static $spec: TableSpec =
                TableSpec { id: $code, name: $name, load: Load::$load, keyed: Keyed::$keyed };
        )+

        /// Every table, as `store` is told of them.
        pub static TABLES: &[TableSpec] = &[
            $(TableSpec { id: $code, name: $name, load: Load::$load, keyed: Keyed::$keyed }),+
        ];

        /// One row of any table, with its key.
        #[derive(Debug, Clone)]
        pub enum Row {
            $(#[doc = concat!("Of `", $name, "`.")] $row(<$row as TableRow>::Key, $row),)+
        }

        /// The key of a row of any table that is deleted.
        #[derive(Debug, Clone)]
        pub enum RowId {
            $(#[doc = concat!("Of `", $name, "`.")] $row(<$row as TableRow>::Key),)+
        }

        impl Row {
            /// Takes the row into the state.
            pub(super) fn absorb(&self, tenant: &mut Tenant) {
                match self {
                    $(Self::$row(key, row) => row.absorb(key, tenant),)+
                }
            }

            /// Reads a row back; `version` is the schema version its envelope names.
            pub fn decode(table: &TableSpec, version: u16, key: &[u8], payload: &[u8]) -> Result<Self, RowError> {
                let bad = |why: &dyn std::fmt::Display| RowError { table: table.name, version, why: why.to_string() };
                if version != 1 {
                    return Err(bad(&"this version is unknown here"));
                }
                match table.id {
                    $($code => {
                        let key = RowKey::from_bytes(key).ok_or_else(|| bad(&"its key is malformed"))?;
                        let row = codec::decode(payload).map_err(|error| bad(&error))?;
                        Ok(Self::$row(key, row))
                    })+
                    _ => Err(bad(&"the table is unknown here")),
                }
            }

            fn op(&self, tenant: TenantId) -> Op<'static> {
                match self {
                    $(Self::$row(key, row) => Op::put(tenant, &$spec, key.to_bytes(), 1, &codec::encode(row)),)+
                }
            }
        }

        impl RowId {
            /// Takes the row out of the state.
            pub(super) fn absorb(&self, tenant: &mut Tenant) {
                match self {
                    $(Self::$row(key) => <$row as TableRow>::forget(key, tenant),)+
                }
            }

            fn op(&self, tenant: TenantId) -> Op<'static> {
                match self {
                    $(Self::$row(key) => Op::delete(tenant, &$spec, key.to_bytes()),)+
                }
            }
        }
    };
}

tables! {
    1 TENANTS "tenants" Hot Natural AccountRow;
    2 API_KEYS "api_keys" Hot Natural KeyRow;
    3 KEY_USAGE "key_usage" Hot Natural KeyUsageRow;
    4 INTENTS "intents" Hot Sequence IntentRow;
    5 INTENT_OUTCOMES "intent_outcomes" Hot Sequence OutcomeRow;
    6 BETA_STATE "beta_state" Hot Natural BetaRow;
    7 COMPONENTS "components" Hot Natural ComponentRow;
    8 CHANGE_SETS "change_sets" Hot Natural ChangeSetRow;
    9 USAGE_LOGS "usage_logs" Cold Sequence UsageLogRow;
    10 KEY_CLAIMS "key_claims" Hot Natural Claims;
    11 FORMER_LOGS "former_logs" Hot Natural FormerLogRow;
}

/// A row that becomes different.
#[derive(Debug, Clone)]
pub enum Mutation {
    /// It is now this.
    Put(Row),
    /// It is gone.
    Delete(RowId),
}

impl Mutation {
    /// The effect as the log stores it: absolute, so replay needs neither clock nor today's code.
    pub fn op(&self, tenant: TenantId) -> Op<'static> {
        match self {
            Self::Put(row) => row.op(tenant),
            Self::Delete(gone) => gone.op(tenant),
        }
    }
}

impl From<Row> for Mutation {
    fn from(row: Row) -> Self {
        Self::Put(row)
    }
}

impl From<RowId> for Mutation {
    fn from(gone: RowId) -> Self {
        Self::Delete(gone)
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

impl RowKey for Pseudonym {
    fn to_bytes(&self) -> Vec<u8> {
        self.as_bytes().to_vec()
    }
    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Some(Self::from_bytes(bytes.try_into().ok()?))
    }
}

impl RowKey for KeyId {
    fn to_bytes(&self) -> Vec<u8> {
        self.as_bytes().to_vec()
    }
    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Some(Self::from_bytes(bytes.try_into().ok()?))
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;
    use crate::decide::intent::{Environment, IntentType, Operation};
    use crate::decide::{Action, Counts, PerCategory};
    use crate::golden;
    use crate::number::Probability;
    use crate::store::open_envelope;
    use crate::tenant::change_set::Tally;
    use crate::tenant::intents::{OutcomeMark, Review, Verdict};
    use crate::tenant::key::{KeyHash, Role};
    use crate::tenant::outcome::NotLearned;
    use crate::tenant::usage::Tier;
    use crate::time::Timestamp;

    const TENANT: TenantId = TenantId::from_bytes([9; 16]);

    fn at(micros: i64) -> Timestamp {
        Timestamp::from_micros(1_790_000_000_000_000 + micros)
    }

    /// One row of every table, with every optional field there.
    fn rows() -> Vec<Row> {
        let name = |byte| Pseudonym::from_bytes([byte; 16]);
        let key = KeyId::from_bytes([7; 16]);
        let sequence = Sequence::new(258);
        vec![
            Row::AccountRow(
                (),
                AccountRow {
                    name: "Example".into(),
                    created_at: at(1),
                    created_by: Some("ops@example.org".into()),
                    tier: Tier::Pro,
                    retention_days: 30,
                    log: "arf.invalid/audit/aaaaaaaaaaaaaaaaaaaaaaaaaa".into(),
                    log_base: Sequence::FIRST,
                    name_secret: [5; 32],
                },
            ),
            Row::KeyRow(
                KeyHash::of("arf_pro_example"),
                KeyRow {
                    key_id: key,
                    tier: Tier::Pro,
                    role: Some(Role::Reviewer),
                    scopes: Role::Reviewer.scopes(),
                    created_at: at(2),
                    is_active: true,
                    expires_at: Some(at(3)),
                    name: Some("review".into()),
                    owner: Some("alice".into()),
                },
            ),
            Row::KeyUsageRow(
                key,
                KeyUsageRow {
                    month: at(4).month(),
                    used: 41,
                    last_used_at: at(4),
                },
            ),
            Row::IntentRow(
                sequence,
                IntentRow {
                    id: name(1),
                    digest: name(2),
                    change_set: Some(name(3)),
                    component: name(4),
                    requester: name(5),
                    memory: name(6),
                    caller: key,
                    intent_type: IntentType::GrantAccess,
                    category: Category::Security,
                    action: Action::Escalate,
                    environment: Environment::Prod,
                    target: Some(Environment::Staging),
                    operation: Some(Operation::Replace),
                    risk: 0.25,
                    blend: 1.0 / 6.0,
                    created_at: at(5),
                    expires_at: Some(at(10)),
                    review: Some(Review {
                        verdict: Verdict::Approve,
                        at: at(6),
                    }),
                    outcome: Some(OutcomeMark {
                        sequence: Sequence::new(300),
                        success: true,
                        learned: true,
                    }),
                },
            ),
            Row::OutcomeRow(
                Sequence::new(300),
                OutcomeRow {
                    intent: sequence,
                    success: true,
                    reporter: key,
                    not_learned: Some(NotLearned::SameChangeSet),
                    recorded_at: at(7),
                    idempotency_key: Some(name(8)),
                },
            ),
            Row::BetaRow(
                Category::Network,
                BetaRow {
                    counts: Counts {
                        failures: 1,
                        trials: 20,
                        self_reported: 3,
                        imported: 4,
                    },
                    updated_at: at(8),
                },
            ),
            Row::ComponentRow(
                name(9),
                ComponentRow {
                    smoothed: Probability::new(0.125).unwrap(),
                    last: sequence,
                },
            ),
            Row::ChangeSetRow(
                name(10),
                ChangeSetRow {
                    id: name(11),
                    last: sequence,
                    items: 12,
                    deletes: 6,
                    tallies: PerCategory {
                        security: Tally {
                            outcomes: 3,
                            failures: 1,
                            self_reported: 2,
                        },
                        ..PerCategory::default()
                    },
                },
            ),
            Row::UsageLogRow(
                sequence,
                UsageLogRow {
                    key,
                    tier: Tier::Pro,
                    at: at(9),
                    endpoint: "POST /api/v1/intents/evaluate".into(),
                    status: 200,
                    error: Some("none".into()),
                    processing_us: 180,
                },
            ),
            Row::Claims(
                key,
                Claims {
                    environments: vec![Environment::Dev, Environment::Prod],
                    requesters: vec!["agent:*".into()],
                    intent_types: vec![IntentType::DeployConfig],
                },
            ),
            Row::FormerLogRow(
                sequence,
                FormerLogRow {
                    log: "arf.invalid/audit/bbbbbbbbbbbbbbbbbbbbbbbbbb".into(),
                    size: 12,
                    root: [6; 32],
                },
            ),
        ]
    }

    fn put(row: &Row) -> (&'static TableSpec, Vec<u8>, Vec<u8>) {
        let op = row.op(TENANT);
        let envelope = op.envelope().expect("a row is put").to_vec();
        (op.table, op.key.into_owned(), envelope)
    }

    #[test]
    fn the_bytes_of_every_table_are_frozen() {
        let hex = |bytes: &[u8]| golden::hex(bytes).replace('\n', "");
        let mut text = String::new();
        for row in rows() {
            let (table, key, value) = put(&row);
            writeln!(text, "{} {} {}", table.name, hex(&key), hex(&value)).unwrap();
        }
        golden::check("rows.hex", &text);
    }

    #[test]
    fn every_row_comes_back_as_it_went_and_every_table_has_one() {
        let rows = rows();
        let tables: Vec<_> = rows.iter().map(|row| put(row).0.id).collect();
        assert_eq!(
            tables,
            TABLES.iter().map(|table| table.id).collect::<Vec<_>>()
        );
        for row in rows {
            let (table, key, value) = put(&row);
            let stored = open_envelope(TENANT, table, &key, &value).unwrap();
            let back = Row::decode(table, stored.version, &key, &stored.payload).unwrap();
            assert_eq!(put(&back).2, value, "{}", table.name);
            assert!(Row::decode(table, 2, &key, &stored.payload).is_err());
        }
    }

    #[test]
    fn an_intent_takes_at_most_200_bytes() {
        for row in rows() {
            if let Row::IntentRow(_, row) = row {
                assert!(codec::encode(&row).len() <= 200);
            }
        }
    }
}
