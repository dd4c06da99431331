//! Which kind of intent a Terraform type becomes.

use crate::decide::intent::ResourceType;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Grant,
    Provision(ResourceType),
    /// Any other type.
    Deploy,
}

pub(super) fn kind(terraform_type: &str) -> Kind {
    let is = |names: &[&str]| names.iter().any(|name| matches(name, terraform_type));
    if terraform_type.split('_').any(|word| word == "iam") || is(GRANTS) {
        return Kind::Grant;
    }
    let provisioned = PROVISIONED.iter().find(|(_, names)| is(names));
    provisioned.map_or(Kind::Deploy, |(resource_type, _)| {
        Kind::Provision(*resource_type)
    })
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

/// Types that grant permissions, besides all with the word `iam`.
const GRANTS: &[&str] = &[
    "aws_backup_vault_policy",
    "aws_cloudwatch_event_bus_policy",
    "aws_cloudwatch_event_permission",
    "aws_cloudwatch_log_resource_policy",
    "aws_dynamodb_resource_policy",
    "aws_ecr_registry_policy",
    "aws_ecr_repository_policy",
    "aws_ecrpublic_repository_policy",
    "aws_efs_file_system_policy",
    "aws_eks_access_*",
    "aws_elasticsearch_domain_policy",
    "aws_glue_resource_policy",
    "aws_identitystore_*",
    "aws_kms_grant",
    "aws_kms_key_policy",
    "aws_lakeformation_permissions",
    "aws_lambda_layer_version_permission",
    "aws_lambda_permission",
    "aws_opensearch_domain_policy",
    "aws_organizations_policy*",
    "aws_redshift_resource_policy",
    "aws_rolesanywhere_*",
    "aws_s3_bucket_acl",
    "aws_s3_bucket_policy",
    "aws_s3control_access_point_policy",
    "aws_secretsmanager_secret_policy",
    "aws_sns_topic_policy",
    "aws_sqs_queue_policy",
    "aws_ssoadmin_*",
    "aws_vpc_endpoint_policy",
    "azuread_*",
    "azurerm_*_role_assignment",
    "azurerm_*_role_definition",
    "azurerm_*_principal_assignment",
    "azurerm_federated_identity_credential",
    "azurerm_key_vault_access_policy",
    "azurerm_pim_*",
    "azurerm_role_*",
    "azurerm_user_assigned_identity",
    "google_*_access_control",
    "google_*_acl",
    "google_bigquery_dataset_access",
    "google_service_account*",
    "kubernetes_cluster_role*",
    "kubernetes_role*",
    "kubernetes_service_account*",
];

/// The first match counts.
const PROVISIONED: &[(ResourceType, &[&str])] = &[
    (
        ResourceType::Database,
        &[
            "aws_dax_cluster",
            "aws_db_instance",
            "aws_docdb_cluster",
            "aws_docdb_cluster_instance",
            "aws_docdbelastic_cluster",
            "aws_dsql_cluster",
            "aws_dynamodb_global_table",
            "aws_dynamodb_table",
            "aws_elasticache_cluster",
            "aws_elasticache_replication_group",
            "aws_elasticache_serverless_cache",
            "aws_elasticsearch_domain",
            "aws_keyspaces_table",
            "aws_memorydb_cluster",
            "aws_neptune_cluster",
            "aws_neptune_cluster_instance",
            "aws_opensearch_domain",
            "aws_opensearchserverless_collection",
            "aws_qldb_ledger",
            "aws_rds_cluster",
            "aws_rds_cluster_instance",
            "aws_rds_global_cluster",
            "aws_redshift_cluster",
            "aws_redshiftserverless_*",
            "aws_timestreaminfluxdb_db_instance",
            "aws_timestreamwrite_*",
            "azurerm_cosmosdb_*",
            "azurerm_kusto_cluster",
            "azurerm_kusto_database",
            "azurerm_managed_redis",
            "azurerm_mariadb_database",
            "azurerm_mariadb_server",
            "azurerm_mssql_database",
            "azurerm_mssql_elasticpool",
            "azurerm_mssql_managed_database",
            "azurerm_mssql_managed_instance",
            "azurerm_mssql_server",
            "azurerm_mysql_database",
            "azurerm_mysql_flexible_database",
            "azurerm_mysql_flexible_server",
            "azurerm_mysql_server",
            "azurerm_postgresql_database",
            "azurerm_postgresql_flexible_server",
            "azurerm_postgresql_flexible_server_database",
            "azurerm_postgresql_server",
            "azurerm_redis_cache",
            "azurerm_redis_enterprise_cluster",
            "azurerm_redis_enterprise_database",
            "azurerm_sql_database",
            "azurerm_sql_managed_instance",
            "azurerm_sql_server",
            "azurerm_synapse_sql_pool",
            "google_alloydb_cluster",
            "google_alloydb_instance",
            "google_bigquery_dataset",
            "google_bigquery_table",
            "google_bigtable_instance",
            "google_bigtable_table",
            "google_firestore_database",
            "google_memcache_instance",
            "google_memorystore_instance",
            "google_redis_cluster",
            "google_redis_instance",
            "google_spanner_database",
            "google_spanner_instance",
            "google_sql_database",
            "google_sql_database_instance",
        ],
    ),
    (
        ResourceType::VirtualNetwork,
        &[
            "aws_alb",
            "aws_customer_gateway",
            "aws_default_network_acl",
            "aws_default_route_table",
            "aws_default_security_group",
            "aws_default_subnet",
            "aws_default_vpc",
            "aws_dx_*",
            "aws_ec2_transit_gateway*",
            "aws_egress_only_internet_gateway",
            "aws_eip",
            "aws_eip_association",
            "aws_elb",
            "aws_internet_gateway*",
            "aws_lb",
            "aws_main_route_table_association",
            "aws_nat_gateway",
            "aws_network_acl*",
            "aws_network_interface*",
            "aws_networkfirewall_*",
            "aws_networkmanager_*",
            "aws_route",
            "aws_route_table*",
            "aws_security_group*",
            "aws_subnet",
            "aws_vpc",
            "aws_vpc_*",
            "aws_vpn_*",
            "azurerm_application_gateway",
            "azurerm_bastion_host",
            "azurerm_express_route_*",
            "azurerm_firewall",
            "azurerm_firewall_*",
            "azurerm_lb",
            "azurerm_lb_*",
            "azurerm_local_network_gateway",
            "azurerm_nat_gateway*",
            "azurerm_network_interface*",
            "azurerm_network_security_*",
            "azurerm_point_to_site_vpn_gateway",
            "azurerm_private_endpoint",
            "azurerm_private_link_service",
            "azurerm_public_ip",
            "azurerm_public_ip_prefix",
            "azurerm_route",
            "azurerm_route_server",
            "azurerm_route_table",
            "azurerm_subnet",
            "azurerm_subnet_*",
            "azurerm_virtual_hub*",
            "azurerm_virtual_network*",
            "azurerm_virtual_wan",
            "azurerm_vpn_*",
            "google_compute_address",
            "google_compute_external_vpn_gateway",
            "google_compute_firewall*",
            "google_compute_forwarding_rule",
            "google_compute_global_address",
            "google_compute_global_forwarding_rule",
            "google_compute_ha_vpn_gateway",
            "google_compute_interconnect*",
            "google_compute_network",
            "google_compute_network_*",
            "google_compute_region_network_*",
            "google_compute_route",
            "google_compute_router*",
            "google_compute_shared_vpc_*",
            "google_compute_subnetwork",
            "google_compute_vpn_*",
            "google_network_connectivity_*",
            "google_service_networking_*",
            "google_vpc_access_connector",
        ],
    ),
    (
        ResourceType::Vm,
        &[
            "aws_autoscaling_group",
            "aws_ec2_fleet",
            "aws_instance",
            "aws_launch_configuration",
            "aws_launch_template",
            "aws_lightsail_instance",
            "aws_spot_fleet_request",
            "aws_spot_instance_request",
            "azurerm_linux_virtual_machine*",
            "azurerm_orchestrated_virtual_machine_scale_set",
            "azurerm_virtual_machine",
            "azurerm_virtual_machine_scale_set",
            "azurerm_windows_virtual_machine*",
            "google_compute_instance",
            "google_compute_instance_from_template",
            "google_compute_instance_group_manager",
            "google_compute_instance_template",
            "google_compute_region_instance_group_manager",
            "google_compute_region_instance_template",
        ],
    ),
    (
        ResourceType::StorageAccount,
        &[
            "aws_ebs_volume",
            "aws_efs_file_system",
            "aws_fsx_*",
            "aws_glacier_vault",
            "aws_s3_bucket",
            "aws_s3_directory_bucket",
            "aws_s3tables_table_bucket",
            "azurerm_managed_disk",
            "azurerm_netapp_volume",
            "azurerm_storage_account",
            "azurerm_storage_container",
            "azurerm_storage_data_lake_gen2_filesystem",
            "azurerm_storage_queue",
            "azurerm_storage_share",
            "azurerm_storage_table",
            "google_compute_disk",
            "google_compute_region_disk",
            "google_filestore_instance",
            "google_storage_bucket",
        ],
    ),
    (
        ResourceType::KubernetesCluster,
        &[
            "aws_eks_cluster",
            "aws_eks_fargate_profile",
            "aws_eks_node_group",
            "azurerm_kubernetes_cluster",
            "azurerm_kubernetes_cluster_node_pool",
            "azurerm_redhat_openshift_cluster",
            "google_container_cluster",
            "google_container_node_pool",
        ],
    ),
    (
        ResourceType::FunctionApp,
        &[
            "aws_lambda_function",
            "azurerm_function_app",
            "azurerm_function_app_flex_consumption",
            "azurerm_linux_function_app",
            "azurerm_windows_function_app",
            "google_cloudfunctions2_function",
            "google_cloudfunctions_function",
        ],
    ),
];

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
        let provided = PROVISIONED.iter().flat_map(|(_, names)| names.iter());
        let mut names: Vec<_> = GRANTS.iter().chain(provided).collect();
        names.sort_unstable();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]));
    }
}
