//! The borders of the source (lib.rs), checked by reading it: who may name what.
//!
//! Paths are compared, not text: comments and tests do not count, and `use` groups, `self` and `super`
//! are resolved.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::fs;
use std::path::Path;

/// `who` (folders and files of `src`, `*` for all) names nothing below `never`, but for `except`.
struct Rule {
    who: &'static [&'static str],
    but: &'static [&'static str],
    never: &'static [&'static str],
    except: &'static [&'static str],
    why: &'static str,
}

const fn rule(
    who: &'static [&'static str],
    never: &'static [&'static str],
    why: &'static str,
) -> Rule {
    Rule {
        who,
        but: &[],
        never,
        except: &[],
        why,
    }
}

const WORLD: &[&str] = &[
    "std::time::SystemTime",
    "std::time::Instant",
    "std::thread",
    "std::fs",
    "std::net",
    "std::env",
    "std::process",
    "std::io",
    "tokio",
    "actix",
    "actix_web",
    "tracing",
    "rand",
    "getrandom",
    "chrono::Utc",
];

#[rustfmt::skip]
const RULES: &[Rule] = &[
    rule(&["decide", "tenant", "audit"], WORLD,
        "a decision is a function: no clock, randomness, async, I/O or logging"),
    rule(&["decide"], &["crate::tenant", "crate::store", "crate::engine", "crate::audit", "crate::query",
            "crate::api", "crate::http"],
        "the decision sees values, not tenants or rows"),
    rule(&["audit"], &["crate::decide", "crate::tenant", "crate::store", "crate::engine", "crate::query",
            "crate::api", "crate::http"],
        "the log does not know what its facts mean"),
    Rule { except: &["crate::store::codec", "crate::store::Op", "crate::store::TableSpec",
            "crate::store::Keyed", "crate::store::Load"],
        ..rule(&["tenant"], &["crate::store", "crate::engine", "crate::query", "crate::api", "crate::http"],
            "a tenant knows of the store what a row looks like, and of those above it nothing") },
    rule(&["store"], &["crate::tenant", "crate::decide", "crate::audit", "crate::engine", "crate::query",
            "crate::api", "crate::http"],
        "the store keeps bytes and does not know what a decision is"),
    Rule { but: &["store"], ..rule(&["*"], &["sled", "bincode"], "only the store knows its formats") },
    rule(&["store/local/log"], &["crate::store::local::tables", "crate::store::local::snapshot",
            "crate::store::local::rescue"],
        "the log is the truth: it knows nothing of what follows it"),
    Rule { except: &["crate::store::local::tables::lag", "crate::store::local::tables::layout"],
        ..rule(&["store/local/snapshot"], &["crate::store::local::tables", "crate::store::local::rescue"],
            "a snapshot is never read out of the tables") },
    rule(&["store/local/tables"], &["crate::store::local::rescue"],
        "a running store does not know how a directory is mended"),
    Rule { but: &["http"], ..rule(&["*"], &["actix_web", "actix_http", "actix_service"], "HTTP stays in http") },
    Rule { but: &["engine", "server.rs", "cli"], ..rule(&["*"], &["actix"], "actors stay in the engine") },
    rule(&["engine"], &["crate::api", "crate::http", "crate::query", "crate::cli"],
        "the engine does not grow with features"),
    Rule { except: &["crate::store::Reader", "crate::store::ReadError",
            "crate::store::Stored",
            "crate::store::ENTRIES"],
        ..rule(&["query"], &["crate::store", "crate::engine", "crate::api", "crate::http"],
            "reads see what is durable, through a Reader") },
    rule(&["api"], &["crate::store", "crate::http", "tokio"],
        "shapes of JSON do not know where a request came from, or rows lie"),
    rule(&["http", "client.rs", "terraform"], &["crate::store"], "edges speak to the engine"),
    Rule { but: &["store", "cli", "config.rs", "telemetry.rs", "server.rs", "build.rs", "golden.rs"],
        ..rule(&["*"], &["std::fs", "tokio::fs", "tempfile"], "files are written where it is expected") },
    Rule { but: &["engine", "store", "telemetry.rs", "build.rs"],
        ..rule(&["*"], &["std::time::SystemTime", "std::time::Instant", "getrandom"],
            "time and chance enter in one place") },
    rule(&["jobs"], &["crate::http", "crate::api", "crate::query", "crate::cli", "tokio::fs"],
        "a job is a client of the engine like any handler"),
    rule(&["transfer"], &["std::fs", "std::net", "std::env", "std::thread", "std::process", "tokio", "tracing",
            "crate::engine", "crate::query", "crate::api", "crate::http", "crate::cli", "crate::client"],
        "what maps rows does not know where they come from or go to"),
    rule(&["terraform"], &["std::io", "tokio", "tracing", "serde::Serialize", "crate::client"],
        "what a plan holds is neither logged nor sent from where it is read"),
];

/// What `source`, the file `file` of `src`, names against the rule.
fn violations(rule: &Rule, file: &str, source: &str) -> Vec<String> {
    let inside =
        |place: &&str| ["*", file].contains(place) || file.starts_with(&format!("{place}/"));
    if !rule.who.iter().any(inside) || rule.but.iter().any(inside) {
        return Vec::new();
    }
    let below = |path: &str, root: &str| path == root || path.starts_with(&format!("{root}::"));
    let forbidden = |path: &String| {
        rule.never.iter().any(|never| below(path, never))
            && !rule.except.iter().any(|except| below(path, except))
    };
    names(file, source).into_iter().filter(forbidden).collect()
}

/// Every path that the code of a file names, from its root.
fn names(file: &str, source: &str) -> Vec<String> {
    let code = source.split("mod tests {").next().unwrap_or_default();
    // Not in the middle of a word: `http://` is no comment.
    let uncommented = |line: &str| match line.find("//") {
        Some(at) if line[..at].trim_end().len() < at || at == 0 => line[..at].to_owned(),
        _ => line.to_owned(),
    };
    let code: Vec<_> = code.lines().map(uncommented).collect();
    let code = code.join("\n");
    let (mut found, mut rest) = (Vec::new(), code.as_str());
    while let Some(at) = rest.find(starts_word) {
        rest = path(&rest[at..], "", &mut found);
    }
    found.iter().map(|path| absolute(path, file)).collect()
}

fn starts_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Reads `a::b::{c, d::e as f}` at the front of `text`; what is left after it.
fn path<'a>(text: &'a str, before: &str, found: &mut Vec<String>) -> &'a str {
    let end = text.find(|c| !starts_word(c)).unwrap_or(text.len());
    let name = format!("{before}{}", &text[..end]);
    let rest = &text[end..];
    match rest.strip_prefix("::") {
        Some(below) if below.starts_with(starts_word) => path(below, &format!("{name}::"), found),
        Some(below) if below.starts_with('{') => {
            let mut rest = &below[1..];
            while let Some(at) = rest.find(|c| starts_word(c) || c == '}') {
                rest = match rest[at..].strip_prefix('}') {
                    Some(after) => return after,
                    None => path(&rest[at..], &format!("{name}::"), found),
                };
            }
            rest
        }
        Some(_) | None => {
            found.push(name.trim_end_matches("::self").to_owned());
            rest
        }
    }
}

/// A path of `file` from the root of the crate, or of the other crate that it begins with.
fn absolute(path: &str, file: &str) -> String {
    let mut module: Vec<&str> = file.trim_end_matches(".rs").split('/').collect();
    module.pop_if(|name| ["mod", "lib", "main"].contains(name));
    let mut words = path.split("::").peekable();
    match words.peek() {
        Some(&"arf") => module.clear(),
        Some(&("self" | "super")) => {}
        Some(_) | None => return path.to_owned(),
    }
    while let Some(word) = words.next_if(|word| ["arf", "self", "super"].contains(word)) {
        module.pop_if(|_| word == "super");
    }
    ["crate"]
        .into_iter()
        .chain(module)
        .chain(words)
        .collect::<Vec<_>>()
        .join("::")
}

/// Every source file by its path below `src`, but for those that are only built for tests.
fn sources(folder: &Path, prefix: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = format!("{prefix}{}", path.file_name().unwrap().to_str().unwrap());
        if path.is_dir() {
            found.extend(sources(&path, &format!("{name}/")));
        } else if name.ends_with(".rs") {
            found.push((name, fs::read_to_string(path).unwrap()));
        }
    }
    let parent = found
        .iter()
        .find(|(name, _)| *name == format!("{prefix}mod.rs"));
    let parent = parent.map_or(String::new(), |(_, source)| source.clone());
    let for_tests = |name: &str| {
        let module = name.trim_start_matches(prefix).trim_end_matches(".rs");
        let module = module.split('/').next().unwrap_or_default();
        ["", "pub ", "pub(crate) ", "pub(super) "]
            .iter()
            .any(|seen| parent.contains(&format!("#[cfg(test)]\n{seen}mod {module};")))
    };
    found.retain(|(name, _)| !for_tests(name));
    found
}

#[test]
fn every_border_holds() {
    let sources = sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), "");
    assert!(sources.len() > 50, "the sources were found");
    let mut told = Vec::new();
    for rule in RULES {
        for (file, source) in &sources {
            let paths = violations(rule, file, source);
            told.extend(
                paths
                    .iter()
                    .map(|path| format!("src/{file} names `{path}`: {}", rule.why)),
            );
        }
    }
    assert!(told.is_empty(), "borders are crossed:\n{}", told.join("\n"));
}

#[test]
fn every_rule_can_fail() {
    for rule in RULES {
        for (who, never) in rule
            .who
            .iter()
            .flat_map(|who| rule.never.iter().map(move |never| (who, never)))
        {
            let file = match *who {
                "*" => "word.rs".to_owned(),
                name if name.ends_with(".rs") => name.to_owned(),
                folder => format!("{folder}/some/file.rs"),
            };
            for source in [
                format!("use {never};"),
                format!(
                    "use {};",
                    never.replace("::", "::{other, deep::{self}, ")
                        + &"}".repeat(never.matches("::").count())
                ),
                format!("fn f(it: &mut {never}::Thing) {{}}"),
                format!("const URL: &str = \"http://x\"; static IT: Lazy<{never}> = f();"),
            ] {
                assert_ne!(
                    violations(rule, &file, &source),
                    [""; 0],
                    "{file}: {source}"
                );
            }
            for source in [
                format!("// {never}\nfn f() {{}} // {never}"),
                format!("#[cfg(test)]\nmod tests {{\n use {never};\n}}"),
                format!("use other::{never}; use {never}_of_another_name;"),
            ] {
                assert_eq!(
                    violations(rule, &file, &source),
                    [""; 0],
                    "{file}: {source}"
                );
            }
        }
        for allowed in rule.but {
            assert_eq!(
                violations(rule, allowed, &format!("use {};", rule.never[0])),
                [""; 0]
            );
        }
        for allowed in rule.except {
            let file = format!("{}/file.rs", rule.who[0]);
            assert_eq!(
                violations(rule, &file, &format!("use {allowed}::Thing;")),
                [""; 0]
            );
        }
    }
}

#[test]
fn relative_paths_are_resolved() {
    for (file, source, expected) in [
        (
            "tenant/key.rs",
            "use super::super::store::Store;",
            "crate::store::Store",
        ),
        (
            "tenant/mod.rs",
            "use super::{engine, id::KeyId};",
            "crate::engine",
        ),
        (
            "decide/risk/mod.rs",
            "use super::super::tenant::Tenant;",
            "crate::tenant::Tenant",
        ),
        (
            "decide/risk/mod.rs",
            "use self::beta::Beta;",
            "crate::decide::risk::beta::Beta",
        ),
        (
            "a.rs",
            "use crate::{id, store::{self, Store as S}, word};",
            "crate::store",
        ),
        (
            "a.rs",
            "use crate::{id, store::{self, Store as S}, word};",
            "crate::store::Store",
        ),
        (
            "a.rs",
            "use crate::{id, store::{self, Store as S}, word};",
            "crate::as_str",
        ),
        (
            "main.rs",
            "fn main() { arf::cli::run() }",
            "crate::cli::run",
        ),
    ] {
        let names = names(file, source);
        assert!(
            names.iter().any(|name| name == expected),
            "{source}: {names:?}"
        );
    }
}
