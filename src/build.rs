//! Tells the binary which commit it is built from. Run by cargo before the build; not part of it.

use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=.git/logs/HEAD");
    println!("cargo::rerun-if-changed=src/build.rs");
    let commit = Command::new("git")
        .args(["rev-parse", "--short=12", "HEAD"])
        .output();
    let commit = commit.ok().filter(|output| output.status.success());
    let commit = commit.and_then(|output| String::from_utf8(output.stdout).ok());
    let commit = commit.map_or_else(|| "no commit".to_owned(), |text| text.trim().to_owned());
    println!("cargo::rustc-env=ARF_COMMIT={commit}");
}
