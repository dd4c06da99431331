//! Clients that record every response, and check that the server never contradicts one.
//!
//! A [`Workload`] is a number of clients, each with a tenant of its own and one that all share. They
//! retry, under the same ids, what was not answered. A client has one request in flight and its own keys,
//! so it knows exactly what to expect; in the shared tenant each response is a [`LowerBound`] for all
//! later ones.
//!
//! What must hold, at any time and after any fault:
//! - every acknowledged decision exists, and a retry returns the same bytes;
//! - an id has one effect, however often it is sent: one entry, one outcome, one use of quota;
//! - entries are numbered without holes, never change, and their tree verifies;
//! - no read is older than what was acknowledged before it was sent.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::harness::{Answer, Client, PATIENCE, Random, Server, verified_log};

/// Those of the last kind are in change sets, which count as one outcome each.
const CATEGORIES: [&str; 4] = ["compute", "default", "security", "database"];
const IN_SETS: &str = CATEGORIES[3];

/// The delay before a retry.
const AGAIN_AFTER: Duration = Duration::from_millis(3);

/// The counters of all clients.
#[derive(Debug, Default)]
pub struct Tally {
    /// Acknowledged writes, each with its own entry.
    pub acknowledged: AtomicU64,
    /// Replays that were compared with the first response.
    pub compared: AtomicU64,
    /// Reads that were compared with earlier responses.
    pub reads: AtomicU64,
    /// Requests without a response: the connection was refused or broke.
    pub broken: AtomicU64,
    /// Requests that were refused temporarily.
    pub refused: AtomicU64,
    /// Checks of earlier responses after a missing one.
    pub inquiries: AtomicU64,
    /// Unanswered requests that a retry found applied.
    pub resolved: AtomicU64,
    failed: AtomicBool,
    /// The test has failed.
    abandoned: AtomicBool,
    /// Odd while the disk fails, which responses may then report.
    faulty: AtomicU64,
}

impl Tally {
    /// Panics if a client has failed.
    pub fn check(&self) {
        assert!(!self.failed.load(SeqCst), "a client failed: see above");
    }

    /// The disk begins or stops to fail.
    pub fn toggle_faults(&self) {
        count(&self.faulty);
    }

    pub fn acknowledged(&self) -> u64 {
        self.acknowledged.load(SeqCst)
    }
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, SeqCst);
}

/// One tenant, and what its clients know of it.
struct Tenant {
    id: String,
    operator: Client,
    auditor: Client,
    /// α + β of each category before the first outcome.
    prior: BTreeMap<&'static str, f64>,
    /// Entries, from responses.
    entries: LowerBound,
    /// Learned outcomes by category, from responses.
    learned: BTreeMap<&'static str, LowerBound>,
    followed: Mutex<LogCursor>,
}

/// Later responses are not below it.
#[derive(Debug, Default)]
struct LowerBound(AtomicU64);

impl LowerBound {
    fn now(&self) -> u64 {
        self.0.load(SeqCst)
    }

    fn raise(&self, to: u64) {
        self.0.fetch_max(to, SeqCst);
    }
}

/// The audit log as far as it was read: a hash of each item, and the cursor of the last page.
#[derive(Default)]
struct LogCursor {
    items: Vec<u64>,
    page: usize,
    cursor: Option<String>,
}

#[derive(Deserialize)]
struct Page {
    items: Vec<Box<RawValue>>,
    next_cursor: Option<String>,
}

impl Tenant {
    fn found(server: &Server, name: &str) -> Self {
        let (id, ci) = server.found(name, "enterprise");
        let body = json!({"tier": "enterprise", "role": "auditor"});
        let auditor = server.key(&id, &body).1;
        let prior = CATEGORIES.map(|category| (category, total(&ci.learned(category))));
        Self {
            id,
            operator: server.operator(),
            auditor,
            prior: prior.into(),
            entries: LowerBound::default(),
            learned: CATEGORIES.map(|name| (name, LowerBound::default())).into(),
            followed: Mutex::default(),
        }
    }

    /// Continues to read the audit log: earlier entries are unchanged, and no acknowledged one is missing.
    fn follow(&self, tally: &Tally) {
        let mut followed = self.followed.lock().unwrap_or_else(PoisonError::into_inner);
        let floor = self.entries.now();
        loop {
            let cursor = match &followed.cursor {
                Some(cursor) => format!("&cursor={cursor}"),
                None => String::new(),
            };
            let path = format!("audit?limit=500{cursor}");
            let page = persist(tally, &self.auditor, "GET", &path, None).succeeded(200);
            let page: Page = serde_json::from_str(&page.text).unwrap();
            for (place, item) in (followed.page..).zip(&page.items) {
                let mut hasher = DefaultHasher::new();
                item.get().hash(&mut hasher);
                let hash = hasher.finish();
                match followed.items.get(place) {
                    Some(before) => assert_eq!(hash, *before, "an entry changed: {item}"),
                    None => {
                        let index = serde_json::from_str::<Value>(item.get()).unwrap();
                        assert_eq!(index["index"], place, "a hole in the log: {item}");
                        followed.items.push(hash);
                    }
                }
            }
            match page.next_cursor {
                Some(next) => {
                    followed.page += page.items.len();
                    followed.cursor = Some(next);
                }
                None => {
                    let end = followed.page + page.items.len();
                    assert_eq!(end, followed.items.len(), "the log became shorter");
                    break;
                }
            }
        }
        let entries = followed.items.len() as u64;
        assert!(
            entries >= floor,
            "{entries} entries after {floor} were answered"
        );
        self.entries.raise(entries);
        count(&tally.reads);
    }

    /// The counts are not below those of earlier responses.
    fn check_learned(&self, tally: &Tally, client: &Client) {
        let floors = self.learned.iter();
        let before: Vec<_> = floors
            .map(|(name, floor)| (*name, floor, floor.now()))
            .collect();
        let state = persist(tally, client, "GET", "beta-state", None).expect(200);
        for (name, floor, before) in before {
            let trials = category(&state, name)["trials"].as_u64().unwrap();
            assert!(trials >= before, "{name}: {trials} after {before}");
            floor.raise(trials);
        }
        count(&tally.reads);
    }

    /// Compares all recorded responses with the whole log, when all clients have stopped.
    fn verify(&self, sessions: &[&Session], tally: &Tally) {
        self.follow(tally);
        let log = verified_log(&self.auditor);
        let of_kind = |kind: &str| {
            let of_kind = log.iter().filter(|entry| entry["type"] == kind);
            of_kind.collect::<Vec<_>>()
        };
        let intents = || sessions.iter().flat_map(|session| &session.intents);

        let mut learned: BTreeMap<&str, u64> = BTreeMap::new();
        for intent in intents() {
            let entry = &log[intent.index];
            assert_eq!(entry["type"], "decision", "{}", intent.id);
            assert_eq!(entry["decision_id"], intent.decision_id, "{}", intent.id);
            if let Some(outcome) = &intent.outcome {
                let entry = &log[usize::try_from(outcome.id).unwrap()];
                assert_eq!(entry["type"], "outcome", "{}", intent.id);
                assert_eq!(entry["of"], intent.decision_id, "{}", intent.id);
                assert_eq!(entry["success"], outcome.success, "{}", intent.id);
                *learned.entry(intent.category).or_default() += u64::from(outcome.learned);
            }
        }
        // There are no others.
        let outcomes = intents().filter(|intent| intent.outcome.is_some());
        assert_eq!(of_kind("decision").len(), intents().count());
        assert_eq!(of_kind("outcome").len(), outcomes.count());
        let moves: usize = intents().map(|intent| intent.moves).sum();
        assert_eq!(of_kind("move").len(), moves);

        let state = self.auditor.get("beta-state").expect(200);
        for name in CATEGORIES.into_iter().filter(|name| *name != IN_SETS) {
            let state = category(&state, name);
            let told = learned.get(name).copied().unwrap_or_default();
            assert_eq!(state["trials"], told, "{name}");
            let beyond_prior = total(state) - self.prior[name];
            assert!((beyond_prior - told as f64).abs() < 1e-6, "{state}");
        }
        self.verify_keys(sessions, &of_kind("api_key"));
    }

    /// Every acknowledged key is listed, each attempt created one key or none, and each change of a key has
    /// one entry.
    fn verify_keys(&self, sessions: &[&Session], changes: &[&Value]) {
        let path = format!("admin/tenants/{}/keys", self.id);
        let listed = self.operator.get(&path).expect(200);
        let listed = listed["items"].as_array().unwrap();
        let named = |name: &str| {
            let named = listed.iter().filter(|key| key["name"] == name);
            named.collect::<Vec<_>>()
        };
        let ids: BTreeSet<_> = listed.iter().map(|key| key["key_id"].as_str()).collect();
        assert_eq!(ids.len(), listed.len(), "a key is listed twice");
        for session in sessions {
            for key in &session.keys {
                let found = named(&key.name);
                assert_eq!(found.len(), 1, "{}", key.name);
                assert_eq!(found[0]["key_id"], key.id, "{}", key.name);
                assert_eq!(found[0]["is_active"], key.active, "{}", key.name);
            }
            for name in &session.perhaps {
                assert!(named(name).len() <= 1, "{name} was made twice");
            }
        }
        // The first key was created with the tenant.
        let made = changes.iter().filter(|entry| entry["change"] == "created");
        assert_eq!(made.count() + 1, listed.len());
        let revoked = changes.iter().filter(|entry| entry["change"] == "revoked");
        let inactive = listed.iter().filter(|key| key["is_active"] == false);
        assert_eq!(revoked.count(), inactive.count());
    }
}

/// α + β.
fn total(state: &Value) -> f64 {
    state["alpha"].as_f64().unwrap() + state["beta"].as_f64().unwrap()
}

fn category<'a>(state: &'a Value, name: &str) -> &'a Value {
    let items = state["items"].as_array().unwrap();
    items.iter().find(|item| item["category"] == name).unwrap()
}

impl Answer {
    /// Checks the status.
    #[track_caller]
    fn succeeded(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{self:?}");
        self
    }
}

/// Retries until there is a final response, whatever happens to the server meanwhile.
fn persist(
    tally: &Tally,
    client: &Client,
    method: &str,
    path: &str,
    body: Option<&Value>,
) -> Answer {
    let begun = Instant::now();
    loop {
        if let Some(answer) = ask(tally, client, method, path, body) {
            return answer;
        }
        assert!(!tally.abandoned.load(SeqCst), "the test failed elsewhere");
        assert!(begun.elapsed() < PATIENCE, "no answer to {method} {path}");
        std::thread::sleep(AGAIN_AFTER);
    }
}

/// `None` without a response, or if it says to retry.
fn ask(
    tally: &Tally,
    client: &Client,
    method: &str,
    path: &str,
    body: Option<&Value>,
) -> Option<Answer> {
    let body = body.map(Value::to_string);
    let headers: &[_] = match body {
        Some(_) => &[("content-type", "application/json")],
        None => &[],
    };
    let body = body.as_deref().map(str::as_bytes);
    let before = tally.faulty.load(SeqCst);
    let Ok(answer) = client.try_send(method, path, headers, body) else {
        count(&tally.broken);
        return None;
    };
    let faultless = before.is_multiple_of(2) && before == tally.faulty.load(SeqCst);
    match answer.status {
        503 if faultless && answer.text.contains("tenant_corrupt") => panic!("{answer:?}"),
        507 if faultless => panic!("{answer:?}"),
        429 | 503 | 504 | 507 => {
            count(&tally.refused);
            None
        }
        _ => Some(answer),
    }
}

/// The bytes of an evaluation's response without the members that may change: next, standing and
/// replayed.
fn without_standing(text: &str) -> String {
    let (before, rest) = text.split_once(",\"next\":").expect(text);
    let (_, after) = rest.split_once(",\"reasons\":").expect(text);
    let (after, _) = after.rsplit_once(",\"replayed\":").expect(text);
    format!("{before},{after}")
}

/// The responses about one intent.
struct Intent {
    id: String,
    body: Value,
    category: &'static str,
    answer: String,
    decision_id: String,
    index: usize,
    outcome: Option<Outcome>,
    moves: usize,
}

struct Outcome {
    success: bool,
    id: u64,
    learned: bool,
}

/// A key that one client created.
struct Key {
    name: String,
    id: String,
    client: Client,
    active: bool,
}

/// One client at one tenant.
struct Session {
    name: String,
    tenant: Arc<Tenant>,
    client: Client,
    intents: Vec<Intent>,
    keys: Vec<Key>,
    /// Names of keys whose creation was not answered.
    perhaps: Vec<String>,
    /// Intents checked since the last missing response.
    known: usize,
    random: Random,
}

impl Session {
    fn take(server: &Server, tenant: &Arc<Tenant>, name: String, random: Random) -> Self {
        let body = json!({"tier": "enterprise", "role": "ci", "name": name});
        Self {
            client: server.key(&tenant.id, &body).1,
            tenant: tenant.clone(),
            name,
            intents: Vec::new(),
            keys: Vec::new(),
            perhaps: Vec::new(),
            known: 0,
            random,
        }
    }

    fn post(&self, tally: &Tally, path: &str, body: &Value) -> Answer {
        persist(tally, &self.client, "POST", path, Some(body))
    }

    /// One random operation.
    fn step(&mut self, tally: &Tally) {
        match self.random.below(100) {
            0..50 => self.evaluate(tally),
            50..75 => self.report(tally),
            75..80 => self.repeat(tally),
            80..84 => self.move_intent(tally),
            84..88 => self.create_key(tally),
            88..91 => self.revoke_key(tally),
            91..94 => self.conflict(tally),
            94..98 => self.tenant.check_learned(tally, &self.client),
            _ => self.tenant.follow(tally),
        }
    }

    fn some_intent(&mut self, wanted: impl Fn(&Intent) -> bool) -> Option<usize> {
        // Mostly recent ones.
        let recent = self.intents.len().saturating_sub(30);
        let places = (recent..self.intents.len()).filter(|at| wanted(&self.intents[*at]));
        let places: Vec<_> = places.collect();
        let at = self.random.below(places.len().max(1) as u64) as usize;
        places.get(at).copied()
    }

    fn evaluate(&mut self, tally: &Tally) {
        let id = format!("{}-{}", self.name, self.intents.len());
        let category = CATEGORIES[self.random.below(4) as usize];
        let mut body = json!({"deterministic_id": id, "environment": "dev", "requester": "load"});
        let fields = match category {
            "compute" => json!({"resource_type": "vm", "region": "r", "size": "s"}),
            "database" => json!({"resource_type": "database", "region": "r", "size": "s"}),
            "security" => {
                json!({"principal": "p", "permission_level": "read", "resource_scope": "/a/b"})
            }
            _ => {
                json!({"service_name": "api", "change_scope": "canary", "deployment_target": "dev"})
            }
        };
        let object = body.as_object_mut().unwrap();
        object.extend(fields.as_object().unwrap().clone());
        if category == IN_SETS {
            body["change_set"] = json!({"id": format!("set-{}", self.random.below(5))});
        }
        // Long rows are split, and fill segments.
        if self.random.below(12) == 0 {
            let padding = "long ".repeat(self.random.below(8_000) as usize);
            body["configuration"] = json!({"padding": padding});
        }
        let floor = self.tenant.entries.now();
        let answer = self.post(tally, "intents/evaluate", &body).succeeded(200);
        let told = answer.json();
        let index = told["audit"]["index"].as_u64().unwrap();
        if told["replayed"] == true {
            count(&tally.resolved);
        } else {
            assert!(index >= floor, "entry {index} after {floor} were answered");
        }
        self.tenant.entries.raise(index + 1);
        count(&tally.acknowledged);
        self.intents.push(Intent {
            id,
            body,
            category,
            answer: without_standing(&answer.text),
            decision_id: told["decision_id"].as_str().unwrap().to_owned(),
            index: usize::try_from(index).unwrap(),
            outcome: None,
            moves: 0,
        });
    }

    fn report(&mut self, tally: &Tally) {
        let Some(at) = self.some_intent(|intent| intent.outcome.is_none()) else {
            return;
        };
        let success = self.random.below(10) < 7;
        let intent = &self.intents[at];
        let body = json!({"deterministic_id": intent.id, "success": success});
        let floor = self.tenant.entries.now();
        let told = self.post(tally, "intents/outcome", &body).expect(200);
        let id = told["outcome_id"].as_u64().unwrap();
        let learned = told["learned"].as_bool().unwrap();
        if told["replayed"] == true {
            count(&tally.resolved);
        } else {
            assert!(id >= floor, "outcome {id} after {floor} were answered");
        }
        // Its number is that of its entry.
        self.tenant.entries.raise(id + 1);
        if learned && intent.category != IN_SETS {
            let counts = told["alpha"].as_f64().unwrap() + told["beta"].as_f64().unwrap();
            let trials = (counts - self.tenant.prior[intent.category]).round() as u64;
            self.tenant.learned[intent.category].raise(trials);
        }
        count(&tally.acknowledged);
        self.intents[at].outcome = Some(Outcome {
            success,
            id,
            learned,
        });
    }

    /// Repeats acknowledged requests: the responses are the same.
    fn repeat(&mut self, tally: &Tally) {
        if let Some(at) = self.some_intent(|_| true) {
            self.look(tally, at);
        }
    }

    fn look(&self, tally: &Tally, at: usize) {
        let intent = &self.intents[at];
        let again = self.post(tally, "intents/evaluate", &intent.body);
        let again = again.succeeded(200).text;
        assert!(again.ends_with(",\"replayed\":true}"), "{again}");
        assert_eq!(without_standing(&again), intent.answer, "{}", intent.id);
        count(&tally.compared);

        let path = format!("intents/{}", intent.id);
        let row = persist(tally, &self.client, "GET", &path, None).expect(200);
        assert_eq!(row["decision"]["decision_id"], intent.decision_id, "{row}");
        let Some(outcome) = &intent.outcome else {
            assert!(row["outcome"].is_null(), "{row}");
            return;
        };
        assert_eq!(row["outcome"]["outcome_id"], outcome.id, "{row}");
        assert_eq!(row["outcome"]["success"], outcome.success, "{row}");
        let body = json!({"deterministic_id": intent.id, "success": outcome.success});
        let again = self.post(tally, "intents/outcome", &body).expect(200);
        assert_eq!(again["replayed"], true, "{again}");
        assert_eq!(again["outcome_id"], outcome.id, "{again}");
        assert_eq!(again["learned"], outcome.learned, "{again}");
        count(&tally.compared);
    }

    /// Evaluates an intent again as a part of another change set.
    fn move_intent(&mut self, tally: &Tally) {
        let open = |intent: &Intent| intent.category == IN_SETS && intent.outcome.is_none();
        let Some(at) = self.some_intent(open) else {
            return;
        };
        let intent = &mut self.intents[at];
        intent.moves += 1;
        // It was never in this set: it moves once, however often it is sent.
        let set = format!("moved-{}-{}", intent.id, intent.moves);
        intent.body["change_set"] = json!({"id": set});
        let body = intent.body.clone();
        let again = self.post(tally, "intents/evaluate", &body).succeeded(200);
        assert_eq!(
            without_standing(&again.text),
            self.intents[at].answer,
            "{again:?}"
        );
        count(&tally.acknowledged);
    }

    /// Creates a key, without a retry: the secret would be another.
    fn create_key(&mut self, tally: &Tally) {
        let number = self.keys.len() + self.perhaps.len();
        let name = format!("{}-key-{number}", self.name);
        let body = json!({"tier": "enterprise", "role": "ci", "name": name});
        let path = format!("admin/tenants/{}/keys", self.tenant.id);
        let Some(made) = ask(tally, &self.tenant.operator, "POST", &path, Some(&body)) else {
            self.perhaps.push(name);
            return;
        };
        let made = made.expect(201);
        let mut client = self.client.clone();
        client.key = Some(made["key"].as_str().unwrap().to_owned());
        count(&tally.acknowledged);
        self.keys.push(Key {
            name,
            id: made["key_id"].as_str().unwrap().to_owned(),
            client,
            active: true,
        });
        self.try_key(tally, self.keys.len() - 1);
    }

    fn revoke_key(&mut self, tally: &Tally) {
        let Some(at) = self.keys.iter().position(|key| key.active) else {
            return;
        };
        let path = format!("admin/tenants/{}/keys/{}", self.tenant.id, self.keys[at].id);
        let operator = &self.tenant.operator;
        persist(tally, operator, "DELETE", &path, None).succeeded(204);
        count(&tally.acknowledged);
        self.keys[at].active = false;
        self.try_key(tally, at);
    }

    /// A key works once it is acknowledged, and never after its revocation is.
    fn try_key(&self, tally: &Tally, at: usize) {
        let key = &self.keys[at];
        let answer = persist(tally, &key.client, "GET", "usage", None);
        let expected = if key.active { 200 } else { 401 };
        assert_eq!(answer.status, expected, "{}: {answer:?}", key.name);
        count(&tally.reads);
    }

    /// A used id is a conflict for another intent.
    fn conflict(&mut self, tally: &Tally) {
        let Some(at) = self.some_intent(|_| true) else {
            return;
        };
        let intent = &self.intents[at];
        let mut other = intent.body.clone();
        other["requester"] = json!("another");
        self.post(tally, "intents/evaluate", &other).succeeded(409);
        if let Some(outcome) = &intent.outcome {
            let body = json!({"deterministic_id": intent.id, "success": !outcome.success});
            self.post(tally, "intents/outcome", &body).succeeded(409);
        }
        count(&tally.compared);
    }

    /// Checks everything recorded since the last check, and some of what was recorded before.
    fn check_recent(&mut self, tally: &Tally) {
        for at in self.known..self.intents.len() {
            self.look(tally, at);
        }
        for _ in 0..self.known.min(4) {
            let at = self.random.below(self.known as u64) as usize;
            self.look(tally, at);
        }
        for _ in 0..self.keys.len().min(2) {
            let at = self.random.below(self.keys.len() as u64) as usize;
            self.try_key(tally, at);
        }
        self.known = self.intents.len();
        self.count_usage(tally);
        self.tenant.check_learned(tally, &self.client);
        self.tenant.follow(tally);
        count(&tally.inquiries);
    }

    /// The quota was used once for each decision.
    fn count_usage(&self, tally: &Tally) {
        let usage = persist(tally, &self.client, "GET", "usage", None).expect(200);
        assert_eq!(usage["used"], self.intents.len(), "{}: {usage}", self.name);
        count(&tally.reads);
    }

    /// Checks everything recorded.
    fn verify(&mut self, tally: &Tally) {
        for at in 0..self.intents.len() {
            self.look(tally, at);
        }
        for at in 0..self.keys.len() {
            self.try_key(tally, at);
        }
        self.count_usage(tally);
    }
}

pub struct Workload {
    clients: Vec<[Session; 2]>,
    tenants: Vec<Arc<Tenant>>,
    pub tally: Tally,
    begun: Instant,
}

/// Stops the clients, also when the test fails.
struct StopOnDrop<'a>(&'a AtomicBool, &'a Tally);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
        let failed = std::thread::panicking();
        self.1.abandoned.fetch_or(failed, SeqCst);
    }
}

/// Records a client's panic.
struct FailOnPanic<'a>(&'a Tally);

impl Drop for FailOnPanic<'_> {
    fn drop(&mut self) {
        self.0.failed.fetch_or(std::thread::panicking(), SeqCst);
    }
}

impl Workload {
    /// Each client has its own tenant, and all share one.
    pub fn start(server: &Server, clients: usize, random: &mut Random) -> Self {
        let shared = Arc::new(Tenant::found(server, "all"));
        let mut tenants = vec![shared.clone()];
        let mut sessions = |number: usize| {
            let own = Arc::new(Tenant::found(server, &format!("client {number}")));
            tenants.push(own.clone());
            let mut take = |tenant, name| Session::take(server, tenant, name, random.split());
            [
                take(&own, format!("own-{number}")),
                take(&shared, format!("all-{number}")),
            ]
        };
        Self {
            clients: (0..clients).map(&mut sessions).collect(),
            tenants,
            tally: Tally::default(),
            begun: Instant::now(),
        }
    }

    /// Runs the clients while `drive` acts on the server, which has to answer afterwards: no request stays
    /// undecided.
    pub fn work<T>(&mut self, drive: impl FnOnce(&Tally) -> T) -> T {
        let (stop, tally) = (AtomicBool::new(false), &self.tally);
        std::thread::scope(|scope| {
            let guard = StopOnDrop(&stop, tally);
            for sessions in &mut self.clients {
                let stop = &stop;
                scope.spawn(move || {
                    let _watch = FailOnPanic(tally);
                    let mut unanswered = 0;
                    while !stop.load(SeqCst) {
                        for session in &mut *sessions {
                            session.step(tally);
                        }
                        let now = tally.broken.load(SeqCst);
                        if now != unanswered {
                            sessions
                                .iter_mut()
                                .for_each(|session| session.check_recent(tally));
                            unanswered = now;
                        }
                    }
                });
            }
            let driven = drive(tally);
            drop(guard);
            driven
        })
    }

    /// Checks every response ever recorded.
    pub fn verify(&mut self) {
        let tally = &self.tally;
        std::thread::scope(|scope| {
            for session in self.clients.iter_mut().flatten() {
                scope.spawn(|| session.verify(tally));
            }
        });
        let clients = &self.clients;
        std::thread::scope(|scope| {
            for tenant in &self.tenants {
                scope.spawn(move || {
                    let sessions = clients.iter().flatten();
                    let sessions = sessions.filter(|session| Arc::ptr_eq(&session.tenant, tenant));
                    tenant.verify(&sessions.collect::<Vec<_>>(), tally);
                });
            }
        });
    }

    /// One line of counters.
    pub fn report(&self, what: &str) {
        let number = |counter: &AtomicU64| counter.load(SeqCst);
        let Tally {
            acknowledged,
            compared,
            reads,
            broken,
            refused,
            inquiries,
            resolved,
            ..
        } = &self.tally;
        eprintln!(
            "{what}: {} acknowledged writes checked, none lost, none doubled; {} answers compared, \
             {} reads, {} checks after a missing response; {} requests not answered, {} refused, {} found \
             applied by a retry; {:.1} s",
            number(acknowledged),
            number(compared),
            number(reads),
            number(inquiries),
            number(broken),
            number(refused),
            number(resolved),
            self.begun.elapsed().as_secs_f64(),
        );
    }
}
