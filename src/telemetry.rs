//! What the node tells of itself: a log for people and programs, and numbers for Prometheus.

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

/// What is to be logged: a tracing directive such as `info` or `arf=debug`.
pub fn log_filter(directive: &str) -> Result<EnvFilter, impl std::error::Error + use<>> {
    EnvFilter::builder().parse(directive)
}

/// Sends the log to standard error: lines for a terminal, JSON for everything else. Written by a
/// thread of its own, which drops lines rather than hold anybody up; what is left of them is written
/// when the guard is dropped.
pub fn log_to_stderr(filter: EnvFilter) -> WorkerGuard {
    let (writer, guard) = tracing_appender::non_blocking(Unfailing(io::stderr()));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .log_internal_errors(false)
        .with_writer(writer);
    // A second call, as in tests, leaves the first log in place.
    let _ = if io::stderr().is_terminal() {
        builder.with_target(false).try_init()
    } else {
        builder.json().flatten_event(true).try_init()
    };
    guard
}

/// A writer that drops what cannot be written: a full disk under the log must not stop the node.
struct Unfailing<W>(W);

impl<W: io::Write> io::Write for Unfailing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _ = self.0.write_all(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let _ = self.0.flush();
        Ok(())
    }
}

/// The numbers. Clones count together.
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

/// What is read off the engine when somebody asks: name, meaning, value.
type Reading = (&'static str, &'static str, fn(&Health) -> f64);

const READINGS: &[Reading] = &[
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
    (
        "log_sync_seconds",
        "How long they took together",
        |health| health.store.sync_time.as_secs_f64(),
    ),
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
        "1 while old rows are on their way back to the tables",
        |health| f64::from(u8::from(health.store.rebuilding)),
    ),
    ("log_on_disk_bytes", "All segments of the log", |health| {
        health.store.log_on_disk as f64
    }),
    ("snapshots_made", "Snapshots made", |health| {
        health.store.snapshots_made as f64
    }),
    (
        "snapshots_failed",
        "Snapshots that could not be made",
        |health| health.store.snapshots_failed as f64,
    ),
    (
        "snapshot_lsn",
        "Last record in the newest snapshot; 0 if there is none",
        |health| health.store.snapshot.map_or(0.0, |lsn| lsn.get() as f64),
    ),
    ("snapshot_bytes", "The newest snapshot", |health| {
        health.store.snapshot_bytes as f64
    }),
    ("disk_free_bytes", "Room left on the disk", |health| {
        health.store.free_bytes as f64
    }),
    (
        "disk_watermark_bytes",
        "Writes stop while less than this is free",
        |health| health.store.watermark_bytes as f64,
    ),
    ("tenants_active", "Tenants in memory", |health| {
        health.active_tenants as f64
    }),
    ("commands_in_flight", "Commands under way", |health| {
        health.in_flight as f64
    }),
    ("writable", "1 while writes are taken", |health| {
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
        let help = "From a request's arrival to its answer";
        registry.register_with_unit("scoring_latency", help, Unit::Seconds, scoring.clone());
        let help = "Planning one decision, in seconds";
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
        let backups = counter("backup", "Backups made");
        let backups_failed = counter("backup_failure", "Backups that failed");
        let last_backup = Gauge::default();
        let help = "When the last backup was made, seconds since 1970; 0 if there is none";
        registry.register("last_backup_timestamp_seconds", help, last_backup.clone());

        let gauge = |(name, help, _): &Reading| {
            let gauge = Gauge::default();
            registry.register(*name, *help, gauge.clone());
            gauge
        };
        let gauges = READINGS.iter().map(gauge).collect();
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
    /// An evaluation was answered with a decision.
    pub fn scored(&self, duration: Duration) {
        self.scoring.observe(duration.as_secs_f64());
    }

    /// A decision was made.
    pub fn decided(&self, decision: &Decision, planning: Duration) {
        self.policy.observe(planning.as_secs_f64());
        self.confidence.observe(decision.confidence);
        match decision.action {
            Action::Approve => self.approvals.inc(),
            Action::Deny => self.denials.inc(),
            Action::Escalate => self.escalations.inc(),
        };
    }

    /// A backup was made.
    pub fn backed_up(&self, at: Timestamp) {
        self.backups.inc();
        self.last_backup_was(at);
    }

    /// The last backup was made then.
    pub fn last_backup_was(&self, at: Timestamp) {
        self.last_backup.set(at.micros() as f64 / 1e6);
    }

    /// A backup failed.
    pub fn backup_failed(&self) {
        self.backups_failed.inc();
    }

    /// All of them in the OpenMetrics text format, with the engine's as they are now.
    pub fn render(&self, health: &Health) -> String {
        for (gauge, (_, _, read)) in self.gauges.iter().zip(READINGS) {
            gauge.set(read(health));
        }
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("a text takes all that is written to it");
        text
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}
