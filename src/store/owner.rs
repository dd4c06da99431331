//! Who may append a tenant's records.

use crate::id::TenantId;

/// The right to append records of a tenant, until the tenant is claimed again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    tenant: TenantId,
    /// Counted per tenant from 1 for its first claim in this process.
    epoch: u64,
}

impl Owner {
    pub(super) const fn new(tenant: TenantId, epoch: u64) -> Self {
        Self { tenant, epoch }
    }

    /// Of a tenant that was never claimed.
    #[cfg(test)]
    pub(crate) const fn unclaimed(tenant: TenantId) -> Self {
        Self::new(tenant, 0)
    }

    pub const fn tenant(self) -> TenantId {
        self.tenant
    }

    pub(super) const fn epoch(self) -> u64 {
        self.epoch
    }
}
