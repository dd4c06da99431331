//! Which tenants are in memory, and how one gets there: once, whoever asks at the same time.
//!
//! Every message carries a [`Lease`] until it was handled. Only an actor that nobody leases is
//! retired: its address is dropped, which ends it, and nothing can be on its way to it. A tenant is
//! loaded again only after everything that its last incarnation appended is durable.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use actix::Addr;
use futures_util::FutureExt;
use futures_util::future::Shared;
use tokio::sync::oneshot;

use super::tenant::{Settled, TenantActor, Vitals};
use super::{Unavailable, clock};
use crate::id::TenantId;

/// An activation that others may wait for.
pub type Activation = Shared<oneshot::Receiver<Result<(), Unavailable>>>;

/// The tenants in memory.
#[derive(Debug, Clone, Default)]
pub struct Registry {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    entries: HashMap<TenantId, Entry>,
    generation: u64,
}

#[derive(Debug)]
enum Entry {
    /// Somebody is loading it.
    Loading(Activation),
    /// It is there.
    Active(Active),
    /// It went; what it appended last is to be durable before it is loaded again.
    Gone(Settled),
}

#[derive(Debug)]
struct Active {
    address: Addr<TenantActor>,
    generation: u64,
    leases: Arc<AtomicUsize>,
    vitals: Arc<Vitals>,
    used: Instant,
}

/// What the registry says of a tenant.
#[derive(Debug)]
pub enum Lookup {
    /// Here it is.
    Active(Lease),
    /// Wait, then look again.
    Loading(Activation),
    /// Load it: first wait for `after`, then say how it went.
    Load {
        /// What its last incarnation appended last.
        after: Option<Settled>,
        /// To tell those who wait.
        done: oneshot::Sender<Result<(), Unavailable>>,
        /// Where they wait.
        activation: Activation,
    },
}

/// The use of an actor; it does not rest while there is one.
#[derive(Debug)]
pub struct Lease {
    /// The actor.
    pub address: Addr<TenantActor>,
    /// Which incarnation of the tenant it is.
    pub generation: u64,
    leases: Arc<AtomicUsize>,
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.leases.fetch_sub(1, Ordering::Release);
    }
}

impl Registry {
    /// Finds the actor of `tenant`, or says what to do to have one.
    pub fn look(&self, tenant: TenantId) -> Lookup {
        let mut state = self.lock();
        let after = match state.entries.get_mut(&tenant) {
            Some(Entry::Active(active)) if active.address.connected() => {
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
            Some(Entry::Gone(settled)) => Some(settled.clone()),
            Some(Entry::Active(ended)) => Some(ended.vitals.settled()),
            // A loader that vanished leaves the tenant to who looks next.
            Some(Entry::Loading(_)) | None => None,
        };
        let (done, receiver) = oneshot::channel();
        let activation = receiver.shared();
        let loading = Entry::Loading(activation.clone());
        state.entries.insert(tenant, loading);
        Lookup::Load {
            after,
            done,
            activation,
        }
    }

    /// The load of `tenant` succeeded.
    pub fn loaded(&self, tenant: TenantId, address: Addr<TenantActor>, vitals: Arc<Vitals>) {
        let mut state = self.lock();
        state.generation += 1;
        let active = Active {
            address,
            generation: state.generation,
            leases: Arc::default(),
            vitals,
            used: clock::stopwatch(),
        };
        state.entries.insert(tenant, Entry::Active(active));
    }

    /// The load of `tenant` failed; `after` as it was before.
    pub fn failed(&self, tenant: TenantId, after: Option<Settled>) {
        let mut state = self.lock();
        match after {
            Some(settled) => state.entries.insert(tenant, Entry::Gone(settled)),
            None => state.entries.remove(&tenant),
        };
    }

    /// This incarnation is not to be used any more: it panicked, or what it appended was lost.
    pub fn discard(&self, tenant: TenantId, generation: u64) {
        let mut state = self.lock();
        if let Some(Entry::Active(active)) = state.entries.get(&tenant)
            && active.generation == generation
        {
            active.vitals.discard();
            let settled = active.vitals.settled();
            state.entries.insert(tenant, Entry::Gone(settled));
        }
    }

    /// Retires those that nobody leases and that were idle for `idle`, and more of them, longest
    /// unused first, while all together weigh more than `bytes`. Returns how many.
    pub fn retire(&self, idle: Duration, bytes: usize) -> usize {
        let mut state = self.lock();
        let now = clock::stopwatch();
        state.entries.retain(|_, entry| match entry {
            Entry::Gone(settled) => settled.peek().is_none_or(Result::is_err),
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
        candidates.sort_unstable();
        let mut retired = 0;
        for (used, weight, tenant) in candidates {
            if now.duration_since(used) < idle && total <= bytes {
                break;
            }
            if let Some(Entry::Active(active)) = state.entries.remove(&tenant) {
                // Forgotten once durable: the sweep after that finds nothing to wait for.
                state
                    .entries
                    .insert(tenant, Entry::Gone(active.vitals.settled()));
                total = total.saturating_sub(weight);
                retired += 1;
            }
        }
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

    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is whole at every unlock: a panic elsewhere cannot have torn it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
