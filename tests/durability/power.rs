//! Power cuts: a file system on a loop device that is shut down in mid-write, as it would be without
//! power. Whatever was not synced is gone, directory entries included.
//!
//! The file system is mounted where nobody else sees it: the test runs itself again in a mount and
//! process namespace of its own, which goes with everything in it when the test ends, however it ends.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::harness::{Ran, Random, folder, until};
use crate::journal::Crowd;
use crate::{cycles, kept, leave_out, small, whenever};

/// Set where the test runs in a namespace of its own.
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
            // e2fsprogs and mount are not in everybody's path.
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"),
    )
}

#[track_caller]
fn must(command: &[&str]) {
    let ran = run(command);
    assert_eq!(ran.code, 0, "{command:?}: {ran:#?}");
}

/// A disk that can lose its power.
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
        must(&["mkfs.ext4", "-q", "-F", disk.image.to_str().unwrap()]);
        disk.mount();
        disk
    }

    fn mount(&self) {
        let (image, at) = (&self.image, &self.mounted_at);
        let [image, at] = [image, at].map(|path| path.to_str().unwrap());
        must(&["mount", "-o", "loop", image, at]);
    }

    fn unmount(&self) {
        // Busy until the last process that had a file open there is gone.
        until("the file system to be let go", || {
            let ran = run(&["umount", self.mounted_at.to_str().unwrap()]);
            (ran.code == 0).then_some(())
        });
    }

    /// From now on nothing reaches it.
    fn cut(&self) {
        must(&["perl", "-e", CUT, self.mounted_at.to_str().unwrap()]);
    }

    /// The power is back: what the journal holds is replayed, and the file system checked.
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
        // Gone at the end of the namespace all the same.
        let _ = run(&["umount", "-l", self.mounted_at.to_str().unwrap()]);
    }
}

/// What is missing on this machine, if anything.
fn lacking() -> Option<String> {
    if run(&["id", "-u"]).stdout.trim() != "0" {
        return Some("it takes root".to_owned());
    }
    let has = |program: &&str| run(&["sh", "-c", &format!("command -v {program}")]).code == 0;
    let wanted = ["mkfs.ext4", "e2fsck", "mount", "umount", "unshare", "perl"];
    if let Some(program) = wanted.iter().find(|program| !has(program)) {
        return Some(format!("there is no {program}"));
    }
    // All of it, once, with nothing at stake.
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
        return cut_again_and_again();
    }
    if let Some(why) = lacking() {
        return leave_out("power cuts", "REQUIRE_POWERFAIL", &why);
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

fn cut_again_and_again() {
    let mut random = Random::new();
    let cycles = cycles(40);
    let home = folder();
    let disk = Disk::new(home.path());
    let mut server = small();
    server.elsewhere = Some(disk.mounted_at.join("data"));
    server.launch();
    let mut crowd = Crowd::gather(&server, 4, &mut random);
    let (mut in_start, mut without_tables, mut by_itself) = (0, 0, 0);
    let mut snapshots = BTreeSet::new();
    let mut start = Duration::from_millis(200);
    crowd.work(|tally| {
        for _ in 0..cycles {
            whenever(&mut random, Duration::from_millis(1_200));
            tally.faults_begin_or_end();
            disk.cut();
            // It may notice, or not get to it.
            whenever(&mut random, Duration::from_millis(20));
            by_itself += u32::from(server.ended().is_some());
            server.kill();
            tally.faults_begin_or_end();
            disk.restore();
            if random.below(8) == 0 {
                without_tables += 1;
                std::fs::remove_dir_all(server.data().join("tables")).unwrap();
            }
            while random.below(4) == 0 {
                in_start += 1;
                server.begin();
                whenever(&mut random, start);
                disk.cut();
                server.kill();
                disk.restore();
            }
            let begun = Instant::now();
            server.launch();
            snapshots.insert(kept(&server).0);
            start = begun.elapsed();
            tally.check();
        }
    });
    crowd.settle();
    crowd.report(&format!(
        "power: {} cuts survived, {in_start} of them in a start, {without_tables} times without \
         tables, {by_itself} times the server had stopped by itself, over {} snapshots and a log that \
         begins at segment {}",
        cycles + in_start,
        snapshots.len(),
        kept(&server).1
    ));
    assert_eq!(server.stop(), 0);
}
