//! The three entry points, over a real store in a temporary directory.

use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};

use tempfile::TempDir;

use super::*;
use crate::audit::Fact;
use crate::audit::verify::HistoryVerifier;
use crate::bounded::BoundedString;
use crate::id::Sequence;
use crate::query::QueryError;
use crate::store::StoreConfig;
use crate::tenant::command::{Change, Plan};
use crate::tenant::key::{CreateKey, IssuedKey, KeySpec, RevokeKey, Role, RotateKey, Scope};
use crate::tenant::lifecycle::FoundTenant;
use crate::tenant::restore::{FormerLogRow, Restore};
use crate::tenant::schema::TABLES;
use crate::tenant::tests::reminder::{Remind, ReminderRow};
use crate::tenant::usage::Tier;
use crate::time::Timestamp;

const TENANT: TenantId = TenantId::from_bytes([7; 16]);

fn store(folder: &TempDir) -> Store {
    let mut config = StoreConfig::new(folder.path());
    config.segment_bytes = 1 << 20;
    Store::open(&config, TABLES).unwrap()
}

fn engine(folder: &TempDir) -> Engine {
    Engine::new(
        store(folder),
        Signer::from_seed(&[1; 32]),
        Config::default(),
    )
    .unwrap()
}

fn run<T>(job: impl Future<Output = T>) -> T {
    actix::System::new().block_on(job)
}

fn create_command() -> FoundTenant {
    FoundTenant {
        name: BoundedString::new("test").unwrap(),
        tier: Tier::Enterprise,
        retention_days: None,
        created_by: None,
        keys: vec![KeySpec::with_role(Tier::Enterprise, Role::Ci)],
        service: "arf.invalid".into(),
        public_key: "key".into(),
    }
}

/// Creates the tenant of these tests and returns its first key.
async fn create_tenant(engine: &Engine) -> IssuedKey {
    let founded = engine.execute(TENANT, Caller::Node, create_command(), 0);
    founded.await.unwrap().reply.remove(0)
}

/// A command that only leaves an entry.
struct Note;

impl Command for Note {
    type Reply = Sequence;
    const SCOPE: Scope = Scope::Admin;

    fn apply(self, _: &Tenant, stamp: &Stamp) -> Plan<Sequence> {
        Ok(Change {
            rows: Vec::new(),
            fact: Fact::new("note"),
            reply: stamp.sequence,
        })
    }
}

/// A command with a bug in it.
struct Bug;

impl Command for Bug {
    type Reply = ();
    const SCOPE: Scope = Scope::Admin;

    fn apply(self, _: &Tenant, _: &Stamp) -> Plan<()> {
        panic!("a bug, on purpose");
    }
}

async fn note(engine: &Engine) -> u64 {
    engine
        .execute(TENANT, Caller::Node, Note, 0)
        .await
        .unwrap()
        .reply
        .get()
}

#[test]
fn a_head_says_when_a_row_of_its_tenant_is_due_next() {
    let folder = TempDir::new().unwrap();
    let in_hours = |hours| Timestamp::MIN.plus(Duration::from_secs(3_600 * hours));
    let remind = async |engine: &Engine, number, row: Option<Option<u64>>| {
        let command = Remind {
            reminder: Sequence::new(number),
            row: row.map(|hours| ReminderRow {
                at: hours.map(in_hours),
            }),
        };
        let reminded = engine.execute(TENANT, Caller::Node, command, 0);
        reminded.await.unwrap();
        let claim = engine.node.store.reader().tenant(TENANT).unwrap().unwrap();
        claim.head.next_due
    };
    run(async {
        let engine = engine(&folder);
        let _thread = engine.join_thread();
        create_tenant(&engine).await;
        assert_eq!(remind(&engine, 1, Some(None)).await, None);
        assert_eq!(remind(&engine, 1, Some(Some(5))).await, Some(in_hours(5)));
        assert_eq!(remind(&engine, 2, Some(Some(3))).await, Some(in_hours(3)));
        assert_eq!(remind(&engine, 3, Some(Some(3))).await, Some(in_hours(3)));
        assert_eq!(
            remind(&engine, 2, None).await,
            Some(in_hours(3)),
            "the other one"
        );
        assert_eq!(remind(&engine, 3, Some(Some(9))).await, Some(in_hours(5)));
        engine.close().unwrap();
    });
    run(async {
        let engine = engine(&folder);
        let _thread = engine.join_thread();
        let next_due = remind(&engine, 4, Some(Some(7))).await;
        assert_eq!(next_due, Some(in_hours(5)), "rebuilt at activation");
        remind(&engine, 1, None).await;
        remind(&engine, 3, None).await;
        assert_eq!(remind(&engine, 4, Some(None)).await, None);
        engine.close().unwrap();
    });
}

#[test]
fn commands_are_numbered_without_holes_through_panics_evictions_and_restarts() {
    let folder = TempDir::new().unwrap();
    run(async {
        let engine = engine(&folder);
        let _thread = engine.join_thread();
        let unknown_tenant = engine
            .execute(TENANT, Caller::Node, Note, 0)
            .await
            .unwrap_err();
        assert_eq!(unknown_tenant, Refusal::NotFound("tenant").into());
        create_tenant(&engine).await;
        assert_eq!(note(&engine).await, 1);

        let panicked = engine
            .execute(TENANT, Caller::Node, Bug, 0)
            .await
            .unwrap_err();
        assert_eq!(panicked, Unavailable::TenantReloading.into());
        assert_eq!(
            note(&engine).await,
            2,
            "a tenant is loaded again after a panic"
        );

        engine.passivate_all();
        assert_eq!(engine.health().active_tenants, 0, "no tenant is in memory");
        assert_eq!(note(&engine).await, 3);
        engine.close().unwrap();
    });
    run(async {
        let engine = engine(&folder);
        let _thread = engine.join_thread();
        assert_eq!(note(&engine).await, 4);
        let again = engine
            .execute(TENANT, Caller::Node, create_command(), 0)
            .await
            .unwrap_err();
        assert!(matches!(
            again,
            EngineError::Refused(Refusal::IdempotencyConflict(_))
        ));
        engine.close().unwrap();
    });
}

#[test]
fn a_restored_tenant_continues_under_another_log_that_names_the_prior_one() {
    let folder = TempDir::new().unwrap();
    run(async {
        let engine = engine(&folder);
        let _thread = engine.join_thread();
        let public_key = engine.signer().public_key().to_string();
        let found = FoundTenant {
            public_key: public_key.clone(),
            ..create_command()
        };
        let founded = engine.execute(TENANT, Caller::Node, found, 0);
        founded.await.unwrap();
        note(&engine).await;
        for _ in 0..2 {
            let query =
                |tenant: &Tenant, _: &Stamp| Ok(tenant.account().map(|a| a.row.log.clone()));
            let log = engine.inspect(TENANT, Caller::Node, Scope::Admin, query);
            let log = log.await.unwrap().unwrap();
            let head = engine
                .node
                .store
                .reader()
                .tenant(TENANT)
                .unwrap()
                .unwrap()
                .head;
            let restore = Restore {
                prior: FormerLogRow {
                    log,
                    size: head.sequence.get() - head.log_base.get() + 1,
                    root: head.root,
                },
                keep_keys: false,
                key: None,
                public_key: public_key.clone(),
            };
            let restored = engine.execute(TENANT, Caller::Node, restore, 0);
            restored.await.unwrap();
            engine.passivate_all();
            note(&engine).await;
        }
        let reader = engine.node.store.reader();
        let mut follower = HistoryVerifier::default();
        for sequence in 0..6 {
            let entry = reader.entry(TENANT, Sequence::new(sequence)).unwrap();
            follower.push(&entry.unwrap()).unwrap();
        }
        let head = reader.tenant(TENANT).unwrap().unwrap().head;
        assert_eq!((follower.root(), follower.size()), (head.root, 2));
        assert_eq!(head.log_base, Sequence::new(4));
        engine.close().unwrap();
    });
}

#[test]
fn concurrent_commands_activate_a_tenant_once_and_get_a_number_each() {
    let folder = TempDir::new().unwrap();
    run(async {
        let engine = engine(&folder);
        let _thread = engine.join_thread();
        create_tenant(&engine).await;
        for round in 0..20 {
            engine.passivate_all();
            let notes = futures_util::future::join_all((0..300).map(|_| note(&engine))).await;
            let mut numbers = notes;
            numbers.sort_unstable();
            let first = 1 + round * 300;
            assert_eq!(numbers, (first..first + 300).collect::<Vec<_>>());
        }
        engine.close().unwrap();
    });
}

#[test]
fn an_actor_without_addresses_is_dropped() {
    /// Set when it is dropped.
    struct DropFlag(Arc<AtomicBool>);
    impl Drop for DropFlag {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }
    struct FlaggedActor {
        _flag: DropFlag,
    }
    impl actix::Actor for FlaggedActor {
        type Context = actix::Context<Self>;
    }
    run(async {
        let flag = Arc::new(AtomicBool::new(false));
        let address = actix::Actor::start(FlaggedActor {
            _flag: DropFlag(flag.clone()),
        });
        drop(address);
        let dropped = async {
            while !flag.load(Ordering::SeqCst) {
                tokio::task::yield_now().await;
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(5), dropped).await;
        assert!(waited.is_ok(), "an actor without addresses ends");
    });
}

#[test]
fn the_directory_has_a_key_before_its_creation_is_answered_and_loses_it_likewise() {
    let folder = TempDir::new().unwrap();
    let (kept, revoked) = run(async {
        let engine = engine(&folder);
        let _thread = engine.join_thread();
        let kept = create_tenant(&engine).await.hash;
        let create = CreateKey(KeySpec::with_role(Tier::Free, Role::Agent));
        let made = engine.execute(TENANT, Caller::Node, create, 0);
        let made = made.await.unwrap().reply;
        let principal = engine.authenticate(made.hash).expect("it is known");
        assert_eq!((principal.tenant, principal.key), (TENANT, made.key_id));
        let revoke = engine.execute(TENANT, Caller::Node, RevokeKey(made.key_id), 0);
        revoke.await.unwrap();
        assert_eq!(engine.authenticate(made.hash), None);
        engine.close().unwrap();
        (kept, made.hash)
    });
    run(async {
        let engine = engine(&folder);
        let known = [kept, revoked].map(|hash| engine.authenticate(hash).is_some());
        assert_eq!(known, [true, false], "a restart knows the same keys");
        engine.close().unwrap();
    });
}

#[test]
fn a_key_that_is_rotated_and_revoked_concurrently_is_inactive() {
    let folder = TempDir::new().unwrap();
    run(async {
        let engine = engine(&folder);
        let _thread = engine.join_thread();
        create_tenant(&engine).await;
        for _ in 0..40 {
            let create = CreateKey(KeySpec::with_role(Tier::Free, Role::Agent));
            let made = engine.execute(TENANT, Caller::Node, create, 0);
            let made = made.await.unwrap().reply;
            // All in one group or in several, and polled in an order of their own.
            let rotate = || engine.execute(TENANT, Caller::Node, RotateKey(made.key_id), 0);
            let rotates = futures_util::future::join_all((0..5).map(|_| rotate()));
            let revoke = async {
                tokio::task::yield_now().await;
                let revoke = RevokeKey(made.key_id);
                engine.execute(TENANT, Caller::Node, revoke, 0).await
            };
            let notes = futures_util::future::join_all((0..5).map(|_| note(&engine)));
            let (revoked, rotated, _) = tokio::join!(revoke, rotates, notes);
            revoked.unwrap();
            let rotated = rotated.iter().flatten().map(|one| one.reply.hash);
            for hash in rotated.chain([made.hash]) {
                assert_eq!(engine.authenticate(hash), None);
            }
        }
        engine.close().unwrap();
    });
}

#[test]
fn a_cancelled_command_is_applied_or_not_started() {
    let folder = TempDir::new().unwrap();
    run(async {
        let engine = engine(&folder);
        let _thread = engine.join_thread();
        create_tenant(&engine).await;
        // Polled once, then dropped: it may have been handed over or not.
        for _ in 0..50 {
            let command = engine.execute(TENANT, Caller::Node, Note, 0);
            let _ = tokio::time::timeout(Duration::ZERO, command).await;
        }
        let next = note(&engine).await;
        assert!((1..=51).contains(&next));
        let stored = engine
            .read(move |reader| reader.entry(TENANT, Sequence::new(next)))
            .await
            .unwrap();
        assert!(stored.is_some(), "the sequence has no hole");
        assert_eq!(engine.health().in_flight, 0, "no slot is lost");
        engine.close().unwrap();
    });
}

#[test]
fn what_an_inspection_shows_is_durable() {
    let folder = TempDir::new().unwrap();
    run(async {
        let engine = engine(&folder);
        let _thread = engine.join_thread();
        create_tenant(&engine).await;
        let writes = (0..100).map(|_| note(&engine));
        let inspections = (0..100).map(|_| async {
            let query = |_: &Tenant, stamp: &Stamp| Ok(stamp.sequence);
            let next = engine
                .inspect(TENANT, Caller::Node, Scope::Read, query)
                .await
                .unwrap();
            let last = Sequence::new(next.get() - 1);
            let stored = engine
                .read(move |reader| reader.entry(TENANT, last))
                .await
                .unwrap();
            assert!(stored.is_some(), "{last} was shown and is not there");
        });
        tokio::join!(
            futures_util::future::join_all(writes),
            futures_util::future::join_all(inspections)
        );
        engine.close().unwrap();
    });
}

#[test]
fn a_row_that_is_not_rebuilt_yet_is_not_a_damaged_one() {
    let folder = tempfile::tempdir().unwrap();
    run(async {
        let engine = engine(&folder);
        for (error, unavailable) in [
            (ReadError::Rebuilding, Unavailable::Rebuilding),
            (ReadError::Closed, Unavailable::ShuttingDown),
        ] {
            let read = engine.read(|_| Err::<(), _>(QueryError::Store(error)));
            assert_eq!(read.await, Err(unavailable));
        }
        let malformed = QueryError::Malformed {
            what: "entry",
            tenant: TENANT,
            sequence: Sequence::FIRST,
            why: "it is empty".into(),
        };
        let read = engine.read(|_| Err::<(), _>(malformed));
        assert_eq!(read.await, Err(Unavailable::TenantCorrupt));
    });
}
