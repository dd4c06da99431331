//! What was answered survives: kill -9 in mid-load, lost tables, torn and changed bytes.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::{self, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::harness::{Client, Random, Server, steady, until, verified_log};

const CATEGORIES: [&str; 3] = ["compute", "default", "security"];

fn intent(id: &str, category: &str) -> Value {
    let mut intent = json!({"deterministic_id": id, "environment": "dev", "requester": "load"});
    let fields = match category {
        "compute" => json!({"resource_type": "vm", "region": "r", "size": "s"}),
        "security" => {
            json!({"principal": "p", "permission_level": "read", "resource_scope": "/a/b"})
        }
        _ => json!({"service_name": "api", "change_scope": "canary", "deployment_target": "dev"}),
    };
    intent
        .as_object_mut()
        .unwrap()
        .extend(fields.as_object().unwrap().clone());
    intent
}

/// Sends until there is an answer that is one, whatever happens to the server meanwhile.
fn persist(client: &Client, path: &str, body: &Value) -> Value {
    let (headers, body) = ([("content-type", "application/json")], body.to_string());
    until("an answer", || {
        let answer = client
            .try_send("POST", path, &headers, Some(body.as_bytes()))
            .ok()?;
        if answer.status == 503 {
            return None;
        }
        Some(answer.expect(200))
    })
}

/// What one caller was told about one intent.
struct Told {
    category: &'static str,
    decision: Value,
    outcome: Option<(bool, Value)>,
}

/// A decision without what time changes.
fn lasting(decision: &Value) -> Value {
    let mut decision = decision.clone();
    for name in ["standing", "next", "replayed"] {
        decision.as_object_mut().unwrap().remove(name);
    }
    decision
}

#[test]
fn kill_9_loses_nothing_that_was_answered_and_doubles_nothing() {
    let mut random = Random::new();
    let mut server = Server::start();
    let told: Mutex<HashMap<String, Told>> = Mutex::default();
    let (answers, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (client, mut random) = (server.ci(), random.split());
            let (told, answers, stop) = (&told, &answers, &stop);
            scope.spawn(move || {
                for step in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    let id = format!("{thread}-{step}");
                    let category = CATEGORIES[random.below(3) as usize];
                    let decision = persist(&client, "intents/evaluate", &intent(&id, category));
                    answers.fetch_add(1, Ordering::Relaxed);
                    let outcome = (random.below(10) < 8).then(|| {
                        let success = random.below(10) < 7;
                        let body = json!({"deterministic_id": id, "success": success});
                        let outcome = persist(&client, "intents/outcome", &body);
                        answers.fetch_add(1, Ordering::Relaxed);
                        (success, outcome)
                    });
                    told.lock().unwrap().insert(
                        id,
                        Told {
                            category,
                            decision,
                            outcome,
                        },
                    );
                }
            });
        }
        for _ in 0..4 {
            let goal = answers.load(Ordering::Relaxed) + 50 + random.below(150) as usize;
            until("more answers", || {
                (answers.load(Ordering::Relaxed) >= goal).then_some(())
            });
            server.kill();
            server.launch();
        }
        let goal = answers.load(Ordering::Relaxed) + 50;
        until("answers after the last start", || {
            (answers.load(Ordering::Relaxed) >= goal).then_some(())
        });
        stop.store(true, Ordering::Relaxed);
    });

    let (ci, told) = (server.ci(), told.into_inner().unwrap());
    let mut posteriors: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for (id, told) in &told {
        let row = ci.get(&format!("intents/{id}")).expect(200);
        assert_eq!(lasting(&row["decision"]), lasting(&told.decision), "{id}");
        assert_eq!(row["outcome"].is_null(), told.outcome.is_none(), "{row}");
        if let Some((success, outcome)) = &told.outcome {
            assert_eq!(row["outcome"]["success"], *success, "{id}");
            assert_eq!(row["outcome"]["outcome_id"], outcome["outcome_id"], "{id}");
            let counts = posteriors.entry(told.category).or_default();
            *counts = (counts.0 + 1, counts.1 + u64::from(!success));
        }
    }
    for category in CATEGORIES {
        let learned = ci.learned(category);
        let counts = (
            learned["trials"].as_u64().unwrap(),
            learned["failures"].as_u64().unwrap(),
        );
        assert_eq!(Some(&counts), posteriors.get(category), "{category}");
    }
    assert_eq!(ci.get("usage").expect(200)["used"], told.len());

    // The log, whose numbers have no hole and whose signatures verify, has each of them once.
    let log = verified_log(&ci);
    let of_kind = |kind: &str| {
        log.iter()
            .filter(|entry| entry["type"] == kind)
            .collect::<Vec<_>>()
    };
    let (decisions, outcomes) = (of_kind("decision"), of_kind("outcome"));
    assert_eq!(decisions.len(), told.len());
    let answered: HashSet<&Value> = told
        .values()
        .map(|told| &told.decision["decision_id"])
        .collect();
    assert_eq!(
        decisions
            .iter()
            .map(|entry| &entry["decision_id"])
            .collect::<HashSet<_>>(),
        answered
    );
    let reported: HashSet<&Value> = told
        .values()
        .filter(|told| told.outcome.is_some())
        .map(|told| &told.decision["decision_id"])
        .collect();
    assert_eq!(outcomes.len(), reported.len());
    assert_eq!(
        outcomes
            .iter()
            .map(|entry| &entry["of"])
            .collect::<HashSet<_>>(),
        reported
    );
    assert_eq!(log.len(), 1 + decisions.len() + outcomes.len());
}

/// Everything that can be read of the tenant `default`, once it can be read.
fn everything(server: &Server) -> BTreeMap<String, String> {
    let (ci, operator) = (server.ci(), server.operator());
    let tenant = server.credentials().tenant_id;
    let keys = format!("admin/tenants/{tenant}/keys");
    let mut paths: Vec<String> = [
        "usage",
        "beta-state",
        "intents?limit=1000",
        "audit?limit=1000",
    ]
    .map(str::to_owned)
    .into();
    let items = |path: &str| {
        steady(&ci, path).json()["items"]
            .as_array()
            .unwrap()
            .clone()
    };
    for intent in items("intents?limit=1000") {
        paths.push(format!(
            "intents/{}",
            intent["deterministic_id"].as_str().unwrap()
        ));
    }
    for entry in items("audit?limit=1000") {
        paths.push(format!("audit/{}", entry["decision_id"].as_str().unwrap()));
    }
    let mut all: BTreeMap<String, String> = paths
        .into_iter()
        .map(|path| (path.clone(), steady(&ci, &path).text))
        .collect();
    for path in ["admin/tenants", &keys] {
        all.insert(path.to_owned(), steady(&operator, path).text);
    }
    all
}

/// A server with some of everything in it, long rows included.
fn furnished() -> Server {
    let server = Server::start();
    let ci = server.ci();
    for number in 0..40 {
        let id = format!("i-{number}");
        let mut asked = intent(&id, CATEGORIES[number % 3]);
        if number % 4 == 0 {
            asked["change_set"] = json!({"id": format!("set-{}", number % 8)});
        }
        if number % 10 == 9 {
            let long: Vec<_> = (0..400).map(|n| format!("padding-{number}-{n}")).collect();
            asked["configuration"] = json!({"long": long});
        }
        ci.evaluate(&asked);
        if number % 2 == 0 {
            ci.outcome(&id, number % 6 != 0);
        }
    }
    ci.evaluate(&{
        let mut moved = intent("i-1", CATEGORIES[1]);
        moved["change_set"] = json!({"id": "moved"});
        moved
    });
    let tenant = server.credentials().tenant_id;
    let (key, _) = server.key(
        &tenant,
        &json!({"tier": "pro", "role": "agent", "name": "n"}),
    );
    server
        .operator()
        .delete(&format!("admin/tenants/{tenant}/keys/{key}"));
    server
}

#[test]
fn tables_that_were_deleted_come_back_as_they_were() {
    let mut server = furnished();
    let before = everything(&server);
    assert_eq!(server.stop(), 0);
    fs::remove_dir_all(server.data().join("tables")).unwrap();
    server.launch();
    assert_eq!(everything(&server), before, "after an orderly stop");

    server.kill();
    fs::remove_dir_all(server.data().join("tables")).unwrap();
    server.launch();
    assert_eq!(everything(&server), before, "after a crash");
    // And go on as if nothing had happened.
    let answer = server.ci().evaluate(&intent("next", "default"));
    assert_eq!(
        answer["audit"]["index"].as_u64().unwrap() as usize,
        before
            .iter()
            .filter(|(path, _)| path.starts_with("audit/"))
            .count()
    );
}

#[test]
fn a_write_that_a_power_cut_tore_is_forgotten() {
    let mut server = furnished();
    let before = everything(&server);
    server.kill();
    let wal = fs::read_dir(server.data().join("wal"))
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut written: Vec<_> = wal
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect();
    written.sort();
    written.retain(|(_, bytes)| bytes.iter().any(|byte| *byte != 0));
    let (path, bytes) = written.last().unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap() / 8 * 8 + 8;
    // The beginning of a frame that never got whole.
    let mut file = OpenOptions::new().write(true).open(path).unwrap();
    file.seek(SeekFrom::Start(end as u64)).unwrap();
    file.write_all(b"ARFW\x01\x02\x03\x04torn in the middle")
        .unwrap();
    drop(file);
    server.launch();
    assert_eq!(everything(&server), before);
    server.ci().evaluate(&intent("next", "default"));
}

/// Changes a byte of the row that is `back` rows before a tenant's last one, in a table that is keyed
/// by sequence. Such rows lie in blocks: length of the key (u8), key, envelope. Of a long row the
/// payload lies in pieces of its own.
fn spoil(server: &Server, table: &str, back: usize) {
    let config = sled::Config::new()
        .path(server.data().join("tables"))
        .mode(sled::Mode::LowSpace)
        .use_compression(false)
        .segment_size(8 << 20);
    let db = until("sled to let go of its lock", || config.open().ok());
    let change = |tree: sled::Tree, key: sled::IVec, at: usize| {
        let mut value = tree.get(&key).unwrap().unwrap().to_vec();
        value[at] ^= 0x01;
        tree.insert(key, value).unwrap();
        tree.flush().unwrap();
    };
    let tenant = uuid::Uuid::parse_str(&server.credentials().tenant_id).unwrap();
    let tree = db.open_tree(table).unwrap();
    let mut rows = Vec::new();
    for block in tree.scan_prefix(tenant.as_bytes()) {
        let (key, block) = block.unwrap();
        let mut at = 0;
        while at < block.len() {
            let envelope = at + 1 + usize::from(block[at]);
            let len = u32::from_le_bytes(block[envelope + 4..envelope + 8].try_into().unwrap());
            let inline = if len > 4_032 { 0 } else { len as usize };
            at = envelope + 12 + inline;
            rows.push((key.clone(), at - 1, inline == 0));
        }
    }
    let (key, last, long) = rows[rows.len() - 1 - back].clone();
    if long {
        let pieces = db.open_tree("_pieces").unwrap();
        let (key, piece) = pieces
            .scan_prefix(tenant.as_bytes())
            .next()
            .unwrap()
            .unwrap();
        change(pieces, key, piece.len() - 1);
    } else {
        change(tree, key, last);
    }
}

#[test]
fn one_changed_byte_is_noticed_when_it_is_read() {
    let mut server = Server::start();
    let ci = server.ci();
    // Nothing that shrinks.
    let mut random = Random::new();
    let padding: Vec<_> = (0..700)
        .map(|_| format!("{:016x}", random.next()))
        .collect();
    let ask = |id: &str, requester: &str| {
        let mut asked = intent(id, "default");
        asked["requester"] = json!(requester);
        if id == "long" {
            asked["configuration"] = json!({"padding": padding});
        }
        asked
    };
    for (id, requester) in [("sound", "Sonata"), ("short", "Scherzo"), ("long", "Largo")] {
        ci.evaluate(&ask(id, requester));
    }
    let entry = ci.evaluate(&ask("entry", "Etude"))["decision_id"]
        .as_str()
        .unwrap()
        .to_owned();
    let before = ["intents/sound", "usage", "beta-state"].map(|path| ci.get(path).text);
    assert_eq!(server.stop(), 0);
    spoil(&server, "openings", 2);
    spoil(&server, "openings", 1);
    spoil(&server, "decision_audit_log", 0);
    server.launch();

    for (id, requester) in [("short", "Scherzo"), ("long", "Largo"), ("entry", "Etude")] {
        ci.get(&format!("intents/{id}"))
            .problem(503, "tenant_corrupt");
        ci.post("intents/evaluate", &ask(id, requester))
            .problem(503, "tenant_corrupt");
    }
    ci.get(&format!("audit/{entry}"))
        .problem(503, "tenant_corrupt");
    ci.get("audit").problem(503, "tenant_corrupt");
    // What is sound is answered as before, and the tenant goes on.
    assert_eq!(
        ["intents/sound", "usage", "beta-state"].map(|path| ci.get(path).text),
        before
    );
    assert_eq!(ci.evaluate(&ask("new", "Nocturne"))["audit"]["index"], 5);

    // The log still has it all: without the tables they are made anew, as they were.
    assert_eq!(server.stop(), 0);
    fs::remove_dir_all(server.data().join("tables")).unwrap();
    server.launch();
    assert_eq!(
        steady(&ci, "intents/long").json()["payload"]["requester"],
        "Largo"
    );
}

#[test]
fn a_changed_byte_of_the_state_never_becomes_a_wrong_answer() {
    for tree in [
        "intents",
        "intent_outcomes",
        "beta_state",
        "key_usage",
        "components",
        "change_sets",
        "_heads",
    ] {
        let mut server = furnished();
        let paths = ["usage", "beta-state", "intents?limit=1000"];
        let ci = server.ci();
        let before = paths.map(|path| ci.get(path).text);
        assert_eq!(server.stop(), 0);
        let config = sled::Config::new()
            .path(server.data().join("tables"))
            .mode(sled::Mode::LowSpace);
        let config = config.use_compression(false).segment_size(8 << 20);
        let db = until("sled to let go of its lock", || config.open().ok());
        let rows = db.open_tree(tree).unwrap();
        let tenant = uuid::Uuid::parse_str(&server.credentials().tenant_id).unwrap();
        let (key, value) = rows
            .scan_prefix(tenant.as_bytes())
            .next()
            .expect(tree)
            .unwrap();
        let mut value = value.to_vec();
        *value.last_mut().unwrap() ^= 0x01;
        rows.insert(key, value).unwrap();
        db.flush().unwrap();
        drop((rows, db));
        server.launch();
        for (path, before) in paths.iter().zip(&before) {
            let answer = ci.get(path);
            if answer.status == 200 {
                assert_eq!(&answer.text, before, "{tree}: {path}");
            } else {
                answer.problem(503, "tenant_corrupt");
            }
        }
        // Whatever it came to, the log has the truth.
        assert_eq!(server.stop(), 0, "{tree}");
        fs::remove_dir_all(server.data().join("tables")).unwrap();
        server.launch();
        assert_eq!(paths.map(|path| steady(&ci, path).text), before, "{tree}");
    }
}
