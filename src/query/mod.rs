//! Queries over the live state and the store.
//!
//! They read a [`Tenant`](crate::tenant::Tenant) that the engine passes in, and durable rows through a
//! [`Reader`](crate::store::Reader). They change nothing.

pub mod audit;
pub mod intents;
pub mod tenants;

use std::fmt::Display;

use thiserror::Error;

use crate::id::{Sequence, TenantId};
use crate::store::ReadError;

#[derive(Debug, Error)]
pub enum QueryError {
    #[error("{0}")]
    Store(#[from] ReadError),
    /// Its checksum is right, but its bytes do not parse.
    #[error("malformed {what} {sequence} of tenant {tenant}: {why}")]
    Malformed {
        what: &'static str,
        tenant: TenantId,
        sequence: Sequence,
        why: String,
    },
}

impl QueryError {
    fn malformed(
        what: &'static str,
        tenant: TenantId,
        sequence: Sequence,
        why: &dyn Display,
    ) -> Self {
        Self::Malformed {
            what,
            tenant,
            sequence,
            why: why.to_string(),
        }
    }
}
