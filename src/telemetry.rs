//! Logging, and metrics for Prometheus.

use std::fmt;
use std::io::{self, IsTerminal as _};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets, linear_buckets};
use prometheus_client::registry::{Registry, Unit};
use tracing_appender::non_blocking::WorkerGuard;
use tracing_subscriber::EnvFilter;

use crate::decide::Action;
use crate::decide::Decision;
use crate::engine::Health;
use crate::time::Timestamp;

/// Parses a tracing directive such as `info` or `arf=debug`.
pub fn log_filter(directive: &str) -> Result<EnvFilter, impl std::error::Error + use<>> {
    EnvFilter::builder().parse(directive)
}

/// Logs to standard error: text on a terminal, JSON otherwise. A background thread writes; it drops
/// lines rather than block, and the guard flushes the rest when it is dropped.
pub fn log_to_stderr(filter: EnvFilter) -> WorkerGuard {
    let (writer, guard) = tracing_appender::non_blocking(BestEffort(io::stderr()));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .log_internal_errors(false)
        .with_writer(writer);
    // A second call, as in tests, keeps the first subscriber.
    let _ = if io::stderr().is_terminal() {
        builder.with_target(false).try_init()
    } else {
        builder.json().flatten_event(true).try_init()
    };
    guard
}

/// Discards what cannot be written: a full disk under the log must not stop the node.
struct BestEffort<W>(W);

impl<W: io::Write> io::Write for BestEffort<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _ = self.0.write_all(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let _ = self.0.flush();
        Ok(())
    }
}

/// The metrics. Clones share the counters.
#[derive(Clone)]
pub struct Metrics {
    registry: Arc<Registry>,
    scoring: Histogram,
    policy: Histogram,
    confidence: Histogram,
    approvals: Counter,
    denials: Counter,
    escalations: Counter,
    backups: Counter,
    backups_failed: Counter,
    last_backup: Gauge<f64, AtomicU64>,
    gauges: Vec<Gauge<f64, AtomicU64>>,
}

/// A gauge that is read from the engine at every scrape: name, help, value.
type EngineGauge = (&'static str, &'static str, fn(&Health) -> f64);

const ENGINE_GAUGES: &[EngineGauge] = &[
    ("log_durable_lsn", "Last durable record", |health| {
        health.store.durable.get() as f64
    }),
    ("log_groups", "Groups of records written", |health| {
        health.store.groups as f64
    }),
    ("log_bytes", "Bytes written to the log", |health| {
        health.store.log_bytes as f64
    }),
    ("log_syncs", "Calls of fdatasync", |health| {
        health.store.syncs as f64
    }),
    ("log_sync_seconds", "Time in fdatasync", |health| {
        health.store.sync_time.as_secs_f64()
    }),
    (
        "tables_applied_lsn",
        "Last record in the tables",
        |health| health.store.applied.get() as f64,
    ),
    ("tables_lag_bytes", "Rows not yet in the tables", |health| {
        health.store.memtable_bytes as f64
    }),
    (
        "tables_rebuilding",
        "1 while the tables are being rebuilt",
        |health| f64::from(u8::from(health.store.rebuilding)),
    ),
    ("log_on_disk_bytes", "All segments of the log", |health| {
        health.store.log_on_disk as f64
    }),
    ("snapshots_made", "Snapshots created", |health| {
        health.store.snapshots_made as f64
    }),
    ("snapshots_failed", "Snapshots that failed", |health| {
        health.store.snapshots_failed as f64
    }),
    (
        "snapshot_lsn",
        "Last record in the newest snapshot, or 0",
        |health| health.store.snapshot.map_or(0.0, |lsn| lsn.get() as f64),
    ),
    ("snapshot_bytes", "Size of the newest snapshot", |health| {
        health.store.snapshot_bytes as f64
    }),
    ("disk_free_bytes", "Free disk space", |health| {
        health.store.free_bytes as f64
    }),
    (
        "disk_watermark_bytes",
        "Free disk space below which writes stop",
        |health| health.store.watermark_bytes as f64,
    ),
    ("tenants_active", "Tenants in memory", |health| {
        health.active_tenants as f64
    }),
    (
        "commands_in_flight",
        "Commands that run or wait",
        |health| health.in_flight as f64,
    ),
    ("writable", "1 while writes are accepted", |health| {
        f64::from(u8::from(health.writable))
    }),
];

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::default();
        // From 50 microseconds to some 1.6 seconds, and from 0.5 microseconds to 16 milliseconds.
        let scoring = Histogram::new(exponential_buckets(50e-6, 2.0, 16));
        let policy = Histogram::new(exponential_buckets(0.5e-6, 2.0, 16));
        let confidence = Histogram::new(linear_buckets(0.0, 0.1, 11));
        let help = "Time from an evaluation's arrival to its response";
        registry.register_with_unit("scoring_latency", help, Unit::Seconds, scoring.clone());
        let help = "Time to plan one decision, in seconds";
        registry.register("policy_evaluation_duration", help, policy.clone());
        let help = "Confidence of decisions: 1 - psi";
        registry.register("confidence_distribution", help, confidence.clone());

        let mut counter = |name, help| {
            let counter = Counter::default();
            registry.register(name, help, counter.clone());
            counter
        };
        let approvals = counter("approval", "Decisions to approve");
        let denials = counter("denial", "Decisions to deny");
        let escalations = counter("escalation", "Decisions to escalate");
        let backups = counter("backup", "Backups created");
        let backups_failed = counter("backup_failure", "Backups that failed");
        let last_backup = Gauge::default();
        let help = "Time of the last backup, seconds since 1970, or 0";
        registry.register("last_backup_timestamp_seconds", help, last_backup.clone());

        let gauge = |(name, help, _): &EngineGauge| {
            let gauge = Gauge::default();
            registry.register(*name, *help, gauge.clone());
            gauge
        };
        let gauges = ENGINE_GAUGES.iter().map(gauge).collect();
        Self {
            registry: Arc::new(registry),
            scoring,
            policy,
            confidence,
            approvals,
            denials,
            escalations,
            backups,
            backups_failed,
            last_backup,
            gauges,
        }
    }
}

impl Metrics {
    /// Counts the response to an evaluation.
    pub fn record_response(&self, duration: Duration) {
        self.scoring.observe(duration.as_secs_f64());
    }

    pub fn record_decision(&self, decision: &Decision, planning: Duration) {
        self.policy.observe(planning.as_secs_f64());
        self.confidence.observe(decision.confidence);
        match decision.action {
            Action::Approve => self.approvals.inc(),
            Action::Deny => self.denials.inc(),
            Action::Escalate => self.escalations.inc(),
        };
    }

    pub fn record_backup(&self, at: Timestamp) {
        self.backups.inc();
        self.set_last_backup(at);
    }

    pub fn set_last_backup(&self, at: Timestamp) {
        self.last_backup.set(at.micros() as f64 / 1e6);
    }

    pub fn record_backup_failure(&self) {
        self.backups_failed.inc();
    }

    /// The OpenMetrics text, with the engine's gauges as they are now.
    pub fn render(&self, health: &Health) -> String {
        for (gauge, (_, _, read)) in self.gauges.iter().zip(ENGINE_GAUGES) {
            gauge.set(read(health));
        }
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("writing to a string cannot fail");
        text
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}
