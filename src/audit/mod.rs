//! The audit log of one tenant: an RFC 6962 Merkle tree over signed entries, in memory.
//!
//! A command states a [`Fact`]; [`Log::append`] numbers it, commits to its private parts, writes it
//! as canonical JSON (RFC 8785), signs it (Ed25519, RFC 8032) and puts it into the tree. Out come
//! the [`Entry`], whose exact bytes are stored, hashed and served, and the [`Opening`], which holds
//! the private parts and can be erased without touching the tree.
//!
//! Promises:
//! - An entry once made verifies for ever, from its bytes, its log's name and a public key alone.
//! - An append that fails has changed nothing.
//! - An erased opening leaves commitments nobody can search for their text: their salts come from
//!   32 bytes that stood only in the opening.
//! - [`verify`] shares no code with [`Tree`]: a mistake in one is seen by the other.
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
pub use entry::{Entry, MAX_ENTRY_BYTES, TooLarge};
pub use fact::Fact;
pub use key::{Kid, NotAKey, PublicKey, Signer};
pub use log::Log;
pub use opening::{NotAnOpening, Opening};
pub use origin::{log_id, origin};
pub use tree::{Hash, NotATree, Tree, leaf_hash};
