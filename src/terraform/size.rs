//! The size of a resource, in its provider's words.

use super::attribute::Attribute;

/// The first attribute that is present counts.
const ATTRIBUTES: [&str; 14] = [
    "instance_type",
    "instance_class",
    "db_cluster_instance_class",
    "node_type",
    "machine_type",
    "vm_size",
    "sku_name",
    "size",
    "tier",
    "sku",
    "account_tier",
    "storage_class",
    "memory_size",
    "memory_size_gb",
];
/// (block, attribute).
const IN_BLOCKS: [(&str, &str); 4] = [
    ("settings", "tier"),
    ("node_config", "machine_type"),
    ("default_node_pool", "vm_size"),
    ("cluster_config", "instance_type"),
];

pub(super) fn size(resource: Attribute<'_>) -> Option<String> {
    let in_block = |(block, attribute): (&str, &str)| {
        resource
            .get(block)
            .items()
            .find_map(|block| block.get(attribute).word())
    };
    let own = ATTRIBUTES
        .iter()
        .find_map(|attribute| resource.get(attribute).word());
    own.or_else(|| IN_BLOCKS.into_iter().find_map(in_block))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_size_is_found_where_providers_put_it() {
        let cases = [
            (
                json!({"instance_class": "db.r6g.large"}),
                Some("db.r6g.large"),
            ),
            (json!({"size": "Standard_D2s_v3"}), Some("Standard_D2s_v3")),
            (json!({"size": 100}), Some("100")),
            (
                json!({"settings": [{"tier": "db-f1-micro"}]}),
                Some("db-f1-micro"),
            ),
            (
                json!({"default_node_pool": [{"vm_size": "Standard_B2s"}]}),
                Some("Standard_B2s"),
            ),
            (json!({"instance_type": "", "tier": {"name": "x"}}), None),
            (json!({"sku": [{"name": "Standard"}]}), None),
            (json!(null), None),
        ];
        for (resource, expected) in cases {
            let attribute = Attribute::new(&resource, &Value::Null, &Value::Null);
            assert_eq!(size(attribute).as_deref(), expected, "{resource}");
        }
    }
}
