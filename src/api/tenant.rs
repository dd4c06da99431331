//! Tenants: creation, and how they are shown.

use serde::Serialize;

use super::json::{self, Fields};
use super::key::CreatedKey;
use super::problem::Problem;
use crate::bounded::BoundedString;
use crate::id::TenantId;
use crate::tenant::key::{IssuedKey, KeySpec, Role};
use crate::tenant::lifecycle::AccountRow;
use crate::tenant::usage::Tier;
use crate::time::Timestamp;

#[derive(Debug)]
pub struct NewTenant {
    pub name: BoundedString<1, 256>,
    pub tier: Tier,
    pub created_by: Option<BoundedString<1, 128>>,
}

impl NewTenant {
    /// Its first keys: one for its pipelines.
    pub fn keys(&self) -> Vec<KeySpec> {
        vec![KeySpec::with_role(self.tier, Role::Ci)]
    }
}

pub fn parse(bytes: &[u8]) -> Result<NewTenant, Problem> {
    json::parse(bytes, |value| {
        let mut fields = Fields::of(value)?;
        let name = fields.required("name", json::string);
        let tier = fields.required("tier", json::string_enum(Tier::ALL, Tier::as_str));
        let created_by = fields.optional("created_by", json::string);
        fields.finish(|| {
            Some(NewTenant {
                name: name?,
                tier: tier?,
                created_by,
            })
        })
    })
}

/// A new tenant with the secrets of its first keys.
#[derive(Debug, Serialize)]
pub struct CreatedTenant {
    tenant_id: TenantId,
    keys: Vec<CreatedKey>,
}

impl CreatedTenant {
    pub fn new(tenant_id: TenantId, granted: &[IssuedKey]) -> Self {
        Self {
            tenant_id,
            keys: granted.iter().map(CreatedKey::from).collect(),
        }
    }
}

/// A tenant in a list.
#[derive(Debug, Serialize)]
pub struct TenantSummary {
    tenant_id: TenantId,
    name: String,
    tier: Tier,
    created_at: Timestamp,
    created_by: Option<String>,
    retention_days: u32,
    log: String,
}

impl TenantSummary {
    pub fn new(tenant_id: TenantId, account: &AccountRow) -> Self {
        Self {
            tenant_id,
            name: account.name.clone(),
            tier: account.tier,
            created_at: account.created_at,
            created_by: account.created_by.clone(),
            retention_days: account.retention_days,
            log: account.log.clone(),
        }
    }
}
