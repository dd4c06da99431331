//! `arf gate`: a Terraform plan, asked about as one change set.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use serde_json::{Value, json};

use crate::harness::{Ran, Server, arf, folder, notice, verified_log};

/// The project's own example plan.
fn example() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/examples/plan.json");
    path.to_str().unwrap().to_owned()
}

/// The addresses of a plan's changes, as Terraform names them.
fn changed(plan: &Path) -> BTreeSet<String> {
    let bytes = fs::read(plan).unwrap();
    let text = match bytes.as_slice() {
        [0xFF, 0xFE, rest @ ..] => {
            let units = rest
                .chunks_exact(2)
                .map(|pair| u16::from_le_bytes([pair[0], pair[1]]));
            String::from_utf16(&units.collect::<Vec<_>>()).unwrap()
        }
        [0xEF, 0xBB, 0xBF, rest @ ..] => String::from_utf8(rest.to_vec()).unwrap(),
        bytes => String::from_utf8(bytes.to_vec()).unwrap(),
    };
    let plan: Value = serde_json::from_str(&text).unwrap();
    let changes = plan["resource_changes"].as_array().unwrap().iter();
    let counts = |change: &&Value| {
        let change = &change["change"];
        let idle = [json!(["no-op"]), json!(["read"])].contains(&change["actions"]);
        // What is only taken into the state is a change all the same.
        !idle || change["importing"].is_object()
    };
    changes
        .filter(counts)
        .map(|change| change["address"].as_str().unwrap().to_owned())
        .collect()
}

/// A plan with this one change.
fn plan(actions: &[&str], kind: &str, before: Value, after: Value) -> Value {
    json!({
        "format_version": "1.2",
        "resource_changes": [{
            "address": format!("{kind}.it"), "mode": "managed", "type": kind, "name": "it",
            "provider_name": "registry.terraform.io/hashicorp/aws",
            "change": {"actions": actions, "before": before, "after": after},
        }],
    })
}

/// Writes a plan beside the server's data.
fn write(server: &Server, name: &str, plan: &Value) -> String {
    let path = server.beside(name);
    fs::write(&path, plan.to_string()).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn the_example_plan_needs_a_person_and_every_change_is_named() {
    let server = Server::start();
    let key = server.credentials().api_key;
    let gate = |more: &[&str]| server.run(&key, &[&["gate", &example()][..], more].concat());
    let addresses = changed(Path::new(&example()));
    assert!(addresses.len() > 1);

    for format in ["text", "markdown", "json"] {
        let ran = gate(&["--format", format]);
        assert_eq!(ran.code, 3, "{ran:#?}");
        for address in &addresses {
            // In JSON and Markdown some signs are escaped.
            let shown = address.split(['[', '"']).next().unwrap();
            assert!(
                ran.stdout.contains(shown),
                "{format}: no {address}: {ran:#?}"
            );
        }
    }
    // It ends with how far each category is.
    let text = gate(&[]).stdout;
    assert!(
        text.trim_end()
            .lines()
            .last()
            .unwrap()
            .contains("of 14 outcomes"),
        "{text}"
    );

    let report: Value = serde_json::from_str(&gate(&["--format", "json"]).stdout).unwrap();
    let items = report["items"].as_array().unwrap();
    let named: BTreeSet<_> = items
        .iter()
        .map(|item| item["address"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(named, addresses);
    assert_eq!(report["exit"], 3);
    // All in one change set, under ids that the contract fixes.
    let ci = server.ci();
    let set = report["change_set"]["id"].as_str().unwrap();
    assert_eq!(
        ci.list(&format!("intents?change_set={set}")).len(),
        items.len()
    );
    for item in items {
        let id = item["deterministic_id"].as_str().unwrap();
        assert!(id.starts_with("tf-") && id.len() == 55, "{id}");
        let row = ci.get(&format!("intents/{id}")).expect(200);
        assert_eq!(row["decision"]["action"], item["action"]);
        assert_eq!(row["payload"]["requester"], "terraform");
        assert_eq!(row["payload"]["change_set"]["intents"], items.len());
    }
}

#[test]
fn asked_again_an_unchanged_plan_asks_nothing_new() {
    let server = Server::start();
    let key = server.credentials().api_key;
    let first = server.run(&key, &["gate", &example()]);
    let footprint = server.ci().footprint();
    assert_eq!(footprint.1, changed(Path::new(&example())).len());
    let second = server.run(&key, &["gate", &example()]);
    assert_eq!(server.ci().footprint(), footprint);
    assert_eq!((second.code, &second.stdout), (first.code, &first.stdout));

    // A changed attribute asks anew, whatever it is.
    let text = fs::read_to_string(example()).unwrap();
    let changed = text.replacen("\"orders\"", "\"orders2\"", 3);
    assert_ne!(text, changed, "the example has an attribute `orders`");
    let other = server.beside("changed.json");
    fs::write(&other, changed).unwrap();
    server.run(&key, &["gate", other.to_str().unwrap()]);
    assert!(server.ci().footprint().0 > footprint.0);
}

#[test]
fn a_plan_that_was_applied_is_asked_about_anew() {
    let server = Server::start();
    let key = server.credentials().api_key;
    let file = write(
        &server,
        "one.json",
        &plan(
            &["update"],
            "aws_lambda_function",
            json!({"a": 1}),
            json!({"a": 2}),
        ),
    );
    let run = || {
        let ran = server.run(
            &key,
            &["gate", &file, "--environment", "dev", "--format", "json"],
        );
        let report: Value = serde_json::from_str(&ran.stdout).unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        (
            text(&report["items"][0]["deterministic_id"]),
            text(&report["change_set"]["id"]),
        )
    };
    let first = run();
    server.ci().outcome(&first.0, true);
    let second = run();
    assert_eq!(second.0, format!("{}-2", first.0));
    assert_ne!(
        second.1, first.1,
        "an identical plan applied again is a trial of its own"
    );
    assert_eq!(run(), second);
    assert_eq!(server.ci().outcome(&second.0, true)["learned"], true);
}

#[test]
fn the_exit_code_says_what_came_of_it() {
    let server = Server::start();
    let key = server.credentials().api_key;
    let ci = server.ci();
    // Compute is trusted, default has only ever failed, network is unknown.
    std::thread::scope(|scope| {
        for part in 0..4 {
            let ci = &ci;
            scope.spawn(move || {
                for number in (part..40).step_by(4) {
                    let common = json!({"environment": "dev", "requester": "r"});
                    for (kind, success, fields) in [
                        (
                            "good",
                            true,
                            json!({"resource_type": "vm", "region": "r", "size": "s"}),
                        ),
                        (
                            "bad",
                            false,
                            json!({"service_name": "svc", "change_scope": "canary",
                                              "deployment_target": "dev"}),
                        ),
                    ] {
                        let id = format!("{kind}-{number}");
                        let mut intent = common.clone();
                        intent
                            .as_object_mut()
                            .unwrap()
                            .extend(fields.as_object().unwrap().clone());
                        intent["deterministic_id"] = json!(id);
                        ci.evaluate(&intent);
                        ci.outcome(&id, success);
                    }
                }
            });
        }
    });
    let some = |kind: &str, actions: &[&str]| plan(actions, kind, json!({"a": 1}), json!({"a": 2}));
    let both = |a: &Value, b: &Value| {
        let mut plan = a.clone();
        plan["resource_changes"]
            .as_array_mut()
            .unwrap()
            .push(b["resource_changes"][0].clone());
        plan
    };
    let approved = some("aws_instance", &["update"]);
    let escalated = some("aws_vpc", &["update"]);
    let denied = some("aws_lambda_function", &["update"]);
    let nothing = some("aws_vpc", &["no-op"]);
    let rows = [
        (&nothing, "any", 0),
        (&approved, "any", 0),
        (&escalated, "any", 3),
        (&denied, "any", 2),
        (&both(&escalated, &denied), "any", 2),
        (&both(&approved, &escalated), "any", 3),
        (&escalated, "deny", 0),
        (&denied, "deny", 2),
        (&both(&escalated, &denied), "deny", 2),
        (&escalated, "never", 0),
        (&denied, "never", 0),
    ];
    for (number, (plan, fail_on, code)) in rows.into_iter().enumerate() {
        let file = write(&server, &format!("{number}.json"), plan);
        let ran = server.run(
            &key,
            &["gate", &file, "--environment", "dev", "--fail-on", fail_on],
        );
        assert_eq!(ran.code, code, "row {number}: {ran:#?}");
        // What was softened is said.
        let softened = fail_on != "any" && code == 0;
        assert_eq!(
            ran.stdout.contains("--fail-on"),
            softened,
            "row {number}: {ran:#?}"
        );
    }
}

#[test]
fn what_could_not_run_is_1_and_wrong_usage_is_64_whatever_was_to_fail() {
    let server = Server::start();
    let key = server.credentials().api_key;
    let write = |name: &str, text: &[u8]| {
        let path = server.beside(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let state = write("state.json", b"{\"values\":{}}");
    let text = write("text.json", b"Terraform will perform the following actions");
    let empty = write("empty.json", b"");
    let list = write("list.json", b"[]");
    let missing = server.beside("missing.json").to_str().unwrap().to_owned();
    for file in [state, text, empty, list, missing] {
        for more in [&[][..], &["--fail-on", "never"], &["--offline"]] {
            let ran = if more == ["--offline"] {
                Ran::to_end(arf(&["gate", &file]).args(more))
            } else {
                server.run(&key, &[&["gate", &file][..], more].concat())
            };
            let name = Path::new(&file).file_name().unwrap().to_str().unwrap();
            ran.says_in_one_line(1, &[name]);
        }
    }
    // A key that is not good, and nobody there.
    let ran = server.run(
        "arf_free_wrong",
        &["gate", &example(), "--fail-on", "never"],
    );
    ran.says_in_one_line(1, &["401"]);
    let nobody = PathBuf::from("http://127.0.0.1:9");
    let mut command = arf(&["gate", &example(), "--fail-on", "never", "--timeout", "1s"]);
    let ran = Ran::to_end(command.env("ARF_SERVER", nobody).env("ARF_KEY", &key));
    ran.says_in_one_line(1, &["127.0.0.1:9"]);

    let told =
        "no server: set ARF_SERVER and ARF_KEY, or use --offline (default rules, no learning)";
    Ran::to_end(&mut arf(&["gate", &example()])).says_in_one_line(64, &[told]);
    Ran::to_end(arf(&["gate", &example()]).env("ARF_SERVER", server.url()))
        .says_in_one_line(64, &[told]);
    for wrong in [
        &["--environment", "production"][..],
        &["--fail-on", "all"],
        &["--format", "pdf"],
        &["--timeout", "x"],
    ] {
        let ran = server.run(&key, &[&["gate", &example()][..], wrong].concat());
        assert_eq!(ran.code, 64, "{wrong:?}: {ran:#?}");
    }
    assert_eq!(server.ci().list("audit?type=decision").len(), 0);
}

#[test]
fn offline_the_default_rules_decide_and_nobody_is_asked() {
    let place = folder();
    let ran = Ran::to_end(arf(&["gate", &example(), "--offline"]).current_dir(&place));
    assert_eq!(ran.code, 3, "{ran:#?}");
    assert!(ran.stdout.contains("0 of 14 outcomes"), "{ran:#?}");
    assert_eq!(
        fs::read_dir(&place).unwrap().count(),
        0,
        "it writes nothing"
    );
    // The rules, not only the gate.
    let file = place.path().join("plan.json");
    let replace = plan(
        &["delete", "create"],
        "aws_db_instance",
        json!({"a": 1}),
        json!({"a": 2}),
    );
    fs::write(&file, replace.to_string()).unwrap();
    let file = file.to_str().unwrap();
    let ran = Ran::to_end(&mut arf(&["gate", file, "--offline", "--format", "json"]));
    assert!(
        ran.stdout.contains("replace of database in prod"),
        "{ran:#?}"
    );
}

/// True if `text` occurs in `bytes`, as it is or in base64 of any alignment.
fn holds(bytes: &[u8], text: &str) -> bool {
    let contains = |needle: &[u8]| bytes.windows(needle.len()).any(|window| window == needle);
    let encoded = |skip: usize| {
        let engine = base64::engine::general_purpose::STANDARD_NO_PAD;
        let text = &text.as_bytes()[skip..];
        engine.encode(&text[..text.len() / 3 * 3])
    };
    contains(text.as_bytes()) || (0..3).any(|skip| contains(encoded(skip).as_bytes()))
}

/// Every file below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| {
            if path.is_dir() {
                files(&path)
            } else {
                vec![path]
            }
        })
        .collect()
}

#[test]
fn a_secret_in_a_plan_goes_nowhere() {
    let mut server = Server::start();
    let key = server.credentials().api_key;
    let secrets: Vec<String> = (0..12)
        .map(|n| format!("S3cr3t-{n:02}-Zm9vYmFyYmF6cXV4"))
        .collect();
    let s = |n: usize| secrets[n].as_str();
    let change = |kind: &str, actions: &[&str], before: Value, after: Value| {
        let mut one = plan(actions, kind, before, after)["resource_changes"][0].clone();
        one["change"]["before_sensitive"] = json!({"password": true});
        one["change"]["after_sensitive"] = json!({"password": true, "nested": [{"token": true}]});
        one
    };
    let plan = json!({
        "format_version": "1.2",
        "variables": {"db_password": {"value": s(0)}, "environment": {"value": "dev"}},
        "resource_changes": [
            change("aws_db_instance", &["update"], json!({"password": s(1), "plain": s(2)}),
                json!({"password": s(3), "plain": s(4), "nested": [{"token": s(5)}]})),
            change("aws_iam_role_policy", &["create"], Value::Null,
                json!({"policy": format!("{{\"Statement\":[{{\"Sid\":\"{}\",\"Action\":\"*\"}}]}}", s(6)),
                       "name": s(7)})),
            change("aws_instance", &["delete"], json!({"user_data": s(8), "instance_type": "t3.micro"}),
                Value::Null),
            change("random_thing", &["update"], json!({"map": {s(9): s(10)}}), json!({"map": {s(9): s(11)}})),
        ],
        "prior_state": {"values": {"root_module": {"resources": [{"values": {"password": s(1)}}]}}},
    });
    let file = write(&server, "plan.json", &plan);
    let save = server.beside("run.json");
    let mut seen = Vec::new();
    for format in ["text", "json", "markdown"] {
        for more in [&[][..], &["--save", save.to_str().unwrap()]] {
            let arguments = [&["gate", &file, "--format", format][..], more].concat();
            let ran = server.run(&key, &arguments);
            assert_eq!(ran.code, 3, "{ran:#?}");
            seen.push(ran.stdout.into_bytes());
            seen.push(ran.stderr.into_bytes());
        }
        let ran = Ran::to_end(&mut arf(&["gate", &file, "--offline", "--format", format]));
        seen.push(ran.stdout.into_bytes());
        seen.push(ran.stderr.into_bytes());
    }
    assert_eq!(server.ci().list("intents").len(), 4);
    let names = server.ci().list("audit?type=decision");
    assert_eq!(names.len(), 4);
    seen.push(fs::read(&save).unwrap());
    seen.push(server.log().into_bytes());
    assert_eq!(server.stop(), 0);
    seen.extend(
        files(&server.data())
            .iter()
            .map(|path| fs::read(path).unwrap()),
    );
    // What is looked for is found where it is: the search works.
    assert!(
        seen.iter()
            .any(|bytes| holds(bytes, "aws_iam_role_policy.it"))
    );
    assert!(
        secrets
            .iter()
            .all(|secret| holds(plan.to_string().as_bytes(), secret))
    );
    for secret in &secrets {
        for bytes in &seen {
            assert!(
                !holds(bytes, secret),
                "{secret} in {}",
                String::from_utf8_lossy(bytes)
            );
        }
    }
}

#[test]
fn the_run_is_saved_for_the_outcomes_that_follow() {
    let server = Server::start();
    let key = server.credentials().api_key;
    let (save, out) = (server.beside("run.json"), server.beside("out.md"));
    let ran = server.run(
        &key,
        &[
            "gate",
            &example(),
            "--save",
            save.to_str().unwrap(),
            "--out",
            out.to_str().unwrap(),
            "--format",
            "markdown",
            "--change-set",
            "pr-12",
            "--revision",
            "r1",
            "--url",
            "https://x/12",
        ],
    );
    assert_eq!((ran.code, ran.stdout.as_str()), (3, ""), "{ran:#?}");
    assert!(fs::read_to_string(out).unwrap().contains('|'));
    let run: Value = serde_json::from_slice(&fs::read(save).unwrap()).unwrap();
    let ids: BTreeSet<_> = run["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["deterministic_id"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(ids.len(), changed(Path::new(&example())).len());
    let listed = server.ci().list("intents?change_set=pr-12");
    let listed: BTreeSet<_> = listed
        .iter()
        .map(|item| item["deterministic_id"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(listed, ids);
    let decision = server
        .ci()
        .get(&format!("intents/{}", ids.first().unwrap()))
        .expect(200);
    let set = &decision["decision"]["change_set"];
    assert_eq!(
        (&set["id"], &set["revision"], &set["url"]),
        (&json!("pr-12"), &json!("r1"), &json!("https://x/12"))
    );
}

#[test]
fn plans_of_other_projects_are_understood() {
    let Some(folder) = std::env::var_os("ARF_PLANS") else {
        notice("no plans of other projects were tried: ARF_PLANS names no folder of them");
        return;
    };
    let server = Server::start();
    let key = server.credentials().api_key;
    let mut plans = files(Path::new(&folder));
    plans.retain(|path| path.extension().is_some_and(|end| end == "json"));
    plans.sort();
    assert!(!plans.is_empty(), "no plans in {folder:?}");
    for path in plans {
        let addresses = changed(&path);
        let file = path.to_str().unwrap();
        let gate = |more: &[&str]| server.run(&key, &[&["gate", file][..], more].concat());
        let before = server.ci().footprint();
        let ran = gate(&["--format", "json"]);
        assert_eq!(
            ran.code,
            if addresses.is_empty() { 0 } else { 3 },
            "{file}: {ran:#?}"
        );
        let report: Value = serde_json::from_str(&ran.stdout).unwrap();
        let items = report["items"].as_array().unwrap();
        let named: BTreeSet<_> = items
            .iter()
            .map(|item| item["address"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(named, addresses, "{file}");
        let asked = server.ci().footprint();
        assert_eq!(asked.0 - before.0, items.len(), "{file}");

        for format in ["text", "markdown", "json"] {
            let again = gate(&["--format", format]);
            assert_eq!(again.code, ran.code, "{file}: {again:#?}");
        }
        assert_eq!(server.ci().footprint(), asked, "{file} asked something new");
        let offline = Ran::to_end(&mut arf(&["gate", file, "--offline"]));
        assert_eq!(offline.code, ran.code, "{file}: {offline:#?}");
    }
    verified_log(&server.ci());
}
