//! The actor: one tenant's state in memory, which runs its commands one at a time.
//!
//! State runs ahead of the disk; answers never do. A handler plans, appends and returns at once; the
//! caller waits for the record to be durable. An actor ends when its last address is dropped.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use actix::{Actor, ActorContext, Context, Handler, Message, MessageResult};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};

use super::admission::Slot;
use super::clock;
use super::directory::Directory;
use super::error::{EngineError, Unavailable};
use super::receipt::Receipt;
use super::registry::Lease;
use crate::audit::{Log, Signer};
use crate::id::{Sequence, TenantId};
use crate::stamp::Stamp;
use crate::store::open_envelope;
use crate::store::{Head, Ledger, Lost, Mark, Owner, Record, Store, TableSpec};
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use crate::tenant::Tenant;
use crate::tenant::authorization::Caller;
use crate::tenant::command::{Change, Command, NoChange, Refusal};
use crate::tenant::key::Scope;
use crate::tenant::lifecycle;
use crate::tenant::schema::Mutation;
use crate::time::Timestamp;

/// Resolves when everything that was appended so far is durable and the directory has its keys.
pub type CommitFuture = Shared<BoxFuture<'static, Result<Mark, Lost>>>;

/// An actor's state as the registry reads it, without a message.
pub struct ActorStatus {
    /// Approximate memory of its state, bytes.
    pub weight: AtomicUsize,
    discarded: AtomicBool,
    /// The mark at which it was loaded.
    durable: Mark,
    /// `None` until it appends its first record.
    last_commit: Mutex<Option<CommitFuture>>,
}

impl ActorStatus {
    /// The status of an actor that has appended nothing: its state is durable.
    pub fn new(durable: Mark) -> Self {
        Self {
            weight: AtomicUsize::new(0),
            discarded: AtomicBool::new(false),
            durable,
            last_commit: Mutex::new(None),
        }
    }

    /// Resolves when everything that it appended so far is durable.
    pub fn last_commit(&self) -> CommitFuture {
        let last_commit = self
            .last_commit
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let last_commit = last_commit.clone();
        last_commit.unwrap_or_else(|| std::future::ready(Ok(self.durable)).boxed().shared())
    }

    /// Makes the actor reject every message still in its mailbox: its state is not what is durable.
    pub fn discard(&self) {
        self.discarded.store(true, Ordering::Release);
    }

    /// False once [`Self::discard`]ed.
    pub fn is_valid(&self) -> bool {
        !self.discarded.load(Ordering::Acquire)
    }

    pub fn set_last_commit(&self, commit: CommitFuture) {
        *self
            .last_commit
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(commit);
    }
}

impl std::fmt::Debug for ActorStatus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "ActorStatus({} bytes)",
            self.weight.load(Ordering::Relaxed)
        )
    }
}

/// The node's parts that every actor uses.
#[derive(Debug, Clone)]
pub struct Node {
    pub store: Store,
    pub signer: Arc<Signer>,
    pub directory: Arc<Directory>,
}

/// One tenant.
pub struct TenantActor {
    tenant: Tenant,
    owner: Owner,
    /// `None` until the tenant is created.
    log: Option<Log>,
    ledger: Ledger,
    /// The time of the last entry: the next one is not before it.
    last_at: Timestamp,
    /// The sequence of the next command.
    next: Sequence,
    node: Node,
    /// The last commit that changes keys, or that waits for one.
    last_key_commit: Option<CommitFuture>,
    status: Arc<ActorStatus>,
}

impl TenantActor {
    /// Loads a tenant from the store; it is blank if it was never created. Blocks: a million intents
    /// take seconds.
    pub fn load(
        tenant: TenantId,
        node: Node,
        status: Arc<ActorStatus>,
    ) -> Result<Self, Unavailable> {
        let damaged = |why: &dyn std::fmt::Display| {
            tracing::error!(%tenant, "cannot load the tenant: {why}");
            Unavailable::TenantCorrupt
        };
        let mut state = Tenant::blank(tenant);
        let mut absorbed = Ok(());
        let claim = node.store.claim(tenant, &mut |table, key, envelope| {
            if absorbed.is_ok() {
                absorbed = absorb(&mut state, table, key, envelope);
            }
        });
        let claim = claim.map_err(|why| damaged(&why))?;
        absorbed.map_err(|why| damaged(&why))?;
        let mut actor = Self {
            tenant: state,
            owner: claim.owner,
            log: None,
            ledger: claim.ledger,
            last_at: Timestamp::MIN,
            next: Sequence::FIRST,
            node,
            last_key_commit: None,
            status,
        };
        if let Some(head) = claim.head {
            actor.resume(head).map_err(|why| damaged(&why))?;
        }
        actor.update_weight();
        Ok(actor)
    }

    /// Goes on behind the last entry.
    fn resume(&mut self, head: Head) -> Result<(), String> {
        let account = self.tenant.account().ok_or("the account row is missing")?;
        let Head {
            sequence,
            at,
            log_base,
            range,
            root,
            ..
        } = head;
        let size = sequence
            .get()
            .saturating_sub(log_base.get())
            .saturating_add(1);
        let (origin, signer) = (account.row.log.clone(), self.node.signer.clone());
        let log = Log::resume(origin, self.tenant.id, log_base, size, range, signer)
            .map_err(|why| why.to_string())?;
        if log.root() != root {
            return Err("the root of the audit log differs from the head".to_owned());
        }
        self.log = Some(log);
        self.last_at = at;
        self.next = sequence.next();
        Ok(())
    }

    fn stamp(&self, caller: Caller) -> Stamp {
        let at = clock::now().max(self.last_at);
        Stamp::new(at, self.next, caller.key(), clock::random())
    }

    /// Runs a command. Its reply, and also a refusal, may show state that is not durable yet, so the
    /// caller gets it only after the last commit.
    fn run<C: Command>(
        &mut self,
        command: C,
        caller: Caller,
        slot: Slot,
    ) -> Result<PendingReply<C::Reply>, EngineError> {
        if self.tenant.account().is_none() && !C::FOUNDS {
            return Err(Refusal::NotFound("tenant").into());
        }
        let stamp = self.stamp(caller);
        let watch = clock::stopwatch();
        let authorized = caller.authorize(&self.tenant, C::SCOPE, stamp.at);
        let plan = match authorized {
            Ok(()) => command.apply(&self.tenant, &stamp),
            Err(refusal) => Err(refusal.into()),
        };
        let planning = watch.elapsed();
        let (reply, receipt) = match plan {
            Ok(change) => {
                let (reply, receipt) = self.commit::<C>(change, &stamp, slot)?;
                (Ok(reply), Some(receipt))
            }
            Err(NoChange::Replay(reply)) => (Ok(reply), None),
            Err(NoChange::Reject(refusal)) => (Err(refusal), None),
        };
        Ok(PendingReply {
            reply,
            receipt,
            commit: self.status.last_commit(),
            planning,
        })
    }

    /// Numbers, signs, absorbs and appends a change: the one place where a tenant changes.
    fn commit<C: Command>(
        &mut self,
        change: Change<C::Reply>,
        stamp: &Stamp,
        slot: Slot,
    ) -> Result<(C::Reply, Receipt), EngineError> {
        if !self.node.store.writable() {
            return Err(Unavailable::StorageFull.into());
        }
        let Change { rows, fact, reply } = change;
        let signer = &self.node.signer;
        // A new tenant begins a log, and so does a restored one; it is set only after its first entry
        // was made.
        let mut new_log = lifecycle::new_log_origin(&rows, stamp.sequence).map(|origin| {
            let (tenant, origin) = (self.tenant.id, origin.to_owned());
            Log::new(origin, tenant, stamp.sequence, signer.clone())
        });
        let log = new_log.as_mut().or(self.log.as_mut());
        let log = log.expect("the first command of a tenant begins its log");
        let (entry, opening) = log.append(fact, stamp).map_err(|error| Refusal::Invalid {
            pointer: "",
            message: error.to_string(),
        })?;
        if new_log.is_some() {
            self.log = new_log;
        }
        let log = self.log.as_ref().expect("it was just appended to");
        let receipt = Receipt::new(&entry, signer.kid());

        let ops: Vec<_> = rows.iter().map(|edit| edit.op(self.tenant.id)).collect();
        for (edit, op) in rows.iter().zip(&ops) {
            self.tenant.absorb(edit);
            self.ledger.fold(op);
        }
        self.last_at = stamp.at;
        self.next = stamp.sequence.next();
        let head = Head {
            sequence: stamp.sequence,
            at: stamp.at,
            log_base: log.base(),
            next_due: self.tenant.next_due(),
            hot_rows: self.ledger.count(),
            hot_hash: self.ledger.hash(),
            root: log.root(),
            range: log.range().to_vec(),
        };
        let opening = opening.map(|opening| opening.encode());
        let entry = entry.into_bytes();
        let record = Record::new(self.owner, stamp.sequence, ops, entry, opening, head);
        let durable = self.node.store.append(record, slot);
        let commit = self.publish_keys(durable, rows);
        self.status.set_last_commit(commit);
        self.update_weight();
        Ok((reply, receipt))
    }

    /// Updates the directory with changed keys after they are durable, before the reply, in the
    /// tenant's order: while a change of keys is in flight, every later commit waits for it. It is
    /// spawned, so that it happens even if the caller is cancelled.
    fn publish_keys(
        &mut self,
        durable: impl Future<Output = Result<Mark, Lost>> + Send + 'static,
        rows: Vec<Mutation>,
    ) -> CommitFuture {
        let changes_keys = Directory::has_key_changes(&rows);
        let before = self
            .last_key_commit
            .take()
            .filter(|keys| keys.peek().is_none());
        if before.is_none() && !changes_keys {
            return durable.boxed().shared();
        }
        let (directory, tenant) = (self.node.directory.clone(), self.tenant.id);
        let commit = async move {
            let mark = durable.await?;
            if let Some(before) = before {
                before.await?;
            }
            directory.apply(tenant, &rows);
            Ok(mark)
        }
        .boxed()
        .shared();
        actix::spawn(commit.clone().map(drop));
        self.last_key_commit = Some(commit.clone());
        commit
    }

    fn update_weight(&self) {
        self.status
            .weight
            .store(self.tenant.weight(), Ordering::Relaxed);
    }

    /// Runs `job`. After a panic the state may be torn, so the actor ends.
    fn catch_panic<T>(
        &mut self,
        context: &mut Context<Self>,
        job: impl FnOnce(&mut Self) -> Result<T, EngineError>,
    ) -> Result<T, EngineError> {
        if !self.status.is_valid() {
            return Err(Unavailable::TenantReloading.into());
        }
        catch_unwind(AssertUnwindSafe(|| job(self))).unwrap_or_else(|_| {
            tracing::error!(tenant = %self.tenant.id, "a command panicked; reloading the tenant");
            self.status.discard();
            context.stop();
            Err(Unavailable::TenantReloading.into())
        })
    }
}

fn absorb(
    tenant: &mut Tenant,
    table: &'static TableSpec,
    key: &[u8],
    envelope: &[u8],
) -> Result<(), Box<dyn std::error::Error>> {
    let stored = open_envelope(tenant.id, table, key, envelope)?;
    tenant.absorb_stored(table, stored.version, key, &stored.payload)?;
    Ok(())
}

/// Dropping a state above this size, bytes, takes long enough to delay other tenants.
const LARGE: usize = 1 << 20;

impl Drop for TenantActor {
    /// Drops a large state on another thread: this one runs other tenants.
    fn drop(&mut self) {
        if self.tenant.weight() < LARGE {
            return;
        }
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let blank = Tenant::blank(self.tenant.id);
            let tenant = std::mem::replace(&mut self.tenant, blank);
            let ledger = std::mem::take(&mut self.ledger);
            runtime.spawn_blocking(move || drop((tenant, ledger)));
        }
    }
}

impl Actor for TenantActor {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        // Admission bounds what is sent; a bound here would not hold anyway (actix#515).
        context.set_mailbox_capacity(0);
    }
}

/// The reply of a command that was applied in memory and is not durable yet.
pub struct PendingReply<R> {
    pub reply: Result<R, Refusal>,
    pub receipt: Option<Receipt>,
    /// The caller may have the reply after this.
    pub commit: CommitFuture,
    pub planning: Duration,
}

pub struct Execute<C> {
    pub command: C,
    pub caller: Caller,
    pub slot: Slot,
    /// Held until the message is handled, so that the actor is not evicted before.
    pub lease: Lease,
}

impl<C: Command> Message for Execute<C> {
    type Result = Result<PendingReply<C::Reply>, EngineError>;
}

impl<C: Command> Handler<Execute<C>> for TenantActor {
    type Result = MessageResult<Execute<C>>;

    fn handle(&mut self, message: Execute<C>, context: &mut Self::Context) -> Self::Result {
        let Execute {
            command,
            caller,
            slot,
            lease: _lease,
        } = message;
        MessageResult(self.catch_panic(context, |actor| actor.run(command, caller, slot)))
    }
}

pub struct Inspect<F> {
    pub query: F,
    pub caller: Caller,
    pub scope: Scope,
    /// Held until the message is handled, so that the actor is not evicted before.
    pub lease: Lease,
}

impl<F, T> Message for Inspect<F>
where
    F: FnOnce(&Tenant, &Stamp) -> Result<T, Refusal>,
    T: 'static,
    F: 'static,
{
    type Result = Result<(Result<T, Refusal>, CommitFuture), EngineError>;
}

impl<F, T> Handler<Inspect<F>> for TenantActor
where
    F: FnOnce(&Tenant, &Stamp) -> Result<T, Refusal> + 'static,
    T: 'static,
{
    type Result = MessageResult<Inspect<F>>;

    fn handle(&mut self, message: Inspect<F>, context: &mut Self::Context) -> Self::Result {
        let Inspect {
            query,
            caller,
            scope,
            lease: _lease,
        } = message;
        MessageResult(self.catch_panic(context, |actor| {
            if actor.tenant.account().is_none() {
                return Err(Refusal::NotFound("tenant").into());
            }
            let stamp = actor.stamp(caller);
            let authorized = caller.authorize(&actor.tenant, scope, stamp.at);
            let result = authorized.and_then(|()| query(&actor.tenant, &stamp));
            Ok((result, actor.status.last_commit()))
        }))
    }
}
