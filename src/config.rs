//! How the node is set up: a file, what the command line says over it, and defaults for the rest.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use thiserror::Error;
use tracing_subscriber::EnvFilter;

use crate::store::StoreConfig;
use crate::{engine, http, telemetry};

/// The whole configuration of a node.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where to listen; `127.0.0.1:8080` if nothing is said.
    pub listen: Option<SocketAddr>,
    /// The data directory; `data/db` if nothing is said.
    pub data: Option<PathBuf>,
    /// A host name without scheme, which the names of new audit logs begin with.
    pub service: Option<String>,
    /// Serve plain HTTP on an address that others can reach.
    pub insecure_http: bool,
    /// Threads that serve; half the processors if nothing is said.
    pub workers: Option<usize>,
    /// What is logged, as `info` or `arf=debug`.
    pub log: Option<String>,
    /// The store.
    pub store: StoreSection,
    /// The engine.
    pub engine: EngineSection,
    /// Towards clients.
    pub http: HttpSection,
}

/// `[http]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HttpSection {
    /// Connections at once; 2,048 if nothing is said. 64 more are for health, readiness and metrics.
    pub connections: Option<u64>,
    /// How long a client may take for a request's head, and for its body, milliseconds; 5,000 if
    /// nothing is said.
    pub request_ms: Option<u64>,
    /// How long a connection is kept on which nothing is done, milliseconds; 75,000 if nothing is said.
    pub idle_ms: Option<u64>,
    /// How long a stop waits for requests that are under way, seconds; 30 if nothing is said.
    pub shutdown_s: Option<u64>,
}

/// `[store]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StoreSection {
    /// Size of a log segment, bytes; 64 MiB if nothing is said.
    pub segment_bytes: Option<u64>,
}

/// `[engine]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EngineSection {
    /// How long a command may wait before it is begun, milliseconds; 2,000 if nothing is said.
    pub deadline_ms: Option<u64>,
    /// How long a tenant stays in memory unused, seconds; 600 if nothing is said.
    pub idle_s: Option<u64>,
    /// What the tenants in memory may weigh, bytes; 1 GiB if nothing is said.
    pub active_bytes: Option<usize>,
}

/// A configuration that cannot be used.
#[derive(Debug, Error)]
pub enum BadConfig {
    /// The file cannot be read.
    #[error("{path}: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file says something that cannot be.
    #[error("{path}: {message}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What.
        message: String,
    },
    /// Keys would travel in the clear.
    #[error(
        "{0} can be reached from elsewhere, and keys would travel in the clear: \
         put TLS in front and listen on loopback, or say --insecure-http"
    )]
    InTheClear(SocketAddr),
    /// A number is out of its range.
    #[error("`{name}` must be from {min} to {max}")]
    Range {
        /// Of what.
        name: &'static str,
        /// The least.
        min: u64,
        /// The most.
        max: u64,
    },
    /// The log filter is none.
    #[error("`log` must be a filter as `info` or `arf=debug`: {0}")]
    Log(String),
    /// The service name is no host name.
    #[error("`service` must be a host name of at most 200 characters, not `{0}`")]
    Service(String),
}

impl Config {
    /// Reads a file.
    pub fn read(path: &Path) -> Result<Self, BadConfig> {
        let text = std::fs::read_to_string(path).map_err(|source| BadConfig::Unreadable {
            path: path.to_owned(),
            source,
        })?;
        toml::from_str(&text).map_err(|error| BadConfig::Malformed {
            path: path.to_owned(),
            message: error.to_string().trim_end().replace('\n', " "),
        })
    }

    /// Where to listen. Plain HTTP stays on this machine unless that was asked for in so many words.
    pub fn listen(&self) -> Result<SocketAddr, BadConfig> {
        let address = self
            .listen
            .unwrap_or(SocketAddr::from(([127, 0, 0, 1], 8080)));
        if address.ip().is_loopback() || self.insecure_http {
            Ok(address)
        } else {
            Err(BadConfig::InTheClear(address))
        }
    }

    /// What is logged.
    pub fn log(&self) -> Result<EnvFilter, BadConfig> {
        let directive = self.log.as_deref().unwrap_or("info,actix_server=warn");
        telemetry::log_filter(directive).map_err(|why| BadConfig::Log(why.to_string()))
    }

    /// The data directory.
    pub fn data(&self) -> PathBuf {
        self.data
            .clone()
            .unwrap_or_else(|| PathBuf::from("data/db"))
    }

    /// What the names of new audit logs begin with.
    pub fn service(&self) -> Result<String, BadConfig> {
        let service = self
            .service
            .clone()
            .unwrap_or_else(|| String::from("arf.invalid"));
        let plain = service
            .bytes()
            .all(|byte| matches!(byte, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-'));
        if plain && (1..=200).contains(&service.len()) {
            Ok(service)
        } else {
            Err(BadConfig::Service(service))
        }
    }

    /// The store's part.
    pub fn store(&self) -> Result<StoreConfig, BadConfig> {
        let mut store = StoreConfig::new(self.data());
        if let Some(bytes) = self.store.segment_bytes {
            store.segment_bytes = within("store.segment_bytes", bytes, 1 << 20, 1 << 30)?;
        }
        Ok(store)
    }

    /// The engine's part.
    pub fn engine(&self) -> Result<engine::Config, BadConfig> {
        let default = engine::Config::default();
        if let Some(deadline) = self.engine.deadline_ms {
            within("engine.deadline_ms", deadline, 1, 600_000)?;
        }
        Ok(engine::Config {
            deadline: self
                .engine
                .deadline_ms
                .map_or(default.deadline, Duration::from_millis),
            idle: self.engine.idle_s.map_or(default.idle, Duration::from_secs),
            active_bytes: self.engine.active_bytes.unwrap_or(default.active_bytes),
            ..default
        })
    }

    /// The front's part.
    pub fn http(&self) -> Result<http::Config, BadConfig> {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        // The committer, the tables and the kernel want the other half.
        let workers = self.workers.unwrap_or((processors / 2).max(1));
        within("workers", workers as u64, 1, 256)?;
        let HttpSection {
            connections,
            request_ms,
            idle_ms,
            shutdown_s,
        } = self.http;
        let connections = within("http.connections", connections.unwrap_or(2_048), 1, 1 << 20)?;
        let request = within("http.request_ms", request_ms.unwrap_or(5_000), 1, 600_000)?;
        let idle = within("http.idle_ms", idle_ms.unwrap_or(75_000), 1, 3_600_000)?;
        let shutdown = within("http.shutdown_s", shutdown_s.unwrap_or(30), 1, 3_600)?;
        Ok(http::Config {
            workers,
            connections: usize::try_from(connections).unwrap_or(usize::MAX),
            request: Duration::from_millis(request),
            keep_alive: Duration::from_millis(idle),
            shutdown: Duration::from_secs(shutdown),
        })
    }
}

fn within(name: &'static str, value: u64, min: u64, max: u64) -> Result<u64, BadConfig> {
    if (min..=max).contains(&value) {
        Ok(value)
    } else {
        Err(BadConfig::Range { name, min, max })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_stays_at_home_unless_told_otherwise() {
        let config: Config = toml::from_str("listen = \"0.0.0.0:80\"").unwrap();
        assert!(matches!(config.listen(), Err(BadConfig::InTheClear(_))));
        let config: Config =
            toml::from_str("listen = \"0.0.0.0:80\"\ninsecure_http = true").unwrap();
        assert!(config.listen().is_ok());
        assert_eq!(
            Config::default().listen().unwrap().to_string(),
            "127.0.0.1:8080"
        );
    }

    #[test]
    fn what_the_file_misspells_is_told() {
        assert!(toml::from_str::<Config>("lisen = \"127.0.0.1:1\"").is_err());
        assert!(toml::from_str::<Config>("[store]\nsegment_byte = 1").is_err());
        let config: Config = toml::from_str("service = \"a b\"").unwrap();
        assert!(config.service().is_err());
    }
}
