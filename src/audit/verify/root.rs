//! The Merkle tree hash as RFC 6962, section 2.1 defines it.

use sha2::{Digest, Sha256};

/// The hash of a leaf: SHA-256(0x00 ‖ its bytes).
pub fn leaf_hash(leaf: &[u8]) -> [u8; 32] {
    Sha256::new_with_prefix([0x00])
        .chain_update(leaf)
        .finalize()
        .into()
}

/// MTH over leaves given by their hashes: of none SHA-256 of nothing, of one itself, of more
/// SHA-256(0x01 ‖ MTH of the first k ‖ MTH of the others), k the largest power of two below n.
pub fn tree_root(leaves: &[[u8; 32]]) -> [u8; 32] {
    match leaves {
        [] => Sha256::digest([]).into(),
        [leaf] => *leaf,
        _ => {
            let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
            Sha256::new_with_prefix([0x01])
                .chain_update(tree_root(left))
                .chain_update(tree_root(right))
                .finalize()
                .into()
        }
    }
}
