//! The borders of the source (lib.rs), checked by reading it: who may name what, and that files import
//! each other in one direction.
//!
//! Paths are compared, not text: comments and what is only built for tests do not count; `use` groups,
//! `self` and `super` are resolved. What is written inside of a macro's call counts as far as it looks
//! like a path.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;

use syn::buffer::{Cursor, TokenBuffer};
use syn::punctuated::Punctuated;
use syn::visit::{self, Visit};

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
            "crate::store::KeyKind", "crate::store::Load"],
        ..rule(&["tenant"], &["crate::store", "crate::engine", "crate::query", "crate::api", "crate::http"],
            "a tenant knows what a row of the store looks like, and nothing above itself") },
    rule(&["store"], &["crate::tenant", "crate::decide", "crate::audit", "crate::engine", "crate::query",
            "crate::api", "crate::http"],
        "the store keeps bytes, and does not know what a decision is"),
    Rule { but: &["store"], ..rule(&["*"], &["sled", "bincode"], "only the store knows its formats") },
    rule(&["store/local/log"], &["crate::store::local::tables", "crate::store::local::snapshot",
            "crate::store::local::rescue"],
        "the log is the truth: it knows nothing of what follows it"),
    Rule { but: &["store/local/snapshot/from_tables.rs"],
        except: &["crate::store::local::tables::memtable", "crate::store::local::tables::layout"],
        ..rule(&["store/local/snapshot"], &["crate::store::local::tables", "crate::store::local::rescue"],
            "a snapshot is never read out of the tables") },
    rule(&["store/local/tables"], &["crate::store::local::rescue"],
        "a running store does not know how a directory is repaired"),
    Rule { but: &["http"], ..rule(&["*"], &["actix_web", "actix_http", "actix_service"], "HTTP stays in http") },
    Rule { but: &["engine", "server.rs", "cli"], ..rule(&["*"], &["actix"], "actors stay in the engine") },
    rule(&["engine"], &["crate::api", "crate::http", "crate::query", "crate::cli"],
        "the engine does not grow with features"),
    Rule { except: &["crate::store::Reader", "crate::store::ReadError",
            "crate::store::StoredRow",
            "crate::store::ENTRIES"],
        ..rule(&["query"], &["crate::store", "crate::engine", "crate::api", "crate::http"],
            "reads see what is durable, through a Reader") },
    rule(&["api"], &["crate::store", "crate::http", "tokio"],
        "JSON does not know transports or rows"),
    rule(&["http", "client.rs", "terraform"], &["crate::store"], "edges speak to the engine"),
    Rule { but: &["store", "cli", "config.rs", "telemetry.rs", "server.rs", "build.rs"],
        ..rule(&["*"], &["std::fs", "tokio::fs", "tempfile"], "few places touch files") },
    Rule { but: &["engine", "store", "telemetry.rs", "build.rs"],
        ..rule(&["*"], &["std::time::SystemTime", "std::time::Instant", "getrandom"],
            "time and randomness enter in one place") },
    rule(&["jobs"], &["crate::http", "crate::api", "crate::query", "crate::cli", "tokio::fs"],
        "a job is a client of the engine like any handler"),
    rule(&["transfer"], &["std::fs", "std::net", "std::env", "std::thread", "std::process", "tokio", "tracing",
            "crate::engine", "crate::query", "crate::api", "crate::http", "crate::cli", "crate::client"],
        "mapping rows does not know where they come from or go to"),
    rule(&["terraform"], &["std::io", "tokio", "tracing", "serde::Serialize", "crate::client"],
        "what a plan holds is neither logged nor sent from where it is read"),
];

/// Files that import each other, directly or not, are read as one: three may be.
const CIRCLE_FILES_MAX: usize = 3;

/// Names the rows of every feature, each of which names the tenant, which is made of them: a circle that
/// is meant, within this folder.
const REGISTRY: (&str, &str) = ("tenant/schema.rs", "tenant/");

/// `a::b::c`, as written, but for `self` and `super` at the front, which are resolved.
type Path = Vec<String>;

/// What a module defines, and what its code names.
#[derive(Default)]
struct Module {
    file: String,
    items: BTreeSet<String>,
    imports: Vec<Import>,
    paths: BTreeSet<Path>,
}

/// `use path as name`; a glob has no name.
struct Import {
    path: Path,
    name: Option<String>,
    /// `pub use` hands a name on, which is no use of it.
    reexport: bool,
}

impl Module {
    fn named(&self) -> impl Iterator<Item = &Path> {
        let imports = self.imports.iter().map(|import| &import.path);
        imports.chain(&self.paths)
    }

    fn used(&self) -> impl Iterator<Item = &Path> {
        let imports = self.imports.iter().filter(|import| !import.reexport);
        imports.map(|import| &import.path).chain(&self.paths)
    }
}

/// Imports that one path may lead through.
const STEPS_MAX: usize = 32;

static SOURCES: LazyLock<Modules> = LazyLock::new(Modules::of_crate);

/// The modules of some files by their paths, read one file after the other.
#[derive(Default)]
struct Modules {
    modules: BTreeMap<String, Module>,
    /// The module that is being read.
    current: String,
    /// Modules declared in the file that is being read which have files of their own.
    declared: Vec<String>,
}

impl Modules {
    /// The crate, from its roots, as it is built without tests.
    fn of_crate() -> Self {
        let src = source_folder();
        let mut modules = Self::default();
        let mut files = vec![
            "lib.rs".to_owned(),
            "main.rs".to_owned(),
            "build.rs".to_owned(),
        ];
        while let Some(file) = files.pop() {
            modules.read(&file, &fs::read_to_string(src.join(&file)).unwrap());
            let folder = match file.strip_suffix("mod.rs") {
                Some(folder) => folder.to_owned(),
                None if file == "lib.rs" => String::new(),
                None => format!("{}/", file.trim_end_matches(".rs")),
            };
            for name in modules.declared.drain(..) {
                let own = format!("{folder}{name}.rs");
                let is_file = src.join(&own).exists();
                files.push(if is_file {
                    own
                } else {
                    format!("{folder}{name}/mod.rs")
                });
            }
        }
        modules
    }

    fn read(&mut self, file: &str, source: &str) {
        let code = syn::parse_file(source).unwrap_or_else(|error| panic!("src/{file}: {error}"));
        self.current = module_of(file);
        self.enter(file);
        self.visit_file(&code);
    }

    fn enter(&mut self, file: &str) {
        let module = self.modules.entry(self.current.clone()).or_default();
        module.file = file.to_owned();
    }

    fn module(&mut self) -> &mut Module {
        self.modules.get_mut(&self.current).unwrap()
    }

    fn absolute(&self, mut path: Path) -> Path {
        let mut module: Vec<&str> = self.current.split("::").collect();
        match path.first().map(String::as_str) {
            Some("arf") => path[0] = "crate".to_owned(),
            Some("self" | "super") => {
                let relative = |word: &&String| ["self", "super"].contains(&word.as_str());
                let words = path.iter().take_while(relative).count();
                let up = path.iter().take(words).filter(|word| *word == "super");
                module.truncate(module.len() - up.count());
                path.splice(..words, module.into_iter().map(str::to_owned));
            }
            Some(_) | None => {}
        }
        path
    }

    fn add_path(&mut self, path: Path) {
        let path = self.absolute(path);
        self.module().paths.insert(path);
    }

    fn add_imports(&mut self, tree: &syn::UseTree, mut path: Path, reexport: bool) {
        let name = match tree {
            syn::UseTree::Path(part) => {
                path.push(part.ident.to_string());
                return self.add_imports(&part.tree, path, reexport);
            }
            syn::UseTree::Group(group) => {
                for tree in &group.items {
                    self.add_imports(tree, path.clone(), reexport);
                }
                return;
            }
            syn::UseTree::Name(part) => {
                path.push(part.ident.to_string());
                Some(&part.ident)
            }
            syn::UseTree::Rename(part) => {
                path.push(part.ident.to_string());
                Some(&part.rename)
            }
            syn::UseTree::Glob(_) => None,
        };
        // `use a::{self}` names `a`.
        path.pop_if(|name| name == "self");
        let name = name.map(|name| match name.to_string() {
            name if name == "self" => path.last().unwrap().clone(),
            name => name,
        });
        let path = self.absolute(path);
        self.module().imports.push(Import {
            path,
            name,
            reexport,
        });
    }

    /// What looks like a path among the tokens of a macro's call.
    fn add_tokens(&mut self, mut at: Cursor<'_>) {
        while !at.eof() {
            if let Some((inside, _, _, after)) = at.any_group() {
                self.add_tokens(inside);
                at = after;
            } else if let Some((first, mut after)) = at.ident() {
                let mut path = vec![first.to_string()];
                while let Some((name, beyond)) = after_colons(after).and_then(Cursor::ident) {
                    path.push(name.to_string());
                    after = beyond;
                }
                self.add_path(path);
                at = after;
            } else {
                at = at.token_tree().unwrap().1;
            }
        }
    }

    /// The file that defines what `path` means in `module`; none where that is a module or not ours.
    fn file_of(&self, module: &str, path: &[String], steps_left: usize) -> Option<&str> {
        let (first, rest) = path.split_first()?;
        let steps_left = steps_left.checked_sub(1)?;
        if first == "crate" {
            return self.file_of("crate", rest, steps_left);
        }
        let child = format!("{module}::{first}");
        if !rest.is_empty() && self.modules.contains_key(&child) {
            return self.file_of(&child, rest, steps_left);
        }
        let here = self.modules.get(module)?;
        let imported = here.imports.iter().find_map(|import| {
            let rest = match &import.name {
                Some(name) if name == first => rest,
                Some(_) => return None,
                None => path,
            };
            let path: Vec<String> = import.path.iter().chain(rest).cloned().collect();
            // A path that leads back to itself means nothing.
            let leads_on = path != [first.clone()];
            leads_on
                .then(|| self.file_of(module, &path, steps_left))
                .flatten()
        });
        imported.or_else(|| here.items.contains(first).then_some(here.file.as_str()))
    }

    /// Which file imports which, and by what name.
    fn imports(&self) -> BTreeMap<&str, BTreeMap<&str, String>> {
        let mut imports: BTreeMap<&str, BTreeMap<&str, String>> = BTreeMap::new();
        for (name, module) in &self.modules {
            for path in module.used() {
                let Some(file) = self.file_of(name, path, STEPS_MAX) else {
                    continue;
                };
                if file != module.file {
                    let of_file = imports.entry(&module.file).or_default();
                    of_file.entry(file).or_insert_with(|| path.join("::"));
                }
            }
        }
        imports
    }

    /// Sets of files each of which leads to every other by imports, each told with those imports.
    fn circles(&self) -> Vec<(BTreeSet<&str>, String)> {
        let imports = self.imports();
        let reached: BTreeMap<&str, BTreeSet<&str>> = imports
            .keys()
            .map(|&start| {
                let (mut seen, mut next) = (BTreeSet::new(), vec![start]);
                while let Some(file) = next.pop() {
                    let of_file = imports.get(file).into_iter().flat_map(BTreeMap::keys);
                    next.extend(of_file.filter(|&&file| seen.insert(file)));
                }
                (start, seen)
            })
            .collect();
        let mut circles = Vec::new();
        for (&start, seen) in &reached {
            let back = |file: &&&str| reached.get(*file).is_some_and(|seen| seen.contains(start));
            let circle: BTreeSet<&str> = seen.iter().filter(back).copied().collect();
            // Each circle once: from its first file.
            if circle.first() == Some(&start) {
                let inside = |file: &&str| circle.contains(file);
                let lines = circle.iter().flat_map(|from| {
                    let named = imports[from].iter().filter(move |(to, _)| inside(to));
                    named.map(move |(to, path)| format!("  {from} -> {to} by `{path}`\n"))
                });
                let lines = lines.collect();
                circles.push((circle, lines));
            }
        }
        circles
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the enum is another crate's and not exhaustive"
)]
impl<'ast> Visit<'ast> for Modules {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        let (attributes, name) = match item {
            syn::Item::Const(item) => (&item.attrs, Some(&item.ident)),
            syn::Item::Enum(item) => (&item.attrs, Some(&item.ident)),
            syn::Item::Fn(item) => (&item.attrs, Some(&item.sig.ident)),
            syn::Item::Impl(item) => (&item.attrs, None),
            syn::Item::Macro(item) => (&item.attrs, item.ident.as_ref()),
            syn::Item::Mod(item) => (&item.attrs, None),
            syn::Item::Static(item) => (&item.attrs, Some(&item.ident)),
            syn::Item::Struct(item) => (&item.attrs, Some(&item.ident)),
            syn::Item::Trait(item) => (&item.attrs, Some(&item.ident)),
            syn::Item::Type(item) => (&item.attrs, Some(&item.ident)),
            syn::Item::Use(item) => (&item.attrs, None),
            _ => panic!("an item of a kind that is not read here"),
        };
        if is_built(attributes) {
            self.module().items.extend(name.map(ToString::to_string));
            visit::visit_item(self, item);
        }
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if item.content.is_none() {
            return self.declared.push(item.ident.to_string());
        }
        let (parent, file) = (self.current.clone(), self.module().file.clone());
        self.current = format!("{parent}::{}", item.ident);
        self.enter(&file);
        visit::visit_item_mod(self, item);
        self.current = parent;
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        let reexport = !matches!(item.vis, syn::Visibility::Inherited);
        self.add_imports(&item.tree, Path::new(), reexport);
    }

    /// `string_enum!(Action { .. })` defines `Action`: any of its words may be such a name.
    fn visit_item_macro(&mut self, item: &'ast syn::ItemMacro) {
        let tokens = item.mac.tokens.to_string();
        let words = tokens.split(|c: char| !c.is_alphanumeric() && c != '_');
        self.module().items.extend(words.map(str::to_owned));
        visit::visit_item_macro(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        if is_built(&item.attrs) {
            visit::visit_impl_item_fn(self, item);
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let names = path.segments.iter().map(|part| part.ident.to_string());
        self.add_path(names.collect());
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        self.add_tokens(TokenBuffer::new2(call.tokens.clone()).begin());
        visit::visit_macro(self, call);
    }

    fn visit_meta_list(&mut self, list: &'ast syn::MetaList) {
        self.add_tokens(TokenBuffer::new2(list.tokens.clone()).begin());
        visit::visit_meta_list(self, list);
    }
}

fn source_folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// The path of a file's module: `crate::decide::risk` of `decide/risk/mod.rs`.
fn module_of(file: &str) -> String {
    let name = file.trim_end_matches(".rs").trim_end_matches("/mod");
    match name {
        "lib" => "crate".to_owned(),
        "main" | "build" => name.to_owned(),
        name => format!("crate::{}", name.replace('/', "::")),
    }
}

fn after_colons<'a>(at: Cursor<'a>) -> Option<Cursor<'a>> {
    let after = |at: Cursor<'a>| at.punct().filter(|(punct, _)| punct.as_char() == ':');
    after(after(at)?.1).map(|(_, at)| at)
}

/// True if no `cfg` leaves it out of a build with every feature and without tests.
fn is_built(attributes: &[syn::Attribute]) -> bool {
    let conditions = attributes.iter().filter(|it| it.path().is_ident("cfg"));
    conditions
        .map(|it| it.parse_args().unwrap())
        .all(|it| holds(&it))
}

fn holds(condition: &syn::Meta) -> bool {
    let syn::Meta::List(list) = condition else {
        return !condition.path().is_ident("test");
    };
    let parts = Punctuated::<syn::Meta, syn::Token![,]>::parse_terminated;
    let parts = list.parse_args_with(parts).unwrap();
    match list.path.get_ident().map(ToString::to_string).as_deref() {
        Some("all") => parts.iter().all(holds),
        Some("any") => parts.iter().any(holds),
        Some("not") => !parts.iter().all(holds),
        _ => panic!("a condition that is not read here"),
    }
}

fn below(path: &str, root: &str) -> bool {
    path == root || path.starts_with(&format!("{root}::"))
}

/// What a module names against the rule.
fn violations(rule: &Rule, module: &Module) -> Vec<String> {
    let file = module.file.as_str();
    let inside =
        |place: &&str| ["*", file].contains(place) || file.starts_with(&format!("{place}/"));
    if !rule.who.iter().any(inside) || rule.but.iter().any(inside) {
        return Vec::new();
    }
    let forbidden = |path: &String| {
        rule.never.iter().any(|never| below(path, never))
            && !rule.except.iter().any(|except| below(path, except))
    };
    module
        .named()
        .map(|path| path.join("::"))
        .filter(forbidden)
        .collect()
}

/// What a file with this source names against the rule.
fn violations_of(rule: &Rule, file: &str, source: &str) -> Vec<String> {
    let mut modules = Modules::default();
    modules.read(file, source);
    modules
        .modules
        .values()
        .flat_map(|module| violations(rule, module))
        .collect()
}

#[test]
fn every_border_holds() {
    let modules = &SOURCES.modules;
    assert!(modules.len() > 50, "the sources were found");
    let mut crossed = Vec::new();
    for rule in RULES {
        for module in modules.values() {
            let paths = violations(rule, module);
            let line = |path| format!("src/{} names `{path}`: {}", module.file, rule.why);
            crossed.extend(paths.iter().map(line));
        }
    }
    assert!(
        crossed.is_empty(),
        "borders are crossed:\n{}",
        crossed.join("\n")
    );
}

#[test]
fn imports_go_round_in_no_circle() {
    let mut circles = SOURCES.circles();
    circles.retain(|(files, _)| {
        let (registry, folder) = REGISTRY;
        files.len() > CIRCLE_FILES_MAX
            && !(files.contains(registry) && files.iter().all(|file| file.starts_with(folder)))
    });
    let lines: Vec<_> = circles.iter().map(|(_, lines)| lines.as_str()).collect();
    assert!(
        lines.is_empty(),
        "files import each other:\n{}",
        lines.join("\n")
    );
}

#[test]
fn a_circle_is_found_through_other_names() {
    let circles = |last: &str| -> Vec<Vec<String>> {
        let mut modules = Modules::default();
        for (file, source) in [
            ("lib.rs", "mod a; mod b; mod c; mod d; pub use a::A;"),
            ("a.rs", "pub struct A(crate::b::B);"),
            ("b.rs", "use crate::c; pub struct B; fn f(it: c::Other) {}"),
            ("c/mod.rs", "pub use self::deep::C as Other; mod deep;"),
            (
                "c/deep.rs",
                "use super::super::{d}; pub struct C; fn f() { vec![d::D]; }",
            ),
            ("d.rs", last),
        ] {
            modules.read(file, source);
        }
        let files = modules.circles().into_iter().map(|(files, _)| files);
        files
            .map(|files| files.into_iter().map(str::to_owned).collect())
            .collect()
    };
    for last in [
        "words!(D {}); use crate::A;",
        "words!(D {}); use crate::*; fn f(it: A) {}",
        "words!(D {}); mod inner { fn f(it: crate::a::A) {} }",
    ] {
        assert_eq!(
            circles(last),
            [["a.rs", "b.rs", "c/deep.rs", "d.rs"]],
            "{last}"
        );
    }
    for last in [
        "words!(D {}); pub use crate::A;",
        "words!(D {}); #[cfg(test)] mod tests { use crate::A; }",
    ] {
        assert!(circles(last).is_empty(), "{last}");
    }
}

#[test]
fn every_folder_says_what_it_is() {
    for module in SOURCES.modules.values() {
        let path = source_folder().join(&module.file);
        if module.file.ends_with("mod.rs") {
            let source = fs::read_to_string(path).unwrap();
            assert!(
                source.starts_with("//! "),
                "src/{} has no docs",
                module.file
            );
        }
    }
}

#[test]
fn every_rule_names_what_there_is() {
    let files: BTreeSet<_> = SOURCES
        .modules
        .values()
        .map(|it| it.file.as_str())
        .collect();
    for rule in RULES {
        for place in rule.who.iter().chain(rule.but) {
            let folder = format!("{place}/");
            let exists = |file: &&str| *file == *place || file.starts_with(&folder);
            assert!(*place == "*" || files.iter().any(exists), "no src/{place}");
        }
        let paths = rule.never.iter().chain(rule.except);
        for path in paths.filter(|path| path.starts_with("crate::")) {
            let words: Vec<_> = path.split("::").map(str::to_owned).collect();
            let exists = SOURCES.modules.contains_key(*path)
                || SOURCES.file_of("crate", &words, STEPS_MAX).is_some();
            assert!(exists, "no `{path}`");
        }
    }
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
                    violations_of(rule, &file, &source),
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
                    violations_of(rule, &file, &source),
                    [""; 0],
                    "{file}: {source}"
                );
            }
        }
        for allowed in rule.but {
            assert_eq!(
                violations_of(rule, allowed, &format!("use {};", rule.never[0])),
                [""; 0]
            );
        }
        for allowed in rule.except {
            let file = format!("{}/file.rs", rule.who[0]);
            assert_eq!(
                violations_of(rule, &file, &format!("use {allowed}::Thing;")),
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
            "crate::word",
        ),
        (
            "main.rs",
            "fn main() { arf::cli::run() }",
            "crate::cli::run",
        ),
    ] {
        let mut modules = Modules::default();
        modules.read(file, source);
        let names = modules.modules.values().flat_map(Module::named);
        let names: Vec<_> = names.map(|path| path.join("::")).collect();
        assert!(
            names.iter().any(|name| name == expected),
            "{source}: {names:?}"
        );
    }
}
