//! What one tenant knows, and everything that can change it.
//!
//! A feature is one file: its commands, its rows, its part of the state. The state is a
//! fold of rows: [`Tenant::absorb`] is the only way to change it, live, at activation and at rebuild,
//! so what a row does now is what it does after a crash.
//!
//! Pure: no clock, no randomness, no I/O, no logging; whatever a command needs of the world is in its
//! [`Stamp`](crate::stamp::Stamp). Knows nothing of actors, of HTTP, or of how rows reach the disk.

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

/// A tenant's state: all that its commands can see.
#[derive(Debug)]
pub struct Tenant {
    pub id: TenantId,
    rules: Arc<Rules>,
    pub(crate) account: Option<Account>,
    pub(crate) keys: Keys,
    pub(crate) usage: Usage,
    pub(crate) intents: Intents,
    pub(crate) outcomes: Outcomes,
    pub(crate) learning: Learning,
    pub(crate) components: Components,
    pub(crate) change_sets: ChangeSets,
    /// The audit logs it had before the present one, by the sequence at which each began.
    pub(crate) former_logs: BTreeMap<Sequence, FormerLogRow>,
    totals: Totals,
    #[cfg(test)]
    reminders: tests::reminder::Reminders,
}

impl Tenant {
    /// A tenant without rows.
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

    /// Everything its decisions depend on besides intent and evidence.
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

    /// The audit logs it had before the present one, by the sequence at which each began.
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

    /// The id of the entry at `sequence`. Only a founded tenant has a log.
    pub fn decision_id(&self, sequence: Sequence) -> DecisionId {
        let log = self.log_at(sequence);
        DecisionId::new(log.expect("a founded tenant has an account"), sequence)
    }

    /// The sequence of the entry with this id, if it is one of this tenant's: of its present log, or
    /// of one that a restore ended, as far as it was restored.
    pub fn sequence_of(&self, id: DecisionId) -> Option<Sequence> {
        let logs = self.former_logs.values().map(|former| &former.log);
        let logs = logs.chain(self.account.as_ref().map(|account| &account.row.log));
        logs.filter_map(|log| Some((log, id.sequence_in(log)?)))
            .find(|(log, sequence)| self.log_at(*sequence) == Some(log))
            .map(|(_, sequence)| sequence)
    }

    /// The name of the log that the entry at `sequence` is in.
    fn log_at(&self, sequence: Sequence) -> Option<&str> {
        let present = &self.account.as_ref()?.row;
        let former = self.former_logs.range(..=sequence).next_back();
        match former {
            Some((_, former)) if sequence < present.log_base => Some(&former.log),
            Some(_) | None => Some(&present.log),
        }
    }

    /// Bytes that the state takes in memory, roughly.
    pub fn weight(&self) -> usize {
        const EMPTY: usize = 4_000;
        EMPTY + self.totals.weight()
    }

    /// The earliest time at which one of its rows is due.
    pub fn next_due(&self) -> Option<Timestamp> {
        self.totals.next_due()
    }

    /// Only commands of a founded tenant need it.
    pub fn pseudonymizer(&self) -> &Pseudonymizer {
        &self
            .account
            .as_ref()
            .expect("a founded tenant has an account")
            .pseudonymizer
    }
}
