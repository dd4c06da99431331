//! `arf serve`: the server, in the foreground, until SIGTERM or SIGINT.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use tokio::signal::unix::{SignalKind, signal};

use super::exit::{CliError, CliResult, Exit};
use super::output::print;
use crate::config::{Config, ConfigError};
use crate::credentials::{self, Bootstrap, Credentials, CredentialsError};
use crate::server::{Server, StartError};
use crate::store::OpenError;
use crate::telemetry;

/// Serve the API
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Args {
    /// The address to listen on [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// The data directory [default: data/db]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// A configuration file (TOML)
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Do not print the keys that the first start creates
    #[arg(long)]
    no_print_keys: bool,
    /// Allow plain HTTP on a non-loopback address
    #[arg(long)]
    insecure_http: bool,
    /// Filter of the log on standard error, as `info` or `arf=debug`
    #[arg(long, env = "ARF_LOG", value_name = "FILTER")]
    log: Option<String>,
}

pub fn run(args: &Args) -> CliResult {
    let config = args.config().map_err(CliError::config)?;
    let filter = config.log().map_err(CliError::config)?;
    let _log = telemetry::log_to_stderr(filter);
    actix::System::new().block_on(async {
        let server = Server::start(&config).await.map_err(start_error)?;
        // A closed standard output does not stop the server.
        let _ = print(&args.greeting(&server));
        server.run_until(stop_signal()).await.map_err(start_error)?;
        Ok(Exit::Success)
    })
}

fn start_error(error: StartError) -> CliError {
    let exit = match &error {
        StartError::Config(_) | StartError::Key(_) => Exit::Config,
        StartError::Credentials(CredentialsError::Bootstrap(_)) => Exit::Failed,
        StartError::Credentials(CredentialsError::File(_) | CredentialsError::Malformed { .. }) => {
            Exit::Config
        }
        StartError::Open(error) => error.into(),
        StartError::Read(_) => Exit::Damaged,
        StartError::Listen { .. } | StartError::Io(_) => Exit::Failed,
    };
    let damaged = matches!(error, StartError::Open(OpenError::Damaged { .. }));
    let advice = if damaged {
        "; `arf repair --salvage --out DIR` writes what can be read as a backup"
    } else {
        ""
    };
    CliError::new(exit, format!("{error}{advice}"))
}

async fn stop_signal() {
    let term = signal(SignalKind::terminate());
    let interrupt = signal(SignalKind::interrupt());
    let (Ok(mut term), Ok(mut interrupt)) = (term, interrupt) else {
        tracing::error!("no signal handlers; stop the process with kill -9, which loses nothing");
        return std::future::pending().await;
    };
    tokio::select! {
        _ = term.recv() => {}
        _ = interrupt.recv() => {}
    }
}

impl Args {
    /// The file, overridden by the command line.
    fn config(&self) -> Result<Config, ConfigError> {
        let mut config = self
            .config
            .as_deref()
            .map_or(Ok(Config::default()), Config::read)?;
        config.listen = self.listen.or(config.listen);
        config.data = self.data.clone().or(config.data);
        config.log = self.log.clone().or(config.log);
        config.insecure_http |= self.insecure_http;
        Ok(config)
    }

    fn greeting(&self, server: &Server) -> String {
        let (data, address) = (server.data().display(), server.address());
        let state = match server.bootstrap() {
            Bootstrap::New(credentials) => {
                let first = self.first_steps(credentials, server);
                format!("NEW data directory {data} (first start)\n{first}")
            }
            Bootstrap::Completed(credentials) => {
                let first = self.first_steps(credentials, server);
                format!("NEW data directory {data} (completes an interrupted first start)\n{first}")
            }
            Bootstrap::Incomplete => format!(
                "opened {data}: the first start was interrupted and {} is missing; there is only \
                 tenant zero, whose key is lost. Start with an empty directory instead.\n",
                credentials::FILE
            ),
            Bootstrap::Done => {
                let (tenants, decisions) = server.counts();
                let noun = |count, one: &str| {
                    let plural = if count == 1 { "" } else { "s" };
                    format!("{} {one}{plural}", with_commas(count))
                };
                let (tenants, decisions) = (noun(tenants, "tenant"), noun(decisions, "decision"));
                format!("opened {data}: {tenants}, {decisions}\n")
            }
        };
        format!("{state}listening on http://{address}\n")
    }

    /// The keys, once, and a first request to paste.
    fn first_steps(&self, credentials: &Credentials, server: &Server) -> String {
        let keys = if self.no_print_keys {
            let file = server.data().join(credentials::FILE);
            format!("  keys          in {}", file.display())
        } else {
            format!(
                "  operator key  {}\n  api key       {}\n  reviewer key  {}",
                credentials.operator_key.reveal(),
                credentials.api_key.reveal(),
                credentials.reviewer_key.reveal()
            )
        };
        let executable = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("arf"));
        format!(
            r#"{keys}
  tenant        {tenant} (default)

Ask for a first decision:

  export ARF_SERVER=http://{address} ARF_KEY=$({executable} key show api --data {data})
  curl -s $ARF_SERVER/api/v1/intents/evaluate \
    -H "Authorization: Bearer $ARF_KEY" -H 'Content-Type: application/json' \
    -d '{FIRST_REQUEST}'

"#,
            tenant = credentials.tenant_id,
            address = server.address(),
            executable = shell_quoted(&executable),
            data = shell_quoted(server.data()),
        )
    }
}

const FIRST_REQUEST: &str = r#"{"deterministic_id":"pay-42","intent_type":"deploy_config","environment":"staging","requester":"you","service_name":"payments","change_scope":"canary","deployment_target":"staging","operation":"update"}"#;

/// For a POSIX shell.
fn shell_quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_alphanumeric() || "/._-+".contains(c);
    if text.chars().all(plain) {
        text
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

/// 1204 as `1,204`.
fn with_commas(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_commas_where_people_expect_them() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1_204, "1,204"),
            (1_000_000, "1,000,000"),
        ] {
            assert_eq!(with_commas(number), text);
        }
    }

    #[test]
    fn a_path_is_quoted_only_where_a_shell_needs_it() {
        assert_eq!(shell_quoted(Path::new("/a/b-c.d")), "/a/b-c.d");
        assert_eq!(shell_quoted(Path::new("/a b/it's")), r"'/a b/it'\''s'");
    }
}
