//! A tenant as rows of upstream's data model, for a script that `psql` runs.
//!
//! The script creates upstream's tables where they are missing and fills them with `COPY` in the order of
//! their foreign keys, in one transaction. Sections are written side by side and concatenated at the end:
//! [`BEGIN`], each of [`SECTIONS`] between its `COPY` and [`END_OF_COPY`], [`COMMIT`].
//!
//! Differences of the data models:
//! - Rows without a number of their own (intents, outcomes, beta state) are numbered from 1 in order
//!   of tenant and sequence.
//! - Upstream's intent ids are unique over all tenants. The first tenant keeps an id; other tenants'
//!   intents with that id have their decision's id instead, in the audit log too.
//! - An erased intent has its decision's id, the payload `{"erased": true}` and the justification
//!   `(erased)`.
//! - PostgreSQL has no text with U+0000: it becomes U+FFFD. JSON keeps it, escaped.
//! - Entries that are not decisions have no row; usage logs, components and change sets no table.

use std::collections::{HashMap, HashSet};

use super::tenant::LogEntry;
use super::{ExportError, Sink, StoredTenant};
use crate::decide::conjugate;
use crate::hex;
use crate::id::Sequence;
use crate::tenant::facts::{self, EntryType};
use crate::tenant::schema::RowKey;
use crate::time::Timestamp;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

pub struct Section {
    pub name: &'static str,
    pub copy: &'static str,
}

macro_rules! sections {
    ($($constant:ident $name:literal ($columns:literal);)+) => {
        $(const $constant: &str = $name;)+

        /// Each table after those that it refers to.
        pub const SECTIONS: &[Section] = &[$(Section {
            name: $name,
            copy: concat!("COPY ", $name, " (", $columns, ") FROM stdin;\n"),
        }),+];
    };
}

sections! {
    TENANTS "tenants" ("id, name, created_at, created_by");
    API_KEYS "api_keys" ("key, tenant_id, tier, created_at, last_used_at, is_active");
    INTENTS "intents" ("id, deterministic_id, tenant_id, intent_type, payload, oss_payload, environment, created_at, evaluated_at, risk_score");
    OUTCOMES "intent_outcomes" ("id, intent_id, success, recorded_by, notes, recorded_at, idempotency_key");
    BETA_STATE "beta_state" ("id, tenant_id, category, alpha, beta, updated_at");
    AUDIT_LOG "decision_audit_log" ("id, tenant_id, deterministic_id, timestamp, risk_score, action, justification, memory_success_rate, memory_weight, counterfactual, trace_id, signature");
}

pub const END_OF_COPY: &str = "\\.\n\n";

pub const BEGIN: &str = include_str!("begin.sql");

/// Sets the sequences, so that upstream's next row gets the next number.
pub const COMMIT: &str = "\
DO $$
DECLARE name text;
BEGIN
  FOREACH name IN ARRAY ARRAY['intents', 'intent_outcomes', 'beta_state'] LOOP
    EXECUTE format('SELECT setval(pg_get_serial_sequence(%L, ''id''), coalesce(max(id), 1), max(id) IS NOT NULL) FROM %I', name, name);
  END LOOP;
END $$;
COMMIT;
";

#[derive(Default)]
pub struct Script {
    intents: u32,
    outcomes: u32,
    beta: u32,
    ids: HashSet<String>,
}

impl Script {
    /// Calls `progress` with the number of entries done.
    pub fn write(
        &mut self,
        tenant: &StoredTenant<'_>,
        out: Sink<'_>,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), ExportError> {
        let tenant_id = tenant.state.id.to_string();
        let account = tenant.account();
        Row::new()
            .text(&tenant_id)
            .text(&account.name)
            .moment(account.created_at)
            .option(account.created_by.as_deref(), Row::text)
            .end(out, TENANTS)?;
        for (hash, key) in tenant.state.keys().iter() {
            Row::new()
                .text(&hex::encode(&hash.to_bytes()))
                .text(&tenant_id)
                .text(key.tier.as_str())
                .moment(key.created_at)
                .option(tenant.state.usage().last_used_at(key.key_id), Row::moment)
                .boolean(key.is_active)
                .end(out, API_KEYS)?;
        }
        let settings = &tenant.state.rules().settings;
        for (category, row) in tenant.state.learning().iter() {
            let posterior = conjugate(category, &row.counts, settings);
            Row::new()
                .number(next(&mut self.beta, BETA_STATE)?)
                .text(&tenant_id)
                .text(category.as_str())
                .float(posterior.alpha)
                .float(posterior.beta)
                .moment(row.updated_at)
                .end(out, BETA_STATE)?;
        }
        self.entries(tenant, &tenant_id, out, progress)
    }

    fn entries(
        &mut self,
        tenant: &StoredTenant<'_>,
        tenant_id: &str,
        out: Sink<'_>,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), ExportError> {
        let mut numbers = HashMap::new();
        let (mut outcomes, mut done) = (0, 0);
        tenant.entries(&mut |entry| {
            if EntryType::of(&entry.parsed) == Some(EntryType::Decision) {
                let kept = tenant.state.intents().get(entry.sequence).is_some();
                let id = self.intent_id(entry, kept);
                if kept {
                    let number = next(&mut self.intents, INTENTS)?;
                    numbers.insert(entry.sequence, number);
                    intent(tenant, tenant_id, entry, number, &id, out)?;
                }
                decision(tenant, tenant_id, entry, &id, out)?;
            }
            if let Some(row) = tenant.state.outcomes().get(entry.sequence) {
                outcomes += 1;
                let number = next(&mut self.outcomes, OUTCOMES)?;
                let intent = numbers.get(&row.intent);
                let intent = *intent.ok_or_else(|| orphan(tenant, entry.sequence))?;
                let key = row.idempotency_key.map(|name| name.to_string());
                Row::new()
                    .number(number)
                    .number(intent)
                    .boolean(row.success)
                    .option(entry.text(facts::RECORDED_BY), Row::text)
                    .option(entry.text(facts::NOTES), Row::text)
                    .moment(row.recorded_at)
                    .option(key.as_deref(), Row::text)
                    .end(out, OUTCOMES)?;
            }
            done += 1;
            progress(done);
            Ok(())
        })?;
        if numbers.len() < tenant.state.intents().count()
            || outcomes < tenant.state.outcomes().count()
        {
            return Err(orphan(tenant, tenant.head.sequence));
        }
        Ok(())
    }

    /// The intent's id; its decision's if another intent has that id or it was erased. Unique among
    /// intents that are `kept`.
    fn intent_id(&mut self, entry: &LogEntry, kept: bool) -> String {
        let decision = entry.parsed.decision_id.to_string();
        let own = entry.text(facts::DETERMINISTIC_ID).map(printable);
        let spare = (1..).map(|n| match n {
            1 => decision.clone(),
            n => format!("{decision}-{n}"),
        });
        let mut ids = own.into_iter().chain(spare);
        let id = ids.find(|id| !kept || !self.ids.contains(id));
        let id = id.expect("there is always one more");
        if kept {
            self.ids.insert(id.clone());
        }
        id
    }
}

fn orphan(tenant: &StoredTenant<'_>, at: Sequence) -> ExportError {
    let why = "there is an intent or outcome without the entry it belongs to";
    tenant.damaged("outcome", at, why)
}

fn next(last: &mut u32, table: &'static str) -> Result<u32, ExportError> {
    let next = *last + 1;
    i32::try_from(next).map_err(|_| ExportError::TooMany(table))?;
    *last = next;
    Ok(next)
}

fn intent(
    tenant: &StoredTenant<'_>,
    tenant_id: &str,
    entry: &LogEntry,
    number: u32,
    id: &str,
    out: Sink<'_>,
) -> Result<(), ExportError> {
    let Some(row) = tenant.state.intents().get(entry.sequence) else {
        return Ok(());
    };
    let request = entry.json(facts::REQUEST)?;
    let canonical = entry.json(facts::INTENT)?;
    let erased = "{\"erased\": true}";
    let payload = request.as_ref().map_or(erased, |json| json.get());
    Row::new()
        .number(number)
        .text(id)
        .text(tenant_id)
        .text(row.intent_type.as_str())
        .text(payload)
        .option(canonical, |line, json| line.text(json.get()))
        .text(row.environment.as_str())
        .moment(row.created_at)
        .moment(row.created_at)
        .float(row.risk)
        .end(out, INTENTS)
}

fn decision(
    tenant: &StoredTenant<'_>,
    tenant_id: &str,
    entry: &LogEntry,
    id: &str,
    out: Sink<'_>,
) -> Result<(), ExportError> {
    let parsed = &entry.parsed;
    let absent = |what| tenant.damaged("entry", entry.sequence, what);
    let risk = facts::RISK_SCORE.read(parsed);
    let risk = risk.ok_or_else(|| absent("a decision without a risk"))?;
    let action = facts::ACTION.read(parsed);
    let action = action.ok_or_else(|| absent("a decision without an action"))?;
    let counterfactual = entry.json(facts::COUNTERFACTUAL)?;
    Row::new()
        .text(&parsed.decision_id.to_string())
        .text(tenant_id)
        .text(id)
        .moment(parsed.at)
        .float(risk)
        .text(action.as_str())
        .text(entry.text(facts::JUSTIFICATION).unwrap_or("(erased)"))
        .option(facts::MEMORY_SUCCESS_RATE.read(parsed), Row::float)
        .option(facts::MEMORY_WEIGHT.read(parsed), Row::float)
        .option(counterfactual, |line, json| line.text(json.get()))
        .option(facts::TRACE_ID.read(parsed), |line, id| line.text(&id))
        .text(&STANDARD.encode(parsed.signature))
        .end(out, AUDIT_LOG)
}

fn printable(text: &str) -> String {
    text.replace('\0', "\u{FFFD}")
}

/// One row in the text format of `COPY`: fields between tabs, `\N` for null.
pub(super) struct Row(String);

impl Row {
    pub(super) fn new() -> Self {
        Self(String::new())
    }

    fn field(mut self, field: &str) -> Self {
        if !self.0.is_empty() {
            self.0.push('\t');
        }
        self.0.push_str(field);
        self
    }

    /// Escapes what `COPY` interprets. The first field must not be empty, which [`Row::field`] takes for
    /// none: every table begins with an id.
    pub(super) fn text(self, text: &str) -> Self {
        let mut field = String::with_capacity(text.len());
        for c in text.chars() {
            match c {
                '\\' => field.push_str("\\\\"),
                '\n' => field.push_str("\\n"),
                '\r' => field.push_str("\\r"),
                '\t' => field.push_str("\\t"),
                '\u{8}' => field.push_str("\\b"),
                '\u{B}' => field.push_str("\\v"),
                '\u{C}' => field.push_str("\\f"),
                '\0' => field.push('\u{FFFD}'),
                c => field.push(c),
            }
        }
        self.field(&field)
    }

    fn number(self, number: u32) -> Self {
        self.field(&number.to_string())
    }

    /// The shortest text that is read back as the same number.
    fn float(self, number: f64) -> Self {
        match number {
            f64::INFINITY => self.field("Infinity"),
            f64::NEG_INFINITY => self.field("-Infinity"),
            number => self.field(&format!("{number:?}")),
        }
    }

    fn boolean(self, boolean: bool) -> Self {
        self.field(if boolean { "t" } else { "f" })
    }

    /// A `timestamp without time zone`, in UTC.
    fn moment(self, moment: Timestamp) -> Self {
        self.field(&moment.to_string().replace('T', " ").replace('Z', ""))
    }

    fn option<T>(self, value: Option<T>, put: impl FnOnce(Self, T) -> Self) -> Self {
        match value {
            Some(value) => put(self, value),
            None => self.field("\\N"),
        }
    }

    pub(super) fn end(mut self, out: Sink<'_>, section: &'static str) -> Result<(), ExportError> {
        self.0.push('\n');
        Ok(out(section, self.0.as_bytes())?)
    }
}
