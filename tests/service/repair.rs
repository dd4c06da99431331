//! `arf repair`: a tenant whose rows were damaged, and a directory that does not start any more.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::harness::{Client, Ran, Server, arf, deployment, files, until, verified_log};

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

/// Flips a bit in the text of the request for this intent, in the log.
#[track_caller]
fn harm(server: &Server, id: &str) {
    let path = wal(server, 1);
    let mut bytes = fs::read(&path).unwrap();
    let at = bytes
        .windows(id.len())
        .position(|text| text == id.as_bytes());
    bytes[at.unwrap()] ^= 1;
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
        &["repair", "--tenant", nobody, "--yes"],
        &["repair", "--tenant", nobody, "--keep-keys"],
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
    repair(&server, &["--salvage", "--yes"]).says_in_one_line(75, &["in use"]);
}

#[test]
fn where_nothing_is_damaged_nothing_is_salvaged() {
    let mut server = Server::start();
    ask(&server.ci(), "one");
    server.stop();
    let before = files(&server.data().join("wal"));
    for more in [&["--salvage"][..], &["--salvage", "--yes"]] {
        let ran = repair(&server, more);
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{ran:#?}");
        assert!(ran.stdout.contains("nothing is damaged"), "{ran:#?}");
    }
    assert!(files(&server.data().join("wal")) == before);
    assert!(!server.data().join("quarantine").exists());
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
        let config = sled::Config::new()
            .path(server.data().join("tables"))
            .segment_size(8 << 20)
            .mode(sled::Mode::LowSpace);
        let db = until("sled to let go of its lock", || config.open().ok());
        let rows = db.open_tree(["beta_state", "intents"][round]).unwrap();
        let tenant: u128 = second.replace('-', "").parse::<Hex>().unwrap().0;
        let (key, value) = rows
            .scan_prefix(tenant.to_be_bytes())
            .next()
            .unwrap()
            .unwrap();
        let mut value = value.to_vec();
        *value.last_mut().unwrap() ^= 1;
        rows.insert(key, value).unwrap();
        db.flush().unwrap();
        drop((rows, db));
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
    ask(&ci, "lost-intent");
    ask(&ci, "after");
    others.push(ask(&second.1, "second of two"));
    server.stop();
    harm(&server, "lost-intent");
    Ran::to_end(&mut server.serve())
        .says_in_one_line(65, &["damaged at offset", "arf repair --salvage"]);
    Harmed {
        server,
        second,
        before,
        others,
    }
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
    let was = files(&server.data().join("wal"));

    // Nobody is asked, so nothing is done.
    let ran = repair(&server, &["--salvage"]);
    assert_eq!(ran.code, 64, "{ran:#?}");
    assert!(
        ran.stderr.contains("--yes") && ran.stdout.contains("unreadable"),
        "{ran:#?}"
    );
    assert!(files(&server.data().join("wal")) == was);

    let ran = repair(&server, &["--salvage", "--yes", "--keep-keys", "--json"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{ran:#?}");
    let report: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(report["gaps"][0]["records"], 1, "{report:#}");
    let aside = PathBuf::from(report["aside"].as_str().unwrap());
    let kept: Value =
        serde_json::from_slice(&fs::read(aside.join("report.json")).unwrap()).unwrap();
    assert_eq!(
        (&kept["losses"], &kept["gaps"]),
        (&report["losses"], &report["gaps"])
    );
    // What was replaced is there, byte for byte.
    for (path, bytes) in was
        .iter()
        .filter(|(_, bytes)| bytes.iter().any(|byte| *byte != 0))
    {
        assert!(fs::read(aside.join("wal").join(path.file_name().unwrap())).unwrap() == *bytes);
    }
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
    let log: Vec<_> = ci.list("audit");
    let kinds: Vec<_> = log
        .iter()
        .map(|entry| entry["type"].as_str().unwrap())
        .collect();
    assert_eq!(
        kinds,
        [
            "genesis", "decision", "outcome", "genesis", "decision", "outcome"
        ]
    );
    assert_eq!(log[3]["index"], 0);
    // The other tenant did not notice, and neither did its log.
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
    assert_eq!(verified_log(&second.1).len(), 5);
    server.operator().get("admin/tenants").expect(200);
    server.stop();
    assert!(
        repair(&server, &["--salvage"])
            .stdout
            .contains("nothing is damaged")
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
fn after_a_salvage_only_keys_of_unharmed_tenants_are_good_and_a_new_operator_key() {
    let Harmed {
        mut server, second, ..
    } = harmed();
    let ran = repair(&server, &["--salvage", "--yes"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{ran:#?}");
    let key = ran
        .stdout
        .lines()
        .find_map(|line| line.strip_prefix("operator key  "));
    let key = key.unwrap_or_else(|| panic!("{ran:#?}")).to_owned();
    server.launch();
    second.1.get("intents").expect(200);
    let old = server.credentials();
    for gone in [&old.api_key, &old.operator_key] {
        server
            .with_key(gone)
            .get("audit")
            .problem(401, "unauthenticated");
    }
    server.with_key(&key).get("admin/tenants").expect(200);
    server.stop();
}

#[test]
fn a_salvage_that_was_cut_short_keeps_starts_out_until_it_is_finished() {
    let mut server = Server::start();
    ask(&server.ci(), "one");
    server.stop();
    // As it is between the new log and the new audit logs.
    let tenant = server.credentials().tenant_id;
    let unfinished = server.data().join("salvage.unfinished");
    fs::write(&unfinished, format!("{tenant}\n")).unwrap();
    Ran::to_end(&mut server.serve()).says_in_one_line(65, &["arf repair --salvage"]);
    let told = Ran::to_end(arf(&["doctor", "--data"]).arg(server.data()));
    assert_eq!(told.code, 65, "{told:#?}");
    let said = told.stdout.contains("salvage.unfinished");
    assert!(
        said && told.stdout.contains("arf repair --salvage"),
        "{told:#?}"
    );
    let ran = repair(&server, &["--salvage", "--keep-keys"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{ran:#?}");
    assert!(!unfinished.exists());
    server.launch();
    let ci = server.ci();
    let log = ci.list("audit");
    let kinds: Vec<_> = log
        .iter()
        .map(|entry| entry["type"].as_str().unwrap())
        .collect();
    assert_eq!(kinds, ["genesis", "decision", "outcome", "genesis"]);
    server.stop();
}
