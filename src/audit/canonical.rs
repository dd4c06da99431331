//! The canonical JSON (RFC 8785) of an entry: without its signature to be signed, with it to be stored.
//! Written once for both.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

/// Domain separation: no checkpoint or cosignature begins like this.
const DOMAIN: &str = "arf-audit/record/v1\n";

/// The member that holds the signature.
pub(super) const SIGNATURE: &str = "sig";

/// The largest number that JSON carries between all readers (RFC 7493, section 2.2).
const MAX_EXACT: f64 = 9_007_199_254_740_991.0;

/// True if canonical JSON keeps every number in this value. Floats beyond ±(2^53 − 1) are refused like
/// integers: below 10^21 they are written like one.
pub(super) fn is_exact(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(_) | Value::String(_) => true,
        Value::Number(number) => number
            .as_f64()
            .is_some_and(|number| number.abs() <= MAX_EXACT),
        Value::Array(values) => values.iter().all(is_exact),
        Value::Object(members) => members.values().all(is_exact),
    }
}

/// Lower-case ASCII letters, digits and `_`: such names need no escape, and their order as bytes is
/// that of RFC 8785.
pub(super) fn is_field_name(name: &str) -> bool {
    let allowed = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_');
    !name.is_empty() && name.bytes().all(allowed)
}

pub(super) struct UnsignedEntry {
    /// Domain, log, and from `start` the entry.
    message: Vec<u8>,
    start: usize,
    /// Where in the message the signature's member goes.
    gap: usize,
}

impl UnsignedEntry {
    /// The entry with these members in the log `origin`. The names are [field names](is_field_name), in
    /// order, and one of them sorts after the signature's.
    pub(super) fn write<'a>(
        origin: &str,
        members: impl Iterator<Item = (&'a str, &'a Value)>,
    ) -> Self {
        let mut message = Vec::with_capacity(2_048);
        message.extend(DOMAIN.as_bytes());
        message.extend(origin.as_bytes());
        message.push(b'\n');
        let start = message.len();
        let mut gap = None;
        let mut separator = b'{';
        for (name, value) in members {
            message.push(separator);
            separator = b',';
            if gap.is_none() && name > SIGNATURE {
                gap = Some(message.len());
            }
            message.push(b'"');
            message.extend(name.as_bytes());
            message.extend(b"\":");
            serde_json_canonicalizer::to_writer(value, &mut message).expect(
                "every JSON value has a canonical form, and writing to memory does not fail",
            );
        }
        message.push(b'}');
        let gap = gap.expect("every entry has `v`, which sorts after its signature");
        Self {
            message,
            start,
            gap,
        }
    }

    /// What is signed: `"arf-audit/record/v1\n"` ‖ origin ‖ `"\n"` ‖ the entry without its signature.
    pub(super) fn message(&self) -> &[u8] {
        &self.message
    }

    /// The bytes of the entry with this signature.
    pub(super) fn signed(&self, signature: &[u8; 64]) -> Vec<u8> {
        let (before, after) = self.message.split_at(self.gap);
        let (_, before) = before.split_at(self.start);
        let member = format!("\"{SIGNATURE}\":\"{}\",", STANDARD.encode(signature));
        [before, member.as_bytes(), after].concat()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::collection::{btree_map, vec};
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn value() -> impl Strategy<Value = Value> {
        let number = prop_oneof![
            (-9_007_199_254_740_991_i64..=9_007_199_254_740_991).prop_map(Value::from),
            (-1e15..1e15).prop_map(Value::from),
            (-1.0..1.0).prop_map(Value::from),
            Just(json!(-0.0)),
        ];
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            number,
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                vec(inner.clone(), 0..4).prop_map(Value::from),
                btree_map(any::<String>(), inner, 0..4)
                    .prop_map(|members| members.into_iter().collect()),
            ]
        })
    }

    proptest! {
        #[test]
        fn splicing_gives_what_canonicalising_the_whole_gives(
            mut members in btree_map("[a-z0-9_]{1,8}", value(), 0..12),
            signature in any::<[u8; 64]>(),
        ) {
            members.remove(SIGNATURE);
            members.insert("v".to_owned(), json!(1));
            let unsigned = UnsignedEntry::write("log", members.iter().map(|(k, v)| (k.as_str(), v)));
            let alone = serde_json_canonicalizer::to_vec(&members).unwrap();
            let message = [b"arf-audit/record/v1\nlog\n".as_slice(), &alone].concat();
            prop_assert_eq!(unsigned.message(), message);

            members.insert(SIGNATURE.to_owned(), STANDARD.encode(signature).into());
            let whole = serde_json_canonicalizer::to_vec(&members).unwrap();
            prop_assert_eq!(unsigned.signed(&signature), whole);
        }

        #[test]
        fn what_is_exact_comes_back_the_same_and_exact(value in value()) {
            prop_assert!(is_exact(&value));
            let text = serde_json_canonicalizer::to_vec(&value).unwrap();
            let again: Value = serde_json::from_slice(&text).unwrap();
            prop_assert!(is_exact(&again));
            prop_assert_eq!(serde_json_canonicalizer::to_vec(&again).unwrap(), text);
        }
    }

    #[test]
    fn a_number_that_json_would_round_is_seen_at_every_depth() {
        let check = |value: Value, exact| {
            assert_eq!(is_exact(&value), exact, "{value}");
            let nested = json!([{ "a": [value] }]);
            assert_eq!(is_exact(&nested), exact, "{nested}");
        };
        check(json!(9_007_199_254_740_991_u64), true);
        check(json!(-9_007_199_254_740_991_i64), true);
        check(json!(9_007_199_254_740_992_u64), false);
        check(json!(-9_007_199_254_740_993_i64), false);
        check(json!(u64::MAX), false);
        check(json!(1e16), false);
        check(json!(0.1), true);
    }

    #[test]
    fn a_field_name_needs_no_escape() {
        for name in ["v", "risk_score", "sha256"] {
            assert!(is_field_name(name), "{name}");
        }
        for name in [
            "",
            "Risk",
            "risk score",
            "risk-score",
            "ri\"sk",
            "ri\\sk",
            "risk\n",
            "größe",
        ] {
            assert!(!is_field_name(name), "{name}");
        }
    }

    #[test]
    fn members_are_written_in_order_around_the_signature() {
        let members = BTreeMap::from([("a", json!(1)), ("tea", json!([])), ("z", json!(null))]);
        let unsigned =
            UnsignedEntry::write("o", members.iter().map(|(name, value)| (*name, value)));
        let signed = String::from_utf8(unsigned.signed(&[0; 64])).unwrap();
        assert_eq!(
            signed,
            format!(
                r#"{{"a":1,"sig":"{}==","tea":[],"z":null}}"#,
                "A".repeat(86)
            )
        );
    }
}
