//! A plan file, as `terraform show -json` and `tofu show -json` write it since Terraform 0.12.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::Value;
use serde_json::error::Category;
use thiserror::Error;

use super::attribute::Attribute;
use super::change::Change;
use super::operation::operation;
use super::region::ProviderRegions;
use crate::decide::intent::{Environment, Operation};

/// Why a file is not a plan. The messages repeat names of its content, never values.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PlanError {
    #[error("not a plan: the file is empty")]
    Empty,
    /// As `terraform plan -out` writes it.
    #[error("not a JSON plan: the file is binary; convert it with `terraform show -json FILE`")]
    Binary,
    /// As `terraform plan -json` prints it.
    #[error("not a plan: the file is a log; convert the plan with `terraform show -json FILE`")]
    Log,
    #[error("not a plan: neither UTF-8 nor UTF-16 with a byte order mark")]
    Encoding,
    #[error("not a plan: invalid JSON: {0}")]
    NotJson(String),
    /// Other JSON: a state, perhaps.
    #[error("not a plan: no `resource_changes`; convert the plan with `terraform show -json FILE`")]
    NoResourceChanges,
    /// It does not have all changes.
    #[error("not a complete plan: planning failed (`errored` is true)")]
    Errored,
    #[error("not a plan: `resource_changes[{index}]` has no {member}")]
    NoMember { index: usize, member: &'static str },
}

/// The resources that change. No `Debug`: plans hold secrets.
pub struct Plan {
    resources: Vec<Resource>,
    variables: Value,
    regions: ProviderRegions,
}

pub(super) struct Resource {
    pub(super) address: String,
    /// Terraform's, as `aws_db_instance`.
    pub(super) resource_type: String,
    pub(super) provider: String,
    pub(super) operation: Operation,
    pub(super) before: Value,
    pub(super) after: Value,
    before_sensitive: Value,
    after_sensitive: Value,
    pub(super) after_unknown: Value,
}

impl Resource {
    pub(super) fn before(&self) -> Attribute<'_> {
        Attribute::new(&self.before, &self.before_sensitive, &Value::Null)
    }

    pub(super) fn after(&self) -> Attribute<'_> {
        Attribute::new(&self.after, &self.after_sensitive, &self.after_unknown)
    }
}

/// The members that are read; all others are skipped.
#[derive(Deserialize)]
struct Document {
    #[serde(default)]
    errored: bool,
    #[serde(default)]
    resource_changes: Value,
    #[serde(default)]
    variables: Value,
    #[serde(default)]
    configuration: Value,
}

impl Plan {
    pub fn parse(bytes: &[u8]) -> Result<Self, PlanError> {
        let text = decode(bytes)?;
        let mut document = parse(&text)?;
        if document.errored {
            return Err(PlanError::Errored);
        }
        let Value::Array(changes) = document.resource_changes.take() else {
            return Err(PlanError::NoResourceChanges);
        };
        let mut resources = Vec::new();
        for (index, change) in changes.into_iter().enumerate() {
            let resource = resource(change);
            resources.extend(resource.map_err(|member| PlanError::NoMember { index, member })?);
        }
        let providers = document
            .configuration
            .get("provider_config")
            .unwrap_or(&Value::Null);
        let regions = ProviderRegions::new(providers, &document.variables);
        Ok(Self {
            resources,
            variables: document.variables,
            regions,
        })
    }

    /// In the plan's order. The environment of a resource is the one given, else the one that its tags or
    /// the plan's variables name, else production.
    pub fn changes(&self, environment: Option<Environment>) -> Vec<Change<'_>> {
        let change = |resource| Change::new(resource, environment, &self.variables, &self.regions);
        self.resources.iter().map(change).collect()
    }
}

fn decode(bytes: &[u8]) -> Result<Cow<'_, str>, PlanError> {
    let text = match bytes {
        [0xFF, 0xFE, rest @ ..] => utf16(rest, u16::from_le_bytes).map(Cow::Owned),
        [0xFE, 0xFF, rest @ ..] => utf16(rest, u16::from_be_bytes).map(Cow::Owned),
        [b'P', b'K', 3, 4, ..] => return Err(PlanError::Binary),
        [0xEF, 0xBB, 0xBF, rest @ ..] | rest => str::from_utf8(rest).map(Cow::Borrowed).ok(),
    };
    text.ok_or(PlanError::Encoding)
}

fn utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> Option<String> {
    let (pairs, rest) = bytes.as_chunks();
    let units: Vec<u16> = pairs.iter().map(|pair| unit(*pair)).collect();
    String::from_utf16(&units).ok().filter(|_| rest.is_empty())
}

fn parse(text: &str) -> Result<Document, PlanError> {
    let text = text.trim();
    if text.is_empty() {
        return Err(PlanError::Empty);
    }
    if text.starts_with(['[', '"']) {
        return Err(PlanError::NoResourceChanges);
    }
    serde_json::from_str(text).map_err(|error| match error.classify() {
        Category::Syntax if text.starts_with("{\"@level\"") => PlanError::Log,
        Category::Syntax | Category::Eof | Category::Io => PlanError::NotJson(error.to_string()),
        // Not an object, or one with a duplicate key; the message may repeat a value.
        Category::Data => PlanError::NoResourceChanges,
    })
}

/// One item of `resource_changes`, if it changes; or the name of the member that is missing.
fn resource(mut entry: Value) -> Result<Option<Resource>, &'static str> {
    let text = |name: &str| {
        entry
            .get(name)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let (address, resource_type) = (text("address"), text("type"));
    let provider = text("provider_name");
    let provider = provider.rsplit('/').next().unwrap_or_default();
    let provider = provider.split('.').next().unwrap_or_default().to_owned();
    if address.chars().count() < 3 {
        return Err("`address`");
    }
    if resource_type.is_empty() {
        return Err("`type`");
    }
    let Some(change) = entry.get_mut("change").and_then(Value::as_object_mut) else {
        return Err("`change`");
    };
    let mut take = |name| change.remove(name).unwrap_or(Value::Null);
    let importing = !take("importing").is_null();
    let operation = operation(&take("actions"), importing);
    Ok(operation.map(|operation| Resource {
        address,
        resource_type,
        provider,
        operation,
        before: take("before"),
        after: take("after"),
        before_sensitive: take("before_sensitive"),
        after_sensitive: take("after_sensitive"),
        after_unknown: take("after_unknown"),
    }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn error(bytes: &[u8]) -> String {
        Plan::parse(bytes)
            .err()
            .map(|error| error.to_string())
            .unwrap_or_default()
    }

    #[test]
    fn what_is_not_a_plan_gets_one_clear_line() {
        let cases: [(&[u8], &str); 18] = [
            (b"", "the file is empty"),
            (b"\xEF\xBB\xBF \n", "the file is empty"),
            (b"PK\x03\x04\0\0", "the file is binary"),
            (b"\xFF\xFE\x7B", "neither UTF-8 nor UTF-16"),
            (b"\xFF\xFE\x00\xD8", "neither UTF-8 nor UTF-16"),
            (b"\x80", "neither UTF-8 nor UTF-16"),
            (
                b"Terraform will perform",
                "invalid JSON: expected value at line 1 column 1",
            ),
            (
                b"{\"resource_changes\": [",
                "invalid JSON: EOF while parsing",
            ),
            (
                b"{\"@level\":\"info\"}\n{\"@level\":\"info\"}",
                "the file is a log",
            ),
            (b"\"hunter2\"", "no `resource_changes`"),
            (b"[1]", "no `resource_changes`"),
            (
                b"{\"format_version\": \"1.0\", \"values\": {}}",
                "no `resource_changes`",
            ),
            (b"{\"resource_changes\": {}}", "no `resource_changes`"),
            (
                b"{\"resource_changes\": [], \"errored\": true}",
                "planning failed",
            ),
            (
                b"{\"resource_changes\": [7]}",
                "`resource_changes[0]` has no `address`",
            ),
            (
                b"{\"resource_changes\": [{\"address\": \"a.\", \"type\": \"a\"}]}",
                "has no `address`",
            ),
            (
                b"{\"resource_changes\": [{\"address\": \"a.b\"}]}",
                "has no `type`",
            ),
            (
                b"{\"resource_changes\": [{\"address\": \"a.b\", \"type\": \"a\"}]}",
                "has no `change`",
            ),
        ];
        for (bytes, expected) in cases {
            let line = error(bytes);
            assert!(
                line.starts_with("not a ") && line.contains(expected),
                "{line}"
            );
            assert!(!line.contains('\n') && !line.contains("hunter2"), "{line}");
        }
    }

    #[test]
    fn every_encoding_is_the_same_plan() {
        let text = r#"{"resource_changes": [{"address": "t.ä𝄞", "type": "t", "change": {"actions": ["create"]}}]}"#;
        let units: Vec<u16> = std::iter::once(0xFEFF).chain(text.encode_utf16()).collect();
        let files: [Vec<u8>; 4] = [
            text.into(),
            [b"\xEF\xBB\xBF", text.as_bytes()].concat(),
            units.iter().flat_map(|unit| unit.to_le_bytes()).collect(),
            units.iter().flat_map(|unit| unit.to_be_bytes()).collect(),
        ];
        for file in files {
            let plan = Plan::parse(&file).ok().unwrap();
            assert_eq!(plan.changes(None)[0].address, "t.ä𝄞");
        }
    }

    #[test]
    fn a_plan_may_change_nothing() {
        assert!(
            Plan::parse(b"{\"resource_changes\": []}").is_ok_and(|p| p.changes(None).is_empty())
        );
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let _ = Plan::parse(&bytes);
        }
    }
}
