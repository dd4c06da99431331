//! The write-ahead log: what is in it happened, and nothing else did.
//!
//! A [`frame`] is one write and one sync of it; it continues the one before it. Frames lie in a
//! [`segment`] until the next one does not fit. [`commit`] is the only thread that writes them,
//! [`scan`] reads them all at a start, and [`frames`] reads those between two places, of the log or
//! of a snapshot, without holding more of a file than a piece.
//!
//! **Promises**: a record that was answered is read back by every start, in its place, or the start
//! refuses. Only the last frame may be cut short.
//!
//! **Never knows** that there are tables. Of snapshots it knows what they say of the log before them.

pub mod commit;
pub mod frame;
pub mod frames;
pub mod inbox;
pub mod owners;
pub mod scan;
pub mod segment;
