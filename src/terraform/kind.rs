//! The kind of intent that a Terraform type becomes, by `data/defaults/terraform.toml`.

use std::sync::LazyLock;

use serde::Deserialize;

use crate::decide::intent::ResourceType;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Grant,
    Provision(ResourceType),
    /// Any other type.
    Deploy,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Kinds {
    grants: Vec<String>,
    provisions: Vec<Provision>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Provision {
    resource_type: ResourceType,
    types: Vec<String>,
}

static KINDS: LazyLock<Kinds> = LazyLock::new(|| {
    let text = include_str!("../../data/defaults/terraform.toml");
    toml::from_str(text).expect("a test reads the built-in file")
});

pub(super) fn kind(terraform_type: &str) -> Kind {
    let is = |patterns: &[String]| patterns.iter().any(|it| matches(it, terraform_type));
    if terraform_type.split('_').any(|word| word == "iam") || is(&KINDS.grants) {
        return Kind::Grant;
    }
    let provision = KINDS.provisions.iter().find(|it| is(&it.types));
    provision.map_or(Kind::Deploy, |it| Kind::Provision(it.resource_type))
}

/// A pattern has at most one `*`.
fn matches(pattern: &str, terraform_type: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == terraform_type,
        Some((head, tail)) => terraform_type
            .strip_prefix(head)
            .is_some_and(|rest| rest.ends_with(tail)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terraform_types_have_their_kind() {
        let provision = Kind::Provision;
        let cases = [
            ("aws_iam_role_policy_attachment", Kind::Grant),
            ("google_project_iam_member", Kind::Grant),
            ("google_storage_bucket_iam_binding", Kind::Grant),
            ("google_service_account_key", Kind::Grant),
            ("azurerm_role_assignment", Kind::Grant),
            ("azurerm_cosmosdb_sql_role_assignment", Kind::Grant),
            ("aws_s3_bucket_policy", Kind::Grant),
            ("kubernetes_cluster_role_binding", Kind::Grant),
            ("aws_db_instance", provision(ResourceType::Database)),
            (
                "azurerm_postgresql_flexible_server",
                provision(ResourceType::Database),
            ),
            (
                "google_sql_database_instance",
                provision(ResourceType::Database),
            ),
            ("aws_vpc", provision(ResourceType::VirtualNetwork)),
            (
                "aws_security_group_rule",
                provision(ResourceType::VirtualNetwork),
            ),
            (
                "azurerm_virtual_network",
                provision(ResourceType::VirtualNetwork),
            ),
            (
                "google_compute_firewall",
                provision(ResourceType::VirtualNetwork),
            ),
            ("aws_instance", provision(ResourceType::Vm)),
            ("azurerm_linux_virtual_machine", provision(ResourceType::Vm)),
            ("google_compute_instance", provision(ResourceType::Vm)),
            ("aws_s3_bucket", provision(ResourceType::StorageAccount)),
            (
                "azurerm_storage_account",
                provision(ResourceType::StorageAccount),
            ),
            (
                "google_storage_bucket",
                provision(ResourceType::StorageAccount),
            ),
            (
                "aws_eks_cluster",
                provision(ResourceType::KubernetesCluster),
            ),
            (
                "azurerm_kubernetes_cluster",
                provision(ResourceType::KubernetesCluster),
            ),
            (
                "google_container_cluster",
                provision(ResourceType::KubernetesCluster),
            ),
            ("aws_lambda_function", provision(ResourceType::FunctionApp)),
            ("aws_db_parameter_group", Kind::Deploy),
            ("aws_autoscaling_policy", Kind::Deploy),
            ("aws_ecr_repository", Kind::Deploy),
            ("azurerm_resource_group", Kind::Deploy),
            ("kubernetes_deployment", Kind::Deploy),
            ("null_resource", Kind::Deploy),
            ("", Kind::Deploy),
        ];
        for (terraform_type, expected) in cases {
            assert_eq!(kind(terraform_type), expected, "{terraform_type}");
        }
    }

    #[test]
    fn no_type_is_listed_twice() {
        let provided = KINDS.provisions.iter().flat_map(|it| &it.types);
        let mut names: Vec<_> = KINDS.grants.iter().chain(provided).collect();
        names.sort_unstable();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]));
    }
}
