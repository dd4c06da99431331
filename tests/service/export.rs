//! `arf export`: what is stored, as others read it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use crate::harness::{Credentials, Ran, Random, Server, arf, deployment, notice, until};

/// Everything that a text format could trip over.
const NASTY: &str = "it's \"quoted\" \\N \\. \\\\ 100% $1 $$ \t tab \r\n\\.\n-- ; DROP TABLE intents; \u{0} \u{7f} é 🦀 \u{2028}end\\";

/// A server with two tenants that have used the same ids for different things, at rest.
fn lived() -> (Server, Vec<String>, Vec<Value>) {
    lived_and_noted(&[])
}

/// The same, where the first tenant also has an outcome with each of these notes.
fn lived_and_noted(notes: &[String]) -> (Server, Vec<String>, Vec<Value>) {
    let mut server = Server::start();
    let ci = server.ci();
    let (other, second) = server.found(NASTY.split(" \u{0}").next().unwrap(), "pro");
    for (client, text) in [(&ci, "plain"), (&second, NASTY)] {
        for id in ["same", "it's \"\\. \\N 🦀"] {
            let intent = deployment(json!({
                "deterministic_id": id, "requester": text, "service_name": text,
                "change_set": {"id": "set", "revision": "1"},
                "provenance": {"text": text, "number": 1.50, "big": 9007199254740991_u64},
            }));
            client.evaluate(&intent);
            let outcome = json!({"deterministic_id": id, "success": id == "same", "notes": text,
                "recorded_by": text, "idempotency_key": format!("key of {id}")});
            client.post("intents/outcome", &outcome).expect(200);
        }
        // The same change set, another revision: the intent moves.
        let moves =
            json!({"deterministic_id": "moved", "change_set": {"id": "set", "revision": "1"}});
        client.evaluate(&deployment(moves));
        let moves =
            json!({"deterministic_id": "moved", "change_set": {"id": "set", "revision": "2"}});
        client.evaluate(&deployment(moves));
        // White space and an order of members of its own.
        let body = b"{\n  \"service_name\": \"api\", \"requester\":\t\"ci\",\n\"environment\": \"dev\",
            \"deployment_target\":\"dev\", \"change_scope\" : \"canary\", \"estimated_cost\": 1.50 }";
        let answer = client.post_bytes("intents/evaluate", &[], body);
        answer.expect(200);
    }
    for (number, note) in notes.iter().enumerate() {
        let id = format!("note {number}");
        ci.evaluate(&deployment(
            json!({"deterministic_id": id, "requester": format!("r{note}")}),
        ));
        let outcome = json!({"deterministic_id": id, "success": true, "notes": note});
        ci.post("intents/outcome", &outcome).expect(200);
    }
    let tenant = server.credentials().tenant_id;
    let mut entries = Vec::new();
    for client in [&ci, &second] {
        for item in client.list("audit") {
            let id = item["decision_id"].as_str().unwrap();
            entries.push(client.get(&format!("audit/{id}")).expect(200));
        }
    }
    assert_eq!(server.stop(), 0);
    (server, vec![tenant, other], entries)
}

fn export(server: &Server, out: &Path, more: &[&str]) -> Ran {
    let mut command = arf(&["export", "--data"]);
    command.arg(server.data()).arg("--out").arg(out).args(more);
    Ran::to_end(&mut command)
}

/// The lines of every file.
fn lines(out: &Path) -> BTreeMap<String, Vec<Value>> {
    let summary: Value =
        serde_json::from_slice(&fs::read(out.join("export.json")).unwrap()).unwrap();
    let mut files = BTreeMap::new();
    for (name, file) in summary["files"].as_object().unwrap() {
        let bytes = fs::read(out.join(name)).unwrap();
        assert_eq!(file["bytes"], bytes.len(), "{name}");
        assert_eq!(
            file["sha256"],
            format!("{:x}", Sha256::digest(&bytes)),
            "{name}"
        );
        let text = String::from_utf8(bytes).unwrap();
        let rows: Vec<Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(file["rows"], rows.len(), "{name}");
        files.insert(name.clone(), rows);
    }
    files
}

#[test]
fn a_bad_command_line_is_a_usage_error() {
    for bad in [
        &["export", "--tenant", "nobody"][..],
        &["export", "--format", "xml"],
        &["export", "more"],
    ] {
        let ran = Ran::to_end(&mut arf(bad));
        assert_eq!((ran.code, ran.stdout.as_str()), (64, ""), "{ran:#?}");
    }
}

#[test]
fn a_directory_in_use_is_not_exported_and_a_backup_is_named() {
    let server = Server::start();
    let ran = export(&server, &server.beside("out"), &[]);
    ran.says_in_one_line(75, &["in use", "arf backup"]);
    assert!(!server.beside("out").exists());
}

#[test]
fn what_is_not_there_or_in_the_way_is_told() {
    let mut server = Server::start();
    server.stop();
    let nobody = "00000000-0000-4000-8000-000000000000";
    let ran = export(&server, &server.beside("a"), &["--tenant", nobody]);
    ran.says_in_one_line(1, &[nobody]);
    fs::create_dir(server.beside("b")).unwrap();
    fs::write(server.beside("b").join("mine"), "precious").unwrap();
    export(&server, &server.beside("b"), &[]).says_in_one_line(1, &["not empty"]);
    let mut command = arf(&["export", "--data", "/nowhere/at/all", "--out"]);
    let ran = Ran::to_end(command.arg(server.beside("c")));
    ran.says_in_one_line(1, &["/nowhere/at/all"]);
}

#[test]
fn everything_comes_out_with_the_texts_it_was_said_in() {
    let (server, tenants, entries) = lived();
    let out = server.beside("out");
    let ran = export(&server, &out, &[]);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{ran:#?}");
    let files = lines(&out);
    let count = |name: &str| files[&format!("{name}.ndjson")].len();
    assert_eq!(count("tenants"), 3, "with tenant zero");
    assert_eq!((count("intents"), count("intent_outcomes")), (8, 4));
    assert_eq!(count("usage_logs"), 8);
    assert_eq!((count("api_keys"), count("change_sets")), (1 + 2 + 1, 4));
    assert_eq!(count("beta_state"), 2);

    // The entries, byte for byte.
    let log = &files["decision_audit_log.ndjson"];
    assert_eq!(log.len(), entries.len() + 1, "and tenant zero's genesis");
    let by_id = |rows: &[Value]| -> BTreeMap<String, Value> {
        let id = |row: &Value| row["decision_id"].as_str().unwrap().to_owned();
        rows.iter().map(|row| (id(row), row.clone())).collect()
    };
    let (log, openings) = (by_id(log), by_id(&files["openings.ndjson"]));
    for entry in &entries {
        let id = entry["decision_id"].as_str().unwrap();
        let row = &log[id];
        let bytes = STANDARD.decode(row["entry"].as_str().unwrap()).unwrap();
        assert_eq!(entry["entry"], String::from_utf8(bytes).unwrap());
        for name in [
            "index",
            "type",
            "timestamp",
            "caller",
            "signature",
            "leaf_hash",
            "justification",
            "risk_score",
            "action",
            "counterfactual",
            "trace_id",
            "deterministic_id",
        ] {
            assert_eq!(row[name], entry[name], "`{name}` of {id}");
        }
        let opening = &entry["opening"];
        if opening.is_null() {
            assert_eq!(row["opening"], "none");
            continue;
        }
        assert_eq!(
            (&row["opening"], &openings[id]["seed"]),
            (&json!("kept"), &opening["seed"])
        );
        let parts = opening["parts"].as_array().unwrap().iter();
        for (part, exported) in parts.zip(openings[id]["parts"].as_array().unwrap()) {
            let bytes = STANDARD
                .decode(exported["bytes"].as_str().unwrap())
                .unwrap();
            let text = String::from_utf8(bytes).unwrap();
            assert_eq!(
                (&part["name"], &part["value"]),
                (&exported["name"], &json!(text))
            );
        }
    }

    // Rows with what their openings say.
    let of = |name: &str, tenant: &str| -> Vec<Value> {
        let rows = files[&format!("{name}.ndjson")].iter();
        rows.filter(|row| row["tenant_id"] == tenant)
            .cloned()
            .collect()
    };
    for (tenant, text) in tenants.iter().zip(["plain", NASTY]) {
        let intents = of("intents", tenant);
        let same = &intents[0];
        assert_eq!(
            (&same["deterministic_id"], &same["requester"]),
            (&json!("same"), &json!(text))
        );
        assert_eq!(same["payload"]["provenance"]["text"], text);
        assert_eq!(same["decision"]["action"], same["action"]);
        assert_eq!(same["justification"], same["decision"]["justification"]);
        let outcomes = of("intent_outcomes", tenant);
        assert_eq!(outcomes[0]["intent_sequence"], same["sequence"]);
        assert_eq!(
            (&outcomes[0]["notes"], &outcomes[0]["recorded_by"]),
            (&json!(text), &json!(text))
        );
        assert_eq!(outcomes[1]["deterministic_id"], "it's \"\\. \\N 🦀");
        let components = of("components", tenant);
        assert!(
            components
                .iter()
                .any(|row| row["name"] == text && row["kind"] == "service"),
            "{components:?}"
        );
        let sets: BTreeSet<_> = of("change_sets", tenant)
            .iter()
            .map(|set| {
                (
                    set["id"].to_string(),
                    set["revision"].to_string(),
                    set["items"].to_string(),
                )
            })
            .collect();
        let set = |revision: &str, items: &str| {
            (
                "\"set\"".into(),
                format!("\"{revision}\""),
                items.to_owned(),
            )
        };
        assert_eq!(sets, BTreeSet::from([set("1", "2"), set("2", "1")]));
    }
    // Numbers are spelled as they were sent.
    let text = fs::read_to_string(out.join("intents.ndjson")).unwrap();
    assert!(text.contains(r#""payload":{"service_name":"api","requester":"ci","environment":"dev","deployment_target":"dev","change_scope":"canary","estimated_cost":1.50}"#), "{text}");

    // Nothing that opens anything is in it.
    let Credentials {
        operator_key,
        api_key,
        reviewer_key,
        ..
    } = server.credentials();
    let signing_key = fs::read(server.data().join("signing.key")).unwrap();
    let signing_key = String::from_utf8_lossy(&signing_key).trim().to_owned();
    for file in fs::read_dir(&out).unwrap() {
        let path = file.unwrap().path();
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600,
            "{}",
            path.display()
        );
        let text = fs::read_to_string(&path).unwrap();
        for secret in [&operator_key, &api_key, &reviewer_key, &signing_key] {
            assert!(!text.contains(secret.as_str()), "{}", path.display());
        }
    }
    assert_eq!(
        fs::metadata(&out).unwrap().permissions().mode() & 0o777,
        0o700
    );
    // And what was exported is as it was, and starts.
    let mut server = server;
    server.launch();
    server.ci().get("intents/same").expect(200);
}

#[test]
fn one_tenant_comes_out_alone() {
    let (server, tenants, _) = lived();
    let out = server.beside("out");
    let ran = export(&server, &out, &["--tenant", &tenants[1], "--json"]);
    assert_eq!(ran.code, 0, "{ran:#?}");
    let summary: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(
        (&summary["tenants"], &summary["format"]),
        (&json!(1), &json!(1))
    );
    let files = lines(&out);
    for row in files.values().flatten() {
        assert_eq!(row["tenant_id"], tenants[1].as_str(), "{row}");
    }
    assert_eq!(files["intents.ndjson"].len(), 4);
}

#[test]
fn the_guide_lists_every_file_and_field() {
    let (server, _, _) = lived();
    let out = server.beside("out");
    assert_eq!(export(&server, &out, &[]).code, 0);
    let guide = concat!(env!("CARGO_MANIFEST_DIR"), "/data/guides/export.md");
    let guide = fs::read_to_string(guide).unwrap();
    let ticked = |text: &str| -> Vec<String> {
        text.split('`')
            .skip(1)
            .step_by(2)
            .map(str::to_owned)
            .collect()
    };
    let mut told = BTreeMap::new();
    for row in guide.lines().filter(|line| line.starts_with("| `")) {
        let mut cells = row.split('|').skip(1);
        let name = ticked(cells.next().unwrap()).remove(0);
        let fields = cells.next().unwrap().split(" (").next().unwrap();
        told.insert(name, ticked(fields));
    }
    for (name, rows) in lines(&out) {
        let written = fs::read_to_string(out.join(&name)).unwrap();
        // No tenant was ever restored here.
        let Some(row) = rows.first() else {
            assert_eq!(name, "former_logs.ndjson");
            continue;
        };
        let fields = told
            .get(&name)
            .unwrap_or_else(|| panic!("{name} is not in the guide"));
        let listed: BTreeSet<&str> = fields.iter().map(String::as_str).collect();
        let found: BTreeSet<&str> = row
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        assert_eq!(listed, found, "{name}");
        assert!(
            written.starts_with(&format!("{{\"{}\":", fields[0])),
            "{name}"
        );
    }
}

#[test]
fn a_damaged_log_is_not_exported() {
    let (server, _, _) = lived();
    let wal = server.data().join("wal").join("0000000000000001.wal");
    let mut bytes = fs::read(&wal).unwrap();
    bytes[2_000] ^= 1;
    fs::write(&wal, bytes).unwrap();
    let ran = export(&server, &server.beside("out"), &[]);
    ran.says_in_one_line(65, &["0000000000000001.wal", "damaged at offset"]);
}

const POSTGRES: &str = "/usr/lib/postgresql/15/bin";

/// A PostgreSQL of its own, on a socket in a folder that goes with it.
struct Postgres {
    server: Child,
    home: TempDir,
}

impl Postgres {
    /// Starts one; `None`, and a notice, where there is none and none was called for.
    fn start() -> Option<Self> {
        if !Path::new(POSTGRES).join("postgres").exists() {
            assert!(
                std::env::var_os("REQUIRE_POSTGRES").is_none(),
                "there is no PostgreSQL in {POSTGRES}"
            );
            notice(&format!(
                "the SQL was not loaded: there is no PostgreSQL in {POSTGRES}"
            ));
            return None;
        }
        // A socket's path is short, and the server is not root.
        let home = tempfile::tempdir_in("/tmp").unwrap();
        let owner = unprivileged();
        if let Some((user, group)) = owner {
            std::os::unix::fs::chown(home.path(), Some(user), Some(group)).unwrap();
        }
        let run = |program: &str| {
            use std::os::unix::process::CommandExt as _;
            let mut command = Command::new(Path::new(POSTGRES).join(program));
            command
                .arg("-D")
                .arg(home.path().join("data"))
                .current_dir("/")
                .stdin(Stdio::null());
            if let Some((user, group)) = owner {
                command.uid(user).gid(group);
            }
            command
        };
        let ran = Ran::to_end(run("initdb").args([
            "-A",
            "trust",
            "-U",
            "postgres",
            "-E",
            "UTF8",
            "--locale=C",
            "--no-sync",
        ]));
        assert_eq!(ran.code, 0, "{ran:#?}");
        let mut server = run("postgres");
        server
            .arg("-k")
            .arg(home.path())
            .args(["-c", "listen_addresses=", "-c", "fsync=off"]);
        let server = server
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let postgres = Self { server, home };
        until("PostgreSQL", || {
            (postgres.psql(&["-c", "SELECT 1"]).code == 0).then_some(())
        });
        Some(postgres)
    }

    fn psql(&self, arguments: &[&str]) -> Ran {
        let mut command = Command::new(Path::new(POSTGRES).join("psql"));
        command
            .args(["-X", "-U", "postgres", "-d", "postgres", "-h"])
            .arg(self.home.path());
        Ran::to_end(command.args(arguments).stdin(Stdio::null()))
    }

    /// The rows of a query.
    #[track_caller]
    fn rows(&self, query: &str) -> Vec<Value> {
        let query = format!("SELECT coalesce(json_agg(t), '[]') FROM ({query}) AS t");
        let ran = self.psql(&["-At", "-c", &query]);
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{ran:#?}");
        serde_json::from_str(&ran.stdout).unwrap()
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // SIGINT: disconnects everybody and stops.
        let _ = Command::new("kill")
            .args(["-INT", &self.server.id().to_string()])
            .status();
        let _ = self.server.wait();
    }
}

/// The user `postgres`, where this is root, whom PostgreSQL refuses to run as.
fn unprivileged() -> Option<(u32, u32)> {
    let me = fs::metadata("/proc/self").ok()?;
    if std::os::unix::fs::MetadataExt::uid(&me) != 0 {
        return None;
    }
    let users = fs::read_to_string("/etc/passwd").unwrap();
    let line = users.lines().find(|line| line.starts_with("postgres:"));
    let fields: Vec<_> = line.expect("a user `postgres`").split(':').collect();
    Some((fields[2].parse().unwrap(), fields[3].parse().unwrap()))
}

/// A text of what text formats trip over.
fn gibberish(random: &mut Random) -> String {
    let tokens = [
        "\\", "\\.", "\n", "\r", "\t", "N", "'", "\"", "\0", "$$", ";", "--", "\u{8}", "\u{b}",
        "x", "é", "🦀", "\u{2028}",
    ];
    let token = |_| tokens[random.below(tokens.len() as u64) as usize];
    (0..12).map(token).collect()
}

/// A text as PostgreSQL holds it.
fn held(text: &str) -> String {
    text.replace('\0', "\u{FFFD}")
}

#[test]
fn the_script_loads_into_postgresql_and_says_the_same() {
    let Some(postgres) = Postgres::start() else {
        return;
    };
    let mut random = Random::new();
    let notes: Vec<String> = (0..40).map(|_| gibberish(&mut random)).collect();
    let (server, tenants, _) = lived_and_noted(&notes);
    let (out, script) = (server.beside("rows"), server.beside("script"));
    assert_eq!(export(&server, &out, &[]).code, 0);
    let ran = export(&server, &script, &["--sql", "--json"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{ran:#?}");
    let summary: Value = serde_json::from_str(&ran.stdout).unwrap();
    let script: PathBuf = script.join("export.sql");
    let load = || postgres.psql(&["-q", "-f", script.to_str().unwrap()]);
    let ran = load();
    assert_eq!(
        (ran.code, ran.stdout.as_str(), ran.stderr.as_str()),
        (0, "", ""),
        "{ran:#?}"
    );

    // As many rows as it says, and as many as the other export has.
    let files = lines(&out);
    for (table, rows) in summary["files"]["export.sql"]["rows"].as_object().unwrap() {
        let counted = postgres.rows(&format!("SELECT count(*) FROM {table}"));
        assert_eq!(&counted[0]["count"], rows, "{table}");
        let all = files[&format!("{table}.ndjson")].iter();
        let expected = all.filter(|row| table != "decision_audit_log" || row["type"] == "decision");
        assert_eq!(rows, expected.count(), "{table}");
    }

    // Row by row.
    let naive = |moment: &Value| {
        moment
            .as_str()
            .unwrap()
            .trim_end_matches('Z')
            .trim_end_matches('0')
            .to_owned()
    };
    let short = |moment: &Value| moment.as_str().unwrap().trim_end_matches('0').to_owned();
    for row in &files["intents.ndjson"] {
        let (decision, id) = (
            row["decision_id"].as_str().unwrap(),
            row["deterministic_id"].as_str().unwrap(),
        );
        // The first tenant in order keeps an id that both use.
        let first = tenants.iter().min().unwrap().as_str() == row["tenant_id"];
        let shared = files["intents.ndjson"]
            .iter()
            .filter(|other| other["deterministic_id"] == id)
            .count()
            > 1;
        let id = if first || !shared { id } else { decision };
        let found = postgres.rows(&format!(
            "SELECT i.*, a.deterministic_id AS audited, a.justification, a.signature,
            a.risk_score AS risk, a.counterfactual, a.timestamp AS at FROM decision_audit_log a
            JOIN intents i USING (tenant_id, deterministic_id) WHERE a.id = '{decision}'"
        ));
        assert_eq!(found.len(), 1, "{row}");
        let found = &found[0];
        assert_eq!(
            (&found["deterministic_id"], &found["tenant_id"]),
            (&json!(id), &row["tenant_id"])
        );
        assert_eq!(
            (&found["payload"], &found["oss_payload"]),
            (&row["payload"], &row["intent"])
        );
        assert_eq!(
            (&found["intent_type"], &found["environment"]),
            (&row["intent_type"], &row["environment"])
        );
        assert_eq!(
            found["risk_score"].as_str().unwrap().parse::<f64>().ok(),
            row["risk_score"].as_f64()
        );
        assert_eq!(
            (&found["risk"], &found["counterfactual"]),
            (&row["risk_score"], &row["counterfactual"])
        );
        assert_eq!(
            found["justification"],
            held(row["justification"].as_str().unwrap())
        );
        assert_eq!(
            (short(&found["created_at"]), short(&found["at"])),
            (naive(&row["created_at"]), naive(&row["created_at"]))
        );
    }
    let outcomes = postgres.rows("SELECT o.*, i.deterministic_id, i.tenant_id FROM intent_outcomes o JOIN intents i ON i.id = o.intent_id ORDER BY o.id");
    for (found, row) in outcomes.iter().zip(&files["intent_outcomes.ndjson"]) {
        for name in ["recorded_by", "notes"] {
            let expected = row[name].as_str().map(held);
            assert_eq!(found[name].as_str(), expected.as_deref(), "{row}");
        }
        assert_eq!(
            (&found["success"], &found["tenant_id"]),
            (&row["success"], &row["tenant_id"])
        );
        assert_eq!(found["idempotency_key"], row["idempotency_key_name"]);
    }
    let names: Vec<_> = postgres.rows("SELECT id, name FROM tenants ORDER BY id");
    let exported: BTreeMap<_, _> = files["tenants.ndjson"]
        .iter()
        .map(|row| (row["tenant_id"].to_string(), &row["name"]))
        .collect();
    assert_eq!(names.len(), exported.len());
    assert!(
        names
            .iter()
            .all(|row| exported[&row["id"].to_string()] == &row["name"]),
        "{names:?}"
    );
    let beta = postgres.rows(
        "SELECT tenant_id, category, alpha, beta FROM beta_state ORDER BY tenant_id, category",
    );
    for (found, row) in beta.iter().zip(&files["beta_state.ndjson"]) {
        assert_eq!(
            (&found["tenant_id"], &found["category"]),
            (&row["tenant_id"], &row["category"])
        );
        for name in ["alpha", "beta"] {
            assert_eq!(found[name].as_f64(), row[name].as_f64(), "{row}");
        }
    }
    let keys = postgres.rows("SELECT key, is_active FROM api_keys ORDER BY key");
    let hashes: BTreeSet<_> = files["api_keys.ndjson"]
        .iter()
        .map(|row| row["key_sha256"].to_string())
        .collect();
    assert_eq!(
        keys.iter()
            .map(|row| row["key"].to_string())
            .collect::<BTreeSet<_>>(),
        hashes
    );
    let hash = format!("{:x}", Sha256::digest(server.credentials().api_key));
    assert!(
        keys.iter()
            .any(|row| row["key"] == hash && row["is_active"] == true)
    );

    // Upstream goes on numbering where the script ended.
    let added = postgres.rows("SELECT nextval(pg_get_serial_sequence('intents', 'id')) AS next");
    assert_eq!(added[0]["next"], files["intents.ndjson"].len() + 1);
    // Once more is an error that changes nothing.
    assert_ne!(load().code, 0);
    let count = postgres.rows("SELECT count(*) FROM intents");
    assert_eq!(count[0]["count"], files["intents.ndjson"].len());
    // A tenant goes with everything that is its own.
    let gone = postgres.psql(&["-c", "DELETE FROM tenants"]);
    assert_eq!(gone.code, 0, "{gone:#?}");
    assert_eq!(
        postgres.rows("SELECT id FROM intent_outcomes"),
        Vec::<Value>::new()
    );
}
