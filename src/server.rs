//! The composition root: a configuration becomes a server that runs until a signal.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;

use crate::audit::Signer;
use crate::config::{Config, ConfigError};
use crate::credentials::{self, CredentialsError, Founding};
use crate::engine::Engine;
use crate::http::{self, AppState};
use crate::jobs::backup::Backups;
use crate::query::intents;
use crate::store::keyfile::{self, KeyFileError};
use crate::store::{OpenError, ReadError, Store};
use crate::telemetry::Metrics;

/// How long a stop waits for a backup to notice.
const CLEARING: Duration = Duration::from_secs(5);

/// A node that is open and serves.
pub struct Server {
    address: SocketAddr,
    data: PathBuf,
    founding: Founding,
    tenants: u64,
    decisions: u64,
    engine: Engine,
    backups: Backups,
    patience: Duration,
    http: http::Running,
}

/// Why a node does not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// It is set up in a way that cannot be.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The data directory cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The signing key cannot be used.
    #[error(transparent)]
    Key(#[from] KeyFileError),
    /// The first tenants could not be founded.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// What is stored cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The address cannot be had.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
    /// The process cannot go on.
    #[error("{0}")]
    Io(#[from] std::io::Error),
}

impl Server {
    /// Opens the data directory, founds what a first start founds, and begins to serve.
    ///
    /// Has to run on an actix event loop; on return requests are answered.
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

        let seat = engine.join_thread();
        let founding = credentials::first_start(&engine, &data, &service, tenants).await?;
        // From here on tenants live on the threads that serve.
        engine.passivate_all();
        drop(seat);

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
            founding,
            tenants,
            decisions,
            engine,
            backups,
            patience: http.shutdown,
            http: http::serve(listener, state, http)?,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The data directory, absolute.
    pub fn data(&self) -> &std::path::Path {
        &self.data
    }

    /// How it came to its first tenants.
    pub fn founding(&self) -> &Founding {
        &self.founding
    }

    /// Tenants and decisions it found.
    pub fn found(&self) -> (u64, u64) {
        (self.tenants, self.decisions)
    }

    /// Serves until `signal`, then lets nobody in, waits for those inside, and closes the store.
    pub async fn run_until(self, signal: impl Future<Output = ()>) -> Result<(), StartError> {
        let sweep = actix::spawn({
            let engine = self.engine.clone();
            async move { engine.passivate_idle().await }
        });
        let making = actix::spawn({
            let backups = self.backups.clone();
            async move { backups.keep_making().await }
        });
        signal.await;
        self.backups.stop();
        making.abort();
        tracing::info!("stopping: requests under way are finished, new ones are refused");
        let drained = tokio::time::timeout(self.patience, self.engine.drain()).await;
        if drained.is_err() {
            tracing::warn!("requests were still under way when the time for stopping ran out");
        }
        self.http.stop().await;
        sweep.abort();
        let engine = self.engine;
        let closed = tokio::task::spawn_blocking(move || engine.close()).await;
        if tokio::time::timeout(CLEARING, self.backups.rest())
            .await
            .is_err()
        {
            tracing::warn!("a backup that was cut short is left unfinished");
        }
        closed
            .map_err(std::io::Error::other)?
            .map_err(std::io::Error::other)?;
        Ok(())
    }
}
