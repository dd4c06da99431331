//! The first keys of a node, and the file that an operator finds them in.
//!
//! The file comes first: keys and ids are made, written and fsynced before anything is logged, so a
//! node that dies in between finds them again. After founding the server never reads it, and never
//! deletes it.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::bounded::BoundedString;
use crate::engine::{Engine, EngineError, clock};
use crate::id::{KeyId, Sequence, TenantId};
use crate::query;
use crate::stamp::Stamp;
use crate::store::keyfile::{self, KeyFileError};
use crate::tenant::Tenant;
use crate::tenant::command::{Caller, Refusal};
use crate::tenant::key::{KeySpec, Role, Scope, Secret};
use crate::tenant::lifecycle::FoundTenant;
use crate::tenant::usage::Tier;

/// The name of the file in the data directory.
pub const FILE: &str = "credentials.json";

/// How long the default tenant keeps openings, days.
const DEFAULT_RETENTION_DAYS: u32 = 800;

/// The first keys.
#[derive(Debug, Clone)]
pub struct Credentials {
    /// Of tenant zero: administers tenants.
    pub operator_key: Secret,
    /// The tenant `default`.
    pub tenant_id: TenantId,
    /// Of it: decides and reports outcomes.
    pub api_key: Secret,
    /// Of it: gives verdicts.
    pub reviewer_key: Secret,
}

/// The file's JSON.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    operator_key: String,
    /// This and what follows is not there after a restore: it makes the operator's key only.
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant_id: Option<TenantId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    api_key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reviewer_key: Option<String>,
}

/// The keys that a file holds, as far as it does.
#[derive(Debug)]
pub struct Kept {
    /// Of tenant zero.
    pub operator_key: Secret,
    /// Of the tenant `default`, to decide.
    pub api_key: Option<Secret>,
    /// Of it, to give verdicts.
    pub reviewer_key: Option<Secret>,
}

fn read_written(data: &Path) -> Result<Option<Written>, CredentialsError> {
    let path = data.join(FILE);
    if !path.exists() {
        return Ok(None);
    }
    let bytes = keyfile::read_private(&path)?;
    let written = serde_json::from_slice(&bytes);
    written
        .map(Some)
        .map_err(|error| CredentialsError::Malformed {
            path,
            why: error.to_string(),
        })
}

fn write_written(data: &Path, written: &Written) -> Result<(), CredentialsError> {
    let mut text = serde_json::to_vec_pretty(written).expect("texts are JSON");
    text.push(b'\n');
    Ok(keyfile::write_private(&data.join(FILE), &text)?)
}

/// The keys in the file of `data`; `None` if there is no file.
pub fn kept(data: &Path) -> Result<Option<Kept>, CredentialsError> {
    Ok(read_written(data)?.map(|written| Kept {
        operator_key: Secret::from_text(written.operator_key),
        api_key: written.api_key.map(Secret::from_text),
        reviewer_key: written.reviewer_key.map(Secret::from_text),
    }))
}

/// A key that will administer: written to the file of `data` first, to be made after.
pub fn make_operator_key(data: &Path) -> Result<KeySpec, CredentialsError> {
    let secret = Secret::new(Tier::Enterprise, &clock::random());
    let written = Written {
        operator_key: secret.reveal().to_owned(),
        tenant_id: None,
        api_key: None,
        reviewer_key: None,
    };
    write_written(data, &written)?;
    Ok(KeySpec {
        preset: Some((KeyId::random(clock::random()), secret)),
        ..KeySpec::with_role(Tier::Enterprise, Role::Operator)
    })
}

/// The file cannot be used.
#[derive(Debug, Error)]
pub enum CredentialsError {
    /// It cannot be read or written.
    #[error(transparent)]
    File(#[from] KeyFileError),
    /// It holds something else.
    #[error("{path}: is not a credentials file ({why}); move it away to have a new one made")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A tenant could not be founded.
    #[error("the first tenants could not be founded: {0}")]
    Founding(#[from] EngineError),
}

impl Credentials {
    /// Fresh ones.
    fn make() -> Self {
        let secret = || Secret::new(Tier::Enterprise, &clock::random());
        Self {
            operator_key: secret(),
            tenant_id: TenantId::random(clock::random()),
            api_key: secret(),
            reviewer_key: secret(),
        }
    }

    /// Reads the file of `data`; `None` if there is none.
    pub fn read(data: &Path) -> Result<Option<Self>, CredentialsError> {
        let Some(written) = read_written(data)? else {
            return Ok(None);
        };
        let missing = || CredentialsError::Malformed {
            path: data.join(FILE),
            why: "it lacks a key".to_owned(),
        };
        let secret = |key: Option<String>| key.map(Secret::from_text).ok_or_else(missing);
        Ok(Some(Self {
            operator_key: Secret::from_text(written.operator_key),
            tenant_id: written.tenant_id.ok_or_else(missing)?,
            api_key: secret(written.api_key)?,
            reviewer_key: secret(written.reviewer_key)?,
        }))
    }

    fn write(&self, data: &Path) -> Result<(), CredentialsError> {
        let written = Written {
            operator_key: self.operator_key.reveal().to_owned(),
            tenant_id: Some(self.tenant_id),
            api_key: Some(self.api_key.reveal().to_owned()),
            reviewer_key: Some(self.reviewer_key.reveal().to_owned()),
        };
        write_written(data, &written)
    }

    /// Founds what a first start founds, in this order: tenant zero, then `default`. Whichever exists
    /// already is left as it is.
    async fn found(&self, engine: &Engine, service: &str) -> Result<(), CredentialsError> {
        let key = |role, secret: &Secret| KeySpec {
            preset: Some((KeyId::random(clock::random()), secret.clone())),
            ..KeySpec::with_role(Tier::Enterprise, role)
        };
        let reviewer = KeySpec {
            owner: Some(BoundedString::new("first-reviewer").expect("it is short")),
            ..key(Role::Reviewer, &self.reviewer_key)
        };
        let operator = vec![key(Role::Operator, &self.operator_key)];
        let first = vec![key(Role::Ci, &self.api_key), reviewer];
        let first_tenants = [
            (TenantId::ZERO, "operators", operator),
            (self.tenant_id, "default", first),
        ];
        for (id, name, keys) in first_tenants {
            let command = FoundTenant {
                name: BoundedString::new(name).expect("it is short"),
                tier: Tier::Enterprise,
                retention_days: Some(DEFAULT_RETENTION_DAYS),
                created_by: None,
                keys,
                service: service.to_owned(),
                public_key: engine.signer().public_key().to_string(),
            };
            let account = engine
                .read(move |reader| query::tenants::one(reader, id))
                .await;
            if account.map_err(EngineError::from)?.is_none() {
                engine.execute(id, Caller::Node, command, 0).await?;
            }
        }
        Ok(())
    }
}

/// How a node came to its first tenants.
#[derive(Debug)]
pub enum Founding {
    /// It is new; these are its keys.
    New(Credentials),
    /// A founding that had been cut short is complete now; these are its keys.
    Completed(Credentials),
    /// It was cut short, and the file with the rest of the keys is gone: only tenant zero is there.
    Incomplete,
    /// It was founded before.
    Done,
}

/// Founds what is missing of a node's first tenants; `tenants` is how many it had at start.
pub async fn first_start(
    engine: &Engine,
    data: &Path,
    service: &str,
    tenants: u64,
) -> Result<Founding, CredentialsError> {
    match tenants {
        0 => {
            let credentials = match Credentials::read(data)? {
                Some(found) => found,
                None => {
                    let made = Credentials::make();
                    made.write(data)?;
                    made
                }
            };
            credentials.found(engine, service).await?;
            Ok(Founding::New(credentials))
        }
        1 if only_zero_was_founded(engine).await? => match Credentials::read(data)? {
            Some(credentials) => {
                credentials.found(engine, service).await?;
                Ok(Founding::Completed(credentials))
            }
            None => Ok(Founding::Incomplete),
        },
        _ => Ok(Founding::Done),
    }
}

/// True if tenant zero's founding is all there is: the start that made it did not get further.
async fn only_zero_was_founded(engine: &Engine) -> Result<bool, CredentialsError> {
    let look = |_: &Tenant, stamp: &Stamp| Ok(stamp.sequence);
    let next = engine.inspect(TenantId::ZERO, Caller::Node, Scope::Admin, look);
    match next.await {
        Ok(next) => Ok(next == Sequence::FIRST.next()),
        Err(EngineError::Refused(Refusal::NotFound(_))) => Ok(false),
        Err(stopped) => Err(stopped.into()),
    }
}
