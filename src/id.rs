//! Identifiers.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};
use thiserror::Error;
use uuid::Uuid;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("must be {0}")]
pub struct IdError(&'static str);

/// Sixteen bytes: text (`Display`, `parse`) in JSON, bytes in rows.
macro_rules! sixteen_bytes {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; 16]);

        impl $name {
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(bytes)
            }

            pub const fn as_bytes(&self) -> &[u8; 16] {
                &self.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if serializer.is_human_readable() {
                    serializer.collect_str(self)
                } else {
                    self.0.serialize(serializer)
                }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                if deserializer.is_human_readable() {
                    let text = String::deserialize(deserializer)?;
                    Self::parse(&text).map_err(serde::de::Error::custom)
                } else {
                    <[u8; 16]>::deserialize(deserializer).map(Self)
                }
            }
        }
    };
}

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        sixteen_bytes!($(#[$doc])* $name);

        impl $name {
            /// UUID version 4.
            pub fn random(bytes: [u8; 16]) -> Self {
                Self(uuid::Builder::from_random_bytes(bytes).into_uuid().into_bytes())
            }

            pub fn parse(text: &str) -> Result<Self, IdError> {
                Uuid::parse_str(text)
                    .map(|uuid| Self(uuid.into_bytes()))
                    .map_err(|_| IdError("a UUID"))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&Uuid::from_bytes(self.0).hyphenated(), f)
            }
        }
    };
}

uuid_id!(TenantId);
uuid_id!(
    /// Unchanged by a rotation of the key's secret.
    KeyId
);
uuid_id!(
    /// One entry of one tenant's audit log: a UUIDv8 whose first 60 free bits are the sequence and
    /// whose last 62 are the first 62 of SHA-256(log ‖ 0x0A ‖ sequence as u64, big-endian), so an id
    /// of another tenant, or of a log lost in a restore, is never mistaken for one of this log.
    DecisionId
);

impl TenantId {
    /// Tenant zero, whose keys are the operator's.
    pub const ZERO: Self = Self([0; 16]);
}

impl DecisionId {
    pub fn new(log: &str, sequence: Sequence) -> Self {
        let hash = Sha256::new()
            .chain_update(log)
            .chain_update([0x0A])
            .chain_update(sequence.get().to_be_bytes())
            .finalize();
        let mut tail = [0; 8];
        tail.copy_from_slice(&hash[..8]);
        let number = u128::from(sequence.get() & ((1 << 60) - 1));
        let first62 = u128::from(u64::from_be_bytes(tail) >> 2);
        let bits = (number >> 12) << 80 | 8 << 76 | (number & 0xFFF) << 64 | 0b10 << 62 | first62;
        Self(bits.to_be_bytes())
    }

    /// `None` if this is not the id of an entry of `log`.
    pub fn sequence_in(self, log: &str) -> Option<Sequence> {
        let bits = u128::from_be_bytes(self.0);
        let number = (bits >> 80) << 12 | (bits >> 64) & 0xFFF;
        let sequence = Sequence(u64::try_from(number).ok()?);
        (Self::new(log, sequence) == self).then_some(sequence)
    }
}

/// The number of a command of one tenant, from 0 (founding), without gaps.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default,
)]
#[serde(transparent)]
pub struct Sequence(u64);

impl Sequence {
    pub const FIRST: Self = Self(0);

    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    pub const fn get(self) -> u64 {
        self.0
    }

    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The caller's id of an intent (`deterministic_id`): 1 to 64 characters, unique per tenant.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct IntentId(String);

impl IntentId {
    /// Control characters are refused, because ids appear in logs and headers.
    pub fn parse(text: &str) -> Result<Self, IdError> {
        let fits = (1..=64).contains(&text.chars().count());
        if fits && !text.chars().any(char::is_control) {
            Ok(Self(text.to_owned()))
        } else {
            Err(IdError(
                "1 to 64 characters, none of them a control character",
            ))
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for IntentId {
    type Error = IdError;
    fn try_from(text: String) -> Result<Self, IdError> {
        Self::parse(&text)
    }
}

impl fmt::Display for IntentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

sixteen_bytes!(
    /// A caller's text in keys and rows: the first 16 bytes of
    /// HMAC-SHA-256(the tenant's name secret, canonical JSON of an array). Erasing the tenant's
    /// secret makes it irreversible. Printed as padded base64.
    Pseudonym
);

impl Pseudonym {
    /// Reads padded base64 of sixteen bytes.
    pub fn parse(text: &str) -> Result<Self, IdError> {
        let bytes = STANDARD.decode(text).ok();
        bytes
            .and_then(|bytes| <[u8; 16]>::try_from(bytes).ok())
            .map(Self)
            .ok_or(IdError("sixteen bytes in base64"))
    }
}

impl fmt::Display for Pseudonym {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&STANDARD.encode(self.0))
    }
}

#[derive(Clone)]
pub struct Pseudonymizer(Hmac<Sha256>);

impl Pseudonymizer {
    pub fn new(secret: &[u8; 32]) -> Self {
        Self(Hmac::new_from_slice(secret).expect("HMAC takes a key of any length"))
    }

    /// The pseudonym of an array of texts, such as `["intent", deterministic_id]`.
    pub fn pseudonym(&self, parts: &[&str]) -> Pseudonym {
        let array = serde_json::to_vec(parts).expect("an array of texts is JSON");
        self.digest(&array)
    }

    /// The pseudonym of canonical JSON. That of an object never collides with that of an array.
    pub fn digest(&self, canonical: &[u8]) -> Pseudonym {
        let mut mac = self.0.clone();
        mac.update(canonical);
        let full = mac.finalize().into_bytes();
        let mut first = [0; 16];
        first.copy_from_slice(&full[..16]);
        Pseudonym(first)
    }
}

impl fmt::Debug for Pseudonymizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pseudonymizer(secret)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decision_id_is_a_uuid_of_version_8_that_holds_its_sequence() {
        for number in [0, 1, 4_095, 4_096, 1 << 40, (1 << 60) - 1] {
            let id = DecisionId::new("arf.invalid/audit/x", Sequence::new(number));
            let uuid = Uuid::parse_str(&id.to_string()).unwrap();
            assert_eq!(uuid.get_version_num(), 8);
            assert_eq!(uuid.get_variant(), uuid::Variant::RFC4122);
            assert_eq!(
                id.sequence_in("arf.invalid/audit/x"),
                Some(Sequence::new(number))
            );
            assert_eq!(id.sequence_in("arf.invalid/audit/y"), None);
        }
    }

    #[test]
    fn a_decision_id_is_frozen() {
        let id = DecisionId::new(
            "arf.invalid/audit/aaaaaaaaaaaaaaaaaaaaaaaaaa",
            Sequence::new(42),
        );
        assert_eq!(
            id.to_string(),
            include_str!("../tests/golden/decision_id.txt").trim()
        );
    }

    #[test]
    fn pseudonyms_differ_by_every_part_and_by_tenant() {
        let (one, two) = (Pseudonymizer::new(&[1; 32]), Pseudonymizer::new(&[2; 32]));
        let names = [
            one.pseudonym(&["intent", "a"]),
            one.pseudonym(&["intent", "b"]),
            one.pseudonym(&["requester", "a"]),
            one.pseudonym(&["intent", "a", ""]),
            two.pseudonym(&["intent", "a"]),
        ];
        for (i, a) in names.iter().enumerate() {
            assert!(names[i + 1..].iter().all(|b| a != b));
            assert_eq!(Pseudonym::parse(&a.to_string()), Ok(*a));
        }
    }
}
