//! The environment that a resource belongs to, as its tags and the plan's variables say it.

use serde_json::Value;

use super::attribute::Attribute;
use crate::decide::intent::Environment;

/// Attributes that hold tags, on any of the providers.
const TAGS: [&str; 6] = [
    "tags",
    "tags_all",
    "labels",
    "effective_labels",
    "resource_labels",
    "user_labels",
];
/// Tags and variables that name an environment, in any case.
const NAMES: [&str; 2] = ["environment", "env"];

/// What the tags of the sides say, else what the plan's variables say, else production.
pub(super) fn environment(sides: [Attribute<'_>; 2], variables: &Value) -> Environment {
    let said: Vec<_> = sides.into_iter().flat_map(tagged).collect();
    agreed(&said)
        .or_else(|| agreed(&in_variables(variables)))
        .unwrap_or(Environment::Prod)
}

fn tagged(side: Attribute<'_>) -> Vec<Environment> {
    let tags = TAGS.iter().filter_map(|&tags| side.at(tags).members());
    tags.flatten()
        .filter(|(name, _)| names(name))
        .filter_map(|(_, value)| said(value))
        .collect()
}

/// Variables that name the environment, or else one that names the workspace.
fn in_variables(variables: &Value) -> Vec<Environment> {
    let value = |wanted: fn(&str) -> bool| -> Vec<_> {
        let members = variables.as_object().into_iter().flatten();
        let values = members
            .filter(|(name, _)| wanted(name))
            .filter_map(|(_, v)| v.get("value"));
        values.filter_map(said).collect()
    };
    let named = value(names);
    if named.is_empty() {
        value(|name| name == "workspace")
    } else {
        named
    }
}

fn names(name: &str) -> bool {
    NAMES.iter().any(|known| name.eq_ignore_ascii_case(known))
}

/// One environment if all say the same. Where they contradict each other, as when a tag changes, it
/// is production: nobody leaves it by a tag.
fn agreed(said: &[Environment]) -> Option<Environment> {
    let (first, rest) = said.split_first()?;
    Some(if rest.iter().all(|other| other == first) {
        *first
    } else {
        Environment::Prod
    })
}

/// The environment that a text means. What nobody understands is production.
fn said(value: &Value) -> Option<Environment> {
    let text = value.as_str()?.trim().to_ascii_lowercase();
    if text.is_empty() {
        return None;
    }
    let words = text.split(|char: char| !char.is_alphanumeric());
    let known: Vec<_> = words.filter_map(word).collect();
    Some(
        word(&text)
            .or_else(|| agreed(&known))
            .unwrap_or(Environment::Prod),
    )
}

fn word(word: &str) -> Option<Environment> {
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
