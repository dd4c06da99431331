//! JSON in: a strict reader, and readers of fields that find every fault of a body at once.
//!
//! What [`read`] lets through is JSON in which nothing is ambiguous: no key twice, no number that
//! a double cannot hold, no more nesting than anybody needs. On top of it a shape is read with
//! [`Fields`] and small reading functions, from a [`Value`] to a type that cannot be wrong:
//!
//! ```
//! use arf::api::json::{self, Fields, Invalid};
//! use arf::decide::intent::Text;
//!
//! struct Outcome {
//!     success: bool,
//!     notes: Option<Text<0, 4096>>,
//! }
//!
//! fn outcome(value: &serde_json::Value) -> Result<Outcome, Invalid> {
//!     let mut fields = Fields::of(value)?;
//!     let success = fields.required("success", json::boolean);
//!     let notes = fields.optional("notes", json::text);
//!     fields.finish(|| Some(Outcome { success: success?, notes }))
//! }
//!
//! let problem = json::parse(br#"{"succes": true}"#, outcome).err().unwrap();
//! assert_eq!(problem.errors[0].message, "is required");
//! assert_eq!(problem.errors[1].message, "unknown field `succes`; did you mean `success`?");
//! ```

#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::panic))]

use std::fmt::{self, Display};
use std::ops::RangeInclusive;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::problem::{Code, FieldError, Problem};
use crate::bounded::{BoundedString, BoundedVec};

/// How many objects and lists may stand inside each other.
pub const DEPTH_MAX: usize = 32;
/// The largest magnitude of a number: every whole number up to it is a double (RFC 8785).
pub const NUMBER_MAX: u64 = (1 << 53) - 1;
/// How many faults of one body are told.
const FAULTS_MAX: usize = 64;
/// How much of a caller's own word is repeated to it.
const ECHO_CHARS_MAX: usize = 64;

/// What is wrong with a body: at least one fault, each with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invalid(Vec<FieldError>);

impl Invalid {
    /// The value itself is wrong: it `message`, as in "must be a text".
    pub fn because(message: impl Into<String>) -> Self {
        Self(vec![FieldError {
            pointer: String::new(),
            message: message.into(),
        }])
    }

    /// The same faults, seen from the value that holds this one as `token` (a name or a number).
    pub fn under(mut self, token: impl Display) -> Self {
        let token = token.to_string().replace('~', "~0").replace('/', "~1");
        for fault in &mut self.0 {
            fault.pointer = format!("/{token}{}", fault.pointer);
        }
        self
    }

    /// The faults.
    pub fn into_errors(self) -> Vec<FieldError> {
        self.0
    }

    fn join(&mut self, other: Self) {
        let room = FAULTS_MAX.saturating_sub(self.0.len());
        self.0.extend(other.0.into_iter().take(room));
    }

    fn is_full(&self) -> bool {
        self.0.len() >= FAULTS_MAX
    }
}

/// Reads a body into a shape.
pub fn parse<T>(
    bytes: &[u8],
    shape: impl FnOnce(&Value) -> Result<T, Invalid>,
) -> Result<T, Problem> {
    Ok(shape(&read(bytes)?)?)
}

/// Reads strict JSON. Numbers that are whole come out as integers however they were written, so
/// that equal JSON (RFC 8785) is an equal [`Value`].
pub fn read(bytes: &[u8]) -> Result<Value, Problem> {
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Err(Problem::new(Code::MalformedJson, "the body is empty"));
    }
    let mut faults = Invalid(Vec::new());
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let node = Node {
        place: &Place::Whole,
        depth: 0,
        faults: &mut faults,
    };
    let value = node
        .deserialize(&mut deserializer)
        .and_then(|value| deserializer.end().map(|()| value))
        .map_err(not_json)?;
    if faults.0.is_empty() {
        Ok(value)
    } else {
        Err(faults.into())
    }
}

fn not_json(error: serde_json::Error) -> Problem {
    let message = error.to_string();
    // `1e999` is JSON, and serde_json has no other sign of it than these words.
    if message.starts_with("number out of range") {
        Invalid::because(message).into()
    } else {
        Problem::new(Code::MalformedJson, message)
    }
}

/// Where a value stands, told from the inside out; costs nothing until somebody asks.
enum Place<'a> {
    Whole,
    Member(&'a Place<'a>, &'a str),
    Item(&'a Place<'a>, usize),
}

impl Place<'_> {
    fn locate(&self, fault: Invalid) -> Invalid {
        match self {
            Self::Whole => fault,
            Self::Member(parent, name) => parent.locate(fault.under(name)),
            Self::Item(parent, number) => parent.locate(fault.under(number)),
        }
    }
}

/// Reads one value. Faults that leave the text JSON are noted, and reading goes on: a body that is
/// not JSON at all is told so first.
struct Node<'a> {
    place: &'a Place<'a>,
    /// How many objects and lists this value stands in.
    depth: usize,
    faults: &'a mut Invalid,
}

impl Node<'_> {
    fn fault(&mut self, place: &Place<'_>, message: impl Into<String>) {
        if !self.faults.is_full() {
            self.faults.join(place.locate(Invalid::because(message)));
        }
    }

    fn number_too_large(mut self) -> Value {
        let place = self.place;
        self.fault(place, format!("must not be beyond {NUMBER_MAX}"));
        Value::Null
    }

    /// True, and noted, if an object or list here is one too many.
    fn too_deep(&mut self) -> bool {
        let deep = self.depth >= DEPTH_MAX;
        if deep {
            let place = self.place;
            self.fault(
                place,
                format!("must not be nested more than {DEPTH_MAX} deep"),
            );
        }
        deep
    }
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(if value <= NUMBER_MAX {
            Value::from(value)
        } else {
            self.number_too_large()
        })
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        let small = value.unsigned_abs() <= NUMBER_MAX;
        Ok(if small {
            Value::from(value)
        } else {
            self.number_too_large()
        })
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(if value.abs() > NUMBER_MAX as f64 {
            self.number_too_large()
        } else if value.fract() == 0.0 {
            Value::from(value as i64)
        } else {
            Value::from(value)
        })
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<Value, A::Error> {
        if self.too_deep() {
            while items.next_element::<IgnoredAny>()?.is_some() {}
            return Ok(Value::Null);
        }
        let mut list = Vec::new();
        loop {
            let place = Place::Item(self.place, list.len());
            let node = Node {
                place: &place,
                depth: self.depth + 1,
                faults: self.faults,
            };
            match items.next_element_seed(node)? {
                Some(item) => list.push(item),
                None => return Ok(Value::Array(list)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut members: A) -> Result<Value, A::Error> {
        if self.too_deep() {
            while members.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            return Ok(Value::Null);
        }
        let mut object = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            let place = Place::Member(self.place, &name);
            let node = Node {
                place: &place,
                depth: self.depth + 1,
                faults: self.faults,
            };
            let value = members.next_value_seed(node)?;
            if object.contains_key(&name) {
                self.fault(&place, "must not be given twice");
            } else {
                object.insert(name, value);
            }
        }
        Ok(Value::Object(object))
    }
}

/// The members of an object, taken by name. Faults are collected, so that a caller is told all of
/// them; a member that is null counts as absent.
pub struct Fields<'v> {
    object: &'v Map<String, Value>,
    known: Vec<&'static str>,
    faults: Invalid,
}

impl<'v> Fields<'v> {
    /// The members of `value`, which must be an object.
    pub fn of(value: &'v Value) -> Result<Self, Invalid> {
        let object = value
            .as_object()
            .ok_or_else(|| Invalid::because("must be an object"))?;
        Ok(Self {
            object,
            known: Vec::new(),
            faults: Invalid(Vec::new()),
        })
    }

    /// The member with this name, unread.
    pub fn take(&mut self, name: &'static str) -> Option<&'v Value> {
        self.known.push(name);
        present(self.object, name)
    }

    /// True if there is a member with this name. It stays to be taken.
    pub fn has(&self, name: &str) -> bool {
        present(self.object, name).is_some()
    }

    /// Reads a member that may be absent.
    pub fn optional<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(&'v Value) -> Result<T, Invalid>,
    ) -> Option<T> {
        let value = self.take(name)?;
        read(value)
            .map_err(|fault| self.faults.join(fault.under(name)))
            .ok()
    }

    /// Reads a member that must be there. None stands for a fault that [`Self::finish`] tells.
    pub fn required<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(&'v Value) -> Result<T, Invalid>,
    ) -> Option<T> {
        if !self.has(name) {
            self.faults
                .join(Invalid::because("is required").under(name));
        }
        self.optional(name, read)
    }

    /// Refuses members that nobody took, and builds the whole if there is no fault at all. `build`
    /// gives None only where something required is missing.
    pub fn finish<T>(mut self, build: impl FnOnce() -> Option<T>) -> Result<T, Invalid> {
        for (name, value) in self.object {
            if !value.is_null() && !self.known.contains(&name.as_str()) && !self.faults.is_full() {
                let message = format!("unknown field {}{}", quoted(name), hint(name, &self.known));
                self.faults.join(Invalid::because(message).under(name));
            }
        }
        if self.faults.0.is_empty() {
            Ok(build().expect("what is required was read, or there is a fault"))
        } else {
            Err(self.faults)
        }
    }
}

fn present<'v>(object: &'v Map<String, Value>, name: &str) -> Option<&'v Value> {
    object.get(name).filter(|value| !value.is_null())
}

/// Reads true or false.
pub fn boolean(value: &Value) -> Result<bool, Invalid> {
    value
        .as_bool()
        .ok_or_else(|| Invalid::because("must be true or false"))
}

/// Reads a text of `MIN` to `MAX` characters.
pub fn text<const MIN: usize, const MAX: usize>(
    value: &Value,
) -> Result<BoundedString<MIN, MAX>, Invalid> {
    BoundedString::new(string(value)?).map_err(|error| Invalid::because(error.to_string()))
}

/// Reads an object that is kept as it is.
pub fn object(value: &Value) -> Result<Map<String, Value>, Invalid> {
    value
        .as_object()
        .cloned()
        .ok_or_else(|| Invalid::because("must be an object"))
}

/// Reads a text that `parse` understands: an id, a scope, a time.
pub fn parsed<'v, T, E: Display>(
    parse: impl Fn(&'v str) -> Result<T, E>,
) -> impl Fn(&'v Value) -> Result<T, Invalid> {
    move |value| parse(string(value)?).map_err(|error| Invalid::because(error.to_string()))
}

/// Reads a number that `make` lets pass, such as a probability.
pub fn number<T, E: Display>(
    make: impl Fn(f64) -> Result<T, E>,
) -> impl Fn(&Value) -> Result<T, Invalid> {
    move |value| {
        let number = value
            .as_f64()
            .ok_or_else(|| Invalid::because("must be a number"))?;
        make(number).map_err(|error| Invalid::because(error.to_string()))
    }
}

/// Reads a whole number within a range.
pub fn whole<T: TryFrom<u64> + PartialOrd + Display>(
    range: RangeInclusive<T>,
) -> impl Fn(&Value) -> Result<T, Invalid> {
    move |value| {
        let number = value.as_u64().and_then(|number| T::try_from(number).ok());
        number
            .filter(|number| range.contains(number))
            .ok_or_else(|| {
                let (low, high) = (range.start(), range.end());
                Invalid::because(format!("must be a whole number from {low} to {high}"))
            })
    }
}

/// Reads one of a closed vocabulary: `json::string_enum(Environment::ALL, Environment::as_str)`.
pub fn string_enum<T: Copy>(
    all: &'static [T],
    word: impl Fn(T) -> &'static str,
) -> impl Fn(&Value) -> Result<T, Invalid> {
    move |value| {
        let said = value.as_str();
        all.iter()
            .copied()
            .find(|&one| Some(word(one)) == said)
            .ok_or_else(|| {
                let words: Vec<_> = all.iter().map(|&one| word(one)).collect();
                let hint = said.map(|said| hint(said, &words)).unwrap_or_default();
                Invalid::because(format!("must be one of `{}`{hint}", words.join("`, `")))
            })
    }
}

/// Reads a list of at most `MAX` things.
pub fn list<'v, T, const MAX: usize>(
    item: impl Fn(&'v Value) -> Result<T, Invalid>,
) -> impl Fn(&'v Value) -> Result<BoundedVec<T, MAX>, Invalid> {
    move |value| {
        let values = value
            .as_array()
            .ok_or_else(|| Invalid::because("must be a list"))?;
        let mut faults = Invalid(Vec::new());
        let mut items = Vec::new();
        // One more than fits is enough to know that they do not.
        for (number, value) in values.iter().enumerate().take(MAX + 1) {
            match item(value) {
                Ok(item) => items.push(item),
                Err(fault) => faults.join(fault.under(number)),
            }
        }
        let items = BoundedVec::new(items).map_err(|error| Invalid::because(error.to_string()))?;
        if faults.0.is_empty() {
            Ok(items)
        } else {
            Err(faults)
        }
    }
}

fn string(value: &Value) -> Result<&str, Invalid> {
    value
        .as_str()
        .ok_or_else(|| Invalid::because("must be a text"))
}

/// A query parameter that nobody reads: a misspelt one must not go unnoticed.
pub fn unknown_parameter(name: &str, known: &[&'static str]) -> Problem {
    Problem::invalid(format!(
        "unknown parameter {}{}",
        quoted(name),
        hint(name, known)
    ))
}

/// `; did you mean …?`, if one of the known words is near.
fn hint(said: &str, known: &[&'static str]) -> String {
    if said.chars().count() > ECHO_CHARS_MAX {
        return String::new();
    }
    let distance = |word: &str| strsim::damerau_levenshtein(&said.to_lowercase(), word);
    let nearest = known.iter().map(|word| (distance(word), word)).min();
    match nearest {
        Some((distance, word)) if distance <= word.len().div_ceil(4) => {
            format!("; did you mean `{word}`?")
        }
        _ => String::new(),
    }
}

fn quoted(name: &str) -> String {
    match name.char_indices().nth(ECHO_CHARS_MAX) {
        None => format!("`{name}`"),
        Some((end, _)) => format!("`{}…`", name.get(..end).unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn nested(depth: usize) -> String {
        "[".repeat(depth) + &"]".repeat(depth)
    }

    #[test]
    fn what_is_not_json_is_told_with_its_place() {
        let bad: &[(&[u8], &str)] = &[
            (b"", "the body is empty"),
            (b" \n", "the body is empty"),
            (b"{\"a\": nul}", "expected ident at line 1 column 10"),
            (b"{\n \"a\" 1}", "expected `:` at line 2 column 6"),
            (b"{} {}", "trailing characters at line 1 column 4"),
            (b"NaN", "expected value at line 1 column 1"),
            (b"[1,]", "trailing comma at line 1 column 4"),
            (b"\"\xff\"", "invalid unicode code point at line 1 column 2"),
            (
                b"\"\\ud800\"",
                "unexpected end of hex escape at line 1 column 8",
            ),
            (b"{'a': 1}", "key must be a string at line 1 column 2"),
            // Not JSON outweighs what is wrong with the JSON before it.
            (
                b"{\"a\": 1, \"a\": 2",
                "EOF while parsing an object at line 1 column 15",
            ),
        ];
        for (bytes, detail) in bad {
            let problem = read(bytes).unwrap_err();
            assert_eq!(
                (problem.code, problem.detail.as_str()),
                (Code::MalformedJson, *detail)
            );
        }
    }

    #[test]
    fn what_is_ambiguous_is_refused_where_it_stands() {
        let deep = "/0".repeat(32);
        let bad = [
            (
                r#"{"a": {"b/c": 1, "b/c": 1}}"#,
                "/a/b~1c",
                "must not be given twice",
            ),
            (
                r#"{"~": [0, 9007199254740992]}"#,
                "/~0/1",
                "must not be beyond 9007199254740991",
            ),
            (
                "[-9007199254740992]",
                "/0",
                "must not be beyond 9007199254740991",
            ),
            (
                "9007199254740992.0",
                "",
                "must not be beyond 9007199254740991",
            ),
            ("1e300", "", "must not be beyond 9007199254740991"),
            ("1e999", "", "number out of range at line 1 column 5"),
            (&nested(33), &deep, "must not be nested more than 32 deep"),
            (
                &nested(10_000),
                &deep,
                "must not be nested more than 32 deep",
            ),
        ];
        for (text, pointer, message) in bad {
            let problem = read(text.as_bytes()).unwrap_err();
            assert_eq!(problem.code, Code::InvalidRequest, "{text}");
            let fault = FieldError {
                pointer: pointer.into(),
                message: message.into(),
            };
            assert_eq!(problem.errors, [fault], "{text}");
        }
    }

    #[test]
    fn the_largest_that_is_allowed_is_read() {
        assert!(read(nested(32).as_bytes()).is_ok());
        let numbers = read(b"[9007199254740991, -9007199254740991, 1.0, -0.0, 1e2, 0.5]");
        let expected = json!([9007199254740991_u64, -9007199254740991_i64, 1, 0, 100, 0.5]);
        assert_eq!(numbers, Ok(expected));
    }

    #[test]
    fn a_body_full_of_faults_is_answered_shortly() {
        let body = format!("[{}1e300]", "1e300,".repeat(100_000));
        assert_eq!(read(body.as_bytes()).unwrap_err().errors.len(), FAULTS_MAX);
        let members: Map<_, _> = (0..1_000)
            .map(|n| (format!("{n:0>999}"), json!(1)))
            .collect();
        let fault = Fields::of(&Value::from(members))
            .unwrap()
            .finish(|| Some(()))
            .unwrap_err();
        assert_eq!(fault.into_errors().len(), FAULTS_MAX);
    }

    #[test]
    fn every_fault_of_a_body_is_told_at_once() {
        fn outcome(value: &Value) -> Result<(bool, Option<BoundedString<0, 4>>, u8), Invalid> {
            let mut fields = Fields::of(value)?;
            let success = fields.required("success", boolean);
            let notes = fields.optional("notes", text::<0, 4>);
            let hour = fields.required("hour", whole(0..=23));
            fields.finish(|| Some((success?, notes, hour?)))
        }
        let good = parse(
            br#"{"success": true, "notes": null, "hour": 23.0}"#,
            outcome,
        );
        assert_eq!(good, Ok((true, None, 23)));
        let problem = parse(
            br#"{"succes": true, "notes": "12345", "hour": 24}"#,
            outcome,
        );
        let problem = problem.unwrap_err();
        let told = problem
            .errors
            .iter()
            .map(|e| (e.pointer.as_str(), e.message.as_str()));
        let expected = [
            ("/success", "is required"),
            ("/notes", "must have 0 to 4 characters"),
            ("/hour", "must be a whole number from 0 to 23"),
            ("/succes", "unknown field `succes`; did you mean `success`?"),
        ];
        assert_eq!(told.collect::<Vec<_>>(), expected);
        assert_eq!(problem.detail, "/success: is required (`errors` has more)");
        assert_eq!(
            parse(b"[]", outcome).unwrap_err().detail,
            "the body: must be an object"
        );
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let _ = read(&bytes);
        }

        #[test]
        fn it_agrees_with_serde_json_on_what_json_is(text in r#"[\[\]{}",:a0-9.eE\-\\tnu ]{0,24}"#) {
            let ours = read(text.as_bytes());
            let theirs: Result<Value, _> = serde_json::from_str(&text);
            match ours {
                Ok(value) => prop_assert_eq!(
                    serde_json_canonicalizer::to_string(&value).unwrap(),
                    serde_json_canonicalizer::to_string(&theirs.unwrap()).unwrap()
                ),
                Err(problem) if problem.code == Code::MalformedJson => prop_assert!(theirs.is_err()),
                Err(_) => {}
            }
        }
    }
}
