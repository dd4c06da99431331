//! Verifies one log, first entry to last.

use thiserror::Error;

use super::parsed::{EntryError, ParsedEntry, SignatureError};
use super::root::{leaf_hash, tree_root};
use crate::audit::key::PublicKey;

/// Of a valid log. Comparing it with a checkpoint shows whether entries are missing at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TreeHead {
    pub size: u64,
    /// The Merkle tree hash (RFC 6962).
    pub root: [u8; 32],
}

/// The first invalid entry of a log.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("entry {index}: {error}")]
pub struct LogError {
    /// Among the entries given, from 0.
    pub index: u64,
    pub error: ChainError,
}

/// Why an entry cannot follow the one before it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ChainError {
    #[error(transparent)]
    Entry(#[from] EntryError),
    #[error(transparent)]
    Signature(#[from] SignatureError),
    #[error("belongs to the log `{0}`")]
    OtherLog(String),
    /// Entries are missing, duplicate or out of order.
    #[error("has the index {0}")]
    OtherIndex(u64),
    /// Also where the log began at another sequence.
    #[error("tenant or sequence does not follow the entry before it")]
    OtherTenant,
    #[error("time is before that of the entry before it")]
    Earlier,
}

/// Verifies all entries of the log `origin`, in order from the first: form and signature, that none is
/// missing, of another log or out of order, and that time never runs backwards.
pub fn verify_log(
    entries: impl IntoIterator<Item = impl AsRef<[u8]>>,
    origin: &str,
    key: &PublicKey,
) -> Result<TreeHead, LogError> {
    let mut leaves = Vec::new();
    let mut previous = None;
    for (entry, index) in entries.into_iter().zip(0..) {
        let bytes = entry.as_ref();
        let verify = || {
            let entry = ParsedEntry::parse(bytes)?;
            if entry.log != origin {
                return Err(ChainError::OtherLog(entry.log));
            }
            check_order(&entry, index, previous.as_ref())?;
            entry.verify(key)?;
            Ok(entry)
        };
        let entry = verify().map_err(|error| LogError { index, error })?;
        leaves.push(leaf_hash(bytes));
        previous = Some(entry);
    }
    Ok(TreeHead {
        size: leaves.len() as u64,
        root: tree_root(&leaves),
    })
}

/// Checks that `entry` has this index and follows the one before it.
pub(super) fn check_order(
    entry: &ParsedEntry,
    index: u64,
    previous: Option<&ParsedEntry>,
) -> Result<(), ChainError> {
    if entry.index != index {
        return Err(ChainError::OtherIndex(entry.index));
    }
    let Some(previous) = previous else {
        return Ok(());
    };
    if entry.tenant != previous.tenant || entry.sequence != previous.sequence.next() {
        return Err(ChainError::OtherTenant);
    }
    if entry.at < previous.at {
        return Err(ChainError::Earlier);
    }
    Ok(())
}
