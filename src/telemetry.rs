//! What the node tells of itself: a log for people and programs, and numbers for Prometheus.

use std::fmt::{self, Write as _};
use std::io::{self, IsTerminal as _};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets, linear_buckets};
use prometheus_client::registry::{Registry, Unit};
use tracing_subscriber::EnvFilter;

use crate::decide::Action;
use crate::store::StoreStats;

/// Sends the log to standard error: lines for a terminal, JSON for everything else.
///
/// `filter` is a tracing directive such as `info` or `arf=debug`; one that cannot be read is `info`.
pub fn log_to_stderr(filter: &str) {
    let filter = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr);
    // A second call, as in tests, leaves the first log in place.
    let _ = if io::stderr().is_terminal() {
        builder.with_target(false).try_init()
    } else {
        builder.json().flatten_event(true).try_init()
    };
}

/// The numbers. Clones count together.
#[derive(Clone)]
pub struct Metrics {
    registry: Arc<Registry>,
    scoring: Histogram,
    policy: Histogram,
    confidence: Histogram,
    decisions: Decisions,
    store: Gauges,
}

#[derive(Clone, Default)]
struct Decisions {
    approvals: Counter,
    denials: Counter,
    escalations: Counter,
}

#[derive(Clone, Default)]
struct Gauges {
    durable: Gauge<u64, AtomicU64>,
    applied: Gauge<u64, AtomicU64>,
    lag: Gauge<u64, AtomicU64>,
    groups: Gauge<u64, AtomicU64>,
    tenants: Gauge<u64, AtomicU64>,
    in_flight: Gauge<u64, AtomicU64>,
}

impl Default for Metrics {
    fn default() -> Self {
        // From 50 microseconds to some 1.6 seconds, and from 0.5 microseconds to 16 milliseconds.
        let scoring = Histogram::new(exponential_buckets(50e-6, 2.0, 16));
        let policy = Histogram::new(exponential_buckets(0.5e-6, 2.0, 16));
        let confidence = Histogram::new(linear_buckets(0.0, 0.1, 11));
        let (decisions, store) = (Decisions::default(), Gauges::default());
        let mut registry = Registry::default();
        registry.register_with_unit(
            "scoring_latency",
            "From a request's arrival to its answer",
            Unit::Seconds,
            scoring.clone(),
        );
        registry.register(
            "policy_evaluation_duration",
            "Planning one decision, in seconds",
            policy.clone(),
        );
        registry.register(
            "confidence_distribution",
            "Confidence of decisions: 1 - psi",
            confidence.clone(),
        );
        registry.register(
            "approval",
            "Decisions to approve",
            decisions.approvals.clone(),
        );
        registry.register("denial", "Decisions to deny", decisions.denials.clone());
        registry.register(
            "escalation",
            "Decisions to escalate",
            decisions.escalations.clone(),
        );
        registry.register(
            "log_durable_lsn",
            "Last durable record",
            store.durable.clone(),
        );
        registry.register(
            "tables_applied_lsn",
            "Last record in the tables",
            store.applied.clone(),
        );
        registry.register(
            "tables_lag_bytes",
            "Rows not yet in the tables",
            store.lag.clone(),
        );
        registry.register("log_groups", "Groups written so far", store.groups.clone());
        registry.register("tenants_active", "Tenants in memory", store.tenants.clone());
        registry.register(
            "commands_in_flight",
            "Commands under way",
            store.in_flight.clone(),
        );
        Self {
            registry: Arc::new(registry),
            scoring,
            policy,
            confidence,
            decisions,
            store,
        }
    }
}

impl Metrics {
    /// An evaluation was answered, whatever the answer.
    pub fn scored(&self, duration: Duration) {
        self.scoring.observe(duration.as_secs_f64());
    }

    /// A decision was made.
    pub fn decided(&self, action: Action, confidence: f64, planning: Duration) {
        self.policy.observe(planning.as_secs_f64());
        self.confidence.observe(confidence);
        match action {
            Action::Approve => self.decisions.approvals.inc(),
            Action::Deny => self.decisions.denials.inc(),
            Action::Escalate => self.decisions.escalations.inc(),
        };
    }

    /// All of them in the OpenMetrics text format, with the store's as they are now.
    pub fn render(&self, stats: &StoreStats, tenants: usize, in_flight: usize) -> String {
        let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        self.store.durable.set(stats.durable.get());
        self.store.applied.set(stats.applied.get());
        self.store.lag.set(count(stats.lag_bytes));
        self.store.groups.set(stats.groups);
        self.store.tenants.set(count(tenants));
        self.store.in_flight.set(count(in_flight));
        let mut text = String::new();
        if encode(&mut text, &self.registry).is_err() {
            let _ = text.write_str("# EOF\n");
        }
        text
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}
