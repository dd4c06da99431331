//! Keys: creation, and how they are shown. A secret is shown once.

use serde::Serialize;
use serde_json::Value;

use super::json::{self, Fields, ValidationError};
use super::problem::Problem;
use crate::decide::intent::{Environment, IntentType};
use crate::id::KeyId;
use crate::tenant::Tenant;
use crate::tenant::claims::Claims;
use crate::tenant::key::{IssuedKey, KeyRow, KeySpec, Rights, Role, Scope, Scopes};
use crate::tenant::usage::Tier;
use crate::time::Timestamp;

pub fn parse(bytes: &[u8]) -> Result<KeySpec, Problem> {
    json::parse(bytes, |value| {
        let mut fields = Fields::of(value)?;
        let tier = fields.required("tier", json::string_enum(Tier::ALL, Tier::as_str));
        let role = fields.optional("role", json::string_enum(Role::ALL, Role::as_str));
        let scopes = fields.optional("scopes", scopes);
        let name = fields.optional("name", json::string);
        let owner = fields.optional("owner", json::string);
        let expires_at = fields.optional("expires_at", json::string_as(timestamp));
        let claims = fields.optional("claims", claims);
        let rights = match (role, scopes) {
            (Some(_), Some(_)) => {
                return Err(
                    ValidationError::new("conflicts with `scopes`: set one of them").under("role"),
                );
            }
            (None, Some(scopes)) => Rights::Scopes(scopes),
            (role, None) => Rights::Role(role.unwrap_or(Role::Ci)),
        };
        fields.finish(|| {
            Some(KeySpec {
                tier: tier?,
                rights,
                name,
                owner,
                expires_at,
                claims: claims.unwrap_or_default(),
                preset: None,
            })
        })
    })
}

fn scopes(value: &Value) -> Result<Scopes, ValidationError> {
    // Every key may read: the scope is implied.
    let grantable: Vec<Scope> = Scope::ALL
        .iter()
        .copied()
        .filter(|scope| *scope != Scope::Read)
        .collect();
    let one = |value: &Value| {
        let scope = json::string_enum(Scope::ALL, Scope::as_str)(value)?;
        if grantable.contains(&scope) {
            Ok(scope)
        } else {
            Err(ValidationError::new("cannot be granted: every key has it"))
        }
    };
    let scopes = json::list::<_, 16>(one)(value)?;
    Ok(Scopes::of(scopes.as_slice()))
}

fn claims(value: &Value) -> Result<Claims, ValidationError> {
    let mut fields = Fields::of(value)?;
    let environment = json::string_enum(Environment::ALL, Environment::as_str);
    let environments = fields.optional("environments", json::list::<_, 4>(environment));
    let requesters = fields.optional("requesters", json::list::<_, 64>(json::string::<1, 256>));
    let intent_type = json::string_enum(IntentType::ALL, IntentType::as_str);
    let intent_types = fields.optional("intent_types", json::list::<_, 3>(intent_type));
    fields.finish(|| {
        let requesters: Vec<_> = requesters.unwrap_or_default().into();
        Some(Claims {
            environments: environments.unwrap_or_default().into(),
            requesters: requesters.into_iter().map(String::from).collect(),
            intent_types: intent_types.unwrap_or_default().into(),
        })
    })
}

fn timestamp(text: &str) -> Result<Timestamp, &'static str> {
    Timestamp::parse(text).ok_or("must be an RFC 3339 timestamp, such as `2027-01-31T00:00:00Z`")
}

/// A new key with its secret.
#[derive(Debug, Serialize)]
pub struct CreatedKey {
    key_id: KeyId,
    role: Option<Role>,
    key: String,
}

impl From<&IssuedKey> for CreatedKey {
    fn from(granted: &IssuedKey) -> Self {
        Self {
            key_id: granted.key_id,
            role: granted.role,
            key: granted.secret.reveal().to_owned(),
        }
    }
}

/// A key in a list.
#[derive(Debug, Serialize)]
pub struct KeySummary {
    key_id: KeyId,
    name: Option<String>,
    owner: Option<String>,
    tier: Tier,
    role: Option<Role>,
    scopes: Scopes,
    claims: Option<Claims>,
    created_at: Timestamp,
    expires_at: Option<Timestamp>,
    last_used_at: Option<Timestamp>,
    is_active: bool,
}

/// The keys of a tenant, oldest first. `last_used_at` is when a key last made an evaluation.
pub fn list(tenant: &Tenant) -> Vec<KeySummary> {
    tenant
        .keys()
        .all()
        .into_iter()
        .map(|row| KeySummary::new(row, tenant))
        .collect()
}

impl KeySummary {
    fn new(row: &KeyRow, tenant: &Tenant) -> Self {
        Self {
            key_id: row.key_id,
            name: row.name.clone(),
            owner: row.owner.clone(),
            tier: row.tier,
            role: row.role,
            scopes: row.scopes,
            claims: tenant.keys().claims(row.key_id).cloned(),
            created_at: row.created_at,
            expires_at: row.expires_at,
            last_used_at: tenant.usage().last_used_at(row.key_id),
            is_active: row.is_active,
        }
    }
}
