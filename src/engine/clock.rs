//! The clock and the source of randomness: the only place where either enters.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::time::Timestamp;

/// A point in time to measure a duration from.
pub type Stopwatch = Instant;

/// The wall clock.
#[expect(clippy::disallowed_methods, reason = "the one place where time enters")]
pub fn now() -> Timestamp {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

/// A monotonic clock; unlike [`now`] it never goes back.
#[expect(clippy::disallowed_methods, reason = "the one place where time enters")]
pub fn stopwatch() -> Stopwatch {
    Instant::now()
}

/// Random bytes from the operating system. Without them nothing can be signed or kept secret, so the
/// process panics.
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
    bytes
}
