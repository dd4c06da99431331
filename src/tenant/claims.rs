//! Claims: a key may be for certain intents only (rules.md 3).
//!
//! A row of its own, so that a key without claims costs nothing.

use serde::{Deserialize, Serialize};

use super::Tenant;
use super::command::Refusal;
use super::intents::IntentRow;
use super::schema::{Eviction, TableRow};
use crate::decide::Intent;
use crate::decide::intent::{Environment, IntentType};
use crate::id::KeyId;
use crate::store::Load;

/// What a key may be used for. An empty list allows all.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Claims {
    pub environments: Vec<Environment>,
    /// Patterns in which `*` stands for any text.
    pub requesters: Vec<String>,
    pub intent_types: Vec<IntentType>,
}

impl Claims {
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    pub fn check(&self, intent: &Intent) -> Result<(), Refusal> {
        self.check_kind(
            intent.environment,
            intent.deployment_target(),
            intent.intent_type(),
        )?;
        let requester = intent.requester.as_str();
        let matches = |pattern: &String| glob_match(pattern, requester);
        if !self.requesters.is_empty() && !self.requesters.iter().any(matches) {
            return Err(Refusal::ClaimNotAllowed("this requester".to_owned()));
        }
        Ok(())
    }

    /// Rows do not hold the requester; the requester of an intent that `key` itself asked for was
    /// checked then.
    pub fn check_outcome(&self, key: KeyId, intent: &IntentRow) -> Result<(), Refusal> {
        self.check_kind(intent.environment, intent.target, intent.intent_type)?;
        if self.requesters.is_empty() || intent.caller == key {
            Ok(())
        } else {
            let what = "outcomes of intents that it did not ask about".to_owned();
            Err(Refusal::ClaimNotAllowed(what))
        }
    }

    fn check_kind(
        &self,
        environment: Environment,
        target: Option<Environment>,
        kind: IntentType,
    ) -> Result<(), Refusal> {
        for place in [Some(environment), target].into_iter().flatten() {
            if !self.environments.is_empty() && !self.environments.contains(&place) {
                let what = format!("the environment `{place}`");
                return Err(Refusal::ClaimNotAllowed(what));
            }
        }
        if !self.intent_types.is_empty() && !self.intent_types.contains(&kind) {
            let what = format!("the intent type `{kind}`");
            return Err(Refusal::ClaimNotAllowed(what));
        }
        Ok(())
    }
}

/// True if `pattern`, in which `*` stands for any text, is the whole of `text`.
fn glob_match(pattern: &str, text: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else {
        return pattern == text;
    };
    let Some(mut text) = text.strip_prefix(first) else {
        return false;
    };
    let (middle, last) = rest.rsplit_once('*').unwrap_or(("", rest));
    // Matching each part as early as possible leaves the most text for the rest.
    for part in middle.split('*') {
        let Some(found) = text.find(part) else {
            return false;
        };
        text = text.get(found + part.len()..).unwrap_or_default();
    }
    text.ends_with(last)
}

impl TableRow for Claims {
    type Key = KeyId;
    const LOAD: Load = Load::Hot;
    /// They are in `api_keys.ndjson`.
    const EXPORT: Option<&'static str> = None;
    const WEIGHT: usize = 200;
    const EVICTION: Option<Eviction> = None;

    fn absorb(&self, key: &KeyId, tenant: &mut Tenant) -> Option<Self> {
        tenant.keys.claims.insert(*key, self.clone())
    }

    fn forget(key: &KeyId, tenant: &mut Tenant) -> Option<Self> {
        tenant.keys.claims.remove(key)
    }

    fn weight(&self) -> usize {
        let requesters = self.requesters.iter();
        Self::WEIGHT + requesters.map(|pattern| 24 + pattern.len()).sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_text() {
        for (pattern, text, fits) in [
            ("agent", "agent", true),
            ("agent", "agents", false),
            ("agent:*", "agent:", true),
            ("agent:*", "agent:x*y", true),
            ("agent:*", "person:x", false),
            ("*", "", true),
            ("*@example.org", "a@example.org", true),
            ("*@example.org", "a@example.org.evil", false),
            ("a*b*c", "abc", true),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "acb", false),
            ("a*bc*c", "abc", false),
            ("a**b", "ab", true),
            ("ab*ba", "aba", false),
            ("é*é", "éé", true),
        ] {
            assert_eq!(glob_match(pattern, text), fits, "{pattern} {text}");
        }
    }
}
