//! Admission control: bounds the work in flight, because actix mailboxes bound nothing.
//!
//! A command takes a [`Slot`] before any state is touched and returns it when its record is durable.
//! Of one tenant, [`Limits::running`] commands run and [`Limits::waiting`] more wait, first in first
//! out; beyond that, or beyond the node's total, a command is rejected at once. Plain types: nothing
//! here knows actors or clocks.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, PoisonError};

use tokio::sync::oneshot;

use super::error::Unavailable;
use crate::id::TenantId;
use crate::sync::{Mutex, MutexGuard};

#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Commands of one tenant that run at once.
    pub running: usize,
    /// Commands of one tenant that wait for one of those slots.
    pub waiting: usize,
    /// Commands of all tenants, running and waiting.
    pub total: usize,
    /// Bytes of the requests of all of them.
    pub bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            running: 128,
            waiting: 1_024,
            total: 4_096,
            bytes: 64 << 20,
        }
    }
}

#[derive(Debug, Clone)]
pub struct Admission {
    state: Arc<Mutex<State>>,
    limits: Limits,
}

#[derive(Debug, Default)]
struct State {
    queues: HashMap<TenantId, TenantQueue>,
    total: usize,
    bytes: usize,
    closed: bool,
}

/// INVARIANT: no command waits while fewer than the limit run.
#[derive(Debug, Default)]
struct TenantQueue {
    running: usize,
    waiting: VecDeque<oneshot::Sender<()>>,
}

/// A command's slot, returned when dropped.
#[derive(Debug)]
pub struct Slot {
    admission: Admission,
    tenant: TenantId,
    bytes: usize,
    /// Resolves when the command may run; `None` once it runs.
    permit: Option<oneshot::Receiver<()>>,
}

impl Slot {
    /// Waits until the command may run. A cancelled wait leaves the queue.
    pub async fn acquire(mut self) -> Self {
        if let Some(permit) = &mut self.permit {
            // The sender is dropped only after it was used.
            let _ = permit.await;
            self.permit = None;
        }
        self
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut state = self.admission.lock();
        state.total -= 1;
        state.bytes -= self.bytes;
        let ran = self
            .permit
            .as_mut()
            .is_none_or(|permit| permit.try_recv().is_ok());
        let Some(queue) = state.queues.get_mut(&self.tenant).filter(|_| ran) else {
            return;
        };
        // The slot goes to the first command that still waits; cancelled ones are skipped.
        while let Some(next) = queue.waiting.pop_front() {
            if next.send(()).is_ok() {
                return;
            }
        }
        queue.running -= 1;
        if queue.running == 0 {
            state.queues.remove(&self.tenant);
        }
    }
}

impl Admission {
    pub fn new(limits: Limits) -> Self {
        Self {
            state: Arc::default(),
            limits,
        }
    }

    /// Takes a slot for a command of `tenant` that is `bytes` long; see [`Slot::acquire`].
    pub fn admit(&self, tenant: TenantId, bytes: usize) -> Result<Slot, Unavailable> {
        let mut state = self.lock();
        if state.closed {
            return Err(Unavailable::ShuttingDown);
        }
        if state.total >= self.limits.total || state.bytes.saturating_add(bytes) > self.limits.bytes
        {
            return Err(Unavailable::Overloaded);
        }
        let queue = state.queues.entry(tenant).or_default();
        let permit = if queue.running < self.limits.running {
            queue.running += 1;
            None
        } else {
            if queue.waiting.len() >= self.limits.waiting {
                queue.waiting.retain(|waiter| !waiter.is_closed());
            }
            if queue.waiting.len() >= self.limits.waiting {
                return Err(Unavailable::TenantBusy);
            }
            let (sender, receiver) = oneshot::channel();
            queue.waiting.push_back(sender);
            Some(receiver)
        };
        state.total += 1;
        state.bytes += bytes;
        Ok(Slot {
            admission: self.clone(),
            tenant,
            bytes,
            permit,
        })
    }

    /// Rejects every further command.
    pub fn close(&self) {
        self.lock().closed = true;
    }

    pub fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// Commands that hold a slot.
    pub fn in_flight(&self) -> usize {
        self.lock().total
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is whole at every unlock: a panic elsewhere cannot have torn it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: TenantId = TenantId::from_bytes([1; 16]);
    const B: TenantId = TenantId::from_bytes([2; 16]);

    fn admission() -> Admission {
        Admission::new(Limits {
            running: 2,
            waiting: 2,
            total: 5,
            bytes: 100,
        })
    }

    fn runs(slot: &mut Slot) -> bool {
        slot.permit
            .as_mut()
            .is_none_or(|permit| permit.try_recv().is_ok())
    }

    #[test]
    fn one_tenant_runs_two_queues_two_and_rejects_the_fifth() {
        let admission = admission();
        let mut slots: Vec<_> = (0..4).map(|_| admission.admit(A, 1).unwrap()).collect();
        assert!(runs(&mut slots[0]) && runs(&mut slots[1]));
        assert!(slots[2].permit.is_some() && slots[3].permit.is_some());
        assert!(matches!(
            admission.admit(A, 1),
            Err(Unavailable::TenantBusy)
        ));
        assert!(
            admission.admit(B, 1).is_ok(),
            "another tenant is not blocked"
        );
    }

    #[test]
    fn slots_are_handed_on_in_order_and_never_lost() {
        let admission = admission();
        let (first, _second) = (
            admission.admit(A, 1).unwrap(),
            admission.admit(A, 1).unwrap(),
        );
        let (third, mut fourth) = (
            admission.admit(A, 1).unwrap(),
            admission.admit(A, 1).unwrap(),
        );
        drop(third); // cancelled while it waited
        drop(first);
        assert!(runs(&mut fourth));
        // One that was granted but cancelled before it noticed hands its slot on too.
        let granted = admission.admit(A, 1).unwrap();
        drop(fourth_as_waiting(fourth));
        drop(granted);
        assert_eq!(admission.in_flight(), 1);
        assert!(admission.admit(A, 1).unwrap().permit.is_none());
    }

    fn fourth_as_waiting(mut slot: Slot) -> Slot {
        slot.permit = None;
        slot
    }

    #[test]
    fn totals_bound_the_node_and_are_returned() {
        let admission = admission();
        let held: Vec<_> = (0..5)
            .map(|n| admission.admit(TenantId::from_bytes([n; 16]), 1).unwrap())
            .collect();
        assert!(matches!(
            admission.admit(B, 1),
            Err(Unavailable::Overloaded)
        ));
        drop(held);
        assert_eq!(admission.in_flight(), 0);
        assert!(
            matches!(admission.admit(B, 101), Err(Unavailable::Overloaded)),
            "bytes are bounded too"
        );
        assert!(admission.lock().queues.is_empty());
        admission.close();
        assert!(matches!(
            admission.admit(B, 1),
            Err(Unavailable::ShuttingDown)
        ));
    }
}
