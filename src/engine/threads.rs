//! The threads that actors live on: those that serve HTTP, so a request and its tenant share one.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use crate::id::TenantId;

type Job = Box<dyn FnOnce() -> Pin<Box<dyn Future<Output = ()>>> + Send>;

/// The threads that have joined.
#[derive(Debug, Clone, Default)]
pub struct Threads {
    seats: Arc<Mutex<Vec<UnboundedSender<Job>>>>,
}

/// A thread's place among them; new tenants are sent to it until it is dropped.
#[derive(Debug)]
pub struct ThreadGuard {
    threads: Threads,
    sender: UnboundedSender<Job>,
}

impl Drop for ThreadGuard {
    fn drop(&mut self) {
        self.threads
            .lock()
            .retain(|seat| !seat.same_channel(&self.sender));
    }
}

impl Threads {
    /// Lets actors live on the calling thread, for as long as its event loop runs.
    ///
    /// # Panics
    ///
    /// If the thread runs no event loop for futures that stay on it, as actix's threads do.
    pub fn join(&self) -> ThreadGuard {
        let (sender, mut jobs) = unbounded_channel::<Job>();
        actix::spawn(async move {
            while let Some(job) = jobs.recv().await {
                actix::spawn(job());
            }
        });
        self.lock().push(sender.clone());
        ThreadGuard {
            threads: self.clone(),
            sender,
        }
    }

    /// Runs `job` on the thread of `tenant`. False if that thread, or every one, has ended.
    pub fn run<F, T>(&self, tenant: TenantId, job: F) -> bool
    where
        F: FnOnce() -> T + Send + 'static,
        T: Future<Output = ()> + 'static,
    {
        let seats = self.lock();
        let spread = crc32fast::hash(tenant.as_bytes()) as usize;
        let seat = seats.get(spread % seats.len().max(1));
        seat.is_some_and(|seat| seat.send(Box::new(move || Box::pin(job()))).is_ok())
    }

    fn lock(&self) -> MutexGuard<'_, Vec<UnboundedSender<Job>>> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
