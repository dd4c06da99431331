//! Which tenants are in memory: single-flight activation, passivation by idle time and by memory.
//!
//! Every message carries a [`Lease`] until it was handled. Only an actor without leases is evicted:
//! its address is dropped, which ends it, and no message can be on its way to it. A tenant is loaded
//! again only after everything that its last incarnation appended is durable.
//!
//! Plain types: creating and addressing an actor is up to the caller.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use actix::Addr;
use futures_util::FutureExt;
use futures_util::future::Shared;
use tokio::sync::{Notify, oneshot};

use super::clock;
use super::error::Unavailable;
use super::tenant::{ActorStatus, TenantActor};
use crate::id::TenantId;
use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::sync::{Mutex, MutexGuard};

pub trait Address: Clone {
    /// False once the actor has ended.
    fn is_connected(&self) -> bool;
}

impl Address for Addr<TenantActor> {
    fn is_connected(&self) -> bool {
        self.connected()
    }
}

type Activation = Shared<oneshot::Receiver<Result<(), Unavailable>>>;

/// The tenants in memory.
#[derive(Debug)]
pub struct Registry<A = Addr<TenantActor>> {
    state: Arc<Mutex<State<A>>>,
    /// Memory that all of them may take, bytes.
    bytes: usize,
    /// Notified when enough was loaded that the limit may be exceeded.
    pressure: Arc<Notify>,
}

impl<A> Clone for Registry<A> {
    fn clone(&self) -> Self {
        Self {
            state: self.state.clone(),
            bytes: self.bytes,
            pressure: self.pressure.clone(),
        }
    }
}

#[derive(Debug)]
struct State<A> {
    entries: HashMap<TenantId, Entry<A>>,
    generation: u64,
    /// Bytes loaded since the last [`Registry::evict`].
    loaded: usize,
}

#[derive(Debug)]
enum Entry<A> {
    Loading(Activation),
    Active(Active<A>),
    /// Evicted or discarded; its last record must be durable or lost before the tenant is loaded again.
    Draining(Draining),
}

#[derive(Debug)]
struct Active<A> {
    address: A,
    generation: u64,
    leases: Arc<AtomicUsize>,
    status: Arc<ActorStatus>,
    used: Instant,
}

#[derive(Debug)]
struct Draining {
    /// A discarded actor may still have some: messages in its mailbox, or the one it was handling.
    leases: Arc<AtomicUsize>,
    status: Arc<ActorStatus>,
}

impl Draining {
    /// True if every record that was appended is durable or lost. Polls the future itself, because a
    /// caller that was cancelled does not.
    fn is_drained(&self) -> bool {
        self.leases.load(Ordering::Acquire) == 0
            && self.status.last_commit().now_or_never().is_some()
    }
}

/// The order to load a tenant: after the commits of `after`; the result goes to `done`.
#[derive(Debug)]
pub struct LoadRequest {
    /// The last incarnation. Its last commit has to be read on the thread that it lives on: only there
    /// can no message of it be in progress.
    pub after: Option<Arc<ActorStatus>>,
    /// If it is dropped unused, the next lease requests the load again.
    pub done: oneshot::Sender<Result<(), Unavailable>>,
}

enum LeaseAttempt<A> {
    Active(Lease<A>),
    /// Wait, then try again.
    Loading(Activation),
    /// Request the load, wait, then try again.
    Load(LoadRequest, Activation),
}

/// The use of an actor, which is not evicted while there is one.
#[derive(Debug)]
pub struct Lease<A = Addr<TenantActor>> {
    pub address: A,
    /// Which incarnation of the tenant it is.
    pub generation: u64,
    leases: Arc<AtomicUsize>,
}

impl<A> Drop for Lease<A> {
    fn drop(&mut self) {
        self.leases.fetch_sub(1, Ordering::Release);
    }
}

/// An eviction for memory goes below the limit by one part in this many, so that not every further
/// load scans all tenants.
const SLACK: usize = 8;

impl<A: Address> Registry<A> {
    /// An empty registry; `bytes` is the memory that all tenants may take.
    pub fn new(bytes: usize) -> Self {
        let state = State {
            entries: HashMap::new(),
            generation: 0,
            loaded: 0,
        };
        Self {
            state: Arc::new(Mutex::new(state)),
            bytes,
            pressure: Arc::default(),
        }
    }

    /// The actor of `tenant`. While it is not in memory the first caller calls `load`, once; `load`
    /// returns false if no thread can take it.
    pub async fn lease(
        &self,
        tenant: TenantId,
        load: impl Fn(LoadRequest) -> bool,
    ) -> Result<Lease<A>, Unavailable> {
        loop {
            let activation = match self.try_lease(tenant) {
                LeaseAttempt::Active(lease) => return Ok(lease),
                LeaseAttempt::Loading(activation) => activation,
                LeaseAttempt::Load(request, activation) => {
                    if !load(request) {
                        return Err(Unavailable::ShuttingDown);
                    }
                    activation
                }
            };
            let loaded = activation.await;
            loaded.unwrap_or(Err(Unavailable::ShuttingDown))?;
        }
    }

    fn try_lease(&self, tenant: TenantId) -> LeaseAttempt<A> {
        let mut state = self.lock();
        let after = match state.entries.get_mut(&tenant) {
            Some(Entry::Active(active)) if active.address.is_connected() => {
                active.used = clock::stopwatch();
                active.leases.fetch_add(1, Ordering::Acquire);
                return LeaseAttempt::Active(Lease {
                    address: active.address.clone(),
                    generation: active.generation,
                    leases: active.leases.clone(),
                });
            }
            Some(Entry::Loading(activation)) if !matches!(activation.peek(), Some(Err(_))) => {
                return LeaseAttempt::Loading(activation.clone());
            }
            Some(Entry::Draining(draining)) => Some(draining.status.clone()),
            Some(Entry::Active(ended)) => Some(ended.status.clone()),
            // The loader was dropped without a result: this caller requests the load again.
            Some(Entry::Loading(_)) | None => None,
        };
        let (done, receiver) = oneshot::channel();
        let activation = receiver.shared();
        let loading = Entry::Loading(activation.clone());
        state.entries.insert(tenant, loading);
        LeaseAttempt::Load(LoadRequest { after, done }, activation)
    }

    /// The load of `tenant` succeeded.
    pub fn finish_load(&self, tenant: TenantId, address: A, status: Arc<ActorStatus>) {
        let mut state = self.lock();
        state.generation += 1;
        let weight = status.weight.load(Ordering::Relaxed);
        state.loaded = state.loaded.saturating_add(weight);
        if state.loaded > self.bytes / SLACK {
            self.pressure.notify_one();
        }
        let active = Active {
            address,
            generation: state.generation,
            leases: Arc::default(),
            status,
            used: clock::stopwatch(),
        };
        state.entries.insert(tenant, Entry::Active(active));
    }

    /// The load of `tenant` failed: the next lease tries again.
    pub fn fail_load(&self, tenant: TenantId) {
        self.lock().entries.remove(&tenant);
    }

    /// Stops the use of this incarnation: it panicked, or a record that it appended was lost.
    pub fn discard(&self, tenant: TenantId, generation: u64) {
        let mut state = self.lock();
        if let Some(Entry::Active(active)) = state.entries.get(&tenant)
            && active.generation == generation
        {
            active.status.discard();
            let draining = Draining {
                leases: active.leases.clone(),
                status: active.status.clone(),
            };
            state.entries.insert(tenant, Entry::Draining(draining));
        }
    }

    /// Waits until enough was loaded that tenants may have to be evicted.
    pub async fn memory_pressure(&self) {
        self.pressure.notified().await;
    }

    /// Evicts tenants without leases that were idle for `idle`, and, above the memory limit, more of
    /// them, least recently used first. Returns how many.
    pub fn evict(&self, idle: Duration) -> usize {
        let mut state = self.lock();
        let now = clock::stopwatch();
        state.loaded = 0;
        state.entries.retain(|_, entry| match entry {
            Entry::Draining(draining) => !draining.is_drained(),
            Entry::Loading(_) | Entry::Active(_) => true,
        });
        let mut candidates = Vec::new();
        let mut total = 0_usize;
        for (&tenant, entry) in &state.entries {
            let Entry::Active(active) = entry else {
                continue;
            };
            let weight = active.status.weight.load(Ordering::Relaxed);
            total = total.saturating_add(weight);
            if active.leases.load(Ordering::Acquire) == 0 {
                candidates.push((active.used, weight, tenant));
            }
        }
        let bytes = match total > self.bytes {
            true => self.bytes - self.bytes / SLACK,
            false => self.bytes,
        };
        candidates.sort_unstable();
        let mut evicted = 0;
        for (used, weight, tenant) in candidates {
            if now.duration_since(used) < idle && total <= bytes {
                break;
            }
            if let Some(Entry::Active(active)) = state.entries.remove(&tenant) {
                let draining = Draining {
                    leases: active.leases,
                    status: active.status,
                };
                if !draining.is_drained() {
                    state.entries.insert(tenant, Entry::Draining(draining));
                }
                total = total.saturating_sub(weight);
                evicted += 1;
            }
        }
        let room = 2 * state.entries.len();
        state.entries.shrink_to(room);
        evicted
    }

    /// Tenants in memory.
    pub fn active(&self) -> usize {
        let state = self.lock();
        state
            .entries
            .values()
            .filter(|entry| matches!(entry, Entry::Active(_)))
            .count()
    }

    fn lock(&self) -> MutexGuard<'_, State<A>> {
        // The state is whole at every unlock: a panic elsewhere cannot have torn it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
