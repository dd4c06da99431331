//! Every tenant of the node, for its operators.

use std::ops::ControlFlow;

use crate::id::TenantId;
use crate::store::{ReadError, Reader};
use crate::tenant::lifecycle::AccountRow;
use crate::tenant::schema::{Row, TENANTS};

/// The tenants after `after`, at most `limit`, in the order of their ids, and whether there are more.
pub fn list(
    reader: &Reader,
    after: Option<TenantId>,
    limit: usize,
) -> Result<(Vec<(TenantId, AccountRow)>, bool), ReadError> {
    let (mut found, mut more) = (Vec::new(), false);
    reader.scan(&TENANTS, &mut |tenant, key, stored| {
        if after.is_some_and(|after| tenant <= after) {
            return ControlFlow::Continue(());
        }
        if found.len() >= limit {
            more = true;
            return ControlFlow::Break(());
        }
        let row = stored.map(|row| Row::decode(&TENANTS, row.version, key, &row.payload));
        match row {
            Ok(Ok(Row::AccountRow((), account))) => found.push((tenant, account)),
            Ok(_) | Err(_) => tracing::error!(%tenant, "the tenant's account cannot be read"),
        }
        ControlFlow::Continue(())
    })?;
    Ok((found, more))
}

/// One tenant.
pub fn one(reader: &Reader, tenant: TenantId) -> Result<Option<AccountRow>, ReadError> {
    let stored = reader.get(tenant, &TENANTS, &[])?;
    Ok(stored.and_then(|stored| {
        match Row::decode(&TENANTS, stored.version, &[], &stored.payload) {
            Ok(Row::AccountRow((), account)) => Some(account),
            Ok(_) | Err(_) => None,
        }
    }))
}
