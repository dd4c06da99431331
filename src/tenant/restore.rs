//! Restoring a tenant from a backup: a new audit log, and no valid keys.
//!
//! Entries after the backup are lost here but may be known elsewhere. A log that continued would sign
//! their sequences again; so it ends, and the next begins with a genesis that says how it ended. Keys
//! revoked after the backup would be valid again; so all are revoked.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::Tenant;
use super::command::{Change, Command, Plan, Refusal};
use super::facts::{self, PriorLog};
use super::key::{IssuedKey, KeyRow, KeySpec, Scope};
use super::lifecycle::{AccountRow, genesis, new_log_name};
use super::schema::{Eviction, Mutation, Row, TableRow};
use crate::id::Sequence;
use crate::stamp::Stamp;
use crate::store::Load;

/// An audit log that ended, under the sequence at which it began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FormerLogRow {
    pub log: String,
    pub size: u64,
    /// The Merkle tree hash over its entries.
    pub root: [u8; 32],
}

impl TableRow for FormerLogRow {
    type Key = Sequence;
    const LOAD: Load = Load::Hot;
    const EXPORT: Option<&'static str> = Some("former_logs.ndjson");
    const WEIGHT: usize = 200;
    const EVICTION: Option<Eviction> = None;

    fn absorb(&self, base: &Sequence, tenant: &mut Tenant) -> Option<Self> {
        tenant.former_logs.insert(*base, self.clone())
    }

    fn forget(base: &Sequence, tenant: &mut Tenant) -> Option<Self> {
        tenant.former_logs.remove(base)
    }
}

#[derive(Debug, Clone)]
pub struct Restore {
    pub prior: FormerLogRow,
    pub keep_keys: bool,
    /// A new key, needed where no other is valid.
    pub key: Option<KeySpec>,
    /// The node's public signing key, base64.
    pub public_key: String,
}

impl Command for Restore {
    type Reply = Option<IssuedKey>;
    const SCOPE: Scope = Scope::Admin;

    fn apply(self, tenant: &Tenant, stamp: &Stamp) -> Plan<Self::Reply> {
        let account = &tenant.account().ok_or(Refusal::NotFound("tenant"))?.row;
        let size = stamp.sequence.get().checked_sub(account.log_base.get());
        if self.prior.log != account.log || Some(self.prior.size) != size {
            return Err(Refusal::invalid("", "the log is not the one that the tenant has").into());
        }
        let service = account.log.split("/audit/").next().unwrap_or_default();
        let next = AccountRow {
            log: new_log_name(service, stamp),
            log_base: stamp.sequence,
            ..account.clone()
        };
        let issued = self.key.map(|key| key.issue(tenant.id, stamp, 0));
        let issued = issued.transpose()?;
        let mut rows: Vec<Mutation> = vec![
            Row::FormerLogRow(account.log_base, self.prior.clone()).into(),
            Row::AccountRow((), next).into(),
        ];
        let active = tenant.keys.iter().filter(|(_, key)| key.is_active);
        let revoked = active.filter(|_| !self.keep_keys).map(|(hash, key)| {
            let key = KeyRow {
                is_active: false,
                ..key.clone()
            };
            Mutation::from(Row::KeyRow(hash, key))
        });
        rows.extend(revoked);
        let prior = PriorLog {
            log: self.prior.log,
            size: self.prior.size,
            root: STANDARD.encode(self.prior.root),
        };
        let fact = genesis(account, self.public_key, issued.as_slice(), Some(prior))
            .with(facts::KEYS_REVOKED, rows.len() as u64 - 2);
        let reply = issued.map(|(issued, key)| {
            rows.push(Row::KeyRow(issued.hash, key).into());
            issued
        });
        Ok(Change { rows, fact, reply })
    }
}
