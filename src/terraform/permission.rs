//! The permission level of a grant, from its policy document or the role's name.
//!
//! What is uncertain is `admin`: documents that only deny (removing them allows more), texts that do not
//! parse, values that are sensitive or unknown before the apply, custom roles. A role's trust policy
//! (`assume_role_policy`) grants nothing by itself and is not read.

use serde_json::Value;

use super::attribute::Attribute;
use crate::decide::intent::PermissionLevel::{self, Admin, Read, Write};

pub(super) fn permission(terraform_type: &str, grant: Attribute<'_>) -> PermissionLevel {
    let sources: &[Source] = match terraform_type.split('_').next() {
        Some("aws") => AWS,
        Some("azurerm") => AZURE,
        Some("google") => GOOGLE,
        _ => &[],
    };
    let present = sources.iter().map(|(name, read)| (grant.get(name), read));
    highest(
        present
            .filter(|(value, _)| !value.is_absent())
            .map(|(value, read)| read(value)),
    )
    .unwrap_or(Admin)
}

/// An attribute and how its level is read; none if that is uncertain.
type Source = (&'static str, fn(Attribute<'_>) -> Option<PermissionLevel>);

const AWS: &[Source] = &[
    ("policy", policy_document),
    ("inline_policy", inline_policies),
    ("policy_arn", managed_policy),
    ("managed_policy_arns", |arns| {
        highest(arns.items().map(managed_policy))
    }),
    ("action", |action| action.as_str().map(aws_action)),
];
const AZURE: &[Source] = &[
    ("role_definition_name", |name| {
        Some(azure_role(name.as_str()?))
    }),
    ("role_definition_id", |id| Some(azure_role_id(id.as_str()?))),
    ("permissions", |permissions| {
        highest(permissions.items().map(azure_permission))
    }),
];
const GOOGLE: &[Source] = &[
    ("role", |role| Some(google_role(role.as_str()?))),
    ("policy_data", google_policy),
    ("permissions", |names| {
        highest(
            names
                .items()
                .map(|name| Some(google_permission(name.as_str()?))),
        )
    }),
];

/// None without levels, or if one is uncertain.
fn highest(levels: impl IntoIterator<Item = Option<PermissionLevel>>) -> Option<PermissionLevel> {
    let levels: Option<Vec<_>> = levels.into_iter().collect();
    levels?.into_iter().max()
}

fn inline_policies(policies: Attribute<'_>) -> Option<PermissionLevel> {
    if policies.as_str().is_some() {
        policy_document(policies)
    } else {
        highest(
            policies
                .items()
                .map(|policy| policy_document(policy.get("policy"))),
        )
    }
}

/// An IAM policy: JSON in a string, or as a value.
fn policy_document(policy: Attribute<'_>) -> Option<PermissionLevel> {
    let document = match policy.as_str() {
        Some(text) => &serde_json::from_str(text).ok()?,
        None => policy.value()?,
    };
    let statements = one_or_many(document.get("Statement")?);
    highest(
        statements
            .iter()
            .filter(|statement| !denies(statement))
            .map(aws_statement),
    )
}

fn denies(statement: &Value) -> bool {
    statement.get("Effect").and_then(Value::as_str) == Some("Deny")
}

/// An unknown element makes it uncertain.
fn aws_statement(statement: &Value) -> Option<PermissionLevel> {
    let known = [
        "Sid",
        "Effect",
        "Principal",
        "Action",
        "Resource",
        "Condition",
    ];
    if !statement
        .as_object()?
        .keys()
        .all(|element| known.contains(&element.as_str()))
    {
        return None;
    }
    let actions = one_or_many(statement.get("Action")?);
    highest(
        actions
            .iter()
            .map(|action| Some(aws_action(action.as_str()?))),
    )
}

fn one_or_many(value: &Value) -> &[Value] {
    value
        .as_array()
        .map_or(std::slice::from_ref(value), Vec::as_slice)
}

/// `s3:GetObject` reads, `s3:PutObject` writes; `*`, `s3:*` and what grants permissions is `admin`.
fn aws_action(action: &str) -> PermissionLevel {
    let action = action.to_ascii_lowercase();
    let Some((service, verb)) = action.split_once(':') else {
        return Admin;
    };
    let grants_permissions = ["iam", "sts", "organizations", "sso"].contains(&service)
        || ["policy", "permission", "grant"]
            .iter()
            .any(|word| verb.contains(word));
    if service.contains(['*', '?']) {
        Admin
    } else if ["get", "list", "describe", "read"]
        .iter()
        .any(|read| verb.starts_with(read))
    {
        Read
    } else if verb.contains(['*', '?']) || grants_permissions {
        Admin
    } else {
        Write
    }
}

/// A policy that AWS manages, by its ARN. One that a customer manages may contain anything.
fn managed_policy(arn: Attribute<'_>) -> Option<PermissionLevel> {
    let arn = arn.as_str()?;
    let (_, path) = arn
        .strip_prefix("arn:aws")?
        .split_once(":iam::aws:policy/")?;
    let name = path.rsplit('/').next()?;
    let ends = |ends: &[&str]| ends.iter().any(|end| name.ends_with(end));
    Some(
        if ends(&[
            "ReadOnlyAccess",
            "ReadOnly",
            "ViewOnlyAccess",
            "SecurityAudit",
        ]) {
            Read
        } else if ends(&["PowerUserAccess", "PowerUser"]) {
            Write
        } else {
            Admin
        },
    )
}

/// Built-in roles; no custom role can have the name of one.
fn azure_role(name: &str) -> PermissionLevel {
    match name {
        "Reader"
        | "Monitoring Reader"
        | "Key Vault Reader"
        | "Storage Blob Data Reader"
        | "AcrPull" => Read,
        "Contributor"
        | "Monitoring Contributor"
        | "Key Vault Contributor"
        | "Storage Blob Data Contributor"
        | "AcrPush" => Write,
        _ => Admin,
    }
}

/// By the fixed ids of `Reader` and `Contributor`.
fn azure_role_id(id: &str) -> PermissionLevel {
    match id.rsplit('/').next() {
        Some("acdd72a7-3385-48ef-bd42-f606fba81ae7") => Read,
        Some("b24988ac-6180-42a0-ab88-20f7382dd24c") => Write,
        _ => Admin,
    }
}

/// One block of a role definition: `Microsoft.Compute/virtualMachines/read` reads.
fn azure_permission(permission: Attribute<'_>) -> Option<PermissionLevel> {
    let blocks = ["actions", "data_actions"].map(|name| permission.get(name));
    highest(blocks.into_iter().flat_map(Attribute::items).map(|action| {
        let action = action.as_str()?.to_ascii_lowercase();
        Some(if action.ends_with("/read") {
            Read
        } else if action.contains('*') || action.starts_with("microsoft.authorization/") {
            Admin
        } else {
            Write
        })
    }))
}

/// A role that Google defines, as `roles/storage.objectViewer`.
fn google_role(role: &str) -> PermissionLevel {
    let Some(name) = role.strip_prefix("roles/") else {
        return Admin;
    };
    let name = name.to_ascii_lowercase();
    let ends = |ends: &[&str]| ends.iter().any(|end| name.ends_with(end));
    if ends(&["viewer", "reader", "browser"]) {
        Read
    } else if name.starts_with("iam.") {
        Admin
    } else if ends(&[
        "editor",
        "writer",
        "creator",
        "publisher",
        "subscriber",
        "invoker",
    ]) {
        Write
    } else {
        Admin
    }
}

/// JSON in a string, with the roles that it binds.
fn google_policy(policy: Attribute<'_>) -> Option<PermissionLevel> {
    let policy: Value = serde_json::from_str(policy.as_str()?).ok()?;
    let bindings = policy.get("bindings")?.as_array()?;
    highest(
        bindings
            .iter()
            .map(|binding| Some(google_role(binding.get("role")?.as_str()?))),
    )
}

/// One permission of a custom role, as `storage.objects.get`.
fn google_permission(name: &str) -> PermissionLevel {
    let name = name.to_ascii_lowercase();
    let verb = name.rsplit('.').next().unwrap_or_default();
    if ["get", "list", "getiampolicy"].contains(&verb) {
        Read
    } else if name.contains('*') || name.starts_with("iam.") || verb == "setiampolicy" {
        Admin
    } else {
        Write
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(terraform_type: &str, grant: Value, expected: PermissionLevel) {
        let attribute = Attribute::new(&grant, &Value::Null, &Value::Null);
        assert_eq!(
            permission(terraform_type, attribute),
            expected,
            "{terraform_type} {grant}"
        );
    }

    #[test]
    fn a_policy_document_shows_its_level() {
        let statements = [
            (json!({"Effect": "Allow", "Action": "s3:GetObject"}), Read),
            (
                json!([{"Effect": "Allow", "Action": ["s3:Get*", "ec2:DescribeInstances"]}]),
                Read,
            ),
            (
                json!({"Effect": "Allow", "Action": ["s3:GetObject", "s3:PutObject"]}),
                Write,
            ),
            (
                json!({"Effect": "Allow", "Action": "dynamodb:BatchGetItem"}),
                Write,
            ),
            (json!({"Effect": "Allow", "Action": "S3:getobject"}), Read),
            (
                json!([{"Effect": "Allow", "Action": "s3:GetObject"}, {"Effect": "Allow", "Action": "*"}]),
                Admin,
            ),
            (json!({"Effect": "Allow", "Action": "s3:*"}), Admin),
            (json!({"Effect": "Allow", "Action": "s3:Put*"}), Admin),
            (json!({"Effect": "Allow", "Action": "*:GetObject"}), Admin),
            (json!({"Effect": "Allow", "Action": "iam:PassRole"}), Admin),
            (json!({"Effect": "Allow", "Action": "iam:GetRole"}), Read),
            (
                json!({"Effect": "Allow", "Action": "s3:PutBucketPolicy"}),
                Admin,
            ),
            (json!({"Effect": "Allow", "NotAction": "iam:*"}), Admin),
            (
                json!({"Effect": "Allow", "Action": "s3:GetObject", "notaction": "a:b"}),
                Admin,
            ),
            (json!({"Effect": "Deny", "Action": "*"}), Admin),
            (
                json!([{"Effect": "Deny", "Action": "*"}, {"Effect": "Allow", "Action": "s3:GetObject"}]),
                Read,
            ),
            (json!({"Action": "s3:GetObject"}), Read),
            (json!({"Effect": "Allow", "Action": [7]}), Admin),
            (json!({"Effect": "Allow", "Action": []}), Admin),
            (json!([]), Admin),
            (json!("all"), Admin),
        ];
        for (statement, expected) in statements {
            let policy = json!({"Version": "2012-10-17", "Statement": statement});
            check(
                "aws_iam_policy",
                json!({"policy": policy.to_string()}),
                expected,
            );
            check("aws_s3_bucket_policy", json!({"policy": policy}), expected);
        }
    }

    #[test]
    fn grants_show_their_level_where_the_provider_writes_it() {
        let read = json!({"Statement": {"Effect": "Allow", "Action": "s3:ListBucket"}}).to_string();
        let aws = |name: &str| json!({"policy_arn": format!("arn:aws:iam::aws:policy/{name}")});
        let google = |roles: [&str; 2]| {
            let bindings = roles.map(|role| json!({"role": role, "members": []}));
            json!({"policy_data": json!({"bindings": bindings}).to_string()})
        };
        let reader_id = "/providers/roleDefinitions/acdd72a7-3385-48ef-bd42-f606fba81ae7";
        let cases = [
            ("aws_iam_policy", json!({"policy": "not json"}), Admin),
            ("aws_iam_role", json!({"assume_role_policy": read}), Admin),
            (
                "aws_iam_role",
                json!({"inline_policy": [{"policy": read}]}),
                Read,
            ),
            (
                "aws_iam_role",
                json!({"inline_policy": [{"policy": read}], "managed_policy_arns": ["x"]}),
                Admin,
            ),
            (
                "aws_ssoadmin_permission_set_inline_policy",
                json!({"inline_policy": read}),
                Read,
            ),
            (
                "aws_iam_role_policy_attachment",
                aws("AdministratorAccess"),
                Admin,
            ),
            (
                "aws_iam_role_policy_attachment",
                aws("PowerUserAccess"),
                Write,
            ),
            (
                "aws_iam_role_policy_attachment",
                aws("ReadOnlyAccess"),
                Read,
            ),
            (
                "aws_iam_role_policy_attachment",
                aws("job-function/ViewOnlyAccess"),
                Read,
            ),
            (
                "aws_iam_role_policy_attachment",
                aws("AmazonS3FullAccess"),
                Admin,
            ),
            (
                "aws_iam_user_policy_attachment",
                json!({"policy_arn": "arn:aws:iam::123456789012:policy/ReadOnlyAccess"}),
                Admin,
            ),
            // A role's name on AWS says nothing.
            (
                "aws_iam_role_policy_attachment",
                json!({"role": "roles/viewer"}),
                Admin,
            ),
            (
                "aws_lambda_permission",
                json!({"action": "lambda:InvokeFunction"}),
                Write,
            ),
            (
                "azurerm_role_assignment",
                json!({"role_definition_name": "Owner"}),
                Admin,
            ),
            (
                "azurerm_role_assignment",
                json!({"role_definition_name": "Contributor"}),
                Write,
            ),
            (
                "azurerm_role_assignment",
                json!({"role_definition_name": "Reader"}),
                Read,
            ),
            (
                "azurerm_role_assignment",
                json!({"role_definition_name": "Friendly Reader"}),
                Admin,
            ),
            (
                "azurerm_role_assignment",
                json!({"role_definition_id": reader_id}),
                Read,
            ),
            (
                "azurerm_role_definition",
                json!({"permissions": [{"actions": ["Microsoft.Compute/*/read"]}]}),
                Read,
            ),
            (
                "azurerm_role_definition",
                json!({"permissions": [{"actions": ["a/b/start/action"], "data_actions": ["*/read"]}]}),
                Write,
            ),
            (
                "azurerm_role_definition",
                json!({"permissions": [{"actions": ["*"]}]}),
                Admin,
            ),
            (
                "azurerm_role_definition",
                json!({"permissions": [{"actions": ["Microsoft.Authorization/roleAssignments/write"]}]}),
                Admin,
            ),
            (
                "google_project_iam_member",
                json!({"role": "roles/owner"}),
                Admin,
            ),
            (
                "google_project_iam_member",
                json!({"role": "roles/editor"}),
                Write,
            ),
            (
                "google_project_iam_member",
                json!({"role": "roles/viewer"}),
                Read,
            ),
            (
                "google_storage_bucket_iam_binding",
                json!({"role": "roles/storage.objectViewer"}),
                Read,
            ),
            (
                "google_storage_bucket_iam_binding",
                json!({"role": "roles/storage.objectCreator"}),
                Write,
            ),
            (
                "google_storage_bucket_iam_binding",
                json!({"role": "roles/storage.admin"}),
                Admin,
            ),
            (
                "google_project_iam_member",
                json!({"role": "roles/iam.workloadIdentityPoolEditor"}),
                Admin,
            ),
            (
                "google_project_iam_member",
                json!({"role": "projects/p/roles/viewer"}),
                Admin,
            ),
            (
                "google_project_iam_policy",
                google(["roles/viewer", "roles/editor"]),
                Write,
            ),
            (
                "google_project_iam_custom_role",
                json!({"permissions": ["storage.objects.get"]}),
                Read,
            ),
            (
                "google_project_iam_custom_role",
                json!({"permissions": ["storage.objects.create"]}),
                Write,
            ),
            (
                "google_project_iam_custom_role",
                json!({"permissions": ["iam.serviceAccounts.actAs"]}),
                Admin,
            ),
            ("google_service_account", json!({"account_id": "ci"}), Admin),
            (
                "kubernetes_role_binding",
                json!({"role": "roles/viewer"}),
                Admin,
            ),
            ("aws_iam_policy", json!(null), Admin),
        ];
        for (terraform_type, grant, expected) in cases {
            check(terraform_type, grant, expected);
        }
    }

    #[test]
    fn what_is_hidden_is_admin() {
        let grant = json!({"role": "roles/viewer"});
        let marked = json!({"role": true});
        let secret = Attribute::new(&grant, &marked, &Value::Null);
        assert_eq!(permission("google_project_iam_member", secret), Admin);
        let rest_unknown = json!({"managed_policy_arns": true});
        let policy = r#"{"Statement": {"Effect": "Allow", "Action": "s3:GetObject"}}"#;
        let grant = json!({"inline_policy": [{"policy": policy}]});
        let role = Attribute::new(&grant, &Value::Null, &rest_unknown);
        assert_eq!(permission("aws_iam_role", role), Admin);
    }
}
