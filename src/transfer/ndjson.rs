//! A tenant as lines of JSON, one file a table. The fields are listed in `data/guides/export.md`,
//! which a test compares with what is written.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::tenant::LogEntry;
use super::{ExportError, OpeningState, Out, StoredTenant};
use crate::decide::intent::{Environment, IntentType, Operation};
use crate::decide::{Action, Category, PerCategory, conjugate};
use crate::id::{DecisionId, KeyId, Pseudonym, Sequence, TenantId};
use crate::tenant::change_set::{ChangeSetRow, Tally};
use crate::tenant::component::ComponentRow;
use crate::tenant::intents::{IntentRow, Verdict};
use crate::tenant::key::{KeyRow, Role, Scopes};
use crate::tenant::learning::BetaRow;
use crate::tenant::lifecycle::AccountRow;
use crate::tenant::outcome::{NotLearned, OutcomeRow};
use crate::tenant::restore::FormerLogRow;
use crate::tenant::schema::{self, RowKey, TableRow};
use crate::tenant::usage::{KeyUsageRow, Tier, UsageLogRow};
use crate::time::Timestamp;

const AUDIT_LOG: &str = "decision_audit_log.ndjson";
const OPENINGS: &str = "openings.ndjson";

/// Every file; one that nothing belongs in is empty.
pub fn files() -> impl Iterator<Item = &'static str> {
    let tables = schema::EXPORTS.iter().filter_map(|(_, file)| *file);
    tables.chain([AUDIT_LOG, OPENINGS])
}

#[derive(Serialize)]
struct TenantLine<'a> {
    tenant_id: TenantId,
    name: &'a str,
    created_at: Timestamp,
    created_by: Option<&'a str>,
    tier: Tier,
    retention_days: u32,
    log: &'a str,
    log_base: Sequence,
    last_sequence: Sequence,
    last_entry_at: Timestamp,
    root: String,
}

#[derive(Serialize)]
struct KeyLine<'a> {
    tenant_id: TenantId,
    key_id: KeyId,
    key_sha256: String,
    tier: Tier,
    role: Option<Role>,
    scopes: Scopes,
    created_at: Timestamp,
    last_used_at: Option<Timestamp>,
    is_active: bool,
    expires_at: Option<Timestamp>,
    name: Option<&'a str>,
    owner: Option<&'a str>,
    claims: Option<&'a crate::tenant::claims::Claims>,
}

#[derive(Serialize)]
struct KeyUsageLine {
    tenant_id: TenantId,
    key_id: KeyId,
    month_ends_at: Timestamp,
    used: u64,
    last_used_at: Timestamp,
}

#[derive(Serialize)]
struct IntentLine<'a> {
    tenant_id: TenantId,
    sequence: Sequence,
    decision_id: DecisionId,
    deterministic_id: Option<&'a str>,
    intent_type: IntentType,
    category: Category,
    action: Action,
    environment: Environment,
    deployment_target: Option<Environment>,
    operation: Option<Operation>,
    requester: Option<&'a str>,
    risk_score: f64,
    blend: f64,
    created_at: Timestamp,
    expires_at: Option<Timestamp>,
    caller: KeyId,
    change_set: Option<Pseudonym>,
    verdict: Option<Verdict>,
    verdict_at: Option<Timestamp>,
    outcome_sequence: Option<Sequence>,
    payload: Option<Box<RawValue>>,
    intent: Option<Box<RawValue>>,
    evidence: Option<Box<RawValue>>,
    decision: Option<Box<RawValue>>,
    counterfactual: Option<Box<RawValue>>,
    justification: Option<&'a str>,
    opening: OpeningState,
    id_name: Pseudonym,
    digest: Pseudonym,
    component: Pseudonym,
    requester_name: Pseudonym,
    memory: Pseudonym,
}

#[derive(Serialize)]
struct OutcomeLine<'a> {
    tenant_id: TenantId,
    sequence: Sequence,
    decision_id: DecisionId,
    intent_sequence: Sequence,
    deterministic_id: Option<&'a str>,
    success: bool,
    learned: bool,
    not_learned_because: Option<NotLearned>,
    recorded_by: Option<&'a str>,
    notes: Option<&'a str>,
    recorded_at: Timestamp,
    reporter: KeyId,
    idempotency_key_name: Option<Pseudonym>,
    opening: OpeningState,
}

#[derive(Serialize)]
struct BetaLine {
    tenant_id: TenantId,
    category: Category,
    alpha: f64,
    beta: f64,
    failures: u64,
    trials: u64,
    self_reported: u64,
    imported: u64,
    updated_at: Timestamp,
}

#[derive(Serialize)]
struct ComponentLine<'a> {
    tenant_id: TenantId,
    component: Pseudonym,
    kind: Option<&'static str>,
    name: Option<&'a str>,
    smoothed_risk: f64,
    last_sequence: Sequence,
}

#[derive(Serialize)]
struct ChangeSetLine<'a> {
    tenant_id: TenantId,
    change_set: Pseudonym,
    id: Option<&'a str>,
    revision: Option<&'a str>,
    url: Option<&'a str>,
    id_name: Pseudonym,
    last_sequence: Sequence,
    items: u32,
    deletes: u32,
    tallies: PerCategory<Tally>,
}

#[derive(Serialize)]
struct UsageLine<'a> {
    tenant_id: TenantId,
    sequence: Sequence,
    key_id: KeyId,
    tier: Tier,
    timestamp: Timestamp,
    endpoint: &'a str,
    status: u16,
    error: Option<&'a str>,
    processing_us: u64,
}

#[derive(Serialize)]
struct FormerLogLine<'a> {
    tenant_id: TenantId,
    log: &'a str,
    log_base: Sequence,
    size: u64,
    root: String,
}

#[derive(Serialize)]
struct EntryLine<'a> {
    tenant_id: TenantId,
    sequence: Sequence,
    decision_id: DecisionId,
    index: u64,
    log: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
    timestamp: Timestamp,
    caller: Option<KeyId>,
    signing_key: String,
    signature: String,
    leaf_hash: String,
    deterministic_id: Option<&'a str>,
    risk_score: Option<&'a Value>,
    action: Option<&'a Value>,
    justification: Option<&'a str>,
    memory_success_rate: Option<&'a Value>,
    memory_weight: Option<&'a Value>,
    counterfactual: Option<Box<RawValue>>,
    trace_id: Option<&'a Value>,
    opening: OpeningState,
    entry: String,
}

#[derive(Serialize)]
struct OpeningLine<'a> {
    tenant_id: TenantId,
    sequence: Sequence,
    decision_id: DecisionId,
    seed: String,
    parts: Vec<PartLine<'a>>,
}

#[derive(Serialize)]
struct PartLine<'a> {
    name: &'a str,
    bytes: String,
}

/// Writes a whole tenant; `told` hears of every entry that is done.
pub fn write(
    tenant: &StoredTenant<'_>,
    out: Out<'_>,
    told: &mut dyn FnMut(u64),
) -> Result<(), ExportError> {
    account(tenant, out)?;
    keys(tenant, out)?;
    let texts = entries(tenant, out, told)?;
    learned(tenant, &texts, out)?;
    tenant.usage_logs(&mut |sequence, row| {
        row_line::<UsageLogRow>(
            out,
            &UsageLine {
                tenant_id: tenant.state.id,
                sequence,
                key_id: row.key,
                tier: row.tier,
                timestamp: row.at,
                endpoint: &row.endpoint,
                status: row.status,
                error: row.error.as_deref(),
                processing_us: row.processing_us,
            },
        )
    })
}

/// A line of the table's file.
fn row_line<R: TableRow>(out: Out<'_>, row: &impl Serialize) -> Result<(), ExportError> {
    line(out, const { R::EXPORT.expect("the table has a file") }, row)
}

fn line(out: Out<'_>, file: &'static str, line: &impl Serialize) -> Result<(), ExportError> {
    let mut bytes = serde_json::to_vec(line).map_err(std::io::Error::from)?;
    bytes.push(b'\n');
    Ok(out(file, &bytes)?)
}

fn account(tenant: &StoredTenant<'_>, out: Out<'_>) -> Result<(), ExportError> {
    let (row, head) = (tenant.account_row(), &tenant.head);
    row_line::<AccountRow>(
        out,
        &TenantLine {
            tenant_id: tenant.state.id,
            name: &row.name,
            created_at: row.created_at,
            created_by: row.created_by.as_deref(),
            tier: row.tier,
            retention_days: row.retention_days,
            log: &row.log,
            log_base: row.log_base,
            last_sequence: head.sequence,
            last_entry_at: head.at,
            root: STANDARD.encode(head.root),
        },
    )?;
    for (log_base, row) in tenant.state.former_logs() {
        let former = FormerLogLine {
            tenant_id: tenant.state.id,
            log: &row.log,
            log_base,
            size: row.size,
            root: STANDARD.encode(row.root),
        };
        row_line::<FormerLogRow>(out, &former)?;
    }
    Ok(())
}

fn keys(tenant: &StoredTenant<'_>, out: Out<'_>) -> Result<(), ExportError> {
    for (hash, row) in tenant.state.keys().iter() {
        let usage = tenant.state.usage().get(row.key_id);
        let key = KeyLine {
            tenant_id: tenant.state.id,
            key_id: row.key_id,
            key_sha256: hex(&hash.to_bytes()),
            tier: row.tier,
            role: row.role,
            scopes: row.scopes,
            created_at: row.created_at,
            last_used_at: usage.map(|usage| usage.last_used_at),
            is_active: row.is_active,
            expires_at: row.expires_at,
            name: row.name.as_deref(),
            owner: row.owner.as_deref(),
            claims: tenant.state.keys().claims(row.key_id),
        };
        row_line::<KeyRow>(out, &key)?;
    }
    for (key_id, row) in sorted(tenant.state.usage().iter()) {
        let usage = KeyUsageLine {
            tenant_id: tenant.state.id,
            key_id,
            month_ends_at: row.month.end(),
            used: row.used,
            last_used_at: row.last_used_at,
        };
        row_line::<KeyUsageRow>(out, &usage)?;
    }
    Ok(())
}

/// Texts that rows hold only the names of, as openings say them.
#[derive(Default)]
struct Texts {
    /// The deterministic ids of intents that have an outcome.
    ids: BTreeMap<Sequence, String>,
    /// Kind and name.
    components: BTreeMap<Pseudonym, (&'static str, String)>,
    /// By the name of id and revision.
    change_sets: BTreeMap<String, Value>,
}

/// Entries, openings, and the rows of the intents and outcomes that they tell of.
fn entries(
    tenant: &StoredTenant<'_>,
    out: Out<'_>,
    told: &mut dyn FnMut(u64),
) -> Result<Texts, ExportError> {
    let mut texts = Texts::default();
    let (mut intents, mut outcomes, mut done) = (0, 0, 0);
    tenant.entries(&mut |step| {
        entry(tenant, step, out)?;
        let json = |name| json(tenant, step, name);
        if let Some(row) = tenant.state.intents().get(step.sequence) {
            intents += 1;
            if let Some(intent) = value(tenant, step, "intent")? {
                texts.read_intent(row.component, &intent);
                texts.read_change_set(step, intent.get("change_set"));
            }
            let deterministic_id = step.text("deterministic_id");
            if row.outcome.is_some()
                && let Some(id) = deterministic_id
            {
                texts.ids.insert(step.sequence, id.to_owned());
            }
            let intent = IntentLine {
                tenant_id: tenant.state.id,
                sequence: step.sequence,
                decision_id: step.entry.decision_id,
                deterministic_id,
                intent_type: row.intent_type,
                category: row.category,
                action: row.action,
                environment: row.environment,
                deployment_target: row.target,
                operation: row.operation,
                requester: step.text("requester"),
                risk_score: row.risk,
                blend: row.blend,
                created_at: row.created_at,
                expires_at: row.expires_at,
                caller: row.caller,
                change_set: row.change_set,
                verdict: row.review.map(|review| review.verdict),
                verdict_at: row.review.map(|review| review.at),
                outcome_sequence: row.outcome.map(|outcome| outcome.sequence),
                payload: json("request")?,
                intent: json("intent")?,
                evidence: json("evidence")?,
                decision: json("decision")?,
                counterfactual: json("counterfactual")?,
                justification: step.text("justification"),
                opening: step.opened,
                id_name: row.id,
                digest: row.digest,
                component: row.component,
                requester_name: row.requester,
                memory: row.memory,
            };
            row_line::<IntentRow>(out, &intent)?;
        }
        if step.entry.kind == "move" {
            let set = value(tenant, step, "change_set")?;
            texts.read_change_set(step, set.as_ref());
        }
        if let Some(row) = tenant.state.outcomes().get(step.sequence) {
            outcomes += 1;
            let outcome = OutcomeLine {
                tenant_id: tenant.state.id,
                sequence: step.sequence,
                decision_id: step.entry.decision_id,
                intent_sequence: row.intent,
                deterministic_id: texts.ids.get(&row.intent).map(String::as_str),
                success: row.success,
                learned: row.not_learned.is_none(),
                not_learned_because: row.not_learned,
                recorded_by: step.text("recorded_by"),
                notes: step.text("notes"),
                recorded_at: row.recorded_at,
                reporter: row.reporter,
                idempotency_key_name: row.idempotency_key,
                opening: step.opened,
            };
            row_line::<OutcomeRow>(out, &outcome)?;
        }
        done += 1;
        told(done);
        Ok(())
    })?;
    if intents < tenant.state.intents().count() || outcomes < tenant.state.outcomes().count() {
        let why = "there are intents or outcomes without an entry";
        return Err(tenant.damaged("head", tenant.head.sequence, why));
    }
    Ok(texts)
}

impl Texts {
    /// The texts of the component that an intent is about.
    fn read_intent(&mut self, component: Pseudonym, intent: &Value) {
        let named = ["resource_type", "principal", "service_name"];
        let found = named.iter().find_map(|member| {
            let kind = if *member == "service_name" {
                "service"
            } else {
                *member
            };
            Some((kind, intent.get(*member)?.as_str()?.to_owned()))
        });
        self.components.extend(found.map(|text| (component, text)));
    }

    /// The texts of the change set that an entry names.
    fn read_change_set(&mut self, step: &LogEntry, set: Option<&Value>) {
        let name = step.entry.field("change_set").and_then(Value::as_str);
        if let (Some(name), Some(set)) = (name, set) {
            self.change_sets.insert(name.to_owned(), set.clone());
        }
    }
}

fn entry(tenant: &StoredTenant<'_>, step: &LogEntry, out: Out<'_>) -> Result<(), ExportError> {
    let entry = &step.entry;
    let field = |name| entry.field(name);
    let entry_line = EntryLine {
        tenant_id: tenant.state.id,
        sequence: step.sequence,
        decision_id: entry.decision_id,
        index: entry.index,
        log: &entry.log,
        kind: &entry.kind,
        timestamp: entry.at,
        caller: entry.caller,
        signing_key: entry.kid.to_string(),
        signature: STANDARD.encode(entry.signature),
        leaf_hash: STANDARD.encode(step.leaf),
        deterministic_id: step.text("deterministic_id"),
        risk_score: field("risk_score"),
        action: field("action"),
        justification: step.text("justification"),
        memory_success_rate: field("memory_success_rate"),
        memory_weight: field("memory_weight"),
        counterfactual: json(tenant, step, "counterfactual")?,
        trace_id: field("trace_id"),
        opening: step.opened,
        entry: STANDARD.encode(&step.bytes),
    };
    line(out, AUDIT_LOG, &entry_line)?;
    let Some(opening) = &step.opening else {
        return Ok(());
    };
    let part = |(name, _)| PartLine {
        name,
        bytes: STANDARD.encode(opening.part(name).unwrap_or_default()),
    };
    let opening_line = OpeningLine {
        tenant_id: tenant.state.id,
        sequence: step.sequence,
        decision_id: entry.decision_id,
        seed: STANDARD.encode(opening.seed()),
        parts: opening.commitments().map(part).collect(),
    };
    line(out, OPENINGS, &opening_line)
}

/// What a tenant learned, and what it learned about.
fn learned(tenant: &StoredTenant<'_>, texts: &Texts, out: Out<'_>) -> Result<(), ExportError> {
    let settings = &tenant.state.rules().settings;
    for (category, row) in tenant.state.learning().iter() {
        let posterior = conjugate(category, &row.counts, settings);
        let beta = BetaLine {
            tenant_id: tenant.state.id,
            category,
            alpha: posterior.alpha,
            beta: posterior.beta,
            failures: row.counts.failures,
            trials: row.counts.trials,
            self_reported: row.counts.self_reported,
            imported: row.counts.imported,
            updated_at: row.updated_at,
        };
        row_line::<BetaRow>(out, &beta)?;
    }
    for (component, row) in sorted(tenant.state.components().iter()) {
        let text = texts.components.get(&component);
        let component = ComponentLine {
            tenant_id: tenant.state.id,
            component,
            kind: text.map(|(kind, _)| *kind),
            name: text.map(|(_, name)| name.as_str()),
            smoothed_risk: row.smoothed.get(),
            last_sequence: row.last,
        };
        row_line::<ComponentRow>(out, &component)?;
    }
    for (change_set, row) in sorted(tenant.state.change_sets().iter()) {
        let text = texts.change_sets.get(&change_set.to_string());
        let text = |member| text?.get(member)?.as_str();
        let set = ChangeSetLine {
            tenant_id: tenant.state.id,
            change_set,
            id: text("id"),
            revision: text("revision"),
            url: text("url"),
            id_name: row.id,
            last_sequence: row.last,
            items: row.items,
            deletes: row.deletes,
            tallies: row.tallies,
        };
        row_line::<ChangeSetRow>(out, &set)?;
    }
    Ok(())
}

/// In the order of their keys: maps have none.
fn sorted<K: Ord, R>(rows: impl Iterator<Item = (K, R)>) -> BTreeMap<K, R> {
    rows.collect()
}

/// A part of the opening that is JSON, on one line and otherwise to the letter.
pub(super) fn json(
    tenant: &StoredTenant<'_>,
    step: &LogEntry,
    name: &'static str,
) -> Result<Option<Box<RawValue>>, ExportError> {
    let Some(part) = step.opening.as_ref().and_then(|opening| opening.part(name)) else {
        return Ok(None);
    };
    let bad = |why: &str| tenant.damaged("opening", step.sequence, &format!("`{name}` {why}"));
    let text = std::str::from_utf8(part).map_err(|_| bad("is not UTF-8"))?;
    let json = RawValue::from_string(one_line(text)).map_err(|_| bad("is not JSON"))?;
    Ok(Some(json))
}

/// A part of the opening that is JSON, to be looked into.
fn value(
    tenant: &StoredTenant<'_>,
    step: &LogEntry,
    name: &'static str,
) -> Result<Option<Value>, ExportError> {
    let bad = |_| tenant.damaged("opening", step.sequence, &format!("`{name}` is not JSON"));
    let part = step.opening.as_ref().and_then(|opening| opening.part(name));
    part.map(|part| serde_json::from_slice(part).map_err(bad))
        .transpose()
}

/// JSON without the white space between its tokens. Numbers keep their spelling and members their
/// order.
fn one_line(json: &str) -> String {
    let (mut inside, mut escaped) = (false, false);
    let keep = |c: &char| {
        if inside {
            (inside, escaped) = (escaped || *c != '"', !escaped && *c == '\\');
            return true;
        }
        inside = *c == '"';
        !matches!(c, ' ' | '\t' | '\n' | '\r')
    };
    json.chars().filter(keep).collect()
}

pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::one_line;

    #[test]
    fn white_space_goes_between_tokens_only() {
        let json = "{\n \"a\\\" b\" :\t[ 1.50 , \"\\\\\" , \"x  y\\n\" ]\r\n}";
        assert_eq!(one_line(json), "{\"a\\\" b\":[1.50,\"\\\\\",\"x  y\\n\"]}");
    }
}
