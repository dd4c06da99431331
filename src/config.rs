//! The configuration: a TOML file, overridden by the command line, with a default for every value.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use thiserror::Error;
use tracing_subscriber::EnvFilter;

use crate::jobs::backup::Plan;
use crate::store::StoreConfig;
use crate::{engine, http, telemetry};

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Default: `127.0.0.1:8080`.
    pub listen: Option<SocketAddr>,
    /// The data directory. Default: `data/db`.
    pub data: Option<PathBuf>,
    /// A host name without scheme, the prefix of the names of new audit logs.
    pub service: Option<String>,
    /// Allows plain HTTP on an address that is not loopback.
    pub insecure_http: bool,
    /// Worker threads. Default: half the processors.
    pub workers: Option<usize>,
    /// The log filter, such as `info` or `arf=debug`.
    pub log: Option<String>,
    pub store: StoreSection,
    pub engine: EngineSection,
    pub backup: BackupSection,
    pub http: HttpSection,
}

/// `[http]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HttpSection {
    /// Connections at once, and 64 more for health, readiness and metrics. Default: 2,048.
    pub connections: Option<u64>,
    /// Timeout of a request's head, and of its body, milliseconds. Default: 5,000.
    pub request_ms: Option<u64>,
    /// How long a connection without progress is kept, milliseconds. Default: 75,000.
    pub idle_ms: Option<u64>,
    /// How long a shutdown waits for requests in flight, seconds. Default: 30.
    pub shutdown_s: Option<u64>,
}

/// `[store]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StoreSection {
    /// Size of a log segment, bytes. Default: 64 MiB.
    pub segment_bytes: Option<u64>,
    /// Size of the log at which a snapshot is due, bytes, but at least half the size of the last
    /// snapshot. Default: 1 GiB.
    pub snapshot_bytes: Option<u64>,
}

/// `[engine]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EngineSection {
    /// How long a command may wait before it starts, milliseconds. Default: 2,000.
    pub deadline_ms: Option<u64>,
    /// How long an unused tenant stays in memory, seconds. Default: 600.
    pub idle_s: Option<u64>,
    /// Memory for active tenants, bytes. Default: 1 GiB.
    pub active_bytes: Option<usize>,
}

/// `[backup]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BackupSection {
    /// The directory for backups. Default: none, and no backups.
    pub dir: Option<PathBuf>,
    /// The interval of scheduled backups, such as `24h`, or in seconds; 0 is never. Default: 24 hours.
    pub every: Option<Every>,
    /// Scheduled backups that are retained. Default: 7.
    pub keep: Option<u64>,
}

/// A duration: `90s`, `15m`, `24h`, `7d`, or seconds.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub enum Every {
    Seconds(u64),
    Text(String),
}

/// The configuration is invalid.
#[derive(Debug, Error)]
pub enum ConfigError {
    #[error("{path}: {source}")]
    Unreadable {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{path}: {message}")]
    Malformed { path: PathBuf, message: String },
    #[error(
        "{0} is not a loopback address, and keys would be sent in cleartext: \
         listen on loopback behind TLS, or pass --insecure-http"
    )]
    Cleartext(SocketAddr),
    #[error("`{name}` must be from {min} to {max}")]
    Range {
        name: &'static str,
        min: u64,
        max: u64,
    },
    #[error("`log` must be a filter such as `info` or `arf=debug`: {0}")]
    Log(String),
    #[error("`{name}` {why}")]
    Duration { name: &'static str, why: String },
    #[error("`{name}`: {path}: {source}")]
    Directory {
        name: &'static str,
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("`service` must be a host name of at most 200 characters, not `{0}`")]
    Service(String),
}

impl Config {
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Unreadable {
            path: path.to_owned(),
            source,
        })?;
        toml::from_str(&text).map_err(|error| ConfigError::Malformed {
            path: path.to_owned(),
            message: error.to_string().trim_end().replace('\n', " "),
        })
    }

    /// The address to listen on. Plain HTTP stays on loopback unless `insecure_http` is set.
    pub fn listen(&self) -> Result<SocketAddr, ConfigError> {
        let address = self
            .listen
            .unwrap_or(SocketAddr::from(([127, 0, 0, 1], 8080)));
        if address.ip().is_loopback() || self.insecure_http {
            Ok(address)
        } else {
            Err(ConfigError::Cleartext(address))
        }
    }

    pub fn log(&self) -> Result<EnvFilter, ConfigError> {
        let directive = self.log.as_deref().unwrap_or("info,actix_server=warn");
        telemetry::log_filter(directive).map_err(|why| ConfigError::Log(why.to_string()))
    }

    pub fn data(&self) -> PathBuf {
        self.data
            .clone()
            .unwrap_or_else(|| PathBuf::from("data/db"))
    }

    pub fn service(&self) -> Result<String, ConfigError> {
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
            Err(ConfigError::Service(service))
        }
    }

    pub fn store(&self) -> Result<StoreConfig, ConfigError> {
        let mut store = StoreConfig::new(self.data());
        if let Some(bytes) = self.store.segment_bytes {
            store.segment_bytes = within("store.segment_bytes", bytes, 1 << 20, 1 << 30)?;
        }
        if let Some(bytes) = self.store.snapshot_bytes {
            store.snapshot_bytes = within("store.snapshot_bytes", bytes, 4 << 20, 1 << 40)?;
        }
        Ok(store)
    }

    /// The directory must exist, so that a disk that is not mounted is noticed.
    pub fn backup(&self) -> Result<Option<Plan>, ConfigError> {
        let Some(dir) = &self.backup.dir else {
            return Ok(None);
        };
        let dir = std::fs::canonicalize(dir).map_err(|source| ConfigError::Directory {
            name: "backup.dir",
            path: dir.clone(),
            source,
        })?;
        const NAME: &str = "backup.every";
        let every = match &self.backup.every {
            None => Duration::from_secs(24 * 3_600),
            Some(Every::Seconds(seconds)) => Duration::from_secs(*seconds),
            Some(Every::Text(text)) => crate::time::duration(text)
                .map_err(|why| ConfigError::Duration { name: NAME, why })?,
        };
        within(NAME, every.as_secs(), 0, 366 * 86_400)?;
        let keep = within("backup.keep", self.backup.keep.unwrap_or(7), 1, 10_000)?;
        Ok(Some(Plan {
            dir,
            every: Some(every).filter(|every| !every.is_zero()),
            keep: usize::try_from(keep).unwrap_or(usize::MAX),
        }))
    }

    pub fn engine(&self) -> Result<engine::Config, ConfigError> {
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

    pub fn http(&self) -> Result<http::Config, ConfigError> {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        // The committer, the tables and the kernel need the other half.
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

fn within(name: &'static str, value: u64, min: u64, max: u64) -> Result<u64, ConfigError> {
    if (min..=max).contains(&value) {
        Ok(value)
    } else {
        Err(ConfigError::Range { name, min, max })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_stays_on_loopback_unless_allowed() {
        let config: Config = toml::from_str("listen = \"0.0.0.0:80\"").unwrap();
        assert!(matches!(config.listen(), Err(ConfigError::Cleartext(_))));
        let config: Config =
            toml::from_str("listen = \"0.0.0.0:80\"\ninsecure_http = true").unwrap();
        assert!(config.listen().is_ok());
        assert_eq!(
            Config::default().listen().unwrap().to_string(),
            "127.0.0.1:8080"
        );
    }

    #[test]
    fn backups_are_scheduled_or_on_request_or_off() {
        assert_eq!(Config::default().backup().unwrap(), None);
        let plan = |text: &str| {
            let config: Config =
                toml::from_str(&format!("[backup]\ndir = \"src\"\n{text}")).unwrap();
            config.backup().map(Option::unwrap)
        };
        let default = plan("").unwrap();
        assert!(default.dir.is_absolute());
        assert_eq!(
            (default.every, default.keep),
            (Some(Duration::from_secs(86_400)), 7)
        );
        let other = plan("every = \"90m\"\nkeep = 2").unwrap();
        assert_eq!(
            (other.every, other.keep),
            (Some(Duration::from_secs(5_400)), 2)
        );
        assert_eq!(
            plan("every = 60").unwrap().every,
            Some(Duration::from_secs(60))
        );
        assert_eq!(plan("every = 0").unwrap().every, None);
        for bad in ["every = \"often\"", "every = \"400d\"", "keep = 0"] {
            assert!(plan(bad).is_err(), "{bad}");
        }
        let config: Config = toml::from_str("[backup]\ndir = \"not there\"").unwrap();
        let error = config.backup().unwrap_err().to_string();
        assert!(
            error.contains("backup.dir") && error.contains("not there"),
            "{error}"
        );
    }

    #[test]
    fn a_number_out_of_its_range_is_an_error() {
        for (text, good) in [
            ("segment_bytes = 1048575", false),
            ("segment_bytes = 1048576", true),
            ("snapshot_bytes = 4194303", false),
            ("snapshot_bytes = 4194304", true),
            ("snapshot_bytes = 1099511627777", false),
        ] {
            let config: Config = toml::from_str(&format!("[store]\n{text}")).unwrap();
            assert_eq!(config.store().is_ok(), good, "{text}");
        }
    }

    #[test]
    fn an_unknown_setting_is_an_error() {
        assert!(toml::from_str::<Config>("lisen = \"127.0.0.1:1\"").is_err());
        assert!(toml::from_str::<Config>("[store]\nsegment_byte = 1").is_err());
        let config: Config = toml::from_str("service = \"a b\"").unwrap();
        assert!(config.service().is_err());
    }
}
