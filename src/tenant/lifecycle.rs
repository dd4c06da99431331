//! The founding of a tenant: its account, its log and its first keys, in one record.

use serde::{Deserialize, Serialize};

use super::Tenant;
use super::command::{Change, Command, Plan, Refusal};
use super::facts::{self, EntryType, GenesisKey, PriorLog};
use super::key::{IssuedKey, KeyRow, KeySpec, Scope};
use super::schema::{Eviction, Mutation, Row, TableRow};
use super::usage::Tier;
use crate::audit::{self, Fact};
use crate::bounded::BoundedString;
use crate::id::{Pseudonymizer, Sequence};
use crate::stamp::Stamp;
use crate::store::Load;
use crate::time::Timestamp;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountRow {
    pub name: String,
    pub created_at: Timestamp,
    pub created_by: Option<String>,
    pub tier: Tier,
    pub retention_days: u32,
    /// The name of its audit log: `<service name>/audit/<log id>`.
    pub log: String,
    /// The sequence at which that log began.
    pub log_base: Sequence,
    /// The key of its pseudonyms. In backups, never in an entry, export or answer.
    pub name_secret: [u8; 32],
}

#[derive(Debug)]
pub struct Account {
    pub row: AccountRow,
    pub(crate) pseudonymizer: Pseudonymizer,
}

impl TableRow for AccountRow {
    type Key = ();
    const LOAD: Load = Load::Hot;
    const EXPORT: Option<&'static str> = Some("tenants.ndjson");
    const WEIGHT: usize = 700;
    const EVICTION: Option<Eviction> = None;

    fn absorb(&self, (): &(), tenant: &mut Tenant) -> Option<Self> {
        let account = Account {
            row: self.clone(),
            pseudonymizer: Pseudonymizer::new(&self.name_secret),
        };
        tenant.account.replace(account).map(|account| account.row)
    }

    fn forget((): &(), tenant: &mut Tenant) -> Option<Self> {
        tenant.account.take().map(|account| account.row)
    }
}

/// The name of the log that the command at `at` begins, if it founds or restores a tenant.
pub fn new_log_origin(rows: &[Mutation], at: Sequence) -> Option<&str> {
    rows.iter().find_map(|mutation| match mutation {
        Mutation::Put(Row::AccountRow((), account)) if account.log_base == at => {
            Some(account.log.as_str())
        }
        Mutation::Put(_) | Mutation::Delete(_) => None,
    })
}

#[derive(Debug, Clone)]
pub struct FoundTenant {
    pub name: BoundedString<1, 256>,
    /// Sets how long openings are kept, unless `retention_days` does.
    pub tier: Tier,
    pub retention_days: Option<u32>,
    pub created_by: Option<BoundedString<1, 128>>,
    pub keys: Vec<KeySpec>,
    /// The first part of the log's name.
    pub service: String,
    /// The node's public signing key, base64.
    pub public_key: String,
}

impl Command for FoundTenant {
    type Reply = Vec<IssuedKey>;
    const SCOPE: Scope = Scope::Admin;
    const FOUNDS: bool = true;

    fn apply(self, tenant: &Tenant, stamp: &Stamp) -> Plan<Self::Reply> {
        if tenant.account.is_some() {
            return Err(Refusal::IdempotencyConflict("the tenant exists already").into());
        }
        let account = AccountRow {
            name: self.name.clone().into(),
            created_at: stamp.at,
            created_by: self.created_by.map(String::from),
            tier: self.tier,
            retention_days: self.retention_days.unwrap_or(self.tier.retention_days()),
            log: new_log_name(&self.service, stamp),
            log_base: stamp.sequence,
            name_secret: stamp.derive("names"),
        };
        let issued = self
            .keys
            .into_iter()
            .enumerate()
            .map(|(nth, key)| key.issue(tenant.id, stamp, nth))
            .collect::<Result<Vec<_>, _>>()?;
        let fact = genesis(&account, self.public_key, &issued, None);
        let mut rows = vec![Row::AccountRow((), account).into()];
        let (reply, keys): (Vec<_>, Vec<_>) = issued.into_iter().unzip();
        let hashes = reply.iter().map(|issued: &IssuedKey| issued.hash);
        rows.extend(
            hashes
                .zip(keys)
                .map(|(hash, key)| Row::KeyRow(hash, key).into()),
        );
        Ok(Change { rows, fact, reply })
    }
}

pub(super) fn genesis(
    account: &AccountRow,
    public_key: String,
    keys: &[(IssuedKey, KeyRow)],
    prior: Option<PriorLog>,
) -> Fact {
    let keys = keys.iter().map(|(_, key)| GenesisKey::new(key));
    EntryType::Genesis
        .fact()
        .with(facts::RETENTION_DAYS, account.retention_days)
        .with(facts::PUBLIC_KEY, public_key)
        .with(facts::KEYS, keys.collect::<Vec<_>>())
        .with(facts::PRIOR, prior)
        .text(facts::NAME, account.name.as_str())
        .text(facts::CREATED_BY, account.created_by.as_deref())
}

pub(super) fn new_log_name(service: &str, stamp: &Stamp) -> String {
    let mut id = [0; 16];
    id.copy_from_slice(&stamp.derive("log")[..16]);
    audit::origin(service, &audit::log_id(&id))
}
