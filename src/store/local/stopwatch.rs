//! Monotonic time: durations and deadlines, never dates.

use std::time::Instant;

#[expect(
    clippy::disallowed_methods,
    reason = "the store measures, it does not date"
)]
pub(super) fn now() -> Instant {
    Instant::now()
}
