//! The current owner of every tenant, and the fence against those before it.

use std::collections::HashMap;
use std::sync::{Condvar, Mutex, MutexGuard};

use crate::id::TenantId;
use crate::store::owner::Owner;

/// Shared by claims and the committer.
#[derive(Default)]
pub struct Owners {
    state: Mutex<State>,
    /// A group is written.
    written: Condvar,
}

#[derive(Default)]
struct State {
    /// The last epoch of every tenant that was ever claimed.
    epochs: HashMap<TenantId, u64>,
    /// The number of the group that was begun last.
    group: u64,
    writing: bool,
}

/// A group that is being written. What is dropped is written, or lost.
pub struct Group<'a>(&'a Owners);

impl Owners {
    /// Makes a new owner. On return every record of an owner before it is durable and readable, or will
    /// be refused.
    pub fn claim(&self, tenant: TenantId) -> Owner {
        let mut state = self.lock();
        let epoch = state.epochs.entry(tenant).or_insert(0);
        *epoch += 1;
        let owner = Owner::new(tenant, *epoch);
        let group = state.group;
        // Before the first claim there is no owner, so no record of it can be in the group.
        if owner.epoch() > 1 {
            let in_group = |state: &mut State| state.writing && state.group == group;
            drop(self.written.wait_while(state, in_group).expect(NO_PANIC));
        }
        owner
    }

    /// Begins a group. Records are checked after that, so that a claim in between waits for the group.
    pub fn begin_group(&self) -> Group<'_> {
        let mut state = self.lock();
        state.group += 1;
        state.writing = true;
        drop(state);
        Group(self)
    }

    /// Whether no later claim fences this owner.
    pub fn is_current(&self, owner: Owner) -> bool {
        let epochs = &self.lock().epochs;
        owner.epoch() == epochs.get(&owner.tenant()).copied().unwrap_or(0)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect(NO_PANIC)
    }
}

impl Drop for Group<'_> {
    fn drop(&mut self) {
        self.0.lock().writing = false;
        self.0.written.notify_all();
    }
}

const NO_PANIC: &str = "no holder of this lock panics";

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[test]
    fn a_claim_waits_for_the_group_that_may_hold_records_of_the_owner_before_it() {
        let tenant = TenantId::from_bytes([1; 16]);
        let owners = Owners::default();
        let written = AtomicBool::new(false);
        let first = owners.claim(tenant);
        let group = owners.begin_group();
        assert!(owners.is_current(first));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let second = owners.claim(tenant);
                assert!(
                    written.load(Ordering::SeqCst),
                    "the group is not written yet"
                );
                assert!(owners.is_current(second));
            });
            while owners.is_current(first) {
                std::thread::yield_now();
            }
            // Time for a claim that would not wait.
            (0..10_000).for_each(|_| std::thread::yield_now());
            written.store(true, Ordering::SeqCst);
            drop(group);
        });
        // A first claim does not wait.
        let _group = owners.begin_group();
        owners.claim(TenantId::from_bytes([2; 16]));
    }
}
