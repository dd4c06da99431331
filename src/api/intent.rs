//! An intent as callers send it.
//!
//! Everything that [`Intent`] serializes to can be parsed, with or without `deterministic_id`: stored
//! intents are read the same way.

#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::panic))]

use serde_json::Value;

use super::json::{self, Fields, ValidationError};
use super::problem::Problem;
use crate::decide::intent::{
    ChangeScope, ChangeSet, Context, Environment, Forecast, HallucinationSignals, Intent,
    IntentKind, IntentType, Operation, PermissionLevel, ResourceScope, ResourceType, RiskLevel,
};
use crate::id::IntentId;
use crate::number::{Magnitude, Probability, Usd};

#[derive(Debug, Clone, PartialEq)]
pub struct ParsedIntent {
    pub intent: Intent,
    /// `deterministic_id`, or the `Idempotency-Key`.
    pub id: Option<IntentId>,
}

/// Parses the body of an evaluation. The header `Idempotency-Key` is the same as the member
/// `deterministic_id`.
pub fn parse(bytes: &[u8], idempotency_key: Option<&str>) -> Result<ParsedIntent, Problem> {
    let mut parsed = intent(&json::read(bytes)?)?;
    let Some(text) = idempotency_key else {
        return Ok(parsed);
    };
    let key = IntentId::parse(text)
        .map_err(|error| Problem::invalid(format!("header `Idempotency-Key` {error}")))?;
    match &parsed.id {
        Some(id) if *id != key => {
            let message = format!("differs from the `Idempotency-Key` header, `{key}`");
            Err(ValidationError::new(message)
                .under("deterministic_id")
                .into())
        }
        _ => {
            parsed.id = Some(key);
            Ok(parsed)
        }
    }
}

/// Parses one intent. Without `intent_type`, the type follows from the fields that only it has.
pub fn intent(value: &Value) -> Result<ParsedIntent, Problem> {
    let mut fields = Fields::of(value)?;
    let intent_type = match fields.take("intent_type") {
        Some(value) => intent_type(value).map_err(|error| error.under("intent_type"))?,
        None => infer_intent_type(&fields)?,
    };
    Ok(intent_of_type(intent_type, fields)?)
}

fn intent_of_type(
    intent_type: IntentType,
    mut fields: Fields<'_>,
) -> Result<ParsedIntent, ValidationError> {
    let environment = fields.required("environment", environment);
    let requester = fields.required("requester", json::string);
    let operation = json::string_enum(Operation::ALL, Operation::as_str);
    let operation = fields.optional("operation", operation);
    let changed_fields = fields.optional("changed_fields", json::list(json::string));
    let change_set = fields.optional("change_set", change_set);
    let id = fields.optional("deterministic_id", json::string_as(IntentId::parse));
    let estimated_cost = fields.optional("estimated_cost", json::number(Usd::new));
    let policy_violations = fields.optional("policy_violations", json::list(json::string));
    let provenance = fields.optional("provenance", json::object);
    let configuration = fields.optional("configuration", json::object);
    let context = fields.optional("context", context);
    let ask = match intent_type {
        IntentType::ProvisionResource => provision_resource(&mut fields),
        IntentType::GrantAccess => grant_access(&mut fields),
        IntentType::DeployConfig => deploy_config(&mut fields),
    };
    fields.finish(|| {
        let intent = Intent {
            kind: ask?,
            environment: environment?,
            requester: requester?,
            operation,
            changed_fields: changed_fields.unwrap_or_default(),
            change_set,
            estimated_cost,
            policy_violations: policy_violations.unwrap_or_default(),
            provenance: provenance.unwrap_or_default(),
            configuration: configuration.unwrap_or_default(),
            context: context.unwrap_or_default(),
        };
        Some(ParsedIntent { intent, id })
    })
}

fn provision_resource(fields: &mut Fields<'_>) -> Option<IntentKind> {
    let resource_type = json::string_enum(ResourceType::ALL, ResourceType::as_str);
    let resource_type = fields.required("resource_type", resource_type);
    let region = fields.required("region", json::string);
    let size = fields.required("size", json::string);
    Some(IntentKind::ProvisionResource {
        resource_type: resource_type?,
        region: region?,
        size: size?,
    })
}

fn grant_access(fields: &mut Fields<'_>) -> Option<IntentKind> {
    let principal = fields.required("principal", json::string);
    let permission_level = json::string_enum(PermissionLevel::ALL, PermissionLevel::as_str);
    let permission_level = fields.required("permission_level", permission_level);
    let resource_scope = fields.required("resource_scope", json::string_as(ResourceScope::new));
    let justification = fields.optional("justification", json::string);
    Some(IntentKind::GrantAccess {
        principal: principal?,
        permission_level: permission_level?,
        resource_scope: resource_scope?,
        justification,
    })
}

fn deploy_config(fields: &mut Fields<'_>) -> Option<IntentKind> {
    let service_name = fields.required("service_name", json::string);
    let change_scope = json::string_enum(ChangeScope::ALL, ChangeScope::as_str);
    let change_scope = fields.required("change_scope", change_scope);
    let deployment_target = fields.required("deployment_target", environment);
    let risk_level_hint = fields.optional("risk_level_hint", json::number(Probability::new));
    Some(IntentKind::DeployConfig {
        service_name: service_name?,
        change_scope: change_scope?,
        deployment_target: deployment_target?,
        risk_level_hint,
    })
}

/// The fields that only this type has.
const fn own_fields(intent_type: IntentType) -> &'static [&'static str] {
    match intent_type {
        IntentType::ProvisionResource => &["resource_type", "region", "size"],
        IntentType::GrantAccess => &[
            "principal",
            "permission_level",
            "resource_scope",
            "justification",
        ],
        IntentType::DeployConfig => &[
            "service_name",
            "change_scope",
            "deployment_target",
            "risk_level_hint",
        ],
    }
}

fn infer_intent_type(fields: &Fields<'_>) -> Result<IntentType, ValidationError> {
    let has_some =
        |intent_type: IntentType| own_fields(intent_type).iter().any(|name| fields.has(name));
    let types: Vec<_> = IntentType::ALL
        .iter()
        .copied()
        .filter(|&intent_type| has_some(intent_type))
        .collect();
    let message = match types.as_slice() {
        [intent_type] => return Ok(*intent_type),
        [] => "is required: no field identifies the type",
        _ => "is required: the fields belong to more than one type",
    };
    Err(ValidationError::new(message).under("intent_type"))
}

fn intent_type(value: &Value) -> Result<IntentType, ValidationError> {
    json::string_enum(IntentType::ALL, IntentType::as_str)(value)
}

fn environment(value: &Value) -> Result<Environment, ValidationError> {
    json::string_enum(Environment::ALL, Environment::as_str)(value)
}

pub fn change_set(value: &Value) -> Result<ChangeSet, ValidationError> {
    let mut fields = Fields::of(value)?;
    let id = fields.required("id", json::string);
    let url = fields.optional("url", json::string);
    let revision = fields.optional("revision", json::string);
    let intents = fields.optional("intents", json::integer(0..=u32::MAX));
    let deletes = fields.optional("deletes", json::integer(0..=u32::MAX));
    fields.finish(|| {
        Some(ChangeSet {
            id: id?,
            url,
            revision,
            intents,
            deletes,
        })
    })
}

fn context(value: &Value) -> Result<Context, ValidationError> {
    let share = json::number(Probability::new);
    let magnitude = json::number(Magnitude::new);
    let mut fields = Fields::of(value)?;
    let context = Context {
        latency_p99: fields.optional("latency_p99", &magnitude),
        error_rate: fields.optional("error_rate", &share),
        throughput: fields.optional("throughput", &magnitude),
        cpu_util: fields.optional("cpu_util", &share),
        memory_util: fields.optional("memory_util", &share),
        opportunity_value: fields.optional("opportunity_value", &share),
        forecasts: fields
            .optional("forecasts", json::list(forecast))
            .unwrap_or_default(),
        hallucination: fields.optional("hallucination", hallucination),
        role: fields.optional("role", json::string),
        hour: fields.optional("hour", json::integer(0..=23)),
    };
    fields.finish(|| Some(context))
}

fn forecast(value: &Value) -> Result<Forecast, ValidationError> {
    let mut fields = Fields::of(value)?;
    let risk_level = fields.required(
        "risk_level",
        json::string_enum(RiskLevel::ALL, RiskLevel::as_str),
    );
    let confidence = fields.required("confidence", json::number(Probability::new));
    fields.finish(|| {
        Some(Forecast {
            risk_level: risk_level?,
            confidence: confidence?,
        })
    })
}

fn hallucination(value: &Value) -> Result<HallucinationSignals, ValidationError> {
    let lift = |value: f64| {
        if (-1.0..=1.0).contains(&value) {
            Ok(value)
        } else {
            Err("must be a number from -1 to 1")
        }
    };
    let mut fields = Fields::of(value)?;
    let entropy = fields.required("entropy", json::number(Magnitude::new));
    let evidence_lift = fields.required("evidence_lift", json::number(lift));
    let contradiction = fields.required("contradiction", json::number(Probability::new));
    fields.finish(|| {
        Some(HallucinationSignals {
            entropy: entropy?,
            evidence_lift: evidence_lift?,
            contradiction: contradiction?,
        })
    })
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::option::of;
    use proptest::prelude::*;
    use proptest::sample::select;
    use serde_json::{Map, json};

    use super::*;
    use crate::bounded::{BoundedString, BoundedVec};
    use crate::golden;

    fn grant() -> Value {
        json!({
            "intent_type": "grant_access", "environment": "dev", "requester": "ci",
            "principal": "alice", "permission_level": "read", "resource_scope": "/db",
        })
    }

    fn provision() -> Value {
        json!({
            "environment": "prod", "requester": "ci",
            "resource_type": "database", "region": "eastus", "size": "Standard_D2s_v3",
        })
    }

    fn deploy() -> Value {
        json!({
            "environment": "prod", "requester": "ci",
            "service_name": "api", "change_scope": "canary", "deployment_target": "staging",
        })
    }

    /// The request with some members set; null takes one away.
    fn with(mut request: Value, members: Value) -> Value {
        let members = members.as_object().unwrap().clone();
        request.as_object_mut().unwrap().extend(members);
        request
    }

    #[test]
    fn requests_of_upstream_are_read() {
        let bodies = [
            json!({
                "intent_type": "provision_resource", "environment": "prod", "requester": "alice",
                "estimated_cost": null, "policy_violations": [], "provenance": {},
                "resource_type": "vm", "region": "eastus", "size": "Standard_D2s_v3",
                "configuration": {},
            }),
            json!({
                "environment": "dev", "requester": "bob", "estimated_cost": 12.5,
                "principal": "bob@example.com", "permission_level": "admin",
                "resource_scope": "/subscriptions/1", "justification": null,
            }),
            json!({
                "intent_type": "deploy_config", "environment": "staging", "requester": "carol",
                "service_name": "payments", "change_scope": "global", "deployment_target": "prod",
                "risk_level_hint": 0.3, "configuration": {"replicas": 3},
                "policy_violations": ["region not allowed"], "provenance": {"source": "ci"},
            }),
        ];
        let types = bodies.map(|body| intent(&body).unwrap().intent.intent_type());
        assert_eq!(types.as_slice(), IntentType::ALL);
    }

    #[test]
    fn null_is_absent_whatever_the_name() {
        let nulls = json!({"intent_type": null, "region": null, "context": {"hour": null}});
        assert_eq!(intent(&with(grant(), nulls)), intent(&grant()));
    }

    #[test]
    fn the_idempotency_key_is_the_deterministic_id() {
        let bare = grant().to_string().into_bytes();
        let named = with(grant(), json!({"deterministic_id": "a"}))
            .to_string()
            .into_bytes();
        let id = |bytes: &[u8], key| parse(bytes, key).map(|parsed| parsed.id);
        let a = IntentId::parse("a").ok();
        assert_eq!(id(&bare, None), Ok(None));
        for (bytes, key) in [(&bare, Some("a")), (&named, None), (&named, Some("a"))] {
            assert_eq!(id(bytes, key), Ok(a.clone()));
        }
        let problem = id(&named, Some("b")).unwrap_err();
        assert_eq!(problem.errors[0].pointer, "/deterministic_id");
        assert_eq!(problem.status(), 422);
        assert_eq!(id(&bare, Some("")).unwrap_err().status(), 422);
    }

    #[test]
    fn every_error_of_an_intent_is_reported() {
        let bodies = [
            json!([]),
            json!({}),
            json!({"environment": "dev", "requester": "ci"}),
            with(provision(), json!({"intent_type": "provision"})),
            with(provision(), json!({"intent_type": "grant_acess"})),
            with(provision(), json!({"principal": "alice"})),
            // Only the errors of the type that is given or inferred.
            json!({"intent_type": "provision_resource"}),
            json!({"intent_type": "grant_access"}),
            json!({"intent_type": "deploy_config"}),
            json!({"region": "eastus"}),
            with(grant(), json!({"region": "eastus"})),
            // Common fields.
            with(grant(), json!({"environment": null, "enviroment": "dev"})),
            with(grant(), json!({"environment": "production"})),
            with(grant(), json!({"environment": "Prod"})),
            with(grant(), json!({"requester": ""})),
            with(grant(), json!({"requester": "x".repeat(257)})),
            with(grant(), json!({"operation": "destroy"})),
            with(grant(), json!({"changed_fields": "tags"})),
            with(grant(), json!({"changed_fields": vec!["tags"; 65]})),
            with(
                grant(),
                json!({"changed_fields": ["tags", 1, "x".repeat(129)]}),
            ),
            with(grant(), json!({"change_set": "pr-1"})),
            with(grant(), json!({"change_set": {}})),
            with(
                grant(),
                json!({"change_set": {"id": "x".repeat(65), "rev": "1", "intents": -1}}),
            ),
            with(grant(), json!({"deterministic_id": ""})),
            with(grant(), json!({"deterministic_id": "x".repeat(65)})),
            with(grant(), json!({"deterministic_id": 7})),
            with(grant(), json!({"estimated_cost": -1})),
            with(grant(), json!({"estimated_cost": "12"})),
            with(grant(), json!({"policy_violations": vec!["v"; 65]})),
            with(grant(), json!({"policy_violations": [{}]})),
            with(grant(), json!({"provenance": [], "configuration": 1})),
            with(grant(), json!({"x".repeat(70): 1})),
            // The context.
            with(grant(), json!({"context": 1})),
            with(
                grant(),
                json!({"context": {"latency_p99": -1, "error_rate": 1.1, "hour": 24}}),
            ),
            with(
                grant(),
                json!({"context": {"hour": 1.5, "cpu": 0.5, "role": 1}}),
            ),
            with(
                grant(),
                json!({"context": {"forecasts": [{"risk_level": "big", "certainty": 1}]}}),
            ),
            with(
                grant(),
                json!({"context": {"hallucination": {"evidence_lift": -1.1, "contradiction": 2}}}),
            ),
            // Fields of one type.
            with(
                provision(),
                json!({"resource_type": "databse", "region": "", "size": 2}),
            ),
            with(
                grant(),
                json!({"permission_level": "owner", "resource_scope": "db"}),
            ),
            with(grant(), json!({"justification": 1, "principal": ""})),
            with(
                deploy(),
                json!({"service_name": "ab", "change_scope": "all"}),
            ),
            with(
                deploy(),
                json!({"deployment_target": "live", "risk_level_hint": 1.01}),
            ),
        ];
        let problems = bodies.map(|body| {
            let problem = intent(&body).unwrap_err();
            let document = serde_json::to_value(problem.document("r-1")).unwrap();
            json!({"body": body, "detail": document["detail"], "errors": document["errors"]})
        });
        let text = serde_json::to_string_pretty(&problems.as_slice()).unwrap() + "\n";
        golden::check("api_intent_problems.json", &text);
    }

    #[test]
    fn the_fields_of_each_type_are_the_ones_it_reads() {
        for &kind in IntentType::ALL {
            let members = own_fields(kind)
                .iter()
                .map(|&name| (name.to_owned(), json!({})));
            let body = Value::from(members.collect::<Map<_, _>>());
            let errors = intent(&body).unwrap_err().errors;
            let unknown = errors
                .iter()
                .find(|error| error.message.starts_with("unknown"));
            assert_eq!(unknown, None);
        }
    }

    fn bounded_string<const MIN: usize, const MAX: usize>()
    -> impl Strategy<Value = BoundedString<MIN, MAX>> {
        vec(any::<char>(), MIN..=MAX.min(MIN + 12))
            .prop_map(|text| BoundedString::new(text.into_iter().collect::<String>()).unwrap())
    }

    fn bounded_vec<T: std::fmt::Debug, const MAX: usize>(
        item: impl Strategy<Value = T>,
    ) -> impl Strategy<Value = BoundedVec<T, MAX>> {
        vec(item, 0..4).prop_map(|items| BoundedVec::new(items).unwrap())
    }

    fn one_of<T: Copy + std::fmt::Debug>(all: &'static [T]) -> impl Strategy<Value = T> {
        select(all)
    }

    fn share() -> impl Strategy<Value = Probability> {
        (0.0..=1.0).prop_map(|share| Probability::new(share).unwrap())
    }

    fn magnitude() -> impl Strategy<Value = Magnitude> {
        prop_oneof![0.0..1e3, (0_u32..9).prop_map(f64::from)]
            .prop_map(|number| Magnitude::new(number).unwrap())
    }

    fn json_object() -> impl Strategy<Value = Map<String, Value>> {
        let limit = json::NUMBER_MAX as i64;
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            (-limit..=limit).prop_map(Value::from),
            (-1e6..1e6)
                .prop_filter("whole ones are integers", |x: &f64| x.fract() != 0.0)
                .prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        let value = leaf.prop_recursive(4, 16, 3, |inner| {
            prop_oneof![
                vec(inner.clone(), 0..3).prop_map(Value::from),
                vec((any::<String>(), inner), 0..3)
                    .prop_map(|members| Value::from(members.into_iter().collect::<Map<_, _>>())),
            ]
        });
        vec((any::<String>(), value), 0..3).prop_map(|members| members.into_iter().collect())
    }

    fn ask() -> impl Strategy<Value = IntentKind> {
        prop_oneof![
            (
                one_of(ResourceType::ALL),
                bounded_string(),
                bounded_string()
            )
                .prop_map(|(resource_type, region, size)| {
                    IntentKind::ProvisionResource {
                        resource_type,
                        region,
                        size,
                    }
                }),
            (
                bounded_string(),
                one_of(PermissionLevel::ALL),
                "/\\PC{0,12}",
                of(bounded_string())
            )
                .prop_map(|(principal, permission_level, scope, justification)| {
                    IntentKind::GrantAccess {
                        principal,
                        permission_level,
                        resource_scope: ResourceScope::new(scope).unwrap(),
                        justification,
                    }
                }),
            (
                bounded_string(),
                one_of(ChangeScope::ALL),
                one_of(Environment::ALL),
                of(share())
            )
                .prop_map(
                    |(service_name, change_scope, deployment_target, risk_level_hint)| {
                        IntentKind::DeployConfig {
                            service_name,
                            change_scope,
                            deployment_target,
                            risk_level_hint,
                        }
                    }
                ),
        ]
    }

    fn a_context() -> impl Strategy<Value = Context> {
        let forecast =
            (one_of(RiskLevel::ALL), share()).prop_map(|(risk_level, confidence)| Forecast {
                risk_level,
                confidence,
            });
        let hallucination = (magnitude(), -1.0..=1.0, share()).prop_map(
            |(entropy, evidence_lift, contradiction)| HallucinationSignals {
                entropy,
                evidence_lift,
                contradiction,
            },
        );
        let measured = (
            of(magnitude()),
            of(share()),
            of(magnitude()),
            of(share()),
            of(share()),
        );
        let reported = (
            of(share()),
            bounded_vec(forecast),
            of(hallucination),
            of(bounded_string()),
            of(0_u8..24),
        );
        (measured, reported).prop_map(|(measured, reported)| {
            let (latency_p99, error_rate, throughput, cpu_util, memory_util) = measured;
            let (opportunity_value, forecasts, hallucination, role, hour) = reported;
            Context {
                latency_p99,
                error_rate,
                throughput,
                cpu_util,
                memory_util,
                opportunity_value,
                forecasts,
                hallucination,
                role,
                hour,
            }
        })
    }

    fn a_change_set() -> impl Strategy<Value = ChangeSet> {
        (
            bounded_string(),
            of(bounded_string()),
            of(bounded_string()),
            any::<Option<u32>>(),
            any::<Option<u32>>(),
        )
            .prop_map(|(id, url, revision, intents, deletes)| ChangeSet {
                id,
                url,
                revision,
                intents,
                deletes,
            })
    }

    fn an_intent() -> impl Strategy<Value = Intent> {
        let who = (
            ask(),
            one_of(Environment::ALL),
            bounded_string(),
            of(one_of(Operation::ALL)),
        );
        let what = (
            bounded_vec(bounded_string()),
            of(a_change_set()),
            of(0.0..1e9),
            bounded_vec(bounded_string()),
        );
        (who, what, json_object(), json_object(), a_context()).prop_map(
            |(who, what, provenance, configuration, context)| {
                let (kind, environment, requester, operation) = who;
                let (changed_fields, change_set, cost, policy_violations) = what;
                Intent {
                    kind,
                    environment,
                    requester,
                    operation,
                    changed_fields,
                    change_set,
                    estimated_cost: cost.map(|cost| Usd::new(cost).unwrap()),
                    policy_violations,
                    provenance,
                    configuration,
                    context,
                }
            },
        )
    }

    proptest! {
        /// Stored intents are canonical JSON, and are read back with this reader.
        #[test]
        fn what_an_intent_serializes_to_is_that_intent(
            intent in an_intent(),
            id in of("[a-z]{1,64}"),
        ) {
            let id = id.map(|id| IntentId::parse(&id).unwrap());
            let mut members = serde_json::to_value(&intent).unwrap();
            if let Some(id) = &id {
                members["deterministic_id"] = Value::from(id.as_str());
            }
            let bytes = serde_json_canonicalizer::to_vec(&members).unwrap();
            prop_assert_eq!(parse(&bytes, None), Ok(ParsedIntent { intent: intent.clone(), id }));
            let bare = Intent { change_set: None, ..intent };
            let parsed = parse(&bare.canonical(), None).unwrap();
            prop_assert_eq!(parsed, ParsedIntent { intent: bare, id: None });
        }
    }
}
