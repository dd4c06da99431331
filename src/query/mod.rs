//! Reads: what the live state and the store together know about something.
//!
//! Looks at a [`Tenant`](crate::tenant::Tenant) that the engine hands it, and at stored rows through a
//! [`Reader`](crate::store::Reader), which shows what is durable and nothing else. Changes nothing.

pub mod audit;
pub mod intents;
pub mod tenants;

use std::fmt::Display;

use thiserror::Error;

use crate::id::{Sequence, TenantId};
use crate::store::ReadError;

/// Something stored that cannot be shown. Never shown as something else.
#[derive(Debug, Error)]
pub enum QueryError {
    /// The store says so.
    #[error("{0}")]
    Store(#[from] ReadError),
    /// The bytes are as they were written, and mean nothing.
    #[error("the {what} {sequence} of tenant {tenant} is malformed: {why}")]
    Malformed {
        /// What it should be.
        what: &'static str,
        /// Whose.
        tenant: TenantId,
        /// Which.
        sequence: Sequence,
        /// What is wrong with it.
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
