//! Whole histories of the engine against a simple model of what it promises.
//!
//! The model knows the contract (what a duplicate is answered, what teaches what, who may ask) and
//! nothing of how tenants, actors or tables work. A history goes through rests, orderly restarts and
//! crashes; whatever was answered before must hold after. A failure prints the history, made small, and
//! the seed that makes it again.

use std::collections::BTreeMap;
use std::future::Future;

use proptest::prelude::*;
use proptest::test_runner::{Config as Proptest, RngSeed};
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest, prop_state_machine};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::api::decision::View;
use crate::api::problem::Code;
use crate::api::{engine_error, intent};
use crate::audit::verify::verify_log;
use crate::bounded::BoundedString;
use crate::decide::{Action, Category};
use crate::id::{IntentId, KeyId, Sequence};
use crate::query::audit;
use crate::store::{ENTRIES, StoreConfig};
use crate::tenant::evaluate::{Evaluate, Evaluation, RequestMeta, dry_run};
use crate::tenant::key::{CreateKey, IssuedKey, KeySpec, RevokeKey, Role, RotateKey, Secret};
use crate::tenant::lifecycle::FoundTenant;
use crate::tenant::outcome::RecordOutcome;
use crate::tenant::schema::TABLES;
use crate::tenant::standing::State;
use crate::tenant::usage::Tier;

prop_state_machine! {
    #![proptest_config(proptest_config())]

    #[test]
    fn every_history_is_as_the_contract_says(sequential 1..40 => Node);
}

/// Some ten seconds of histories. `PROPTEST_CASES` sets how many, `ARF_SEED` which.
#[expect(
    clippy::disallowed_methods,
    reason = "tests are set up by the environment"
)]
fn proptest_config() -> Proptest {
    let number = |name| std::env::var(name).ok()?.parse::<u64>().ok();
    let seed = number("ARF_SEED").unwrap_or_else(|| u64::from_ne_bytes(clock::random()));
    eprintln!("ARF_SEED={seed}");
    Proptest {
        cases: number("PROPTEST_CASES").map_or(20, |cases| cases as u32),
        rng_seed: RngSeed::Fixed(seed),
        failure_persistence: None,
        max_shrink_iters: 200,
        ..Proptest::default()
    }
}

/// How many tenants take part; not all of them are founded in every history.
const TENANTS: u8 = 3;
/// How many ids intents have: few, so that they meet.
const IDS: u8 = 12;

/// One request to evaluate.
#[derive(Debug, Clone, Copy)]
struct Ask {
    /// Of the tenant's keys, in the order they were made.
    key: usize,
    id: u8,
    body: Body,
    /// The change set that it is a part of.
    set: Option<u8>,
}

/// What is asked: two asks with the same body are the same intent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Body {
    category: u8,
    violation: bool,
}

#[derive(Debug, Clone, Copy)]
struct Report {
    key: usize,
    id: u8,
    success: bool,
    idempotency_key: Option<u8>,
}

#[derive(Debug, Clone)]
enum Step {
    Found(u8),
    /// All at once; the tenant's order is that of the list.
    Evaluate(u8, Vec<Ask>),
    DryRun(u8, Ask),
    Report(u8, Report),
    CreateKey(u8, Role),
    RotateKey(u8, usize),
    RevokeKey(u8, usize),
    /// Its whole log is read and verified, and one answer compared with the first.
    Read(u8, u8),
    /// Nobody stays in memory.
    Rest,
    Restart,
    /// The process dies while these are under way; then they are asked again.
    Crash(u8, Vec<Ask>, u8),
}

/// Makes histories. Any step may follow any other, so there is nothing to remember.
struct Histories;

impl ReferenceStateMachine for Histories {
    type State = ();
    type Transition = Step;

    fn init_state() -> BoxedStrategy<()> {
        Just(()).boxed()
    }

    fn transitions((): &()) -> BoxedStrategy<Step> {
        // The first tenant has most of the traffic, so that its histories become long.
        let tenant = || prop_oneof![4 => Just(0u8), 1 => 0..TENANTS];
        let key = 0..6usize;
        let ask = {
            let body = (0..5u8, prop::bool::weighted(0.2)).prop_map(|(category, violation)| Body {
                category,
                violation,
            });
            let set = prop::option::weighted(0.4, 0..3u8);
            (key.clone(), 0..IDS, body, set).prop_map(|(key, id, body, set)| Ask {
                key,
                id,
                body,
                set,
            })
        };
        let report = (
            key.clone(),
            0..IDS,
            any::<bool>(),
            prop::option::weighted(0.3, 0..6u8),
        )
            .prop_map(|(key, id, success, idempotency_key)| Report {
                key,
                id,
                success,
                idempotency_key,
            });
        let role = prop_oneof![Just(Role::Agent), Just(Role::Ci), Just(Role::Auditor)];
        let asks = || prop::collection::vec(ask.clone(), 1..8);
        prop_oneof![
            2 => (0..TENANTS).prop_map(Step::Found),
            8 => (tenant(), asks()).prop_map(|(tenant, asks)| Step::Evaluate(tenant, asks)),
            1 => (tenant(), ask.clone()).prop_map(|(tenant, ask)| Step::DryRun(tenant, ask)),
            8 => (tenant(), report).prop_map(|(tenant, report)| Step::Report(tenant, report)),
            2 => (tenant(), role).prop_map(|(tenant, role)| Step::CreateKey(tenant, role)),
            1 => (tenant(), key.clone()).prop_map(|(tenant, key)| Step::RotateKey(tenant, key)),
            1 => (tenant(), key).prop_map(|(tenant, key)| Step::RevokeKey(tenant, key)),
            2 => (tenant(), 0..IDS).prop_map(|(tenant, id)| Step::Read(tenant, id)),
            2 => Just(Step::Rest),
            1 => Just(Step::Restart),
            1 => (tenant(), asks(), 0..20u8)
                .prop_map(|(tenant, asks, polls)| Step::Crash(tenant, asks, polls)),
        ]
        .boxed()
    }

    fn apply((): (), _: &Step) {}
}

/// What the contract says of one tenant.
#[derive(Default)]
struct Model {
    /// How many entries its log has; it was not founded without one.
    entries: u64,
    keys: Vec<ModelKey>,
    intents: BTreeMap<u8, Known>,
    /// By category: trials, failures, self-reported.
    counts: BTreeMap<u8, [u64; 3]>,
    /// Outcomes of a set's intents, by set and category: all, failures, self-reported.
    sets: BTreeMap<(u8, u8), [u64; 3]>,
    idempotency_keys: BTreeMap<u8, (u8, bool)>,
}

struct ModelKey {
    granted: IssuedKey,
    role: Role,
    live: bool,
    used: u64,
    /// Secrets that were good once.
    former: Vec<Secret>,
}

struct Known {
    body: Body,
    set: Option<u8>,
    /// The number of its entry.
    at: u64,
    /// What was decided: the one thing that the model is told.
    action: Action,
    key: usize,
    /// The first answer, with the standing of its time left out.
    answer: Option<Value>,
    outcome: Option<(u64, bool, bool)>,
}

/// What an evaluation comes to.
#[derive(Debug, PartialEq)]
enum Asked {
    Decided(u64),
    Replayed(u64, bool),
    Failed(Code),
}

/// What a report comes to: its entry, what the category has learned by now, whether this taught
/// anything, and whether it was a replay.
#[derive(Debug, PartialEq)]
enum Reported {
    Recorded(u64, [u64; 3], bool, bool),
    Failed(Code),
}

impl Model {
    fn founded(&self) -> bool {
        self.entries > 0
    }

    /// One more entry; its number.
    fn entry(&mut self) -> u64 {
        self.entries += 1;
        self.entries - 1
    }

    /// Which of the keys is meant, and whether it may do this.
    fn admit(&self, key: usize, role_may: fn(Role) -> bool) -> Result<usize, Code> {
        if !self.founded() {
            return Err(Code::NotFound);
        }
        let key = key % self.keys.len();
        match &self.keys[key] {
            known if !known.live => Err(Code::Unauthenticated),
            known if !role_may(known.role) => Err(Code::Forbidden),
            _ => Ok(key),
        }
    }

    fn may_decide(&self, key: usize) -> Result<usize, Code> {
        self.admit(key, |role| matches!(role, Role::Agent | Role::Ci))
    }

    /// The evaluation, with the action that the engine decided on if it is a new one.
    fn evaluate(&mut self, ask: Ask, action: Action) -> Asked {
        let key = match self.may_decide(ask.key) {
            Ok(key) => key,
            Err(code) => return Asked::Failed(code),
        };
        let entries = self.entries;
        if let Some(known) = self.intents.get_mut(&ask.id) {
            if known.body != ask.body {
                return Asked::Failed(Code::IdempotencyConflict);
            }
            let closed = known.outcome.is_some();
            if !closed && ask.set.is_some() && ask.set != known.set {
                known.set = ask.set;
                self.entries = entries + 1;
            }
            return Asked::Replayed(known.at, closed);
        }
        self.keys[key].used += 1;
        let at = self.entry();
        let known = Known {
            body: ask.body,
            set: ask.set,
            at,
            action,
            key,
            answer: None,
            outcome: None,
        };
        self.intents.insert(ask.id, known);
        Asked::Decided(at)
    }

    fn report(&mut self, report: Report) -> Reported {
        let key = match self.admit(report.key, |role| role == Role::Ci) {
            Ok(key) => key,
            Err(code) => return Reported::Failed(code),
        };
        let next = self.entries;
        let Some(known) = self.intents.get_mut(&report.id) else {
            return Reported::Failed(Code::NotFound);
        };
        let this = (report.id, report.success);
        let named = report
            .idempotency_key
            .and_then(|name| self.idempotency_keys.get(&name));
        if named.is_some_and(|named| *named != this) {
            return Reported::Failed(Code::IdempotencyConflict);
        }
        let counts = self.counts.entry(known.body.category).or_default();
        if let Some((at, success, learned)) = known.outcome {
            return if success == report.success {
                Reported::Recorded(at, *counts, learned, true)
            } else {
                Reported::Failed(Code::OutcomeConflict)
            };
        }
        let one = [1, u64::from(!report.success), u64::from(key == known.key)];
        let learned = match known.set {
            _ if known.action == Action::Deny => false,
            None => {
                *counts = plus(*counts, one);
                true
            }
            // All outcomes of a set in one category are one trial.
            Some(set) => {
                let all = self.sets.entry((set, known.body.category)).or_default();
                let before = trial(*all);
                *all = plus(*all, one);
                let after = trial(*all);
                for (count, (before, after)) in counts.iter_mut().zip(before.into_iter().zip(after))
                {
                    *count = *count + after - before;
                }
                before[..2] != after[..2]
            }
        };
        known.outcome = Some((next, report.success, learned));
        let counts = *counts;
        self.idempotency_keys
            .extend(report.idempotency_key.map(|name| (name, this)));
        Reported::Recorded(self.entry(), counts, learned, false)
    }
}

fn plus(a: [u64; 3], b: [u64; 3]) -> [u64; 3] {
    [a[0] + b[0], a[1] + b[1], a[2] + b[2]]
}

/// What a set with these outcomes counts as: self-reported while all of them are.
fn trial([all, failures, own]: [u64; 3]) -> [u64; 3] {
    [
        all.min(1),
        failures.min(1),
        u64::from(all > 0 && own == all),
    ]
}

/// A node that is open, and what is known of its tenants.
struct Node {
    folder: TempDir,
    open: Option<Open>,
    tenants: Vec<Model>,
}

struct Open {
    // Dropped in this order: the engine before the threads its actors live on.
    engine: Engine,
    _seat: ThreadGuard,
    system: actix::SystemRunner,
}

fn open(folder: &TempDir) -> Open {
    let mut config = StoreConfig::new(folder.path());
    config.segment_bytes = 1 << 20;
    let store = Store::open(&config, TABLES).unwrap();
    let signer = Signer::from_seed(&[1; 32]);
    let engine = Engine::new(store, signer, Config::default()).unwrap();
    let system = actix::System::new();
    let seat = system.block_on(async { engine.join_thread() });
    Open {
        engine,
        _seat: seat,
        system,
    }
}

fn tenant_id(tenant: u8) -> TenantId {
    TenantId::from_bytes([tenant + 1; 16])
}

fn code(error: &EngineError) -> Code {
    engine_error::problem(error, clock::now()).code
}

const CATEGORIES: [Category; 5] = [
    Category::Default,
    Category::Compute,
    Category::Database,
    Category::Security,
    Category::Network,
];

/// The ask as a client sends it.
fn command(ask: Ask) -> Evaluate {
    let mut body = match ask.body.category {
        0 => json!({"service_name": "api", "change_scope": "canary", "deployment_target": "dev"}),
        1 => json!({"resource_type": "vm", "region": "eu", "size": "s"}),
        2 => json!({"resource_type": "database", "region": "eu", "size": "s"}),
        3 => json!({"principal": "p", "permission_level": "read", "resource_scope": "/a"}),
        _ => json!({"resource_type": "virtual_network", "region": "eu", "size": "s"}),
    };
    body["environment"] = "dev".into();
    body["requester"] = "ci".into();
    body["deterministic_id"] = name(ask.id).as_str().into();
    if ask.body.violation {
        body["policy_violations"] = json!(["found elsewhere"]);
    }
    if let Some(set) = ask.set {
        body["change_set"] = json!({"id": format!("set-{set}")});
    }
    let request = serde_json::to_vec(&body).unwrap();
    let parsed = intent::parse(&request, None).unwrap();
    let meta = RequestMeta {
        at: clock::now(),
        trace_id: None,
        endpoint: "a test",
    };
    Evaluate::new(parsed.intent, parsed.id, request, meta)
}

fn name(id: u8) -> IntentId {
    IntentId::parse(&format!("intent-{id}")).unwrap()
}

impl Node {
    fn engine(&self) -> &Engine {
        &self.open.as_ref().unwrap().engine
    }

    fn run<T>(&self, job: impl Future<Output = T>) -> T {
        self.open.as_ref().unwrap().system.block_on(job)
    }

    fn caller(&self, tenant: u8, key: usize) -> Caller {
        let keys = &self.tenants[usize::from(tenant)].keys;
        let key = match keys.len() {
            0 => KeyId::from_bytes([9; 16]),
            keys_len => keys[key % keys_len].granted.key_id,
        };
        Caller::Key {
            tenant: tenant_id(tenant),
            key,
        }
    }

    /// A command of the node itself.
    fn execute<C: Command>(&self, tenant: u8, command: C) -> Result<Committed<C::Reply>, Code> {
        let done = self
            .engine()
            .execute(tenant_id(tenant), Caller::Node, command, 0);
        self.run(done).map_err(|error| code(&error))
    }

    async fn send(&self, tenant: u8, ask: Ask) -> Result<Committed<Evaluation>, EngineError> {
        let caller = self.caller(tenant, ask.key);
        self.engine()
            .execute(tenant_id(tenant), caller, command(ask), 100)
            .await
    }

    /// The stored answer, with the standing of now left out.
    fn stored(&self, tenant: u8, at: u64) -> Value {
        let read = self
            .engine()
            .read(move |reader| audit::get(reader, tenant_id(tenant), Sequence::new(at)));
        let found = self
            .run(read)
            .unwrap()
            .expect("an answered decision is there");
        let view = View::stored(&found, found.opening.as_ref().unwrap()).unwrap();
        told(&view)
    }

    /// Compares an answer with the model's.
    fn evaluated(
        &mut self,
        tenant: u8,
        ask: Ask,
        done: Result<Committed<Evaluation>, EngineError>,
    ) {
        let (asked, answer) = match done {
            Err(error) => (Asked::Failed(code(&error)), None),
            Ok(Committed {
                reply: Evaluation::Decided(decided),
                receipt,
                ..
            }) => {
                let receipt = receipt.expect("a decision has an entry");
                let answer = told(&View::fresh(*decided, Some(&receipt), None));
                (Asked::Decided(receipt.index), Some(answer))
            }
            Ok(Committed {
                reply: Evaluation::Replayed { decided, standing },
                ..
            }) => {
                let closed = standing.state == State::Closed;
                let answer = self.stored(tenant, decided.get());
                (Asked::Replayed(decided.get(), closed), Some(answer))
            }
        };
        let action = answer
            .as_ref()
            .map(|answer| answer["action"].as_str().unwrap());
        let action = action.map_or(Action::Deny, |word| Action::parse(word).unwrap());
        let model = &mut self.tenants[usize::from(tenant)];
        let expected = model.evaluate(ask, action);
        assert_eq!(asked, expected, "{ask:?} of tenant {tenant}");
        let Some(answer) = answer else { return };
        if ask.body.violation {
            assert_eq!(action, Action::Deny, "{answer}");
        }
        let known = model.intents.get_mut(&ask.id).unwrap();
        let first = known.answer.get_or_insert_with(|| answer.clone());
        assert_eq!(*first, answer, "the same id, another answer");
    }

    fn crash(&mut self, tenant: u8, asks: &[Ask], polls: u8) {
        let under_way =
            futures_util::future::join_all(asks.iter().map(|&ask| self.send(tenant, ask)));
        let die = async {
            for _ in 0..polls {
                tokio::task::yield_now().await;
            }
        };
        self.run(async {
            tokio::select! { biased; _ = under_way => {} () = die => {} }
        });
        self.open = None;
        self.open = Some(open(&self.folder));
        for (nth, &ask) in asks.iter().enumerate() {
            let done = self.run(self.send(tenant, ask));
            self.resolved(tenant, ask, done, nth);
        }
    }

    /// An ask whose first answer nobody saw: it was carried out as if it had been answered, or not.
    fn resolved(
        &mut self,
        tenant: u8,
        ask: Ask,
        done: Result<Committed<Evaluation>, EngineError>,
        nth: usize,
    ) {
        let model = &mut self.tenants[usize::from(tenant)];
        let unknown = !model.intents.contains_key(&ask.id);
        match done {
            Ok(Committed {
                reply: Evaluation::Replayed { decided, .. },
                ..
            }) if unknown => {
                // It was in the log: as the next one of its tenant, for what is lost is a suffix.
                let answer = self.stored(tenant, decided.get());
                let word = answer["action"].as_str().unwrap();
                let action = Action::parse(word).unwrap();
                let model = &mut self.tenants[usize::from(tenant)];
                let expected = model.evaluate(ask, action);
                assert_eq!(
                    expected,
                    Asked::Decided(decided.get()),
                    "ask {nth} of {ask:?}"
                );
                model.intents.get_mut(&ask.id).unwrap().answer = Some(answer);
            }
            done => self.evaluated(tenant, ask, done),
        }
    }

    fn restart(&mut self) {
        let Open {
            engine,
            _seat,
            system,
        } = self.open.take().unwrap();
        system.block_on(engine.drain());
        engine.close().unwrap();
        drop((engine, _seat, system));
        self.open = Some(open(&self.folder));
    }

    fn grant(&mut self, tenant: u8, granted: IssuedKey, role: Role) {
        let key = ModelKey {
            granted,
            role,
            live: true,
            used: 0,
            former: Vec::new(),
        };
        self.tenants[usize::from(tenant)].keys.push(key);
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Found(tenant) => {
                let found = FoundTenant {
                    name: BoundedString::new("test").unwrap(),
                    tier: Tier::Enterprise,
                    retention_days: None,
                    created_by: None,
                    keys: vec![KeySpec::with_role(Tier::Enterprise, Role::Ci)],
                    service: "arf.invalid".into(),
                    public_key: "key".into(),
                };
                let done = self.execute(tenant, found);
                let model = &mut self.tenants[usize::from(tenant)];
                if model.founded() {
                    assert_eq!(done.unwrap_err(), Code::IdempotencyConflict);
                } else {
                    assert_eq!(model.entry(), 0);
                    let granted = done.unwrap().reply.remove(0);
                    self.grant(tenant, granted, Role::Ci);
                }
            }
            Step::Evaluate(tenant, asks) => {
                // In memory first: the order of those who wait for a tenant to be loaded is nobody's.
                self.look(tenant);
                let all = asks.iter().map(|&ask| self.send(tenant, ask));
                let all = self.run(futures_util::future::join_all(all));
                // A recall is answered with what was there when all of them were judged.
                for (ask, done) in asks.into_iter().zip(all) {
                    self.evaluated(tenant, ask, done);
                }
            }
            Step::DryRun(tenant, ask) => {
                let caller = self.caller(tenant, ask.key);
                let command = command(ask);
                let look = move |tenant: &Tenant, stamp: &Stamp| dry_run(command, tenant, stamp);
                let seen = self
                    .engine()
                    .inspect(tenant_id(tenant), caller, Scope::Decide, look);
                let seen = self.run(seen).map_err(|error| code(&error));
                let model = &self.tenants[usize::from(tenant)];
                let expected = model.may_decide(ask.key).and_then(|_| {
                    let known = model.intents.get(&ask.id);
                    match known.is_some_and(|known| known.body != ask.body) {
                        true => Err(Code::IdempotencyConflict),
                        false => Ok(()),
                    }
                });
                assert_eq!(seen.map(drop), expected, "{ask:?}");
            }
            Step::Report(tenant, report) => self.report(tenant, report),
            Step::CreateKey(tenant, role) => {
                let done = self.execute(tenant, CreateKey(KeySpec::with_role(Tier::Pro, role)));
                let model = &mut self.tenants[usize::from(tenant)];
                if model.founded() {
                    model.entry();
                    self.grant(tenant, done.unwrap().reply, role);
                } else {
                    assert_eq!(done.unwrap_err(), Code::NotFound);
                }
            }
            Step::RotateKey(tenant, key) => {
                let Caller::Key { key: id, .. } = self.caller(tenant, key) else {
                    unreachable!()
                };
                let done = self.execute(tenant, RotateKey(id)).map(|done| done.reply);
                let model = &mut self.tenants[usize::from(tenant)];
                if !model.founded() {
                    assert_eq!(done.unwrap_err(), Code::NotFound);
                    return;
                }
                let nth = key % model.keys.len();
                if model.keys[nth].live {
                    model.entry();
                    let key = &mut model.keys[nth];
                    let before = std::mem::replace(&mut key.granted, done.unwrap());
                    assert_eq!(before.key_id, key.granted.key_id);
                    key.former.push(before.secret);
                } else {
                    assert_eq!(done.unwrap_err(), Code::InvalidRequest);
                }
            }
            Step::RevokeKey(tenant, key) => {
                let Caller::Key { key: id, .. } = self.caller(tenant, key) else {
                    unreachable!()
                };
                let done = self.execute(tenant, RevokeKey(id)).map(drop);
                let model = &mut self.tenants[usize::from(tenant)];
                if !model.founded() {
                    assert_eq!(done, Err(Code::NotFound));
                    return;
                }
                assert_eq!(done, Ok(()));
                let nth = key % model.keys.len();
                if std::mem::take(&mut model.keys[nth].live) {
                    model.entry();
                }
            }
            Step::Read(tenant, id) => {
                self.verify_log(tenant);
                let known = self.tenants[usize::from(tenant)].intents.get(&id);
                if let Some((at, first)) = known.map(|known| (known.at, known.answer.clone())) {
                    assert_eq!(Some(self.stored(tenant, at)), first);
                }
            }
            Step::Rest => {
                self.engine().passivate_all();
                assert_eq!(self.engine().health().active_tenants, 0);
            }
            Step::Restart => self.restart(),
            Step::Crash(tenant, asks, polls) => {
                // Without sets: a move is asked for as often as one likes, so asking again tells nothing.
                let asks: Vec<_> = asks.iter().map(|&ask| Ask { set: None, ..ask }).collect();
                self.look(tenant);
                self.crash(tenant, &asks, polls);
            }
        }
    }

    fn report(&mut self, tenant: u8, report: Report) {
        let command = RecordOutcome {
            id: name(report.id),
            success: report.success,
            recorded_by: None,
            notes: None,
            idempotency_key: report
                .idempotency_key
                .map(|key| BoundedString::new(format!("report-{key}")).unwrap()),
        };
        let caller = self.caller(tenant, report.key);
        let done = self.engine().execute(tenant_id(tenant), caller, command, 0);
        let done = match self.run(done) {
            Err(error) => Reported::Failed(code(&error)),
            Ok(done) => {
                let recorded = done.reply;
                let counts = recorded.counts;
                let counts = [counts.trials, counts.failures, counts.self_reported];
                let learned = recorded.not_learned.is_none();
                Reported::Recorded(recorded.outcome.get(), counts, learned, recorded.replayed)
            }
        };
        let expected = self.tenants[usize::from(tenant)].report(report);
        assert_eq!(done, expected, "{report:?} of tenant {tenant}");
    }

    /// Everything that can be seen of a tenant's live state is what the model says.
    fn look(&self, tenant: u8) {
        let model = &self.tenants[usize::from(tenant)];
        let look = |tenant: &Tenant, stamp: &Stamp| {
            let counts = CATEGORIES.map(|category| {
                let counts = tenant.learning().counts(category);
                [counts.trials, counts.failures, counts.self_reported]
            });
            let month = stamp.at.month();
            let used: BTreeMap<_, _> = tenant
                .keys()
                .all()
                .iter()
                .map(|key| {
                    (
                        key.key_id,
                        (
                            key.is_valid(stamp.at),
                            tenant.usage().used(key.key_id, month),
                        ),
                    )
                })
                .collect();
            Ok((stamp.sequence.get(), tenant.intents().count(), counts, used))
        };
        let seen = self
            .engine()
            .inspect(tenant_id(tenant), Caller::Node, Scope::Read, look);
        let seen = match self.run(seen) {
            Ok(seen) => seen,
            Err(error) => {
                assert_eq!((code(&error), model.founded()), (Code::NotFound, false));
                return;
            }
        };
        let counts = [0, 1, 2, 3, 4]
            .map(|category| model.counts.get(&category).copied().unwrap_or_default());
        let used: BTreeMap<_, _> = model
            .keys
            .iter()
            .map(|key| (key.granted.key_id, (key.live, key.used)))
            .collect();
        assert_eq!(seen, (model.entries, model.intents.len(), counts, used));
    }

    /// The directory opens to live keys, by their newest secrets, and to no other.
    fn check_directory(&self) {
        for (nth, model) in self.tenants.iter().enumerate() {
            for key in &model.keys {
                let authenticate = self.engine().authenticate(key.granted.secret.hash());
                assert_eq!(authenticate.is_some(), key.live, "a key of tenant {nth}");
                assert!(
                    authenticate.is_none_or(|authenticate| authenticate.key == key.granted.key_id)
                );
                let former = key
                    .former
                    .iter()
                    .map(|secret| self.engine().authenticate(secret.hash()));
                assert_eq!(
                    former.flatten().count(),
                    0,
                    "a secret that was rotated away"
                );
            }
        }
    }

    /// The whole log: every entry there, numbered without holes, signed, in order.
    fn verify_log(&self, tenant: u8) {
        let model = &self.tenants[usize::from(tenant)];
        let read = self
            .engine()
            .read(move |reader| reader.rows_from(tenant_id(tenant), &ENTRIES, &[], usize::MAX));
        let rows = self.run(read).unwrap();
        assert_eq!(rows.len() as u64, model.entries);
        let Some((_, first)) = rows.first() else {
            return;
        };
        let genesis: Value = serde_json::from_slice(&first.payload).unwrap();
        let entries = rows.iter().map(|(_, stored)| &stored.payload);
        let key = self.engine().signer().public_key();
        let checked = verify_log(entries, genesis["log"].as_str().unwrap(), &key).unwrap();
        assert_eq!(checked.size, model.entries);
    }
}

/// An answer as it stays: without standing and next, which are of the moment.
fn told(view: &View) -> Value {
    let standing = crate::tenant::standing::Standing {
        state: State::Pending,
        expires_at: None,
    };
    serde_json::to_value(view.answer(standing, false)).unwrap()
}

impl StateMachineTest for Node {
    type SystemUnderTest = Self;
    type Reference = Histories;

    fn init_test((): &()) -> Self {
        let folder = TempDir::new().unwrap();
        let open = Some(open(&folder));
        let tenants = (0..TENANTS).map(|_| Model::default()).collect();
        let mut node = Self {
            folder,
            open,
            tenants,
        };
        node.step(Step::Found(0));
        node
    }

    fn apply(mut node: Self, (): &(), step: Step) -> Self {
        node.step(step);
        node
    }

    fn check_invariants(node: &Self, (): &()) {
        node.check_directory();
        // A place is given back a moment after its answer.
        let watch = clock::stopwatch();
        while node.engine().health().in_flight > 0 {
            assert!(
                watch.elapsed() < Duration::from_secs(10),
                "a place was not given back"
            );
            std::thread::yield_now();
        }
    }

    /// In the end all of it once more, from the disk.
    fn teardown(mut node: Self, (): ()) {
        node.restart();
        for tenant in 0..TENANTS {
            node.look(tenant);
            node.verify_log(tenant);
            let intents = &node.tenants[usize::from(tenant)].intents;
            for known in intents.values() {
                assert_eq!(Some(node.stored(tenant, known.at)), known.answer);
            }
        }
        node.check_directory();
    }
}
