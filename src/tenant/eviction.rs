//! Eviction of the oldest intent when a tenant has its maximum (rules.md 2). Each table says what goes
//! with it ([`TableRow::EVICTION`](super::schema::TableRow::EVICTION)).

use super::Tenant;
use super::intents::IntentRow;
use super::schema::{self, Mutation};

/// The oldest intent and the mutations that evict it, if there is no room for another.
pub fn evict_oldest_intent(tenant: &Tenant) -> Option<(&IntentRow, Vec<Mutation>)> {
    let max = usize::try_from(tenant.rules.settings.intents.max).unwrap_or(usize::MAX);
    if tenant.intents.count() < max {
        return None;
    }
    let (sequence, intent) = tenant.intents.oldest()?;
    Some((intent, schema::evict(sequence, intent, tenant)))
}
