//! Eviction: a tenant keeps so many intents and no more (rules.md 2); a new one takes the place of the
//! oldest. What goes with an intent is said by each table ([`TableRow::evict`](super::schema::TableRow)).

use super::Tenant;
use super::intents::IntentRow;
use super::schema::{self, Mutation};

/// Evicts the oldest intent if there is no room for another, with all that belongs to it.
pub fn evict_oldest_intent(tenant: &Tenant) -> Option<(&IntentRow, Vec<Mutation>)> {
    let max = usize::try_from(tenant.rules.settings.intents.max).unwrap_or(usize::MAX);
    if tenant.intents.count() < max {
        return None;
    }
    let (sequence, intent) = tenant.intents.oldest()?;
    Some((intent, schema::evict(sequence, intent, tenant)))
}
