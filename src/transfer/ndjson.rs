//! A tenant as lines of JSON, one file a table. The fields are listed in `data/guides/export.md`,
//! which a test compares with what is written.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde_json::{Value, json};

use super::tenant::LogEntry;
use super::{ExportError, Sink, StoredTenant};
use crate::decide::conjugate;
use crate::hex;
use crate::id::{Pseudonym, Sequence, TenantId};
use crate::tenant::change_set::ChangeSetRow;
use crate::tenant::component::ComponentRow;
use crate::tenant::facts::{self, EntryType};
use crate::tenant::intents::IntentRow;
use crate::tenant::key::KeyRow;
use crate::tenant::learning::BetaRow;
use crate::tenant::lifecycle::AccountRow;
use crate::tenant::outcome::OutcomeRow;
use crate::tenant::restore::FormerLogRow;
use crate::tenant::schema::{self, RowKey, TableRow};
use crate::tenant::usage::{KeyUsageRow, UsageLogRow};

const AUDIT_LOG: &str = "decision_audit_log.ndjson";
const OPENINGS: &str = "openings.ndjson";

/// A file without rows is empty.
pub fn files() -> impl Iterator<Item = &'static str> {
    let tables = schema::EXPORTS.iter().filter_map(|(_, file)| *file);
    tables.chain([AUDIT_LOG, OPENINGS])
}

/// Calls `progress` with the number of entries done.
pub fn write(
    tenant: &StoredTenant<'_>,
    out: Sink<'_>,
    progress: &mut dyn FnMut(u64),
) -> Result<(), ExportError> {
    account(tenant, out)?;
    keys(tenant, out)?;
    let texts = entries(tenant, out, progress)?;
    learned(tenant, &texts, out)?;
    tenant.usage_logs(&mut |sequence, row| {
        Line::new(tenant.state.id)
            .field("sequence", sequence)
            .field("key_id", row.key)
            .field("tier", row.tier)
            .field("timestamp", row.at)
            .field("endpoint", &row.endpoint)
            .field("status", row.status)
            .field("error", &row.error)
            .field("processing_us", row.processing_us)
            .write_to_table::<UsageLogRow>(out)
    })
}

/// A JSON object with members in the order in which they were added.
struct Line(Vec<u8>);

impl Line {
    fn new(tenant: TenantId) -> Self {
        Self(Vec::new()).field("tenant_id", tenant)
    }

    fn field(mut self, name: &str, value: impl Serialize) -> Self {
        self.0.push(if self.0.is_empty() { b'{' } else { b',' });
        serde_json::to_writer(&mut self.0, name).expect("a string is JSON");
        self.0.push(b':');
        serde_json::to_writer(&mut self.0, &value).expect("a field is JSON");
        self
    }

    fn write(mut self, out: Sink<'_>, file: &'static str) -> Result<(), ExportError> {
        self.0.extend(b"}\n");
        Ok(out(file, &self.0)?)
    }

    fn write_to_table<R: TableRow>(self, out: Sink<'_>) -> Result<(), ExportError> {
        self.write(out, const { R::EXPORT.expect("the table has a file") })
    }
}

fn account(tenant: &StoredTenant<'_>, out: Sink<'_>) -> Result<(), ExportError> {
    let (row, head) = (tenant.account(), &tenant.head);
    Line::new(tenant.state.id)
        .field("name", &row.name)
        .field("created_at", row.created_at)
        .field("created_by", &row.created_by)
        .field("tier", row.tier)
        .field("retention_days", row.retention_days)
        .field("log", &row.log)
        .field("log_base", row.log_base)
        .field("last_sequence", head.sequence)
        .field("last_entry_at", head.at)
        .field("root", STANDARD.encode(head.root))
        .write_to_table::<AccountRow>(out)?;
    for (log_base, row) in tenant.state.former_logs() {
        Line::new(tenant.state.id)
            .field("log", &row.log)
            .field("log_base", log_base)
            .field("size", row.size)
            .field("root", STANDARD.encode(row.root))
            .write_to_table::<FormerLogRow>(out)?;
    }
    Ok(())
}

fn keys(tenant: &StoredTenant<'_>, out: Sink<'_>) -> Result<(), ExportError> {
    let (keys, usage) = (tenant.state.keys(), tenant.state.usage());
    for (hash, row) in keys.iter() {
        Line::new(tenant.state.id)
            .field("key_id", row.key_id)
            .field("key_sha256", hex::encode(&hash.to_bytes()))
            .field("tier", row.tier)
            .field("role", row.role)
            .field("scopes", row.scopes)
            .field("created_at", row.created_at)
            .field("last_used_at", usage.last_used_at(row.key_id))
            .field("is_active", row.is_active)
            .field("expires_at", row.expires_at)
            .field("name", &row.name)
            .field("owner", &row.owner)
            .field("claims", keys.claims(row.key_id))
            .write_to_table::<KeyRow>(out)?;
    }
    for (key, row) in sorted(usage.iter()) {
        Line::new(tenant.state.id)
            .field("key_id", key)
            .field("month_ends_at", row.month.end())
            .field("used", row.used)
            .field("last_used_at", row.last_used_at)
            .write_to_table::<KeyUsageRow>(out)?;
    }
    Ok(())
}

/// Texts from openings, of which rows hold only pseudonyms.
#[derive(Default)]
struct Texts {
    /// The deterministic ids of intents that have an outcome.
    ids: BTreeMap<Sequence, String>,
    /// Kind and name of each.
    components: BTreeMap<Pseudonym, (&'static str, String)>,
    /// By id and revision.
    change_sets: BTreeMap<Pseudonym, Value>,
}

impl Texts {
    fn read_component(&mut self, component: Pseudonym, intent: &Value) {
        let text = [
            ("resource_type", "resource_type"),
            ("principal", "principal"),
            ("service_name", "service"),
        ]
        .into_iter()
        .find_map(|(member, kind)| Some((kind, intent.get(member)?.as_str()?.to_owned())));
        self.components.extend(text.map(|text| (component, text)));
    }

    fn read_change_set(&mut self, entry: &LogEntry, set: Option<Value>) {
        self.change_sets
            .extend(facts::CHANGE_SET.read(&entry.parsed).zip(set));
    }
}

fn entries(
    tenant: &StoredTenant<'_>,
    out: Sink<'_>,
    progress: &mut dyn FnMut(u64),
) -> Result<Texts, ExportError> {
    let mut texts = Texts::default();
    let (mut intents, mut outcomes, mut done) = (0, 0, 0);
    tenant.entries(&mut |entry| {
        write_entry(entry, out)?;
        if let Some(row) = tenant.state.intents().get(entry.sequence) {
            intents += 1;
            if let Some(intent) = entry.value(facts::INTENT)? {
                texts.read_component(row.component, &intent);
                texts.read_change_set(entry, intent.get("change_set").cloned());
            }
            if row.outcome.is_some() {
                let id = entry.text(facts::DETERMINISTIC_ID);
                let id = id.map(|id| (entry.sequence, id.to_owned()));
                texts.ids.extend(id);
            }
            intent(entry, row, out)?;
        }
        if EntryType::of(&entry.parsed) == Some(EntryType::Move) {
            texts.read_change_set(entry, entry.value(facts::MOVED_TO)?);
        }
        if let Some(row) = tenant.state.outcomes().get(entry.sequence) {
            outcomes += 1;
            outcome(entry, row, texts.ids.get(&row.intent), out)?;
        }
        done += 1;
        progress(done);
        Ok(())
    })?;
    if intents < tenant.state.intents().count() || outcomes < tenant.state.outcomes().count() {
        let why = "there are intents or outcomes without an entry";
        return Err(tenant.damaged("head", tenant.head.sequence, why));
    }
    Ok(texts)
}

fn write_entry(entry: &LogEntry, out: Sink<'_>) -> Result<(), ExportError> {
    let parsed = &entry.parsed;
    Line::new(parsed.tenant)
        .field("sequence", entry.sequence)
        .field("decision_id", parsed.decision_id)
        .field("index", parsed.index)
        .field("log", &parsed.log)
        .field("type", &parsed.kind)
        .field("timestamp", parsed.at)
        .field("caller", parsed.caller)
        .field("signing_key", parsed.kid.to_string())
        .field("signature", STANDARD.encode(parsed.signature))
        .field("leaf_hash", STANDARD.encode(entry.leaf))
        .field("deterministic_id", entry.text(facts::DETERMINISTIC_ID))
        .field("risk_score", facts::RISK_SCORE.json(parsed))
        .field("action", facts::ACTION.json(parsed))
        .field("justification", entry.text(facts::JUSTIFICATION))
        .field(
            "memory_success_rate",
            facts::MEMORY_SUCCESS_RATE.json(parsed),
        )
        .field("memory_weight", facts::MEMORY_WEIGHT.json(parsed))
        .field("counterfactual", entry.json(facts::COUNTERFACTUAL)?)
        .field("trace_id", facts::TRACE_ID.json(parsed))
        .field("opening", entry.opening_state)
        .field("entry", STANDARD.encode(&entry.bytes))
        .write(out, AUDIT_LOG)?;
    let Some(opening) = &entry.opening else {
        return Ok(());
    };
    let part = |(name, _)| {
        let bytes = opening.part(name).unwrap_or_default();
        json!({"name": name, "bytes": STANDARD.encode(bytes)})
    };
    Line::new(parsed.tenant)
        .field("sequence", entry.sequence)
        .field("decision_id", parsed.decision_id)
        .field("seed", STANDARD.encode(opening.seed()))
        .field("parts", opening.commitments().map(part).collect::<Vec<_>>())
        .write(out, OPENINGS)
}

fn intent(entry: &LogEntry, row: &IntentRow, out: Sink<'_>) -> Result<(), ExportError> {
    Line::new(entry.parsed.tenant)
        .field("sequence", entry.sequence)
        .field("decision_id", entry.parsed.decision_id)
        .field("deterministic_id", entry.text(facts::DETERMINISTIC_ID))
        .field("intent_type", row.intent_type)
        .field("category", row.category)
        .field("action", row.action)
        .field("environment", row.environment)
        .field("deployment_target", row.target)
        .field("operation", row.operation)
        .field("requester", entry.text(facts::REQUESTER))
        .field("risk_score", row.risk)
        .field("blend", row.blend)
        .field("created_at", row.created_at)
        .field("expires_at", row.expires_at)
        .field("caller", row.caller)
        .field("change_set", row.change_set)
        .field("verdict", row.review.map(|review| review.verdict))
        .field("verdict_at", row.review.map(|review| review.at))
        .field("outcome_sequence", row.outcome.map(|mark| mark.sequence))
        .field("payload", entry.json(facts::REQUEST)?)
        .field("intent", entry.json(facts::INTENT)?)
        .field("evidence", entry.json(facts::EVIDENCE)?)
        .field("decision", entry.json(facts::DECISION)?)
        .field("counterfactual", entry.json(facts::COUNTERFACTUAL)?)
        .field("justification", entry.text(facts::JUSTIFICATION))
        .field("opening", entry.opening_state)
        .field("id_name", row.id)
        .field("digest", row.digest)
        .field("component", row.component)
        .field("requester_name", row.requester)
        .field("memory", row.memory)
        .write_to_table::<IntentRow>(out)
}

fn outcome(
    entry: &LogEntry,
    row: &OutcomeRow,
    id: Option<&String>,
    out: Sink<'_>,
) -> Result<(), ExportError> {
    Line::new(entry.parsed.tenant)
        .field("sequence", entry.sequence)
        .field("decision_id", entry.parsed.decision_id)
        .field("intent_sequence", row.intent)
        .field("deterministic_id", id)
        .field("success", row.success)
        .field("learned", row.not_learned.is_none())
        .field("not_learned_because", row.not_learned)
        .field("recorded_by", entry.text(facts::RECORDED_BY))
        .field("notes", entry.text(facts::NOTES))
        .field("recorded_at", row.recorded_at)
        .field("reporter", row.reporter)
        .field("idempotency_key_name", row.idempotency_key)
        .field("opening", entry.opening_state)
        .write_to_table::<OutcomeRow>(out)
}

fn learned(tenant: &StoredTenant<'_>, texts: &Texts, out: Sink<'_>) -> Result<(), ExportError> {
    for (category, row) in tenant.state.learning().iter() {
        let posterior = conjugate(category, &row.counts, &tenant.state.rules().settings);
        Line::new(tenant.state.id)
            .field("category", category)
            .field("alpha", posterior.alpha)
            .field("beta", posterior.beta)
            .field("failures", row.counts.failures)
            .field("trials", row.counts.trials)
            .field("self_reported", row.counts.self_reported)
            .field("imported", row.counts.imported)
            .field("updated_at", row.updated_at)
            .write_to_table::<BetaRow>(out)?;
    }
    for (component, row) in sorted(tenant.state.components().iter()) {
        let text = texts.components.get(&component);
        Line::new(tenant.state.id)
            .field("component", component)
            .field("kind", text.map(|(kind, _)| kind))
            .field("name", text.map(|(_, name)| name))
            .field("smoothed_risk", row.smoothed.get())
            .field("last_sequence", row.last)
            .write_to_table::<ComponentRow>(out)?;
    }
    for (change_set, row) in sorted(tenant.state.change_sets().iter()) {
        let text = texts.change_sets.get(&change_set);
        let text = |member| text?.get(member)?.as_str();
        Line::new(tenant.state.id)
            .field("change_set", change_set)
            .field("id", text("id"))
            .field("revision", text("revision"))
            .field("url", text("url"))
            .field("id_name", row.id)
            .field("last_sequence", row.last)
            .field("items", row.items)
            .field("deletes", row.deletes)
            .field("tallies", row.tallies)
            .write_to_table::<ChangeSetRow>(out)?;
    }
    Ok(())
}

/// By key: hash maps have no order.
fn sorted<K: Ord, R>(rows: impl Iterator<Item = (K, R)>) -> BTreeMap<K, R> {
    rows.collect()
}
