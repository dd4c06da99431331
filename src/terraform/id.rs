//! Ids of intents and change sets: the same for the same change, and revealing nothing about it.

use hmac::{Hmac, Mac};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::change::Change;
use crate::base32;
use crate::bounded::BoundedString;
use crate::id::IntentId;

/// Ids of one change.
const ATTEMPTS_MAX: u16 = 9_999;

/// Derives the ids. Without the API key a plan's values cannot be guessed from them.
pub struct GateKey(Hmac<Sha256>);

impl GateKey {
    pub fn new(api_key: &str) -> Self {
        let key = Sha256::new()
            .chain_update("arf gate")
            .chain_update(api_key)
            .finalize();
        Self(Hmac::new_from_slice(&key).expect("HMAC takes a key of any length"))
    }

    /// The ids of a change in the order of preference: its own, then `-2`, `-3` … for when the decision
    /// under the one before is used up.
    pub fn intent_ids(&self, change: &Change<'_>) -> impl Iterator<Item = IntentId> + use<> {
        let name = self.derive(&json!({
            "address": change.address,
            "operation": change.operation,
            "before": change.before,
            "after": change.after,
            "environment": change.intent.environment,
        }));
        (1..=ATTEMPTS_MAX).map(move |attempt| {
            let id = if attempt == 1 {
                name.clone()
            } else {
                format!("{name}-{attempt}")
            };
            IntentId::parse(&id).expect("55 characters and at most 5 more are an id")
        })
    }

    /// The id of a plan whose intents have these ids, in any order.
    pub fn change_set_id(&self, ids: &[IntentId]) -> BoundedString<1, 64> {
        let mut ids: Vec<_> = ids.iter().map(IntentId::as_str).collect();
        ids.sort_unstable();
        BoundedString::new(self.derive(&json!(ids))).expect("55 characters are at most 64")
    }

    fn derive(&self, value: &serde_json::Value) -> String {
        let bytes = serde_json_canonicalizer::to_vec(value).expect("a JSON value is JSON");
        let mac = self.0.clone().chain_update(bytes).finalize().into_bytes();
        format!("tf-{}", base32::encode(&mac))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_of_a_plan_does_not_depend_on_the_order_of_its_changes() {
        let [a, b] = ["tf-a", "tf-b"].map(|id| IntentId::parse(id).unwrap());
        let key = GateKey::new("arf_free_x");
        let (ids, turned) = ([a.clone(), b.clone()], [b, a]);
        let name = key.change_set_id(&ids);
        assert_eq!(name, key.change_set_id(&turned));
        assert_ne!(name, key.change_set_id(&ids[..1]));
        assert_ne!(name, GateKey::new("arf_free_y").change_set_id(&ids));
    }
}
