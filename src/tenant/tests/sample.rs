//! A sample row of every table, for the golden bytes and for eviction: rows that belong together name
//! each other.

use crate::decide::intent::{Environment, IntentType, Operation};
use crate::decide::{Action, Category, Counts, PerCategory};

use crate::id::{KeyId, Pseudonym, Sequence};
use crate::number::Probability;
use crate::tenant::change_set::{ChangeSetRow, Tally};
use crate::tenant::claims::Claims;
use crate::tenant::component::ComponentRow;
use crate::tenant::intents::{IntentRow, OutcomeMark, Review, Verdict};
use crate::tenant::key::{KeyHash, KeyRow, Role};
use crate::tenant::learning::BetaRow;
use crate::tenant::lifecycle::AccountRow;
use crate::tenant::outcome::{NotLearned, OutcomeRow};
use crate::tenant::restore::FormerLogRow;
use crate::tenant::schema::TableRow;
use crate::tenant::usage::{KeyUsageRow, Tier, UsageLogRow};
use crate::time::Timestamp;

/// Every row has one (the list of tables asks for it).
pub trait Sample: TableRow {
    /// A row with every optional field. It names [`INTENT`] if it belongs to an intent, and else not.
    fn sample() -> (Self::Key, Self);
}

/// The intent that some of the rows belong to. Bytes that occur in no row by chance.
pub const INTENT: Sequence = Sequence::new(0x0102_0304_0506_0708);
/// Its outcome.
pub const OUTCOME: Sequence = Sequence::new(0x0102_0304_0506_0800);
/// A command that changed something else.
pub const OTHER: Sequence = Sequence::new(258);
pub const KEY: KeyId = KeyId::from_bytes([7; 16]);
pub const CHANGE_SET: Pseudonym = pseudonym(10);

pub const fn pseudonym(byte: u8) -> Pseudonym {
    Pseudonym::from_bytes([byte; 16])
}

pub fn at(micros: i64) -> Timestamp {
    Timestamp::from_micros(1_790_000_000_000_000 + micros)
}

/// True if the bytes of a key or a row hold this intent's sequence or its id.
pub fn names(bytes: &[u8], sequence: Sequence, id: Option<Pseudonym>) -> bool {
    let sequence = sequence.get();
    let has = |part: &[u8]| bytes.windows(part.len()).any(|window| window == part);
    has(&sequence.to_be_bytes())
        || has(&sequence.to_le_bytes())
        || id.is_some_and(|id| has(id.as_bytes()))
}

impl Sample for AccountRow {
    fn sample() -> (Self::Key, Self) {
        let row = Self {
            name: "Example".into(),
            created_at: at(1),
            created_by: Some("ops@example.org".into()),
            tier: Tier::Pro,
            retention_days: 30,
            log: "arf.invalid/audit/aaaaaaaaaaaaaaaaaaaaaaaaaa".into(),
            log_base: Sequence::FIRST,
            name_secret: [5; 32],
        };
        ((), row)
    }
}

impl Sample for KeyRow {
    fn sample() -> (Self::Key, Self) {
        let row = Self {
            key_id: KEY,
            tier: Tier::Pro,
            role: Some(Role::Reviewer),
            scopes: Role::Reviewer.scopes(),
            created_at: at(2),
            is_active: true,
            expires_at: Some(at(3)),
            name: Some("review".into()),
            owner: Some("alice".into()),
        };
        (KeyHash::of("arf_pro_example"), row)
    }
}

impl Sample for KeyUsageRow {
    fn sample() -> (Self::Key, Self) {
        let row = Self {
            month: at(4).month(),
            used: 41,
            last_used_at: at(4),
        };
        (KEY, row)
    }
}

impl Sample for IntentRow {
    fn sample() -> (Self::Key, Self) {
        let row = Self {
            id: pseudonym(1),
            digest: pseudonym(2),
            change_set: Some(CHANGE_SET),
            component: pseudonym(4),
            requester: pseudonym(5),
            memory: pseudonym(6),
            caller: KEY,
            intent_type: IntentType::GrantAccess,
            category: Category::Security,
            action: Action::Escalate,
            environment: Environment::Prod,
            target: Some(Environment::Staging),
            operation: Some(Operation::Replace),
            risk: 0.25,
            blend: 1.0 / 6.0,
            created_at: at(5),
            expires_at: Some(at(10)),
            review: Some(Review {
                verdict: Verdict::Approve,
                at: at(6),
            }),
            outcome: Some(OutcomeMark {
                sequence: OUTCOME,
                success: true,
                learned: true,
            }),
        };
        (INTENT, row)
    }
}

impl Sample for OutcomeRow {
    fn sample() -> (Self::Key, Self) {
        let row = Self {
            intent: INTENT,
            success: true,
            reporter: KEY,
            not_learned: Some(NotLearned::SameChangeSet),
            recorded_at: at(7),
            idempotency_key: Some(pseudonym(8)),
        };
        (OUTCOME, row)
    }
}

impl Sample for BetaRow {
    fn sample() -> (Self::Key, Self) {
        let counts = Counts {
            failures: 1,
            trials: 20,
            self_reported: 3,
            imported: 4,
        };
        let updated_at = at(8);
        (Category::Network, Self { counts, updated_at })
    }
}

impl Sample for ComponentRow {
    fn sample() -> (Self::Key, Self) {
        let row = Self {
            smoothed: Probability::new(0.125).expect("0.125 is a probability"),
            last: OTHER,
        };
        (pseudonym(9), row)
    }
}

impl Sample for ChangeSetRow {
    fn sample() -> (Self::Key, Self) {
        let row = Self {
            id: pseudonym(11),
            last: OTHER,
            items: 12,
            deletes: 6,
            tallies: PerCategory {
                security: Tally {
                    outcomes: 3,
                    failures: 1,
                    self_reported: 2,
                },
                ..PerCategory::default()
            },
        };
        (CHANGE_SET, row)
    }
}

impl Sample for UsageLogRow {
    fn sample() -> (Self::Key, Self) {
        let row = Self {
            key: KEY,
            tier: Tier::Pro,
            at: at(9),
            endpoint: "POST /api/v1/intents/evaluate".into(),
            status: 200,
            error: Some("none".into()),
            processing_us: 180,
        };
        (INTENT, row)
    }
}

impl Sample for Claims {
    fn sample() -> (Self::Key, Self) {
        let row = Self {
            environments: vec![Environment::Dev, Environment::Prod],
            requesters: vec!["agent:*".into()],
            intent_types: vec![IntentType::DeployConfig],
        };
        (KEY, row)
    }
}

impl Sample for FormerLogRow {
    fn sample() -> (Self::Key, Self) {
        let row = Self {
            log: "arf.invalid/audit/bbbbbbbbbbbbbbbbbbbbbbbbbb".into(),
            size: 12,
            root: [6; 32],
        };
        (OTHER, row)
    }
}
