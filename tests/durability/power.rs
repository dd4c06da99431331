//! Power cuts: a file system on a loop device that is shut down in mid-write. What was not synced is
//! lost, directory entries included.
//!
//! The test runs itself again in its own mount and process namespace, which ends with everything in it
//! when the test ends, however it ends.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::harness::{Ran, Random, folder, until};
use crate::journal::Workload;
use crate::{cycles, log_extent, skip, sleep_random, small_server};

/// Set in the namespace.
const INSIDE: &str = "ARF_POWERFAIL_INSIDE";

/// `EXT4_IOC_SHUTDOWN` with `EXT4_GOING_FLAGS_NOLOGFLUSH`. perl is on every Debian.
const CUT: &str = r#"
    open(my $root, "<", $ARGV[0]) or die "$ARGV[0]: $!";
    my $flag = pack("I", 2);
    defined(ioctl($root, 0x8004587D, $flag)) or die "EXT4_IOC_SHUTDOWN: $!";
"#;

fn run(command: &[&str]) -> Ran {
    let [program, arguments @ ..] = command else {
        panic!("no command")
    };
    Ran::to_end(
        Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            // e2fsprogs and mount are not in every user's path.
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"),
    )
}

#[track_caller]
fn run_ok(command: &[&str]) {
    let ran = run(command);
    assert_eq!(ran.code, 0, "{command:?}: {ran:#?}");
}

/// A file system whose power can be cut.
struct Disk {
    image: PathBuf,
    mounted_at: PathBuf,
}

impl Disk {
    fn new(home: &Path) -> Self {
        let disk = Self {
            image: home.join("image"),
            mounted_at: home.join("disk"),
        };
        let file = std::fs::File::create(&disk.image).unwrap();
        file.set_len(2 << 30).unwrap();
        std::fs::create_dir(&disk.mounted_at).unwrap();
        run_ok(&["mkfs.ext4", "-q", "-F", disk.image.to_str().unwrap()]);
        disk.mount();
        disk
    }

    fn mount(&self) {
        let (image, at) = (&self.image, &self.mounted_at);
        let [image, at] = [image, at].map(|path| path.to_str().unwrap());
        run_ok(&["mount", "-o", "loop", image, at]);
    }

    fn unmount(&self) {
        // Busy until the last process with an open file there has ended.
        until("the file system to be let go", || {
            let ran = run(&["umount", self.mounted_at.to_str().unwrap()]);
            (ran.code == 0).then_some(())
        });
    }

    /// Nothing is written from now on.
    fn cut(&self) {
        run_ok(&["perl", "-e", CUT, self.mounted_at.to_str().unwrap()]);
    }

    /// Replays the file system's journal, and checks the file system.
    fn restore(&self) {
        self.unmount();
        let ran = run(&["e2fsck", "-p", self.image.to_str().unwrap()]);
        // 1: errors were corrected, as replaying the journal is.
        assert!(matches!(ran.code, 0 | 1), "{ran:#?}");
        self.mount();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // It ends with the namespace at the latest.
        let _ = run(&["umount", "-l", self.mounted_at.to_str().unwrap()]);
    }
}

fn missing_requirement() -> Option<String> {
    if run(&["id", "-u"]).stdout.trim() != "0" {
        return Some("it takes root".to_owned());
    }
    let has = |program: &&str| run(&["sh", "-c", &format!("command -v {program}")]).code == 0;
    let wanted = ["mkfs.ext4", "e2fsck", "mount", "umount", "unshare", "perl"];
    if let Some(program) = wanted.iter().find(|program| !has(program)) {
        return Some(format!("there is no {program}"));
    }
    // A trial run.
    let home = folder();
    let (image, at) = (home.path().join("image"), home.path());
    std::fs::File::create(&image)
        .unwrap()
        .set_len(16 << 20)
        .unwrap();
    let script =
        r#"mkfs.ext4 -q -F "$1" && mount -o loop "$1" "$2" && perl -e "$3" "$2" && umount "$2""#;
    let [image, at] = [&image, at].map(|path| path.to_str().unwrap());
    let ran = run(&[
        "unshare", "--mount", "sh", "-c", script, "sh", image, at, CUT,
    ]);
    (ran.code != 0).then(|| format!("a loop device cannot be had: {}", ran.stderr.trim()))
}

#[test]
fn a_power_cut_loses_nothing_that_was_answered() {
    if std::env::var_os(INSIDE).is_some() {
        return power_cuts();
    }
    if let Some(why) = missing_requirement() {
        return skip("power cuts", "REQUIRE_POWERFAIL", &why);
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

fn power_cuts() {
    let mut random = Random::new();
    let cycles = cycles(40);
    let home = folder();
    let disk = Disk::new(home.path());
    let mut server = small_server();
    server.elsewhere = Some(disk.mounted_at.join("data"));
    server.launch();
    let mut workload = Workload::start(&server, 4, &mut random);
    let (mut in_start, mut without_tables, mut by_itself) = (0, 0, 0);
    let mut snapshots = BTreeSet::new();
    let mut start = Duration::from_millis(200);
    workload.work(|tally| {
        for _ in 0..cycles {
            sleep_random(&mut random, Duration::from_millis(1_200));
            tally.toggle_faults();
            disk.cut();
            // The server may notice, or be killed first.
            sleep_random(&mut random, Duration::from_millis(20));
            by_itself += u32::from(server.ended().is_some());
            server.kill();
            tally.toggle_faults();
            disk.restore();
            if random.below(8) == 0 {
                without_tables += 1;
                std::fs::remove_dir_all(server.data().join("tables")).unwrap();
            }
            while random.below(4) == 0 {
                in_start += 1;
                server.begin();
                sleep_random(&mut random, start);
                disk.cut();
                server.kill();
                disk.restore();
            }
            let begun = Instant::now();
            server.launch();
            snapshots.insert(log_extent(&server).0);
            start = begun.elapsed();
            tally.check();
        }
    });
    workload.verify();
    workload.report(&format!(
        "power: {} cuts survived, {in_start} of them in a start, {without_tables} times without \
         tables, {by_itself} times the server had stopped by itself, over {} snapshots and a log that \
         begins at segment {}",
        cycles + in_start,
        snapshots.len(),
        log_extent(&server).1
    ));
    assert_eq!(server.stop(), 0);
}
