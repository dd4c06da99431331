//! `arf demo`: what the engine does, shown on the project's own examples.

use crate::harness::{Ran, arf, folder};

#[test]
fn the_demo_shows_decisions_posteriors_and_a_checked_log() {
    let place = folder();
    let ran = Ran::to_end(arf(&["demo"]).current_dir(&place));
    assert_eq!(ran.code, 0, "{ran:#?}");
    for word in ["approve", "escalate", "deny", "database", "verif"] {
        assert!(
            ran.stdout.to_lowercase().contains(word),
            "no `{word}`: {ran:#?}"
        );
    }
    assert!(ran.stderr.is_empty(), "{ran:#?}");
    // A throw-away engine leaves nothing behind.
    assert_eq!(std::fs::read_dir(&place).unwrap().count(), 0);
}

#[test]
fn the_version_names_the_commit() {
    let ran = Ran::to_end(&mut arf(&["--version"]));
    assert_eq!(ran.code, 0, "{ran:#?}");
    assert!(ran.stdout.contains(env!("CARGO_PKG_VERSION")), "{ran:#?}");
    assert!(
        ran.stdout.split_whitespace().count() >= 3,
        "name, version and commit: {ran:#?}"
    );
}
