//! One tenant's log as it grows: the place where facts become entries.

use std::sync::Arc;

use super::entry::{Entry, Place, TooLarge};
use super::fact::Fact;
use super::key::Signer;
use super::opening::Opening;
use super::tree::{Hash, NotATree, Tree};
use crate::id::{DecisionId, Sequence, TenantId};
use crate::stamp::Stamp;

/// The end of a log: all that the next entry depends on.
#[derive(Debug)]
pub struct Log {
    origin: String,
    tenant: TenantId,
    base: Sequence,
    tree: Tree,
    signer: Arc<Signer>,
}

impl Log {
    /// An empty log of this [name](super::origin()), whose first entry will be `base`.
    pub fn begin(origin: String, tenant: TenantId, base: Sequence, signer: Arc<Signer>) -> Self {
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
    ) -> Result<Self, NotATree> {
        Ok(Self {
            origin,
            tenant,
            base,
            tree: Tree::from_parts(size, range)?,
            signer,
        })
    }

    /// Makes `fact` the next entry, and its private parts, if it has any, the entry's opening.
    /// After an error the log is as before.
    ///
    /// # Panics
    ///
    /// If the stamp's sequence is not that of the next entry: the log and the engine then disagree
    /// on what has happened, and only durable state can settle it.
    pub fn append(
        &mut self,
        fact: Fact,
        stamp: &Stamp,
    ) -> Result<(Entry, Option<Opening>), TooLarge> {
        let index = stamp
            .sequence
            .get()
            .checked_sub(self.base.get())
            .filter(|index| *index == self.tree.size())
            .expect("sequences have no holes, and each is one entry");
        let place = Place {
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
        let opening = Opening::of(private, || stamp.derive("opening"));
        let entry = Entry::sign(&place, kind, fields, opening.as_ref(), &self.signer)?;
        self.tree.push(*entry.leaf_hash());
        Ok((entry, opening))
    }

    /// The log's name, in every entry and checkpoint.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The sequence of the entry with index 0.
    pub fn base(&self) -> Sequence {
        self.base
    }

    /// How many entries there are.
    pub fn size(&self) -> u64 {
        self.tree.size()
    }

    /// The Merkle tree hash over all entries (RFC 6962).
    pub fn root(&self) -> Hash {
        self.tree.root()
    }

    /// The roots of the tree's full subtrees, the largest first: with the size, what
    /// [`resume`](Log::resume) needs.
    pub fn range(&self) -> &[Hash] {
        self.tree.range()
    }
}
