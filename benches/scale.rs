//! Memory per tenant and per intent, and the time to load a large tenant.
//!
//! Creates 100,000 tenants and one with 1,000,000 intents (`ARF_SCALE_TENANTS` and `ARF_SCALE_INTENTS`
//! set other numbers), then measures, each in its own process, so that freed memory hides nothing:
//! resident bytes per passivated tenant, per active idle tenant and per intent; the time to load the
//! large tenant, and the latency of another tenant meanwhile; and whether memory stays bounded while all
//! tenants are touched in random order with room for few of them. `ARF_BENCH_DIR` chooses the disk.

#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a benchmark measures and prints"
)]

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::Command as Process;
use std::time::{Duration, Instant};

use arf::audit::{Fact, Signer};
use arf::bounded::BoundedString;
use arf::decide::intent::{Environment, IntentType};
use arf::decide::{Action, Category};
use arf::engine::{Config, Engine};
use arf::id::{KeyId, Pseudonym, TenantId};
use arf::stamp::Stamp;
use arf::store::{Store, StoreConfig};
use arf::tenant::Tenant;
use arf::tenant::authorization::Caller;
use arf::tenant::command::{Change, Command, Plan};
use arf::tenant::intents::{IntentRow, OutcomeMark};
use arf::tenant::key::{KeySpec, Role, Scope};
use arf::tenant::lifecycle::FoundTenant;
use arf::tenant::outcome::OutcomeRow;
use arf::tenant::schema::{INTENTS, Mutation, Row, TABLES};
use arf::tenant::usage::Tier;
use futures_util::StreamExt as _;

/// Commands in flight while the data is created.
const AT_ONCE: usize = 512;
/// Intents per [`Fill`] command.
const FILL: u64 = 500;
/// Memory for active tenants in the bounded part, bytes.
const ROOM: usize = 64 << 20;

fn main() {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() == Some("--part") {
        let part = arguments.next().expect("a part's name");
        let data = PathBuf::from(arguments.next().expect("a data directory"));
        return run_part(&part, &data);
    }
    let place = std::env::var_os("ARF_BENCH_DIR").map_or_else(|| "target".into(), PathBuf::from);
    std::fs::create_dir_all(&place).expect("the bench directory can be made");
    let dir = tempfile::tempdir_in(&place).expect("the bench directory can be written");
    let (many, large, outcomes) = (
        dir.path().join("many"),
        dir.path().join("large"),
        dir.path().join("outcomes"),
    );
    println!(
        "{} tenants; {} intents; in {}",
        tenants(),
        intents(),
        place.display()
    );
    for (part, data) in [
        ("found", &many),
        ("idle", &many),
        ("bounded", &many),
        ("fill", &large),
        ("load", &large),
        ("fill-outcomes", &outcomes),
        ("load", &outcomes),
    ] {
        let exe = std::env::current_exe().expect("the bench has a path");
        let ended = Process::new(exe).args(["--part", part]).arg(data).status();
        assert!(
            ended.is_ok_and(|status| status.success()),
            "part {part} failed"
        );
    }
}

fn number(name: &str, otherwise: u64) -> u64 {
    let text = std::env::var(name).ok();
    text.and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

fn tenants() -> u64 {
    number("ARF_SCALE_TENANTS", 100_000)
}

fn intents() -> u64 {
    number("ARF_SCALE_INTENTS", 1_000_000)
}

fn report(what: &str, value: impl std::fmt::Display) {
    println!("{what:>58}  {value}");
}

/// Resident memory of this process, bytes.
fn resident() -> f64 {
    let text = std::fs::read_to_string("/proc/self/status").expect("/proc/self/status is readable");
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
    kib.expect("a number of KiB") * 1_024.0
}

fn mib(bytes: f64) -> String {
    format!("{:.0} MiB", bytes / f64::from(1 << 20))
}

fn open(data: &Path, config: Config) -> Engine {
    let started_at = Instant::now();
    let store = Store::open(&StoreConfig::new(data), TABLES).expect("the store opens");
    let engine = Engine::new(store, Signer::from_seed(&[1; 32]), config).expect("the engine opens");
    report(
        "opened in",
        format!("{:.2} s", started_at.elapsed().as_secs_f64()),
    );
    engine
}

fn run_part(part: &str, data: &Path) {
    actix::System::new().block_on(async {
        let mut config = Config {
            active_bytes: usize::MAX,
            deadline: Duration::from_secs(600),
            ..Config::default()
        };
        if part == "bounded" {
            config.active_bytes = ROOM;
        }
        let started_at = Instant::now();
        let engine = open(data, config);
        let seat = engine.join_thread();
        let sweep = actix::spawn({
            let engine = engine.clone();
            async move { engine.passivate_idle().await }
        });
        match part {
            "found" => create_all(&engine).await,
            "idle" => idle(&engine).await,
            "bounded" => bounded(&engine).await,
            "fill" => fill(&engine, false).await,
            "fill-outcomes" => fill(&engine, true).await,
            _ => load(&engine).await,
        }
        sweep.abort();
        drop(seat);
        engine.close().expect("the engine closes");
        report(
            "",
            format!("({part}: {:.1} s)", started_at.elapsed().as_secs_f64()),
        );
    });
}

fn tenant(number: u64) -> TenantId {
    let mut bytes = [0x55; 16];
    bytes[..8].copy_from_slice(&mix(number).to_be_bytes());
    TenantId::from_bytes(bytes)
}

/// SplitMix64.
fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

async fn found(engine: &Engine, tenant: TenantId) {
    let command = FoundTenant {
        name: BoundedString::new("A tenant of usual size").expect("it is short"),
        tier: Tier::Pro,
        retention_days: None,
        created_by: None,
        keys: vec![KeySpec::with_role(Tier::Pro, Role::Ci)],
        service: "arf.invalid".into(),
        public_key: "key".into(),
    };
    let founded = engine.execute(tenant, Caller::Node, command, 0).await;
    founded.expect("the tenant is created");
}

/// Inspects a tenant, which loads it.
async fn touch(engine: &Engine, tenant: TenantId) -> usize {
    let look = |tenant: &Tenant, _: &Stamp| Ok(tenant.intents().count());
    let seen = engine
        .inspect(tenant, Caller::Node, Scope::Read, look)
        .await;
    seen.expect("the tenant exists")
}

async fn create_all(engine: &Engine) {
    let before = resident();
    report("resident, no tenants", mib(before));
    let all = futures_util::stream::iter((0..tenants()).map(|n| found(engine, tenant(n))));
    let started_at = Instant::now();
    all.buffer_unordered(AT_ONCE).collect::<()>().await;
    let rate = tenants() as f64 / started_at.elapsed().as_secs_f64();
    report("created", format!("{rate:.0} tenants/s"));
}

async fn idle(engine: &Engine) {
    let before = resident();
    report("resident, all passivated", mib(before));
    report(
        "per passivated tenant, of the whole process",
        format!("{:.0} B", before / tenants() as f64),
    );
    let started_at = Instant::now();
    let all = futures_util::stream::iter((0..tenants()).map(|n| touch(engine, tenant(n))));
    all.buffer_unordered(AT_ONCE).for_each(|_| async {}).await;
    let rate = tenants() as f64 / started_at.elapsed().as_secs_f64();
    assert_eq!(engine.health().active_tenants as u64, tenants());
    report("activated", format!("{rate:.0} tenants/s"));
    let per = (resident() - before) / tenants() as f64;
    report("per idle tenant (target 4,096 B)", format!("{per:.0} B"));
}

async fn bounded(engine: &Engine) {
    let before = resident();
    let mut most = before;
    let mut number = 0_u64;
    let all = futures_util::stream::iter((0..2 * tenants()).map(|n| {
        number = mix(n) % tenants();
        touch(engine, tenant(number))
    }));
    let mut all = all.buffer_unordered(AT_ONCE);
    let mut touched = 0_u64;
    while all.next().await.is_some() {
        touched += 1;
        if touched.is_multiple_of(1_000) {
            most = most.max(resident());
        }
    }
    report("room for active tenants", mib(ROOM as f64));
    report("touched in random order", touched);
    report(
        "resident before, and at most meanwhile",
        format!("{}, {}", mib(before), mib(most)),
    );
}

/// Creates many intents at once: their rows, and one entry for all of them.
struct Fill {
    first: u64,
    outcomes: bool,
}

impl Command for Fill {
    type Reply = ();
    const SCOPE: Scope = Scope::Admin;

    fn apply(self, _: &Tenant, stamp: &Stamp) -> Plan<()> {
        let key = KeyId::from_bytes([7; 16]);
        let name = |what: u64, number: u64| {
            let mut bytes = [0; 16];
            bytes[..8].copy_from_slice(&mix(number * 8 + what).to_be_bytes());
            bytes[8..].copy_from_slice(&mix(number).to_be_bytes());
            Pseudonym::from_bytes(bytes)
        };
        let mut rows: Vec<Mutation> = Vec::new();
        for number in self.first..self.first + FILL {
            // Not the sequences of their commands, but as dense as those of evaluations.
            let outcome = arf::id::Sequence::new((1 << 32) + number);
            let mark = self.outcomes.then_some(OutcomeMark {
                sequence: outcome,
                success: true,
                learned: true,
            });
            let row = IntentRow {
                id: name(0, number),
                digest: name(1, number),
                change_set: None,
                component: name(2, number % 1_000),
                requester: name(3, number % 10),
                memory: name(4, number % 10_000),
                caller: key,
                intent_type: IntentType::DeployConfig,
                category: Category::Default,
                action: Action::Escalate,
                environment: Environment::Dev,
                target: None,
                operation: None,
                risk: 0.1,
                blend: 0.1,
                created_at: stamp.at,
                expires_at: None,
                review: None,
                outcome: mark,
            };
            let sequence = arf::id::Sequence::new((1 << 31) + number);
            rows.push(Row::IntentRow(sequence, row).into());
            if self.outcomes {
                let row = OutcomeRow {
                    intent: sequence,
                    success: true,
                    reporter: key,
                    not_learned: None,
                    recorded_at: stamp.at,
                    idempotency_key: None,
                };
                rows.push(Row::OutcomeRow(outcome, row).into());
            }
        }
        Ok(Change {
            rows,
            fact: Fact::new("fill"),
            reply: (),
        })
    }
}

const LARGE: TenantId = TenantId::from_bytes([0x77; 16]);
const SMALL: TenantId = TenantId::from_bytes([0x78; 16]);

async fn fill(engine: &Engine, outcomes: bool) {
    found(engine, LARGE).await;
    found(engine, SMALL).await;
    let all = (0..intents()).step_by(FILL as usize);
    let all = futures_util::stream::iter(all.map(|first| async move {
        let fill = Fill { first, outcomes };
        let filled = engine.execute(LARGE, Caller::Node, fill, 0).await;
        filled.expect("the intents are created");
    }));
    all.buffer_unordered(16).collect::<()>().await;
}

/// The longest inspection of the small tenant while `meanwhile` runs.
async fn slowest<T>(engine: &Engine, meanwhile: impl Future<Output = T>) -> (T, Duration) {
    let mut slowest = Duration::ZERO;
    let mut meanwhile = std::pin::pin!(meanwhile);
    loop {
        let started_at = Instant::now();
        let probe = async {
            touch(engine, SMALL).await;
            let took = started_at.elapsed();
            tokio::time::sleep(Duration::from_micros(200)).await;
            took
        };
        tokio::select! {
            biased;
            took = probe => slowest = slowest.max(took),
            done = &mut meanwhile => return (done, slowest.max(started_at.elapsed())),
        }
    }
}

async fn load(engine: &Engine) {
    touch(engine, SMALL).await;
    // As every start does. It also fills sled's cache, which is bounded, before memory is measured.
    let started_at = Instant::now();
    let counted = engine.read(arf::query::intents::count).await;
    assert_eq!(counted.expect("they can be counted"), intents());
    report(
        "intents counted in",
        format!("{:.2} s", started_at.elapsed().as_secs_f64()),
    );
    engine
        .read(|reader| reader.scan(&INTENTS, &mut |_, _, _| ControlFlow::Continue(())))
        .await
        .expect("they can be read");
    let (_, usual) = slowest(engine, tokio::time::sleep(Duration::from_secs(2))).await;
    let before = resident();
    let started_at = Instant::now();
    let (count, meanwhile) = slowest(engine, touch(engine, LARGE)).await;
    assert_eq!(count as u64, intents());
    report(
        "the large tenant loaded in",
        format!("{:.2} s", started_at.elapsed().as_secs_f64()),
    );
    report(
        "slowest inspection of another tenant, before",
        format!("{:.1} ms", usual.as_secs_f64() * 1e3),
    );
    report(
        "slowest inspection of another tenant, meanwhile",
        format!("{:.1} ms", meanwhile.as_secs_f64() * 1e3),
    );
    let per = (resident() - before) / intents() as f64;
    report("per intent (target 300 B)", format!("{per:.0} B"));
    let leave = async {
        engine.passivate_all();
        tokio::time::sleep(Duration::from_secs(1)).await;
    };
    let (_, meanwhile) = slowest(engine, leave).await;
    report(
        "slowest inspection of another tenant during passivation",
        format!("{:.1} ms", meanwhile.as_secs_f64() * 1e3),
    );
}
