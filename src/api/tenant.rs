//! Tenants: what operators found, and what they see.

use serde::Serialize;

use super::json::{self, Fields};
use super::key::Made;
use super::problem::Problem;
use crate::bounded::BoundedString;
use crate::id::TenantId;
use crate::tenant::key::{IssuedKey, KeySpec, Role};
use crate::tenant::lifecycle::AccountRow;
use crate::tenant::usage::Tier;
use crate::time::Timestamp;

/// The body that founds a tenant.
#[derive(Debug)]
pub struct NewTenant {
    /// Its name.
    pub name: BoundedString<1, 256>,
    /// Its tier.
    pub tier: Tier,
    /// By whom.
    pub created_by: Option<BoundedString<1, 128>>,
}

impl NewTenant {
    /// The keys it is founded with: one for its pipelines.
    pub fn keys(&self) -> Vec<KeySpec> {
        vec![KeySpec::with_role(self.tier, Role::Ci)]
    }
}

/// Reads the body that founds a tenant.
pub fn create(bytes: &[u8]) -> Result<NewTenant, Problem> {
    json::parse(bytes, |value| {
        let mut fields = Fields::of(value)?;
        let name = fields.required("name", json::text);
        let tier = fields.required("tier", json::string_enum(Tier::ALL, Tier::as_str));
        let created_by = fields.optional("created_by", json::text);
        fields.finish(|| {
            Some(NewTenant {
                name: name?,
                tier: tier?,
                created_by,
            })
        })
    })
}

/// A tenant that was just founded, with its first keys' secrets.
#[derive(Debug, Serialize)]
pub struct Founded {
    tenant_id: TenantId,
    keys: Vec<Made>,
}

impl Founded {
    /// The answer.
    pub fn new(tenant_id: TenantId, granted: &[IssuedKey]) -> Self {
        Self {
            tenant_id,
            keys: granted.iter().map(Made::from).collect(),
        }
    }
}

/// A tenant as lists show it.
#[derive(Debug, Serialize)]
pub struct Item {
    tenant_id: TenantId,
    name: String,
    tier: Tier,
    created_at: Timestamp,
    created_by: Option<String>,
    retention_days: u32,
    log: String,
}

impl Item {
    /// Of this account.
    pub fn of(tenant_id: TenantId, account: &AccountRow) -> Self {
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
