//! Whole histories of the engine against a simple model of what it promises.
//!
//! The model knows the contract (replays, learning, permissions) and nothing of how tenants, actors or
//! tables work. A history goes through evictions, clean restarts and crashes; what was acknowledged
//! before must hold after. A failure prints the shrunk history and its seed.

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

/// Tenants that take part; not all of them are created in every history.
const TENANTS: u8 = 3;
/// Ids of intents: few, so that they collide.
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
    CreateTenant(u8),
    /// All at once; the tenant's order is that of the list.
    Evaluate(u8, Vec<Ask>),
    DryRun(u8, Ask),
    Report(u8, Report),
    CreateKey(u8, Role),
    RotateKey(u8, usize),
    RevokeKey(u8, usize),
    /// Its whole log is read and verified, and one answer compared with the first.
    Read(u8, u8),
    /// Every tenant is evicted from memory.
    Evict,
    Restart,
    /// The process dies while these are in flight; then they are sent again.
    Crash(u8, Vec<Ask>, u8),
}

/// Generates histories. Any step may follow any other, so there is no state.
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
            2 => (0..TENANTS).prop_map(Step::CreateTenant),
            8 => (tenant(), asks()).prop_map(|(tenant, asks)| Step::Evaluate(tenant, asks)),
            1 => (tenant(), ask.clone()).prop_map(|(tenant, ask)| Step::DryRun(tenant, ask)),
            8 => (tenant(), report).prop_map(|(tenant, report)| Step::Report(tenant, report)),
            2 => (tenant(), role).prop_map(|(tenant, role)| Step::CreateKey(tenant, role)),
            1 => (tenant(), key.clone()).prop_map(|(tenant, key)| Step::RotateKey(tenant, key)),
            1 => (tenant(), key).prop_map(|(tenant, key)| Step::RevokeKey(tenant, key)),
            2 => (tenant(), 0..IDS).prop_map(|(tenant, id)| Step::Read(tenant, id)),
            2 => Just(Step::Evict),
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
    /// How many entries its log has; 0 if it does not exist.
    entries: u64,
    keys: Vec<ModelKey>,
    intents: BTreeMap<u8, ModelIntent>,
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

struct ModelIntent {
    body: Body,
    set: Option<u8>,
    /// The number of its entry.
    at: u64,
    /// The decision: the one thing that the model does not predict.
    action: Action,
    key: usize,
    /// The stable part of the first reply.
    answer: Option<Value>,
    outcome: Option<(u64, bool, bool)>,
}

#[derive(Debug, PartialEq)]
enum EvaluationResult {
    Decided(u64),
    Replayed(u64, bool),
    Failed(Code),
}

/// Recorded: the entry, the category's counts, whether it changed them, and whether it is a replay.
#[derive(Debug, PartialEq)]
enum ReportResult {
    Recorded(u64, [u64; 3], bool, bool),
    Failed(Code),
}

impl Model {
    fn exists(&self) -> bool {
        self.entries > 0
    }

    /// Adds an entry; its number.
    fn entry(&mut self) -> u64 {
        self.entries += 1;
        self.entries - 1
    }

    /// The index of the key, if it may do this.
    fn admit(&self, key: usize, role_may: fn(Role) -> bool) -> Result<usize, Code> {
        if !self.exists() {
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
    fn evaluate(&mut self, ask: Ask, action: Action) -> EvaluationResult {
        let key = match self.may_decide(ask.key) {
            Ok(key) => key,
            Err(code) => return EvaluationResult::Failed(code),
        };
        let entries = self.entries;
        if let Some(known) = self.intents.get_mut(&ask.id) {
            if known.body != ask.body {
                return EvaluationResult::Failed(Code::IdempotencyConflict);
            }
            let closed = known.outcome.is_some();
            if !closed && ask.set.is_some() && ask.set != known.set {
                known.set = ask.set;
                self.entries = entries + 1;
            }
            return EvaluationResult::Replayed(known.at, closed);
        }
        self.keys[key].used += 1;
        let at = self.entry();
        let known = ModelIntent {
            body: ask.body,
            set: ask.set,
            at,
            action,
            key,
            answer: None,
            outcome: None,
        };
        self.intents.insert(ask.id, known);
        EvaluationResult::Decided(at)
    }

    fn report(&mut self, report: Report) -> ReportResult {
        let key = match self.admit(report.key, |role| role == Role::Ci) {
            Ok(key) => key,
            Err(code) => return ReportResult::Failed(code),
        };
        let next = self.entries;
        let Some(known) = self.intents.get_mut(&report.id) else {
            return ReportResult::Failed(Code::NotFound);
        };
        let this = (report.id, report.success);
        let named = report
            .idempotency_key
            .and_then(|name| self.idempotency_keys.get(&name));
        if named.is_some_and(|named| *named != this) {
            return ReportResult::Failed(Code::IdempotencyConflict);
        }
        let counts = self.counts.entry(known.body.category).or_default();
        if let Some((at, success, learned)) = known.outcome {
            return if success == report.success {
                ReportResult::Recorded(at, *counts, learned, true)
            } else {
                ReportResult::Failed(Code::OutcomeConflict)
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
        ReportResult::Recorded(self.entry(), counts, learned, false)
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
    // Dropped in this order: the engine before the threads that its actors run on.
    engine: Engine,
    _thread: ThreadGuard,
    system: actix::SystemRunner,
}

fn open(folder: &TempDir) -> Open {
    let mut config = StoreConfig::new(folder.path());
    config.segment_bytes = 1 << 20;
    let store = Store::open(&config, TABLES).unwrap();
    let signer = Signer::from_seed(&[1; 32]);
    let engine = Engine::new(store, signer, Config::default()).unwrap();
    let system = actix::System::new();
    let thread = system.block_on(async { engine.join_thread() });
    Open {
        engine,
        _thread: thread,
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
            .expect("an acknowledged decision is stored");
        let view = View::stored(&found, found.opening.as_ref().unwrap()).unwrap();
        stable_part(&view)
    }

    /// Compares a reply with the model's.
    fn evaluated(
        &mut self,
        tenant: u8,
        ask: Ask,
        done: Result<Committed<Evaluation>, EngineError>,
    ) {
        let (asked, answer) = match done {
            Err(error) => (EvaluationResult::Failed(code(&error)), None),
            Ok(Committed {
                reply: Evaluation::Decided(decided),
                receipt,
                ..
            }) => {
                let receipt = receipt.expect("a decision has an entry");
                let answer = stable_part(&View::fresh(*decided, Some(&receipt), None));
                (EvaluationResult::Decided(receipt.index), Some(answer))
            }
            Ok(Committed {
                reply: Evaluation::Replayed { decided, standing },
                ..
            }) => {
                let closed = standing.state == State::Closed;
                let answer = self.stored(tenant, decided.get());
                (
                    EvaluationResult::Replayed(decided.get(), closed),
                    Some(answer),
                )
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
        let in_flight =
            futures_util::future::join_all(asks.iter().map(|&ask| self.send(tenant, ask)));
        let die = async {
            for _ in 0..polls {
                tokio::task::yield_now().await;
            }
        };
        self.run(async {
            tokio::select! { biased; _ = in_flight => {} () = die => {} }
        });
        self.open = None;
        self.open = Some(open(&self.folder));
        for (nth, &ask) in asks.iter().enumerate() {
            let done = self.run(self.send(tenant, ask));
            self.retried(tenant, ask, done, nth);
        }
    }

    /// An ask whose first reply was lost in the crash: it was applied as a whole, or not at all.
    fn retried(
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
                    EvaluationResult::Decided(decided.get()),
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
            _thread,
            system,
        } = self.open.take().unwrap();
        system.block_on(engine.drain());
        engine.close().unwrap();
        drop((engine, _thread, system));
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
            Step::CreateTenant(tenant) => {
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
                if model.exists() {
                    assert_eq!(done.unwrap_err(), Code::IdempotencyConflict);
                } else {
                    assert_eq!(model.entry(), 0);
                    let granted = done.unwrap().reply.remove(0);
                    self.grant(tenant, granted, Role::Ci);
                }
            }
            Step::Evaluate(tenant, asks) => {
                // Loaded first: commands that wait for an activation have no defined order.
                self.check_state(tenant);
                let all = asks.iter().map(|&ask| self.send(tenant, ask));
                let all = self.run(futures_util::future::join_all(all));
                // A replay shows the state at the time when all of them were planned.
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
                if model.exists() {
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
                if !model.exists() {
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
                if !model.exists() {
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
            Step::Evict => {
                self.engine().passivate_all();
                assert_eq!(self.engine().health().active_tenants, 0);
            }
            Step::Restart => self.restart(),
            Step::Crash(tenant, asks, polls) => {
                // Without sets: a move can be repeated, so asking again would not tell if it was applied.
                let asks: Vec<_> = asks.iter().map(|&ask| Ask { set: None, ..ask }).collect();
                self.check_state(tenant);
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
            Err(error) => ReportResult::Failed(code(&error)),
            Ok(done) => {
                let recorded = done.reply;
                let counts = recorded.counts;
                let counts = [counts.trials, counts.failures, counts.self_reported];
                let learned = recorded.not_learned.is_none();
                ReportResult::Recorded(recorded.outcome.get(), counts, learned, recorded.replayed)
            }
        };
        let expected = self.tenants[usize::from(tenant)].report(report);
        assert_eq!(done, expected, "{report:?} of tenant {tenant}");
    }

    /// Compares a tenant's live state with the model.
    fn check_state(&self, tenant: u8) {
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
                assert_eq!((code(&error), model.exists()), (Code::NotFound, false));
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

    /// The directory has every live key, by its newest secret, and no other.
    fn check_directory(&self) {
        for (nth, model) in self.tenants.iter().enumerate() {
            for key in &model.keys {
                let principal = self.engine().authenticate(key.granted.secret.hash());
                assert_eq!(principal.is_some(), key.live, "a key of tenant {nth}");
                assert!(principal.is_none_or(|principal| principal.key == key.granted.key_id));
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

/// The part of a response that never changes: without standing and next.
fn stable_part(view: &View) -> Value {
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
        node.step(Step::CreateTenant(0));
        node
    }

    fn apply(mut node: Self, (): &(), step: Step) -> Self {
        node.step(step);
        node
    }

    fn check_invariants(node: &Self, (): &()) {
        node.check_directory();
        // A slot is returned shortly after its reply.
        let watch = clock::stopwatch();
        while node.engine().health().in_flight > 0 {
            assert!(
                watch.elapsed() < Duration::from_secs(10),
                "a slot was not returned"
            );
            std::thread::yield_now();
        }
    }

    /// Everything once more, from the disk.
    fn teardown(mut node: Self, (): ()) {
        node.restart();
        for tenant in 0..TENANTS {
            node.check_state(tenant);
            node.verify_log(tenant);
            let intents = &node.tenants[usize::from(tenant)].intents;
            for known in intents.values() {
                assert_eq!(Some(node.stored(tenant, known.at)), known.answer);
            }
        }
        node.check_directory();
    }
}
