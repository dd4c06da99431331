//! Which tenants are in memory, and how one gets there: once, whoever asks at the same time.
//!
//! Every message carries a [`Lease`] until it was handled. Only an actor that nobody leases is
//! retired: its address is dropped, which ends it, and nothing can be on its way to it. A tenant is
//! loaded again only after everything that its last incarnation appended is durable.
//!
//! Plain types: how an actor is made and reached is the caller's.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use actix::Addr;
use futures_util::FutureExt;
use futures_util::future::Shared;
use tokio::sync::{Notify, oneshot};

use super::tenant::{ActorStatus, TenantActor};
use super::{Unavailable, clock};
use crate::id::TenantId;
use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::sync::{Mutex, MutexGuard};

/// What an actor is reached by.
pub trait Address: Clone {
    /// False once the actor has ended.
    fn leads_somewhere(&self) -> bool;
}

impl Address for Addr<TenantActor> {
    fn leads_somewhere(&self) -> bool {
        self.connected()
    }
}

/// An activation that others may wait for.
type Activation = Shared<oneshot::Receiver<Result<(), Unavailable>>>;

/// The tenants in memory.
#[derive(Debug)]
pub struct Registry<A = Addr<TenantActor>> {
    state: Arc<Mutex<State<A>>>,
    /// What all of them may weigh together, bytes.
    bytes: usize,
    /// Told when so much was loaded that they may weigh more.
    full: Arc<Notify>,
}

impl<A> Clone for Registry<A> {
    fn clone(&self) -> Self {
        Self {
            state: self.state.clone(),
            bytes: self.bytes,
            full: self.full.clone(),
        }
    }
}

#[derive(Debug)]
struct State<A> {
    entries: HashMap<TenantId, Entry<A>>,
    generation: u64,
    /// What was loaded since the last [`Registry::retire`], bytes.
    loaded: usize,
}

#[derive(Debug)]
enum Entry<A> {
    /// Somebody is loading it.
    Loading(Activation),
    /// It is there.
    Active(Active<A>),
    /// It went; what it appended last is to be durable before it is loaded again.
    Gone(Gone),
}

#[derive(Debug)]
struct Active<A> {
    address: A,
    generation: u64,
    leases: Arc<AtomicUsize>,
    vitals: Arc<ActorStatus>,
    used: Instant,
}

/// An incarnation that is not used any more.
#[derive(Debug)]
struct Gone {
    /// Of one that was discarded there may be some: messages that lie in its mailbox, or the one that
    /// it was at when it was discarded.
    leases: Arc<AtomicUsize>,
    vitals: Arc<ActorStatus>,
}

impl Gone {
    /// Nothing is left to wait for: what was appended is durable, or lost, and then it is not there to
    /// be loaded. Looks for itself: a caller that left has not.
    fn is_over(&self) -> bool {
        self.leases.load(Ordering::Acquire) == 0 && self.vitals.settled().now_or_never().is_some()
    }
}

/// A tenant that is to be loaded: after `after`, and then `done` is told how it went.
#[derive(Debug)]
pub struct Load {
    /// Its last incarnation. What it appended last is to be asked on the thread that it lives on, where
    /// nothing of it can be under way.
    pub after: Option<Arc<ActorStatus>>,
    /// To tell those who wait. Dropped unused, it leaves the tenant to who looks next.
    pub done: oneshot::Sender<Result<(), Unavailable>>,
}

/// What the registry says of a tenant.
enum Lookup<A> {
    /// Here it is.
    Active(Lease<A>),
    /// Wait, then look again.
    Loading(Activation),
    /// Have it loaded, wait, then look again.
    Load(Load, Activation),
}

/// The use of an actor; it does not rest while there is one.
#[derive(Debug)]
pub struct Lease<A = Addr<TenantActor>> {
    /// The actor.
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

/// Retiring for want of room makes so much more of it, one part in this many, that not every further
/// tenant has all of them looked at.
const SLACK: usize = 8;

impl<A: Address> Registry<A> {
    /// Nobody is in memory; all together may weigh `bytes`.
    pub fn new(bytes: usize) -> Self {
        let state = State {
            entries: HashMap::new(),
            generation: 0,
            loaded: 0,
        };
        Self {
            state: Arc::new(Mutex::new(state)),
            bytes,
            full: Arc::default(),
        }
    }

    /// The actor of `tenant`. Who looks first while it is not there has `load` see to it, once;
    /// `load` says false if that cannot be.
    pub async fn lease(
        &self,
        tenant: TenantId,
        load: impl Fn(Load) -> bool,
    ) -> Result<Lease<A>, Unavailable> {
        loop {
            let activation = match self.look(tenant) {
                Lookup::Active(lease) => return Ok(lease),
                Lookup::Loading(activation) => activation,
                Lookup::Load(order, activation) => {
                    if !load(order) {
                        return Err(Unavailable::ShuttingDown);
                    }
                    activation
                }
            };
            let loaded = activation.await;
            loaded.unwrap_or(Err(Unavailable::ShuttingDown))?;
        }
    }

    fn look(&self, tenant: TenantId) -> Lookup<A> {
        let mut state = self.lock();
        let after = match state.entries.get_mut(&tenant) {
            Some(Entry::Active(active)) if active.address.leads_somewhere() => {
                active.used = clock::stopwatch();
                active.leases.fetch_add(1, Ordering::Acquire);
                return Lookup::Active(Lease {
                    address: active.address.clone(),
                    generation: active.generation,
                    leases: active.leases.clone(),
                });
            }
            Some(Entry::Loading(activation)) if !matches!(activation.peek(), Some(Err(_))) => {
                return Lookup::Loading(activation.clone());
            }
            Some(Entry::Gone(gone)) => Some(gone.vitals.clone()),
            Some(Entry::Active(ended)) => Some(ended.vitals.clone()),
            // A loader that vanished leaves the tenant to who looks next.
            Some(Entry::Loading(_)) | None => None,
        };
        let (done, receiver) = oneshot::channel();
        let activation = receiver.shared();
        let loading = Entry::Loading(activation.clone());
        state.entries.insert(tenant, loading);
        Lookup::Load(Load { after, done }, activation)
    }

    /// The load of `tenant` succeeded.
    pub fn loaded(&self, tenant: TenantId, address: A, vitals: Arc<ActorStatus>) {
        let mut state = self.lock();
        state.generation += 1;
        let weight = vitals.weight.load(Ordering::Relaxed);
        state.loaded = state.loaded.saturating_add(weight);
        if state.loaded > self.bytes / SLACK {
            self.full.notify_one();
        }
        let active = Active {
            address,
            generation: state.generation,
            leases: Arc::default(),
            vitals,
            used: clock::stopwatch(),
        };
        state.entries.insert(tenant, Entry::Active(active));
    }

    /// The load of `tenant` failed: who looks next tries again.
    pub fn failed(&self, tenant: TenantId) {
        self.lock().entries.remove(&tenant);
    }

    /// This incarnation is not to be used any more: it panicked, or what it appended was lost.
    pub fn discard(&self, tenant: TenantId, generation: u64) {
        let mut state = self.lock();
        if let Some(Entry::Active(active)) = state.entries.get(&tenant)
            && active.generation == generation
        {
            active.vitals.discard();
            let gone = Gone {
                leases: active.leases.clone(),
                vitals: active.vitals.clone(),
            };
            state.entries.insert(tenant, Entry::Gone(gone));
        }
    }

    /// Waits until so much was loaded that tenants should be retired for want of room.
    pub async fn full(&self) {
        self.full.notified().await;
    }

    /// Retires those that nobody leases and that were idle for `idle`, and, if all together weigh
    /// too much, more of them, longest unused first. Returns how many.
    pub fn retire(&self, idle: Duration) -> usize {
        let mut state = self.lock();
        let now = clock::stopwatch();
        state.loaded = 0;
        state.entries.retain(|_, entry| match entry {
            Entry::Gone(gone) => !gone.is_over(),
            Entry::Loading(_) | Entry::Active(_) => true,
        });
        let mut candidates = Vec::new();
        let mut total = 0_usize;
        for (&tenant, entry) in &state.entries {
            let Entry::Active(active) = entry else {
                continue;
            };
            let weight = active.vitals.weight.load(Ordering::Relaxed);
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
        let mut retired = 0;
        for (used, weight, tenant) in candidates {
            if now.duration_since(used) < idle && total <= bytes {
                break;
            }
            if let Some(Entry::Active(active)) = state.entries.remove(&tenant) {
                let gone = Gone {
                    leases: active.leases,
                    vitals: active.vitals,
                };
                if !gone.is_over() {
                    state.entries.insert(tenant, Entry::Gone(gone));
                }
                total = total.saturating_sub(weight);
                retired += 1;
            }
        }
        let room = 2 * state.entries.len();
        state.entries.shrink_to(room);
        retired
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
