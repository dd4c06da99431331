//! Formats that must not change, as files that show how they would.

use std::fmt::Write as _;
use std::path::Path;

/// Compares with `tests/golden/<name>`; writes it instead where `UPDATE_GOLDEN` is set.
pub(crate) fn check(name: &str, text: &str) {
    let golden = kept(name, text);
    assert_eq!(
        text, golden,
        "tests/golden/{name} differs; UPDATE_GOLDEN=1 rewrites it"
    );
}

/// What `tests/golden/<name>` holds, for formats that may be written in more than one way.
pub(crate) fn kept(name: &str, text: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    std::fs::read_to_string(&path).unwrap()
}

/// Bytes in hexadecimal, 32 in a line.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    for line in bytes.chunks(32) {
        for byte in line {
            write!(text, "{byte:02x}").unwrap();
        }
        text.push('\n');
    }
    text
}
