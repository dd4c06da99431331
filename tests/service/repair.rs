//! `arf repair`: a tenant whose rows were damaged, and a directory that does not start any more.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::harness::{Client, Ran, Random, Server, arf, deployment, files, until, verified_log};

fn repair(server: &Server, arguments: &[&str]) -> Ran {
    Ran::to_end(
        arf(&["repair", "--data"])
            .arg(server.data())
            .args(arguments),
    )
}

fn wal(server: &Server, number: u64) -> PathBuf {
    server.data().join("wal").join(format!("{number:016x}.wal"))
}

/// How much of the log's first segment is written.
fn written(server: &Server) -> usize {
    let bytes = fs::read(wal(server, 1)).unwrap();
    bytes.iter().rposition(|byte| *byte != 0).unwrap()
}

/// Flips a bit of the log there.
fn harm(server: &Server, at: usize) {
    let path = wal(server, 1);
    let mut bytes = fs::read(&path).unwrap();
    bytes[at] ^= 1;
    fs::write(path, bytes).unwrap();
}

fn ask(client: &Client, id: &str) -> Value {
    let answer = client.evaluate(&deployment(json!({"deterministic_id": id})));
    client.outcome(id, true);
    answer
}

#[test]
fn a_bad_command_line_is_a_usage_error() {
    let nobody = "00000000-0000-4000-8000-000000000000";
    for bad in [
        &["repair"][..],
        &["repair", "--tenant", "nobody"],
        &["repair", "--tenant", nobody, "--salvage"],
        &["repair", "--salvage", "--from", "x"],
        &["repair", "--tenant", nobody, "--out", "x"],
        &["repair", "--salvage", "--with-keys"],
        &["repair", "--from", "x"],
        &["repair", "everything"],
    ] {
        let ran = Ran::to_end(&mut arf(bad));
        assert_eq!((ran.code, ran.stdout.as_str()), (64, ""), "{ran:#?}");
    }
    let ran = Ran::to_end(&mut arf(&[
        "repair",
        "--salvage",
        "--data",
        "/nowhere/at/all",
    ]));
    ran.says_in_one_line(1, &["/nowhere/at/all"]);
    assert!(!Path::new("/nowhere").exists());
}

#[test]
fn a_directory_in_use_is_not_repaired() {
    let server = Server::start();
    let tenant = server.credentials().tenant_id;
    repair(&server, &["--tenant", &tenant]).says_in_one_line(75, &["in use"]);
    let out = server.beside("salvaged");
    let out = ["--salvage", "--out", out.to_str().unwrap()];
    repair(&server, &out).says_in_one_line(75, &["in use"]);
    assert!(!server.beside("salvaged").exists());
}

#[test]
fn where_nothing_is_damaged_nothing_is_salvaged() {
    let mut server = Server::start();
    ask(&server.ci(), "one");
    server.stop();
    let before = files(&server.data().join("wal"));
    let out = server.beside("salvaged");
    let out = out.to_str().unwrap();
    for more in [&["--salvage"][..], &["--salvage", "--out", out]] {
        let ran = repair(&server, more);
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{ran:#?}");
        assert!(ran.stdout.contains("it starts as it is"), "{ran:#?}");
    }
    assert!(files(&server.data().join("wal")) == before);
    assert!(!server.data().join("quarantine").exists() && !Path::new(out).exists());
    server.launch();
    server.ci().get("intents/one").expect(200);
}

#[test]
fn a_tenant_whose_rows_were_damaged_serves_again_and_others_never_stopped() {
    let mut server = Server::start();
    let (second, client) = server.found("second", "enterprise");
    let answers: Vec<_> = ["one", "two"].map(|id| ask(&client, id)).into();
    ask(&server.ci(), "mine");
    server.stop();
    let backup = server.beside("backup");
    let made = Ran::to_end(arf(&["backup", "--data"]).arg(server.data()).arg(&backup));
    assert_eq!(made.code, 0, "{made:#?}");
    for round in 0..2 {
        change_row(&server, &second, ["beta_state", "intents"][round]);
        server.launch();
        client.get("intents/one").problem(503, "tenant_corrupt");
        server.ci().get("intents/mine").expect(200);
        server.stop();

        let mut more = vec!["--tenant", &second];
        if round == 1 {
            more.extend(["--from", backup.to_str().unwrap()]);
        }
        let ran = repair(&server, &more);
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{ran:#?}");
        assert!(ran.stdout.contains("replaced"), "{ran:#?}");
        assert_eq!(
            ran.stdout.contains("the backup was not needed"),
            round == 1,
            "{ran:#?}"
        );
        server.launch();
        for (id, answer) in ["one", "two"].iter().zip(&answers) {
            let again = client.evaluate(&deployment(json!({"deterministic_id": id})));
            assert_eq!(again["replayed"], true);
            assert_eq!(again["decision_id"], answer["decision_id"]);
        }
        verified_log(&client);
        server.ci().get("intents/mine").expect(200);
        server.stop();
    }
    let ran = repair(&server, &["--tenant", &second, "--json"]);
    let told: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(
        (&told["from"], &told["replaced"]),
        (&json!("log"), &json!(true))
    );
    let nobody = "00000000-0000-4000-8000-000000000000";
    repair(&server, &["--tenant", nobody]).says_in_one_line(1, &[nobody]);
}

#[test]
fn a_backup_makes_up_for_snapshots_that_are_damaged() {
    let mut server = Server::at_rest();
    let config = "[store]\nsegment_bytes = 1048576\nsnapshot_bytes = 4194304\n";
    fs::write(server.beside("arf.toml"), config).unwrap();
    server.launch();
    let (second, client) = server.found("second", "enterprise");
    let mut random = Random::new();
    let snapshots = server.data().join("snapshots");
    let backup = server.beside("backup");
    let mut answers = Vec::new();
    for count in 1..=2 {
        until("the next snapshot", || {
            for _ in 0..20 {
                let text: String = (0..3_600)
                    .map(|_| format!("{:016x}", random.next()))
                    .collect();
                let id = format!("intent-{}", answers.len());
                let more = json!({"deterministic_id": id, "configuration": {"text": text}});
                answers.push(client.evaluate(&deployment(more)));
            }
            std::thread::sleep(std::time::Duration::from_millis(500));
            let made = fs::read_dir(&snapshots).unwrap().filter(|entry| {
                let path = entry.as_ref().unwrap().path();
                path.extension()
                    .is_some_and(|extension| extension == "snap")
            });
            (made.count() >= count).then_some(())
        });
        if count == 1 {
            server.stop();
            let made = Ran::to_end(arf(&["backup", "--data"]).arg(server.data()).arg(&backup));
            assert_eq!(made.code, 0, "{made:#?}");
            server.launch();
        }
    }
    until("the log's beginning to go", || {
        (!wal(&server, 1).exists()).then_some(())
    });
    server.stop();
    for path in files(&snapshots).into_keys() {
        let mut bytes = fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(path, bytes).unwrap();
    }
    let told = Ran::to_end(arf(&["doctor", "--data"]).arg(server.data()));
    assert_eq!(told.code, 65, "{told:#?}");
    assert!(told.stdout.contains("leave tables/ alone"), "{told:#?}");
    change_row(&server, &second, "intents");
    server.launch();
    client
        .get("intents/intent-0")
        .problem(503, "tenant_corrupt");
    server.stop();

    let alone = repair(&server, &["--tenant", &second]);
    alone.says_in_one_line(65, &[".snap"]);
    let from = ["--tenant", &second, "--from", backup.to_str().unwrap()];
    let ran = repair(&server, &from);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{ran:#?}");
    assert!(
        ran.stdout.contains("from the backup and the log behind it"),
        "{ran:#?}"
    );
    server.launch();
    for (number, answer) in answers.iter().enumerate() {
        let row = client.get(&format!("intents/intent-{number}")).expect(200);
        assert_eq!(row["decision"]["decision_id"], answer["decision_id"]);
    }
    verified_log(&client);
    server.stop();

    // A start could not build them.
    fs::remove_dir_all(server.data().join("tables")).unwrap();
    repair(&server, &from).says_in_one_line(65, &["no usable tables"]);
}

/// Flips a bit in a row of the tenant, in the tables.
fn change_row(server: &Server, tenant: &str, table: &str) {
    let config = sled::Config::new()
        .path(server.data().join("tables"))
        .segment_size(8 << 20)
        .mode(sled::Mode::LowSpace);
    let db = until("sled to let go of its lock", || config.open().ok());
    let rows = db.open_tree(table).unwrap();
    let tenant: u128 = tenant.replace('-', "").parse::<Hex>().unwrap().0;
    let row = rows.scan_prefix(tenant.to_be_bytes()).next();
    let (key, value) = row.unwrap().unwrap();
    let mut value = value.to_vec();
    *value.last_mut().unwrap() ^= 1;
    rows.insert(key, value).unwrap();
    db.flush().unwrap();
}

/// A number of 128 bits in hexadecimal.
struct Hex(u128);

impl std::str::FromStr for Hex {
    type Err = std::num::ParseIntError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        u128::from_str_radix(text, 16).map(Self)
    }
}

/// A server with two tenants, whose log is damaged where the first asked about `lost`.
struct Harmed {
    server: Server,
    second: (String, Client),
    before: Value,
    others: Vec<Value>,
}

fn harmed() -> Harmed {
    let mut server = Server::start();
    let ci = server.ci();
    let second = server.found("second", "enterprise");
    let before = ask(&ci, "before");
    let mut others = vec![ask(&second.1, "first of two")];
    let from = written(&server);
    ci.evaluate(&deployment(json!({"deterministic_id": "lost-intent"})));
    let to = written(&server);
    ci.outcome("lost-intent", true);
    ask(&ci, "after");
    others.push(ask(&second.1, "second of two"));
    server.stop();
    harm(&server, usize::midpoint(from, to));
    Ran::to_end(&mut server.serve())
        .says_in_one_line(65, &["damaged at offset", "arf repair --salvage"]);
    Harmed {
        server,
        second,
        before,
        others,
    }
}

/// Writes what survives, and restores it in the place of the damaged directory; what was reported.
fn salvage(server: &mut Server, more: &[&str]) -> (Value, Ran) {
    let out = server.beside("salvaged");
    let before = files(&server.data());
    let ran = Ran::to_end(
        arf(&["repair", "--salvage", "--json", "--with-keys", "--data"])
            .arg(server.data())
            .arg("--out")
            .arg(&out),
    );
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{ran:#?}");
    assert!(
        files(&server.data()) == before,
        "the damaged directory was changed"
    );
    let report: Value = serde_json::from_str(&ran.stdout).unwrap();
    let kept = fs::read(out.join("salvage.json")).unwrap();
    assert_eq!(report, serde_json::from_slice::<Value>(&kept).unwrap());
    fs::rename(server.data(), server.beside("damaged")).unwrap();
    let restored = Ran::to_end(
        arf(&["restore", "--data"])
            .arg(server.data())
            .arg(&out)
            .args(more),
    );
    assert_eq!(restored.code, 0, "{restored:#?}");
    assert!(!server.data().join("salvage.json").exists());
    (report, restored)
}

#[test]
fn a_log_that_is_damaged_in_the_middle_is_salvaged_and_serves_what_is_left() {
    let Harmed {
        mut server,
        second,
        before,
        others,
    } = harmed();
    let tenant = server.credentials().tenant_id;
    let was = files(&server.data());

    // Without a place for it, there is only the report.
    let ran = repair(&server, &["--salvage"]);
    assert_eq!(ran.code, 64, "{ran:#?}");
    assert!(
        ran.stderr.contains("--out") && ran.stdout.contains("unreadable"),
        "{ran:#?}"
    );
    assert!(files(&server.data()) == was);

    let (report, _) = salvage(&mut server, &["--keep-keys"]);
    assert_eq!(report["gaps"][0]["records"], 1, "{report:#}");
    let loss = |tenant: &str| {
        let losses = report["losses"].as_array().unwrap().iter();
        losses
            .clone()
            .find(|loss| loss["tenant"] == tenant)
            .cloned()
    };
    // genesis, before, its outcome; then what cannot be read, and three entries that can.
    let mine = loss(&tenant).unwrap();
    assert_eq!(
        (&mine["last_kept"], &mine["certain"]),
        (&json!(2), &json!(true))
    );
    assert_eq!(
        mine["dropped"],
        json!({"from": 4, "through": 6}),
        "{report:#}"
    );
    assert!(loss(&second.0).is_none(), "{report:#}");
    assert_eq!(
        loss("00000000-0000-0000-0000-000000000000").unwrap()["certain"],
        false
    );

    server.launch();
    let ci = server.ci();
    let again = ci.evaluate(&deployment(json!({"deterministic_id": "before"})));
    assert_eq!(
        (&again["replayed"], &again["decision_id"]),
        (&json!(true), &before["decision_id"])
    );
    ci.get("intents/lost-intent").problem(404, "not_found");
    ci.get("intents/after").problem(404, "not_found");
    // What was lost is asked anew, under another log: no number is signed twice.
    ask(&ci, "lost-intent");
    let kinds = |log: &[Value]| -> Vec<_> {
        let kind = |entry: &Value| entry["type"].as_str().unwrap().to_owned();
        log.iter().map(kind).collect()
    };
    let log = ci.list("audit");
    assert_eq!(
        kinds(&log),
        [
            "genesis", "decision", "outcome", "genesis", "decision", "outcome"
        ]
    );
    assert_eq!(log[3]["index"], 0);
    // The other tenant lost nothing.
    for answer in &others {
        let id = answer["deterministic_id"].as_str().unwrap();
        let again = second
            .1
            .evaluate(&deployment(json!({"deterministic_id": id})));
        assert_eq!(
            (&again["replayed"], &again["decision_id"]),
            (&json!(true), &answer["decision_id"])
        );
    }
    assert_eq!(
        kinds(&second.1.list("audit")),
        [
            "genesis", "decision", "outcome", "decision", "outcome", "genesis"
        ]
    );
    server.operator().get("admin/tenants").expect(200);
    server.stop();
    assert!(
        repair(&server, &["--salvage"])
            .stdout
            .contains("it starts as it is")
    );
    // With two genesis entries in one list, the harness cannot verify that log; what exports does.
    let ran = Ran::to_end(
        arf(&["export", "--data"])
            .arg(server.data())
            .arg("--out")
            .arg(server.beside("out")),
    );
    assert_eq!(ran.code, 0, "{ran:#?}");
}

#[test]
fn after_a_salvage_no_key_is_good_but_a_new_operator_key() {
    let Harmed {
        mut server, second, ..
    } = harmed();
    let old = server.credentials();
    let (_, restored) = salvage(&mut server, &[]);
    let key = restored
        .stdout
        .lines()
        .find_map(|line| line.trim().strip_prefix("operator key  "));
    let key = key.unwrap_or_else(|| panic!("{restored:#?}")).to_owned();
    server.launch();
    second.1.get("audit").problem(401, "unauthenticated");
    for gone in [&old.api_key, &old.operator_key] {
        server
            .with_key(gone)
            .get("audit")
            .problem(401, "unauthenticated");
    }
    server.with_key(&key).get("admin/tenants").expect(200);
    server.stop();
}
