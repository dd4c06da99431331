//! The audit log as it is read: every type of entry, in the order of the log.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde_json::Value;

use super::parameters::Parameters;
use super::problem::Problem;
use crate::decide::Action;
use crate::id::{DecisionId, IntentId, KeyId};
use crate::query::audit::{Filter, Found};
use crate::time::Timestamp;

/// An entry as lists show it. Texts come from its opening; an erased one leaves nulls.
#[derive(Debug, Serialize)]
pub struct Item {
    decision_id: DecisionId,
    index: u64,
    #[serde(rename = "type")]
    kind: String,
    deterministic_id: Option<String>,
    timestamp: Timestamp,
    risk_score: Value,
    action: Value,
    justification: Option<String>,
    memory_success_rate: Value,
    memory_weight: Value,
    counterfactual: Option<Value>,
    trace_id: Value,
    caller: Option<KeyId>,
    signing_key: String,
    leaf_hash: String,
    signature: String,
}

impl Item {
    /// Of what was found.
    pub fn new(found: &Found) -> Self {
        let entry = &found.parsed;
        let field = |name| entry.field(name).cloned().unwrap_or(Value::Null);
        let counterfactual = found
            .opening
            .as_ref()
            .and_then(|opening| opening.part("counterfactual"));
        Self {
            decision_id: entry.decision_id,
            index: entry.index,
            kind: entry.kind.clone(),
            deterministic_id: found.text("deterministic_id"),
            timestamp: entry.at,
            risk_score: field("risk_score"),
            action: field("action"),
            justification: found.text("justification"),
            memory_success_rate: field("memory_success_rate"),
            memory_weight: field("memory_weight"),
            counterfactual: counterfactual.and_then(|bytes| serde_json::from_slice(bytes).ok()),
            trace_id: field("trace_id"),
            caller: entry.caller,
            signing_key: entry.kid.to_string(),
            leaf_hash: STANDARD.encode(crate::audit::leaf_hash(&found.entry)),
            signature: STANDARD.encode(entry.signature),
        }
    }
}

/// An entry with all there is to it: enough to check its signature, its leaf and its commitments.
#[derive(Debug, Serialize)]
pub struct Detail {
    #[serde(flatten)]
    item: Item,
    /// The exact bytes, which are signed and hashed.
    entry: String,
    /// What the commitments in it are over; null where it was erased, or there never was any.
    opening: Option<OpeningView>,
}

#[derive(Debug, Serialize)]
struct OpeningView {
    seed: String,
    parts: Vec<PartView>,
}

#[derive(Debug, Serialize)]
struct PartView {
    name: String,
    value: String,
}

impl Detail {
    /// Of what was found.
    pub fn new(found: &Found) -> Self {
        let opening = found.opening.as_ref().map(|opening| OpeningView {
            seed: STANDARD.encode(opening.seed()),
            parts: opening
                .commitments()
                .map(|(name, _)| PartView {
                    name: name.to_owned(),
                    value: found.text(name).unwrap_or_default(),
                })
                .collect(),
        });
        Self {
            item: Item::new(found),
            entry: String::from_utf8_lossy(&found.entry).into_owned(),
            opening,
        }
    }
}

/// Reads the query parameters of the list.
pub fn filter(parameters: &Parameters) -> Result<Filter, Problem> {
    let id = parameters.get("deterministic_id").map(IntentId::parse);
    let id = id.transpose();
    Ok(Filter {
        kind: parameters.get("type").map(str::to_owned),
        action: parameters.enum_value("action", Action::parse)?,
        requester: parameters.get("requester").map(str::to_owned),
        deterministic_id: id
            .map_err(|error| Problem::invalid(format!("`deterministic_id` {error}")))?,
        from: parameters.moment("from")?,
        to: parameters.moment("to")?,
    })
}
