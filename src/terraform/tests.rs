//! The way from a plan file to named intents.

use std::path::Path;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Map, Value, json};

use super::{Change, GateKey, Plan};
use crate::decide::intent::{Environment, Intent, IntentKind, PermissionLevel};

const EXAMPLE: &[u8] = include_bytes!("../../data/examples/plan.json");

fn read(bytes: &[u8]) -> Plan {
    Plan::parse(bytes)
        .map_err(|error| error.to_string())
        .ok()
        .unwrap()
}

/// A plan with one change.
fn plan_of(resource_type: &str, change: &Value) -> Plan {
    let address = format!("{resource_type}.x");
    let resource = json!({"address": address, "type": resource_type, "change": change});
    read(
        json!({"resource_changes": [resource]})
            .to_string()
            .as_bytes(),
    )
}

fn fields(intent: &Intent) -> Vec<&str> {
    intent
        .changed_fields
        .as_slice()
        .iter()
        .map(|name| name.as_str())
        .collect()
}

fn json_of(intent: &Intent) -> Value {
    serde_json::to_value(intent).unwrap()
}

#[test]
fn the_example_becomes_its_intents() {
    let plan = read(EXAMPLE);
    let intents: Vec<_> = plan
        .changes(None)
        .iter()
        .map(|c| json_of(&c.intent))
        .collect();
    let provenance = |address: &str, resource_type: &str| json!({"source": "terraform", "address": address, "type": resource_type});
    let expected = json!([
        {
            "intent_type": "provision_resource", "resource_type": "database",
            "region": "eu-west-1", "size": "db.r6g.large",
            "environment": "prod", "requester": "terraform", "operation": "replace",
            "changed_fields": ["arn", "availability_zone", "endpoint", "id", "storage_encrypted"],
            "provenance": provenance("aws_db_instance.orders", "aws_db_instance"),
        },
        {
            "intent_type": "provision_resource", "resource_type": "virtual_network",
            "region": "eu-west-1", "size": "unknown",
            "environment": "prod", "requester": "terraform", "operation": "update",
            "changed_fields": ["ingress"],
            "provenance": provenance("aws_security_group.api", "aws_security_group"),
        },
        {
            "intent_type": "provision_resource", "resource_type": "vm",
            "region": "eu-west-1", "size": "m7g.large",
            "environment": "staging", "requester": "terraform", "operation": "create",
            "changed_fields": ["ami", "id", "instance_type", "private_ip", "tags"],
            "provenance":
                provenance("module.workers[\"batch\"].aws_instance.worker[0]", "aws_instance"),
        },
        {
            "intent_type": "grant_access",
            "principal": "aws_iam_role_policy_attachment.ci[\"deploy/main\"]",
            "permission_level": "admin",
            "resource_scope": "/aws_iam_role_policy_attachment/ci/deploy%2Fmain",
            "environment": "prod", "requester": "terraform", "operation": "create",
            "changed_fields": ["id", "policy_arn", "role"],
            "provenance": provenance(
                "aws_iam_role_policy_attachment.ci[\"deploy/main\"]",
                "aws_iam_role_policy_attachment",
            ),
        },
        {
            "intent_type": "provision_resource", "resource_type": "storage_account",
            "region": "eu-west-1", "size": "unknown",
            "environment": "dev", "requester": "terraform", "operation": "create",
            "changed_fields": ["arn", "bucket", "force_destroy", "id", "tags"],
            "provenance": provenance("aws_s3_bucket.reports", "aws_s3_bucket"),
        },
        {
            "intent_type": "deploy_config", "service_name": "aws_sqs_queue.legacy",
            "change_scope": "single_instance", "deployment_target": "prod",
            "environment": "prod", "requester": "terraform", "operation": "delete",
            "changed_fields": ["name", "visibility_timeout_seconds"],
            "provenance": provenance("aws_sqs_queue.legacy", "aws_sqs_queue"),
        },
        {
            "intent_type": "provision_resource", "resource_type": "virtual_network",
            "region": "eu-west-1", "size": "unknown",
            "environment": "prod", "requester": "terraform", "operation": "import",
            "provenance": provenance("aws_vpc.main", "aws_vpc"),
        },
    ]);
    assert_eq!(Value::from(intents), expected);
}

#[test]
fn a_given_environment_is_that_of_every_change() {
    let plan = read(EXAMPLE);
    for change in plan.changes(Some(Environment::Test)) {
        assert_eq!(change.intent.environment, Environment::Test);
        if let IntentKind::DeployConfig {
            deployment_target, ..
        } = change.intent.kind
        {
            assert_eq!(deployment_target, Environment::Test);
        }
    }
}

#[test]
fn a_change_of_nothing_but_what_is_not_known_yet_has_its_name() {
    let change = json!({
        "actions": ["update"], "before": {"a": 1, "b": null, "c": [{"d": 1}]},
        "after": {"a": 1, "c": [{}]}, "after_unknown": {"a": false, "c": [{"d": true}], "e": {}},
    });
    assert_eq!(
        fields(&plan_of("null_resource", &change).changes(None)[0].intent),
        ["c"]
    );
}

#[test]
fn of_many_and_long_names_the_first_64_are_kept_and_cut() {
    let names = (0..100).map(|number| (format!("{number:03}{}", "é".repeat(200)), json!(1)));
    let after = Value::from(names.collect::<Map<_, _>>());
    let plan = plan_of(
        "null_resource",
        &json!({"actions": ["create"], "after": after}),
    );
    let changes = plan.changes(None);
    let fields = fields(&changes[0].intent);
    assert_eq!((fields.len(), fields[0].chars().count()), (64, 128));
    assert!(fields[63].starts_with("063"));
}

#[test]
fn a_deleted_grant_has_the_level_that_it_had() {
    let change = json!({"actions": ["delete"], "before": {"role": "roles/viewer"}, "after": null});
    let plan = plan_of("google_project_iam_member", &change);
    let IntentKind::GrantAccess {
        permission_level, ..
    } = plan.changes(None)[0].intent.kind.clone()
    else {
        panic!("a grant");
    };
    assert_eq!(permission_level, PermissionLevel::Read);
}

/// A value wherever a plan may hold one, and every part of it in whatever may be sent or printed.
#[test]
fn no_value_leaves_the_machine() {
    const SECRET: &str = "hunter2";
    let secret = SECRET;
    let values = |mark: &Value| {
        json!({
            "name": secret, "password": secret, "user_data": secret, "role": secret,
            "policy": format!("{{\"Statement\": \"{secret}\"}}"), "policy_arn": secret,
            "region": {secret: secret}, "location": format!("{secret}/x"), "size": [secret],
            "tags": {"Environment": secret, secret: secret}, "settings": [{secret: secret}],
            "environment": [{"variables": {secret: secret}}], "instance_type": secret,
            "mark": mark,
        })
    };
    let types = [
        "aws_db_instance",
        "aws_iam_policy",
        "aws_lambda_function",
        "google_project_iam_member",
        "azurerm_role_assignment",
        "null_resource",
    ];
    let resources: Vec<_> = types
        .iter()
        .flat_map(|name| [(name, ["update"]), (name, ["delete"]), (name, ["import"])])
        .map(|(name, actions)| {
            json!({
                "address": format!("{name}.x"), "type": name, "provider_name": secret,
                "change": {
                    "actions": actions, "before": values(&json!(1)), "after": values(&json!(2)),
                    "before_sensitive": {"instance_type": true, secret: true},
                    "after_sensitive": {"instance_type": true, "tags": {secret: true}},
                    "after_unknown": {"settings": [{secret: true}]},
                    "importing": {"id": secret},
                },
            })
        })
        .collect();
    let file = json!({
        "resource_changes": resources,
        "variables": {"environment": {"value": secret}, secret: {"value": secret}},
        "output_changes": {secret: {"after": secret}},
        "prior_state": {secret: secret},
        "configuration": {"provider_config": {"aws": {"name": "aws", "expressions": {
            "region": {"constant_value": format!("{secret}!")}, "secret_key": {"constant_value": secret},
        }}}},
    });
    let plan = read(file.to_string().as_bytes());
    let changes = plan.changes(None);
    assert_eq!(changes.len(), resources.len());
    for change in &changes {
        let sent = json_of(&change.intent).to_string();
        assert!(!sent.contains(SECRET), "{}: {sent}", change.address);
        let id = GateKey::new("k").intent_ids(change).next().unwrap();
        assert!(!id.as_str().contains(SECRET));
    }
}

#[test]
fn a_name_depends_on_the_key_and_on_all_that_changes() {
    let change = |before: Value, after: Value, actions: &str| json!({"actions": [actions], "before": before, "after": after});
    let base = change(json!({"a": 1}), json!({"a": {"b": "x"}}), "update");
    let id = |key: &str, change: &Value, environment: Option<Environment>| {
        let plan = plan_of("null_resource", change);
        let changes = plan.changes(environment);
        GateKey::new(key).intent_ids(&changes[0]).next().unwrap()
    };
    let first = id("k", &base, None);
    assert_eq!(first, id("k", &base, Some(Environment::Prod)));
    let others = [
        id("j", &base, None),
        id("k", &base, Some(Environment::Dev)),
        id(
            "k",
            &change(json!({"a": 2}), json!({"a": {"b": "x"}}), "update"),
            None,
        ),
        id(
            "k",
            &change(json!({"a": 1}), json!({"a": {"b": "y"}}), "update"),
            None,
        ),
        id(
            "k",
            &change(json!({"a": 1}), json!({"a": {"b": "x"}}), "create"),
            None,
        ),
    ];
    for other in others {
        assert_ne!(first, other);
    }
}

/// Computed apart from this code: HMAC-SHA-256 with the key SHA-256("arf gate" ‖ "arf_free_test")
/// over `{"address":"null_resource.x","after":{"a":1},"before":null,"environment":"prod","operation":"create"}`,
/// and over the array of the two ids.
#[test]
fn names_are_frozen() {
    let plan = plan_of(
        "null_resource",
        &json!({"actions": ["create"], "after": {"a": 1}}),
    );
    let changes = plan.changes(None);
    let key = GateKey::new("arf_free_test");
    let ids: Vec<_> = key.intent_ids(&changes[0]).take(3).collect();
    let texts: Vec<_> = ids.iter().map(|id| id.as_str()).collect();
    let name = "tf-cpyjngvpmd3ze4doge2vpr35g6blsjyc2yl5pkd3nhjkcnnpdzdq";
    assert_eq!(texts, [name, &format!("{name}-2"), &format!("{name}-3")]);
    let plan_name = key.change_set_id(&[ids[1].clone(), ids[0].clone()]);
    assert_eq!(
        plan_name.as_str(),
        "tf-mtyalt4kevf3uii5kli4kilgxap5mpkefg6kw3rtz5nqrs5pgzfa"
    );
    assert!(
        key.intent_ids(&changes[0])
            .all(|id| id.as_str().len() <= 64)
    );
}

fn check_whole(change: &Change<'_>) {
    let sent = serde_json::to_vec(&change.intent).unwrap();
    assert!(sent.len() <= 64 * 1_024, "{}", change.address);
    assert!(GateKey::new("k").intent_ids(change).next().is_some());
}

/// Real plans of many versions and providers, which are not ours to ship.
#[test]
fn real_plans_are_read() {
    let Some(folder) = std::env::var_os("ARF_PLANS") else {
        eprintln!("NOT TESTED: set ARF_PLANS to a folder of plans");
        return;
    };
    let mut read_plans = 0;
    for file in std::fs::read_dir(Path::new(&folder)).unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let bytes = std::fs::read(&path).unwrap();
        let plan = read(&bytes);
        let document: Value = serde_json::from_slice(&bytes).unwrap();
        let entries = document["resource_changes"].as_array().unwrap();
        let changing = entries.iter().filter(|entry| {
            let actions = &entry["change"]["actions"];
            *actions != json!(["no-op"]) && *actions != json!(["read"])
        });
        let changes = plan.changes(None);
        assert_eq!(changes.len(), changing.count(), "{}", path.display());
        changes.iter().for_each(check_whole);
        read_plans += 1;
    }
    assert!(read_plans > 0, "no plans in {}", folder.display());
}

fn any_json() -> impl Strategy<Value = Value> {
    let names = || {
        select(vec![
            "tags",
            "env",
            "region",
            "size",
            "policy",
            "role",
            "settings",
            "tier",
            "Statement",
            "Action",
            "inline_policy",
            "name",
            "after",
            "zone",
            "",
        ])
    };
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        "\\PC{0,12}".prop_map(Value::from),
        Just(json!(
            "{\"Statement\": [{\"Effect\": \"Allow\", \"Action\": [\"s3:*\"]}]}"
        )),
    ];
    leaf.prop_recursive(4, 24, 4, move |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            vec((names(), inner), 0..4).prop_map(|members| {
                let members = members
                    .into_iter()
                    .map(|(name, value)| (name.to_owned(), value));
                Value::from(members.collect::<Map<_, _>>())
            }),
        ]
    })
}

proptest! {
    #[test]
    fn whatever_a_plan_holds_becomes_an_intent(
        address in "\\PC{3,40}",
        resource_type in select(vec![
            "aws_iam_role", "azurerm_role_definition", "google_project_iam_policy",
            "aws_db_instance", "google_compute_instance", "x",
        ]),
        sides in vec(any_json(), 5),
        plan in (any_json(), any_json()),
        actions in prop_oneof![any_json(), Just(json!(["update"]))],
    ) {
        let resource = json!({
            "address": address, "type": resource_type, "provider_name": "aws",
            "change": {
                "actions": actions, "before": sides[0], "after": sides[1],
                "before_sensitive": sides[2], "after_sensitive": sides[3],
                "after_unknown": sides[4],
            },
        });
        let document = json!({
            "resource_changes": [resource], "variables": plan.0,
            "configuration": {"provider_config": plan.1},
        });
        let plan = read(document.to_string().as_bytes());
        let changes = plan.changes(None);
        prop_assert_eq!(changes.len(), 1);
        check_whole(&changes[0]);
    }
}
