//! A whole log, first entry to last.

use thiserror::Error;

use super::parsed::{NotAnEntry, ParsedEntry, Unverified};
use super::root::{leaf_hash, tree_root};
use crate::audit::key::PublicKey;

/// What a sound log comes to; compare it with a checkpoint to know that nothing is missing at its
/// end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checked {
    /// How many entries there are.
    pub size: u64,
    /// The Merkle tree hash over them (RFC 6962).
    pub root: [u8; 32],
}

/// The first entry of a log that cannot be where it is.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("entry {index}: {why}")]
pub struct Broken {
    /// Its place among those given, from 0.
    pub index: u64,
    /// What is wrong with it.
    pub why: Why,
}

/// What can be wrong with an entry of a log.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Why {
    /// Its bytes are none.
    #[error(transparent)]
    NotAnEntry(#[from] NotAnEntry),
    /// Not signed, or not by the key that was given.
    #[error(transparent)]
    Unverified(#[from] Unverified),
    /// It is of another log.
    #[error("it is of the log `{0}`")]
    OtherLog(String),
    /// Entries are missing, doubled or exchanged.
    #[error("it says it is entry {0}")]
    OtherIndex(u64),
    /// Tenant, or the sequence at which the log began, is not that of the entries before.
    #[error("its tenant or its sequence does not follow the entries before it")]
    OtherTenant,
    /// It is older than the entry before it.
    #[error("its time is before that of the entry before it")]
    Earlier,
}

/// Checks all entries of the log named `origin`, in order from the first: their form and
/// signatures, that none is missing, foreign or out of place, and that time never runs backwards.
pub fn check_log(
    entries: impl IntoIterator<Item = impl AsRef<[u8]>>,
    origin: &str,
    key: &PublicKey,
) -> Result<Checked, Broken> {
    let mut leaves = Vec::new();
    let mut previous = None;
    for (entry, index) in entries.into_iter().zip(0..) {
        let bytes = entry.as_ref();
        let entry = check_entry(bytes, index, previous.as_ref(), origin, key)
            .map_err(|why| Broken { index, why })?;
        leaves.push(leaf_hash(bytes));
        previous = Some(entry);
    }
    Ok(Checked {
        size: leaves.len() as u64,
        root: tree_root(&leaves),
    })
}

fn check_entry(
    bytes: &[u8],
    index: u64,
    previous: Option<&ParsedEntry>,
    origin: &str,
    key: &PublicKey,
) -> Result<ParsedEntry, Why> {
    let entry = ParsedEntry::parse(bytes)?;
    if entry.log != origin {
        return Err(Why::OtherLog(entry.log));
    }
    if entry.index != index {
        return Err(Why::OtherIndex(entry.index));
    }
    if let Some(previous) = previous {
        if entry.tenant != previous.tenant || entry.sequence != previous.sequence.next() {
            return Err(Why::OtherTenant);
        }
        if entry.at < previous.at {
            return Err(Why::Earlier);
        }
    }
    entry.verify(key)?;
    Ok(entry)
}
