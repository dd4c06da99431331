//! The region of a resource, in its provider's words.

use serde_json::Value;

use super::attribute::Attribute;

/// The region that the resource names, else that of its provider's configuration.
pub(super) fn region(
    resource: Attribute<'_>,
    provider: &str,
    regions: &ProviderRegions,
) -> Option<String> {
    let word = |name| resource.get(name).word();
    ["region", "location"]
        .into_iter()
        .find_map(word)
        .or_else(|| of_aws_zone(&word("availability_zone")?))
        .or_else(|| of_google_zone(&word("zone")?))
        .or_else(|| regions.of_provider(provider))
}

/// `us-east-1` of `us-east-1a`.
fn of_aws_zone(zone: &str) -> Option<String> {
    let region = zone.trim_end_matches(|char: char| char.is_ascii_lowercase());
    non_empty(region)
}

/// `europe-west1` of `europe-west1-b`.
fn of_google_zone(zone: &str) -> Option<String> {
    non_empty(zone.rsplit_once('-').map_or(zone, |(region, _)| region))
}

/// A text that is no zone can leave nothing.
fn non_empty(region: &str) -> Option<String> {
    (!region.is_empty()).then(|| region.to_owned())
}

/// (provider, region) for each configuration of a provider.
#[derive(Default)]
pub(super) struct ProviderRegions(Vec<(String, String)>);

impl ProviderRegions {
    /// From `configuration.provider_config` of a plan, and the variables it refers to.
    pub(super) fn new(providers: &Value, variables: &Value) -> Self {
        let providers = providers.as_object().into_iter().flatten();
        let found = providers.filter_map(|(_, provider)| {
            let name = provider.get("name")?.as_str()?;
            let expression = provider.get("expressions")?.get("region")?;
            let region = expression.get("constant_value").or_else(|| {
                let variable = expression.get("references")?.get(0)?.as_str()?;
                variables.get(variable.strip_prefix("var.")?)?.get("value")
            })?;
            let region = Attribute::new(region, &Value::Null, &Value::Null).word()?;
            Some((name.to_owned(), region))
        });
        Self(found.collect())
    }

    /// None where several are configured.
    fn of_provider(&self, provider: &str) -> Option<String> {
        let mut regions = self
            .0
            .iter()
            .filter(|(name, _)| name == provider)
            .map(|(_, at)| at);
        let first = regions.next()?;
        regions.all(|other| other == first).then(|| first.clone())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_resource_comes_before_its_provider() {
        let providers = json!({
            "aws": {"name": "aws", "expressions": {"region": {"references": ["var.region"]}}},
            "google": {"name": "google", "expressions": {"region": {"constant_value": "us-west1"}}},
            "google.eu": {"name": "google", "expressions": {"region": {"constant_value": "europe-west1"}}},
        });
        let regions = ProviderRegions::new(&providers, &json!({"region": {"value": "eu-west-1"}}));
        let cases = [
            (json!({"region": "us-east-1"}), "aws", Some("us-east-1")),
            (json!({"zone": "-0"}), "other", None),
            (json!({"availability_zone": "abc"}), "other", None),
            (
                json!({"location": "France Central"}),
                "azurerm",
                Some("France Central"),
            ),
            (
                json!({"availability_zone": "us-east-1a"}),
                "aws",
                Some("us-east-1"),
            ),
            (
                json!({"zone": "europe-west1-b"}),
                "google",
                Some("europe-west1"),
            ),
            (json!({}), "aws", Some("eu-west-1")),
            (json!({}), "google", None),
            (json!({}), "azurerm", None),
            (json!({"region": "x".repeat(65)}), "azurerm", None),
            (json!({"region": "arn:aws:hidden"}), "azurerm", None),
            (json!({"region": {"name": "x"}}), "azurerm", None),
        ];
        for (resource, provider, expected) in cases {
            let attribute = Attribute::new(&resource, &Value::Null, &Value::Null);
            let region = region(attribute, provider, &regions);
            assert_eq!(region.as_deref(), expected, "{resource} {provider}");
        }
    }
}
