//! One entry, read from untrusted bytes.

use std::collections::BTreeMap;
use std::fmt::Display;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use thiserror::Error;

use crate::audit::canonical::{SIGNATURE, UnsignedEntry, is_exact, is_field_name};
use crate::audit::entry::{MAX_ENTRY_BYTES, VERSION};
use crate::audit::key::{Kid, PublicKey};
use crate::audit::opening::Opening;
use crate::audit::tree::Hash;
use crate::id::{DecisionId, KeyId, Sequence, TenantId};
use crate::time::Timestamp;

/// Why bytes are not an entry.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum EntryError {
    #[error("longer than {MAX_ENTRY_BYTES} bytes")]
    TooLong,
    #[error("not a JSON object")]
    NotAnObject,
    #[error("`{0}` is missing or malformed")]
    Member(&'static str),
    /// Its name, or a number in it.
    #[error("`{0}` cannot be part of an entry")]
    Foreign(String),
    /// Only the RFC 8785 form of an object is an entry.
    #[error("not canonical JSON")]
    NotCanonical,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SignatureError {
    /// The verifier has another key.
    #[error("signed by the key {0}")]
    OtherKey(Kid),
    #[error("signature does not verify")]
    Invalid,
}

/// Why an opening is not that of an entry.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum OpeningMismatchError {
    /// The entry commits to it, and the opening does not have it.
    #[error("part `{0}` is missing")]
    Missing(String),
    /// The opening has it, and the entry does not commit to it.
    #[error("part `{0}` is not in the entry")]
    Unknown(String),
    /// The entry commits to other bytes, or with another salt.
    #[error("part `{0}` does not match its commitment")]
    Differs(String),
}

/// A well-formed entry: canonical, with all common members. Its signature is not checked before
/// [`verify`](ParsedEntry::verify).
pub struct ParsedEntry {
    /// Its `type`.
    pub kind: String,
    pub log: String,
    pub index: u64,
    /// Never below the index.
    pub sequence: Sequence,
    pub at: Timestamp,
    pub tenant: TenantId,
    /// The id of `sequence` in `log`.
    pub decision_id: DecisionId,
    /// `None` for the node itself.
    pub caller: Option<KeyId>,
    /// The signing key, as the entry says.
    pub kid: Kid,
    pub signature: [u8; 64],
    commitments: BTreeMap<String, Hash>,
    members: BTreeMap<String, Value>,
    unsigned: UnsignedEntry,
}

impl ParsedEntry {
    /// The bytes are untrusted.
    pub fn parse(bytes: &[u8]) -> Result<Self, EntryError> {
        if bytes.len() > MAX_ENTRY_BYTES {
            return Err(EntryError::TooLong);
        }
        // One of two duplicate keys is dropped, and the comparison with the canonical text below fails.
        let mut members: BTreeMap<String, Value> =
            serde_json::from_slice(bytes).map_err(|_| EntryError::NotAnObject)?;
        let fits = |(name, value): &(&String, &Value)| is_field_name(name) && is_exact(value);
        if let Some((name, _)) = members.iter().find(|member| !fits(member)) {
            return Err(EntryError::Foreign(name.clone()));
        }
        let signature = members
            .remove(SIGNATURE)
            .and_then(|signature| base64(signature.as_str()?))
            .ok_or(EntryError::Member(SIGNATURE))?;
        let common = Common(&members);
        common.read("v", |value| (value.as_u64()? == VERSION).then_some(()))?;
        let kind = common.read("type", |value| Some(value.as_str()?.to_owned()))?;
        let log = common.read("log", |value| Some(value.as_str()?.to_owned()))?;
        let index = common.read("index", Value::as_u64)?;
        let decision_id = common.text("decision_id", |text| DecisionId::parse(text).ok())?;
        let sequence = decision_id
            .sequence_in(&log)
            .filter(|sequence| sequence.get() >= index)
            .ok_or(EntryError::Member("decision_id"))?;
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
        let unsigned = UnsignedEntry::write(&log, members.iter().map(|(k, v)| (k.as_str(), v)));
        if unsigned.signed(&signature) != bytes {
            return Err(EntryError::NotCanonical);
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

    /// Any member but the signature.
    pub fn field(&self, name: &str) -> Option<&Value> {
        self.members.get(name)
    }

    /// In the order of their names.
    pub fn commitments(&self) -> impl Iterator<Item = (&str, &Hash)> {
        self.commitments
            .iter()
            .map(|(name, hash)| (name.as_str(), hash))
    }

    /// Checks that the entry names `key`, and that `key` signed it.
    pub fn verify(&self, key: &PublicKey) -> Result<(), SignatureError> {
        if self.kid != key.kid() {
            return Err(SignatureError::OtherKey(self.kid));
        }
        let signed = key.verifies(self.unsigned.message(), &self.signature);
        signed.then_some(()).ok_or(SignatureError::Invalid)
    }

    /// Checks that every part of `opening` has its commitment here and every commitment its part.
    pub fn check_opening(&self, opening: &Opening) -> Result<(), OpeningMismatchError> {
        for (name, commitment) in opening.commitments() {
            match self.commitments.get(name) {
                None => return Err(OpeningMismatchError::Unknown(name.to_owned())),
                Some(expected) if *expected != commitment => {
                    return Err(OpeningMismatchError::Differs(name.to_owned()));
                }
                Some(_) => {}
            }
        }
        let mut names = self.commitments.keys();
        match names.find(|name| opening.part(name).is_none()) {
            Some(name) => Err(OpeningMismatchError::Missing(name.clone())),
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
    ) -> Result<T, EntryError> {
        let value = self.0.get(name).and_then(parse);
        value.ok_or(EntryError::Member(name))
    }

    /// Parses a text that is spelled as it is printed: no second spelling is canonical.
    fn text<T: Display>(
        &self,
        name: &'static str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, EntryError> {
        self.read(name, |value| {
            let text = value.as_str()?;
            parse(text).filter(|parsed| parsed.to_string() == text)
        })
    }
}

fn base64<const N: usize>(text: &str) -> Option<[u8; N]> {
    STANDARD.decode(text).ok()?.try_into().ok()
}
