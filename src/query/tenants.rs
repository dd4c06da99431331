//! The tenants of the node.

use std::fmt::Display;
use std::ops::ControlFlow;

use super::QueryError;
use crate::id::{Sequence, TenantId};
use crate::store::{Reader, StoredRow};
use crate::tenant::lifecycle::AccountRow;
use crate::tenant::schema::{Row, TENANTS};

/// A page of tenants, and the tenant at which the next page begins.
pub type TenantPage = (Vec<(TenantId, AccountRow)>, Option<TenantId>);

/// At most `limit` tenants from `from` on, in the order of their ids.
pub fn list(reader: &Reader, from: TenantId, limit: usize) -> Result<TenantPage, QueryError> {
    let (mut found, mut next) = (Vec::new(), None);
    let mut error = None;
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
                error = Some(why);
                ControlFlow::Break(())
            }
        }
    })?;
    error.map_or(Ok((found, next)), Err)
}

pub fn get(reader: &Reader, tenant: TenantId) -> Result<Option<AccountRow>, QueryError> {
    let stored = reader.get(tenant, &TENANTS, &[])?;
    stored.map(|stored| account(tenant, &stored)).transpose()
}

fn account(tenant: TenantId, stored: &StoredRow) -> Result<AccountRow, QueryError> {
    let malformed =
        |why: &dyn Display| QueryError::malformed("account", tenant, Sequence::FIRST, why);
    match Row::decode(&TENANTS, stored.version, &[], &stored.payload) {
        Ok(Row::AccountRow((), account)) => Ok(account),
        Ok(_) => Err(malformed(&"not an account row")),
        Err(why) => Err(malformed(&why)),
    }
}
