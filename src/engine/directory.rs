//! The key directory: an index over every tenant's keys, built at start and updated before replies.
//!
//! It authenticates and does not authorize: a tenant's commands are checked again against the tenant's
//! own rows, in order. Only operators' keys, which act on other tenants, are checked here alone.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::{PoisonError, RwLock};

use crate::id::{KeyId, TenantId};
use crate::store::{ReadError, Reader};
use crate::tenant::authorization::Caller;
use crate::tenant::key::{KeyHash, KeyRow, Scopes};
use crate::tenant::schema::{API_KEYS, Mutation, Row, RowId};
use crate::time::Timestamp;

/// The owner of an active key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Principal {
    pub tenant: TenantId,
    pub key: KeyId,
    pub scopes: Scopes,
}

impl Principal {
    pub fn caller(&self) -> Caller {
        Caller::Key {
            tenant: self.tenant,
            key: self.key,
        }
    }
}

#[derive(Debug, Default)]
pub struct Directory {
    keys: RwLock<HashMap<KeyHash, (TenantId, KeyRow)>>,
}

impl Directory {
    pub fn load(reader: &Reader) -> Result<Self, ReadError> {
        let mut keys = HashMap::new();
        reader.scan(&API_KEYS, &mut |tenant, key, stored| {
            let row = stored.map(|row| Row::decode(&API_KEYS, row.version, key, &row.payload));
            if let Ok(Ok(Row::KeyRow(hash, row))) = row {
                keys.insert(hash, (tenant, row));
            } else {
                tracing::error!(%tenant, "ignored an unreadable key row");
            }
            ControlFlow::Continue(())
        })?;
        Ok(Self {
            keys: RwLock::new(keys),
        })
    }

    /// The owner of this key, if it is active at `at`.
    pub fn find(&self, hash: KeyHash, at: Timestamp) -> Option<Principal> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        let (tenant, row) = keys.get(&hash).filter(|(_, row)| row.is_valid(at))?;
        Some(Principal {
            tenant: *tenant,
            key: row.key_id,
            scopes: row.scopes,
        })
    }

    /// Applies changed rows of `tenant`, once they are durable.
    pub fn apply(&self, tenant: TenantId, rows: &[Mutation]) {
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        for mutation in rows {
            match mutation {
                Mutation::Put(Row::KeyRow(hash, row)) => {
                    keys.insert(*hash, (tenant, row.clone()));
                }
                Mutation::Delete(RowId::KeyRow(hash)) => {
                    keys.remove(hash);
                }
                Mutation::Put(_) | Mutation::Delete(_) => {}
            }
        }
    }

    /// True if `rows` have anything for [`Self::apply`].
    pub fn has_key_changes(rows: &[Mutation]) -> bool {
        rows.iter().any(|mutation| {
            matches!(
                mutation,
                Mutation::Put(Row::KeyRow(..)) | Mutation::Delete(RowId::KeyRow(..))
            )
        })
    }
}
