//! The threads that actors run on: those that serve HTTP, so a request and its tenant may share one.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use crate::id::TenantId;

type Job = Box<dyn FnOnce() -> Pin<Box<dyn Future<Output = ()>>> + Send>;

#[derive(Debug, Clone, Default)]
pub struct Threads {
    senders: Arc<Mutex<Vec<UnboundedSender<Job>>>>,
}

/// New tenants are sent to this thread until the guard is dropped.
#[derive(Debug)]
pub struct ThreadGuard {
    threads: Threads,
    sender: UnboundedSender<Job>,
}

impl Drop for ThreadGuard {
    fn drop(&mut self) {
        self.threads
            .lock()
            .retain(|sender| !sender.same_channel(&self.sender));
    }
}

impl Threads {
    /// Lets actors run on the calling thread, for as long as its event loop runs.
    ///
    /// # Panics
    ///
    /// If the thread has no event loop for futures that are not `Send`, as actix threads have.
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
        let senders = self.lock();
        let spread = crc32fast::hash(tenant.as_bytes()) as usize;
        let sender = senders.get(spread % senders.len().max(1));
        sender.is_some_and(|sender| sender.send(Box::new(move || Box::pin(job()))).is_ok())
    }

    fn lock(&self) -> MutexGuard<'_, Vec<UnboundedSender<Job>>> {
        self.senders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
