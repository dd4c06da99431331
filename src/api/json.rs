//! JSON in: a strict parser, and readers of fields that report every error of a body at once.
//!
//! [`read`] accepts only JSON that is unambiguous: no duplicate key, no number that a double cannot
//! hold, limited depth. Types are read from it with [`Fields`] and small functions:
//!
//! ```
//! use arf::api::json::{self, Fields, ValidationError};
//! use arf::bounded::BoundedString;
//!
//! struct Outcome {
//!     success: bool,
//!     notes: Option<BoundedString<0, 4096>>,
//! }
//!
//! fn outcome(value: &serde_json::Value) -> Result<Outcome, ValidationError> {
//!     let mut fields = Fields::of(value)?;
//!     let success = fields.required("success", json::boolean);
//!     let notes = fields.optional("notes", json::string);
//!     fields.finish(|| Some(Outcome { success: success?, notes }))
//! }
//!
//! let problem = json::parse(br#"{"succes": true}"#, outcome).err().unwrap();
//! assert_eq!(problem.errors[0].message, "is required");
//! assert_eq!(problem.errors[1].message, "unknown field `succes`; did you mean `success`?");
//! ```

#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::panic))]

use std::collections::BTreeMap;
use std::fmt::{self, Display};
use std::ops::RangeInclusive;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::problem::{Code, FieldError, Problem};
use crate::bounded::{BoundedString, BoundedVec};

/// Nesting of objects and arrays.
pub const DEPTH_MAX: usize = 32;
/// The largest magnitude of a number: every integer up to it is a double (RFC 8785).
pub const NUMBER_MAX: u64 = (1 << 53) - 1;
/// Errors that are reported of one body.
const ERRORS_MAX: usize = 64;
/// Characters of a caller's own name that a message repeats.
const QUOTE_CHARS_MAX: usize = 64;

/// What is wrong with a body: at least one error, each with its JSON Pointer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValidationError(Vec<FieldError>);

impl ValidationError {
    /// An error of the value itself; `message` follows its pointer, as in "must be a string".
    pub fn new(message: impl Into<String>) -> Self {
        Self(vec![FieldError {
            pointer: String::new(),
            message: message.into(),
        }])
    }

    /// Prefixes every pointer with `token`, the name or index of the value in its parent.
    pub fn under(mut self, token: impl Display) -> Self {
        let token = token.to_string().replace('~', "~0").replace('/', "~1");
        for error in &mut self.0 {
            error.pointer = format!("/{token}{}", error.pointer);
        }
        self
    }

    pub fn into_errors(self) -> Vec<FieldError> {
        self.0
    }

    fn extend(&mut self, other: Self) {
        let room = ERRORS_MAX.saturating_sub(self.0.len());
        self.0.extend(other.0.into_iter().take(room));
    }

    fn is_full(&self) -> bool {
        self.0.len() >= ERRORS_MAX
    }
}

/// Parses a body and reads it with `read_value`.
pub fn parse<T>(
    bytes: &[u8],
    read_value: impl FnOnce(&Value) -> Result<T, ValidationError>,
) -> Result<T, Problem> {
    Ok(read_value(&read(bytes)?)?)
}

/// Parses strict JSON. `1.0` and `1e0` become the integer 1, so that equal JSON (RFC 8785) is an equal
/// [`Value`].
pub fn read(bytes: &[u8]) -> Result<Value, Problem> {
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Err(Problem::new(Code::MalformedJson, "the body is empty"));
    }
    let mut errors = ValidationError(Vec::new());
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let node = StrictValue {
        path: &Path::Root,
        depth: 0,
        errors: &mut errors,
    };
    let value = node
        .deserialize(&mut deserializer)
        .and_then(|value| deserializer.end().map(|()| value))
        .map_err(not_json)?;
    if errors.0.is_empty() {
        Ok(value)
    } else {
        Err(errors.into())
    }
}

fn not_json(error: serde_json::Error) -> Problem {
    let message = error.to_string();
    // `1e999` is JSON; serde_json distinguishes it by this message only.
    if message.starts_with("number out of range") {
        ValidationError::new(message).into()
    } else {
        Problem::new(Code::MalformedJson, message)
    }
}

/// The path of a value, from the inside out: free until an error needs it.
enum Path<'a> {
    Root,
    Member(&'a Path<'a>, &'a str),
    Item(&'a Path<'a>, usize),
}

impl Path<'_> {
    fn locate(&self, error: ValidationError) -> ValidationError {
        match self {
            Self::Root => error,
            Self::Member(parent, name) => parent.locate(error.under(name)),
            Self::Item(parent, number) => parent.locate(error.under(number)),
        }
    }
}

/// Visits one value. Errors in valid JSON are collected and parsing goes on, because malformed JSON is
/// reported first.
struct StrictValue<'a> {
    path: &'a Path<'a>,
    /// Objects and arrays around this value.
    depth: usize,
    errors: &'a mut ValidationError,
}

impl StrictValue<'_> {
    fn error(&mut self, path: &Path<'_>, message: impl Into<String>) {
        if !self.errors.is_full() {
            self.errors
                .extend(path.locate(ValidationError::new(message)));
        }
    }

    fn number_too_large(mut self) -> Value {
        let path = self.path;
        self.error(path, format!("must be from -{NUMBER_MAX} to {NUMBER_MAX}"));
        Value::Null
    }

    /// Reports an error if an object or array here exceeds the depth.
    fn is_too_deep(&mut self) -> bool {
        let deep = self.depth >= DEPTH_MAX;
        if deep {
            let path = self.path;
            self.error(
                path,
                format!("must not be nested deeper than {DEPTH_MAX} levels"),
            );
        }
        deep
    }
}

impl<'de> DeserializeSeed<'de> for StrictValue<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for StrictValue<'_> {
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
        if self.is_too_deep() {
            while items.next_element::<IgnoredAny>()?.is_some() {}
            return Ok(Value::Null);
        }
        let mut list = Vec::new();
        loop {
            let path = Path::Item(self.path, list.len());
            let node = StrictValue {
                path: &path,
                depth: self.depth + 1,
                errors: self.errors,
            };
            match items.next_element_seed(node)? {
                Some(item) => list.push(item),
                None => return Ok(Value::Array(list)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut members: A) -> Result<Value, A::Error> {
        if self.is_too_deep() {
            while members.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            return Ok(Value::Null);
        }
        let mut object = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            let path = Path::Member(self.path, &name);
            let node = StrictValue {
                path: &path,
                depth: self.depth + 1,
                errors: self.errors,
            };
            let value = members.next_value_seed(node)?;
            if object.contains_key(&name) {
                self.error(&path, "duplicate key");
            } else {
                object.insert(name, value);
            }
        }
        Ok(Value::Object(object))
    }
}

/// The members of an object, read by name. Errors are collected, so that all are reported; a member
/// that is null counts as absent.
pub struct Fields<'v> {
    object: &'v Map<String, Value>,
    known: Vec<&'static str>,
    errors: ValidationError,
}

impl<'v> Fields<'v> {
    pub fn of(value: &'v Value) -> Result<Self, ValidationError> {
        let object = value
            .as_object()
            .ok_or_else(|| ValidationError::new("must be an object"))?;
        Ok(Self {
            object,
            known: Vec::new(),
            errors: ValidationError(Vec::new()),
        })
    }

    /// Takes a member without reading it.
    pub fn take(&mut self, name: &'static str) -> Option<&'v Value> {
        self.known.push(name);
        present(self.object, name)
    }

    pub fn has(&self, name: &str) -> bool {
        present(self.object, name).is_some()
    }

    /// Reads a member that may be absent.
    pub fn optional<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(&'v Value) -> Result<T, ValidationError>,
    ) -> Option<T> {
        let value = self.take(name)?;
        read(value)
            .map_err(|error| self.errors.extend(error.under(name)))
            .ok()
    }

    /// Reads a required member. `None` stands for an error that [`Self::finish`] returns.
    pub fn required<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(&'v Value) -> Result<T, ValidationError>,
    ) -> Option<T> {
        if !self.has(name) {
            self.errors
                .extend(ValidationError::new("is required").under(name));
        }
        self.optional(name, read)
    }

    /// Rejects members that were not read, and builds the value if there is no error. `build` returns
    /// `None` only where a required member is missing.
    pub fn finish<T>(mut self, build: impl FnOnce() -> Option<T>) -> Result<T, ValidationError> {
        for (name, value) in self.object {
            if !value.is_null() && !self.known.contains(&name.as_str()) && !self.errors.is_full() {
                let message = unknown("field", name, &self.known);
                self.errors
                    .extend(ValidationError::new(message).under(name));
            }
        }
        if self.errors.0.is_empty() {
            Ok(build().expect("a missing required member is an error"))
        } else {
            Err(self.errors)
        }
    }
}

fn present<'v>(object: &'v Map<String, Value>, name: &str) -> Option<&'v Value> {
    object.get(name).filter(|value| !value.is_null())
}

pub fn boolean(value: &Value) -> Result<bool, ValidationError> {
    value
        .as_bool()
        .ok_or_else(|| ValidationError::new("must be a boolean"))
}

/// Reads a string of `MIN` to `MAX` characters.
pub fn string<const MIN: usize, const MAX: usize>(
    value: &Value,
) -> Result<BoundedString<MIN, MAX>, ValidationError> {
    BoundedString::new(as_str(value)?).map_err(|error| ValidationError::new(error.to_string()))
}

/// Reads an object as it is.
pub fn object(value: &Value) -> Result<Map<String, Value>, ValidationError> {
    value
        .as_object()
        .cloned()
        .ok_or_else(|| ValidationError::new("must be an object"))
}

/// Reads a string with `parse`: an id, a time.
pub fn string_as<'v, T, E: Display>(
    parse: impl Fn(&'v str) -> Result<T, E>,
) -> impl Fn(&'v Value) -> Result<T, ValidationError> {
    move |value| parse(as_str(value)?).map_err(|error| ValidationError::new(error.to_string()))
}

/// Reads a number with `new`, such as a probability.
pub fn number<T, E: Display>(
    new: impl Fn(f64) -> Result<T, E>,
) -> impl Fn(&Value) -> Result<T, ValidationError> {
    move |value| {
        let number = value
            .as_f64()
            .ok_or_else(|| ValidationError::new("must be a number"))?;
        new(number).map_err(|error| ValidationError::new(error.to_string()))
    }
}

/// Reads an integer within a range.
pub fn integer<T: TryFrom<u64> + PartialOrd + Display>(
    range: RangeInclusive<T>,
) -> impl Fn(&Value) -> Result<T, ValidationError> {
    move |value| {
        let number = value.as_u64().and_then(|number| T::try_from(number).ok());
        number
            .filter(|number| range.contains(number))
            .ok_or_else(|| {
                let (low, high) = (range.start(), range.end());
                ValidationError::new(format!("must be an integer from {low} to {high}"))
            })
    }
}

/// Reads a string enum: `json::string_enum(Environment::ALL, Environment::as_str)`.
pub fn string_enum<T: Copy>(
    all: &'static [T],
    as_str: impl Fn(T) -> &'static str,
) -> impl Fn(&Value) -> Result<T, ValidationError> {
    move |value| {
        let given = value.as_str();
        all.iter()
            .copied()
            .find(|&one| Some(as_str(one)) == given)
            .ok_or_else(|| {
                let known: Vec<_> = all.iter().map(|&one| as_str(one)).collect();
                ValidationError::new(must_be_one_of(given.unwrap_or_default(), &known))
            })
    }
}

/// Reads an array of at most `MAX` items.
pub fn list<'v, T, const MAX: usize>(
    item: impl Fn(&'v Value) -> Result<T, ValidationError>,
) -> impl Fn(&'v Value) -> Result<BoundedVec<T, MAX>, ValidationError> {
    move |value| {
        let values = value
            .as_array()
            .ok_or_else(|| ValidationError::new("must be an array"))?;
        let mut errors = ValidationError(Vec::new());
        let mut items = Vec::new();
        // One item more than `MAX` is enough for the error.
        for (number, value) in values.iter().enumerate().take(MAX + 1) {
            match item(value) {
                Ok(item) => items.push(item),
                Err(error) => errors.extend(error.under(number)),
            }
        }
        let items =
            BoundedVec::new(items).map_err(|error| ValidationError::new(error.to_string()))?;
        if errors.0.is_empty() {
            Ok(items)
        } else {
            Err(errors)
        }
    }
}

/// Reads an object with the caller's own keys, at most `MAX` of them. A member that is null counts as
/// absent.
pub fn map<'v, K: Ord, V, E: Display, const MAX: usize>(
    key: impl Fn(&'v str) -> Result<K, E>,
    value: impl Fn(&'v Value) -> Result<V, ValidationError>,
) -> impl Fn(&'v Value) -> Result<BTreeMap<K, V>, ValidationError> {
    move |object| {
        let object = object
            .as_object()
            .ok_or_else(|| ValidationError::new("must be an object"))?;
        if object.len() > MAX {
            let message = format!("must have at most {MAX} members");
            return Err(ValidationError::new(message));
        }
        let (mut map, mut errors) = (BTreeMap::new(), ValidationError(Vec::new()));
        for (name, member) in object.iter().filter(|(_, member)| !member.is_null()) {
            let key = key(name).map_err(|error| ValidationError::new(format!("key {error}")));
            match key.and_then(|key| Ok((key, value(member)?))) {
                Ok((key, value)) => drop(map.insert(key, value)),
                Err(error) => errors.extend(error.under(name)),
            }
        }
        if errors.0.is_empty() {
            Ok(map)
        } else {
            Err(errors)
        }
    }
}

fn as_str(value: &Value) -> Result<&str, ValidationError> {
    value
        .as_str()
        .ok_or_else(|| ValidationError::new("must be a string"))
}

/// `unknown <what> <name>`, with the known name that is most like it.
pub(super) fn unknown(what: &str, name: &str, known: &[&'static str]) -> String {
    format!("unknown {what} {}{}", quoted(name), hint(name, known))
}

pub(super) fn must_be_one_of(given: &str, known: &[&'static str]) -> String {
    format!(
        "must be one of `{}`{}",
        known.join("`, `"),
        hint(given, known)
    )
}

/// `; did you mean …?`, if one of the known names is like `given`.
fn hint(given: &str, known: &[&'static str]) -> String {
    if given.chars().count() > QUOTE_CHARS_MAX {
        return String::new();
    }
    let distance = |name: &str| strsim::damerau_levenshtein(&given.to_lowercase(), name);
    let nearest = known.iter().map(|name| (distance(name), name)).min();
    match nearest {
        Some((distance, name)) if distance <= name.len().div_ceil(4) => {
            format!("; did you mean `{name}`?")
        }
        _ => String::new(),
    }
}

fn quoted(name: &str) -> String {
    match name.char_indices().nth(QUOTE_CHARS_MAX) {
        None => format!("`{name}`"),
        Some((end, _)) => format!("`{}…`", name.get(..end).unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const BEYOND: &str = "must be from -9007199254740991 to 9007199254740991";

    fn nested(depth: usize) -> String {
        "[".repeat(depth) + &"]".repeat(depth)
    }

    #[test]
    fn malformed_json_is_reported_with_its_position() {
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
            // Malformed JSON is reported before errors in the JSON that precedes it.
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
    fn ambiguous_json_is_rejected_with_its_pointer() {
        let deep = "/0".repeat(32);
        let bad = [
            (r#"{"a": {"b/c": 1, "b/c": 1}}"#, "/a/b~1c", "duplicate key"),
            (r#"{"~": [0, 9007199254740992]}"#, "/~0/1", BEYOND),
            ("[-9007199254740992]", "/0", BEYOND),
            ("9007199254740992.0", "", BEYOND),
            ("1e300", "", BEYOND),
            ("1e999", "", "number out of range at line 1 column 5"),
            (
                &nested(33),
                &deep,
                "must not be nested deeper than 32 levels",
            ),
            (
                &nested(10_000),
                &deep,
                "must not be nested deeper than 32 levels",
            ),
        ];
        for (text, pointer, message) in bad {
            let problem = read(text.as_bytes()).unwrap_err();
            assert_eq!(problem.code, Code::InvalidRequest, "{text}");
            let error = FieldError {
                pointer: pointer.into(),
                message: message.into(),
            };
            assert_eq!(problem.errors, [error], "{text}");
        }
    }

    #[test]
    fn the_limits_themselves_are_accepted() {
        assert!(read(nested(32).as_bytes()).is_ok());
        let numbers = read(b"[9007199254740991, -9007199254740991, 1.0, -0.0, 1e2, 0.5]");
        let expected = json!([9007199254740991_u64, -9007199254740991_i64, 1, 0, 100, 0.5]);
        assert_eq!(numbers, Ok(expected));
    }

    #[test]
    fn the_number_of_errors_is_limited() {
        let body = format!("[{}1e300]", "1e300,".repeat(100_000));
        assert_eq!(read(body.as_bytes()).unwrap_err().errors.len(), ERRORS_MAX);
        let members: Map<_, _> = (0..1_000)
            .map(|n| (format!("{n:0>999}"), json!(1)))
            .collect();
        let error = Fields::of(&Value::from(members))
            .unwrap()
            .finish(|| Some(()))
            .unwrap_err();
        assert_eq!(error.into_errors().len(), ERRORS_MAX);
    }

    #[test]
    fn every_error_of_a_body_is_reported_at_once() {
        fn outcome(
            value: &Value,
        ) -> Result<(bool, Option<BoundedString<0, 4>>, u8), ValidationError> {
            let mut fields = Fields::of(value)?;
            let success = fields.required("success", boolean);
            let notes = fields.optional("notes", string::<0, 4>);
            let hour = fields.required("hour", integer(0..=23));
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
        let reported = problem
            .errors
            .iter()
            .map(|e| (e.pointer.as_str(), e.message.as_str()));
        let expected = [
            ("/success", "is required"),
            ("/notes", "must have 0 to 4 characters"),
            ("/hour", "must be an integer from 0 to 23"),
            ("/succes", "unknown field `succes`; did you mean `success`?"),
        ];
        assert_eq!(reported.collect::<Vec<_>>(), expected);
        assert_eq!(problem.detail, "/success: is required (`errors` has more)");
        assert_eq!(
            parse(b"[]", outcome).unwrap_err().detail,
            "the body: must be an object"
        );
    }

    #[test]
    fn a_map_has_the_callers_own_keys() {
        type Label = (BoundedString<1, 4>, BoundedString<0, 4>);
        fn labels(value: Value) -> Result<Vec<Label>, ValidationError> {
            let labels = map::<_, _, _, 2>(BoundedString::new, string)(&value)?;
            Ok(labels.into_iter().collect())
        }
        let label = |key, value| {
            (
                BoundedString::new(key).unwrap(),
                BoundedString::new(value).unwrap(),
            )
        };
        assert_eq!(
            labels(json!({"b": "2", "a/b": "1"})),
            Ok(vec![label("a/b", "1"), label("b", "2")])
        );
        assert_eq!(labels(json!({"a": null})), Ok(Vec::new()));
        let error = |value| labels(value).unwrap_err().into_errors().remove(0);
        assert_eq!(error(json!({"a/b": 1})).pointer, "/a~1b");
        for (value, message) in [
            (json!({"a": 1}), "must be a string"),
            (json!({"too long": ""}), "key must have 1 to 4 characters"),
            (
                json!({"a": "", "b": "", "c": ""}),
                "must have at most 2 members",
            ),
            (json!([]), "must be an object"),
        ] {
            assert_eq!(error(value).message, message);
        }
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
