//! A second implementation: verifies a log from its bytes and a public key alone.
//!
//! It trusts nothing it reads and shares no proof code with the writer: hashes and roots are computed
//! from the recursive definition of RFC 6962 instead of a compact range.
#![deny(clippy::indexing_slicing, clippy::panic)]

mod history;
mod log;
mod parsed;
mod root;

pub use history::{HistoryError, HistoryVerifier};
pub use log::{ChainError, LogError, TreeHead, verify_log};
pub use parsed::{EntryError, OpeningMismatchError, ParsedEntry, SignatureError};
pub use root::{leaf_hash, tree_root};
