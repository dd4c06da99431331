//! A tenant's entries from its founding on, one after the other, over all the logs it has had.
//!
//! A log ends for good when its tenant is restored from a backup: the next one begins with a genesis
//! that names the log before it, its size and its root. So a number that was signed once is never
//! signed again, and nothing between the two can be taken away unseen.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use thiserror::Error;

use super::log::Why;
use super::parsed::ParsedEntry;
use super::root::{Growing, leaf_hash};
use crate::audit::key::PublicKey;

/// What the entries given so far come to.
#[derive(Debug, Default)]
pub struct Follower {
    last: Option<Last>,
}

/// The log that the last entry is in.
struct Last {
    entry: ParsedEntry,
    /// The key that its genesis names.
    key: PublicKey,
    tree: Growing,
}

impl std::fmt::Debug for Last {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Last({} of {})", self.entry.index, self.entry.log)
    }
}

/// An entry that cannot be where it is, among all logs of its tenant.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Strays {
    /// As within one log.
    #[error(transparent)]
    Entry(#[from] Why),
    /// The first entry of a log does not say what a log begins with.
    #[error("it begins a log and is no genesis that names a key")]
    NoGenesis,
    /// A log begins without naming the one before it as it ended.
    #[error("it begins a log and does not name the log before it, its size and its root")]
    OtherPrior,
}

impl Follower {
    /// Takes the next entry: its form and signature, by the key that its log's genesis names, that
    /// nothing is missing before it, and that time does not run backwards.
    pub fn entry(&mut self, bytes: &[u8]) -> Result<(), Strays> {
        let entry = ParsedEntry::parse(bytes).map_err(Why::from)?;
        let begins = self
            .last
            .as_ref()
            .is_none_or(|last| last.entry.log != entry.log);
        let expected = match &self.last {
            Some(last) if !begins => last.tree.size(),
            Some(_) | None => 0,
        };
        if entry.index != expected {
            return Err(Why::OtherIndex(entry.index).into());
        }
        if let Some(Last { entry: last, .. }) = &self.last {
            if entry.tenant != last.tenant || entry.sequence != last.sequence.next() {
                return Err(Why::OtherTenant.into());
            }
            if entry.at < last.at {
                return Err(Why::Earlier.into());
            }
        }
        let (key, mut tree) = match self.last.take() {
            Some(Last { key, tree, .. }) if !begins => (key, tree),
            before => {
                if entry.field("prior") != Some(&prior(before.as_ref())) {
                    return Err(Strays::OtherPrior);
                }
                let named = entry.field("public_key").and_then(Value::as_str);
                let key = named.and_then(|text| PublicKey::parse(text).ok());
                let key = key.filter(|_| entry.kind == "genesis");
                (key.ok_or(Strays::NoGenesis)?, Growing::default())
            }
        };
        entry.verify(&key).map_err(Why::from)?;
        tree.push(leaf_hash(bytes));
        self.last = Some(Last { entry, key, tree });
        Ok(())
    }

    /// The last entry; `None` before the first.
    pub fn last(&self) -> Option<&ParsedEntry> {
        self.last.as_ref().map(|last| &last.entry)
    }

    /// How many entries the log has that the last one is in.
    pub fn size(&self) -> u64 {
        self.last.as_ref().map_or(0, |last| last.tree.size())
    }

    /// The Merkle tree hash over them (RFC 6962).
    pub fn root(&self) -> [u8; 32] {
        let nothing = || Growing::default().root();
        self.last
            .as_ref()
            .map_or_else(nothing, |last| last.tree.root())
    }
}

/// What a log's genesis says of the log before it.
fn prior(before: Option<&Last>) -> Value {
    before.map_or(Value::Null, |last| {
        json!({
            "log": last.entry.log,
            "size": last.tree.size(),
            "root": STANDARD.encode(last.tree.root()),
        })
    })
}
