//! The log of one tenant as it grows: turns facts into entries.

use std::sync::Arc;

use super::entry::{Entry, EntryHeader, EntrySizeError};
use super::fact::Fact;
use super::key::Signer;
use super::opening::Opening;
use super::tree::{Hash, Tree, TreeError};
use crate::id::{DecisionId, Sequence, TenantId};
use crate::stamp::Stamp;

/// The state that the next entry depends on.
#[derive(Debug)]
pub struct Log {
    origin: String,
    tenant: TenantId,
    base: Sequence,
    tree: Tree,
    signer: Arc<Signer>,
}

impl Log {
    /// An empty log named `origin`, whose first entry will have the sequence `base`.
    pub fn new(origin: String, tenant: TenantId, base: Sequence, signer: Arc<Signer>) -> Self {
        Self {
            origin,
            tenant,
            base,
            tree: Tree::default(),
            signer,
        }
    }

    /// The log that had this size and this [`range`](Log::range).
    pub fn resume(
        origin: String,
        tenant: TenantId,
        base: Sequence,
        size: u64,
        range: Vec<Hash>,
        signer: Arc<Signer>,
    ) -> Result<Self, TreeError> {
        Ok(Self {
            origin,
            tenant,
            base,
            tree: Tree::from_parts(size, range)?,
            signer,
        })
    }

    /// Appends `fact` as the next entry, with an opening if it has private parts. After an error the log is
    /// as before.
    ///
    /// # Panics
    ///
    /// If the stamp's sequence is not that of the next entry: log and engine disagree, and only a reload
    /// from durable state helps.
    pub fn append(
        &mut self,
        fact: Fact,
        stamp: &Stamp,
    ) -> Result<(Entry, Option<Opening>), EntrySizeError> {
        let index = stamp
            .sequence
            .get()
            .checked_sub(self.base.get())
            .filter(|index| *index == self.tree.size())
            .expect("sequences have no holes, and each is one entry");
        let header = EntryHeader {
            origin: &self.origin,
            index,
            at: stamp.at,
            tenant: self.tenant,
            decision_id: DecisionId::new(&self.origin, stamp.sequence),
            caller: stamp.caller,
        };
        let Fact {
            kind,
            fields,
            private,
        } = fact;
        let opening = Opening::new(private, || stamp.derive("opening"));
        let entry = Entry::sign(&header, kind, fields, opening.as_ref(), &self.signer)?;
        self.tree.push(*entry.leaf_hash());
        Ok((entry, opening))
    }

    /// In every entry and checkpoint.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The sequence of the entry with index 0.
    pub fn base(&self) -> Sequence {
        self.base
    }

    /// In entries.
    pub fn size(&self) -> u64 {
        self.tree.size()
    }

    /// The Merkle tree hash over all entries (RFC 6962).
    pub fn root(&self) -> Hash {
        self.tree.root()
    }

    /// The roots of the tree's full subtrees, the largest first. [`resume`](Log::resume) takes them.
    pub fn range(&self) -> &[Hash] {
        self.tree.range()
    }
}
