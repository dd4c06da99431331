//! Whose key is it? A read index over every tenant's keys, made at start and kept up before answers.
//!
//! It opens doors, it does not judge: a tenant's own commands are checked again against the tenant's
//! own rows, in order. Only operators' keys, which act on other tenants, are judged here alone.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::{PoisonError, RwLock};

use crate::id::{KeyId, TenantId};
use crate::store::{ReadError, Reader};
use crate::tenant::command::Caller;
use crate::tenant::key::{KeyHash, KeyRow, Scopes};
use crate::tenant::schema::{API_KEYS, Mutation, Row, RowId};
use crate::time::Timestamp;

/// What a good key opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Principal {
    /// The tenant whose key it is.
    pub tenant: TenantId,
    /// The key.
    pub key: KeyId,
    /// What it may do.
    pub scopes: Scopes,
}

impl Principal {
    /// The holder as a giver of commands.
    pub fn caller(&self) -> Caller {
        Caller::Key {
            tenant: self.tenant,
            key: self.key,
        }
    }
}

/// The index.
#[derive(Debug, Default)]
pub struct Directory {
    keys: RwLock<HashMap<KeyHash, (TenantId, KeyRow)>>,
}

impl Directory {
    /// Reads the keys of every tenant.
    pub fn load(reader: &Reader) -> Result<Self, ReadError> {
        let mut keys = HashMap::new();
        reader.scan(&API_KEYS, &mut |tenant, key, stored| {
            let row = stored.map(|row| Row::decode(&API_KEYS, row.version, key, &row.payload));
            if let Ok(Ok(Row::KeyRow(hash, row))) = row {
                keys.insert(hash, (tenant, row));
            } else {
                tracing::error!(%tenant, "a key cannot be read and opens nothing");
            }
            ControlFlow::Continue(())
        })?;
        Ok(Self {
            keys: RwLock::new(keys),
        })
    }

    /// Whose key this is, if it is good at `at`.
    pub fn find(&self, hash: KeyHash, at: Timestamp) -> Option<Principal> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        let (tenant, row) = keys.get(&hash).filter(|(_, row)| row.is_good(at))?;
        Some(Principal {
            tenant: *tenant,
            key: row.key_id,
            scopes: row.scopes,
        })
    }

    /// Takes in changed rows of `tenant`, once they are durable.
    pub fn fold(&self, tenant: TenantId, rows: &[Mutation]) {
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        for edit in rows {
            match edit {
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

    /// True if `rows` hold anything for [`Self::fold`].
    pub fn concerns(rows: &[Mutation]) -> bool {
        rows.iter().any(|edit| {
            matches!(
                edit,
                Mutation::Put(Row::KeyRow(..)) | Mutation::Delete(RowId::KeyRow(..))
            )
        })
    }
}
