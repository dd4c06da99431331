//! A fact: what an entry says, before it is numbered and signed.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;

use super::canonical::{is_exact, is_field_name};
use super::entry::is_common_member;

/// Public fields, and private parts that the entry only commits to. Names come from code, never from a
/// caller.
#[derive(Clone, PartialEq)]
pub struct Fact {
    pub(super) kind: &'static str,
    pub(super) fields: BTreeMap<&'static str, Value>,
    pub(super) private: Vec<(&'static str, Vec<u8>)>,
}

impl Fact {
    /// The kind is the entry's `type`.
    pub fn new(kind: &'static str) -> Self {
        Self {
            kind,
            fields: BTreeMap::new(),
            private: Vec::new(),
        }
    }

    /// Adds a public field; an absent value is null in the entry. Floats have to be finite: `serde_json`
    /// makes others null.
    ///
    /// # Panics
    ///
    /// If the name is one that every entry has, not lower-case ASCII, or a duplicate; or if a number in
    /// the value is beyond ±(2^53 − 1), where canonical JSON would round it.
    pub fn field(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        let value = value.into();
        assert!(
            is_field_name(name) && !is_common_member(name),
            "`{name}` cannot be a fact's field"
        );
        assert!(
            is_exact(&value),
            "`{name}` has a number that JSON would round"
        );
        let before = self.fields.insert(name, value);
        assert!(before.is_none(), "`{name}` is a duplicate");
        self
    }

    /// Adds a private part: the entry commits to exactly these bytes, and the opening has them.
    ///
    /// # Panics
    ///
    /// If the name is not lower-case ASCII of at most 255 bytes, or a duplicate; or if there are 4 GiB or
    /// more.
    pub fn private(mut self, name: &'static str, bytes: impl Into<Vec<u8>>) -> Self {
        let bytes = bytes.into();
        assert!(
            is_field_name(name) && name.len() <= 255,
            "`{name}` cannot be a private part"
        );
        assert!(
            u32::try_from(bytes.len()).is_ok(),
            "`{name}` does not fit an opening"
        );
        assert!(
            self.private.iter().all(|(other, _)| *other != name),
            "`{name}` is a duplicate"
        );
        self.private.push((name, bytes));
        self
    }

    /// Absent bytes leave no commitment.
    pub fn private_opt(self, name: &'static str, bytes: Option<impl Into<Vec<u8>>>) -> Self {
        match bytes {
            Some(bytes) => self.private(name, bytes),
            None => self,
        }
    }
}

impl fmt::Debug for Fact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Fact({}, {} private parts)",
            self.kind,
            self.private.len()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fact_that_no_entry_could_carry_is_a_bug_and_stops_at_once() {
        let check = |build: fn() -> Fact| assert!(std::panic::catch_unwind(build).is_err());
        check(|| Fact::new("a").field("sig", 1));
        check(|| Fact::new("a").field("c", 1));
        check(|| Fact::new("a").field("Upper", 1));
        check(|| Fact::new("a").field("twice", 1).field("twice", 2));
        check(|| Fact::new("a").field("count", u64::MAX));
        check(|| Fact::new("a").private("", "text"));
        check(|| {
            Fact::new("a")
                .private("twice", "text")
                .private("twice", "text")
        });
    }

    #[test]
    fn what_is_absent_is_null_among_the_fields_and_nothing_among_the_parts() {
        let fact = Fact::new("a")
            .field("of", None::<&str>)
            .private_opt("notes", None::<&str>);
        assert_eq!(fact.fields.get("of"), Some(&Value::Null));
        assert_eq!(fact.private, []);
    }
}
