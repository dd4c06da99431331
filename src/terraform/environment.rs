//! The environment of a resource, from its tags and the plan's variables.

use serde_json::Value;

use super::attribute::Attribute;
use crate::decide::intent::Environment;

/// Attributes that have tags, of all providers.
const TAGS: [&str; 6] = [
    "tags",
    "tags_all",
    "labels",
    "effective_labels",
    "resource_labels",
    "user_labels",
];
/// Of tags and variables with an environment, in any case.
const NAMES: [&str; 2] = ["environment", "env"];

/// By the tags of both sides, else by the plan's variables, else production.
pub(super) fn environment(sides: [Attribute<'_>; 2], variables: &Value) -> Environment {
    let tagged: Vec<_> = sides.into_iter().flat_map(from_tags).collect();
    unanimous(&tagged)
        .or_else(|| unanimous(&from_variables(variables)))
        .unwrap_or(Environment::Prod)
}

fn from_tags(side: Attribute<'_>) -> Vec<Environment> {
    let tags = TAGS.iter().filter_map(|&tags| side.get(tags).members());
    tags.flatten()
        .filter(|(name, _)| is_environment_name(name))
        .filter_map(|(_, value)| parse(value))
        .collect()
}

/// Variables named for an environment, or else one for the workspace.
fn from_variables(variables: &Value) -> Vec<Environment> {
    let value = |wanted: fn(&str) -> bool| -> Vec<_> {
        let members = variables.as_object().into_iter().flatten();
        let values = members
            .filter(|(name, _)| wanted(name))
            .filter_map(|(_, v)| v.get("value"));
        values.filter_map(parse).collect()
    };
    let named = value(is_environment_name);
    if named.is_empty() {
        value(|name| name == "workspace")
    } else {
        named
    }
}

fn is_environment_name(name: &str) -> bool {
    NAMES.iter().any(|known| name.eq_ignore_ascii_case(known))
}

/// Production where they differ, as when a tag changes: a changed tag must not leave production.
fn unanimous(environments: &[Environment]) -> Option<Environment> {
    let (first, rest) = environments.split_first()?;
    Some(if rest.iter().all(|other| other == first) {
        *first
    } else {
        Environment::Prod
    })
}

/// An unknown text is production.
fn parse(value: &Value) -> Option<Environment> {
    let text = value.as_str()?.trim().to_ascii_lowercase();
    if text.is_empty() {
        return None;
    }
    let words = text.split(|char: char| !char.is_alphanumeric());
    let known: Vec<_> = words.filter_map(alias).collect();
    Some(
        alias(&text)
            .or_else(|| unanimous(&known))
            .unwrap_or(Environment::Prod),
    )
}

fn alias(word: &str) -> Option<Environment> {
    Some(match word {
        "prod" | "production" | "prd" | "live" => Environment::Prod,
        "staging" | "stage" | "stg" | "uat" | "preprod" | "pre-prod" | "preproduction" => {
            Environment::Staging
        }
        "test" | "testing" | "tst" | "qa" => Environment::Test,
        "dev" | "development" | "develop" | "sandbox" | "sbx" => Environment::Dev,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn tags_come_before_variables_and_doubt_is_production() {
        let none = json!({});
        let cases = [
            (json!({}), json!({}), json!({}), Environment::Prod),
            (
                json!(null),
                json!({"tags": {"Environment": "Development"}}),
                json!({}),
                Environment::Dev,
            ),
            (
                json!(null),
                json!({"labels": {"env": "stg"}}),
                json!({}),
                Environment::Staging,
            ),
            (
                json!({"tags_all": {"ENV": "qa"}}),
                json!(null),
                json!({}),
                Environment::Test,
            ),
            (
                json!({}),
                json!({"tags": {"env": "eu-dev-1"}}),
                json!({}),
                Environment::Dev,
            ),
            (
                json!({}),
                json!({"tags": {"env": "pre-prod"}}),
                json!({}),
                Environment::Staging,
            ),
            (
                json!({}),
                json!({"tags": {"env": "dev/prod"}}),
                json!({}),
                Environment::Prod,
            ),
            (
                json!({}),
                json!({"tags": {"env": "blue"}}),
                json!({}),
                Environment::Prod,
            ),
            (
                json!({"tags": {"env": "prod"}}),
                json!({"tags": {"env": "dev"}}),
                json!({}),
                Environment::Prod,
            ),
            (
                json!({}),
                json!({"tags": {"env": "dev"}}),
                json!({"env": {"value": "prod"}}),
                Environment::Dev,
            ),
            (
                json!({}),
                json!({"tags": {"team": "dev"}}),
                json!({}),
                Environment::Prod,
            ),
            (
                json!({}),
                json!({}),
                json!({"environment": {"value": "test"}}),
                Environment::Test,
            ),
            (
                json!({}),
                json!({}),
                json!({"workspace": {"value": "dev"}}),
                Environment::Dev,
            ),
            (
                json!({}),
                json!({}),
                json!({"environment": {"value": 1}}),
                Environment::Prod,
            ),
        ];
        for (before, after, variables, expected) in cases {
            let sides = [&before, &after].map(|side| Attribute::new(side, &none, &none));
            assert_eq!(
                environment(sides, &variables),
                expected,
                "{before} {after} {variables}"
            );
        }
    }
}
