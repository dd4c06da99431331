//! Keys: what operators ask for, and what they see. A secret is shown once.

use serde::Serialize;
use serde_json::Value;

use super::json::{self, Fields, Invalid};
use super::problem::Problem;
use crate::decide::intent::{Environment, IntentType};
use crate::id::KeyId;
use crate::tenant::Tenant;
use crate::tenant::claims::Claims;
use crate::tenant::key::{IssuedKey, KeyRow, KeySpec, Rights, Role, Scope, Scopes};
use crate::tenant::usage::Tier;
use crate::time::Timestamp;

/// Reads the body that asks for a key.
pub fn create(bytes: &[u8]) -> Result<KeySpec, Problem> {
    json::parse(bytes, |value| {
        let mut fields = Fields::of(value)?;
        let tier = fields.required("tier", json::string_enum(Tier::ALL, Tier::as_str));
        let role = fields.optional("role", json::string_enum(Role::ALL, Role::as_str));
        let scopes = fields.optional("scopes", scopes);
        let name = fields.optional("name", json::text);
        let owner = fields.optional("owner", json::text);
        let expires_at = fields.optional("expires_at", json::parsed(moment));
        let claims = fields.optional("claims", claims);
        let rights = match (role, scopes) {
            (Some(_), Some(_)) => {
                return Err(
                    Invalid::because("stands for scopes: give one or the other").under("role")
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

fn scopes(value: &Value) -> Result<Scopes, Invalid> {
    // `read` is what every key may do; nobody has to ask for it.
    let given: Vec<Scope> = Scope::ALL
        .iter()
        .copied()
        .filter(|scope| *scope != Scope::Read)
        .collect();
    let one = |value: &Value| {
        let scope = json::string_enum(Scope::ALL, Scope::as_str)(value)?;
        if given.contains(&scope) {
            Ok(scope)
        } else {
            Err(Invalid::because("is not given"))
        }
    };
    let scopes = json::list::<_, 16>(one)(value)?;
    Ok(Scopes::of(scopes.as_slice()))
}

fn claims(value: &Value) -> Result<Claims, Invalid> {
    let mut fields = Fields::of(value)?;
    let environment = json::string_enum(Environment::ALL, Environment::as_str);
    let environments = fields.optional("environments", json::list::<_, 4>(environment));
    let requesters = fields.optional("requesters", json::list::<_, 64>(json::text::<1, 256>));
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

fn moment(text: &str) -> Result<Timestamp, &'static str> {
    Timestamp::parse(text).ok_or("must be a time, as `2027-01-31T00:00:00Z` (RFC 3339)")
}

/// A key that was just made, with its secret.
#[derive(Debug, Serialize)]
pub struct Made {
    key_id: KeyId,
    role: Option<Role>,
    key: String,
}

impl From<&IssuedKey> for Made {
    fn from(granted: &IssuedKey) -> Self {
        Self {
            key_id: granted.key_id,
            role: granted.role,
            key: granted.secret.reveal().to_owned(),
        }
    }
}

/// A key as lists show it.
#[derive(Debug, Serialize)]
pub struct Item {
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

/// The keys of a tenant, oldest first. `last_used_at` is when a key last paid for an evaluation.
pub fn items(tenant: &Tenant) -> Vec<Item> {
    tenant
        .keys()
        .all()
        .into_iter()
        .map(|row| Item::of(row, tenant))
        .collect()
}

impl Item {
    fn of(row: &KeyRow, tenant: &Tenant) -> Self {
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
