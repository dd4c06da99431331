//! `arf demo`: a short story through a throw-away engine, ending with a check of its audit log.

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
use crate::id::{IntentId, TenantId};
use crate::query;
use crate::store::{ENTRIES, Store, StoreConfig};
use crate::tenant::command::Caller;
use crate::tenant::evaluate::{Evaluate, Evaluation, RequestMeta};
use crate::tenant::key::{KeySpec, Role, Scope};
use crate::tenant::lifecycle::FoundTenant;
use crate::tenant::outcome::RecordOutcome;
use crate::tenant::schema::TABLES;
use crate::tenant::usage::Tier;

/// Show what it does, on examples and a throw-away engine
#[derive(Debug, clap::Args)]
pub struct Args {}

const STORY: &str = include_str!("../../data/examples/demo.json");
const TENANT: TenantId = TenantId::from_bytes([0xDE; 16]);

/// One step of the story.
#[derive(Deserialize)]
struct Step {
    say: String,
    ask: Option<Value>,
    history: Option<History>,
}

/// The same change again and again, with how it turned out.
#[derive(Deserialize)]
struct History {
    count: u32,
    success: bool,
    ask: Value,
}

/// Tells the story.
pub fn run(_: &Args) -> CliResult {
    let steps: Vec<Step> = serde_json::from_str(STORY).map_err(failed)?;
    let folder = tempfile::tempdir().map_err(failed)?;
    let mut config = StoreConfig::new(folder.path());
    config.segment_bytes = 4 << 20;
    actix::System::new().block_on(async {
        let store = Store::open(&config, TABLES).map_err(failed)?;
        let signer = Signer::from_seed(&clock::random());
        let engine = Engine::new(store, signer, Config::default()).map_err(failed)?;
        let _seat = engine.join_thread();
        let demo = Demo::found(engine).await?;
        demo.posteriors("Posteriors before").await?;
        for step in &steps {
            demo.tell(step).await?;
        }
        demo.posteriors("Posteriors after").await?;
        demo.check_audit().await?;
        demo.engine.close().map_err(failed)?;
        Ok(Exit::Success)
    })
}

fn failed(why: impl std::fmt::Display) -> CliError {
    CliError::new(Exit::Failed, why)
}

struct Demo {
    engine: Engine,
    caller: Caller,
}

impl Demo {
    async fn found(engine: Engine) -> Result<Self, CliError> {
        let command = FoundTenant {
            name: BoundedString::new("demo").map_err(failed)?,
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
            .map_err(failed)?;
        let key = founded
            .reply
            .first()
            .ok_or_else(|| failed("the demo has no key"))?
            .key_id;
        Ok(Self {
            engine,
            caller: Caller::Key {
                tenant: TENANT,
                key,
            },
        })
    }

    async fn tell(&self, step: &Step) -> Result<(), CliError> {
        print_line(&format!("\n{}.", step.say))?;
        if let Some(ask) = &step.ask {
            show(&self.ask(ask).await?)?;
        }
        if let Some(history) = &step.history {
            for _ in 0..history.count {
                self.ask_and_report(&history.ask, history.success).await?;
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

    async fn ask(&self, ask: &Value) -> Result<Decision, CliError> {
        Ok(self.evaluate(ask).await?.1)
    }

    async fn ask_and_report(&self, ask: &Value, success: bool) -> Result<(), CliError> {
        let (id, _) = self.evaluate(ask).await?;
        let (recorded_by, notes, idempotency_key) = (None, None, None);
        let report = RecordOutcome {
            id,
            success,
            recorded_by,
            notes,
            idempotency_key,
        };
        self.engine
            .execute(TENANT, self.caller, report, 0)
            .await
            .map_err(failed)?;
        Ok(())
    }

    async fn evaluate(&self, ask: &Value) -> Result<(IntentId, Decision), CliError> {
        let request = ask.to_string().into_bytes();
        let ParsedIntent { intent, id } = intent::parse(&request, None).map_err(failed)?;
        let meta = RequestMeta {
            at: clock::now(),
            trace_id: None,
            endpoint: "demo",
        };
        let command = Evaluate::new(intent, id, request, meta);
        let committed = self.engine.execute(TENANT, self.caller, command, 0).await;
        match committed.map_err(failed)?.reply {
            Evaluation::Decided(decided) => Ok((decided.id, decided.decision)),
            Evaluation::Replayed { .. } => Err(failed("the story asks under the same id twice")),
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
            .map_err(failed)?;
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

    /// Checks the log as a stranger would: from the entries' bytes and the public key alone.
    async fn check_audit(&self) -> Result<(), CliError> {
        let origin = self
            .engine
            .inspect(TENANT, self.caller, Scope::Read, |tenant, _| {
                Ok(tenant.account().map(|account| account.row.log.clone()))
            })
            .await
            .map_err(failed)?
            .unwrap_or_default();
        let key = self.engine.signer().public_key();
        let checked = self.engine.read(move |reader| {
            let mut entries = Vec::new();
            reader.scan(&ENTRIES, &mut |_, _, stored| {
                // One that is damaged is missing below, and told.
                entries.extend(stored.map(|row| row.payload));
                ControlFlow::Continue(())
            })?;
            let checked = verify_log(&entries, &origin, &key);
            let mut openings = 0;
            for entry in &entries {
                let Ok(parsed) = ParsedEntry::parse(entry) else {
                    continue;
                };
                let opening = query::intents::opening(reader, TENANT, parsed.sequence)?;
                openings +=
                    u64::from(opening.is_none_or(|opening| parsed.check_opening(&opening).is_ok()));
            }
            Ok::<_, query::QueryError>((checked, openings))
        });
        let (checked, openings) = checked.await.map_err(failed)?;
        let checked = checked.map_err(|broken| CliError::new(Exit::Damaged, broken))?;
        if openings != checked.size {
            return Err(CliError::new(
                Exit::Damaged,
                "an opening is not what its entry commits to",
            ));
        }
        let root: String = checked
            .root
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        print_line(&format!(
            "\nAudit: {} entries, every signature and commitment verified",
            checked.size
        ))?;
        print_line(&format!("  public key {key}\n  tree root  {root}"))?;
        Ok(())
    }
}

/// One decision in two lines.
fn show(decision: &Decision) -> Result<(), CliError> {
    let action = decision.action.as_str().to_uppercase();
    print_line(&format!(
        "  {action:<9} risk {:.3}   {}",
        decision.risk_score, decision.justification
    ))
}
