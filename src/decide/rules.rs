//! Everything a decision depends on besides the intent and the evidence.

use std::sync::{Arc, LazyLock};

use sha2::{Digest, Sha256};
use thiserror::Error;

use super::price::Prices;
use super::settings::Settings;

/// Rises with every change that can alter an answer. Every entry has it, because a decision can only be
/// recomputed by the same version.
pub const VERSION: u16 = 1;

#[derive(Debug, Clone, PartialEq)]
pub struct Rules {
    pub version: u16,
    pub settings: Settings,
    pub prices: Prices,
    pub policy_version: u32,
    pub hashes: RuleHashes,
}

/// SHA-256 of the bytes of each part; `None` for a part that is absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RuleHashes {
    pub policies: Option<[u8; 32]>,
    pub settings: Option<[u8; 32]>,
    pub prices: Option<[u8; 32]>,
    pub model: Option<[u8; 32]>,
}

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
    Arc::new(rules.expect("a test reads the built-in files"))
});

impl Rules {
    pub fn built_in() -> &'static Self {
        &BUILT_IN
    }

    pub fn shared() -> Arc<Self> {
        BUILT_IN.clone()
    }

    /// Without policies of the tenant's own.
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
