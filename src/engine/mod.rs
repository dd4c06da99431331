//! The only actors, one per active tenant, and the three entry points to them.
//!
//! [`Engine::execute`] runs a command, [`Engine::inspect`] reads live state, [`Engine::read`] reads
//! the store. They are generic and never grow with features. The first two answer only once what
//! they show is durable: [`Committed`] cannot be made before.
//!
//! Must not know: HTTP, JSON, any particular command or table (but for keys, in [`directory`]).

pub mod admission;
pub mod clock;
pub mod directory;
mod error;
#[cfg(all(test, feature = "shuttle"))]
mod races;
mod receipt;
mod registry;
mod tenant;
mod threads;

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;

use std::fmt::Display;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::audit::Signer;
use crate::id::TenantId;
use crate::stamp::Stamp;
use crate::store::{
    Backup, BackupError, CloseError, Lost, Mark, ReadError, Reader, Store, StoreStats,
};
use crate::tenant::Tenant;
use crate::tenant::authorization::Caller;
use crate::tenant::command::{Command, Refusal};
use crate::tenant::key::{KeyHash, Scope};

use admission::{Admission, Limits, Slot};
use directory::{Directory, Principal};
use registry::{Lease, LoadRequest, Registry};
use tenant::{ActorStatus, Execute, Inspect, Node, PendingReply, TenantActor};
use threads::Threads;

pub use error::{EngineError, Unavailable};
pub use receipt::Receipt;
pub use threads::ThreadGuard;

/// A reply whose effects are durable.
#[derive(Debug)]
pub struct Committed<T> {
    pub reply: T,
    /// `None` for a replay.
    pub receipt: Option<Receipt>,
    pub planning: Duration,
    _mark: Mark,
}

#[derive(Debug, Clone, Copy)]
pub struct Config {
    pub limits: Limits,
    /// How long a command may wait before it starts.
    pub deadline: Duration,
    /// How long an unused tenant stays in memory.
    pub idle: Duration,
    /// Memory that the active tenants may take, bytes.
    pub active_bytes: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            deadline: Duration::from_secs(2),
            idle: Duration::from_secs(600),
            active_bytes: 1 << 30,
        }
    }
}

/// The numbers behind `/readyz` and `/metrics`.
#[derive(Debug, Clone, Copy)]
pub struct Health {
    pub writable: bool,
    pub store: StoreStats,
    /// Tenants in memory.
    pub active_tenants: usize,
    /// Commands that run or wait.
    pub in_flight: usize,
}

/// The engine. Clones share one state.
#[derive(Debug, Clone)]
pub struct Engine {
    node: Node,
    config: Config,
    admission: Admission,
    registry: Registry,
    threads: Threads,
    load_permits: Arc<Semaphore>,
}

/// Tenants loaded at once: enough to keep the disk busy, few enough that their threads take little
/// memory.
const CONCURRENT_LOADS: usize = 8;

impl Engine {
    /// An engine over `store`, with the directory of all keys read in.
    pub fn new(store: Store, signer: Signer, config: Config) -> Result<Self, ReadError> {
        let directory = Arc::new(Directory::load(&store.reader())?);
        Ok(Self {
            node: Node {
                store,
                signer: Arc::new(signer),
                directory,
            },
            config,
            admission: Admission::new(config.limits),
            registry: Registry::new(config.active_bytes),
            threads: Threads::default(),
            load_permits: Arc::new(Semaphore::new(CONCURRENT_LOADS)),
        })
    }

    /// Lets actors run on the calling thread, which runs an actix event loop, until the guard is
    /// dropped. At least one thread has to join.
    pub fn join_thread(&self) -> ThreadGuard {
        self.threads.join()
    }

    /// Evicts every tenant that is not in use from memory.
    pub fn passivate_all(&self) {
        self.registry.evict(Duration::ZERO);
    }

    /// Runs a command of `tenant` in its order and answers once it is durable. `bytes` is what it
    /// reserves of the memory for requests in flight.
    pub async fn execute<C: Command>(
        &self,
        tenant: TenantId,
        caller: Caller,
        command: C,
        bytes: usize,
    ) -> Result<Committed<C::Reply>, EngineError> {
        let (slot, lease) = self.admit(tenant, bytes).await?;
        let (address, generation) = (lease.address.clone(), lease.generation);
        let sent = address
            .send(Execute {
                command,
                caller,
                slot,
                lease,
            })
            .await;
        let PendingReply {
            reply,
            receipt,
            commit,
            planning,
        } = self.unwrap_reply(tenant, generation, sent)?;
        let mark = commit
            .await
            .map_err(|lost| self.discard_lost(tenant, generation, lost))?;
        Ok(Committed {
            reply: reply?,
            receipt,
            planning,
            _mark: mark,
        })
    }

    /// Reads the live state of `tenant`, if the caller has `scope`; answers once what was read is
    /// durable.
    pub async fn inspect<F, T>(
        &self,
        tenant: TenantId,
        caller: Caller,
        scope: Scope,
        query: F,
    ) -> Result<T, EngineError>
    where
        F: FnOnce(&Tenant, &Stamp) -> Result<T, Refusal> + Send + 'static,
        T: Send + 'static,
    {
        let (_slot, lease) = self.admit(tenant, 0).await?;
        let (address, generation) = (lease.address.clone(), lease.generation);
        let message = Inspect {
            query,
            caller,
            scope,
            lease,
        };
        let sent = address.send(message).await;
        let (result, commit) = self.unwrap_reply(tenant, generation, sent)?;
        commit
            .await
            .map_err(|lost| self.discard_lost(tenant, generation, lost))?;
        Ok(result?)
    }

    /// Reads the store, off the event loop.
    pub async fn read<F, T, E>(&self, query: F) -> Result<T, Unavailable>
    where
        F: FnOnce(&Reader) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: Display + Into<Unavailable> + Send + 'static,
    {
        let reader = self.node.store.reader();
        let result = tokio::task::spawn_blocking(move || query(&reader)).await;
        let result = result.map_err(|_| Unavailable::ShuttingDown)?;
        result.map_err(|error| {
            let message = error.to_string();
            let unavailable = error.into();
            if unavailable == Unavailable::TenantCorrupt {
                tracing::error!("read failed: {message}");
            }
            unavailable
        })
    }

    /// Copies everything that is durable to `dir`, with those of the private files `secrets` that
    /// exist, while commands go on. Blocks until it is done.
    pub fn backup(&self, dir: &Path, secrets: &[&str]) -> Result<Backup, BackupError> {
        let store = &self.node.store;
        store.backup(dir, clock::now(), secrets, &mut |_, _, _| {})
    }

    /// The owner of this key, if it is active now.
    pub fn authenticate(&self, hash: KeyHash) -> Option<Principal> {
        self.node.directory.find(hash, clock::now())
    }

    pub fn signer(&self) -> &Signer {
        &self.node.signer
    }

    pub fn health(&self) -> Health {
        Health {
            writable: self.node.store.writable(),
            store: self.node.store.stats(),
            active_tenants: self.registry.active(),
            in_flight: self.admission.in_flight(),
        }
    }

    /// True once [`Self::drain`] was called.
    pub fn is_stopping(&self) -> bool {
        self.admission.is_closed()
    }

    /// Evicts all tenants and closes the store. Blocks.
    pub fn close(&self) -> Result<(), CloseError> {
        self.passivate_all();
        self.node.store.close()
    }

    /// Evicts tenants that are idle, or over the memory limit, forever.
    pub async fn passivate_idle(&self) {
        loop {
            let pressure = self.registry.memory_pressure();
            let _ = tokio::time::timeout(Duration::from_secs(5), pressure).await;
            let evicted = self.registry.evict(self.config.idle);
            if evicted > 0 {
                tracing::debug!(evicted, "evicted tenants from memory");
            }
        }
    }

    /// Rejects new requests and waits until none is in flight.
    pub async fn drain(&self) {
        self.admission.close();
        while self.admission.in_flight() > 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// A slot and the actor of `tenant`, within the deadline: a command never starts after it.
    async fn admit(&self, tenant: TenantId, bytes: usize) -> Result<(Slot, Lease), Unavailable> {
        let slot = self.admission.admit(tenant, bytes)?;
        let admitted = async { Ok((slot.acquire().await, self.lease(tenant).await?)) };
        let admitted = tokio::time::timeout(self.config.deadline, admitted).await;
        admitted.unwrap_or(Err(Unavailable::DeadlineExceeded))
    }

    /// The actor of `tenant`, loaded first if it is not in memory.
    async fn lease(&self, tenant: TenantId) -> Result<Lease, Unavailable> {
        let load = |LoadRequest { after, done }| {
            let engine = self.clone();
            let activate = move || async move {
                let _ = done.send(engine.activate(tenant, after).await);
            };
            self.threads.run(tenant, activate)
        };
        self.registry.lease(tenant, load).await
    }

    /// Loads a tenant on the thread that its actor will run on. Goes on when the caller is cancelled.
    async fn activate(
        &self,
        tenant: TenantId,
        after: Option<Arc<ActorStatus>>,
    ) -> Result<(), Unavailable> {
        if let Some(last) = after {
            // A lost record is not in the store, so loading need not wait for it either.
            let _ = last.last_commit().await;
        }
        let _permit = self.load_permits.acquire().await;
        let node = self.node.clone();
        let status = Arc::new(ActorStatus::new(node.store.mark()));
        let actor_status = status.clone();
        let actor =
            tokio::task::spawn_blocking(move || TenantActor::load(tenant, node, actor_status));
        match actor.await.unwrap_or(Err(Unavailable::ShuttingDown)) {
            Ok(actor) => {
                self.registry
                    .finish_load(tenant, actix::Actor::start(actor), status);
                Ok(())
            }
            Err(why) => {
                self.registry.fail_load(tenant);
                Err(why)
            }
        }
    }

    /// The actor's reply. An actor that ended, panicked, or belongs to no tenant is discarded.
    fn unwrap_reply<T>(
        &self,
        tenant: TenantId,
        generation: u64,
        reply: Result<Result<T, EngineError>, actix::MailboxError>,
    ) -> Result<T, EngineError> {
        let reply = reply.unwrap_or(Err(Unavailable::TenantReloading.into()));
        let unusable = matches!(
            reply,
            Err(EngineError::Unavailable(Unavailable::TenantReloading)
                | EngineError::Refused(Refusal::NotFound("tenant")))
        );
        if unusable {
            self.registry.discard(tenant, generation);
        }
        reply
    }

    /// A record did not become durable: the state in memory has changes that the store never will.
    fn discard_lost(&self, tenant: TenantId, generation: u64, lost: Lost) -> EngineError {
        tracing::error!(%tenant, "record lost: {lost}");
        self.registry.discard(tenant, generation);
        let unavailable = match lost {
            Lost::Full => Unavailable::StorageFull,
            Lost::Fenced | Lost::Unknown => Unavailable::TenantReloading,
        };
        unavailable.into()
    }
}

impl From<ReadError> for Unavailable {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Rebuilding => Self::Rebuilding,
            ReadError::Closed => Self::ShuttingDown,
            ReadError::Damaged(_) | ReadError::Tables(_) => Self::TenantCorrupt,
        }
    }
}
