//! Verifies a tenant's entries one after the other, from its first, over all its logs.
//!
//! A restore from a backup ends a log: the next one begins with a genesis that names the log before
//! it, its size and its root. So a sequence is never signed twice in one log, and no entry between the
//! two logs can be removed unseen.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use thiserror::Error;

use super::log::{ChainError, check_order};
use super::parsed::ParsedEntry;
use super::root::{TreeBuilder, leaf_hash};
use crate::audit::key::PublicKey;

#[derive(Debug, Default)]
pub struct HistoryVerifier {
    last: Option<Last>,
}

/// The last entry, and the log that it is in.
struct Last {
    entry: ParsedEntry,
    /// From the log's genesis.
    key: PublicKey,
    tree: TreeBuilder,
}

impl std::fmt::Debug for Last {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Last({} of {})", self.entry.index, self.entry.log)
    }
}

/// Why an entry cannot follow, among all logs of its tenant.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum HistoryError {
    #[error(transparent)]
    Chain(#[from] ChainError),
    #[error("begins a log, but is not a genesis with a public key")]
    NoGenesis,
    #[error("begins a log, but does not name the log before it with its size and its root")]
    OtherPrior,
}

impl HistoryVerifier {
    /// Verifies the next entry: form, signature by the key of its log's genesis, that none is missing
    /// before it, and that time does not run backwards.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), HistoryError> {
        let entry = ParsedEntry::parse(bytes).map_err(ChainError::from)?;
        let same_log = |last: &Last| last.entry.log == entry.log;
        let index = match &self.last {
            Some(last) if same_log(last) => last.tree.size(),
            Some(_) | None => 0,
        };
        check_order(&entry, index, self.last())?;
        let (key, mut tree) = match self.last.take() {
            Some(last) if same_log(&last) => (last.key, last.tree),
            before => {
                if entry.field("prior") != Some(&prior(before.as_ref())) {
                    return Err(HistoryError::OtherPrior);
                }
                let named = entry.field("public_key").and_then(Value::as_str);
                let key = named.and_then(|text| PublicKey::parse(text).ok());
                let key = key.filter(|_| entry.kind == "genesis");
                (key.ok_or(HistoryError::NoGenesis)?, TreeBuilder::default())
            }
        };
        entry.verify(&key).map_err(ChainError::from)?;
        tree.push(leaf_hash(bytes));
        self.last = Some(Last { entry, key, tree });
        Ok(())
    }

    pub fn last(&self) -> Option<&ParsedEntry> {
        self.last.as_ref().map(|last| &last.entry)
    }

    /// Of the log that the last entry is in.
    pub fn size(&self) -> u64 {
        self.last.as_ref().map_or(0, |last| last.tree.size())
    }

    /// Of the same log.
    pub fn root(&self) -> [u8; 32] {
        let empty = || TreeBuilder::default().root();
        self.last
            .as_ref()
            .map_or_else(empty, |last| last.tree.root())
    }
}

/// The genesis' field about the log before its own.
fn prior(before: Option<&Last>) -> Value {
    before.map_or(Value::Null, |last| {
        json!({
            "log": last.entry.log,
            "size": last.tree.size(),
            "root": STANDARD.encode(last.tree.root()),
        })
    })
}
