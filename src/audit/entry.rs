//! An entry: what a fact becomes at its place in a log. Its bytes are the leaf of the tree.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use thiserror::Error;

use super::canonical::{SIGNATURE, Unsigned};
use super::key::Signer;
use super::opening::Opening;
use super::tree::{Hash, leaf_hash};
use crate::id::{DecisionId, KeyId, TenantId};
use crate::time::Timestamp;

/// The version of the format, the entry's `v`.
pub(super) const VERSION: u64 = 1;

/// An entry may be this long: bundles (C2SP tlog-tiles) give lengths in 16 bits.
pub const MAX_ENTRY_BYTES: usize = 65_535;

/// Whether every entry has a member of this name, whatever its fact.
pub(super) fn is_common(name: &str) -> bool {
    const OTHERS: [&str; 10] = [
        "c",
        "caller",
        "decision_id",
        "index",
        "kid",
        "log",
        "tenant_id",
        "ts",
        "type",
        "v",
    ];
    name == SIGNATURE || OTHERS.contains(&name)
}

/// A fact whose entry would be longer than [`MAX_ENTRY_BYTES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("an entry of {bytes} bytes is longer than {MAX_ENTRY_BYTES}")]
pub struct TooLarge {
    bytes: usize,
}

/// Where, when and by whom an entry is made.
pub(super) struct Place<'a> {
    pub(super) origin: &'a str,
    pub(super) index: u64,
    pub(super) at: Timestamp,
    pub(super) tenant: TenantId,
    pub(super) decision_id: DecisionId,
    pub(super) caller: Option<KeyId>,
}

/// A signed leaf of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    bytes: Vec<u8>,
    leaf_hash: Hash,
    index: u64,
    decision_id: DecisionId,
    signature: [u8; 64],
}

impl Entry {
    /// Writes and signs what a fact says at `place`, with a commitment to each part of `opening`.
    pub(super) fn sign(
        place: &Place<'_>,
        kind: &'static str,
        fields: BTreeMap<&'static str, Value>,
        opening: Option<&Opening>,
        signer: &Signer,
    ) -> Result<Self, TooLarge> {
        let commitments = opening.into_iter().flat_map(Opening::commitments);
        let commitments: Value = commitments
            .map(|(name, commitment)| (name, STANDARD.encode(commitment)))
            .collect();
        let mut members = fields;
        members.extend([
            ("c", commitments),
            ("caller", place.caller.map(|key| key.to_string()).into()),
            ("decision_id", place.decision_id.to_string().into()),
            ("index", place.index.into()),
            ("kid", signer.kid().to_string().into()),
            ("log", place.origin.into()),
            ("tenant_id", place.tenant.to_string().into()),
            ("ts", place.at.to_string().into()),
            ("type", kind.into()),
            ("v", VERSION.into()),
        ]);
        let members = members.iter().map(|(name, value)| (*name, value));
        let unsigned = Unsigned::write(place.origin, members);
        let signature = signer.sign(unsigned.message());
        let bytes = unsigned.signed(&signature);
        if bytes.len() > MAX_ENTRY_BYTES {
            return Err(TooLarge { bytes: bytes.len() });
        }
        let leaf_hash = leaf_hash(&bytes);
        let Place {
            index, decision_id, ..
        } = *place;
        Ok(Self {
            bytes,
            leaf_hash,
            index,
            decision_id,
            signature,
        })
    }

    /// The exact bytes that are stored, hashed and served: canonical JSON (RFC 8785).
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The same, for keeps.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// SHA-256(0x00 ‖ bytes), the leaf in the tree (RFC 6962).
    pub fn leaf_hash(&self) -> &Hash {
        &self.leaf_hash
    }

    /// Its place in its log, from 0.
    pub fn index(&self) -> u64 {
        self.index
    }

    /// What callers name it by.
    pub fn decision_id(&self) -> DecisionId {
        self.decision_id
    }

    /// The Ed25519 signature that stands in it.
    pub fn signature(&self) -> &[u8; 64] {
        &self.signature
    }
}
