//! The Merkle tree hash as RFC 6962, section 2.1, defines it.

use sha2::{Digest, Sha256};

/// SHA-256(0x00 ‖ leaf).
pub fn leaf_hash(leaf: &[u8]) -> [u8; 32] {
    Sha256::new_with_prefix([0x00])
        .chain_update(leaf)
        .finalize()
        .into()
}

/// MTH of n leaves, given by their hashes: SHA-256 of nothing, the leaf itself, or
/// SHA-256(0x01 ‖ MTH of the first k ‖ MTH of the others), k the largest power of two below n.
pub fn tree_root(leaves: &[[u8; 32]]) -> [u8; 32] {
    match leaves {
        [] => Sha256::digest([]).into(),
        [leaf] => *leaf,
        _ => {
            let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
            join(&tree_root(left), &tree_root(right))
        }
    }
}

/// The same over leaves that come one by one: the roots of the full subtrees, each with its number of
/// leaves, the leftmost first.
#[derive(Debug, Default)]
pub struct TreeBuilder(Vec<(u64, [u8; 32])>);

impl TreeBuilder {
    pub fn push(&mut self, leaf: [u8; 32]) {
        let mut new = (1, leaf);
        while let Some((size, left)) = self.0.pop_if(|(size, _)| *size == new.0) {
            new = (size * 2, join(&left, &new.1));
        }
        self.0.push(new);
    }

    /// In leaves.
    pub fn size(&self) -> u64 {
        self.0.iter().map(|(size, _)| size).sum()
    }

    pub fn root(&self) -> [u8; 32] {
        let mut subtrees = self.0.iter().rev().map(|(_, root)| *root);
        match subtrees.next() {
            None => tree_root(&[]),
            Some(last) => subtrees.fold(last, |right, left| join(&left, &right)),
        }
    }
}

fn join(left: &[u8; 32], right: &[u8; 32]) -> [u8; 32] {
    Sha256::new_with_prefix([0x01])
        .chain_update(left)
        .chain_update(right)
        .finalize()
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_by_one_is_the_same_as_all_at_once() {
        let (mut builder, mut leaves) = (TreeBuilder::default(), Vec::new());
        for n in 0..300_u64 {
            assert_eq!(builder.root(), tree_root(&leaves));
            assert_eq!(builder.size(), n);
            let leaf = leaf_hash(&n.to_be_bytes());
            builder.push(leaf);
            leaves.push(leaf);
        }
    }
}
