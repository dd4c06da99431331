//! `arf demo`: decides about examples on a temporary data directory, and verifies the audit log.

use std::ops::ControlFlow;

use serde::Deserialize;
use serde_json::Value;

use super::exit::{CliError, CliResult, Exit};
use super::output::print_line;
use crate::api::intent::{self, ParsedIntent};
use crate::audit::Signer;
use crate::audit::verify::{ParsedEntry, verify_log};
use crate::bounded::BoundedString;
use crate::decide::{Category, Decision, posterior};
use crate::engine::{Config, Engine, clock};
use crate::hex;
use crate::id::{IntentId, TenantId};
use crate::query;
use crate::store::{ENTRIES, Store, StoreConfig};
use crate::tenant::authorization::Caller;
use crate::tenant::evaluate::{Evaluate, Evaluation, RequestMeta};
use crate::tenant::key::{KeySpec, Role, Scope};
use crate::tenant::lifecycle::FoundTenant;
use crate::tenant::outcome::RecordOutcome;
use crate::tenant::schema::TABLES;
use crate::tenant::usage::Tier;

/// Decide about examples, on a temporary data directory
#[derive(Debug, clap::Args)]
pub struct Args {}

const STEPS: &str = include_str!("../../data/examples/demo.json");
const TENANT: TenantId = TenantId::from_bytes([0xDE; 16]);

#[derive(Deserialize)]
struct Step {
    title: String,
    intent: Option<Value>,
    history: Option<History>,
}

/// The same intent many times, with the outcome of each.
#[derive(Deserialize)]
struct History {
    count: u32,
    success: bool,
    intent: Value,
}

pub fn run(_: &Args) -> CliResult {
    let steps: Vec<Step> = serde_json::from_str(STEPS).map_err(CliError::failed)?;
    let folder = tempfile::tempdir().map_err(CliError::failed)?;
    let mut config = StoreConfig::new(folder.path());
    config.segment_bytes = 4 << 20;
    actix::System::new().block_on(async {
        let store = Store::open(&config, TABLES).map_err(CliError::failed)?;
        let signer = Signer::from_seed(&clock::random());
        let engine = Engine::new(store, signer, Config::default()).map_err(CliError::failed)?;
        let _seat = engine.join_thread();
        let demo = Demo::new(engine).await?;
        demo.posteriors("Posteriors before").await?;
        for step in &steps {
            demo.run_step(step).await?;
        }
        demo.posteriors("Posteriors after").await?;
        demo.verify_log().await?;
        demo.engine.close().map_err(CliError::failed)?;
        Ok(Exit::Success)
    })
}

struct Demo {
    engine: Engine,
    caller: Caller,
}

impl Demo {
    async fn new(engine: Engine) -> Result<Self, CliError> {
        let command = FoundTenant {
            name: BoundedString::new("demo").map_err(CliError::failed)?,
            tier: Tier::Enterprise,
            retention_days: None,
            created_by: None,
            keys: vec![KeySpec::with_role(Tier::Enterprise, Role::Ci)],
            service: "arf.invalid".to_owned(),
            public_key: engine.signer().public_key().to_string(),
        };
        let founded = engine
            .execute(TENANT, Caller::Node, command, 0)
            .await
            .map_err(CliError::failed)?;
        let key = founded
            .reply
            .first()
            .ok_or_else(|| CliError::failed("the demo has no key"))?
            .key_id;
        Ok(Self {
            engine,
            caller: Caller::Key {
                tenant: TENANT,
                key,
            },
        })
    }

    async fn run_step(&self, step: &Step) -> Result<(), CliError> {
        print_line(&format!("\n{}.", step.title))?;
        if let Some(intent) = &step.intent {
            print_decision(&self.evaluate(intent).await?.1)?;
        }
        if let Some(history) = &step.history {
            for _ in 0..history.count {
                self.evaluate_and_report(&history.intent, history.success)
                    .await?;
            }
            let outcome = if history.success {
                "successes"
            } else {
                "failures"
            };
            print_line(&format!("  {} {outcome} recorded", history.count))?;
        }
        Ok(())
    }

    async fn evaluate_and_report(&self, intent: &Value, success: bool) -> Result<(), CliError> {
        let (id, _) = self.evaluate(intent).await?;
        let (recorded_by, notes, idempotency_key) = (None, None, None);
        let command = RecordOutcome {
            id,
            success,
            recorded_by,
            notes,
            idempotency_key,
        };
        self.engine
            .execute(TENANT, self.caller, command, 0)
            .await
            .map_err(CliError::failed)?;
        Ok(())
    }

    async fn evaluate(&self, intent: &Value) -> Result<(IntentId, Decision), CliError> {
        let request = intent.to_string().into_bytes();
        let ParsedIntent { intent, id } =
            intent::parse(&request, None).map_err(CliError::failed)?;
        let meta = RequestMeta {
            at: clock::now(),
            trace_id: None,
            endpoint: "demo",
        };
        let command = Evaluate::new(intent, id, request, meta);
        let committed = self.engine.execute(TENANT, self.caller, command, 0).await;
        match committed.map_err(CliError::failed)?.reply {
            Evaluation::Decided(decided) => Ok((decided.id, decided.decision)),
            Evaluation::Replayed { .. } => Err(CliError::failed("two steps have the same id")),
        }
    }

    async fn posteriors(&self, title: &str) -> Result<(), CliError> {
        let rows = self
            .engine
            .inspect(TENANT, self.caller, Scope::Read, |tenant, _| {
                let settings = &tenant.rules().settings;
                let row = |&category: &Category| {
                    let counts = tenant.learning().counts(category);
                    (category, counts, posterior(category, &counts, settings))
                };
                Ok(Category::ALL.iter().map(row).collect::<Vec<_>>())
            })
            .await
            .map_err(CliError::failed)?;
        print_line(&format!("\n{title}:"))?;
        print_line(&format!(
            "  {:<10} {:>6} {:>9} {:>8}   90 % interval",
            "category", "trials", "failures", "mean"
        ))?;
        for (category, counts, posterior) in rows {
            let (low, high) = (posterior.interval.low, posterior.interval.high);
            print_line(&format!(
                "  {category:<10} {:>6} {:>9} {:>8.4}   {low:.4} to {high:.4}",
                counts.trials, counts.failures, posterior.mean
            ))?;
        }
        Ok(())
    }

    /// From the entries' bytes and the public key alone, as anyone could.
    async fn verify_log(&self) -> Result<(), CliError> {
        let origin = self
            .engine
            .inspect(TENANT, self.caller, Scope::Read, |tenant, _| {
                Ok(tenant.account().map(|account| account.row.log.clone()))
            })
            .await
            .map_err(CliError::failed)?
            .unwrap_or_default();
        let key = self.engine.signer().public_key();
        let result = self.engine.read(move |reader| {
            let mut entries = Vec::new();
            reader.scan(&ENTRIES, &mut |_, _, stored| {
                // A damaged one is missing then, and the verification fails.
                entries.extend(stored.map(|row| row.payload));
                ControlFlow::Continue(())
            })?;
            let head = verify_log(&entries, &origin, &key);
            let mut openings = 0;
            for entry in &entries {
                let Ok(parsed) = ParsedEntry::parse(entry) else {
                    continue;
                };
                let opening = query::intents::opening(reader, TENANT, parsed.sequence)?;
                openings +=
                    u64::from(opening.is_none_or(|opening| parsed.check_opening(&opening).is_ok()));
            }
            Ok::<_, query::QueryError>((head, openings))
        });
        let (head, openings) = result.await.map_err(CliError::failed)?;
        let head = head.map_err(CliError::damaged)?;
        if openings != head.size {
            return Err(CliError::damaged(
                "an opening does not match the commitments of its entry",
            ));
        }
        print_line(&format!(
            "\nAudit: {} entries, every signature and commitment verified",
            head.size
        ))?;
        print_line(&format!(
            "  public key {key}\n  tree root  {}",
            hex::encode(&head.root)
        ))?;
        Ok(())
    }
}

fn print_decision(decision: &Decision) -> Result<(), CliError> {
    let action = decision.action.as_str().to_uppercase();
    print_line(&format!(
        "  {action:<9} risk {:.3}   {}",
        decision.risk_score, decision.justification
    ))
}
