//! An entry: a fact, numbered and signed. Its bytes are a leaf of the tree.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use thiserror::Error;

use super::canonical::{SIGNATURE, UnsignedEntry};
use super::key::Signer;
use super::opening::Opening;
use super::tree::{Hash, leaf_hash};
use crate::id::{DecisionId, KeyId, TenantId};
use crate::time::Timestamp;

/// The entry's `v`.
pub(super) const VERSION: u64 = 1;

/// Entry bundles (C2SP tlog-tiles) have lengths of 16 bits.
pub const MAX_ENTRY_BYTES: usize = 65_535;

/// True for the members that every entry has, whatever its fact.
pub(super) fn is_common_member(name: &str) -> bool {
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

#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("an entry of {bytes} bytes is longer than {MAX_ENTRY_BYTES}")]
pub struct EntrySizeError {
    bytes: usize,
}

/// The members that do not come from the fact.
pub(super) struct EntryHeader<'a> {
    pub(super) origin: &'a str,
    pub(super) index: u64,
    pub(super) at: Timestamp,
    pub(super) tenant: TenantId,
    pub(super) decision_id: DecisionId,
    pub(super) caller: Option<KeyId>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    bytes: Vec<u8>,
    leaf_hash: Hash,
    index: u64,
    decision_id: DecisionId,
    signature: [u8; 64],
}

impl Entry {
    /// Writes and signs the entry, with a commitment to each part of `opening`.
    pub(super) fn sign(
        header: &EntryHeader<'_>,
        kind: &'static str,
        fields: BTreeMap<&'static str, Value>,
        opening: Option<&Opening>,
        signer: &Signer,
    ) -> Result<Self, EntrySizeError> {
        let commitments = opening.into_iter().flat_map(Opening::commitments);
        let commitments: Value = commitments
            .map(|(name, commitment)| (name, STANDARD.encode(commitment)))
            .collect();
        let mut members = fields;
        members.extend([
            ("c", commitments),
            ("caller", header.caller.map(|key| key.to_string()).into()),
            ("decision_id", header.decision_id.to_string().into()),
            ("index", header.index.into()),
            ("kid", signer.kid().to_string().into()),
            ("log", header.origin.into()),
            ("tenant_id", header.tenant.to_string().into()),
            ("ts", header.at.to_string().into()),
            ("type", kind.into()),
            ("v", VERSION.into()),
        ]);
        let members = members.iter().map(|(name, value)| (*name, value));
        let unsigned = UnsignedEntry::write(header.origin, members);
        let signature = signer.sign(unsigned.message());
        let bytes = unsigned.signed(&signature);
        if bytes.len() > MAX_ENTRY_BYTES {
            return Err(EntrySizeError { bytes: bytes.len() });
        }
        let leaf_hash = leaf_hash(&bytes);
        let EntryHeader {
            index, decision_id, ..
        } = *header;
        Ok(Self {
            bytes,
            leaf_hash,
            index,
            decision_id,
            signature,
        })
    }

    /// The exact bytes that are stored, hashed and served.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// SHA-256(0x00 ‖ bytes) (RFC 6962).
    pub fn leaf_hash(&self) -> &Hash {
        &self.leaf_hash
    }

    /// From 0 in each log.
    pub fn index(&self) -> u64 {
        self.index
    }

    pub fn decision_id(&self) -> DecisionId {
        self.decision_id
    }

    pub fn signature(&self) -> &[u8; 64] {
        &self.signature
    }
}
