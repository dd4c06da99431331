//! How long something takes, and when something is next to be done.

use std::time::Instant;

/// A point to measure from.
#[expect(
    clippy::disallowed_methods,
    reason = "the store measures, it does not date"
)]
pub(super) fn now() -> Instant {
    Instant::now()
}
