//! Thousands of schedules of the threads that race in admission and in the registry.
//!
//! `cargo test --features shuttle --lib races`; see [`schedules`]. A deadlock fails a race by itself.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use shuttle::future::block_on;
use shuttle::rand::Rng;
use shuttle::sync::mpsc;
use shuttle::thread;
use tokio::sync::oneshot;

use super::Unavailable;
use super::admission::{Admission, Limits, Slot};
use super::registry::{Address, Lease, LoadRequest, Registry};
use super::tenant::ActorStatus;
use crate::id::TenantId;
use crate::store::{Lost, Mark};
use crate::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use crate::sync::{Mutex, schedules};

const TENANT: TenantId = TenantId::from_bytes([1; 16]);

fn one_in(many: u32) -> bool {
    shuttle::rand::thread_rng().gen_ratio(1, many)
}

#[test]
fn slots_never_leak_and_never_exceed_their_limits() {
    schedules(6_000, || {
        let limits = Limits {
            running: 2,
            waiting: 2,
            total: 6,
            bytes: 50,
        };
        let admission = Admission::new(limits);
        let running = [AtomicUsize::new(0), AtomicUsize::new(0)];
        let running = Arc::new(running);
        let threads = (0..8).map(|n| {
            let (admission, running) = (admission.clone(), running.clone());
            thread::spawn(move || {
                let which = n % 2;
                let Ok(slot) = admission.admit(TenantId::from_bytes([n as u8 % 2; 16]), 10) else {
                    return;
                };
                assert!(admission.in_flight() <= 5, "50 bytes are five slots");
                // Some are cancelled while they wait, some after the grant and before they see it.
                let acquired = match one_in(3) {
                    true => slot.acquire().now_or_never(),
                    false => Some(block_on(slot.acquire())),
                };
                if acquired.is_some() {
                    assert!(running[which].fetch_add(1, Ordering::SeqCst) < 2);
                    thread::yield_now();
                    running[which].fetch_sub(1, Ordering::SeqCst);
                }
                drop(acquired);
            })
        });
        let threads: Vec<_> = threads.collect();
        threads
            .into_iter()
            .for_each(|thread| thread.join().unwrap());
        assert_eq!(admission.in_flight(), 0);
        // All capacity is back.
        let again: Vec<Slot> = (0..2)
            .map(|_| admission.admit(TENANT, 25).unwrap())
            .collect();
        assert!(
            again
                .into_iter()
                .all(|slot| slot.acquire().now_or_never().is_some())
        );
    });
}

#[test]
fn commands_run_first_in_first_out() {
    schedules(4_000, || {
        let limits = Limits {
            running: 1,
            waiting: 8,
            total: 9,
            bytes: 0,
        };
        let admission = Admission::new(limits);
        // The number of the last arrival, and of the last that ran.
        let (arrived, ran) = (Arc::new(Mutex::new(0)), Arc::new(Mutex::new(0)));
        let threads = (0..5).map(|_| {
            let (admission, arrived, ran) = (admission.clone(), arrived.clone(), ran.clone());
            thread::spawn(move || {
                let (slot, number) = {
                    let mut arrived = arrived.lock().unwrap();
                    *arrived += 1;
                    (admission.admit(TENANT, 0).unwrap(), *arrived)
                };
                let acquired = match one_in(4) {
                    true => slot.acquire().now_or_never(),
                    false => Some(block_on(slot.acquire())),
                };
                if acquired.is_some() {
                    let mut ran = ran.lock().unwrap();
                    assert!(*ran < number, "{number} was overtaken by {ran}");
                    *ran = number;
                }
            })
        });
        let threads: Vec<_> = threads.collect();
        threads
            .into_iter()
            .for_each(|thread| thread.join().unwrap());
        assert_eq!(admission.in_flight(), 0);
    });
}

/// One tenant, its log, and the threads around them.
#[derive(Clone)]
struct World(Arc<Parts>);

struct Parts {
    registry: Registry<FakeAddress>,
    /// What is durable: the ids of the records.
    log: Mutex<Vec<u64>>,
    queue: Mutex<mpsc::Sender<Record>>,
    /// Records that are neither durable nor lost.
    in_flight: AtomicUsize,
    /// The thread that the tenant lives on: it does one thing at a time.
    thread: Mutex<()>,
    loading: AtomicBool,
    loads: AtomicUsize,
    /// Incarnations that ended for a reason.
    ended: Mutex<HashSet<u64>>,
}

struct Record {
    id: u64,
    sequence: usize,
    /// The record before it, as the one who appends knows it.
    parent: Option<u64>,
    done: oneshot::Sender<Mark>,
}

/// The actor, and its address.
#[derive(Clone)]
struct FakeAddress(Arc<Actor>);

struct Actor {
    known: Mutex<Vec<u64>>,
    status: Arc<ActorStatus>,
    ended: AtomicBool,
}

impl Address for FakeAddress {
    fn is_connected(&self) -> bool {
        !self.0.ended.load(Ordering::SeqCst)
    }
}

impl World {
    fn new() -> Self {
        let (queue, records) = mpsc::channel();
        let world = Self(Arc::new(Parts {
            registry: Registry::new(1 << 20),
            log: Mutex::default(),
            queue: Mutex::new(queue),
            in_flight: AtomicUsize::new(0),
            thread: Mutex::default(),
            loading: AtomicBool::new(false),
            loads: AtomicUsize::new(0),
            ended: Mutex::default(),
        }));
        let parts = Arc::downgrade(&world.0);
        thread::spawn(move || {
            while let Ok(record) = records.recv() {
                // The test has ended.
                let Some(parts) = parts.upgrade() else { return };
                commit(&parts, record);
            }
        });
        world
    }

    /// As `Engine::execute`: a command that appends record `id`, answered once it is durable.
    fn execute(&self, id: u64) -> Result<(), Unavailable> {
        let lease = block_on(self.0.registry.lease(TENANT, |load| self.load(load)))?;
        let (address, generation) = (lease.address.clone(), lease.generation);
        // The message lies in the mailbox for a while.
        thread::yield_now();
        let commit = self.handle(&address, lease, id).inspect_err(|_| {
            self.0.ended.lock().unwrap().insert(generation);
            self.0.registry.discard(TENANT, generation);
        })?;
        if block_on(commit).is_err() {
            self.0.ended.lock().unwrap().insert(generation);
            self.0.registry.discard(TENANT, generation);
            return Err(Unavailable::StorageFull);
        }
        Ok(())
    }

    /// As the actor's handler.
    fn handle(
        &self,
        actor: &FakeAddress,
        lease: Lease<FakeAddress>,
        id: u64,
    ) -> Result<super::tenant::CommitFuture, Unavailable> {
        let _thread = self.0.thread.lock().unwrap();
        let FakeAddress(actor) = actor;
        if !actor.status.is_valid() {
            let ended = self.0.ended.lock().unwrap();
            assert!(ended.contains(&lease.generation), "ended without a reason");
            return Err(Unavailable::TenantReloading);
        }
        if one_in(8) {
            // A panic.
            self.0.ended.lock().unwrap().insert(lease.generation);
            actor.status.discard();
            actor.ended.store(true, Ordering::SeqCst);
            return Err(Unavailable::TenantReloading);
        }
        let mut known = actor.known.lock().unwrap();
        let (done, durable) = oneshot::channel();
        let record = Record {
            id,
            sequence: known.len(),
            parent: known.last().copied(),
            done,
        };
        known.push(id);
        self.0.in_flight.fetch_add(1, Ordering::SeqCst);
        self.0.queue.lock().unwrap().send(record).unwrap();
        let commit = durable
            .map(|mark| mark.map_err(|_| Lost::Unknown))
            .boxed()
            .shared();
        actor.status.set_last_commit(commit.clone());
        drop(lease);
        Ok(commit)
    }

    /// As `Engine::activate`, on a thread of its own.
    fn load(&self, LoadRequest { after, done }: LoadRequest) -> bool {
        let world = self.clone();
        thread::spawn(move || {
            let parts = &world.0;
            assert!(
                !parts.loading.swap(true, Ordering::SeqCst),
                "loaded twice at a time"
            );
            let last_commit = {
                let _thread = parts.thread.lock().unwrap();
                after.map(|last| last.last_commit())
            };
            if let Some(last_commit) = last_commit {
                let _ = block_on(last_commit);
            }
            assert_eq!(
                parts.in_flight.load(Ordering::SeqCst),
                0,
                "claimed too early"
            );
            let known = parts.log.lock().unwrap().clone();
            let status = Arc::new(ActorStatus::new(Mark::played()));
            let actor = Actor {
                known: Mutex::new(known),
                status: status.clone(),
                ended: AtomicBool::new(false),
            };
            parts.loads.fetch_add(1, Ordering::SeqCst);
            parts.loading.store(false, Ordering::SeqCst);
            if one_in(8) {
                parts.registry.fail_load(TENANT);
                let _ = done.send(Err(Unavailable::TenantCorrupt));
            } else {
                parts
                    .registry
                    .finish_load(TENANT, FakeAddress(Arc::new(actor)), status);
                let _ = done.send(Ok(()));
            }
        });
        true
    }
}

/// As the committer: in order, or lost; and now and then there is no room.
fn commit(parts: &Parts, record: Record) {
    let mut log = parts.log.lock().unwrap();
    let durable = record.sequence == log.len() && !one_in(8);
    if durable {
        let last = log.last().copied();
        assert_eq!(record.parent, last, "a state that was discarded was used");
        log.push(record.id);
    }
    drop(log);
    parts.in_flight.fetch_sub(1, Ordering::SeqCst);
    if durable {
        let _ = record.done.send(Mark::played());
    }
}

#[test]
fn a_tenant_is_evicted_and_reloaded_and_its_order_stays() {
    schedules(6_000, || {
        let world = World::new();
        let acknowledged = Arc::new(Mutex::new(Vec::new()));
        let clients = (0..4).map(|client| {
            let (world, acknowledged) = (world.clone(), acknowledged.clone());
            thread::spawn(move || {
                for nth in 0..3 {
                    let id = client * 10 + nth;
                    if world.execute(id).is_ok() {
                        acknowledged.lock().unwrap().push(id);
                        assert!(world.0.log.lock().unwrap().contains(&id));
                    }
                }
            })
        });
        let mut threads: Vec<_> = clients.collect();
        let sweeper = world.clone();
        threads.push(thread::spawn(move || {
            for _ in 0..3 {
                sweeper.0.registry.evict(Duration::ZERO);
                thread::yield_now();
            }
        }));
        // A late caller that saw an early incarnation fail.
        let late = world.clone();
        threads.push(thread::spawn(move || {
            let old = late.0.ended.lock().unwrap().iter().copied().min();
            if let Some(old) = old {
                late.0.registry.discard(TENANT, old);
            }
        }));
        threads
            .into_iter()
            .for_each(|thread| thread.join().unwrap());

        let log = world.0.log.lock().unwrap().clone();
        let once: HashSet<_> = log.iter().collect();
        assert_eq!(once.len(), log.len(), "applied twice");
        let mut places: HashMap<_, _> = HashMap::new();
        places.extend(log.iter().enumerate().map(|(place, id)| (*id, place)));
        let acknowledged = acknowledged.lock().unwrap();
        assert!(
            acknowledged.iter().all(|id| places.contains_key(id)),
            "an answer was lost"
        );
        let of_client = |client| move |id: &&u64| **id / 10 == client;
        for client in 0..4 {
            let order: Vec<_> = acknowledged
                .iter()
                .filter(of_client(client))
                .map(|id| places[id])
                .collect();
            assert!(
                order.is_sorted(),
                "the order of one client's commands changed"
            );
        }
        // Every lease was given back.
        world.0.registry.evict(Duration::ZERO);
        assert_eq!(world.0.registry.active(), 0);
    });
}
