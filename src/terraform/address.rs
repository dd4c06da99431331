//! Addresses of resources as scopes, and as names of bounded length.

use std::fmt::Write as _;

use sha2::{Digest, Sha256};

use crate::bounded::BoundedString;
use crate::decide::intent::ResourceScope;

/// Of an address in an intent.
const CHARS_MAX: usize = 1_024;

/// The address as a name. One that is too long ends in a hash of the whole, so that no two are equal.
pub(super) fn name<const MIN: usize>(address: &str) -> BoundedString<MIN, CHARS_MAX> {
    BoundedString::new(truncate(address))
        .expect("an address of a plan is not too short, and this one was truncated")
}

/// The address as a path: `/module/a/aws_iam_role/ci/eu%2Fwest`. Instance keys are percent-encoded, so
/// that none looks like two segments.
pub(super) fn scope(address: &str) -> ResourceScope {
    let path: String = parts(address)
        .iter()
        .map(|part| format!("/{}", percent_encoded(part)))
        .collect();
    ResourceScope::new(truncate(&path)).expect("it begins with a slash and was truncated")
}

/// Splits at dots and brackets. A quoted key is one part, whatever is in it. Never empty.
fn parts(address: &str) -> Vec<String> {
    let mut parts = Vec::new();
    let mut part = String::new();
    let mut chars = address.chars().peekable();
    while let Some(char) = chars.next() {
        match char {
            '.' => parts.push(std::mem::take(&mut part)),
            '[' => {
                parts.push(std::mem::take(&mut part));
                if chars.next_if_eq(&'"').is_some() {
                    part = quoted(&mut chars);
                }
            }
            ']' => {}
            _ => part.push(char),
        }
    }
    parts.push(part);
    parts
}

/// The rest of a quoted key, up to its closing quote, unescaped.
fn quoted(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> String {
    let mut key = String::new();
    while let Some(char) = chars.next() {
        match char {
            '"' => break,
            '\\' => key.push(chars.next_if(|next| "\"\\".contains(*next)).unwrap_or('\\')),
            _ => key.push(char),
        }
    }
    key
}

fn percent_encoded(part: &str) -> String {
    let mut text = String::new();
    for byte in part.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            write!(text, "%{byte:02X}").expect("a String takes any text");
        }
    }
    text
}

fn truncate(text: &str) -> String {
    if text.chars().count() <= CHARS_MAX {
        return text.to_owned();
    }
    let hash = format!("{:x}", Sha256::digest(text));
    let tail: String = hash.chars().take(32).collect();
    let head: String = text.chars().take(CHARS_MAX - 1 - tail.len()).collect();
    format!("{head}~{tail}")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_address_becomes_a_scope() {
        let cases = [
            ("aws_iam_role.ci", "/aws_iam_role/ci"),
            ("aws_iam_role.ci[0]", "/aws_iam_role/ci/0"),
            (
                "module.a.module.b[1].aws_iam_role.ci",
                "/module/a/module/b/1/aws_iam_role/ci",
            ),
            (
                r#"module.a["x/y.z[0]"].t.n["ä b"]"#,
                "/module/a/x%2Fy.z%5B0%5D/t/n/%C3%A4%20b",
            ),
            (
                r#"t.n["say \"hi\" \\ \n"]"#,
                "/t/n/say%20%22hi%22%20%5C%20%5Cn",
            ),
            (r#"t.n[""]"#, "/t/n/"),
        ];
        for (address, expected) in cases {
            assert_eq!(scope(address).as_str(), expected, "{address}");
        }
    }

    #[test]
    fn long_addresses_that_differ_only_at_the_end_stay_apart() {
        let [one, two] = ["a", "b"].map(|end| format!("t.n[\"{}{end}\"]", "ä".repeat(2_000)));
        assert_ne!(name::<3>(&one), name::<3>(&two));
        assert_ne!(scope(&one), scope(&two));
        assert_eq!(scope(&one).as_str().chars().count(), CHARS_MAX);
    }

    proptest! {
        #[test]
        fn any_address_has_a_name_and_a_scope(address in r#"[a.\["\\\]é]{3,40}|\PC{3,1200}"#) {
            name::<3>(&address);
            scope(&address);
        }
    }
}
