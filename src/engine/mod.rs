//! The only actors: one per active tenant, and the three doors to them.
//!
//! [`Engine::execute`] runs a command, [`Engine::inspect`] looks at live state, [`Engine::read`] reads
//! what is stored. They are generic and never grow with features. What comes out of the first two is
//! [`Committed`]: it exists only for what is durable.
//!
//! Must not know: HTTP, JSON, any particular command or table (but for keys, in [`directory`]).

pub mod admission;
pub mod clock;
pub mod directory;
#[cfg(all(test, feature = "shuttle"))]
mod races;
mod registry;
mod tenant;
mod threads;

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error as ThisError;
use tokio::sync::Semaphore;

use crate::audit::{Entry, Kid, Signer};
use crate::id::{DecisionId, TenantId};
use crate::stamp::Stamp;
use crate::store::{
    Backup, BackupError, CloseError, Lost, Mark, ReadError, Reader, Store, StoreStats,
};
use crate::tenant::Tenant;
use crate::tenant::command::{Caller, Command, Refusal};
use crate::tenant::key::{KeyHash, Scope};

use admission::{Admission, Limits, Slot};
use directory::{Directory, Principal};
use registry::{Lease, Load, Registry};
use tenant::{ActorStatus, Execute, Inspect, Node, PendingReply, TenantActor};
use threads::Threads;

pub use threads::ThreadGuard;

/// Why there is no answer, though the request may be fine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ThisError)]
pub enum Unavailable {
    /// The tenant has as many commands under way as it may.
    #[error("the tenant has too many requests under way")]
    TenantBusy,
    /// The node has.
    #[error("the node has too many requests under way")]
    Overloaded,
    /// It took too long; nothing was done.
    #[error("the deadline passed before the request was begun; nothing was done")]
    DeadlineExceeded,
    /// Nothing can be written.
    #[error("nothing can be written at the moment; reads go on")]
    StorageFull,
    /// The tenant's data is damaged.
    #[error("the tenant's data is damaged; an operator has to look at it")]
    TenantCorrupt,
    /// The tenant is on its way back into memory.
    #[error("the tenant is being reloaded; whether the request was carried out is not known")]
    TenantReloading,
    /// What was asked for may still be on its way back into the tables.
    #[error("the tables are being rebuilt and do not have this yet")]
    Rebuilding,
    /// The node is going down.
    #[error("the node is shutting down")]
    ShuttingDown,
}

/// Why a request came to nothing.
#[derive(Debug, Clone, PartialEq, Eq, ThisError)]
pub enum Stopped {
    /// It may not be done.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// It cannot be done now.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// What the entry of a command is known by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receipt {
    /// The entry's id.
    pub decision_id: DecisionId,
    /// Its number in the log.
    pub index: u64,
    /// Its leaf in the tree.
    pub leaf_hash: [u8; 32],
    /// The key it is signed with.
    pub kid: Kid,
    /// The signature.
    pub signature: [u8; 64],
}

impl Receipt {
    fn of(entry: &Entry, kid: Kid) -> Self {
        Self {
            decision_id: entry.decision_id(),
            index: entry.index(),
            leaf_hash: *entry.leaf_hash(),
            kid,
            signature: *entry.signature(),
        }
    }
}

/// An answer that nothing can take back: what it tells of is durable.
#[derive(Debug)]
pub struct Committed<T> {
    /// The answer.
    pub reply: T,
    /// The entry it made; `None` for what was only recalled or looked at.
    pub receipt: Option<Receipt>,
    /// How long planning it took.
    pub planning: Duration,
    _mark: Mark,
}

/// How a node's engine behaves.
#[derive(Debug, Clone, Copy)]
pub struct Config {
    /// How much work may be under way.
    pub limits: Limits,
    /// How long a command may wait before it is begun.
    pub deadline: Duration,
    /// How long a tenant stays in memory unused.
    pub idle: Duration,
    /// How many bytes the tenants in memory may weigh.
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

/// What whoever runs the node wants to know.
#[derive(Debug, Clone, Copy)]
pub struct Health {
    /// Whether writes are taken.
    pub writable: bool,
    /// The store's numbers.
    pub store: StoreStats,
    /// Tenants in memory.
    pub active_tenants: usize,
    /// Commands under way.
    pub in_flight: usize,
}

/// The engine. Clones are the same one.
#[derive(Debug, Clone)]
pub struct Engine {
    node: Node,
    config: Config,
    admission: Admission,
    registry: Registry,
    threads: Threads,
    /// Places for tenants that are being loaded; the others wait.
    loads: Arc<Semaphore>,
}

/// Tenants that are loaded at once: enough to keep the disk busy, and not so many that their threads
/// take more memory than they do.
const LOADS: usize = 8;

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
            loads: Arc::new(Semaphore::new(LOADS)),
        })
    }

    /// Lets actors live on the calling thread, which runs an actix event loop, until the seat is
    /// dropped. At least one thread has to.
    pub fn join_thread(&self) -> ThreadGuard {
        self.threads.join()
    }

    /// Sends every tenant that nobody uses to rest, now.
    pub fn rest(&self) {
        self.registry.retire(Duration::ZERO);
    }

    /// Runs a command of `tenant`, `bytes` long, in its order, and answers once it is durable.
    pub async fn execute<C: Command>(
        &self,
        tenant: TenantId,
        caller: Caller,
        command: C,
        bytes: usize,
    ) -> Result<Committed<C::Reply>, Stopped> {
        let (slot, lease) = self.enter(tenant, bytes).await?;
        let (address, generation) = (lease.address.clone(), lease.generation);
        let begun = address
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
            settled,
            planning,
        } = self.settle(tenant, generation, begun)?;
        let mark = settled
            .await
            .map_err(|lost| self.lost(tenant, generation, lost))?;
        Ok(Committed {
            reply: reply?,
            receipt,
            planning,
            _mark: mark,
        })
    }

    /// Looks at the live state of `tenant`, if the caller may do what `scope` names; answers once what
    /// was seen is durable.
    pub async fn inspect<F, T>(
        &self,
        tenant: TenantId,
        caller: Caller,
        scope: Scope,
        look: F,
    ) -> Result<T, Stopped>
    where
        F: FnOnce(&Tenant, &Stamp) -> Result<T, Refusal> + Send + 'static,
        T: Send + 'static,
    {
        let (_slot, lease) = self.enter(tenant, 0).await?;
        let (address, generation) = (lease.address.clone(), lease.generation);
        let message = Inspect {
            look,
            caller,
            scope,
            lease,
        };
        let seen = address.send(message).await;
        let (seen, settled) = self.settle(tenant, generation, seen)?;
        settled
            .await
            .map_err(|lost| self.lost(tenant, generation, lost))?;
        Ok(seen?)
    }

    /// Reads what is stored, off the event loop.
    pub async fn read<F, T, E>(&self, look: F) -> Result<T, Unavailable>
    where
        F: FnOnce(&Reader) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: Error + Send + 'static,
    {
        let reader = self.node.store.reader();
        let read = tokio::task::spawn_blocking(move || look(&reader)).await;
        match read {
            Ok(Ok(read)) => Ok(read),
            Ok(Err(error)) if is_rebuilding(&error) => Err(Unavailable::Rebuilding),
            Ok(Err(error)) => {
                tracing::error!("a read failed: {error}");
                Err(Unavailable::TenantCorrupt)
            }
            Err(_) => Err(Unavailable::ShuttingDown),
        }
    }

    /// Copies everything that is durable now to `dir`, with those of the private files `secrets` that
    /// are there, while commands go on. Blocks for as long as that takes.
    pub fn backup(&self, dir: &Path, secrets: &[&str]) -> Result<Backup, BackupError> {
        let store = &self.node.store;
        store.backup(dir, clock::now(), secrets, &mut |_, _, _| {})
    }

    /// Whose key this is, if it is good now.
    pub fn holder(&self, hash: KeyHash) -> Option<Principal> {
        self.node.directory.find(hash, clock::now())
    }

    /// What entries are signed with.
    pub fn signer(&self) -> &Signer {
        &self.node.signer
    }

    /// What whoever runs the node wants to know.
    pub fn health(&self) -> Health {
        Health {
            writable: self.node.store.writable(),
            store: self.node.store.stats(),
            active_tenants: self.registry.active(),
            in_flight: self.admission.in_flight(),
        }
    }

    /// True once [`Self::drain`] was begun.
    pub fn is_stopping(&self) -> bool {
        self.admission.is_closed()
    }

    /// Ends in order: nobody is in memory any more, and everything is on disk. Blocks.
    pub fn close(&self) -> Result<(), CloseError> {
        self.rest();
        self.node.store.close()
    }

    /// Sends tenants to rest, again and again; never ends.
    pub async fn sweep(&self) {
        loop {
            // Now and then, and at once when there are too many.
            let _ = tokio::time::timeout(Duration::from_secs(5), self.registry.full()).await;
            let retired = self.registry.retire(self.config.idle);
            if retired > 0 {
                tracing::debug!(retired, "tenants went to rest");
            }
        }
    }

    /// Lets nobody in any more, and waits until nobody is inside.
    pub async fn drain(&self) {
        self.admission.close();
        while self.admission.in_flight() > 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// A place and the actor of `tenant`, within the deadline: after it nothing is begun.
    async fn enter(&self, tenant: TenantId, bytes: usize) -> Result<(Slot, Lease), Unavailable> {
        let slot = self.admission.enter(tenant, bytes)?;
        let begin = async { Ok((slot.turn().await, self.lease(tenant).await?)) };
        let begin = tokio::time::timeout(self.config.deadline, begin).await;
        begin.unwrap_or(Err(Unavailable::DeadlineExceeded))
    }

    /// The actor of `tenant`, loaded if need be on the thread that it will live on.
    async fn lease(&self, tenant: TenantId) -> Result<Lease, Unavailable> {
        let load = |Load { after, done }| {
            let engine = self.clone();
            let activate = move || async move {
                let _ = done.send(engine.activate(tenant, after).await);
            };
            self.threads.run(tenant, activate)
        };
        self.registry.lease(tenant, load).await
    }

    /// Loads a tenant on the thread it will live on. Runs to its end whoever stops waiting.
    async fn activate(
        &self,
        tenant: TenantId,
        after: Option<Arc<ActorStatus>>,
    ) -> Result<(), Unavailable> {
        if let Some(last) = after {
            // Lost is as good as durable here: what was lost is not there to be loaded.
            let _ = last.settled().await;
        }
        let _place = self.loads.acquire().await;
        let node = self.node.clone();
        let vitals = Arc::new(ActorStatus::new(node.store.mark()));
        let for_actor = vitals.clone();
        let actor = tokio::task::spawn_blocking(move || TenantActor::load(tenant, node, for_actor));
        match actor.await.unwrap_or(Err(Unavailable::ShuttingDown)) {
            Ok(actor) => {
                self.registry
                    .loaded(tenant, actix::Actor::start(actor), vitals);
                Ok(())
            }
            Err(why) => {
                self.registry.failed(tenant);
                Err(why)
            }
        }
    }

    /// What an actor answered. One that ended, panicked, or is of no tenant at all is discarded.
    fn settle<T>(
        &self,
        tenant: TenantId,
        generation: u64,
        answered: Result<Result<T, Stopped>, actix::MailboxError>,
    ) -> Result<T, Stopped> {
        let answer = answered.unwrap_or(Err(Unavailable::TenantReloading.into()));
        let of_no_use = matches!(
            answer,
            Err(Stopped::Unavailable(Unavailable::TenantReloading)
                | Stopped::Refused(Refusal::NotFound("tenant")))
        );
        if of_no_use {
            self.registry.discard(tenant, generation);
        }
        answer
    }

    /// A record that did not become durable: the state in memory is ahead of what will ever be.
    fn lost(&self, tenant: TenantId, generation: u64, lost: Lost) -> Stopped {
        tracing::error!(%tenant, "a record was lost: {lost}");
        self.registry.discard(tenant, generation);
        Unavailable::StorageFull.into()
    }
}

/// Whether an error says, in whatever words, that rows are still on their way back.
fn is_rebuilding(error: &(dyn Error + 'static)) -> bool {
    let causes = std::iter::successors(Some(error), |&error| error.source());
    let mut stored = causes.filter_map(|error| error.downcast_ref::<ReadError>());
    stored.any(|error| matches!(error, ReadError::Rebuilding))
}
