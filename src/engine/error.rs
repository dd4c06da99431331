//! Why a request to the engine failed.

use thiserror::Error;

use crate::tenant::command::Refusal;

/// Why a valid request cannot be answered now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Unavailable {
    #[error("too many requests of the tenant are in flight")]
    TenantBusy,
    #[error("too many requests are in flight")]
    Overloaded,
    #[error("the deadline passed before the request started; nothing was changed")]
    DeadlineExceeded,
    #[error("the node is read-only: the disk is full or failed; reads still work")]
    StorageFull,
    #[error("the tenant's data is damaged; ask an operator to run `arf doctor`")]
    TenantCorrupt,
    #[error("the tenant is being reloaded; the request may or may not have been applied")]
    TenantReloading,
    #[error("the tables are being rebuilt and do not have this row yet")]
    Rebuilding,
    #[error("the server is shutting down")]
    ShuttingDown,
}

/// Why a request failed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum EngineError {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}
