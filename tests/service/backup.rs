//! `arf backup`, `restore` and `doctor`, and the backups that a server makes.

use std::fs;
use std::io::Write as _;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use arf::audit::verify::HistoryVerifier;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::harness::{Client, Ran, Random, Server, arf, deployment, files, until};

/// A server that may make backups, with `more` in that section of its configuration.
fn with_backups(more: &str) -> Server {
    let mut server = Server::at_rest();
    let dir = server.beside("backups");
    fs::create_dir(&dir).unwrap();
    let config = format!("[store]\nsegment_bytes = 1048576\n[backup]\ndir = {dir:?}\n{more}\n");
    fs::write(server.beside("arf.toml"), config).unwrap();
    server.launch();
    server
}

fn run(arguments: &[&str], paths: &[&Path]) -> Ran {
    Ran::to_end(arf(arguments).args(paths))
}

#[track_caller]
fn backup(data: &Path, to: &Path, more: &[&str]) -> Value {
    let mut command = arf(&["backup", "--json", "--data"]);
    let ran = Ran::to_end(command.arg(data).arg(to).args(more));
    assert_eq!(ran.code, 0, "{ran:#?}");
    serde_json::from_str(&ran.stdout).unwrap()
}

#[track_caller]
fn restore(from: &Path, data: &Path, more: &[&str]) -> Value {
    let mut command = arf(&["restore", "--json", "--data"]);
    let ran = Ran::to_end(command.arg(data).arg(from).args(more));
    assert_eq!(ran.code, 0, "{ran:#?}");
    serde_json::from_str(&ran.stdout).unwrap()
}

/// Has the server go on with what this backup holds, and with nothing else.
#[track_caller]
fn go_on_with(server: &mut Server, from: &Path, more: &[&str]) -> Value {
    fs::rename(server.data(), server.beside("lost")).unwrap();
    let restored = restore(from, &server.data(), more);
    server.launch();
    restored
}

/// Every entry of the tenant, all its logs followed from the founding on.
#[track_caller]
fn followed(client: &Client) -> Vec<Value> {
    let mut follower = HistoryVerifier::default();
    let mut entries = Vec::new();
    for item in client.list("audit") {
        let id = item["decision_id"].as_str().unwrap();
        let detail = client.get(&format!("audit/{id}")).expect(200);
        let entry = detail["entry"].as_str().unwrap();
        follower.push(entry.as_bytes()).unwrap();
        entries.push(serde_json::from_str(entry).unwrap());
    }
    entries
}

#[test]
fn a_backup_of_a_running_node_holds_everything_that_was_answered_before_it() {
    let mut server = with_backups("every = 0");
    let (stop, told) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(Mutex::new(Vec::new())),
    );
    let clients: Vec<_> = (0..4)
        .map(|client| {
            let (ci, stop, told) = (server.ci(), stop.clone(), told.clone());
            std::thread::spawn(move || {
                for n in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        return n;
                    }
                    let intent = deployment(json!({"deterministic_id": format!("c{client}-{n}")}));
                    let answer = ci.evaluate(&intent);
                    told.lock().unwrap().push((intent, answer));
                }
                unreachable!()
            })
        })
        .collect();
    until("enough of a load", || {
        (told.lock().unwrap().len() > 200).then_some(())
    });
    let before = told.lock().unwrap().clone();
    let dir = server.beside("backups").join("under-load");
    let key = server.credentials().operator_key;
    let made = server.run(
        &key,
        &[
            "backup",
            "--json",
            dir.to_str().unwrap(),
            "--data",
            server.data().to_str().unwrap(),
        ],
    );
    assert_eq!(made.code, 0, "{made:#?}");
    let made: Value = serde_json::from_str(&made.stdout).unwrap();
    assert!(made["lsn"].as_u64().unwrap() > 200, "{made}");
    let before_end = told.lock().unwrap().len();
    until("more of the load", || {
        (told.lock().unwrap().len() > before_end).then_some(())
    });
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        assert!(client.join().unwrap() > 0);
    }
    assert_eq!(server.stop(), 0);

    let restored = go_on_with(&mut server, &dir, &["--keep-keys"]);
    assert_eq!(restored["lsn"], made["lsn"]);
    let ci = server.ci();
    for (intent, answer) in &before {
        let again = ci.evaluate(intent);
        assert_eq!(again["replayed"], true, "{again}");
        assert_eq!(again["decision_id"], answer["decision_id"]);
        assert_eq!(again["audit"], answer["audit"]);
    }
    let entries = followed(&ci);
    assert!(entries.len() > before.len());
    let last = entries.last().unwrap();
    assert_eq!(
        (&last["type"], &last["index"]),
        (&json!("genesis"), &json!(0))
    );
    // The harness reads one log; this tenant has had two.
    server.stop();
    eprintln!("{} answered before the backup, all in it", before.len());
}

#[test]
fn a_restored_node_answers_what_it_decided_and_lets_nobody_in_but_its_operator() {
    let mut server = Server::start();
    let ci = server.ci();
    let tenant = server.credentials().tenant_id;
    let intent = deployment(json!({"deterministic_id": "kept"}));
    let kept = ci.evaluate(&intent);
    ci.outcome("kept", true);
    server.stop();
    let dir = server.beside("backup");
    backup(&server.data(), &dir, &[]);
    assert!(!dir.join("signing.key").exists() && !dir.join("credentials.json").exists());
    server.launch();
    let lost = ci.evaluate(&deployment(json!({"deterministic_id": "lost"})));
    server.stop();

    let restored = go_on_with(&mut server, &dir, &[]);
    for old in [&ci, &server.operator()] {
        old.get("usage").problem(401, "unauthenticated");
    }
    let data = server.data();
    let file: Value =
        serde_json::from_slice(&fs::read(data.join("credentials.json")).unwrap()).unwrap();
    let mode = fs::metadata(data.join("credentials.json"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(file, json!({"operator_key": restored["operator_key"]}));
    let operator = server.with_key(file["operator_key"].as_str().unwrap());
    let shown = run(&["key", "show", "operator", "--data"], &[&data]);
    assert_eq!(shown.stdout.trim(), file["operator_key"]);
    run(&["key", "show", "api", "--data"], &[&data]).says_in_one_line(78, &["credentials.json"]);

    let keys = operator
        .get(&format!("admin/tenants/{tenant}/keys"))
        .expect(200);
    let keys = keys["items"].as_array().unwrap();
    assert!(
        !keys.is_empty() && keys.iter().all(|key| key["is_active"] == false),
        "{keys:?}"
    );
    let made = operator.post(
        &format!("admin/tenants/{tenant}/keys"),
        &json!({"tier": "enterprise"}),
    );
    let ci = server.with_key(made.expect(201)["key"].as_str().unwrap());

    let again = ci.evaluate(&intent);
    assert_eq!(again["replayed"], true);
    for name in ["decision_id", "audit", "risk_score", "action", "created_at"] {
        assert_eq!(again[name], kept[name], "{name}");
    }
    assert_eq!(
        ci.get("intents/kept").expect(200)["outcome"]["success"],
        true
    );
    let old = ci.get(&format!("audit/{}", kept["decision_id"].as_str().unwrap()));
    assert_eq!(old.expect(200)["index"], kept["audit"]["index"]);
    ci.get("intents/lost").problem(404, "not_found");
    let gone = format!("audit/{}", lost["decision_id"].as_str().unwrap());
    ci.get(&gone).problem(404, "not_found");

    // The log goes on under another name and key, and says how the one before ended.
    ci.evaluate(&deployment(json!({"deterministic_id": "new"})));
    let entries = followed(&ci);
    let genesis = entries
        .iter()
        .rposition(|entry| entry["type"] == "genesis")
        .unwrap();
    let (first, second) = (&entries[0], &entries[genesis]);
    assert_eq!(
        genesis, 3,
        "genesis, decision and outcome were in the backup"
    );
    assert_ne!(first["log"], second["log"]);
    assert_ne!(first["public_key"], second["public_key"]);
    assert_eq!(second["public_key"], restored["public_key"]);
    assert_eq!(second["prior"]["log"], first["log"]);
    assert_eq!(second["prior"]["size"], 3);
    assert_eq!(
        STANDARD
            .decode(second["prior"]["root"].as_str().unwrap())
            .unwrap()
            .len(),
        32
    );
    assert_eq!(second["keys_revoked"], 2);
    assert_eq!(entries.last().unwrap()["index"], 2);
    assert_ne!(second["decision_id"], lost["decision_id"]);

    // And again, from a backup of what was restored.
    server.stop();
    let second_dir = server.beside("second backup");
    backup(&data, &second_dir, &[]);
    fs::rename(server.beside("lost"), server.beside("lost before")).unwrap();
    go_on_with(&mut server, &second_dir, &["--keep-keys"]);
    let entries = followed(&ci);
    let geneses = entries
        .iter()
        .filter(|entry| entry["type"] == "genesis")
        .count();
    assert_eq!(geneses, 3);
    assert_eq!(ci.evaluate(&intent)["decision_id"], kept["decision_id"]);
    server.stop();
}

#[test]
fn private_keys_are_in_a_backup_only_if_asked_for_and_come_back_with_it() {
    let mut server = Server::start();
    let ci = server.ci();
    ci.evaluate(&deployment(json!({})));
    let credentials = server.credentials();
    server.stop();
    let (without, with) = (server.beside("without"), server.beside("with"));
    backup(&server.data(), &without, &[]);
    backup(&server.data(), &with, &["--with-keys"]);
    for file in files(&with).keys() {
        let mode = fs::metadata(file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{}", file.display());
    }
    assert_eq!(
        fs::metadata(&with).unwrap().permissions().mode() & 0o777,
        0o700
    );
    let key = |dir: &Path| fs::read(dir.join("signing.key")).unwrap();
    assert_eq!(key(&with), key(&server.data()));

    let restored = server.beside("restored");
    restore(&with, &restored, &["--keep-keys"]);
    assert_eq!(key(&restored), key(&server.data()));
    let shown = run(&["key", "show", "api", "--data"], &[&restored]);
    assert_eq!(shown.stdout.trim(), credentials.api_key);

    let restored = server.beside("restored without");
    let told = restore(&without, &restored, &["--no-print-keys"]);
    assert_ne!(key(&restored), key(&server.data()));
    assert_eq!(told["operator_key"], Value::Null);

    let restored = server.beside("restored with another");
    let other = server.beside("restored without").join("signing.key");
    let other = other.to_str().unwrap();
    restore(&with, &restored, &["--signing-key", other]);
    assert_eq!(key(&restored), fs::read(other).unwrap());
    let lax = server.beside("lax.key");
    fs::copy(other, &lax).unwrap();
    fs::set_permissions(&lax, fs::Permissions::from_mode(0o644)).unwrap();
    let refused = server.beside("refused");
    let ran = Ran::to_end(
        arf(&["restore", "--signing-key"])
            .arg(lax)
            .arg(&with)
            .arg("--data")
            .arg(&refused),
    );
    ran.says_in_one_line(78, &["lax.key", "chmod 600"]);
    assert!(!refused.join("MANIFEST").exists());
}

#[test]
fn a_restore_refuses_a_changed_byte_in_any_file_and_leaves_nothing() {
    let mut server = Server::start();
    let ci = server.ci();
    for _ in 0..3 {
        ci.evaluate(&deployment(json!({})));
    }
    server.stop();
    let dir = server.beside("backup");
    backup(&server.data(), &dir, &["--with-keys"]);
    let to = server.beside("to");
    let all = files(&dir);
    assert_eq!(all.len(), 5, "{:?}", all.keys());
    for (path, bytes) in &all {
        for at in [0, bytes.len() / 2, bytes.len() - 1] {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            fs::write(path, changed).unwrap();
            let ran = run(&["restore", "--data"], &[&to, &dir]);
            assert_eq!(ran.code, 65, "{} at {at}: {ran:#?}", path.display());
            assert_eq!(ran.stderr.lines().count(), 1, "{ran:#?}");
        }
        fs::write(path, bytes).unwrap();
    }
    let left: Vec<_> = fs::read_dir(&to)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left, ["LOCK"], "what was refused leaves nothing");
    restore(&dir, &to, &[]);

    // What is not empty, or no backup, is left alone.
    let before = files(&to);
    run(&["restore", "--data"], &[&to, &dir]).says_in_one_line(1, &["not empty"]);
    let elsewhere = server.beside("elsewhere");
    let data = server.data();
    run(&["restore", "--data"], &[&elsewhere, &data])
        .says_in_one_line(65, &["not a backup", "backup.json"]);
    run(&["backup", "--data"], &[&data, &to]).says_in_one_line(1, &["not empty"]);
    run(&["backup", "--data"], &[&elsewhere, &server.beside("b")])
        .says_in_one_line(1, &["holds no data"]);
    let inside = data.join("inside");
    run(&["backup", "--data"], &[&data, &inside]).says_in_one_line(1, &["inside"]);
    assert!(files(&to) == before);
}

#[test]
fn a_server_makes_backups_in_its_directory_and_nowhere_else() {
    let server = with_backups("every = 0");
    let operator = server.operator();
    let ask = |body: Value| operator.post("admin/backup", &body);
    for name in [
        "", ".", "..", "../out", "/tmp/out", "a/b", ".hidden", "a.new",
    ] {
        let problem = ask(json!({"name": name})).problem(422, "invalid_request");
        assert_eq!(
            problem["errors"][0]["pointer"], "/name",
            "{name}: {problem}"
        );
    }
    ask(json!({"nam": "a"})).problem(422, "invalid_request");
    let elsewhere =
        ask(json!({"name": "a", "parent": "/tmp"})).problem(409, "idempotency_conflict");
    let dir = server.beside("backups");
    assert!(
        elsewhere["detail"]
            .as_str()
            .unwrap()
            .contains(dir.to_str().unwrap())
    );
    let body = json!({"name": "a"});
    server
        .ci()
        .post("admin/backup", &body)
        .problem(403, "forbidden");
    server
        .anonymous()
        .post("admin/backup", &body)
        .problem(401, "unauthenticated");
    assert_eq!(fs::read_dir(&dir).unwrap().count(), 0, "nothing was made");

    let made = ask(body.clone()).expect(201);
    assert_eq!(made["path"], dir.join("a").to_str().unwrap());
    assert_eq!(made["tenants"], 2);
    ask(body).problem(409, "idempotency_conflict");
    let by_time = ask(json!({})).expect(201);
    assert!(
        by_time["name"].as_str().unwrap().ends_with('Z'),
        "{by_time}"
    );
    assert!(
        dir.join(by_time["name"].as_str().unwrap())
            .join("backup.json")
            .exists()
    );
    let with_keys = ask(json!({"name": "k", "with_keys": true})).expect(201);
    assert!(dir.join("k/signing.key").exists() && !dir.join("a/signing.key").exists());
    assert!(with_keys["bytes"].as_u64() > made["bytes"].as_u64());

    // The command beside the server: elsewhere is refused, and so is a key that does not administer.
    let (data, out) = (server.data(), server.beside("out"));
    let (data, out) = (data.to_str().unwrap(), out.to_str().unwrap());
    let key = server.credentials();
    let arguments = ["backup", out, "--data", data];
    server
        .run(&key.operator_key, &arguments)
        .says_in_one_line(1, &["409", "this server writes backups to"]);
    let inside = dir.join("b");
    let inside = ["backup", inside.to_str().unwrap(), "--data", data];
    server
        .run(&key.api_key, &inside)
        .says_in_one_line(1, &["403", "key show operator"]);
    let ran = Ran::to_end(arf(&inside).args(["--server", &server.url()]));
    assert_eq!(ran.code, 0, "with the key in credentials.json: {ran:#?}");
    let nobody = ["--server", "http://127.0.0.1:1"];
    let ran = Ran::to_end(arf(&arguments).args(nobody));
    ran.says_in_one_line(75, &["in use", "cannot reach"]);
}

#[test]
fn a_backup_goes_where_a_slash_or_a_link_says() {
    let mut server = Server::start();
    server.stop();
    let data = server.data();
    let slash = |path: PathBuf| PathBuf::from(format!("{}/", path.display()));
    backup(&data, &slash(server.beside("new")), &[]);
    fs::create_dir(server.beside("empty")).unwrap();
    backup(&data, &slash(server.beside("empty")), &[]);
    fs::create_dir(server.beside("real")).unwrap();
    std::os::unix::fs::symlink(server.beside("real"), server.beside("link")).unwrap();
    backup(&data, &server.beside("link"), &[]);
    for name in ["new", "empty", "real"] {
        let restored = server.beside(&format!("{name}-restored"));
        restore(&server.beside(name), &restored, &[]);
    }
}

#[test]
fn who_asked_for_a_backup_may_leave_and_it_is_still_the_only_one() {
    let server = with_backups("every = 0");
    let mut random = Random::new();
    for number in 0..60 {
        let text = gibberish(&mut random, 60_000);
        let id = format!("intent-{number}");
        let more = json!({"deterministic_id": id, "configuration": {"text": text}});
        server.ci().evaluate(&deployment(more));
    }
    let dir = server.beside("backups");
    let body = json!({"name": "left"}).to_string();
    let request = format!(
        "POST /api/v1/admin/backup HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        server.credentials().operator_key,
        body.len()
    );
    let url = server.url();
    let mut stream = TcpStream::connect(url.strip_prefix("http://").unwrap()).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    until("the backup to begin", || {
        (dir.join("left.new").exists() || dir.join("left").exists()).then_some(())
    });
    drop(stream);
    let operator = server.operator();
    let mut number = 0;
    while dir.join("left.new").exists() {
        number += 1;
        let other = operator.post("admin/backup", &json!({"name": format!("other-{number}")}));
        if dir.join("left.new").exists() {
            other.problem(503, "overloaded");
        }
    }
    until("the backup to be whole", || {
        dir.join("left").join("backup.json").exists().then_some(())
    });
}

/// Text that does not become shorter by much.
fn gibberish(random: &mut Random, len: usize) -> String {
    let words = std::iter::repeat_with(|| format!("{:016x}", random.next()));
    words.take(len / 16).collect()
}

#[test]
fn without_a_directory_no_backup_is_made() {
    let mut server = Server::start();
    let problem = server
        .operator()
        .post("admin/backup", &json!({"name": "a"}));
    let problem = problem.problem(404, "not_found");
    assert!(
        problem["detail"].as_str().unwrap().contains("backup.dir"),
        "{problem}"
    );
    server.stop();
    fs::write(
        server.beside("arf.toml"),
        "[backup]\ndir = \"/not/there\"\n",
    )
    .unwrap();
    Ran::to_end(&mut server.serve()).says_in_one_line(78, &["backup.dir", "/not/there"]);
}

#[test]
fn backups_are_made_by_themselves_and_only_their_own_are_removed() {
    let server = with_backups("every = 1\nkeep = 2");
    let dir = server.beside("backups");
    let own = || {
        let mut names: Vec<String> = fs::read_dir(&dir)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.len() == 16 && dir.join(name).join("backup.json").exists())
            .collect();
        names.sort();
        names
    };
    until("a moment without a backup", || {
        let made = server
            .operator()
            .post("admin/backup", &json!({"name": "mine"}));
        (made.status == 201).then_some(())
    });
    fs::create_dir(dir.join("20000101T000000Z")).unwrap();
    fs::write(dir.join("20000101T000000Z/precious"), "not a backup").unwrap();
    let first = until("a first backup", || own().into_iter().next());
    until("it to be removed", || {
        (!dir.join(&first).exists()).then_some(())
    });
    let names = until("two to be kept", || {
        Some(own()).filter(|names| names.len() >= 2)
    });
    assert!(names.len() <= 3, "{names:?}");
    assert!(dir.join("20000101T000000Z/precious").exists());
    assert!(dir.join("mine/backup.json").exists());
    let metrics = server.anonymous().get("/metrics").text;
    let value = |name: &str| {
        let line = metrics.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_else(|| panic!("no {name}: {metrics}"))
            .trim()
            .parse::<f64>()
            .unwrap()
    };
    assert!(value("backup_total ") >= 3.0);
    assert!(value("last_backup_timestamp_seconds ") > 1.7e9);
    assert!(value("backup_failure_total ") == 0.0);
}

/// What `arf doctor` says of a directory, as JSON, and how it ended.
#[track_caller]
fn doctor(data: &Path, more: &[&str]) -> (i32, Value) {
    let ran = Ran::to_end(arf(&["doctor", "--json", "--data"]).arg(data).args(more));
    let told = serde_json::from_str(&ran.stdout);
    (
        ran.code,
        told.unwrap_or_else(|error| panic!("{error}: {ran:#?}")),
    )
}

/// The state of one thing, and all that was said of it.
#[track_caller]
fn check(told: &Value, what: &str) -> (String, String) {
    let checks = told["checks"].as_array().unwrap();
    let check = checks.iter().find(|check| check["what"] == what);
    let check = check.unwrap_or_else(|| panic!("nothing of {what}: {told:#}"));
    let text = |name: &str| check[name].as_str().unwrap_or_default().to_owned();
    (
        text("state"),
        format!("{} {}", text("message"), text("help")),
    )
}

#[test]
fn the_doctor_tells_what_is_so_and_changes_nothing() {
    let mut server = with_backups("every = 0");
    let config = server.beside("arf.toml");
    let config = ["--config", config.to_str().unwrap()];
    let data = server.data();

    // In use.
    let (code, told) = doctor(&data, &config);
    assert_eq!((code, &told["state"]), (75, &json!("in_use")), "{told:#}");
    assert_eq!(check(&told, "signing key").0, "fine");
    assert!(check(&told, "backups").1.contains("none in"), "{told:#}");

    // Fresh, and stopped in order.
    server
        .operator()
        .post("admin/backup", &json!({}))
        .expect(201);
    server.ci().evaluate(&deployment(json!({})));
    server.stop();
    let before = files(&data);
    let (code, told) = doctor(&data, &config);
    assert_eq!((code, &told["state"]), (0, &json!("fine")), "{told:#}");
    for (what, words) in [
        ("format", "1; this version reads up to 1"),
        ("last stop", "clean"),
        ("credentials", "up to date"),
        ("backups", "the last one in"),
        ("disk", "bytes free"),
        ("tables", "present"),
    ] {
        let (state, said) = check(&told, what);
        assert!(
            state == "fine" && said.contains(words),
            "{what}: {state} {said}"
        );
    }
    assert_eq!(told["tenants"].as_array().unwrap().len(), 2);
    assert!(files(&data) == before, "something was changed");
    let people = run(&["doctor", "--data"], &[&data]);
    assert!(
        people.stdout.contains("ok") && people.stdout.contains("default"),
        "{people:#?}"
    );

    // Crashed, with a key revoked.
    server.launch();
    let tenant = server.credentials().tenant_id;
    let keys = server
        .operator()
        .get(&format!("admin/tenants/{tenant}/keys"))
        .expect(200);
    for key in keys["items"].as_array().unwrap() {
        if key["role"] == "ci" {
            let path = format!(
                "admin/tenants/{tenant}/keys/{}",
                key["key_id"].as_str().unwrap()
            );
            server.operator().delete(&path);
        }
    }
    server.kill();
    let before = files(&data);
    let (code, told) = doctor(&data, &[]);
    assert_eq!((code, &told["state"]), (0, &json!("note")), "{told:#}");
    assert!(check(&told, "last stop").1.contains("unclean"));
    let (state, said) = check(&told, "credentials");
    assert!(
        state == "note" && said.contains("the api key is no longer valid"),
        "{said}"
    );
    assert!(files(&data) == before, "something was changed");

    // Without its signing key.
    let key = data.join("signing.key");
    let aside = server.beside("signing.key");
    fs::rename(&key, &aside).unwrap();
    let (code, told) = doctor(&data, &[]);
    assert_eq!(
        (code, check(&told, "signing key").0.as_str()),
        (78, "problem"),
        "{told:#}"
    );
    fs::rename(&aside, &key).unwrap();

    // Damaged in the middle of the log.
    let segment = data.join("wal/0000000000000001.wal");
    let mut bytes = fs::read(&segment).unwrap();
    bytes[100] ^= 1;
    fs::write(&segment, bytes).unwrap();
    let before = files(&data);
    let (code, told) = doctor(&data, &[]);
    assert_eq!((code, &told["state"]), (65, &json!("damaged")), "{told:#}");
    let (_, said) = check(&told, "log");
    for words in [
        "0000000000000001.wal",
        "offset 0",
        "arf restore",
        "repair --salvage",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
    assert!(files(&data) == before, "something was changed");

    // A backup, and a configuration whose backups have nowhere to go.
    let made = fs::read_dir(server.beside("backups"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap();
    let (code, told) = doctor(&made.path(), &[]);
    assert_eq!(code, 0, "{told:#}");
    assert!(check(&told, "backup").1.contains("this is one"), "{told:#}");
    fs::rename(server.beside("backups"), server.beside("unmounted")).unwrap();
    let (code, told) = doctor(&server.beside("unmounted"), &config);
    assert_eq!(
        (code, check(&told, "backups").0.as_str()),
        (78, "problem"),
        "{told:#}"
    );

    // Nothing.
    for empty in ["empty", "not there"] {
        let dir = server.beside(empty);
        if empty == "empty" {
            fs::create_dir(&dir).unwrap();
        }
        let (code, told) = doctor(&dir, &[]);
        assert_eq!(code, 0, "{told:#}");
        assert!(check(&told, "data").1.contains("empty"));
        assert!(!dir.join("LOCK").exists());
    }
}

#[test]
fn where_a_restore_was_cut_short_no_new_node_is_founded() {
    let mut server = Server::start();
    server.ci().evaluate(&deployment(json!({})));
    assert_eq!(server.stop(), 0);
    let dir = server.beside("backup");
    let data = server.beside("restored");
    let [from, to, of] = [&dir, &data, &server.data()].map(|path| path.display().to_string());
    let ran = Ran::to_end(&mut arf(&["backup", &from, "--data", &of]));
    assert_eq!(ran.code, 0, "{ran:#?}");

    fs::create_dir_all(data.join("restore.new")).unwrap();
    let ran = Ran::to_end(&mut arf(&[
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--data",
        &to,
    ]));
    ran.says_in_one_line(65, &["restore.new", "arf restore"]);
    assert_eq!(fs::read_dir(&data).unwrap().count(), 1, "nothing was made");

    restore(&dir, &data, &[]);
    assert!(data.join("MANIFEST").exists());
}
