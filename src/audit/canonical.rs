//! The one text of an entry: canonical JSON (RFC 8785), without its signature to be signed and with
//! it to be stored, written once for both.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

/// What every signed message begins with; no checkpoint or cosignature does.
const DOMAIN: &str = "arf-audit/record/v1\n";

/// The member that holds the signature.
pub(super) const SIGNATURE: &str = "sig";

/// The largest number that JSON carries between all readers (RFC 7493, section 2.2).
const MAX_EXACT: f64 = 9_007_199_254_740_991.0;

/// Whether canonical JSON keeps every number in this value. A float beyond ±(2^53 − 1) is refused
/// with the integers: below 10^21 it is written like one.
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

/// Whether an entry may have a member of this name: lower-case ASCII letters, digits and `_`. Such
/// names need no escape, and their order as bytes is the order that RFC 8785 asks for.
pub(super) fn is_field_name(name: &str) -> bool {
    let allowed = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_');
    !name.is_empty() && name.bytes().all(allowed)
}

/// An entry to which only the signature is missing.
pub(super) struct Unsigned {
    /// The message to sign: domain, log, and from `start` the entry.
    message: Vec<u8>,
    start: usize,
    /// Where in the message the signature's member belongs.
    gap: usize,
}

impl Unsigned {
    /// The entry with these members in the log named `origin`. They come in the order of their
    /// names, which are [field names](is_field_name), and one that sorts after the signature's is
    /// among them.
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
            serde_json_canonicalizer::to_writer(value, &mut message)
                .expect("a value of JSON has a canonical text, and memory takes it");
        }
        message.push(b'}');
        let gap = gap.expect("every entry has `v`, which sorts after its signature");
        Self {
            message,
            start,
            gap,
        }
    }

    /// What the signature is over: `"arf-audit/record/v1\n"` ‖ origin ‖ `"\n"` ‖ the entry without
    /// it.
    pub(super) fn message(&self) -> &[u8] {
        &self.message
    }

    /// The bytes of the entry with this signature in its place.
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
            let unsigned = Unsigned::write("log", members.iter().map(|(k, v)| (k.as_str(), v)));
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
        let unsigned = Unsigned::write("o", members.iter().map(|(name, value)| (*name, value)));
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
