//! Starts: the first one, later ones, and those that must not happen.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::harness::{Credentials, Ran, Server, arf, notice};

fn intent(id: &str) -> Value {
    json!({
        "deterministic_id": id, "environment": "dev", "requester": "ci",
        "service_name": "api", "change_scope": "canary", "deployment_target": "dev",
    })
}

/// Starts a server that is expected not to come up.
fn refused(server: &Server) -> Ran {
    Ran::to_end(&mut server.serve())
}

/// The absolute path of the data folder, as a start prints it.
fn data(server: &Server) -> String {
    server
        .data()
        .canonicalize()
        .unwrap()
        .to_str()
        .unwrap()
        .to_owned()
}

#[test]
fn a_first_start_says_so_and_shows_each_key_once() {
    let mut server = Server::at_rest();
    let lines = server.launch();
    let told = lines.join("\n");
    assert!(
        told.contains(&format!(
            "NEW data directory {} (first start)",
            data(&server)
        )),
        "{told}"
    );
    let credentials = server.credentials();
    for key in [
        &credentials.operator_key,
        &credentials.api_key,
        &credentials.reviewer_key,
    ] {
        assert_eq!(told.matches(key.as_str()).count(), 1, "{told}");
        assert!(!server.log().contains(key.as_str()), "a key in the log");
    }

    // The line that sets the variables, pasted into a shell.
    let export = lines
        .iter()
        .find_map(|line| line.find("export ").map(|at| &line[at..]))
        .expect(&told);
    let shell =
        |script: String| Ran::to_end(Command::new("sh").args(["-c", &script]).current_dir("/"));
    let ran = shell(format!(
        "{export}\nprintf '%s %s' \"$ARF_SERVER\" \"$ARF_KEY\""
    ));
    assert_eq!(
        ran.stdout,
        format!("{} {}", server.url(), credentials.api_key),
        "{ran:#?}"
    );

    // The curl that uses them, as far as there is a curl.
    let start = lines
        .iter()
        .position(|line| line.trim_start().starts_with("curl"))
        .expect(&told);
    let curl: Vec<_> = lines[start..]
        .iter()
        .take_while(|line| !line.starts_with("listening"))
        .collect();
    let curl = curl
        .iter()
        .map(|line| line.as_str())
        .collect::<Vec<_>>()
        .join("\n");
    assert!(
        curl.contains("$ARF_KEY") && !curl.contains(&credentials.api_key),
        "{curl}"
    );
    if Command::new("curl").arg("--version").output().is_ok() {
        let ran = shell(format!("{export}\n{curl}"));
        assert!(
            ran.code == 0 && ran.stdout.contains("\"action\":"),
            "{ran:#?}"
        );
    } else {
        notice("the printed command was not tried: there is no curl");
    }
}

#[test]
fn the_credentials_are_a_private_file_and_work() {
    let server = Server::start();
    let file = server.data().join("credentials.json");
    assert_eq!(
        fs::metadata(&file).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let key = fs::metadata(server.data().join("signing.key")).unwrap();
    assert_eq!(key.permissions().mode() & 0o777, 0o600);

    let credentials = server.credentials();
    server.ci().evaluate(&intent("one"));
    server.operator().get("admin/tenants").expect(200);
    server
        .with_key(&credentials.reviewer_key)
        .get("audit")
        .expect(200);
    // `default` has one ci key and one reviewer key with an owner.
    let keys = server
        .operator()
        .get(&format!("admin/tenants/{}/keys", credentials.tenant_id));
    let keys = keys.expect(200)["items"].clone();
    let brief = |key: &Value| json!([key["role"], key["owner"], key["tier"]]).to_string();
    let mut brief: Vec<_> = keys.as_array().unwrap().iter().map(brief).collect();
    brief.sort();
    let expected = [
        r#"["ci",null,"enterprise"]"#,
        r#"["reviewer","first-reviewer","enterprise"]"#,
    ];
    assert_eq!(brief, expected);

    let show = |which: &str| {
        let mut command = arf(&["key", "show", which, "--data"]);
        Ran::to_end(command.arg(server.data()))
    };
    for (which, key) in [
        ("operator", &credentials.operator_key),
        ("api", &credentials.api_key),
        ("reviewer", &credentials.reviewer_key),
    ] {
        let ran = show(which);
        assert_eq!(
            (ran.code, ran.stdout.trim_end()),
            (0, key.as_str()),
            "{ran:#?}"
        );
    }
    assert_eq!(show("nobody").code, 64);
    fs::remove_file(&file).unwrap();
    assert_ne!(show("api").code, 0);
}

#[test]
fn no_print_keys_prints_no_keys() {
    let mut server = Server::at_rest();
    server.arguments.push("--no-print-keys".to_owned());
    let told = server.launch().join("\n") + &server.log();
    let credentials = server.credentials();
    for key in [
        credentials.operator_key,
        credentials.api_key,
        credentials.reviewer_key,
    ] {
        assert!(!told.contains(&key), "{told}");
    }
    assert!(told.contains("(first start)"), "{told}");
}

#[test]
fn a_later_start_says_what_it_opened() {
    let mut server = Server::start();
    let ci = server.ci();
    let credentials = server.credentials();
    std::thread::scope(|scope| {
        for part in 0..8 {
            let ci = &ci;
            scope.spawn(move || {
                for number in (part..1_204).step_by(8) {
                    ci.evaluate(&intent(&format!("n-{number}")));
                }
            });
        }
    });
    assert_eq!(server.stop(), 0);
    let told = server.launch().join("\n");
    let line = format!("opened {}: 2 tenants, 1,204 decisions", data(&server));
    assert!(told.contains(&line), "{told}");
    for key in [
        credentials.operator_key,
        credentials.api_key,
        credentials.reviewer_key,
    ] {
        assert!(!told.contains(&key), "{told}");
    }
}

#[test]
fn after_the_first_start_the_credentials_file_is_the_users() {
    let mut server = Server::start();
    let ci = server.ci();
    ci.evaluate(&intent("one"));
    let file = server.data().join("credentials.json");
    // Garbage: never read.
    assert_eq!(server.stop(), 0);
    fs::write(&file, "garbage").unwrap();
    server.launch();
    assert_eq!(ci.evaluate(&intent("one"))["replayed"], true);
    assert_eq!(fs::read_to_string(&file).unwrap(), "garbage");
    // Gone: not made again.
    assert_eq!(server.stop(), 0);
    fs::remove_file(&file).unwrap();
    server.launch();
    assert!(!file.exists());
    assert_eq!(ci.evaluate(&intent("one"))["replayed"], true);
    server.operator().get("admin/tenants").expect(200);
}

#[test]
fn a_first_start_uses_the_credentials_it_finds() {
    let first = Server::start();
    let credentials = first.credentials();
    let mut second = Server::at_rest();
    fs::create_dir(second.data()).unwrap();
    fs::copy(
        first.data().join("credentials.json"),
        second.data().join("credentials.json"),
    )
    .unwrap();
    // Other files do not matter.
    fs::write(second.data().join("README"), "mine").unwrap();
    let told = second.launch().join("\n");
    assert!(told.contains("(first start)"), "{told}");
    assert_eq!(Credentials::read(&second.data()), credentials);
    second.ci().evaluate(&intent("one"));
    let tenants = second.operator().list("admin/tenants");
    assert!(
        tenants
            .iter()
            .any(|tenant| tenant["tenant_id"] == credentials.tenant_id),
        "{tenants:?}"
    );
}

#[test]
fn a_first_start_does_not_guess_what_bad_credentials_mean() {
    for text in [
        "",
        "garbage",
        "{}",
        "{\"operator_key\":\"x\",\"tenant_id\":\"y\",\"api_key\":\"z\",\"reviewer_key\":\"\"}",
    ] {
        let server = Server::at_rest();
        fs::create_dir(server.data()).unwrap();
        let file = server.data().join("credentials.json");
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        refused(&server).says_in_one_line(78, &["credentials.json"]);
        assert_eq!(fs::read_to_string(&file).unwrap(), text);
    }
}

#[test]
fn a_first_start_that_was_cut_short_is_completed_with_the_files_values() {
    let mut server = Server::start();
    let credentials = server.credentials();
    server.kill();
    // As if it had died before `default` was logged: only the first record is left.
    let path = segments(&server.data())[0].clone();
    let bytes = fs::read(&path).unwrap();
    let records: Vec<_> = frames(&bytes)
        .into_iter()
        .filter(|frame| frame.count > 0)
        .collect();
    assert!(
        records[0].count == 1 && records.len() > 1,
        "the foundings are two records: {records:?}"
    );
    let mut cut = bytes;
    cut[records[0].end..].fill(0);
    fs::write(&path, cut).unwrap();
    fs::remove_dir_all(server.data().join("tables")).unwrap();
    let file = server.data().join("credentials.json");

    // Without the file nothing more is founded, and that is said.
    let aside = server.beside("credentials.json");
    fs::rename(&file, &aside).unwrap();
    let told = server.launch().join("\n") + &server.log();
    assert!(told.contains("credentials.json"), "{told}");
    assert!(!file.exists());
    server
        .with_key(&credentials.api_key)
        .get("usage")
        .problem(401, "unauthenticated");
    let operator = server.with_key(&credentials.operator_key);
    let tenants = operator.list("admin/tenants");
    assert!(
        !tenants.iter().any(|tenant| tenant["name"] == "default"),
        "{tenants:?}"
    );
    assert_eq!(server.stop(), 0);

    // With it the start is completed.
    fs::rename(&aside, &file).unwrap();
    let told = server.launch().join("\n");
    assert!(
        !told.contains("opened"),
        "it is a first start still: {told}"
    );
    assert_eq!(Credentials::read(&server.data()), credentials);
    server.ci().evaluate(&intent("one"));
    server
        .operator()
        .get(&format!("admin/tenants/{}", credentials.tenant_id))
        .expect(200);
}

#[test]
fn a_data_directory_in_use_is_left_alone() {
    let server = Server::start();
    refused(&server).says_in_one_line(75, &[&data(&server)]);
    server.ci().evaluate(&intent("one"));
}

#[test]
fn a_damaged_log_is_told_with_file_offset_and_last_good_record() {
    let mut server = Server::start();
    let ci = server.ci();
    for number in 0..20 {
        ci.evaluate(&intent(&format!("n-{number}")));
    }
    assert_eq!(server.stop(), 0);
    let path = segments(&server.data())[0].clone();
    let good = fs::read(&path).unwrap();
    let all = frames(&good);
    let records: Vec<_> = all.iter().filter(|frame| frame.count > 0).collect();
    let middle = records[records.len() / 2];
    let name = path.file_name().unwrap().to_str().unwrap();
    // Where, what byte; the frame that is then missing, and the last record before it.
    let rows = [
        (middle.offset + 64 + 10, middle),
        (middle.end - 9, middle),
        (middle.offset + 1, middle),
        (middle.offset + 24, middle),
        (middle.offset + 50, middle),
        (records[1].offset + 80, records[1]),
    ];
    for (byte, frame) in rows {
        let mut bad = good.clone();
        bad[byte] ^= 0x01;
        fs::write(&path, &bad).unwrap();
        let (offset, last_good) = (frame.offset.to_string(), (frame.first - 1).to_string());
        let ran = refused(&server);
        ran.says_in_one_line(65, &[name, &offset, &last_good]);
        assert_eq!(
            fs::read(&path).unwrap(),
            bad,
            "a damaged log is not touched"
        );
    }
    // Damage where there is no good record before it.
    let mut bad = good.clone();
    bad[64] ^= 0x01;
    fs::write(&path, &bad).unwrap();
    refused(&server).says_in_one_line(65, &[name, "0"]);

    fs::write(&path, &good).unwrap();
    server.launch();
    assert_eq!(ci.evaluate(&intent("n-7"))["replayed"], true);
}

#[test]
fn tables_without_a_log_are_damage() {
    let mut server = Server::start();
    server.ci().evaluate(&intent("one"));
    assert_eq!(server.stop(), 0);
    segments(&server.data())
        .iter()
        .for_each(|path| fs::remove_file(path).unwrap());
    refused(&server).says_in_one_line(65, &[]);
    let before = Credentials::read(&server.data());
    refused(&server).says_in_one_line(65, &[]);
    assert_eq!(Credentials::read(&server.data()), before);
}

#[test]
fn a_signing_key_that_cannot_be_trusted_is_refused() {
    let mut server = Server::start();
    server.ci().evaluate(&intent("one"));
    assert_eq!(server.stop(), 0);
    let file = server.data().join("signing.key");
    let good = fs::read(&file).unwrap();
    let set_mode = |mode| fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
    for mode in [0o640, 0o604, 0o644, 0o660] {
        set_mode(mode);
        refused(&server).says_in_one_line(78, &["signing.key"]);
    }
    set_mode(0o600);
    for bytes in [&b""[..], b"garbage", &good[..good.len() / 2]] {
        fs::write(&file, bytes).unwrap();
        refused(&server).says_in_one_line(78, &["signing.key"]);
    }
    // Entries would no longer verify under the key that their genesis names.
    fs::remove_file(&file).unwrap();
    refused(&server).says_in_one_line(78, &["signing.key"]);
    assert!(!file.exists());
    fs::create_dir(&file).unwrap();
    refused(&server).says_in_one_line(78, &["signing.key"]);
    fs::remove_dir(&file).unwrap();

    fs::write(&file, &good).unwrap();
    set_mode(0o600);
    server.launch();
    server.ci().evaluate(&intent("two"));
}

#[test]
fn a_bad_configuration_is_refused() {
    for text in [
        "[store]\nsegment_byte = 1\n",
        "[stor]\n",
        "not toml",
        "[store]\nsegment_bytes = \"x\"\n",
    ] {
        let server = Server::at_rest();
        fs::write(server.beside("arf.toml"), text).unwrap();
        refused(&server).says_in_one_line(78, &["arf.toml"]);
        assert!(
            !server.data().exists(),
            "nothing is made before the configuration is read"
        );
    }
    let server = Server::at_rest();
    fs::remove_file(server.beside("arf.toml")).unwrap();
    refused(&server).says_in_one_line(78, &["arf.toml"]);
}

#[test]
fn an_address_for_the_world_needs_tls_or_a_word() {
    let server = Server::at_rest();
    for address in ["0.0.0.0:0", "[::]:0"] {
        let mut command = arf(&["serve", "--listen", address, "--data"]);
        let ran = Ran::to_end(command.arg(server.data()));
        assert!([64, 78].contains(&ran.code), "{ran:#?}");
        ran.says_in_one_line(ran.code, &["--insecure-http"]);
    }
}

#[test]
fn an_address_in_use_is_told() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let server = Server::at_rest();
    let mut command = arf(&["serve", "--listen", &address, "--data"]);
    let ran = Ran::to_end(command.arg(server.data()));
    ran.says_in_one_line(1, &[&address]);
}

#[test]
fn wrong_usage_is_64_everywhere() {
    for arguments in [
        &["nonsense"][..],
        &["serve", "--nonsense"],
        &["serve", "--listen", "nowhere"],
        &["gate"],
        &["gate", "plan.json", "--format", "pdf"],
        &["key", "show", "everything"],
        &["key"],
        &["demo", "extra"],
    ] {
        let ran = Ran::to_end(&mut arf(arguments));
        assert_eq!(ran.code, 64, "{arguments:?}: {ran:#?}");
        assert!(
            !ran.stderr.is_empty() && ran.stdout.is_empty(),
            "{arguments:?}: {ran:#?}"
        );
    }
    for arguments in [&["--help"][..], &["gate", "--help"], &["--version"]] {
        assert_eq!(Ran::to_end(&mut arf(arguments)).code, 0, "{arguments:?}");
    }
}

#[test]
fn an_orderly_stop_finishes_what_was_begun() {
    let mut server = Server::start();
    let clients: Vec<_> = (0..8).map(|_| server.ci()).collect();
    let answered = std::sync::Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for (number, client) in clients.iter().enumerate() {
            let answered = &answered;
            scope.spawn(move || {
                for step in 0.. {
                    let id = format!("{number}-{step}");
                    let headers = [("content-type", "application/json")];
                    let body = intent(&id).to_string();
                    let sent = client.try_send(
                        "POST",
                        "intents/evaluate",
                        &headers,
                        Some(body.as_bytes()),
                    );
                    match sent {
                        Ok(answer) if answer.status == 200 => answered.lock().unwrap().push(id),
                        // Closing, or closed.
                        Ok(answer) => {
                            answer.problem(503, "shutting_down");
                            return;
                        }
                        Err(_) => return,
                    }
                }
            });
        }
        crate::harness::until("some load", || {
            (answered.lock().unwrap().len() > 50).then_some(())
        });
        assert_eq!(server.stop(), 0);
    });
    let told = server.launch().join("\n");
    let answered = answered.into_inner().unwrap();
    assert!(told.contains("2 tenants"), "{told}");
    let ci = server.ci();
    for id in &answered {
        ci.get(&format!("intents/{id}")).expect(200);
    }
    assert!(ci.list("audit?type=decision").len() >= answered.len());
}

/// The files of the log, in order.
fn segments(data: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(data.join("wal"))
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut paths: Vec<_> = entries
        .filter(|path| path.extension().is_some_and(|end| end == "wal"))
        .collect();
    paths.sort();
    paths
}

/// A frame of the log: where it lies and which records it holds.
#[derive(Debug)]
struct Frame {
    offset: usize,
    end: usize,
    count: u32,
    first: u64,
}

/// The frames of a segment (the layout is in `store/mod.rs`).
fn frames(bytes: &[u8]) -> Vec<Frame> {
    let mut frames: Vec<Frame> = Vec::new();
    let mut offset = 0;
    while bytes[offset..].starts_with(b"ARFW") {
        let u32_at = |at: usize| u32::from_le_bytes(bytes[offset + at..][..4].try_into().unwrap());
        let end = offset + 64 + (u32_at(16) as usize).next_multiple_of(8);
        let first = u64::from_le_bytes(bytes[offset + 24..][..8].try_into().unwrap());
        frames.push(Frame {
            offset,
            end,
            count: u32_at(12),
            first,
        });
        offset = end;
    }
    frames
}
