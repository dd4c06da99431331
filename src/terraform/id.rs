//! Names of intents and change sets: the same for the same change, and telling nothing of it.

use hmac::{Hmac, Mac};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::change::Change;
use crate::bounded::BoundedString;
use crate::id::IntentId;

/// How often one change may be asked anew.
const ATTEMPTS_MAX: u16 = 9_999;

/// Makes the names. Whoever lacks the API key cannot guess a plan's values from them.
pub struct GateKey(Hmac<Sha256>);

impl GateKey {
    /// The namer for the holder of this API key.
    pub fn new(api_key: &str) -> Self {
        let key = Sha256::new()
            .chain_update("arf gate")
            .chain_update(api_key)
            .finalize();
        Self(Hmac::new_from_slice(&key).expect("HMAC takes a key of any length"))
    }

    /// The names of a change, best first: its own, and then `-2`, `-3` … for asking anew where the
    /// answer under the one before is spent.
    pub fn intent_ids(&self, change: &Change<'_>) -> impl Iterator<Item = IntentId> + use<> {
        let name = self.name(&json!({
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

    /// The name of a plan whose intents were asked under these ids, in any order.
    pub fn change_set_id(&self, ids: &[IntentId]) -> BoundedString<1, 64> {
        let mut ids: Vec<_> = ids.iter().map(IntentId::as_str).collect();
        ids.sort_unstable();
        BoundedString::new(self.name(&json!(ids))).expect("55 characters are at most 64")
    }

    fn name(&self, value: &serde_json::Value) -> String {
        let bytes = serde_json_canonicalizer::to_vec(value).expect("a JSON value is JSON");
        let mac = self.0.clone().chain_update(bytes).finalize().into_bytes();
        format!("tf-{}", base32(&mac))
    }
}

/// Base32 (RFC 4648) in small letters, without padding.
fn base32(bytes: &[u8]) -> String {
    let digits = b"abcdefghijklmnopqrstuvwxyz234567";
    let bit = |number: usize| -> u8 {
        bytes
            .get(number / 8)
            .map_or(0, |byte| byte >> (7 - number % 8) & 1)
    };
    (0..bytes.len() * 8)
        .step_by(5)
        .map(|start| (start..start + 5).fold(0, |digit, number| digit << 1 | bit(number)))
        .filter_map(|digit| digits.get(usize::from(digit)).copied().map(char::from))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base32_is_that_of_the_rfc() {
        let vectors = [
            ("", ""),
            ("f", "my"),
            ("fo", "mzxq"),
            ("foobar", "mzxw6ytboi"),
        ];
        for (plain, encoded) in vectors {
            assert_eq!(base32(plain.as_bytes()), encoded);
        }
        assert_eq!(base32(&[0; 32]).len(), 52);
    }

    #[test]
    fn the_name_of_a_plan_is_that_of_its_ids_in_any_order() {
        let [a, b] = ["tf-a", "tf-b"].map(|id| IntentId::parse(id).unwrap());
        let key = GateKey::new("arf_free_x");
        let (ids, turned) = ([a.clone(), b.clone()], [b, a]);
        let name = key.change_set_id(&ids);
        assert_eq!(name, key.change_set_id(&turned));
        assert_ne!(name, key.change_set_id(&ids[..1]));
        assert_ne!(name, GateKey::new("arf_free_y").change_set_id(&ids));
    }
}
