//! The second opinion: checks a log from its bytes and a public key alone.
//!
//! It trusts nothing it reads and shares no proof code with the writer: hashes and roots are
//! computed here anew, from the recursive definition of RFC 6962 instead of a compact range.
#![deny(clippy::indexing_slicing, clippy::panic)]

mod follow;
mod log;
mod parsed;
mod root;

pub use follow::{Follower, Strays};
pub use log::{Broken, Checked, Why, check_log};
pub use parsed::{Mismatch, NotAnEntry, ParsedEntry, Unverified};
pub use root::{leaf_hash, tree_root};
