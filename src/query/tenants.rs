//! Every tenant of the node, for its operators.

use std::fmt::Display;
use std::ops::ControlFlow;

use super::QueryError;
use crate::id::{Sequence, TenantId};
use crate::store::{Reader, Stored};
use crate::tenant::lifecycle::AccountRow;
use crate::tenant::schema::{Row, TENANTS};

/// A page of tenants, and the one that the next page begins with.
pub type Listed = (Vec<(TenantId, AccountRow)>, Option<TenantId>);

/// The tenants from `from` on, at most `limit`, in the order of their ids.
pub fn list(reader: &Reader, from: TenantId, limit: usize) -> Result<Listed, QueryError> {
    let (mut found, mut next) = (Vec::new(), None);
    let mut damaged = None;
    reader.scan(&TENANTS, &mut |tenant, _, stored| {
        if tenant < from {
            return ControlFlow::Continue(());
        }
        if found.len() >= limit {
            next = Some(tenant);
            return ControlFlow::Break(());
        }
        let read = stored.map_err(|why| QueryError::Store(why.into()));
        match read.and_then(|stored| account(tenant, &stored)) {
            Ok(account) => {
                found.push((tenant, account));
                ControlFlow::Continue(())
            }
            Err(why) => {
                damaged = Some(why);
                ControlFlow::Break(())
            }
        }
    })?;
    damaged.map_or(Ok((found, next)), Err)
}

/// One tenant.
pub fn one(reader: &Reader, tenant: TenantId) -> Result<Option<AccountRow>, QueryError> {
    let stored = reader.get(tenant, &TENANTS, &[])?;
    stored.map(|stored| account(tenant, &stored)).transpose()
}

fn account(tenant: TenantId, stored: &Stored) -> Result<AccountRow, QueryError> {
    let malformed =
        |why: &dyn Display| QueryError::malformed("account", tenant, Sequence::FIRST, why);
    match Row::decode(&TENANTS, stored.version, &[], &stored.payload) {
        Ok(Row::AccountRow((), account)) => Ok(account),
        Ok(_) => Err(malformed(&"it is a row of another table")),
        Err(why) => Err(malformed(&why)),
    }
}
