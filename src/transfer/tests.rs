//! What is written, and what is refused, over a real store in a folder of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use serde_json::Value;
use tempfile::TempDir;

use super::sql::{Row, SECTIONS, Script};
use super::{ExportError, StoredTenant, ndjson};
use crate::audit::{Fact, Log, Signer};
use crate::bounded::BoundedString;
use crate::engine::{self, Engine};
use crate::id::{Sequence, TenantId};
use crate::stamp::Stamp;
use crate::store::{ENTRIES, Head, OPENINGS, Op, Owner, Record, Store, StoreConfig};
use crate::tenant::authorization::Caller;
use crate::tenant::key::{KeySpec, Role};
use crate::tenant::lifecycle::FoundTenant;
use crate::tenant::schema::{EXPORTS, TABLES};
use crate::tenant::usage::Tier;

const TENANT: TenantId = TenantId::from_bytes([7; 16]);

fn open(folder: &TempDir) -> Store {
    let mut config = StoreConfig::new(folder.path());
    config.segment_bytes = 1 << 20;
    Store::open(&config, TABLES).unwrap()
}

fn signer() -> Signer {
    Signer::from_seed(&[1; 32])
}

/// A store with one founded tenant.
fn founded(folder: &TempDir) -> Store {
    actix::System::new().block_on(async {
        let engine = Engine::new(open(folder), signer(), engine::Config::default()).unwrap();
        let _seat = engine.join_thread();
        let found = FoundTenant {
            name: BoundedString::new("test").unwrap(),
            tier: Tier::Enterprise,
            retention_days: None,
            created_by: None,
            keys: vec![KeySpec::with_role(Tier::Enterprise, Role::Ci)],
            service: "arf.invalid".into(),
            public_key: "key".into(),
        };
        engine
            .execute(TENANT, Caller::Node, found, 0)
            .await
            .unwrap();
        engine.close().unwrap();
    });
    open(folder)
}

/// Appends a record whose entry states nothing, with these rows, after `change` changed its entry
/// and its head.
fn append(store: &Store, rows: Vec<Op<'static>>, change: impl FnOnce(&mut Vec<u8>, &mut Head)) {
    let claim = store.reader().tenant(TENANT).unwrap().unwrap();
    let reader = store.reader();
    let tenant = StoredTenant::new(TENANT, claim, &reader).unwrap();
    let head = &tenant.head;
    let mut log = Log::resume(
        tenant.account().log.clone(),
        TENANT,
        head.log_base,
        head.sequence.get() + 1,
        head.range.clone(),
        Arc::new(signer()),
    )
    .unwrap();
    let stamp = Stamp::new(head.at, head.sequence.next(), None, [2; 32]);
    let (entry, opening) = log.append(Fact::new("note"), &stamp).unwrap();
    assert!(opening.is_none());
    let mut head = Head {
        sequence: stamp.sequence,
        root: log.root(),
        range: log.range().to_vec(),
        ..head.clone()
    };
    let mut entry = entry.into_bytes();
    change(&mut entry, &mut head);
    let record = Record::new(
        Owner::unclaimed(TENANT),
        stamp.sequence,
        rows,
        entry,
        None,
        head,
    );
    store.append(record, ()).wait().unwrap();
}

type Written = BTreeMap<&'static str, String>;

/// Both exports of the tenant.
fn exported(store: &Store) -> Result<(Written, Written), ExportError> {
    let reader = store.reader();
    let tenant = |_| {
        StoredTenant::new(
            TENANT,
            store.reader().tenant(TENANT).unwrap().unwrap(),
            &reader,
        )
    };
    let written = |write: &mut dyn FnMut(super::Sink<'_>) -> Result<(), ExportError>| {
        let mut written = Written::new();
        write(&mut |name, line| {
            let text = std::str::from_utf8(line).unwrap();
            written.entry(name).or_default().push_str(text);
            Ok(())
        })
        .map(|()| written)
    };
    let lines = written(&mut |out| ndjson::write(&tenant(())?, out, &mut |_| {}))?;
    let rows = written(&mut |out| Script::default().write(&tenant(())?, out, &mut |_| {}))?;
    Ok((lines, rows))
}

#[test]
fn the_name_secret_is_in_no_file() {
    let folder = TempDir::new().unwrap();
    let store = founded(&folder);
    let claim = store.reader().tenant(TENANT).unwrap().unwrap();
    let secret = StoredTenant::new(TENANT, claim, &store.reader())
        .unwrap()
        .account()
        .name_secret;
    let (lines, rows) = exported(&store).unwrap();
    let all = lines
        .into_values()
        .chain(rows.into_values())
        .collect::<String>();
    assert!(all.contains("\"name\":\"test\""));
    let forms = [
        crate::hex::encode(&secret),
        STANDARD.encode(secret),
        serde_json::to_string(&secret).unwrap(),
    ];
    for form in forms {
        assert!(!all.contains(&form[..form.len() - 4]), "{form}");
    }
}

#[test]
fn every_exported_table_is_in_the_script_or_the_guide_says_that_it_is_not() {
    let guide = concat!(env!("CARGO_MANIFEST_DIR"), "/data/guides/export.md");
    let guide = std::fs::read_to_string(guide).unwrap();
    let (_, left_out) = guide.split_once("have no row there, and").unwrap();
    let left_out = left_out.split('`').skip(1).step_by(2).map(str::to_owned);
    let sections = SECTIONS.iter().map(|section| section.name.to_owned());
    let listed: BTreeSet<String> = left_out.chain(sections).collect();
    let exported = EXPORTS.iter().filter(|(_, file)| file.is_some());
    let tables = exported.map(|(table, _)| table.name).chain([ENTRIES.name]);
    assert_eq!(listed, tables.map(str::to_owned).collect());
}

#[test]
fn an_erased_opening_is_null_and_says_so() {
    let folder = TempDir::new().unwrap();
    let store = founded(&folder);
    let genesis = |lines: &Written| -> Value {
        let log = &lines["decision_audit_log.ndjson"];
        serde_json::from_str(log.lines().next().unwrap()).unwrap()
    };
    let (lines, _) = exported(&store).unwrap();
    assert_eq!(genesis(&lines)["opening"], "kept");
    assert_eq!(lines["openings.ndjson"].lines().count(), 1);
    let erase = Op::delete_range(
        TENANT,
        &OPENINGS,
        0_u64.to_be_bytes().to_vec(),
        1_u64.to_be_bytes().to_vec(),
    );
    append(&store, vec![erase], |_, _| {});
    let (lines, _) = exported(&store).unwrap();
    assert_eq!(genesis(&lines)["opening"], "erased");
    assert!(!lines.contains_key("openings.ndjson"));
}

#[test]
fn what_does_not_add_up_ends_the_export_and_is_named() {
    let check = |change: fn(&mut Vec<u8>, &mut Head), words: &[&str]| {
        let folder = TempDir::new().unwrap();
        let store = founded(&folder);
        append(&store, Vec::new(), change);
        let error = exported(&store).unwrap_err().to_string();
        let named = words.iter().all(|word| error.contains(word));
        assert!(named && error.contains(&TENANT.to_string()), "{error}");
    };
    check(|entry, _| *entry = b"{}".to_vec(), &["entry 1"]);
    check(|entry, _| entry.push(b' '), &["entry 1", "canonical"]);
    check(|_, head| head.root = [0; 32], &["root"]);
    check(|_, head| head.log_base = Sequence::new(1), &["root"]);
    let folder = TempDir::new().unwrap();
    let store = founded(&folder);
    append(&store, Vec::new(), |_, _| {});
    let missing = Op::delete(TENANT, &ENTRIES, 0_u64.to_be_bytes().to_vec());
    append(&store, vec![missing], |_, _| {});
    let error = exported(&store).unwrap_err().to_string();
    assert!(error.contains("entry 0: it is not there"), "{error}");
}

/// Reads a line in the text format of COPY as PostgreSQL's manual describes it.
fn read(line: &str) -> Vec<Option<String>> {
    line.strip_suffix('\n')
        .unwrap()
        .split('\t')
        .map(|field| {
            if field == "\\N" {
                return None;
            }
            let (mut text, mut chars) = (String::new(), field.chars());
            while let Some(c) = chars.next() {
                text.push(match c {
                    '\\' => match chars.next().unwrap() {
                        'b' => '\u{8}',
                        'f' => '\u{C}',
                        'n' => '\n',
                        'r' => '\r',
                        't' => '\t',
                        'v' => '\u{B}',
                        c if c.is_ascii_digit() || c == 'x' => panic!("a byte: {field}"),
                        c => c,
                    },
                    c => c,
                });
            }
            Some(text)
        })
        .collect()
}

fn any_text() -> impl Strategy<Value = String> {
    let special = prop::sample::select(vec![
        '\\', '\n', '\r', '\t', '\0', '\u{8}', '\u{B}', '\u{C}', '.', 'N', '\'', '"', '$', 'x', '1',
    ]);
    let any = prop_oneof![3 => special, 1 => any::<char>()];
    prop::collection::vec(any, 0..40).prop_map(String::from_iter)
}

proptest! {
    #[test]
    fn every_text_is_read_back_as_it_was(texts in prop::collection::vec(any_text(), 1..5)) {
        // The first field is an id, never empty.
        let row = texts.iter().fold(Row::new().text("id"), |row, text| row.text(text));
        let mut line = String::new();
        row.end(&mut |_, bytes| { line.push_str(std::str::from_utf8(bytes).unwrap()); Ok(()) }, "t").unwrap();
        prop_assert_eq!(line.matches('\n').count(), 1);
        prop_assert!(!line.contains(['\r', '\0']) && line != "\\.\n");
        let expected: Vec<_> = std::iter::once("id".to_owned())
            .chain(texts.iter().map(|text| text.replace('\0', "\u{FFFD}")))
            .map(Some)
            .collect();
        prop_assert_eq!(read(&line), expected);
    }

    #[test]
    fn json_stays_json(texts in prop::collection::vec(any_text(), 1..5)) {
        let json = serde_json::to_string_pretty(&texts).unwrap();
        let mut line = String::new();
        let row = Row::new().text(&json);
        row.end(&mut |_, bytes| { line.push_str(std::str::from_utf8(bytes).unwrap()); Ok(()) }, "t").unwrap();
        let back = read(&line).remove(0).unwrap();
        prop_assert_eq!(serde_json::from_str::<Vec<String>>(&back).unwrap(), texts);
    }
}
