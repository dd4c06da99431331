//! One entry, read back from bytes that anybody may have written.

use std::collections::BTreeMap;
use std::fmt::Display;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use thiserror::Error;

use crate::audit::canonical::{SIGNATURE, Unsigned, is_exact, is_field_name};
use crate::audit::entry::{MAX_ENTRY_BYTES, VERSION};
use crate::audit::key::{Kid, PublicKey};
use crate::audit::opening::Opening;
use crate::audit::tree::Hash;
use crate::id::{DecisionId, KeyId, Sequence, TenantId};
use crate::time::Timestamp;

/// Why bytes are no entry.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NotAnEntry {
    /// Longer than [`MAX_ENTRY_BYTES`].
    #[error("it is longer than {MAX_ENTRY_BYTES} bytes")]
    TooLong,
    /// No JSON object.
    #[error("it is not a JSON object")]
    NotAnObject,
    /// A member that every entry has is absent, or not what it must be.
    #[error("`{0}` is missing or malformed")]
    Member(&'static str),
    /// A member no entry can have: its name or a number in it.
    #[error("`{0}` cannot be part of an entry")]
    Foreign(String),
    /// The same object has another text in RFC 8785, and only that one is an entry.
    #[error("it is not canonical JSON")]
    NotCanonical,
}

/// Why a signature does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Unverified {
    /// Signed by another key, whose public half the verifier was not given.
    #[error("it names the key {0}")]
    OtherKey(Kid),
    /// The key that it names did not sign these bytes.
    #[error("its signature does not verify")]
    Signature,
}

/// How an opening is not that of an entry.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Mismatch {
    /// The entry commits to it and the opening does not have it.
    #[error("part `{0}` is missing")]
    Missing(String),
    /// The opening has it and the entry does not mention it.
    #[error("part `{0}` is not in the entry")]
    Unknown(String),
    /// The entry commits to something else, or under another salt.
    #[error("part `{0}` is not what was committed to")]
    Differs(String),
}

/// A well-formed entry: canonical, with all common members. Whether it was ever signed is for
/// [`verify`](ParsedEntry::verify) to say.
pub struct ParsedEntry {
    /// What kind of fact it states, its `type`.
    pub kind: String,
    /// The name of its log.
    pub log: String,
    /// Its place in its log, from 0.
    pub index: u64,
    /// Its place in its tenant's order, never below the index.
    pub sequence: Sequence,
    /// When it was made.
    pub at: Timestamp,
    /// Whose it is.
    pub tenant: TenantId,
    /// What callers name it by: the id of `sequence` in `log`.
    pub decision_id: DecisionId,
    /// The key that asked; `None` for the node.
    pub caller: Option<KeyId>,
    /// The key that signed, by its own word.
    pub kid: Kid,
    /// The signature.
    pub signature: [u8; 64],
    commitments: BTreeMap<String, Hash>,
    members: BTreeMap<String, Value>,
    unsigned: Unsigned,
}

impl ParsedEntry {
    /// Reads an entry; any bytes may be given.
    pub fn parse(bytes: &[u8]) -> Result<Self, NotAnEntry> {
        if bytes.len() > MAX_ENTRY_BYTES {
            return Err(NotAnEntry::TooLong);
        }
        // Of a name given twice this keeps one, and the text no longer compares equal below.
        let mut members: BTreeMap<String, Value> =
            serde_json::from_slice(bytes).map_err(|_| NotAnEntry::NotAnObject)?;
        let fits = |(name, value): &(&String, &Value)| is_field_name(name) && is_exact(value);
        if let Some((name, _)) = members.iter().find(|member| !fits(member)) {
            return Err(NotAnEntry::Foreign(name.clone()));
        }
        let signature = members
            .remove(SIGNATURE)
            .and_then(|signature| base64(signature.as_str()?))
            .ok_or(NotAnEntry::Member(SIGNATURE))?;
        let common = Common(&members);
        common.read("v", |value| (value.as_u64()? == VERSION).then_some(()))?;
        let kind = common.read("type", |value| Some(value.as_str()?.to_owned()))?;
        let log = common.read("log", |value| Some(value.as_str()?.to_owned()))?;
        let index = common.read("index", Value::as_u64)?;
        let decision_id = common.text("decision_id", |text| DecisionId::parse(text).ok())?;
        let sequence = decision_id
            .sequence_in(&log)
            .filter(|sequence| sequence.get() >= index)
            .ok_or(NotAnEntry::Member("decision_id"))?;
        let at = common.text("ts", Timestamp::parse)?;
        let tenant = common.text("tenant_id", |text| TenantId::parse(text).ok())?;
        let caller = match members.get("caller") {
            Some(Value::Null) => None,
            _ => Some(common.text("caller", |text| KeyId::parse(text).ok())?),
        };
        let kid = common.text("kid", Kid::parse)?;
        let commitments = common.read("c", |value| {
            let parts = value.as_object()?.iter();
            parts
                .map(|(name, hash)| Some((name.clone(), base64(hash.as_str()?)?)))
                .collect()
        })?;
        let unsigned = Unsigned::write(&log, members.iter().map(|(k, v)| (k.as_str(), v)));
        if unsigned.signed(&signature) != bytes {
            return Err(NotAnEntry::NotCanonical);
        }
        Ok(Self {
            kind,
            log,
            index,
            sequence,
            at,
            tenant,
            decision_id,
            caller,
            kid,
            signature,
            commitments,
            members,
            unsigned,
        })
    }

    /// Any member but the signature, by its name in the entry.
    pub fn field(&self, name: &str) -> Option<&Value> {
        self.members.get(name)
    }

    /// The names of the private parts and what the entry says of each, in the order of the names.
    pub fn commitments(&self) -> impl Iterator<Item = (&str, &Hash)> {
        self.commitments
            .iter()
            .map(|(name, hash)| (name.as_str(), hash))
    }

    /// Checks that `key` is the key that the entry names and that it signed the entry.
    pub fn verify(&self, key: &PublicKey) -> Result<(), Unverified> {
        if self.kid != key.kid() {
            return Err(Unverified::OtherKey(self.kid));
        }
        let signed = key.verifies(self.unsigned.message(), &self.signature);
        signed.then_some(()).ok_or(Unverified::Signature)
    }

    /// Checks that every part of `opening` has its commitment here and every commitment its part.
    pub fn check_opening(&self, opening: &Opening) -> Result<(), Mismatch> {
        for (name, commitment) in opening.commitments() {
            match self.commitments.get(name) {
                None => return Err(Mismatch::Unknown(name.to_owned())),
                Some(expected) if *expected != commitment => {
                    return Err(Mismatch::Differs(name.to_owned()));
                }
                Some(_) => {}
            }
        }
        let mut names = self.commitments.keys();
        match names.find(|name| opening.part(name).is_none()) {
            Some(name) => Err(Mismatch::Missing(name.clone())),
            None => Ok(()),
        }
    }
}

/// The members that every entry has, one by one.
struct Common<'a>(&'a BTreeMap<String, Value>);

impl Common<'_> {
    fn read<T>(
        &self,
        name: &'static str,
        parse: impl FnOnce(&Value) -> Option<T>,
    ) -> Result<T, NotAnEntry> {
        let value = self.0.get(name).and_then(parse);
        value.ok_or(NotAnEntry::Member(name))
    }

    /// What a text stands for, if it is spelled as we print it: no second spelling is canonical.
    fn text<T: Display>(
        &self,
        name: &'static str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, NotAnEntry> {
        self.read(name, |value| {
            let text = value.as_str()?;
            parse(text).filter(|parsed| parsed.to_string() == text)
        })
    }
}

fn base64<const N: usize>(text: &str) -> Option<[u8; N]> {
    STANDARD.decode(text).ok()?.try_into().ok()
}
