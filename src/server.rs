//! The composition root: from a configuration to a server that runs until a signal.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;

use crate::audit::Signer;
use crate::config::{Config, ConfigError};
use crate::credentials::{self, Bootstrap, CredentialsError};
use crate::engine::Engine;
use crate::http::{self, AppState};
use crate::jobs::backup::Backups;
use crate::query::intents;
use crate::store::keyfile::{self, KeyFileError};
use crate::store::{OpenError, ReadError, Store};
use crate::telemetry::Metrics;

/// How long a shutdown waits for a cancelled backup.
const BACKUP_TIMEOUT: Duration = Duration::from_secs(5);

/// A running node.
pub struct Server {
    address: SocketAddr,
    data: PathBuf,
    bootstrap: Bootstrap,
    tenants: u64,
    decisions: u64,
    engine: Engine,
    backups: Backups,
    shutdown: Duration,
    http: http::HttpServer,
}

/// Why a node cannot start.
#[derive(Debug, Error)]
pub enum StartError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Key(#[from] KeyFileError),
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("cannot listen on {address}: {source}")]
    Listen {
        address: SocketAddr,
        source: std::io::Error,
    },
    #[error("{0}")]
    Io(#[from] std::io::Error),
}

impl Server {
    /// Opens the data directory, creates the first tenants if it is new, and starts to serve.
    ///
    /// Must run on an actix event loop.
    pub async fn start(config: &Config) -> Result<Self, StartError> {
        let (address, service) = (config.listen()?, config.service()?);
        let (http, engine_config) = (config.http()?, config.engine()?);
        let (store_config, backup_plan) = (config.store()?, config.backup()?);
        let store = Store::open(&store_config, crate::tenant::schema::TABLES)?;
        let tenants = store.tenants();
        let data = std::path::absolute(&store_config.data)?;
        let key = match tenants {
            0 => keyfile::load_or_create_signing_key(&data)?,
            _ => keyfile::load_signing_key(&data)?,
        };
        let signer = Signer::from_seed(&key);
        let decisions = intents::count(&store.reader())?;
        let engine = Engine::new(store, signer, engine_config)?;

        let thread = engine.join_thread();
        let bootstrap = credentials::bootstrap(&engine, &data, &service, tenants).await?;
        // From here on tenants run on the worker threads.
        engine.passivate_all();
        drop(thread);

        let listen = |source| StartError::Listen { address, source };
        let listener = TcpListener::bind(address).map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let metrics = Metrics::default();
        let backups = Backups::new(engine.clone(), metrics.clone(), backup_plan);
        let state = AppState {
            engine: engine.clone(),
            metrics,
            backups: backups.clone(),
            service,
        };
        Ok(Self {
            address,
            data,
            bootstrap,
            tenants,
            decisions,
            engine,
            backups,
            shutdown: http.shutdown,
            http: http::serve(listener, state, http)?,
        })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Absolute.
    pub fn data(&self) -> &std::path::Path {
        &self.data
    }

    pub fn bootstrap(&self) -> &Bootstrap {
        &self.bootstrap
    }

    /// Tenants and decisions in the store at start.
    pub fn counts(&self) -> (u64, u64) {
        (self.tenants, self.decisions)
    }

    /// Serves until `signal`, then rejects new requests, waits for those in flight, and closes the store.
    pub async fn run_until(self, signal: impl Future<Output = ()>) -> Result<(), StartError> {
        let eviction = actix::spawn({
            let engine = self.engine.clone();
            async move { engine.passivate_idle().await }
        });
        let backup_schedule = actix::spawn({
            let backups = self.backups.clone();
            async move { backups.run_schedule().await }
        });
        signal.await;
        self.backups.stop();
        backup_schedule.abort();
        tracing::info!("shutting down: waiting for requests in flight");
        let drained = tokio::time::timeout(self.shutdown, self.engine.drain()).await;
        if drained.is_err() {
            tracing::warn!("shutdown timeout: some requests are still in flight");
        }
        self.http.stop().await;
        eviction.abort();
        let engine = self.engine;
        let closed = tokio::task::spawn_blocking(move || engine.close()).await;
        if tokio::time::timeout(BACKUP_TIMEOUT, self.backups.wait_idle())
            .await
            .is_err()
        {
            tracing::warn!("a cancelled backup was not removed");
        }
        closed
            .map_err(std::io::Error::other)?
            .map_err(std::io::Error::other)?;
        Ok(())
    }
}
