//! Full keys: a tenant and a key in one, as the tables have them. They sort by tenant, then by key.

use crate::id::TenantId;

/// `tenant ‖ key`.
pub fn full_key(tenant: TenantId, key: &[u8]) -> Vec<u8> {
    [tenant.as_bytes(), key].concat()
}

/// A full key's tenant and the rest of it.
pub fn split_key(full_key: &[u8]) -> Option<(TenantId, &[u8])> {
    let (tenant, key) = full_key.split_first_chunk::<16>()?;
    Some((TenantId::from_bytes(*tenant), key))
}

/// The first full key of every tenant after this one; `None` after the last.
pub fn tenant_end(tenant: TenantId) -> Option<Vec<u8>> {
    let next = u128::from_be_bytes(*tenant.as_bytes()).checked_add(1)?;
    Some(next.to_be_bytes().to_vec())
}

/// The key right after this one.
pub fn successor(key: &[u8]) -> Vec<u8> {
    [key, &[0]].concat()
}
