//! The real binary on a data folder of its own, and clients that speak to it.
//!
//! A [`Server`] that is dropped while it runs has the audit log of every tenant it touched read and
//! verified, entry by entry; one that is dropped by a failing test shows what the server logged.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use arf::audit::PublicKey;
use arf::audit::verify::{leaf_hash, tree_root, verify_log};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use serde_json::{Value, json};
use sha2::Sha256;
use tempfile::TempDir;
use ureq::http;

/// How long anything may take that should take a moment.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Asks again and again until there is an answer.
#[track_caller]
pub fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(begun.elapsed() < PATIENCE, "waited {PATIENCE:?} for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Tells that a test left something out, also where it passes: only what is printed by macros is
/// kept back then.
pub fn notice(text: &str) {
    let _ = writeln!(std::io::stderr(), "NOTICE: {text}");
}

/// A folder that goes with the test, on the disk the build is on: in `/tmp` a sync may mean nothing.
pub fn folder() -> TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

/// Every file below a directory, with its bytes.
pub fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.insert(path.clone(), fs::read(path).unwrap());
        }
    }
    found
}

/// The command `arf`, without anything that the environment of the tests would tell it.
pub fn arf(arguments: &[&str]) -> Command {
    arf_under(&[], arguments)
}

/// The command `arf`, run by another command that begins with these words.
fn arf_under(wrapper: &[String], arguments: &[&str]) -> Command {
    let binary = env!("CARGO_BIN_EXE_arf");
    let mut command = match wrapper.split_first() {
        Some((program, words)) => {
            let mut command = Command::new(program);
            command.args(words).arg(binary);
            command
        }
        None => Command::new(binary),
    };
    for name in [
        "ARF_SERVER",
        "ARF_KEY",
        "ARF_DATA",
        "ARF_CONFIG",
        "RUST_LOG",
    ] {
        command.env_remove(name);
    }
    command.args(arguments).stdin(Stdio::null());
    command
}

/// Reads to the end, beside whatever else happens.
fn text_of(mut stream: impl Read + Send + 'static) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    })
}

/// A command that ended: exit code and both outputs.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    /// Runs a command to its end, which must come.
    #[track_caller]
    pub fn to_end(command: &mut Command) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = text_of(child.stdout.take().unwrap());
        let stderr = text_of(child.stderr.take().unwrap());
        let begun = Instant::now();
        let status = loop {
            match child.try_wait().unwrap() {
                Some(status) => break Some(status),
                None if begun.elapsed() > PATIENCE => break None,
                None => std::thread::sleep(Duration::from_millis(5)),
            }
        };
        if status.is_none() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        let (stdout, stderr) = (stdout.join().unwrap(), stderr.join().unwrap());
        let code = status.and_then(|status| status.code());
        let code = code.unwrap_or_else(|| panic!("it ran on: {command:?}\n{stdout}\n{stderr}"));
        Self {
            code,
            stdout,
            stderr,
        }
    }

    /// Checks that it failed with this code and one line that tells all of this.
    #[track_caller]
    pub fn says_in_one_line(&self, code: i32, words: &[&str]) {
        assert_eq!(self.code, code, "{self:#?}");
        let lines: Vec<_> = self
            .stderr
            .lines()
            .filter(|line| !line.is_empty())
            .collect();
        assert_eq!(lines.len(), 1, "not one line: {self:#?}");
        for word in words {
            assert!(lines[0].contains(word), "no `{word}` in it: {self:#?}");
        }
    }
}

/// What `credentials.json` holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    pub operator_key: String,
    pub tenant_id: String,
    pub api_key: String,
    pub reviewer_key: String,
}

impl Credentials {
    /// Reads the file in this data folder.
    #[track_caller]
    pub fn read(data: &Path) -> Self {
        let file: Value =
            serde_json::from_slice(&fs::read(data.join("credentials.json")).unwrap()).unwrap();
        let text = |name: &str| file[name].as_str().unwrap().to_owned();
        assert_eq!(file.as_object().unwrap().len(), 4, "{file}");
        Self {
            operator_key: text("operator_key"),
            tenant_id: text("tenant_id"),
            api_key: text("api_key"),
            reviewer_key: text("reviewer_key"),
        }
    }
}

/// A running server process.
struct Process {
    child: Child,
    stderr: PathBuf,
    /// What it has printed so far, by lines.
    printed: Arc<Mutex<Vec<String>>>,
}

impl Process {
    fn lines(&self) -> Vec<String> {
        lock(&self.printed).clone()
    }

    fn ended(&mut self) -> Option<i32> {
        use std::os::unix::process::ExitStatusExt as _;
        let status = self.child.try_wait().unwrap()?;
        Some(
            status
                .code()
                .unwrap_or_else(|| -status.signal().unwrap_or(0)),
        )
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = fs::read_to_string(&self.stderr).unwrap_or_default();
            eprintln!("--- what the server logged:\n{log}---");
        }
    }
}

/// A server, and the data folder that outlives its processes.
pub struct Server {
    // Dropped in this order: the process before the folder it writes to.
    process: Option<Process>,
    home: TempDir,
    address: Arc<Mutex<String>>,
    launches: u32,
    /// Further arguments of `arf serve`.
    pub arguments: Vec<String>,
    /// The command that runs it; none if empty.
    pub wrapper: Vec<String>,
    /// The data folder, if it is not in this server's own.
    pub elsewhere: Option<PathBuf>,
    touched: Mutex<Vec<String>>,
    /// What the first start made, whatever becomes of the file.
    credentials: Option<Credentials>,
}

impl Server {
    /// A server on a new data folder.
    #[track_caller]
    pub fn start() -> Self {
        let mut server = Self::at_rest();
        server.launch();
        server
    }

    /// A server that was not started yet.
    pub fn at_rest() -> Self {
        let home = folder();
        // Small segments: a start zero-fills one, and a test should see several.
        fs::write(
            home.path().join("arf.toml"),
            "[store]\nsegment_bytes = 1048576\n",
        )
        .unwrap();
        Self {
            process: None,
            home,
            address: Arc::default(),
            launches: 0,
            arguments: Vec::new(),
            wrapper: Vec::new(),
            elsewhere: None,
            touched: Mutex::default(),
            credentials: None,
        }
    }

    /// The data folder.
    pub fn data(&self) -> PathBuf {
        let own = || self.home.path().join("data");
        self.elsewhere.clone().unwrap_or_else(own)
    }

    /// A place beside the data folder.
    pub fn beside(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// `arf serve` on the data folder.
    pub fn serve(&self) -> Command {
        let arguments = ["serve", "--listen", "127.0.0.1:0", "--data"];
        let mut command = arf_under(&self.wrapper, &arguments);
        command
            .arg(self.data())
            .arg("--config")
            .arg(self.beside("arf.toml"));
        command.args(&self.arguments);
        command
    }

    /// Starts a process and waits until it is ready; what it printed until then.
    #[track_caller]
    pub fn launch(&mut self) -> Vec<String> {
        self.begin();
        self.ready().unwrap_or_else(|code| {
            let printed = self.process.as_ref().map(|process| process.lines());
            panic!("the server ended with {code} and {printed:?}")
        })
    }

    /// Starts a process, and leaves it to itself.
    #[track_caller]
    pub fn begin(&mut self) {
        assert!(self.process.is_none(), "it runs already");
        self.launches += 1;
        let stderr = self.beside(&format!("stderr-{}.log", self.launches));
        let mut command = self.serve();
        command
            .stdout(Stdio::piped())
            .stderr(File::create(&stderr).unwrap());
        let mut child = command.spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let printed: Arc<Mutex<Vec<String>>> = Arc::default();
        self.process = Some(Process {
            child,
            stderr,
            printed: printed.clone(),
        });
        std::thread::spawn(move || {
            stdout
                .lines()
                .map_while(Result::ok)
                .for_each(|line| lock(&printed).push(line));
        });
    }

    /// Waits until the process that was begun is ready: what it printed until then, or, if it
    /// ended instead, how.
    #[track_caller]
    pub fn ready(&mut self) -> Result<Vec<String>, i32> {
        let process = self.process.as_mut().expect("it was begun");
        let address = until("the line `listening on`", || {
            // In this order: what it printed before it ended counts.
            let ended = process.ended();
            let lines = process.lines();
            let ready = lines
                .iter()
                .find_map(|line| line.strip_prefix("listening on "));
            match (ready, ended) {
                (Some(address), _) => Some(Ok(address.to_owned())),
                (None, Some(code)) => Some(Err(code)),
                (None, None) => None,
            }
        })?;
        let lines = process.lines();
        *lock(&self.address) = address;
        if self.credentials.is_none() {
            self.credentials = Some(Credentials::read(&self.data()));
        }
        Ok(lines)
    }

    /// How the process ended, if it has; a signal is a number below zero.
    #[allow(dead_code, reason = "of use to the other suite")]
    pub fn ended(&mut self) -> Option<i32> {
        self.process.as_mut().unwrap().ended()
    }

    /// The process.
    #[allow(dead_code, reason = "of use to the other suite")]
    pub fn pid(&self) -> u32 {
        self.process.as_ref().unwrap().child.id()
    }

    /// `http://ADDRESS`.
    pub fn url(&self) -> String {
        lock(&self.address).clone()
    }

    /// Stops the server as an operator does (SIGTERM); its exit code.
    #[track_caller]
    pub fn stop(&mut self) -> i32 {
        let mut process = self.process.take().unwrap();
        let kill = format!("kill -TERM {}", process.child.id());
        assert!(
            Command::new("sh")
                .args(["-c", &kill])
                .status()
                .unwrap()
                .success()
        );
        let code = until("the server to stop", || process.ended());
        lock(&self.address).clear();
        code
    }

    /// Takes its life in the middle of whatever it does (SIGKILL).
    pub fn kill(&mut self) {
        drop(self.process.take().unwrap());
        // Nobody asks whoever gets that port next.
        lock(&self.address).clear();
    }

    /// The secrets that its first start made.
    #[track_caller]
    pub fn credentials(&self) -> Credentials {
        self.credentials.clone().expect("it was started")
    }

    /// A client without a key.
    pub fn anonymous(&self) -> Client {
        Client::new(self.address.clone(), None)
    }

    /// A client with this key.
    pub fn with_key(&self, key: &str) -> Client {
        Client::new(self.address.clone(), Some(key.to_owned()))
    }

    /// A client with the key of the tenant `default` that its first start made.
    #[track_caller]
    pub fn ci(&self) -> Client {
        let credentials = self.credentials();
        self.touch(&credentials.tenant_id);
        self.with_key(&credentials.api_key)
    }

    /// A client with the operator's key.
    #[track_caller]
    pub fn operator(&self) -> Client {
        self.with_key(&self.credentials().operator_key)
    }

    /// Founds a tenant of this tier; its id and a client with its first key.
    #[track_caller]
    pub fn found(&self, name: &str, tier: &str) -> (String, Client) {
        let body = json!({"name": name, "tier": tier});
        let founded = self.operator().post("admin/tenants", &body).expect(201);
        let tenant = founded["tenant_id"].as_str().unwrap().to_owned();
        self.touch(&tenant);
        (
            tenant,
            self.with_key(founded["keys"][0]["key"].as_str().unwrap()),
        )
    }

    /// Makes a key of this tenant; its id and a client with it.
    #[track_caller]
    pub fn key(&self, tenant: &str, body: &Value) -> (String, Client) {
        let made = self
            .operator()
            .post(&format!("admin/tenants/{tenant}/keys"), body)
            .expect(201);
        let id = made["key_id"].as_str().unwrap().to_owned();
        (id, self.with_key(made["key"].as_str().unwrap()))
    }

    fn touch(&self, tenant: &str) {
        let mut touched = lock(&self.touched);
        if !touched.iter().any(|one| one == tenant) {
            touched.push(tenant.to_owned());
        }
    }

    /// Runs a command that speaks to this server, with this key, to its end.
    #[track_caller]
    pub fn run(&self, key: &str, arguments: &[&str]) -> Ran {
        Ran::to_end(
            arf(arguments)
                .env("ARF_SERVER", self.url())
                .env("ARF_KEY", key),
        )
    }

    /// What the server logged since it was last launched.
    pub fn log(&self) -> String {
        let path = self.beside(&format!("stderr-{}.log", self.launches));
        fs::read_to_string(path).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.process.is_none() || std::thread::panicking() {
            return;
        }
        for tenant in lock(&self.touched).clone() {
            // A key of its own: the test may have revoked all others.
            let auditor = json!({"tier": "enterprise", "role": "auditor"});
            verified_log(&self.key(&tenant, &auditor).1);
        }
    }
}

/// Speaks HTTP to a server, wherever it listens at the moment.
#[derive(Clone)]
pub struct Client {
    address: Arc<Mutex<String>>,
    agent: ureq::Agent,
    pub key: Option<String>,
}

impl Client {
    fn new(address: Arc<Mutex<String>>, key: Option<String>) -> Self {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(PATIENCE))
            .build();
        Self {
            address,
            agent: config.into(),
            key,
        }
    }

    /// Sends a request; a path that does not begin with `/` is one below `/api/v1/`. An error is one
    /// of the connection, not of the server.
    pub fn try_send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&[u8]>,
    ) -> Result<Answer, ureq::Error> {
        let prefix = if path.starts_with('/') {
            ""
        } else {
            "/api/v1/"
        };
        let uri = format!("{}{prefix}{path}", lock(&self.address));
        let mut request = http::Request::builder().method(method).uri(&uri);
        if let Some(key) = &self.key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = match body {
            Some(body) => self.agent.run(request.body(body).unwrap()),
            None => self.agent.run(request.body(()).unwrap()),
        };
        let (parts, mut body) = answer?.into_parts();
        Ok(Answer {
            asked: format!("{method} {path}"),
            status: parts.status.as_u16(),
            headers: parts.headers,
            text: body.with_config().limit(64 << 20).read_to_string()?,
        })
    }

    /// Sends a request and gets an answer.
    #[track_caller]
    pub fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&[u8]>,
    ) -> Answer {
        let answer = self.try_send(method, path, headers, body);
        answer.unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    #[track_caller]
    pub fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], None)
    }

    #[track_caller]
    pub fn delete(&self, path: &str) -> Answer {
        self.send("DELETE", path, &[], None)
    }

    #[track_caller]
    pub fn head(&self, path: &str) -> Answer {
        self.send("HEAD", path, &[], None)
    }

    #[track_caller]
    pub fn options(&self, path: &str) -> Answer {
        self.send("OPTIONS", path, &[], None)
    }

    #[track_caller]
    pub fn put(&self, path: &str, body: &Value) -> Answer {
        self.send_json("PUT", path, &[], body.to_string().as_bytes())
    }

    #[track_caller]
    pub fn patch(&self, path: &str, body: &Value) -> Answer {
        self.send_json("PATCH", path, &[], body.to_string().as_bytes())
    }

    #[track_caller]
    pub fn post(&self, path: &str, body: &Value) -> Answer {
        self.post_with(path, &[], body)
    }

    #[track_caller]
    pub fn post_with(&self, path: &str, headers: &[(&str, &str)], body: &Value) -> Answer {
        self.post_bytes(path, headers, body.to_string().as_bytes())
    }

    #[track_caller]
    pub fn post_bytes(&self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        self.send_json("POST", path, headers, body)
    }

    /// Sends a body as `application/json`, unless `headers` say otherwise.
    #[track_caller]
    pub fn send_json(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Answer {
        let headers = [&[("content-type", "application/json")], headers].concat();
        self.send(method, path, &headers, Some(body))
    }

    /// Evaluates an intent.
    #[track_caller]
    pub fn evaluate(&self, intent: &Value) -> Value {
        self.post("intents/evaluate", intent).expect(200)
    }

    /// Reports an outcome.
    #[track_caller]
    pub fn outcome(&self, id: &str, success: bool) -> Value {
        let body = json!({"deterministic_id": id, "success": success});
        self.post("intents/outcome", &body).expect(200)
    }

    /// Every item of a list, page by page.
    #[track_caller]
    pub fn list(&self, path: &str) -> Vec<Value> {
        self.pages(path, 1_000)
    }

    /// Every item of a list, so many on a page.
    #[track_caller]
    pub fn pages(&self, path: &str, limit: usize) -> Vec<Value> {
        let mut items = Vec::new();
        let mut cursor = String::new();
        let mark = if path.contains('?') { '&' } else { '?' };
        loop {
            let page = self
                .get(&format!("{path}{mark}limit={limit}{cursor}"))
                .expect(200);
            let found = page["items"].as_array().unwrap();
            assert!(
                found.len() <= limit,
                "{} items on a page of {limit}",
                found.len()
            );
            items.extend(found.iter().cloned());
            match page.get("next_cursor") {
                Some(next) => cursor = format!("&cursor={}", next.as_str().unwrap()),
                None => return items,
            }
        }
    }

    /// What the tenant learned about one category.
    #[track_caller]
    pub fn learned(&self, category: &str) -> Value {
        let state = self.get("beta-state").expect(200);
        let items = state["items"].as_array().unwrap();
        items
            .iter()
            .find(|item| item["category"] == category)
            .unwrap()
            .clone()
    }

    /// All that a request can change by writing something: the audit log's length, and what the key
    /// has used of its quota.
    #[track_caller]
    pub fn footprint(&self) -> (usize, Value) {
        (
            self.list("audit").len(),
            self.get("usage").expect(200)["used"].clone(),
        )
    }
}

/// An answer of the server.
#[derive(Debug)]
pub struct Answer {
    asked: String,
    pub status: u16,
    headers: http::HeaderMap,
    pub text: String,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        let value = serde_json::from_str(&self.text);
        value.unwrap_or_else(|error| panic!("{}: {error}: {}", self.asked, self.text))
    }

    /// The body of an answer with this status.
    #[track_caller]
    pub fn expect(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}: {}", self.asked, self.text);
        if self.text.is_empty() {
            Value::Null
        } else {
            self.json()
        }
    }

    /// The problem document that an answer of this status and code is.
    #[track_caller]
    pub fn problem(self, status: u16, code: &str) -> Value {
        assert_eq!(self.status, status, "{}: {}", self.asked, self.text);
        let document = self.json();
        let context = format!("{}: {document}", self.asked);
        assert_eq!(
            self.header("content-type"),
            Some("application/problem+json"),
            "{context}"
        );
        assert_eq!(document["code"], code, "{context}");
        assert_eq!(document["status"], status, "{context}");
        assert!(
            document["type"]
                .as_str()
                .unwrap()
                .starts_with("/guides/problems"),
            "{context}"
        );
        for name in ["title", "detail"] {
            assert!(
                document[name].as_str().is_some_and(|text| !text.is_empty()),
                "{context}"
            );
        }
        assert_eq!(
            document["request_id"].as_str(),
            self.header("x-request-id"),
            "{context}"
        );
        let retry_after = self
            .header("retry-after")
            .map(|text| text.parse::<u64>().unwrap());
        assert_eq!(
            retry_after.is_some(),
            matches!(status, 429 | 503),
            "{context}"
        );
        document
    }
}

/// The answer, as soon as the tables are whole again.
pub fn steady(client: &Client, path: &str) -> Answer {
    until("the tables to be rebuilt", || {
        let answer = client.get(path);
        let rebuilding = answer.status == 503 && answer.json()["code"] == "rebuilding";
        assert!(rebuilding || answer.status == 200, "{path}: {answer:?}");
        (!rebuilding).then_some(answer)
    })
}

/// Reads a tenant's whole audit log and checks every entry of it: number, hash, signature,
/// commitments. Returns the entries.
#[track_caller]
pub fn verified_log(client: &Client) -> Vec<Value> {
    steady(client, "audit?limit=1");
    let items = client.list("audit");
    let mut texts = Vec::new();
    for (index, item) in items.iter().enumerate() {
        assert_eq!(item["index"], index, "a hole in the log: {item}");
        let id = item["decision_id"].as_str().unwrap();
        let detail = client.get(&format!("audit/{id}")).expect(200);
        for (name, value) in item.as_object().unwrap() {
            assert_eq!(
                &detail[name], value,
                "`{name}` of {id} in the list and by itself"
            );
        }
        let text = detail["entry"].as_str().unwrap();
        assert_eq!(
            item["leaf_hash"],
            STANDARD.encode(leaf_hash(text.as_bytes())),
            "{text}"
        );
        let entry: Value = serde_json::from_str(text).unwrap();
        assert_eq!(entry["decision_id"], id);
        check_commitments(&entry, &detail["opening"]);
        texts.push(text.to_owned());
    }

    let entries: Vec<Value> = texts
        .iter()
        .map(|text| serde_json::from_str(text).unwrap())
        .collect();
    let genesis = entries.first().expect("a log begins with its genesis");
    assert_eq!(genesis["type"], "genesis");
    let key = PublicKey::parse(genesis["public_key"].as_str().unwrap()).unwrap();
    let checked = verify_log(&texts, genesis["log"].as_str().unwrap(), &key).unwrap();
    assert_eq!(checked.size, texts.len() as u64);
    let leaves: Vec<[u8; 32]> = items
        .iter()
        .map(|item| {
            STANDARD
                .decode(item["leaf_hash"].as_str().unwrap())
                .unwrap()
        })
        .map(|hash| hash.try_into().unwrap())
        .collect();
    assert_eq!(
        checked.root,
        tree_root(&leaves),
        "the root over the leaves that the list shows"
    );
    entries
}

/// Each part of an opening is what its entry commits to (audit-log.md 2.3), and none is missing.
#[track_caller]
fn check_commitments(entry: &Value, opening: &Value) {
    let committed = entry["c"].as_object().unwrap();
    if opening.is_null() {
        assert!(committed.is_empty(), "an opening is missing: {entry}");
        return;
    }
    let keyed = |key: &[u8]| Hmac::<Sha256>::new_from_slice(key).unwrap();
    let seed = STANDARD.decode(opening["seed"].as_str().unwrap()).unwrap();
    let parts = opening["parts"].as_array().unwrap();
    assert_eq!(parts.len(), committed.len(), "{entry}");
    for part in parts {
        let (name, value) = (
            part["name"].as_str().unwrap(),
            part["value"].as_str().unwrap(),
        );
        let salt = keyed(&seed).chain_update(name).finalize().into_bytes();
        let message = format!("arf-audit/field/v1\n{name}\n{value}");
        let commitment = keyed(&salt).chain_update(message).finalize().into_bytes();
        assert_eq!(
            committed[name],
            STANDARD.encode(commitment),
            "part `{name}` of {entry}"
        );
    }
}

/// Random numbers that can be had again: the seed is printed, and `ARF_SEED` sets it.
pub struct Random(u64);

impl Random {
    pub fn new() -> Self {
        let seed = match std::env::var("ARF_SEED") {
            Ok(text) => text.parse().expect("ARF_SEED is an integer"),
            Err(_) => {
                let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
                now.as_micros() as u64
            }
        };
        eprintln!("ARF_SEED={seed}");
        Self(seed)
    }

    /// Another generator that gives other numbers.
    pub fn split(&mut self) -> Self {
        Self(self.next())
    }

    /// SplitMix64.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}

/// Checks that two JSON values are the same, numbers to four decimals; `"…"` in what is expected
/// stands for any text.
#[track_caller]
pub fn assert_like(actual: &Value, expected: &Value) {
    let mut differences = Vec::new();
    compare("", actual, expected, &mut differences);
    assert!(
        differences.is_empty(),
        "{}\n{actual:#}",
        differences.join("\n")
    );
}

fn compare(at: &str, actual: &Value, expected: &Value, differences: &mut Vec<String>) {
    match (actual, expected) {
        (Value::String(_), Value::String(any)) if any == "…" => {}
        (Value::Number(a), Value::Number(b))
            if (a.as_f64().unwrap() - b.as_f64().unwrap()).abs() < 5e-5 => {}
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (index, (a, b)) in a.iter().zip(b).enumerate() {
                compare(&format!("{at}/{index}"), a, b, differences);
            }
        }
        (Value::Object(a), Value::Object(b)) => {
            for name in a
                .keys()
                .chain(b.keys().filter(|name| !a.contains_key(*name)))
            {
                let member = |object: &serde_json::Map<String, Value>| object.get(name).cloned();
                match (member(a), member(b)) {
                    (Some(a), Some(b)) => compare(&format!("{at}/{name}"), &a, &b, differences),
                    (a, b) => differences.push(format!("{at}/{name}: {a:?}, expected {b:?}")),
                }
            }
        }
        (a, b) if a == b => {}
        (a, b) => differences.push(format!("{at}: {a}, expected {b}")),
    }
}

/// A small deployment to dev, with `more` over it.
pub fn deployment(more: Value) -> Value {
    let mut intent = json!({
        "environment": "dev", "requester": "ci",
        "service_name": "api", "change_scope": "canary", "deployment_target": "dev",
    });
    intent
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    intent
}
