//! The audit log as it is read: entries of every type, in the order of the log.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde_json::Value;

use super::parameters::Parameters;
use super::problem::Problem;
use crate::decide::Action;
use crate::id::{DecisionId, IntentId, KeyId};
use crate::query::audit::{Filter, StoredEntry};
use crate::tenant::facts;
use crate::time::Timestamp;

/// An entry in a list. Texts are in its opening; they are null if it was erased.
#[derive(Debug, Serialize)]
pub struct EntrySummary {
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

impl From<&StoredEntry> for EntrySummary {
    fn from(entry: &StoredEntry) -> Self {
        let parsed = &entry.parsed;
        let text = |part| entry.text(part).map(str::to_owned);
        let counterfactual = entry
            .opening
            .as_ref()
            .and_then(|opening| facts::COUNTERFACTUAL.value(opening).ok()?);
        Self {
            decision_id: parsed.decision_id,
            index: parsed.index,
            kind: parsed.kind.clone(),
            deterministic_id: text(facts::DETERMINISTIC_ID),
            timestamp: parsed.at,
            risk_score: facts::RISK_SCORE.json(parsed),
            action: facts::ACTION.json(parsed),
            justification: text(facts::JUSTIFICATION),
            memory_success_rate: facts::MEMORY_SUCCESS_RATE.json(parsed),
            memory_weight: facts::MEMORY_WEIGHT.json(parsed),
            counterfactual,
            trace_id: facts::TRACE_ID.json(parsed),
            caller: parsed.caller,
            signing_key: parsed.kid.to_string(),
            leaf_hash: STANDARD.encode(crate::audit::leaf_hash(&entry.bytes)),
            signature: STANDARD.encode(parsed.signature),
        }
    }
}

/// An entry with all that is needed to verify its signature, its leaf and its commitments.
#[derive(Debug, Serialize)]
pub struct EntryDetail {
    #[serde(flatten)]
    summary: EntrySummary,
    /// The exact bytes, which are signed and hashed.
    entry: String,
    /// Null if it was erased or the entry has no private part.
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

impl From<&StoredEntry> for EntryDetail {
    fn from(entry: &StoredEntry) -> Self {
        let opening = entry.opening.as_ref().map(|opening| {
            let part = |(name, _): (&str, _)| PartView {
                name: name.to_owned(),
                value: String::from_utf8_lossy(opening.part(name).unwrap_or_default()).into_owned(),
            };
            OpeningView {
                seed: STANDARD.encode(opening.seed()),
                parts: opening.commitments().map(part).collect(),
            }
        });
        Self {
            summary: entry.into(),
            entry: String::from_utf8_lossy(&entry.bytes).into_owned(),
            opening,
        }
    }
}

impl Filter {
    pub fn read(parameters: &mut Parameters) -> Result<Self, Problem> {
        Ok(Self {
            kind: parameters.string("type").map(str::to_owned),
            action: parameters.string_enum("action", Action::ALL, Action::as_str)?,
            requester: parameters.string("requester").map(str::to_owned),
            deterministic_id: parameters.string_as("deterministic_id", IntentId::parse)?,
            from: parameters.timestamp("from")?,
            to: parameters.timestamp("to")?,
        })
    }
}
