//! How much work may be under way. actix mailboxes bound nothing, so this does.
//!
//! A command takes a place before anything is touched and gives it back when its record is durable.
//! Of a tenant, [`Limits::running`] commands run and [`Limits::waiting`] more wait, first come first
//! served; beyond that, or beyond the node's total, a command is refused at the door. Plain types:
//! nothing here knows of actors, and time passes only for those who wait.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, PoisonError};

use tokio::sync::oneshot;

use super::Unavailable;
use crate::id::TenantId;
use crate::sync::{Mutex, MutexGuard};

/// How much work may be under way.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Commands of one tenant that run at once.
    pub running: usize,
    /// Commands of one tenant that wait for one of those places.
    pub waiting: usize,
    /// Commands in all, running and waiting.
    pub total: usize,
    /// Bytes of request of all of them.
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

/// The door that every command comes through.
#[derive(Debug, Clone)]
pub struct Admission {
    state: Arc<Mutex<State>>,
    limits: Limits,
}

#[derive(Debug, Default)]
struct State {
    lines: HashMap<TenantId, Line>,
    total: usize,
    bytes: usize,
    closed: bool,
}

/// One tenant's commands. INVARIANT: nobody waits while fewer than the limit run.
#[derive(Debug, Default)]
struct Line {
    running: usize,
    waiting: VecDeque<oneshot::Sender<()>>,
}

/// A command's place; given back when dropped.
#[derive(Debug)]
pub struct Slot {
    admission: Admission,
    tenant: TenantId,
    bytes: usize,
    /// Resolves when it is this command's turn; `None` once it runs.
    turn: Option<oneshot::Receiver<()>>,
}

impl Slot {
    /// Waits until it is this command's turn. Giving up leaves the line.
    pub async fn turn(mut self) -> Self {
        if let Some(turn) = &mut self.turn {
            // The sender is dropped only after it was used.
            let _ = turn.await;
            self.turn = None;
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
            .turn
            .as_mut()
            .is_none_or(|turn| turn.try_recv().is_ok());
        let Some(line) = state.lines.get_mut(&self.tenant).filter(|_| ran) else {
            return;
        };
        // The place goes to the first who still waits; those who gave up are passed over.
        while let Some(next) = line.waiting.pop_front() {
            if next.send(()).is_ok() {
                return;
            }
        }
        line.running -= 1;
        if line.running == 0 {
            state.lines.remove(&self.tenant);
        }
    }
}

impl Admission {
    /// A door with these limits.
    pub fn new(limits: Limits) -> Self {
        Self {
            state: Arc::default(),
            limits,
        }
    }

    /// Takes a place for a command of `tenant` that is `bytes` long; see [`Slot::turn`].
    pub fn enter(&self, tenant: TenantId, bytes: usize) -> Result<Slot, Unavailable> {
        let mut state = self.lock();
        if state.closed {
            return Err(Unavailable::ShuttingDown);
        }
        if state.total >= self.limits.total || state.bytes.saturating_add(bytes) > self.limits.bytes
        {
            return Err(Unavailable::Overloaded);
        }
        let line = state.lines.entry(tenant).or_default();
        let turn = if line.running < self.limits.running {
            line.running += 1;
            None
        } else {
            if line.waiting.len() >= self.limits.waiting {
                line.waiting.retain(|waiter| !waiter.is_closed());
            }
            if line.waiting.len() >= self.limits.waiting {
                return Err(Unavailable::TenantBusy);
            }
            let (sender, receiver) = oneshot::channel();
            line.waiting.push_back(sender);
            Some(receiver)
        };
        state.total += 1;
        state.bytes += bytes;
        Ok(Slot {
            admission: self.clone(),
            tenant,
            bytes,
            turn,
        })
    }

    /// Lets nobody in any more.
    pub fn close(&self) {
        self.lock().closed = true;
    }

    /// True once nobody is let in any more.
    pub fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// Commands that hold a place.
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

    fn door() -> Admission {
        Admission::new(Limits {
            running: 2,
            waiting: 2,
            total: 5,
            bytes: 100,
        })
    }

    fn runs(slot: &mut Slot) -> bool {
        slot.turn
            .as_mut()
            .is_none_or(|turn| turn.try_recv().is_ok())
    }

    #[test]
    fn one_tenant_runs_two_lets_two_wait_and_turns_the_fifth_away() {
        let door = door();
        let mut inside: Vec<_> = (0..4).map(|_| door.enter(A, 1).unwrap()).collect();
        assert!(runs(&mut inside[0]) && runs(&mut inside[1]));
        assert!(inside[2].turn.is_some() && inside[3].turn.is_some());
        assert!(matches!(door.enter(A, 1), Err(Unavailable::TenantBusy)));
        assert!(door.enter(B, 1).is_ok(), "another tenant is not held up");
    }

    #[test]
    fn places_are_handed_on_in_order_and_never_lost() {
        let door = door();
        let (first, _second) = (door.enter(A, 1).unwrap(), door.enter(A, 1).unwrap());
        let (third, mut fourth) = (door.enter(A, 1).unwrap(), door.enter(A, 1).unwrap());
        drop(third); // gave up while waiting
        drop(first);
        assert!(runs(&mut fourth));
        // One that was granted but gave up before it noticed hands its place on too.
        let granted = door.enter(A, 1).unwrap();
        drop(fourth_as_waiting(fourth));
        drop(granted);
        assert_eq!(door.in_flight(), 1);
        assert!(door.enter(A, 1).unwrap().turn.is_none());
    }

    fn fourth_as_waiting(mut slot: Slot) -> Slot {
        slot.turn = None;
        slot
    }

    #[test]
    fn totals_bound_the_node_and_come_back() {
        let door = door();
        let held: Vec<_> = (0..5)
            .map(|n| door.enter(TenantId::from_bytes([n; 16]), 1).unwrap())
            .collect();
        assert!(matches!(door.enter(B, 1), Err(Unavailable::Overloaded)));
        drop(held);
        assert_eq!(door.in_flight(), 0);
        assert!(
            matches!(door.enter(B, 101), Err(Unavailable::Overloaded)),
            "bytes are bounded too"
        );
        assert!(door.lock().lines.is_empty());
        door.close();
        assert!(matches!(door.enter(B, 1), Err(Unavailable::ShuttingDown)));
    }
}
