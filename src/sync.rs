//! Locks of what threads race for: the standard library's, or, where schedules are tried, shuttle's.

#[cfg(all(test, feature = "shuttle"))]
pub use shuttle::sync::{Condvar, Mutex, MutexGuard, RwLock, atomic};
#[cfg(not(all(test, feature = "shuttle")))]
pub use std::sync::{Condvar, Mutex, MutexGuard, RwLock, atomic};
