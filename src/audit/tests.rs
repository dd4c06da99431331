//! The log as a whole: its frozen bytes, and what a verifier sees when anything is changed.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::verify::{
    ChainError, EntryError, HistoryError, HistoryVerifier, OpeningMismatchError, ParsedEntry,
    SignatureError, TreeHead, verify_log,
};
use super::*;
use crate::golden;
use crate::id::{KeyId, Sequence, TenantId};
use crate::stamp::Stamp;
use crate::time::Timestamp;

/// What the log began with: not 0, so that nothing can take an index for a sequence.
const BASE: Sequence = Sequence::new(7);
const TENANT: TenantId = TenantId::from_bytes([0x11; 16]);

fn signer() -> Arc<Signer> {
    Arc::new(Signer::from_seed(&[0x22; 32]))
}

fn log() -> Log {
    Log::new(
        origin("arf.invalid", &log_id(&[0x33; 16])),
        TENANT,
        BASE,
        signer(),
    )
}

/// The stamp of entry `index`, a second after that of the entry before.
fn stamp(index: u64) -> Stamp {
    let second = i64::try_from(index).unwrap() * 1_000_000;
    let at = Timestamp::from_micros(1_795_000_000_123_456 + second);
    let caller = (index > 0).then_some(KeyId::from_bytes([0x44; 16]));
    Stamp::new(at, Sequence::new(BASE.get() + index), caller, [0x55; 32])
}

fn genesis() -> Fact {
    Fact::new("genesis")
        .field("retention_days", 90)
        .field("public_key", signer().public_key().to_string())
        .field(
            "keys",
            json!([{ "key_id": "k", "tier": "pro", "scopes": ["decide", "outcome"] }]),
        )
        .field("prior", Value::Null)
        .private("name", "Acme & Söhne")
        .private_opt("created_by", None::<String>)
}

fn decision() -> Fact {
    Fact::new("decision")
        .field("action", "escalate")
        .field("risk_score", 0.372991)
        .field("category", "database")
        .field("environment", "production \u{20ac} \"quoted\"\n")
        .field("failures", 3_u64)
        .field("trials", 41_u64)
        .field("memory_weight", 1e-7)
        .field("trace_id", None::<String>)
        .field("rules", 1_u16)
        .private("request", r#"{"intent": {"type":"deploy" }}"#)
        .private("intent", r#"{"type":"deploy"}"#)
        .private("deterministic_id", "release-42")
        .private("justification", "risk 0.37 lies between the thresholds")
}

/// The entries and openings of a log with a genesis and `decisions` after it.
fn filled(decisions: u64) -> (Log, Vec<Entry>, Vec<Opening>) {
    let mut log = log();
    let (entry, opening) = log.append(genesis(), &stamp(0)).unwrap();
    let (mut entries, mut openings) = (vec![entry], vec![opening.unwrap()]);
    for index in 1..=decisions {
        let (entry, opening) = log.append(decision(), &stamp(index)).unwrap();
        entries.push(entry);
        openings.push(opening.unwrap());
    }
    (log, entries, openings)
}

fn hex(bytes: &[u8]) -> String {
    crate::hex::encode(bytes) + "\n"
}

#[test]
fn entries_openings_and_commitments_are_frozen() {
    let (log, entries, openings) = filled(1);
    let text = |entry: &Entry| String::from_utf8(entry.bytes().to_vec()).unwrap() + "\n";
    golden::check("audit_genesis.json", &text(&entries[0]));
    golden::check("audit_decision.json", &text(&entries[1]));
    golden::check("audit_opening.hex", &hex(&openings[1].encode()));
    golden::check("audit_root.hex", &hex(&log.root()));
    let salt = Salts::new(&[0x66; 32]).salt("justification");
    golden::check(
        "audit_commitment.hex",
        &hex(&commitment(&salt, "justification", b"because")),
    );
}

/// The words of the format, followed with nothing of ours but the bytes.
#[test]
fn a_stranger_verifies_an_entry_with_json_and_ed25519_alone() {
    let (log, entries, _) = filled(1);
    let mut object: Value = serde_json::from_slice(entries[1].bytes()).unwrap();
    assert_eq!(
        serde_json_canonicalizer::to_vec(&object).unwrap(),
        entries[1].bytes()
    );
    let signature = object.as_object_mut().unwrap().remove("sig").unwrap();
    let signature = STANDARD.decode(signature.as_str().unwrap()).unwrap();
    assert_eq!(signature, entries[1].signature());
    let unsigned = serde_json_canonicalizer::to_string(&object).unwrap();
    let message = format!("arf-audit/record/v1\n{}\n{unsigned}", log.origin());
    let key = ed25519_dalek::VerifyingKey::from_bytes(signer().public_key().as_bytes()).unwrap();
    let signature = ed25519_dalek::Signature::from_slice(&signature).unwrap();
    key.verify_strict(message.as_bytes(), &signature).unwrap();
}

#[test]
fn an_entry_says_where_it_stands() {
    let (log, entries, _) = filled(2);
    for (entry, index) in entries.iter().zip(0..) {
        let parsed = ParsedEntry::parse(entry.bytes()).unwrap();
        let Stamp {
            at,
            sequence,
            caller,
            ..
        } = stamp(index);
        assert_eq!((parsed.index, parsed.sequence), (index, sequence));
        assert_eq!(
            (parsed.at, parsed.caller, parsed.tenant),
            (at, caller, TENANT)
        );
        assert_eq!(
            (parsed.log.as_str(), parsed.kid),
            (log.origin(), signer().kid())
        );
        assert_eq!(parsed.decision_id, entry.decision_id());
        assert_eq!(parsed.decision_id.sequence_in(log.origin()), Some(sequence));
        assert_eq!(
            (entry.index(), entry.signature()),
            (index, &parsed.signature)
        );
        assert_eq!(*entry.leaf_hash(), verify::leaf_hash(entry.bytes()));
    }
    let parsed = ParsedEntry::parse(entries[1].bytes()).unwrap();
    assert_eq!(parsed.kind, "decision");
    assert_eq!(parsed.field("risk_score"), Some(&json!(0.372991)));
    assert_eq!(parsed.field("trace_id"), Some(&Value::Null));
}

#[test]
fn no_fact_can_say_what_every_entry_says() {
    let (entry, opening) = log().append(Fact::new("note"), &stamp(0)).unwrap();
    assert_eq!(opening, None);
    let members: BTreeMap<String, Value> = serde_json::from_slice(entry.bytes()).unwrap();
    assert!(members.keys().all(|name| entry::is_common_member(name)));
    assert_eq!(members.get("c"), Some(&json!({})));
}

#[test]
fn a_log_checks_and_its_root_is_that_of_the_definition() {
    for decisions in [0, 1, 6, 12] {
        let (log, entries, _) = filled(decisions);
        let bytes = entries.iter().map(Entry::bytes);
        let checked = verify_log(bytes, log.origin(), &signer().public_key());
        assert_eq!(
            checked,
            Ok(TreeHead {
                size: decisions + 1,
                root: log.root()
            })
        );
    }
}

#[test]
fn a_log_goes_on_from_its_parts_as_if_never_stopped() {
    let (mut log, ..) = filled(4);
    let (name, range) = (log.origin().to_owned(), log.range().to_vec());
    let resume = |size, range| Log::resume(name.clone(), TENANT, BASE, size, range, signer());
    let mut resumed = resume(log.size(), range.clone()).unwrap();
    assert_eq!((resumed.size(), resumed.base()), (5, BASE));
    for index in 5..9 {
        let expected = log.append(decision(), &stamp(index)).unwrap();
        assert_eq!(resumed.append(decision(), &stamp(index)).unwrap(), expected);
        assert_eq!(resumed.root(), log.root());
    }
    assert!(resume(7, range).is_err());
}

#[test]
fn a_sequence_that_is_not_the_next_stops_the_log() {
    for index in [1, 3, 4] {
        let (mut log, ..) = filled(1);
        let append = move || log.append(decision(), &stamp(index)).is_ok();
        assert!(std::panic::catch_unwind(append).is_err(), "{index}");
    }
}

#[test]
fn an_entry_that_is_too_large_leaves_no_trace() {
    let (mut log, ..) = filled(2);
    let (mut twin, ..) = filled(2);
    let fact = |length| Fact::new("note").field("text", "x".repeat(length));
    let empty = twin.append(fact(0), &stamp(3)).unwrap().0.bytes().len();
    let error = log
        .append(fact(MAX_ENTRY_BYTES - empty + 1), &stamp(3))
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "an entry of 65536 bytes is longer than 65535"
    );
    assert_eq!((log.size(), log.root()), (3, filled(2).0.root()));
    let (entry, opening) = log
        .append(fact(MAX_ENTRY_BYTES - empty), &stamp(3))
        .unwrap();
    assert_eq!((entry.bytes().len(), opening), (MAX_ENTRY_BYTES, None));
    assert!(ParsedEntry::parse(entry.bytes()).is_ok());
}

#[test]
fn an_opening_fits_its_own_entry_only() {
    let (_, entries, openings) = filled(1);
    let parsed: Vec<_> = entries
        .iter()
        .map(|e| ParsedEntry::parse(e.bytes()).unwrap())
        .collect();
    let check = |entry: &ParsedEntry, opening: &Opening, result| {
        let stored = Opening::decode(&opening.encode()).unwrap();
        assert_eq!(entry.check_opening(&stored), result);
    };
    check(&parsed[0], &openings[0], Ok(()));
    check(&parsed[1], &openings[1], Ok(()));
    check(
        &parsed[0],
        &openings[1],
        Err(OpeningMismatchError::Unknown("request".to_owned())),
    );

    let opening =
        |seed, name: &'static str| Opening::new(vec![(name, b"A".to_vec())], || seed).unwrap();
    let mut log = log();
    let two = Fact::new("review")
        .private("owner", "A")
        .private("reason", "B");
    let entry = log.append(two, &stamp(0)).unwrap().0;
    let entry = ParsedEntry::parse(entry.bytes()).unwrap();
    let seed = stamp(0).derive("opening");
    check(
        &entry,
        &opening(seed, "owner"),
        Err(OpeningMismatchError::Missing("reason".to_owned())),
    );
    check(
        &entry,
        &opening(seed, "reason"),
        Err(OpeningMismatchError::Differs("reason".to_owned())),
    );
    check(
        &entry,
        &opening([0; 32], "owner"),
        Err(OpeningMismatchError::Differs("owner".to_owned())),
    );
}

#[test]
fn every_opening_has_a_seed_of_its_own() {
    let mut log = log();
    let mut seed_of = |index, random| {
        let Stamp {
            at,
            sequence,
            caller,
            ..
        } = stamp(index);
        let stamp = Stamp::new(at, sequence, caller, [random; 32]);
        *log.append(decision(), &stamp).unwrap().1.unwrap().seed()
    };
    assert_ne!(seed_of(0, 1), seed_of(1, 2));
}

/// Entries in the wrong place, or of another log, key, tenant or time.
#[test]
fn a_log_that_was_tampered_with_is_broken_at_the_first_wrong_entry() {
    let (log, entries, _) = filled(5);
    let bytes: Vec<Vec<u8>> = entries.into_iter().map(Entry::into_bytes).collect();
    let key = signer().public_key();
    let check = |change: &dyn Fn(&mut Vec<Vec<u8>>), index, why: ChainError| {
        let mut changed = bytes.clone();
        change(&mut changed);
        let broken = verify_log(&changed, log.origin(), &key).unwrap_err();
        assert_eq!((broken.index, broken.error), (index, why));
    };
    // Entry 3 of a log that differs from ours in one argument.
    let foreign = |origin: &str, tenant, base: Sequence, signer, at| {
        let mut log =
            Log::resume(origin.to_owned(), tenant, base, 3, vec![[0; 32]; 2], signer).unwrap();
        let stamp = Stamp::new(at, Sequence::new(base.get() + 3), None, [0; 32]);
        log.append(decision(), &stamp).unwrap().0.into_bytes()
    };
    let (other, at) = (Arc::new(Signer::from_seed(&[9; 32])), stamp(3).at);
    let place = |entry: Vec<u8>| move |log: &mut Vec<Vec<u8>>| log[3] = entry.clone();
    let origin = log.origin();

    check(&|log| drop(log.remove(0)), 0, ChainError::OtherIndex(1));
    check(&|log| drop(log.remove(3)), 3, ChainError::OtherIndex(4));
    check(&|log| log.swap(2, 3), 2, ChainError::OtherIndex(3));
    check(
        &|log| log.insert(2, log[1].clone()),
        2,
        ChainError::OtherIndex(1),
    );
    check(&|log| log[4].truncate(9), 4, EntryError::NotAnObject.into());
    let elsewhere = foreign("else", TENANT, BASE, signer(), at);
    check(
        &place(elsewhere),
        3,
        ChainError::OtherLog("else".to_owned()),
    );
    let stranger = foreign(origin, TenantId::ZERO, BASE, signer(), at);
    check(&place(stranger), 3, ChainError::OtherTenant);
    let rebased = foreign(origin, TENANT, BASE.next(), signer(), at);
    check(&place(rebased), 3, ChainError::OtherTenant);
    let forged = foreign(origin, TENANT, BASE, Arc::clone(&other), at);
    check(
        &place(forged),
        3,
        SignatureError::OtherKey(other.kid()).into(),
    );
    let early = foreign(
        origin,
        TENANT,
        BASE,
        signer(),
        Timestamp::from_micros(at.micros() - 1_000_001),
    );
    check(&place(early), 3, ChainError::Earlier);

    let shorter = verify_log(&bytes[..5], origin, &key).unwrap();
    assert_ne!(shorter.root, log.root());
    let twin = place(foreign(origin, TENANT, BASE, signer(), at));
    let mut rewritten = bytes.clone();
    twin(&mut rewritten);
    let rewritten = verify_log(&rewritten, origin, &key).unwrap();
    assert_eq!(rewritten.size, log.size());
    assert_ne!(rewritten.root, log.root());
}

/// The same object in another spelling is not the same entry.
#[test]
fn only_one_text_of_an_entry_is_an_entry() {
    let (_, entries, _) = filled(1);
    let text = String::from_utf8(entries[1].bytes().to_vec()).unwrap();
    let check = |from: &str, to: &str, why: EntryError| {
        assert!(text.contains(from), "{from}");
        let error = ParsedEntry::parse(text.replacen(from, to, 1).as_bytes()).err();
        assert_eq!(error, Some(why), "{to}");
    };
    check("{", "{ ", EntryError::NotCanonical);
    check("\"v\":1}", "\"v\":1}\n", EntryError::NotCanonical);
    check("\"rules\":1", "\"rules\":1.0", EntryError::NotCanonical);
    check(
        "\"trials\":41",
        "\"trials\":41,\"trials\":41",
        EntryError::NotCanonical,
    );
    check("€", "\\u20ac", EntryError::NotCanonical);
    check(
        "\"type\":\"decision\",\"v\":1",
        "\"v\":1,\"type\":\"decision\"",
        EntryError::NotCanonical,
    );
    check(
        "\"trials\":41",
        "\"trials\":9007199254740992",
        EntryError::Foreign("trials".to_owned()),
    );
    check(
        "\"action\"",
        "\"Action\"",
        EntryError::Foreign("Action".to_owned()),
    );
    check("\"v\":1", "\"v\":2", EntryError::Member("v"));
    check("\"index\":1", "\"index\":-1", EntryError::Member("index"));
    check(
        "\"index\":1",
        "\"index\":9",
        EntryError::Member("decision_id"),
    );
    check(
        "\"log\":\"arf",
        "\"log\":\"ARF",
        EntryError::Member("decision_id"),
    );
    check(
        "11111111-1111",
        "11111111-1111-",
        EntryError::Member("tenant_id"),
    );
    check(
        "44444444-4444-4444-4444-",
        "44444444444444444444",
        EntryError::Member("caller"),
    );
    check(".123456Z\"", ".123456+00:00\"", EntryError::Member("ts"));
    check("\"kid\":\"", "\"kid\":\"0", EntryError::Member("kid"));
    check(
        "==\",\"tenant_id\"",
        "\",\"tenant_id\"",
        EntryError::Member("sig"),
    );
    check("=\"},\"caller\"", "\"},\"caller\"", EntryError::Member("c"));
    let long = "x".repeat(MAX_ENTRY_BYTES);
    check("decision", &long, EntryError::TooLong);
    for other in ["", "[]", "null", "{}x"] {
        assert_eq!(
            ParsedEntry::parse(other.as_bytes()).err(),
            Some(EntryError::NotAnObject)
        );
    }
    assert_eq!(
        ParsedEntry::parse(b"{}").err(),
        Some(EntryError::Member("sig"))
    );
}

proptest! {
    #[test]
    fn a_flipped_bit_is_seen(
        place in any::<prop::sample::Index>(),
        bit in 0..8_u8,
        in_signature in any::<bool>(),
    ) {
        let (log, entries, _) = filled(1);
        let mut bytes = entries[1].bytes().to_vec();
        let sig = bytes.windows(7).position(|window| window == b"\"sig\":\"").unwrap() + 7;
        let at = if in_signature { sig + place.index(88) } else { place.index(bytes.len()) };
        bytes[at] ^= 1 << bit;
        let verified = verify_log([entries[0].bytes(), &bytes], log.origin(), &signer().public_key());
        prop_assert_eq!(verified.map_err(|broken| broken.index), Err(1));
    }

    #[test]
    fn any_bytes_are_an_entry_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(ParsedEntry::parse(&bytes).is_err());
    }
}

/// A log of four entries, and the one that a restore of its first three begins, of two.
fn restored(prior: impl FnOnce(&Log) -> Value) -> Vec<Entry> {
    let (log, mut entries, _) = filled(2);
    let name = origin("arf.invalid", &log_id(&[0x77; 16]));
    let base = Sequence::new(BASE.get() + 3);
    let other = Arc::new(Signer::from_seed(&[0x23; 32]));
    let mut next = Log::new(name, TENANT, base, other.clone());
    let genesis = Fact::new("genesis")
        .field("public_key", other.public_key().to_string())
        .field("prior", prior(&log));
    for (fact, index) in [(genesis, 3), (decision(), 4)] {
        entries.push(next.append(fact, &stamp(index)).unwrap().0);
    }
    entries
}

fn verify_history<'a>(
    entries: impl IntoIterator<Item = &'a Entry>,
) -> Result<HistoryVerifier, HistoryError> {
    let mut verifier = HistoryVerifier::default();
    for entry in entries {
        verifier.push(entry.bytes())?;
    }
    Ok(verifier)
}

#[test]
fn a_log_that_a_restore_began_is_followed_from_the_one_before_it() {
    let named =
        |log: &Log| json!({"log": log.origin(), "size": 3, "root": STANDARD.encode(log.root())});
    let entries = restored(named);
    let followed = verify_history(&entries).unwrap();
    assert_eq!(followed.size(), 2);
    let leaves: Vec<_> = entries[3..]
        .iter()
        .map(|entry| *entry.leaf_hash())
        .collect();
    assert_eq!(followed.root(), verify::tree_root(&leaves));
    assert_eq!(followed.last().unwrap().index, 1);

    // Without the founding, without an end, without a genesis, and twice the same.
    for indexes in [&[1, 2][..], &[0, 1, 3], &[0, 1, 2, 4], &[0, 1, 1], &[0, 2]] {
        assert!(
            verify_history(indexes.iter().map(|at| &entries[*at])).is_err(),
            "{indexes:?}"
        );
    }
    for wrong in [
        Value::Null,
        json!({"log": "arf.invalid/audit/other", "size": 3, "root": ""}),
    ] {
        let entries = restored(|_| wrong);
        assert_eq!(
            verify_history(&entries).unwrap_err(),
            HistoryError::OtherPrior
        );
    }
}

#[test]
fn a_history_verifier_sees_a_changed_byte_anywhere() {
    let (_, entries, _) = filled(2);
    for nth in 0..entries.len() {
        let whole = entries[nth].bytes();
        for at in 0..whole.len() {
            let mut changed = whole.to_vec();
            changed[at] ^= 1;
            let mut verifier = verify_history(&entries[..nth]).unwrap();
            assert!(verifier.push(&changed).is_err(), "entry {nth}, byte {at}");
        }
    }
}
