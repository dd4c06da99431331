//! A client of this server's API, for the command line and whoever else speaks it from Rust.

use std::time::Duration;

use serde_json::Value;
use thiserror::Error;
use ureq::Agent;
use ureq::http::{Method, Request};

use crate::engine::clock;
use crate::tenant::key::Secret;

/// A server, and the key to speak to it with.
#[derive(Debug, Clone)]
pub struct Client {
    agent: Agent,
    server: String,
    key: Secret,
    patience: Duration,
}

/// An answer, whatever its status.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The body; null if there is none.
    pub body: Value,
}

/// No answer.
#[derive(Debug, Error)]
pub enum ClientError {
    /// Nobody answers there.
    #[error("{server} does not answer: {why}")]
    Unreachable {
        /// The server.
        server: String,
        /// Why.
        why: String,
    },
    /// It stayed busy for as long as there was patience.
    #[error("{server} stayed busy ({status})")]
    Busy {
        /// The server.
        server: String,
        /// Its last status.
        status: u16,
    },
}

impl Client {
    /// A client of `server` (`http://host:port`) that retries for `patience` while it is busy.
    pub fn new(server: &str, key: Secret, patience: Duration) -> Self {
        Self::waiting(server, key, patience, Duration::from_secs(30))
    }

    /// The same, which waits `answer` for each answer: some work is long.
    pub fn waiting(server: &str, key: Secret, patience: Duration, answer: Duration) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(answer))
            .build();
        let server = server.trim_end_matches('/').to_owned();
        Self {
            agent: config.into(),
            server,
            key,
            patience,
        }
    }

    /// `GET` this path.
    pub fn get(&self, path: &str) -> Result<Answer, ClientError> {
        self.send(&Method::GET, path, Vec::new())
    }

    /// `POST` this body.
    pub fn post(&self, path: &str, body: &Value) -> Result<Answer, ClientError> {
        self.send(&Method::POST, path, body.to_string().into_bytes())
    }

    /// `DELETE` this path.
    pub fn delete(&self, path: &str) -> Result<Answer, ClientError> {
        self.send(&Method::DELETE, path, Vec::new())
    }

    /// Sends, and again as long as there is patience, while the server says that nothing was begun.
    fn send(&self, method: &Method, path: &str, body: Vec<u8>) -> Result<Answer, ClientError> {
        const NOT_BEGUN: [&str; 5] = [
            "tenant_busy",
            "overloaded",
            "rate_limited",
            "rebuilding",
            "shutting_down",
        ];
        let watch = clock::stopwatch();
        loop {
            let (answer, retry_after) = self.send_once(method, path, body.clone())?;
            let code = answer.body.get("code").and_then(Value::as_str);
            if !code.is_some_and(|code| NOT_BEGUN.contains(&code)) {
                return Ok(answer);
            }
            if watch.elapsed() + retry_after > self.patience {
                let (server, status) = (self.server.clone(), answer.status);
                return Err(ClientError::Busy { server, status });
            }
            pause(retry_after);
        }
    }

    fn send_once(
        &self,
        method: &Method,
        path: &str,
        body: Vec<u8>,
    ) -> Result<(Answer, Duration), ClientError> {
        let unreachable = |why: &dyn std::fmt::Display| ClientError::Unreachable {
            server: self.server.clone(),
            why: why.to_string(),
        };
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.server))
            .header("authorization", format!("Bearer {}", self.key.reveal()))
            .header("content-type", "application/json")
            .body(body)
            .map_err(|error| unreachable(&error))?;
        let mut response = self
            .agent
            .run(request)
            .map_err(|error| unreachable(&error))?;
        let status = response.status().as_u16();
        let wait = response.headers().get("retry-after");
        let wait = wait
            .and_then(|value| value.to_str().ok())
            .and_then(|text| text.parse().ok());
        let text = response
            .body_mut()
            .read_to_string()
            .map_err(|error| unreachable(&error))?;
        let body = serde_json::from_str(&text).unwrap_or(Value::Null);
        Ok((
            Answer { status, body },
            Duration::from_secs(wait.unwrap_or(1)),
        ))
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a client waits as long as it was told to"
)]
fn pause(duration: Duration) {
    std::thread::sleep(duration);
}

impl Answer {
    /// The body of a 2xx, or what the problem says.
    pub fn good(self) -> Result<Value, Self> {
        if (200..300).contains(&self.status) {
            Ok(self.body)
        } else {
            Err(self)
        }
    }

    /// The problem in one line.
    pub fn problem(&self) -> String {
        let text = |name| {
            self.body
                .get(name)
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        let detail = if text("detail").is_empty() {
            text("title")
        } else {
            text("detail")
        };
        format!("{} {}: {detail}", self.status, text("code"))
    }
}
