//! The receipt of a command: its audit entry, without the entry's bytes.

use crate::audit::{Entry, Kid};
use crate::id::DecisionId;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receipt {
    pub decision_id: DecisionId,
    pub index: u64,
    pub leaf_hash: [u8; 32],
    pub kid: Kid,
    pub signature: [u8; 64],
}

impl Receipt {
    pub fn new(entry: &Entry, kid: Kid) -> Self {
        Self {
            decision_id: entry.decision_id(),
            index: entry.index(),
            leaf_hash: *entry.leaf_hash(),
            kid,
            signature: *entry.signature(),
        }
    }
}
