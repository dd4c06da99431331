//! Tiers, quotas and the usage log (rules.md 2).

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::Tenant;
use super::command::Refusal;
use super::schema::{Eviction, TableRow};
use crate::id::{KeyId, Sequence};
use crate::store::Load;
use crate::string_enum;
use crate::time::{Month, Timestamp};

string_enum!(
    /// The quota of a key, and the retention of a tenant's openings.
    Tier {
        Free = 1 "free",
        Pro = 2 "pro",
        Premium = 3 "premium",
        Enterprise = 4 "enterprise",
    }
);

impl Tier {
    /// Evaluations a month (UTC).
    pub const fn limit(self) -> Option<u64> {
        match self {
            Self::Free => Some(1_000),
            Self::Pro => Some(10_000),
            Self::Premium => Some(50_000),
            Self::Enterprise => None,
        }
    }

    /// Of openings.
    pub const fn retention_days(self) -> u32 {
        match self {
            Self::Free => 7,
            Self::Pro => 30,
            Self::Premium => 90,
            Self::Enterprise => 365,
        }
    }
}

/// Counts the last month in which the key was used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyUsageRow {
    pub month: Month,
    pub used: u64,
    pub last_used_at: Timestamp,
}

#[derive(Debug, Default)]
pub struct Usage {
    by_key: HashMap<KeyId, KeyUsageRow>,
}

impl Usage {
    pub fn used(&self, key: KeyId, month: Month) -> u64 {
        self.by_key
            .get(&key)
            .filter(|row| row.month == month)
            .map_or(0, |row| row.used)
    }

    pub fn last_used_at(&self, key: KeyId) -> Option<Timestamp> {
        self.by_key.get(&key).map(|row| row.last_used_at)
    }

    pub fn iter(&self) -> impl Iterator<Item = (KeyId, &KeyUsageRow)> {
        self.by_key.iter().map(|(key, row)| (*key, row))
    }

    /// The row after one more evaluation at `at`.
    pub fn charge(&self, key: KeyId, tier: Tier, at: Timestamp) -> Result<KeyUsageRow, Refusal> {
        let month = at.month();
        let used = self.used(key, month);
        match tier.limit() {
            Some(limit) if used >= limit => Err(Refusal::QuotaExceeded {
                limit,
                resets_at: month.end(),
            }),
            Some(_) | None => Ok(KeyUsageRow {
                month,
                used: used + 1,
                last_used_at: at,
            }),
        }
    }
}

impl TableRow for KeyUsageRow {
    type Key = KeyId;
    const LOAD: Load = Load::Hot;
    const EXPORT: Option<&'static str> = Some("key_usage.ndjson");
    const WEIGHT: usize = 90;
    const EVICTION: Option<Eviction> = None;

    fn absorb(&self, key: &KeyId, tenant: &mut Tenant) -> Option<Self> {
        tenant.usage.by_key.insert(*key, *self)
    }

    fn forget(key: &KeyId, tenant: &mut Tenant) -> Option<Self> {
        tenant.usage.by_key.remove(key)
    }
}

/// One evaluation, as upstream logs it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageLogRow {
    pub key: KeyId,
    pub tier: Tier,
    pub at: Timestamp,
    pub endpoint: String,
    pub status: u16,
    pub error: Option<String>,
    /// From the request's arrival to the decision.
    pub processing_us: u64,
}

impl TableRow for UsageLogRow {
    type Key = Sequence;
    const LOAD: Load = Load::Cold;
    const EXPORT: Option<&'static str> = Some("usage_logs.ndjson");
    const WEIGHT: usize = 0;
    /// The quota counts evaluations, and not intents.
    const EVICTION: Option<Eviction> = None;

    fn absorb(&self, _: &Sequence, _: &mut Tenant) -> Option<Self> {
        None
    }

    fn forget(_: &Sequence, _: &mut Tenant) -> Option<Self> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_month_that_is_used_up_refuses_and_the_next_one_does_not() {
        let key = KeyId::from_bytes([7; 16]);
        let november = Timestamp::parse("2026-11-24T00:00:00Z").unwrap();
        let mut usage = Usage::default();
        for _ in 0..1_000 {
            let row = usage.charge(key, Tier::Free, november).unwrap();
            usage.by_key.insert(key, row);
        }
        let resets_at = Timestamp::parse("2026-12-01T00:00:00Z").unwrap();
        assert_eq!(
            usage.charge(key, Tier::Free, november),
            Err(Refusal::QuotaExceeded {
                limit: 1_000,
                resets_at
            })
        );
        assert_eq!(
            usage.charge(key, Tier::Free, resets_at).map(|row| row.used),
            Ok(1)
        );
        assert!(usage.charge(key, Tier::Enterprise, november).is_ok());
    }
}
