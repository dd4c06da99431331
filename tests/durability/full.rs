//! A disk that fills up: writes stop before the log can fail, reads still work, and writes work again
//! once there is space.
//!
//! The disk is a tmpfs in its own mount namespace.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use serde_json::json;

use crate::harness::{Client, Ran, Random, Server, deployment, folder, notice, until};
use crate::{skip, small_server};

/// Set in the namespace.
const INSIDE: &str = "ARF_FULL_INSIDE";

#[test]
fn a_disk_that_fills_up_stops_writes_until_there_is_room_and_nothing_else() {
    if std::env::var_os(INSIDE).is_some() {
        return fill_up();
    }
    let home = folder();
    let mount = ["--mount", "mount", "-t", "tmpfs", "none"];
    let tried = Ran::to_end(Command::new("unshare").args(mount).arg(home.path()));
    if tried.code != 0 {
        let why = format!("nothing can be mounted here: {}", tried.stderr.trim());
        return skip("a full disk", "REQUIRE_POWERFAIL", &why);
    }
    let name = std::thread::current().name().unwrap().to_owned();
    let status = Command::new("unshare")
        .args(["--mount", "--pid", "--fork", "--kill-child"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture", &name])
        .env(INSIDE, "1")
        .status();
    assert!(status.unwrap().success(), "see above");
}

fn fill_up() {
    let home = folder();
    let mut mount = Command::new("mount");
    mount.args(["-t", "tmpfs", "-o", "size=256m", "none"]);
    assert_eq!(Ran::to_end(mount.arg(home.path())).code, 0);
    let mut random = Random::new();
    let mut server = small_server();
    server.elsewhere = Some(home.path().join("data"));
    server.launch();
    let ballast = home.path().join("ballast");
    let mut made = Vec::new();
    for round in 0..3 {
        made.extend(
            (0..20)
                .map(|n| (n, round))
                .map(|at| id(server.ci().evaluate(&intent(at)))),
        );

        fill(&ballast, &server, random.below(8 << 20));
        refused(&server, round);
        read(&server.ci(), &made);
        // After a start without space reads work too.
        match round {
            0 => {}
            1 => server.kill(),
            _ => assert_eq!(server.stop(), 0),
        }
        if round > 0 {
            server.launch();
            refused(&server, round);
            read(&server.ci(), &made);
        }

        fs::remove_file(&ballast).unwrap();
        let answer = until("writes to go on", || {
            let answer = server.ci().post("intents/evaluate", &intent((99, round)));
            // The refused request was not half applied.
            assert!(matches!(answer.status, 200 | 507), "{answer:?}");
            (answer.status == 200).then_some(answer)
        });
        made.push(id(answer.json()));
    }
    read(&server.ci(), &made);
    assert_eq!(server.stop(), 0);
    notice(&format!(
        "full: 3 times, {} decisions are all there",
        made.len()
    ));
}

fn intent(at: (u64, u64)) -> serde_json::Value {
    deployment(json!({"deterministic_id": format!("full-{}-{}", at.0, at.1)}))
}

fn id(decision: serde_json::Value) -> String {
    decision["deterministic_id"].as_str().unwrap().to_owned()
}

/// Leaves this much space, which is less than the server requires.
fn fill(ballast: &Path, server: &Server, left: u64) {
    let metrics = server.anonymous().get("/metrics").text;
    let number = |name: &str| -> u64 {
        let line = metrics.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap().trim().parse::<f64>().unwrap() as u64
    };
    let (free, watermark) = (number("disk_free_bytes "), number("disk_watermark_bytes "));
    assert!(
        free > watermark,
        "{free} bytes are free, {watermark} are wanted"
    );
    let take = free - watermark / 2 - left;
    let chunk = vec![1; 1 << 20];
    let mut file = File::create(ballast).unwrap();
    for _ in 0..take >> 20 {
        std::io::Write::write_all(&mut file, &chunk).unwrap();
    }
}

/// Waits until writes are refused, and checks the problem.
fn refused(server: &Server, round: u64) {
    let client = server.ci();
    let mut asked = 1_000;
    let answer = until("writes to stop", || {
        asked += 1;
        let answer = client.post("intents/evaluate", &intent((asked, round)));
        (answer.status != 200).then_some(answer)
    });
    answer.problem(507, "storage_full");
    let answer = client.post("intents/evaluate", &intent((999, round)));
    answer.problem(507, "storage_full");
    let ready = server.anonymous().get("/readyz");
    assert_eq!(ready.expect(503)["status"], "read_only");
}

fn read(client: &Client, made: &[String]) {
    for id in made {
        client.get(&format!("intents/{id}")).expect(200);
    }
}
