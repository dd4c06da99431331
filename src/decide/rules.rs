//! Everything a decision depends on besides the intent and the evidence.

use std::sync::{Arc, LazyLock};

use sha2::{Digest, Sha256};
use thiserror::Error;

use super::price::Prices;
use super::settings::Settings;

/// Version of the rules that are written in this module: it rises with every change that can alter
/// an answer, and stands in every entry, because recomputing a decision needs the same one.
pub const VERSION: u16 = 1;

/// The rules in force for a tenant.
#[derive(Debug, Clone, PartialEq)]
pub struct Rules {
    /// [`VERSION`] of the code.
    pub version: u16,
    /// What the tenant has set.
    pub settings: Settings,
    /// What sizes cost.
    pub prices: Prices,
    /// Version of the policies, from 1.
    pub policy_version: u32,
    /// Which bytes these rules were read from.
    pub hashes: RuleHashes,
}

/// SHA-256 of the stored bytes of each part in force; none for a part that there is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RuleHashes {
    /// Of the policies.
    pub policies: Option<[u8; 32]>,
    /// Of the settings.
    pub settings: Option<[u8; 32]>,
    /// Of the prices.
    pub prices: Option<[u8; 32]>,
    /// Of the logistic model.
    pub model: Option<[u8; 32]>,
}

/// Text that is not a part of the rules.
#[derive(Debug, Clone, PartialEq, Error)]
#[error("{part}: {message}")]
pub struct RulesError {
    part: &'static str,
    message: String,
}

static BUILT_IN: LazyLock<Arc<Rules>> = LazyLock::new(|| {
    let rules = Rules::from_toml(
        include_str!("../../data/defaults/settings.toml"),
        include_str!("../../data/defaults/prices.toml"),
    );
    Arc::new(rules.expect("the built-in files are read by a test"))
});

impl Rules {
    /// The rules of a tenant that has set nothing.
    pub fn built_in() -> &'static Self {
        &BUILT_IN
    }

    /// The same, shared: most tenants have set nothing.
    pub fn shared() -> Arc<Self> {
        BUILT_IN.clone()
    }

    /// The rules that these files make, without policies of the tenant's own.
    pub fn from_toml(settings: &str, prices: &str) -> Result<Self, RulesError> {
        let bad = |part| {
            move |error: toml::de::Error| RulesError {
                part,
                message: error.to_string(),
            }
        };
        Ok(Self {
            version: VERSION,
            settings: toml::from_str(settings).map_err(bad("settings"))?,
            prices: toml::from_str(prices).map_err(bad("prices"))?,
            policy_version: 1,
            hashes: RuleHashes {
                policies: None,
                settings: Some(Sha256::digest(settings).into()),
                prices: Some(Sha256::digest(prices).into()),
                model: None,
            },
        })
    }
}
