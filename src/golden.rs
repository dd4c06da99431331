//! Golden files: formats that must not change by accident.

use std::path::Path;

/// Compares `text` with `tests/golden/<name>`; with `UPDATE_GOLDEN` set, writes the file first.
pub(crate) fn check(name: &str, text: &str) {
    let golden = read(name, text);
    if let Some(difference) = difference(&golden, text) {
        panic!("tests/golden/{name}, {difference}UPDATE_GOLDEN=1 updates the file");
    }
}

/// The content of `tests/golden/<name>`, for formats that have more than one valid encoding; with
/// `UPDATE_GOLDEN` set, `text`.
pub(crate) fn read(name: &str, text: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    std::fs::read_to_string(&path).unwrap()
}

/// The first line that differs, with its number.
fn difference(golden: &str, text: &str) -> Option<String> {
    if golden == text {
        return None;
    }
    // `split` and not `lines`: a missing newline at the end is a difference too.
    let (mut expected, mut actual) = (golden.split('\n'), text.split('\n'));
    let mut number = 0;
    loop {
        number += 1;
        let (expected, actual) = (expected.next(), actual.next());
        if expected != actual {
            let line = |line: Option<&str>| {
                line.map_or("(end of file)".into(), |line| format!("{line:?}"))
            };
            let (expected, actual) = (line(expected), line(actual));
            return Some(format!(
                "line {number}:\n  expected {expected}\n    actual {actual}\n"
            ));
        }
    }
}

/// Bytes in hexadecimal, 32 in a line.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let lines = bytes.chunks(32).map(|line| crate::hex::encode(line) + "\n");
    lines.collect()
}

#[test]
fn a_mismatch_names_the_line_that_differs() {
    assert_eq!(difference("a\nb\n", "a\nb\n"), None);
    for (text, message) in [
        ("a\nc\n", "line 2:\n  expected \"b\"\n    actual \"c\"\n"),
        (
            "a\nb",
            "line 3:\n  expected \"\"\n    actual (end of file)\n",
        ),
        (
            "a\nb\n\n",
            "line 4:\n  expected (end of file)\n    actual \"\"\n",
        ),
    ] {
        assert_eq!(difference("a\nb\n", text).as_deref(), Some(message));
    }
}
