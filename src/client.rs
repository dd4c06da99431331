//! An HTTP client of this server's API, for the command line and for Rust programs.

use std::time::Duration;

use serde_json::Value;
use thiserror::Error;
use ureq::Agent;
use ureq::http::{Method, Request};

use crate::api::problem::Code;
use crate::engine::clock;
use crate::tenant::key::Secret;

#[derive(Debug, Clone)]
pub struct Client {
    agent: Agent,
    server: String,
    key: Secret,
    retry_for: Duration,
}

/// A response, whatever its status.
#[derive(Debug, Clone)]
pub struct Response {
    pub status: u16,
    /// Null if there is none.
    pub body: Value,
}

/// There is no response.
#[derive(Debug, Error)]
pub enum ClientError {
    #[error("cannot reach {server}: {why}")]
    Unreachable { server: String, why: String },
    /// It rejected every attempt.
    #[error("{server} is busy ({status}); try again later")]
    Busy { server: String, status: u16 },
}

impl Client {
    /// A client of `server` (`http://host:port`) that retries for `retry_for` while the server is busy.
    pub fn new(server: &str, key: Secret, retry_for: Duration) -> Self {
        Self::with_timeout(server, key, retry_for, Duration::from_secs(30))
    }

    /// `timeout` is for each response.
    pub fn with_timeout(server: &str, key: Secret, retry_for: Duration, timeout: Duration) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(timeout))
            .build();
        let server = server.trim_end_matches('/').to_owned();
        Self {
            agent: config.into(),
            server,
            key,
            retry_for,
        }
    }

    pub fn get(&self, path: &str) -> Result<Response, ClientError> {
        self.send(&Method::GET, path, Vec::new())
    }

    pub fn post(&self, path: &str, body: &Value) -> Result<Response, ClientError> {
        self.send(&Method::POST, path, body.to_string().into_bytes())
    }

    pub fn delete(&self, path: &str) -> Result<Response, ClientError> {
        self.send(&Method::DELETE, path, Vec::new())
    }

    /// Sends a request, and retries while the server says that it did not start it.
    fn send(&self, method: &Method, path: &str, body: Vec<u8>) -> Result<Response, ClientError> {
        let watch = clock::stopwatch();
        loop {
            let (response, retry_after) = self.send_once(method, path, body.clone())?;
            let code = response.body.get("code").and_then(Value::as_str);
            if !code.and_then(Code::parse).is_some_and(Code::is_retryable) {
                return Ok(response);
            }
            if watch.elapsed() + retry_after > self.retry_for {
                let (server, status) = (self.server.clone(), response.status);
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
    ) -> Result<(Response, Duration), ClientError> {
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
            Response { status, body },
            Duration::from_secs(wait.unwrap_or(1)),
        ))
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a blocking client sleeps between attempts"
)]
fn pause(duration: Duration) {
    std::thread::sleep(duration);
}

impl Response {
    /// The body of a 2xx, or the response itself.
    pub fn success(self) -> Result<Value, Self> {
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
