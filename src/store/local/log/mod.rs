//! The write-ahead log: the truth. What is in it happened, and nothing else did.
//!
//! A [`frame`] is one write and one sync of it; it continues the one before it. Frames lie in a
//! [`segment`] until the next one does not fit. [`commit`] is the only thread that writes them,
//! [`scan`] reads them all at a start, and [`frames`] reads those between two places, of the log or
//! of a snapshot, without holding more of a file than a piece.
//!
//! Records wait in the [`inbox`]; [`owners`] decides whose are accepted.
//!
//! **Promises**: an acknowledged record is read back by every start, in its place, or the start
//! refuses. Only the last frame may be torn.
//!
//! **Does not know** that there are tables. Of snapshots it knows what they cover.

pub mod commit;
pub mod frame;
pub mod frames;
pub mod inbox;
pub mod owners;
pub mod scan;
pub mod segment;
