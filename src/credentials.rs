//! The first keys of a node, and the file that hands them to the operator.
//!
//! The file comes first: keys and ids are generated, written and fsynced before anything is logged, so
//! a start that crashed is completed with the same keys. After that the server neither reads nor
//! deletes the file.

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
use crate::tenant::authorization::Caller;
use crate::tenant::command::Refusal;
use crate::tenant::key::{KeySpec, Role, Scope, Secret};
use crate::tenant::lifecycle::FoundTenant;
use crate::tenant::usage::Tier;

/// The name of the file in the data directory.
pub const FILE: &str = "credentials.json";

/// How long the tenant `default` keeps openings, days.
const DEFAULT_RETENTION_DAYS: u32 = 800;

#[derive(Debug, Clone)]
pub struct Credentials {
    /// Of tenant zero.
    pub operator_key: Secret,
    /// The tenant `default`, which has the two keys that follow.
    pub tenant_id: TenantId,
    pub api_key: Secret,
    pub reviewer_key: Secret,
}

/// The file's JSON.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CredentialsFile {
    operator_key: String,
    /// Absent after a restore, which creates the operator's key only; so are the two that follow.
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant_id: Option<TenantId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    api_key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reviewer_key: Option<String>,
}

/// The keys in the file.
#[derive(Debug)]
pub struct StoredKeys {
    pub operator_key: Secret,
    pub api_key: Option<Secret>,
    pub reviewer_key: Option<Secret>,
}

fn read_file(data: &Path) -> Result<Option<CredentialsFile>, CredentialsError> {
    let path = data.join(FILE);
    if !path.exists() {
        return Ok(None);
    }
    let bytes = keyfile::read_private(&path)?;
    let file = serde_json::from_slice(&bytes);
    file.map(Some).map_err(|error| CredentialsError::Malformed {
        path,
        why: error.to_string(),
    })
}

fn write_file(data: &Path, file: &CredentialsFile) -> Result<(), CredentialsError> {
    let mut text = serde_json::to_vec_pretty(file).expect("strings are JSON");
    text.push(b'\n');
    Ok(keyfile::write_private(&data.join(FILE), &text)?)
}

/// The keys in the file below `data`; `None` if there is no file.
pub fn read_keys(data: &Path) -> Result<Option<StoredKeys>, CredentialsError> {
    Ok(read_file(data)?.map(|file| StoredKeys {
        operator_key: Secret::from_text(file.operator_key),
        api_key: file.api_key.map(Secret::from_text),
        reviewer_key: file.reviewer_key.map(Secret::from_text),
    }))
}

/// Writes a new operator key to the file below `data`. The caller creates the key afterwards.
pub fn write_operator_key(data: &Path) -> Result<KeySpec, CredentialsError> {
    let secret = Secret::new(Tier::Enterprise, &clock::random());
    let file = CredentialsFile {
        operator_key: secret.reveal().to_owned(),
        tenant_id: None,
        api_key: None,
        reviewer_key: None,
    };
    write_file(data, &file)?;
    Ok(KeySpec {
        preset: Some((KeyId::random(clock::random()), secret)),
        ..KeySpec::with_role(Tier::Enterprise, Role::Operator)
    })
}

/// The credentials cannot be read, written or created.
#[derive(Debug, Error)]
pub enum CredentialsError {
    #[error(transparent)]
    File(#[from] KeyFileError),
    #[error("{path}: not a credentials file ({why}); move it away to create a new one")]
    Malformed { path: PathBuf, why: String },
    #[error("cannot create the first tenants: {0}")]
    Bootstrap(#[from] EngineError),
}

impl Credentials {
    fn generate() -> Self {
        let secret = || Secret::new(Tier::Enterprise, &clock::random());
        Self {
            operator_key: secret(),
            tenant_id: TenantId::random(clock::random()),
            api_key: secret(),
            reviewer_key: secret(),
        }
    }

    /// Reads the file below `data`; `None` if there is none.
    pub fn read(data: &Path) -> Result<Option<Self>, CredentialsError> {
        let Some(file) = read_file(data)? else {
            return Ok(None);
        };
        let missing = || CredentialsError::Malformed {
            path: data.join(FILE),
            why: "a key is missing".to_owned(),
        };
        let secret = |key: Option<String>| key.map(Secret::from_text).ok_or_else(missing);
        Ok(Some(Self {
            operator_key: Secret::from_text(file.operator_key),
            tenant_id: file.tenant_id.ok_or_else(missing)?,
            api_key: secret(file.api_key)?,
            reviewer_key: secret(file.reviewer_key)?,
        }))
    }

    fn write(&self, data: &Path) -> Result<(), CredentialsError> {
        let file = CredentialsFile {
            operator_key: self.operator_key.reveal().to_owned(),
            tenant_id: Some(self.tenant_id),
            api_key: Some(self.api_key.reveal().to_owned()),
            reviewer_key: Some(self.reviewer_key.reveal().to_owned()),
        };
        write_file(data, &file)
    }

    /// Creates tenant zero, then `default`, if they do not exist.
    async fn create_tenants(&self, engine: &Engine, service: &str) -> Result<(), CredentialsError> {
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
                .read(move |reader| query::tenants::get(reader, id))
                .await;
            if account.map_err(EngineError::from)?.is_none() {
                engine.execute(id, Caller::Node, command, 0).await?;
            }
        }
        Ok(())
    }
}

/// How the first tenants came to be.
#[derive(Debug)]
pub enum Bootstrap {
    /// This start created them.
    New(Credentials),
    /// This start completed one that crashed.
    Completed(Credentials),
    /// A start crashed, and the file with the other keys is gone: only tenant zero exists.
    Incomplete,
    /// They existed.
    Done,
}

/// Creates the first tenants as far as they are missing; `tenants` is their number at start.
pub async fn bootstrap(
    engine: &Engine,
    data: &Path,
    service: &str,
    tenants: u64,
) -> Result<Bootstrap, CredentialsError> {
    match tenants {
        0 => {
            let credentials = match Credentials::read(data)? {
                Some(credentials) => credentials,
                None => {
                    let credentials = Credentials::generate();
                    credentials.write(data)?;
                    credentials
                }
            };
            credentials.create_tenants(engine, service).await?;
            Ok(Bootstrap::New(credentials))
        }
        1 if bootstrap_is_incomplete(engine).await? => match Credentials::read(data)? {
            Some(credentials) => {
                credentials.create_tenants(engine, service).await?;
                Ok(Bootstrap::Completed(credentials))
            }
            None => Ok(Bootstrap::Incomplete),
        },
        _ => Ok(Bootstrap::Done),
    }
}

/// True if tenant zero has only its first entry: the start that created it crashed after that.
async fn bootstrap_is_incomplete(engine: &Engine) -> Result<bool, CredentialsError> {
    let next = |_: &Tenant, stamp: &Stamp| Ok(stamp.sequence);
    let next = engine.inspect(TenantId::ZERO, Caller::Node, Scope::Admin, next);
    match next.await {
        Ok(next) => Ok(next == Sequence::FIRST.next()),
        Err(EngineError::Refused(Refusal::NotFound(_))) => Ok(false),
        Err(error) => Err(error.into()),
    }
}
