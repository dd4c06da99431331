//! API keys: who may do what in a tenant (rules.md 3).

use std::collections::HashMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::Tenant;
use super::claims::Claims;
use super::command::{Change, Command, NoChange, Plan, Refusal};
use super::facts::{self, EntryType, KeyChange};
use super::schema::{Eviction, Mutation, Row, RowId, RowKey, TableRow};
use super::usage::Tier;
use crate::audit::Fact;
use crate::bounded::BoundedString;
use crate::id::{KeyId, TenantId};
use crate::stamp::Stamp;
use crate::store::Load;
use crate::string_enum;
use crate::time::Timestamp;

string_enum!(
    Scope {
        Decide = 1 "decide",
        Outcome = 2 "outcome",
        Review = 3 "review",
        Policy = 4 "policy",
        AuditRead = 5 "audit:read",
        /// Administer tenants; keys of tenant zero only.
        Admin = 6 "admin",
        BreakGlass = 7 "break_glass",
        /// Read intents, outcomes and counts; every key has it.
        Read = 8 "read",
    }
);

string_enum!(
    Role {
        Agent = 1 "agent",
        Ci = 2 "ci",
        Reviewer = 3 "reviewer",
        Auditor = 4 "auditor",
        Policy = 5 "policy",
        Operator = 6 "operator",
    }
);

impl Role {
    pub fn scopes(self) -> Scopes {
        match self {
            Self::Agent => Scopes::of(&[Scope::Decide, Scope::AuditRead]),
            Self::Ci => Scopes::of(&[Scope::Decide, Scope::Outcome, Scope::AuditRead]),
            Self::Reviewer => Scopes::of(&[Scope::Review, Scope::AuditRead]),
            Self::Auditor => Scopes::of(&[Scope::AuditRead]),
            Self::Policy => Scopes::of(&[Scope::Policy, Scope::AuditRead]),
            Self::Operator => Scopes::of(&[Scope::Admin]),
        }
    }
}

/// A set of scopes: sorted strings in JSON, one bit each in rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Scopes(u16);

impl Scopes {
    pub fn of(scopes: &[Scope]) -> Self {
        Self(
            scopes
                .iter()
                .fold(0, |bits, scope| bits | 1 << scope.code()),
        )
    }

    /// [`Scope::Read`] is in every set.
    pub fn allow(self, scope: Scope) -> bool {
        scope == Scope::Read || self.0 & 1 << scope.code() != 0
    }

    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub fn names(self) -> Vec<&'static str> {
        let held = Scope::ALL
            .iter()
            .filter(|scope| self.0 & 1 << scope.code() != 0);
        let mut names: Vec<_> = held.map(|scope| scope.as_str()).collect();
        names.sort_unstable();
        names
    }
}

impl Serialize for Scopes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_seq(self.names())
        } else {
            serializer.serialize_u16(self.0)
        }
    }
}

impl<'de> Deserialize<'de> for Scopes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            Ok(Self::of(&Vec::<Scope>::deserialize(deserializer)?))
        } else {
            u16::deserialize(deserializer).map(Self)
        }
    }
}

/// SHA-256 of a key's secret, stored in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyHash([u8; 32]);

impl KeyHash {
    pub fn of(secret: &str) -> Self {
        Self(Sha256::digest(secret).into())
    }
}

impl RowKey for KeyHash {
    fn to_bytes(&self) -> Vec<u8> {
        self.0.to_vec()
    }
    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Some(Self(bytes.try_into().ok()?))
    }
}

/// A key's text, `arf_<tier>_<43 base64url characters>`. Shown once, never stored, and
/// not printed by `Debug`.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct Secret(String);

impl Secret {
    pub fn new(tier: Tier, random: &[u8; 32]) -> Self {
        Self(format!("arf_{tier}_{}", URL_SAFE_NO_PAD.encode(random)))
    }

    pub fn from_text(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    pub fn hash(&self) -> KeyHash {
        KeyHash::of(&self.0)
    }

    /// Only for the answer or file that shows a new key once, and for requests.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(hidden)")
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRow {
    /// Unchanged by a rotation of the secret.
    pub key_id: KeyId,
    pub tier: Tier,
    /// `None` for a key that was issued with scopes.
    pub role: Option<Role>,
    pub scopes: Scopes,
    pub created_at: Timestamp,
    pub is_active: bool,
    pub expires_at: Option<Timestamp>,
    pub name: Option<String>,
    pub owner: Option<String>,
}

impl KeyRow {
    pub fn is_valid(&self, at: Timestamp) -> bool {
        self.is_active && self.expires_at.is_none_or(|end| at < end)
    }
}

#[derive(Debug, Default)]
pub struct Keys {
    /// Sorted by id. Most tenants have few keys and rarely change them.
    rows: Vec<(KeyHash, KeyRow)>,
    pub(super) claims: HashMap<KeyId, Claims>,
}

impl Keys {
    /// The key, active or not, and its hash.
    pub fn find(&self, key: KeyId) -> Option<(KeyHash, &KeyRow)> {
        let (hash, row) = self.rows.get(self.position(key).ok()?)?;
        Some((*hash, row))
    }

    fn position(&self, key: KeyId) -> Result<usize, usize> {
        self.rows.binary_search_by_key(&key, |(_, row)| row.key_id)
    }

    pub fn active(&self, key: KeyId, at: Timestamp) -> Option<&KeyRow> {
        self.find(key)
            .map(|(_, row)| row)
            .filter(|row| row.is_valid(at))
    }

    /// `None` if the key may be used for every intent.
    pub fn claims(&self, key: KeyId) -> Option<&Claims> {
        self.claims.get(&key)
    }

    /// Sorted by id.
    pub fn iter(&self) -> impl Iterator<Item = (KeyHash, &KeyRow)> {
        self.rows.iter().map(|(hash, row)| (*hash, row))
    }

    /// Oldest first.
    pub fn all(&self) -> Vec<&KeyRow> {
        let mut rows: Vec<_> = self.rows.iter().map(|(_, row)| row).collect();
        rows.sort_by_key(|row| (row.created_at, row.key_id));
        rows
    }
}

impl TableRow for KeyRow {
    type Key = KeyHash;
    const LOAD: Load = Load::Hot;
    const EXPORT: Option<&'static str> = Some("api_keys.ndjson");
    const WEIGHT: usize = 190;
    const EVICTION: Option<Eviction> = None;

    fn absorb(&self, hash: &KeyHash, tenant: &mut Tenant) -> Option<Self> {
        let keys = &mut tenant.keys;
        let row = (*hash, self.clone());
        match keys.position(self.key_id) {
            Ok(at) => Some(std::mem::replace(&mut keys.rows[at], row).1),
            Err(at) => {
                keys.rows.reserve_exact(1);
                keys.rows.insert(at, row);
                None
            }
        }
    }

    fn forget(hash: &KeyHash, tenant: &mut Tenant) -> Option<Self> {
        // By hash and not by id: a rotation has put the key's new row in this one's place already.
        let rows = &mut tenant.keys.rows;
        let at = rows.iter().position(|(other, _)| other == hash)?;
        Some(rows.remove(at).1)
    }
}

#[derive(Debug, Clone)]
pub struct KeySpec {
    pub tier: Tier,
    pub rights: Rights,
    pub name: Option<BoundedString<1, 128>>,
    pub owner: Option<BoundedString<1, 128>>,
    pub expires_at: Option<Timestamp>,
    pub claims: Claims,
    /// A key generated at a first start, before there is a log.
    pub preset: Option<(KeyId, Secret)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rights {
    Role(Role),
    Scopes(Scopes),
}

/// A new key, or a rotated one. Nothing else holds the secret.
#[derive(Debug, Clone)]
pub struct IssuedKey {
    pub key_id: KeyId,
    pub role: Option<Role>,
    pub hash: KeyHash,
    pub secret: Secret,
}

impl IssuedKey {
    fn new(row: &KeyRow, secret: Secret) -> Self {
        Self {
            key_id: row.key_id,
            role: row.role,
            hash: secret.hash(),
            secret,
        }
    }
}

impl KeySpec {
    pub fn with_role(tier: Tier, role: Role) -> Self {
        Self {
            tier,
            rights: Rights::Role(role),
            name: None,
            owner: None,
            expires_at: None,
            claims: Claims::default(),
            preset: None,
        }
    }

    /// Issues the key, the `nth` of its command.
    pub(super) fn issue(
        self,
        tenant: TenantId,
        stamp: &Stamp,
        nth: usize,
    ) -> Result<(IssuedKey, KeyRow), Refusal> {
        let (role, scopes) = match self.rights {
            Rights::Role(role) => (Some(role), role.scopes()),
            Rights::Scopes(scopes) => (None, scopes),
        };
        if scopes.is_empty() {
            return Err(Refusal::invalid("/scopes", "must have at least one scope"));
        }
        if scopes.allow(Scope::Admin) && tenant != TenantId::ZERO {
            let message = "only keys of tenant zero can carry the scope `admin`";
            return Err(Refusal::invalid("/role", message));
        }
        if scopes.allow(Scope::Review) && self.owner.is_none() {
            return Err(Refusal::invalid(
                "/owner",
                "must name who reviews with this key",
            ));
        }
        if self.expires_at.is_some_and(|end| end <= stamp.at) {
            return Err(Refusal::invalid("/expires_at", "must be in the future"));
        }
        let (key_id, secret) = self.preset.unwrap_or_else(|| {
            let id = stamp.uuid_v7(&format!("key id {nth}"));
            let secret = Secret::new(self.tier, &stamp.derive(&format!("key {nth}")));
            (KeyId::from_bytes(id.into_bytes()), secret)
        });
        let row = KeyRow {
            key_id,
            tier: self.tier,
            role,
            scopes,
            created_at: stamp.at,
            is_active: true,
            expires_at: self.expires_at,
            name: self.name.map(String::from),
            owner: self.owner.map(String::from),
        };
        Ok((IssuedKey::new(&row, secret), row))
    }
}

fn fact(change: KeyChange, row: &KeyRow, claims: Option<&Claims>) -> Fact {
    EntryType::ApiKey
        .fact()
        .with(facts::KEY_ID, row.key_id)
        .with(facts::CHANGE, change)
        .with(facts::TIER, row.tier)
        .with(facts::SCOPES, row.scopes)
        .with(facts::EXPIRES_AT, row.expires_at)
        .text(facts::NAME, row.name.as_deref())
        .text(facts::OWNER, row.owner.as_deref())
        .json(facts::CLAIMS, claims)
}

#[derive(Debug, Clone)]
pub struct CreateKey(pub KeySpec);

impl Command for CreateKey {
    type Reply = IssuedKey;
    const SCOPE: Scope = Scope::Admin;

    fn apply(self, tenant: &Tenant, stamp: &Stamp) -> Plan<IssuedKey> {
        let claims = Some(self.0.claims.clone()).filter(|claims| !claims.is_empty());
        let (issued, row) = self.0.issue(tenant.id, stamp, 0)?;
        let fact = fact(KeyChange::Created, &row, claims.as_ref());
        let mut rows = vec![Row::KeyRow(issued.hash, row).into()];
        rows.extend(claims.map(|claims| Row::Claims(issued.key_id, claims).into()));
        Ok(Change {
            rows,
            fact,
            reply: issued,
        })
    }
}

#[derive(Debug, Clone, Copy)]
pub struct RevokeKey(pub KeyId);

impl Command for RevokeKey {
    type Reply = ();
    const SCOPE: Scope = Scope::Admin;

    fn apply(self, tenant: &Tenant, stamp: &Stamp) -> Plan<()> {
        let (hash, row) = tenant.keys.find(self.0).ok_or(Refusal::NotFound("key"))?;
        if !row.is_active {
            return Err(NoChange::Replay(()));
        }
        let administers = |key: &KeyRow| key.scopes.allow(Scope::Admin) && key.is_valid(stamp.at);
        let rows = tenant.keys.rows.iter().map(|(_, row)| row);
        let mut others = rows.filter(|key| key.key_id != self.0);
        if administers(row) && !others.any(administers) {
            let message = "it is the last key that administers; make another first";
            return Err(Refusal::invalid("", message).into());
        }
        let row = KeyRow {
            is_active: false,
            ..row.clone()
        };
        let fact = fact(KeyChange::Revoked, &row, tenant.keys.claims(row.key_id));
        Ok(Change {
            rows: vec![Mutation::Put(Row::KeyRow(hash, row))],
            fact,
            reply: (),
        })
    }
}

#[derive(Debug, Clone, Copy)]
pub struct RotateKey(pub KeyId);

impl Command for RotateKey {
    type Reply = IssuedKey;
    const SCOPE: Scope = Scope::Admin;

    fn apply(self, tenant: &Tenant, stamp: &Stamp) -> Plan<IssuedKey> {
        let (old, row) = tenant.keys.find(self.0).ok_or(Refusal::NotFound("key"))?;
        if !row.is_valid(stamp.at) {
            let message = "the key is revoked or expired, and stays so";
            return Err(Refusal::invalid("", message).into());
        }
        let secret = Secret::new(row.tier, &stamp.derive("key"));
        let issued = IssuedKey::new(row, secret);
        let rows = vec![
            Row::KeyRow(issued.hash, row.clone()).into(),
            RowId::KeyRow(old).into(),
        ];
        let fact = fact(KeyChange::Rotated, row, tenant.keys.claims(row.key_id));
        Ok(Change {
            rows,
            fact,
            reply: issued,
        })
    }
}
