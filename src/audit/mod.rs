//! The audit log of one tenant: an RFC 6962 Merkle tree over signed entries, in memory.
//!
//! A command states a [`Fact`]; [`Log::append`] numbers it, commits to its private parts, writes it
//! as canonical JSON (RFC 8785), signs it (Ed25519, RFC 8032) and appends it to the tree. The results
//! are the [`Entry`], whose exact bytes are stored, hashed and served, and the [`Opening`], which has
//! the private parts and can be erased without touching the tree.
//!
//! Promises:
//! - An entry verifies for ever, from its bytes, its log's name and a public key alone.
//! - An append that fails has changed nothing.
//! - The commitments of an erased opening cannot be searched for their text: their salts come from 32
//!   bytes that were only in the opening.
//! - [`verify`] shares no code with [`Tree`]: it sees a mistake in the other.
//!
//! Must not know: the time, randomness, disks, what a fact means, any type of `decide` or `tenant`.

mod canonical;
mod commitment;
mod entry;
mod fact;
mod key;
mod log;
mod opening;
mod origin;
mod tree;
pub mod verify;

#[cfg(test)]
mod tests;

pub use commitment::{Salts, commitment};
pub use entry::{Entry, EntrySizeError, MAX_ENTRY_BYTES};
pub use fact::Fact;
pub use key::{Kid, PublicKey, PublicKeyError, Signer};
pub use log::Log;
pub use opening::{Opening, OpeningError};
pub use origin::{log_id, origin};
pub use tree::{Hash, Tree, TreeError, leaf_hash};
