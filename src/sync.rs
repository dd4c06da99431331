//! Locks of the standard library, or shuttle's in tests of schedules.

#[cfg(all(test, feature = "shuttle"))]
pub use shuttle::sync::{Condvar, Mutex, MutexGuard, RwLock, atomic};
#[cfg(not(all(test, feature = "shuttle")))]
pub use std::sync::{Condvar, Mutex, MutexGuard, RwLock, atomic};

/// Tries schedules of `race`. `ARF_SCHEDULES` sets how many, `ARF_SEED` which; the seed is printed.
#[cfg(all(test, feature = "shuttle"))]
#[expect(
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "tests are set up by the environment, and print their seed"
)]
pub fn schedules(usually: usize, race: fn()) {
    let number = |name| std::env::var(name).ok()?.parse().ok();
    let seed =
        number("ARF_SEED").unwrap_or_else(|| u64::from_ne_bytes(crate::engine::clock::random()));
    let schedules = number("ARF_SCHEDULES").map_or(usually, |many| many as usize);
    eprintln!("ARF_SEED={seed} ARF_SCHEDULES={schedules}");
    shuttle::check_random_with_seed(race, seed, schedules);
}
