//! The vocabulary of the audit log: every type of entry, field of an entry and part of an opening, each
//! spelled once, with the type that is written and read back.
//!
//! Commands and readers use the same constants. Only the verifier spells what it checks itself, to be
//! independent of them.

use std::marker::PhantomData;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;

use super::claims::Claims;
use super::key::{KeyRow, Scopes};
use super::outcome::NotLearned;
use super::usage::Tier;
use crate::audit::verify::ParsedEntry;
use crate::audit::{Fact, Opening};
use crate::decide::intent::{ChangeSet, Environment, Intent, Operation};
use crate::decide::{Action, Category, Counterfactual, Decision, Evidence};
use crate::id::{DecisionId, IntentId, KeyId, Pseudonym};
use crate::string_enum;
use crate::time::Timestamp;

string_enum!(
    EntryType {
        Genesis = "genesis",
        Decision = "decision",
        /// A decided intent moved to another change set.
        Move = "move",
        Outcome = "outcome",
        ApiKey = "api_key",
    }
);

impl EntryType {
    /// `None` for a type that this version does not know.
    pub fn of(entry: &ParsedEntry) -> Option<Self> {
        Self::parse(&entry.kind)
    }

    pub fn fact(self) -> Fact {
        Fact::new(self.as_str())
    }
}

/// The decision that an entry is about.
pub const OF: Field<DecisionId> = Field::new("of");
pub const CHANGE_SET: Field<Pseudonym> = Field::new("change_set");
pub const CATEGORY: Field<Category> = Field::new("category");
pub const FAILURES: Field<u64> = Field::new("failures");
pub const TRIALS: Field<u64> = Field::new("trials");

// Decision.
pub const ACTION: Field<Action> = Field::new("action");
pub const RISK_SCORE: Field<f64> = Field::new("risk_score");
pub const ENVIRONMENT: Field<Environment> = Field::new("environment");
pub const OPERATION: Field<Operation> = Field::new("operation");
pub const SELF_REPORTED: Field<u64> = Field::new("self_reported");
pub const IMPORTED: Field<u64> = Field::new("imported");
pub const MEMORY_SUCCESS_RATE: Field<f64> = Field::new("memory_success_rate");
pub const MEMORY_WEIGHT: Field<f64> = Field::new("memory_weight");
pub const TRACE_ID: Field<String> = Field::new("trace_id");
pub const RULES: Field<u16> = Field::new("rules");
/// SHA-256 in base64, as the three that follow.
pub const POLICIES: Field<String> = Field::new("policies");
pub const SETTINGS: Field<String> = Field::new("settings");
pub const PRICES: Field<String> = Field::new("prices");
pub const MODEL: Field<String> = Field::new("model");
/// The request as sent, to the byte.
pub const REQUEST: Part<Json<Value>> = Part::new("request");
pub const INTENT: Part<Json<IdentifiedIntent<'static>>> = Part::new("intent");
pub const REQUESTER: Part<String> = Part::new("requester");
pub const DETERMINISTIC_ID: Part<String> = Part::new("deterministic_id");
pub const EVIDENCE: Part<Json<Evidence>> = Part::new("evidence");
pub const DECISION: Part<Json<Decision>> = Part::new("decision");
pub const JUSTIFICATION: Part<String> = Part::new("justification");
pub const COUNTERFACTUAL: Part<Json<Counterfactual>> = Part::new("counterfactual");

// Move.
pub const MOVED_TO: Part<Json<ChangeSet>> = Part::new("change_set");

// Outcome.
pub const SUCCESS: Field<bool> = Field::new("success");
pub const LEARNED: Field<bool> = Field::new("learned");
pub const NOT_LEARNED_BECAUSE: Field<NotLearned> = Field::new("not_learned_because");
pub const RECORDED_BY: Part<String> = Part::new("recorded_by");
pub const NOTES: Part<String> = Part::new("notes");

// Genesis.
pub const RETENTION_DAYS: Field<u32> = Field::new("retention_days");
pub const PUBLIC_KEY: Field<String> = Field::new("public_key");
pub const KEYS: Field<Vec<GenesisKey>> = Field::new("keys");
pub const KEYS_REVOKED: Field<u64> = Field::new("keys_revoked");
pub const PRIOR: Field<PriorLog> = Field::new("prior");
pub const CREATED_BY: Part<String> = Part::new("created_by");

// Key. The name is also in a genesis: the tenant's.
pub const KEY_ID: Field<KeyId> = Field::new("key_id");
pub const CHANGE: Field<KeyChange> = Field::new("change");
pub const TIER: Field<Tier> = Field::new("tier");
pub const SCOPES: Field<Scopes> = Field::new("scopes");
pub const EXPIRES_AT: Field<Timestamp> = Field::new("expires_at");
pub const NAME: Part<String> = Part::new("name");
pub const OWNER: Part<String> = Part::new("owner");
pub const CLAIMS: Part<Json<Claims>> = Part::new("claims");

string_enum!(
    KeyChange {
        Created = "created",
        Revoked = "revoked",
        Rotated = "rotated",
    }
);

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct GenesisKey {
    pub key_id: KeyId,
    pub tier: Tier,
    pub scopes: Scopes,
}

impl GenesisKey {
    pub fn new(key: &KeyRow) -> Self {
        Self {
            key_id: key.key_id,
            tier: key.tier,
            scopes: key.scopes,
        }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PriorLog {
    pub log: String,
    pub size: u64,
    /// The Merkle tree hash, base64.
    pub root: String,
}

#[derive(Debug, Serialize)]
pub struct IdentifiedIntent<'a> {
    pub deterministic_id: &'a IntentId,
    #[serde(flatten)]
    pub intent: &'a Intent,
}

/// A field of an entry. Every field can be null.
pub struct Field<T> {
    name: &'static str,
    value: PhantomData<fn() -> T>,
}

impl<T> Field<T> {
    const fn new(name: &'static str) -> Self {
        Self {
            name,
            value: PhantomData,
        }
    }

    /// The value as the entry has it; null if it has none.
    pub fn json(self, entry: &ParsedEntry) -> Value {
        entry.field(self.name).cloned().unwrap_or(Value::Null)
    }

    /// `None` if the entry has no such field, or one of another type.
    pub fn read(self, entry: &ParsedEntry) -> Option<T>
    where
        T: DeserializeOwned,
    {
        T::deserialize(entry.field(self.name)?).ok()
    }
}

/// A part of an opening: text (`Part<String>`) or JSON (`Part<Json<T>>`).
pub struct Part<T> {
    name: &'static str,
    value: PhantomData<fn() -> T>,
}

pub struct Json<T>(PhantomData<fn() -> T>);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum PartError {
    #[error("part `{0}` is missing")]
    Missing(&'static str),
    #[error("part `{0}` is malformed")]
    Malformed(&'static str),
}

impl<T> Part<T> {
    const fn new(name: &'static str) -> Self {
        Self {
            name,
            value: PhantomData,
        }
    }

    pub fn malformed(&self) -> PartError {
        PartError::Malformed(self.name)
    }

    pub fn missing(self) -> PartError {
        PartError::Missing(self.name)
    }
}

impl Part<String> {
    pub fn read(self, opening: &Opening) -> Option<&str> {
        std::str::from_utf8(opening.part(self.name)?).ok()
    }
}

impl<T> Part<Json<T>> {
    /// The JSON text as it was written.
    pub fn text(self, opening: &Opening) -> Result<Option<&str>, PartError> {
        let bytes = opening.part(self.name);
        let text = bytes.map(std::str::from_utf8).transpose();
        text.map_err(|_| PartError::Malformed(self.name))
    }

    pub fn value(self, opening: &Opening) -> Result<Option<Value>, PartError> {
        self.parse(opening)
    }

    pub fn read(self, opening: &Opening) -> Result<Option<T>, PartError>
    where
        T: DeserializeOwned,
    {
        self.parse(opening)
    }

    fn parse<U: DeserializeOwned>(self, opening: &Opening) -> Result<Option<U>, PartError> {
        let value = opening.part(self.name).map(serde_json::from_slice);
        value
            .transpose()
            .map_err(|_| PartError::Malformed(self.name))
    }
}

impl Fact {
    /// A float that is not finite becomes null.
    pub fn with<T: Serialize>(self, field: Field<T>, value: impl Into<Option<T>>) -> Self {
        let value = serde_json::to_value(value.into()).expect("a field is JSON");
        self.field(field.name, value)
    }

    pub fn bytes<T>(self, part: Part<T>, bytes: &[u8]) -> Self {
        self.private(part.name, bytes)
    }

    pub fn text<'t>(self, part: Part<String>, text: impl Into<Option<&'t str>>) -> Self {
        self.private_opt(part.name, text.into().map(str::as_bytes))
    }

    pub fn json<'t, T: Serialize + 't>(
        self,
        part: Part<Json<T>>,
        value: impl Into<Option<&'t T>>,
    ) -> Self {
        let json = |value| serde_json::to_vec(value).expect("a part is JSON");
        self.private_opt(part.name, value.into().map(json))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::{Log, Signer};
    use crate::id::{Sequence, TenantId};
    use crate::stamp::Stamp;

    #[test]
    fn what_a_fact_says_is_read_back_with_its_type() {
        let evidence = Evidence::default();
        let fact = EntryType::Move
            .fact()
            .with(ACTION, Action::Deny)
            .with(RISK_SCORE, 0.25)
            .with(TRACE_ID, None)
            .text(NOTES, "it worked")
            .text(RECORDED_BY, None)
            .bytes(REQUEST, b"{ }")
            .json(EVIDENCE, &evidence);
        let (tenant, signer) = (TenantId::ZERO, Signer::from_seed(&[1; 32]).into());
        let mut log = Log::new(
            "arf.invalid/audit/x".into(),
            tenant,
            Sequence::FIRST,
            signer,
        );
        let stamp = Stamp::new(Timestamp::MIN, Sequence::FIRST, None, [7; 32]);
        let (entry, opening) = log.append(fact, &stamp).unwrap();
        let (entry, opening) = (ParsedEntry::parse(entry.bytes()).unwrap(), opening.unwrap());

        assert_eq!(EntryType::of(&entry), Some(EntryType::Move));
        assert_eq!(ACTION.read(&entry), Some(Action::Deny));
        assert_eq!(RISK_SCORE.read(&entry), Some(0.25));
        assert_eq!(TRACE_ID.read(&entry), None);
        assert_eq!(
            (TRACE_ID.json(&entry), OF.json(&entry)),
            (Value::Null, Value::Null)
        );
        assert_eq!(NOTES.read(&opening), Some("it worked"));
        assert_eq!(RECORDED_BY.read(&opening), None);
        assert_eq!(REQUEST.text(&opening), Ok(Some("{ }")));
        assert_eq!(EVIDENCE.read(&opening), Ok(Some(evidence)));
        assert_eq!(DECISION.read(&opening), Ok(None));
        let malformed = Part::<Json<Decision>>::new("notes").read(&opening);
        assert_eq!(malformed, Err(PartError::Malformed("notes")));
    }
}
