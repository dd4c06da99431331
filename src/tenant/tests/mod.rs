//! Commands against the bare state: no actor, no disk, and a clock that the test sets.

pub(crate) mod reminder;
pub mod sample;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::Tenant;
use super::authorization::Caller;
use super::claims::Claims;
use super::command::{Command, NoChange, Refusal};
use super::evaluate::{DecidedIntent, Evaluate, Evaluation, RequestMeta, dry_run};
use super::intents::IntentRow;
use super::key::{
    CreateKey, IssuedKey, KeySpec, RevokeKey, Rights, Role, RotateKey, Scope, Scopes,
};
use super::lifecycle::FoundTenant;
use super::outcome::{NotLearned, RecordOutcome, RecordedOutcome};
use super::restore::{FormerLogRow, Restore};
use super::schema::{Mutation, Row, RowId};
use super::standing::{Standing, State};
use super::usage::Tier;
use crate::bounded::{BoundedString, BoundedVec};
use crate::decide::intent::{ChangeScope, ChangeSet, Context, Environment, Intent, IntentKind};
use crate::decide::settings::SelfReported;
use crate::decide::{Action, Category, Rules};
use crate::id::{IntentId, KeyId, Pseudonym, Sequence, TenantId};
use crate::stamp::Stamp;
use crate::store::Load;
use crate::time::Timestamp;

pub use reminder::ReminderRow;

const ID: TenantId = TenantId::from_bytes([1; 16]);

/// A tenant with one key that asks and one that only reports.
struct World {
    tenant: Tenant,
    /// Every row that was put, as the tables would hold it.
    rows: BTreeMap<(u8, Vec<u8>), Mutation>,
    evicted: Vec<(Sequence, Pseudonym)>,
    next: Sequence,
    at: Timestamp,
    agent: KeyId,
    reporter: KeyId,
}

fn text<const MIN: usize, const MAX: usize>(text: &str) -> BoundedString<MIN, MAX> {
    BoundedString::new(text).unwrap()
}

fn deploy(service: &str) -> Intent {
    Intent {
        kind: IntentKind::DeployConfig {
            service_name: text(service),
            change_scope: ChangeScope::Canary,
            deployment_target: Environment::Staging,
            risk_level_hint: None,
        },
        environment: Environment::Staging,
        requester: text("agent"),
        operation: None,
        changed_fields: BoundedVec::default(),
        change_set: None,
        estimated_cost: None,
        policy_violations: BoundedVec::default(),
        provenance: serde_json::Map::new(),
        configuration: serde_json::Map::new(),
        context: Context::default(),
    }
}

fn in_set(id: &str, revision: Option<&str>) -> Intent {
    let set = ChangeSet {
        id: text(id),
        url: None,
        revision: revision.map(text),
        intents: None,
        deletes: None,
    };
    Intent {
        change_set: Some(set),
        ..deploy("web")
    }
}

fn ask(id: &str, intent: Intent) -> Evaluate {
    let meta = RequestMeta {
        at: Timestamp::MIN,
        trace_id: None,
        endpoint: "test",
    };
    let id = IntentId::parse(id).unwrap();
    Evaluate::new(intent, Some(id), b"{}".to_vec(), meta)
}

fn report(id: &str, success: bool) -> RecordOutcome {
    RecordOutcome {
        id: IntentId::parse(id).unwrap(),
        success,
        recorded_by: None,
        notes: None,
        idempotency_key: None,
    }
}

impl World {
    fn new(tier: Tier) -> Self {
        Self::with_rules(tier, Rules::shared())
    }

    fn with_rules(tier: Tier, rules: impl Into<Arc<Rules>>) -> Self {
        Self::beginning_at(Sequence::FIRST, tier, rules)
    }

    /// A tenant whose first command has the number `first`.
    fn beginning_at(first: Sequence, tier: Tier, rules: impl Into<Arc<Rules>>) -> Self {
        let mut world = Self {
            tenant: Tenant::with_rules(ID, rules.into()),
            rows: BTreeMap::new(),
            evicted: Vec::new(),
            next: first,
            at: Timestamp::parse("2026-11-24T12:00:00Z").unwrap(),
            agent: KeyId::from_bytes([0; 16]),
            reporter: KeyId::from_bytes([0; 16]),
        };
        let found = FoundTenant {
            name: text("test"),
            tier,
            retention_days: None,
            created_by: None,
            keys: vec![
                KeySpec::with_role(tier, Role::Ci),
                KeySpec::with_role(tier, Role::Ci),
            ],
            service: "arf.invalid".into(),
            public_key: "key".into(),
        };
        let issued = world.run(None, found).unwrap();
        world.agent = issued[0].key_id;
        world.reporter = issued[1].key_id;
        world
    }

    /// Runs a command as the engine does: in order, absorbing what it changes.
    fn run<C: Command>(&mut self, key: Option<KeyId>, command: C) -> Result<C::Reply, Refusal> {
        self.at = self.at.plus(Duration::from_millis(1));
        let seed = [u8::try_from(self.next.get() % 251).unwrap(); 32];
        let stamp = Stamp::new(self.at, self.next, key, seed);
        let caller = key.map_or(Caller::Node, |key| Caller::Key { tenant: ID, key });
        caller.authorize(&self.tenant, C::SCOPE, stamp.at)?;
        match command.apply(&self.tenant, &stamp) {
            Ok(change) => {
                for mutation in &change.rows {
                    if let Mutation::Delete(RowId::IntentRow(sequence)) = mutation {
                        let row = self.tenant.intents.get(*sequence).unwrap();
                        self.evicted.push((*sequence, row.id));
                    }
                    self.tenant.absorb(mutation);
                    let op = mutation.op(ID);
                    let row = (op.table.id, op.key.to_vec());
                    match mutation {
                        Mutation::Put(_) => self.rows.insert(row, mutation.clone()),
                        Mutation::Delete(_) => self.rows.remove(&row),
                    };
                }
                self.next = self.next.next();
                Ok(change.reply)
            }
            Err(NoChange::Replay(reply)) => Ok(reply),
            Err(NoChange::Reject(refusal)) => Err(refusal),
        }
    }

    fn ask(&mut self, id: &str, intent: Intent) -> Evaluation {
        self.run(Some(self.agent), ask(id, intent)).unwrap()
    }

    fn decide(&mut self, id: &str, intent: Intent) -> DecidedIntent {
        match self.ask(id, intent) {
            Evaluation::Decided(decided) => *decided,
            Evaluation::Replayed { .. } => panic!("`{id}` was asked before"),
        }
    }

    fn report(&mut self, id: &str, success: bool) -> RecordedOutcome {
        self.run(Some(self.reporter), report(id, success)).unwrap()
    }

    /// The state as a restart would make it: the rows alone, in the tables' order.
    fn rebuilt(&self) -> Tenant {
        let mut tenant = Tenant::with_rules(ID, self.tenant.rules.clone());
        for mutation in self.rows.values() {
            tenant.absorb(mutation);
        }
        tenant
    }
}

#[test]
fn outcomes_open_the_gate_and_failures_close_it_again() {
    let mut world = World::new(Tier::Enterprise);
    assert_eq!(
        world.decide("first", deploy("web")).decision.action,
        Action::Escalate
    );
    for n in 0..20 {
        world.decide(&format!("s{n}"), deploy("web"));
        assert!(world.report(&format!("s{n}"), true).not_learned.is_none());
    }
    let good = world.decide("good", deploy("api")).decision;
    assert_eq!(good.action, Action::Approve);
    world.report("good", false);
    let worse = world.decide("worse", deploy("db2")).decision;
    assert!(
        worse.risk_score > good.risk_score,
        "a failure raises the risk"
    );
    world.report("worse", true);
    let better = world.decide("better", deploy("cache")).decision;
    assert!(better.risk_score < worse.risk_score, "a success lowers it");
}

#[test]
fn asking_again_recalls_and_another_intent_conflicts() {
    let mut world = World::new(Tier::Free);
    world.decide("a", deploy("web"));
    let before = (
        world.next,
        world.tenant.usage.used(world.agent, world.at.month()),
    );
    let again = world.ask("a", deploy("web"));
    assert!(matches!(again, Evaluation::Replayed { decided, .. } if decided == Sequence::new(1)));
    let conflict = world
        .run(Some(world.agent), ask("a", deploy("other")))
        .unwrap_err();
    assert!(matches!(conflict, Refusal::IdempotencyConflict(_)));
    let after = (
        world.next,
        world.tenant.usage.used(world.agent, world.at.month()),
    );
    assert_eq!(before, after, "neither costs quota or makes an entry");
}

#[test]
fn a_dry_run_answers_the_same_and_changes_nothing() {
    let mut world = World::new(Tier::Enterprise);
    let stamp = Stamp::new(world.at, world.next, Some(world.agent), [3; 32]);
    let dry = dry_run(ask("a", deploy("web")), &world.tenant, &stamp).unwrap();
    let wet = world.decide("a", deploy("web"));
    assert_eq!(dry.decision, wet.decision);
    assert_eq!(world.next, Sequence::new(2), "one entry, not two");
}

#[test]
fn a_used_up_quota_refuses_new_intents_and_still_recalls() {
    let mut world = World::new(Tier::Free);
    for n in 0..1_000 {
        world.decide(&format!("{n}"), deploy("web"));
    }
    let refused = world
        .run(Some(world.agent), ask("more", deploy("web")))
        .unwrap_err();
    assert!(matches!(
        refused,
        Refusal::QuotaExceeded { limit: 1_000, .. }
    ));
    assert!(matches!(
        world.ask("7", deploy("web")),
        Evaluation::Replayed { .. }
    ));
    assert_eq!(world.decide_by_reporter("other key"), Action::Escalate);
    world.at = world.at.month().end();
    assert_eq!(
        world.decide("next month", deploy("web")).decision.action,
        Action::Escalate
    );
}

impl World {
    fn decide_by_reporter(&mut self, id: &str) -> Action {
        match self
            .run(Some(self.reporter), ask(id, deploy("web")))
            .unwrap()
        {
            Evaluation::Decided(decided) => decided.decision.action,
            Evaluation::Replayed { .. } => panic!("`{id}` was asked before"),
        }
    }
}

#[test]
fn sixty_successes_of_one_change_set_count_once_and_one_failure_in_it_counts() {
    let mut world = World::new(Tier::Enterprise);
    for n in 0..60 {
        world.decide(&format!("{n}"), in_set("plan", None));
    }
    for n in 0..60 {
        let because = world.report(&format!("{n}"), true).not_learned;
        assert_eq!(because, (n > 0).then_some(NotLearned::SameChangeSet));
    }
    let counts = world.tenant.learning.counts(Category::Default);
    assert_eq!((counts.trials, counts.failures), (1, 0));
    world.decide("late", in_set("plan", None));
    assert_eq!(
        world.report("late", false).not_learned,
        None,
        "the first failure moves a count"
    );
    let counts = world.tenant.learning.counts(Category::Default);
    assert_eq!((counts.trials, counts.failures), (1, 1));
    world.decide("rev", in_set("plan", Some("2")));
    assert_eq!(
        world.report("rev", true).not_learned,
        None,
        "another revision is another set"
    );
}

#[test]
fn asked_under_another_set_an_intent_moves_until_its_outcome_is_in() {
    let mut world = World::new(Tier::Enterprise);
    world.decide("a", in_set("one", None));
    world.decide("b", in_set("one", None));
    let pseudonymizer = world.tenant.pseudonymizer().clone();
    let set = |id| {
        super::change_set::pseudonym(
            &pseudonymizer,
            in_set(id, None).change_set.as_ref().unwrap(),
        )
    };
    let (one, two) = (set("one"), set("two"));

    let before = world.next;
    assert!(matches!(
        world.ask("a", in_set("two", None)),
        Evaluation::Replayed { .. }
    ));
    assert_eq!(world.next, before.next(), "a move is an entry");
    assert_eq!(world.tenant.change_sets.totals(one).intents, 1);
    assert_eq!(world.tenant.change_sets.totals(two).intents, 1);
    world.ask("b", in_set("two", None));
    assert!(
        world.tenant.change_sets.get(one).is_none(),
        "a set goes with its last intent"
    );

    world.report("a", true);
    let before = world.next;
    world.ask("a", in_set("one", None));
    world.ask("b", deploy("web"));
    assert_eq!(
        world.next, before,
        "neither after the outcome, nor to no set at all"
    );
}

#[test]
fn outcomes_conflict_replay_and_are_found_by_their_own_key() {
    let mut world = World::new(Tier::Enterprise);
    world.decide("a", deploy("web"));
    world.decide("b", deploy("web"));
    let key_kind = |id, success| RecordOutcome {
        idempotency_key: Some(text("k")),
        ..report(id, success)
    };
    let first = world
        .run(Some(world.reporter), key_kind("a", true))
        .unwrap();
    assert!(!first.replayed);
    let again = world
        .run(Some(world.reporter), key_kind("a", true))
        .unwrap();
    assert!(again.replayed && again.outcome == first.outcome && again.counts == first.counts);
    let refusals = [key_kind("a", false), key_kind("b", true)]
        .map(|command| world.run(Some(world.reporter), command).unwrap_err());
    assert!(
        refusals
            .iter()
            .all(|why| matches!(why, Refusal::IdempotencyConflict(_)))
    );
    let other = world
        .run(Some(world.reporter), report("a", false))
        .unwrap_err();
    assert_eq!(other, Refusal::OutcomeConflict);
    let unknown = world
        .run(Some(world.reporter), report("nope", true))
        .unwrap_err();
    assert_eq!(unknown, Refusal::NotFound("intent"));
}

#[test]
fn denied_intents_and_self_reports_where_so_set_teach_nothing() {
    let mut rules = Rules::built_in().clone();
    rules.settings.learning.self_reported = SelfReported::Keep;
    let mut world = World::with_rules(Tier::Enterprise, rules);
    let violated = BoundedVec::new(vec![text("found elsewhere")]).unwrap();
    let denied = Intent {
        policy_violations: violated,
        ..deploy("web")
    };
    assert_eq!(world.decide("denied", denied).decision.action, Action::Deny);
    assert_eq!(
        world.report("denied", true).not_learned,
        Some(NotLearned::Denied)
    );
    world.decide("own", deploy("web"));
    let own = world.run(Some(world.agent), report("own", true)).unwrap();
    assert_eq!(own.not_learned, Some(NotLearned::SelfReported));
    world.decide("other", deploy("web"));
    assert_eq!(world.report("other", true).not_learned, None);
    assert_eq!(world.tenant.learning.counts(Category::Default).trials, 1);
}

#[test]
fn keys_are_checked_in_order_and_say_what_they_may() {
    let mut world = World::new(Tier::Enterprise);
    let create = |role, owner: Option<&str>| {
        let owner = owner.map(text);
        CreateKey(KeySpec {
            owner,
            ..KeySpec::with_role(Tier::Free, role)
        })
    };
    let invalid = |refusal| matches!(refusal, Refusal::Invalid { .. });
    assert!(invalid(
        world.run(None, create(Role::Reviewer, None)).unwrap_err()
    ));
    assert!(invalid(
        world.run(None, create(Role::Operator, None)).unwrap_err()
    ));
    let none = KeySpec {
        rights: Rights::Scopes(Scopes::of(&[])),
        ..KeySpec::with_role(Tier::Free, Role::Ci)
    };
    assert!(invalid(world.run(None, CreateKey(none)).unwrap_err()));

    let auditor: IssuedKey = world.run(None, create(Role::Auditor, None)).unwrap();
    let forbidden = world
        .run(Some(auditor.key_id), ask("a", deploy("web")))
        .unwrap_err();
    assert_eq!(forbidden, Refusal::Forbidden(Scope::Decide));

    let end = world.at.plus(Duration::from_secs(60));
    let brief = KeySpec {
        expires_at: Some(end),
        ..KeySpec::with_role(Tier::Free, Role::Agent)
    };
    let brief = world.run(None, CreateKey(brief)).unwrap().key_id;
    assert!(world.run(Some(brief), ask("b", deploy("web"))).is_ok());
    world.at = end;
    assert_eq!(
        world.run(Some(brief), ask("c", deploy("web"))).unwrap_err(),
        Refusal::Unauthenticated
    );

    world.run(None, RevokeKey(world.agent)).unwrap();
    let before = world.next;
    world.run(None, RevokeKey(world.agent)).unwrap();
    assert_eq!(world.next, before, "revoking twice is one entry");
    let revoked = world
        .run(Some(world.agent), ask("d", deploy("web")))
        .unwrap_err();
    assert_eq!(revoked, Refusal::Unauthenticated);
    assert_eq!(
        world
            .run(None, RevokeKey(KeyId::from_bytes([9; 16])))
            .unwrap_err(),
        Refusal::NotFound("key")
    );
}

#[test]
fn a_rotated_key_keeps_everything_but_its_secret() {
    let mut world = World::new(Tier::Free);
    let create = CreateKey(KeySpec::with_role(Tier::Free, Role::Ci));
    let made = world.run(None, create).unwrap();
    let usage = |world: &World| world.tenant.usage.used(made.key_id, world.at.month());
    world
        .run(Some(made.key_id), ask("a", deploy("web")))
        .unwrap();
    let before = (
        world.tenant.keys.find(made.key_id).unwrap().1.clone(),
        usage(&world),
    );

    let rotated = world.run(None, RotateKey(made.key_id)).unwrap();
    assert_ne!(rotated.hash, made.hash);
    let (hash, row) = world.tenant.keys.find(made.key_id).unwrap();
    assert_eq!((hash, (row.clone(), usage(&world))), (rotated.hash, before));
    assert_eq!(world.rebuilt().fingerprint(), world.tenant.fingerprint());

    world.run(None, RevokeKey(made.key_id)).unwrap();
    let refused = world.run(None, RotateKey(made.key_id)).unwrap_err();
    assert!(
        matches!(refused, Refusal::Invalid { .. }),
        "a revoked key stays revoked"
    );
}

#[test]
fn a_key_with_claims_is_for_the_intents_they_name() {
    let mut world = World::new(Tier::Enterprise);
    let claims = Claims {
        environments: vec![Environment::Staging],
        requesters: vec!["agent*".into()],
        intent_types: Vec::new(),
    };
    let agent = KeySpec::with_role(Tier::Free, Role::Agent);
    let made = world.run(None, CreateKey(KeySpec { claims, ..agent }));
    let made = made.unwrap().key_id;
    let key = Some(made);
    let mut prod_target = deploy("web");
    if let IntentKind::DeployConfig {
        deployment_target, ..
    } = &mut prod_target.kind
    {
        *deployment_target = Environment::Prod;
    }
    let in_prod = Intent {
        environment: Environment::Prod,
        ..deploy("web")
    };
    let of_a_person = Intent {
        requester: text("alice"),
        ..deploy("web")
    };
    for outside in [prod_target, in_prod, of_a_person] {
        let stamp = Stamp::new(world.at, world.next, key, [3; 32]);
        let dry = dry_run(ask("a", outside.clone()), &world.tenant, &stamp);
        assert!(matches!(dry, Err(Refusal::ClaimNotAllowed(_))));
        let refused = world.run(key, ask("a", outside)).unwrap_err();
        assert!(matches!(refused, Refusal::ClaimNotAllowed(_)));
    }
    assert!(world.run(key, ask("a", deploy("web"))).is_ok());
    world.run(None, RotateKey(made)).unwrap();
    assert!(world.tenant.keys.claims(made).is_some());
}

#[test]
fn a_key_with_claims_reports_only_on_the_intents_they_name() {
    let mut world = World::new(Tier::Enterprise);
    let of_dev = Claims {
        environments: vec![Environment::Dev],
        ..Claims::default()
    };
    let of_agents = Claims {
        requesters: vec!["agent".into()],
        ..Claims::default()
    };
    world.decide("a", deploy("web"));
    for claims in [of_dev, of_agents.clone()] {
        let ci = KeySpec::with_role(Tier::Free, Role::Ci);
        let made = world.run(None, CreateKey(KeySpec { claims, ..ci }));
        let refused = world.run(Some(made.unwrap().key_id), report("a", true));
        assert!(matches!(refused, Err(Refusal::ClaimNotAllowed(_))));
    }
    assert_eq!(world.tenant.learning.counts(Category::Default).trials, 0);

    let ci = KeySpec::with_role(Tier::Free, Role::Ci);
    let claims = of_agents;
    let made = world.run(None, CreateKey(KeySpec { claims, ..ci }));
    let key = Some(made.unwrap().key_id);
    world.run(key, ask("own", deploy("web"))).unwrap();
    assert!(world.run(key, report("own", true)).is_ok());
}

#[test]
fn the_last_key_that_administers_stays() {
    let mut zero = World::new(Tier::Enterprise);
    zero.tenant.id = TenantId::ZERO;
    let operator = || CreateKey(KeySpec::with_role(Tier::Enterprise, Role::Operator));
    let first = zero.run(None, operator()).unwrap().key_id;
    let refused = zero.run(None, RevokeKey(first)).unwrap_err();
    assert!(matches!(refused, Refusal::Invalid { .. }));
    zero.run(None, operator()).unwrap();
    zero.run(None, RevokeKey(first)).unwrap();
}

#[test]
fn operators_administer_and_strangers_find_nothing() {
    let world = World::new(Tier::Enterprise);
    let key = KeyId::from_bytes([5; 16]);
    let operator = Caller::Key {
        tenant: TenantId::ZERO,
        key,
    };
    let stranger = Caller::Key {
        tenant: TenantId::from_bytes([2; 16]),
        key,
    };
    assert_eq!(
        operator.authorize(&world.tenant, Scope::Admin, world.at),
        Ok(())
    );
    let decide = operator.authorize(&world.tenant, Scope::Decide, world.at);
    assert_eq!(decide, Err(Refusal::Forbidden(Scope::Decide)));
    let nothing = stranger.authorize(&world.tenant, Scope::Admin, world.at);
    assert_eq!(nothing, Err(Refusal::NotFound("tenant")));
}

/// The command that restores this tenant.
fn restore(world: &World, keep_keys: bool) -> Restore {
    let account = &world.tenant.account().unwrap().row;
    Restore {
        prior: FormerLogRow {
            log: account.log.clone(),
            size: world.next.get() - account.log_base.get(),
            root: [7; 32],
        },
        keep_keys,
        key: None,
        public_key: "key".into(),
    }
}

#[test]
fn a_restored_tenant_has_another_log_and_no_keys_and_knows_its_old_entries() {
    let mut world = World::new(Tier::Enterprise);
    world.decide("a", deploy("web"));
    let (old, lost) = (Sequence::new(1), Sequence::new(2));
    let ids = [old, lost].map(|sequence| world.tenant.decision_id(sequence));
    let first_log = world.tenant.account().unwrap().row.log.clone();

    let stale = Restore {
        prior: FormerLogRow {
            size: 1,
            ..restore(&world, false).prior
        },
        ..restore(&world, false)
    };
    assert!(matches!(
        world.run(None, stale),
        Err(Refusal::Invalid { .. })
    ));
    let command = restore(&world, true);
    world.run(None, command).unwrap();
    let account = &world.tenant.account().unwrap().row;
    assert_eq!(
        account.log_base, lost,
        "the number that was lost is given anew"
    );
    assert_ne!(account.log, first_log);
    assert_eq!(world.tenant.sequence_of(ids[0]), Some(old));
    assert_eq!(world.tenant.sequence_of(ids[1]), None, "that entry is lost");
    assert_eq!(world.tenant.decision_id(old), ids[0]);
    let genesis = world.tenant.decision_id(lost);
    assert_ne!(genesis, ids[1]);
    assert_eq!(world.tenant.sequence_of(genesis), Some(lost));
    let again = world.ask("a", deploy("web"));
    assert!(matches!(again, Evaluation::Replayed { decided, .. } if decided == old));

    // Once more, and now every key goes.
    let command = restore(&world, false);
    world.run(None, command).unwrap();
    let refused = world.run(Some(world.agent), ask("b", deploy("web")));
    assert_eq!(refused.unwrap_err(), Refusal::Unauthenticated);
    let rebuilt = world.rebuilt();
    for tenant in [&world.tenant, &rebuilt] {
        assert_eq!(tenant.former_logs.len(), 2);
        assert_eq!(tenant.sequence_of(ids[0]), Some(old));
        assert_eq!(tenant.sequence_of(genesis), Some(lost));
    }
}

#[test]
fn where_an_intent_stands_is_its_row_and_the_time() {
    let mut world = World::new(Tier::Enterprise);
    let standing = world.decide("a", deploy("web")).standing;
    assert_eq!(standing.state, State::Pending);
    let (_, row) = world.tenant.intents.since(Sequence::FIRST).next().unwrap();
    let row = *row;
    let state = |at| Standing::of(&row, at).state;
    let day = Duration::from_secs(86_400);
    assert_eq!(
        state(row.created_at.plus(day - Duration::from_micros(1))),
        State::Pending
    );
    assert_eq!(state(row.created_at.plus(day)), State::Expired);
    world.report("a", true);
    let (_, row) = world.tenant.intents.since(Sequence::FIRST).next().unwrap();
    let closed = Standing::of(row, world.at.plus(day * 9));
    assert_eq!(closed.state, State::Closed);
}

#[test]
fn a_change_of_a_time_limit_neither_revives_nor_ends_what_was_decided() {
    let mut world = World::new(Tier::Enterprise);
    for n in 0..20 {
        world.decide(&format!("s{n}"), deploy("web"));
        world.report(&format!("s{n}"), true);
    }
    world.decide("approved", deploy("api"));
    let id = world
        .tenant
        .pseudonymizer()
        .pseudonym(&["intent", "approved"]);
    let row = *world.tenant.intents.by_id(id).unwrap().1;
    let day = Duration::from_secs(86_400);
    let (before, after) = (row.created_at.plus(day / 2), row.created_at.plus(day));
    for ttl_s in [60, 86_400 * 300] {
        let mut rules = Rules::built_in().clone();
        rules.settings.approvals.ttl_s = ttl_s;
        rules.settings.reviews.ttl_s = ttl_s;
        world.tenant.rules = Arc::new(rules);
        // Asked again under the new settings, and looked at.
        let stands = |world: &mut World, at| {
            world.at = at;
            match world.ask("approved", deploy("api")) {
                Evaluation::Replayed { standing, .. } => standing,
                Evaluation::Decided(_) => panic!("it was asked before"),
            }
        };
        for (at, state) in [(before, State::Approved), (after, State::Expired)] {
            let standing = Standing {
                state,
                expires_at: Some(after),
            };
            assert_eq!(Standing::of(&row, at), standing);
            assert_eq!(stands(&mut world, at), standing, "{ttl_s} s");
        }
    }
    let lost = IntentRow {
        expires_at: None,
        ..row
    };
    assert_eq!(Standing::of(&lost, before).state, State::Expired);
}

#[test]
fn a_tenant_keeps_so_many_intents_and_lets_the_oldest_go() {
    let mut rules = Rules::built_in().clone();
    rules.settings.intents.max = 3;
    let mut world = World::with_rules(Tier::Enterprise, rules);
    world.decide("0", in_set("plan", None));
    world.report("0", true);
    for n in 1..6 {
        world.decide(&format!("{n}"), in_set("plan", None));
    }
    assert_eq!(world.tenant.intents.count(), 3);
    let set = world.tenant.change_sets.rows.iter().next().unwrap().1;
    assert_eq!(set.items, 3, "a set counts what it keeps");
    world.decide("0", deploy("new"));
    assert_eq!(world.tenant.intents.count(), 3, "a forgotten id is new");
}

/// What a random history consists of.
#[derive(Debug, Clone)]
enum Act {
    Ask {
        id: u8,
        service: u8,
        set: Option<u8>,
    },
    Report {
        id: u8,
        success: bool,
        own: bool,
    },
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        (0..24_u8, 0..3_u8, prop::option::of(0..3_u8)).prop_map(|(id, service, set)| Act::Ask {
            id,
            service,
            set
        }),
        (0..24_u8, any::<bool>(), any::<bool>()).prop_map(|(id, success, own)| Act::Report {
            id,
            success,
            own
        }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// The state is a fold of rows: a restart, which sees the last row of each key and no order among
    /// tables, comes to the same state.
    #[test]
    fn a_restart_comes_to_the_same_state(acts in prop::collection::vec(act(), 1..120)) {
        let mut rules = Rules::built_in().clone();
        rules.settings.intents.max = 12;
        // Numbers whose bytes are in no row by chance.
        let mut world = World::beginning_at(sample::INTENT, Tier::Enterprise, rules);
        for act in acts {
            match act {
                Act::Ask { id, service, set } => {
                    let mut intent = deploy(&format!("service{service}"));
                    let set = set.map(|set| in_set(&format!("set{set}"), None).change_set.unwrap());
                    intent.change_set = set;
                    let _ = world.run(Some(world.agent), ask(&format!("i{id}"), intent));
                }
                Act::Report { id, success, own } => {
                    let key = if own { world.agent } else { world.reporter };
                    let _ = world.run(Some(key), report(&format!("i{id}"), success));
                }
            }
        }
        let rebuilt = world.rebuilt();
        prop_assert_eq!(rebuilt.fingerprint(), world.tenant.fingerprint());
        // Nothing is kept for intents that are gone.
        let kept: u64 = world.tenant.change_sets.rows.values().map(|set| u64::from(set.items)).sum();
        let in_sets = world.tenant.intents.since(Sequence::FIRST)
            .filter(|(_, row)| row.change_set.is_some()).count();
        prop_assert_eq!(kept, u64::try_from(in_sets).unwrap());
        world.check_no_row_names_an_evicted_intent();
    }
}

impl World {
    fn check_no_row_names_an_evicted_intent(&self) {
        for mutation in self.rows.values() {
            let Mutation::Put(row) = mutation else {
                continue;
            };
            let op = mutation.op(ID);
            // The last command that touched them, whatever became of its intent.
            let by_last_use = matches!(row, Row::ComponentRow(..) | Row::ChangeSetRow(..));
            if op.table.load == Load::Cold || by_last_use {
                continue;
            }
            let payload = op.stored().unwrap().unwrap().payload;
            for (sequence, id) in &self.evicted {
                // An id may have come back with another intent.
                let id = Some(*id).filter(|id| self.tenant.intents.by_id(*id).is_none());
                let named = [&*op.key, &payload].map(|bytes| sample::names(bytes, *sequence, id));
                assert_eq!(named, [false; 2], "{row:?} names {sequence}");
            }
        }
    }
}

impl Tenant {
    fn with_rules(id: TenantId, rules: Arc<Rules>) -> Self {
        Self {
            rules,
            ..Self::blank(id)
        }
    }

    /// The whole state in an order of its own.
    fn fingerprint(&self) -> String {
        let sorted = |mut lines: Vec<String>| {
            lines.sort();
            lines.join("\n")
        };
        [
            sorted(
                self.keys
                    .all()
                    .iter()
                    .map(|key| format!("{key:?}"))
                    .collect(),
            ),
            sorted(
                self.intents
                    .since(Sequence::FIRST)
                    .map(|one| format!("{one:?}"))
                    .collect(),
            ),
            sorted(
                self.intents
                    .since(Sequence::FIRST)
                    .map(|(_, row)| format!("{:?}", self.intents.by_id(row.id)))
                    .collect(),
            ),
            sorted(
                self.change_sets
                    .rows
                    .iter()
                    .map(|one| format!("{one:?}"))
                    .collect(),
            ),
            format!("{:?}", self.learning),
            sorted(
                self.components
                    .rows
                    .iter()
                    .map(|one| format!("{one:?}"))
                    .collect(),
            ),
            self.outcomes.fingerprint(),
        ]
        .join("\n--\n")
    }
}

/// Outcomes are found by sequence and by their own key.
impl super::outcome::Outcomes {
    fn fingerprint(&self) -> String {
        let rows = self.all();
        let lines: Vec<_> = rows.map(|one| format!("{one:?}")).collect();
        lines.join("\n")
    }
}

#[test]
fn a_row_of_the_future_is_refused() {
    let table = &super::schema::BETA_STATE;
    assert!(Row::decode(table, 2, &[1], &[]).is_err());
    assert!(Row::decode(table, 1, &[99], &[0; 40]).is_err());
}
