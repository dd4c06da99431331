//! The actor: one tenant's state in memory, its commands one after the other.
//!
//! State runs ahead of the disk; answers never do. A handler plans, appends and returns at once; the
//! caller waits for the record to be durable. An actor ends when nobody has its address any more.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use actix::{Actor, ActorContext, Context, Handler, Message, MessageResult};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};

use super::admission::Slot;
use super::directory::Directory;
use super::registry::Lease;
use super::{Receipt, Stopped, Unavailable, clock};
use crate::audit::{Log, Signer};
use crate::id::{Sequence, TenantId};
use crate::stamp::Stamp;
use crate::store::open_envelope;
use crate::store::{Head, Ledger, Lost, Mark, Record, Store, TableSpec};
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use crate::tenant::Tenant;
use crate::tenant::command::{Caller, Change, Command, NoChange, Refusal};
use crate::tenant::key::Scope;
use crate::tenant::lifecycle;
use crate::tenant::schema::{Mutation, Row};
use crate::time::Timestamp;

/// Resolves when everything that was appended so far is durable and the directory knows of it.
pub type Settled = Shared<BoxFuture<'static, Result<Mark, Lost>>>;

/// What the registry sees of an actor without asking it.
pub struct ActorStatus {
    /// Roughly how many bytes its state takes.
    pub weight: AtomicUsize,
    discarded: AtomicBool,
    /// When it was loaded.
    durable: Mark,
    /// What it appended last; nothing yet where there is none.
    settled: Mutex<Option<Settled>>,
}

impl ActorStatus {
    /// Of an actor that has appended nothing: all it knows is durable already.
    pub fn new(durable: Mark) -> Self {
        Self {
            weight: AtomicUsize::new(0),
            discarded: AtomicBool::new(false),
            durable,
            settled: Mutex::new(None),
        }
    }

    /// When all that it appended so far is durable.
    pub fn settled(&self) -> Settled {
        let settled = self.settled.lock().unwrap_or_else(PoisonError::into_inner);
        let settled = settled.clone();
        settled.unwrap_or_else(|| std::future::ready(Ok(self.durable)).boxed().shared())
    }

    /// Ends the actor's work, whoever still holds its address: what it knows is not what is durable.
    pub fn discard(&self) {
        self.discarded.store(true, Ordering::Release);
    }

    /// False once [`Self::discard`]ed.
    pub fn is_of_use(&self) -> bool {
        !self.discarded.load(Ordering::Acquire)
    }

    /// From now on it is settled when this is.
    pub fn append(&self, settled: Settled) {
        *self.settled.lock().unwrap_or_else(PoisonError::into_inner) = Some(settled);
    }
}

impl std::fmt::Debug for ActorStatus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Vitals({} bytes)", self.weight.load(Ordering::Relaxed))
    }
}

/// What every actor needs of the node.
#[derive(Debug, Clone)]
pub struct Node {
    /// Where records go.
    pub store: Store,
    /// What entries are signed with.
    pub signer: Arc<Signer>,
    /// Whose key is it.
    pub directory: Arc<Directory>,
}

/// One tenant.
pub struct TenantActor {
    tenant: Tenant,
    /// `None` until the tenant was founded.
    log: Option<Log>,
    ledger: Ledger,
    /// The time of the last entry: the next one is not before it.
    last_at: Timestamp,
    /// The number of the next command.
    next: Sequence,
    node: Node,
    /// The last change of keys, or what waits for one.
    keys_settled: Option<Settled>,
    vitals: Arc<ActorStatus>,
}

impl TenantActor {
    /// A tenant as the store has it, or blank if it was never founded. Blocks, for seconds where there
    /// are a million intents.
    pub fn load(
        tenant: TenantId,
        node: Node,
        vitals: Arc<ActorStatus>,
    ) -> Result<Self, Unavailable> {
        let mut actor = Self {
            tenant: Tenant::blank(tenant),
            log: None,
            ledger: Ledger::new(),
            last_at: Timestamp::MIN,
            next: Sequence::FIRST,
            node,
            keys_settled: None,
            vitals,
        };
        actor.fold()?;
        actor.weigh();
        Ok(actor)
    }

    /// Folds what is stored.
    fn fold(&mut self) -> Result<(), Unavailable> {
        let id = self.tenant.id;
        let damaged = |why: &dyn std::fmt::Display| {
            tracing::error!(tenant = %id, "the tenant cannot be loaded: {why}");
            Unavailable::TenantCorrupt
        };
        let mut folded = Ok(());
        let tenant = &mut self.tenant;
        let loaded = self.node.store.load(id, &mut |table, key, envelope| {
            if folded.is_ok() {
                folded = absorb(tenant, table, key, envelope);
            }
        });
        let loaded = loaded.map_err(|why| damaged(&why))?;
        folded.map_err(|why| damaged(&why))?;
        let Some((head, ledger)) = loaded else {
            return Ok(());
        };
        let account = self
            .tenant
            .account()
            .ok_or_else(|| damaged(&"it has no account"))?;
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
        let log =
            Log::resume(origin, id, log_base, size, range, signer).map_err(|why| damaged(&why))?;
        if log.root() != root {
            return Err(damaged(&"the root of its log is another"));
        }
        self.log = Some(log);
        self.ledger = ledger;
        self.last_at = at;
        self.next = sequence.next();
        Ok(())
    }

    fn stamp(&self, caller: Caller) -> Stamp {
        let at = clock::now().max(self.last_at);
        Stamp::new(at, self.next, caller.key(), clock::random())
    }

    /// Runs a command. What it comes to may show what is not durable yet, a refusal no less than an
    /// answer, so all of it waits until everything appended so far is settled.
    fn run<C: Command>(
        &mut self,
        command: C,
        caller: Caller,
        slot: Slot,
    ) -> Result<PendingReply<C::Reply>, Stopped> {
        if self.tenant.account().is_none() && !C::FOUNDS {
            return Err(Refusal::NotFound("tenant").into());
        }
        let stamp = self.stamp(caller);
        let watch = clock::stopwatch();
        let admitted = caller.admit(&self.tenant, C::SCOPE, stamp.at);
        let plan = match admitted {
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
            settled: self.vitals.settled(),
            planning,
        })
    }

    /// Numbers, signs, takes in and appends a change: the one place where a tenant changes.
    fn commit<C: Command>(
        &mut self,
        change: Change<C::Reply>,
        stamp: &Stamp,
        slot: Slot,
    ) -> Result<(C::Reply, Receipt), Stopped> {
        if !self.node.store.writable() {
            return Err(Unavailable::StorageFull.into());
        }
        let Change { rows, fact, reply } = change;
        let signer = &self.node.signer;
        // Founding begins a log, and so does a restore; one whose first entry cannot be made does not
        // begin.
        let mut begun = lifecycle::new_log_origin(&rows, stamp.sequence).map(|origin| {
            let (tenant, origin) = (self.tenant.id, origin.to_owned());
            Log::begin(origin, tenant, stamp.sequence, signer.clone())
        });
        let log = begun.as_mut().or(self.log.as_mut());
        let log = log.expect("a tenant without a log is founded");
        let (entry, opening) = log.append(fact, stamp).map_err(|error| Refusal::Invalid {
            pointer: "",
            message: error.to_string(),
        })?;
        if begun.is_some() {
            self.log = begun;
        }
        let log = self.log.as_ref().expect("it was just appended to");
        let receipt = Receipt::of(&entry, signer.kid());

        let ops: Vec<_> = rows.iter().map(|edit| edit.op(self.tenant.id)).collect();
        for (edit, op) in rows.iter().zip(&ops) {
            self.tenant.absorb(edit);
            self.ledger.fold(self.tenant.id, op);
        }
        self.last_at = stamp.at;
        self.next = stamp.sequence.next();
        let head = Head {
            sequence: stamp.sequence,
            at: stamp.at,
            log_base: log.base(),
            next_due: None,
            hot_rows: self.ledger.count(),
            hot_hash: self.ledger.hash(),
            root: log.root(),
            range: log.range().to_vec(),
        };
        let (tenant, opening) = (self.tenant.id, opening.map(|opening| opening.encode()));
        let record = Record::new(
            tenant,
            stamp.sequence,
            ops,
            entry.into_bytes(),
            opening,
            head,
        );
        let durable = self.node.store.append(record, slot);
        let settled = self.settle(durable, rows);
        self.vitals.append(settled);
        self.weigh();
        Ok((reply, receipt))
    }

    /// Keys are known to the directory before anybody is answered, whether or not the caller stays, and
    /// in the tenant's order: while a change of keys is on its way, everything after it waits for it.
    fn settle(
        &mut self,
        durable: impl Future<Output = Result<Mark, Lost>> + Send + 'static,
        rows: Vec<Mutation>,
    ) -> Settled {
        let changes_keys = Directory::concerns(&rows);
        let before = self
            .keys_settled
            .take()
            .filter(|keys| keys.peek().is_none());
        if before.is_none() && !changes_keys {
            return durable.boxed().shared();
        }
        let (directory, tenant) = (self.node.directory.clone(), self.tenant.id);
        let settled = async move {
            let mark = durable.await?;
            if let Some(before) = before {
                before.await?;
            }
            directory.fold(tenant, &rows);
            Ok(mark)
        }
        .boxed()
        .shared();
        actix::spawn(settled.clone().map(drop));
        self.keys_settled = Some(settled.clone());
        settled
    }

    fn weigh(&self) {
        self.vitals
            .weight
            .store(self.tenant.weight(), Ordering::Relaxed);
    }

    /// Runs `job`; if it panics the state is not to be trusted any more, and the actor ends.
    fn guarded<T>(
        &mut self,
        context: &mut Context<Self>,
        job: impl FnOnce(&mut Self) -> Result<T, Stopped>,
    ) -> Result<T, Stopped> {
        if !self.vitals.is_of_use() {
            return Err(Unavailable::TenantReloading.into());
        }
        catch_unwind(AssertUnwindSafe(|| job(self))).unwrap_or_else(|_| {
            tracing::error!(tenant = %self.tenant.id, "a command panicked; the tenant is reloaded");
            self.vitals.discard();
            context.stop();
            Err(Unavailable::TenantReloading.into())
        })
    }
}

/// Takes a stored row into the state.
fn absorb(
    tenant: &mut Tenant,
    table: &'static TableSpec,
    key: &[u8],
    envelope: &[u8],
) -> Result<(), Box<dyn std::error::Error>> {
    let stored = open_envelope(tenant.id, table, key, envelope)?;
    let row = Row::decode(table, stored.version, key, &stored.payload)?;
    tenant.absorb(&Mutation::Put(row));
    Ok(())
}

/// What weighs more than this, bytes, takes long enough to be let go of for others to notice.
const LARGE: usize = 1 << 20;

impl Drop for TenantActor {
    /// A large state goes on a thread of its own: others live on this one.
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

/// A command that was carried out in memory and is on its way to the disk.
pub struct PendingReply<R> {
    /// For the caller, once it is settled.
    pub reply: Result<R, Refusal>,
    /// Of its entry, if it made one.
    pub receipt: Option<Receipt>,
    /// When the caller may have it.
    pub settled: Settled,
    /// How long planning took.
    pub planning: Duration,
}

/// Run this command.
pub struct Execute<C> {
    /// The command.
    pub command: C,
    /// Who gives it.
    pub caller: Caller,
    /// Its place.
    pub slot: Slot,
    /// Keeps the actor from resting until the command was handled.
    pub lease: Lease,
}

impl<C: Command> Message for Execute<C> {
    type Result = Result<PendingReply<C::Reply>, Stopped>;
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
        MessageResult(self.guarded(context, |actor| actor.run(command, caller, slot)))
    }
}

/// Look at the live state.
pub struct Inspect<F> {
    /// What is looked at.
    pub look: F,
    /// Who looks.
    pub caller: Caller,
    /// What it must be allowed for.
    pub scope: Scope,
    /// Keeps the actor from resting until it was looked at.
    pub lease: Lease,
}

impl<F, T> Message for Inspect<F>
where
    F: FnOnce(&Tenant, &Stamp) -> Result<T, Refusal>,
    T: 'static,
    F: 'static,
{
    type Result = Result<(Result<T, Refusal>, Settled), Stopped>;
}

impl<F, T> Handler<Inspect<F>> for TenantActor
where
    F: FnOnce(&Tenant, &Stamp) -> Result<T, Refusal> + 'static,
    T: 'static,
{
    type Result = MessageResult<Inspect<F>>;

    fn handle(&mut self, message: Inspect<F>, context: &mut Self::Context) -> Self::Result {
        let Inspect {
            look,
            caller,
            scope,
            lease: _lease,
        } = message;
        MessageResult(self.guarded(context, |actor| {
            if actor.tenant.account().is_none() {
                return Err(Refusal::NotFound("tenant").into());
            }
            let stamp = actor.stamp(caller);
            let admitted = caller.admit(&actor.tenant, scope, stamp.at);
            let seen = admitted.and_then(|()| look(&actor.tenant, &stamp));
            Ok((seen, actor.vitals.settled()))
        }))
    }
}
