//! An append-only Merkle tree (RFC 6962, section 2.1), kept as the roots of its full subtrees.

use sha2::{Digest, Sha256};
use thiserror::Error;

/// SHA-256 of a leaf, a node or a whole tree; also a commitment.
pub type Hash = [u8; 32];

#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a tree of {size} leaves has {} full subtrees, not {subtrees}", size.count_ones())]
pub struct TreeError {
    size: u64,
    subtrees: usize,
}

/// As much of the tree as appending and the root need: at most 64 hashes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tree {
    size: u64,
    /// INVARIANT: one root for each bit set in `size`, the largest (leftmost) subtree first.
    range: Vec<Hash>,
}

impl Tree {
    /// The tree with this size and this [`range`](Tree::range). The count must fit the size; only a
    /// comparison of roots shows whether the hashes are right.
    pub fn from_parts(size: u64, range: Vec<Hash>) -> Result<Self, TreeError> {
        if u64::from(size.count_ones()) == range.len() as u64 {
            Ok(Self { size, range })
        } else {
            Err(TreeError {
                size,
                subtrees: range.len(),
            })
        }
    }

    /// Appends a leaf by its hash.
    pub fn push(&mut self, leaf: Hash) {
        // As a carry runs through the low bits of `size + 1`, each full subtree becomes the left half of
        // the next.
        let full = self.size.trailing_ones() as usize;
        let lefts = self.range.split_off(self.range.len() - full);
        self.range.push(
            lefts
                .iter()
                .rfold(leaf, |right, left| node_hash(left, &right)),
        );
        self.size += 1;
    }

    /// In leaves.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The roots of the full subtrees, the largest (leftmost) first: one for each bit set in the size.
    pub fn range(&self) -> &[Hash] {
        &self.range
    }

    /// The Merkle tree hash; without leaves, SHA-256 of nothing.
    pub fn root(&self) -> Hash {
        let smallest_first = self.range.iter().rev().copied();
        smallest_first
            .reduce(|right, left| node_hash(&left, &right))
            .unwrap_or_else(|| Sha256::digest([]).into())
    }
}

/// SHA-256(0x00 ‖ leaf).
pub fn leaf_hash(leaf: &[u8]) -> Hash {
    Sha256::new()
        .chain_update([0x00])
        .chain_update(leaf)
        .finalize()
        .into()
}

/// SHA-256(0x01 ‖ left ‖ right).
fn node_hash(left: &Hash, right: &Hash) -> Hash {
    Sha256::new()
        .chain_update([0x01])
        .chain_update(left)
        .chain_update(right)
        .finalize()
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::verify::tree_root;
    use crate::hex;

    /// The eight leaves and the roots after each that Certificate Transparency's own tests use.
    #[test]
    fn roots_are_those_of_certificate_transparency() {
        let leaves: [&[u8]; 8] = [
            b"",
            b"\x00",
            b"\x10",
            b"\x20\x21",
            b"\x30\x31",
            b"\x40\x41\x42\x43",
            b"\x50\x51\x52\x53\x54\x55\x56\x57",
            b"\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f",
        ];
        let roots = [
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
            "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
            "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
            "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
            "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
        ];
        let hex = |hash: Hash| hex::encode(&hash);
        let mut tree = Tree::default();
        assert_eq!(hex(tree.root()), roots[0]);
        for (leaf, root) in leaves.iter().zip(&roots[1..]) {
            tree.push(leaf_hash(leaf));
            assert_eq!(hex(tree.root()), *root);
        }
    }

    #[test]
    fn every_size_up_to_300_has_the_root_of_the_definition_and_survives_its_parts() {
        let mut tree = Tree::default();
        let mut leaves = Vec::new();
        for number in 0..300_u64 {
            let leaf = leaf_hash(&number.to_le_bytes());
            leaves.push(leaf);
            tree.push(leaf);
            assert_eq!(tree.size(), number + 1);
            assert_eq!(tree.root(), tree_root(&leaves));
            let again = Tree::from_parts(tree.size(), tree.range().to_vec());
            assert_eq!(again.as_ref(), Ok(&tree));
        }
    }

    #[test]
    fn parts_that_do_not_fit_are_no_tree() {
        for (size, subtrees) in [(0, 1), (1, 0), (3, 1), (4, 2), (u64::MAX, 63)] {
            let error = Tree::from_parts(size, vec![[0; 32]; subtrees]);
            assert_eq!(error, Err(TreeError { size, subtrees }));
        }
    }
}
