//! The state that every handler shares.

use crate::engine::Engine;
use crate::jobs::backup::Backups;
use crate::telemetry::Metrics;

#[derive(Debug, Clone)]
pub struct AppState {
    pub engine: Engine,
    pub metrics: Metrics,
    pub backups: Backups,
    /// The prefix of the names of new audit logs.
    pub service: String,
}
