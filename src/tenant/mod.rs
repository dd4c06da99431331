//! The state of one tenant, and every command that can change it.
//!
//! A feature is one file: its commands, its rows, its part of the state. The state is a
//! fold of rows: [`Tenant::absorb`] is the only way to change it, live, at activation and at rebuild,
//! so a row has the same effect after a crash.
//!
//! Pure: no clock, no randomness, no I/O, no logging; commands get time and randomness in a
//! [`Stamp`](crate::stamp::Stamp). Knows nothing of actors, of HTTP, or of how rows reach the disk.

pub mod authorization;
pub mod change_set;
pub mod claims;
pub mod command;
pub mod component;
pub mod evaluate;
pub mod eviction;
pub mod facts;
pub mod intents;
pub mod key;
pub mod learning;
pub mod lifecycle;
pub mod outcome;
pub mod restore;
pub mod schema;
mod sequence_map;
pub mod standing;
mod totals;
pub mod usage;

#[cfg(test)]
pub(crate) mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::decide::Rules;
use crate::id::{DecisionId, Pseudonymizer, Sequence, TenantId};
use crate::time::Timestamp;

use change_set::ChangeSets;
use component::Components;
use intents::Intents;
use key::Keys;
use learning::Learning;
use lifecycle::Account;
use outcome::Outcomes;
use restore::FormerLogRow;
use totals::Totals;
use usage::Usage;

#[derive(Debug)]
pub struct Tenant {
    pub id: TenantId,
    rules: Arc<Rules>,
    account: Option<Account>,
    keys: Keys,
    usage: Usage,
    intents: Intents,
    outcomes: Outcomes,
    learning: Learning,
    components: Components,
    change_sets: ChangeSets,
    /// By the sequence at which each began.
    former_logs: BTreeMap<Sequence, FormerLogRow>,
    totals: Totals,
    #[cfg(test)]
    reminders: tests::reminder::Reminders,
}

impl Tenant {
    pub fn blank(id: TenantId) -> Self {
        Self {
            id,
            rules: Rules::shared(),
            account: None,
            keys: Keys::default(),
            usage: Usage::default(),
            intents: Intents::default(),
            outcomes: Outcomes::default(),
            learning: Learning::default(),
            components: Components::default(),
            change_sets: ChangeSets::default(),
            former_logs: BTreeMap::new(),
            totals: Totals::default(),
            #[cfg(test)]
            reminders: tests::reminder::Reminders::new(),
        }
    }

    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    pub fn account(&self) -> Option<&Account> {
        self.account.as_ref()
    }

    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    pub fn components(&self) -> &Components {
        &self.components
    }

    pub fn former_logs(&self) -> impl Iterator<Item = (Sequence, &FormerLogRow)> {
        self.former_logs.iter().map(|(base, row)| (*base, row))
    }

    pub fn usage(&self) -> &Usage {
        &self.usage
    }

    pub fn intents(&self) -> &Intents {
        &self.intents
    }

    pub fn outcomes(&self) -> &Outcomes {
        &self.outcomes
    }

    pub fn change_sets(&self) -> &ChangeSets {
        &self.change_sets
    }

    pub fn learning(&self) -> &Learning {
        &self.learning
    }

    /// Panics if the tenant is not founded.
    pub fn decision_id(&self, sequence: Sequence) -> DecisionId {
        let log = self.log_at(sequence);
        DecisionId::new(log.expect("a founded tenant has an account"), sequence)
    }

    /// `None` if no entry of the present log, or of the restored part of a former one, has this id.
    pub fn sequence_of(&self, id: DecisionId) -> Option<Sequence> {
        let logs = self.former_logs.values().map(|former| &former.log);
        let logs = logs.chain(self.account.as_ref().map(|account| &account.row.log));
        logs.filter_map(|log| Some((log, id.sequence_in(log)?)))
            .find(|(log, sequence)| self.log_at(*sequence) == Some(log))
            .map(|(_, sequence)| sequence)
    }

    fn log_at(&self, sequence: Sequence) -> Option<&str> {
        let present = &self.account.as_ref()?.row;
        match self.former_logs.range(..=sequence).next_back() {
            Some((_, former)) if sequence < present.log_base => Some(&former.log),
            Some(_) | None => Some(&present.log),
        }
    }

    /// Bytes in memory, roughly.
    pub fn weight(&self) -> usize {
        const EMPTY: usize = 4_000;
        EMPTY + self.totals.weight()
    }

    pub fn next_due(&self) -> Option<Timestamp> {
        self.totals.next_due()
    }

    /// Panics if the tenant is not founded.
    pub fn pseudonymizer(&self) -> &Pseudonymizer {
        &self
            .account
            .as_ref()
            .expect("a founded tenant has an account")
            .pseudonymizer
    }
}
