//! The real binary on a data directory, and requests over one connection.
#![allow(dead_code, reason = "not every benchmark uses all of it")]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use actix_web::rt::net::TcpStream;
use serde_json::Value;

const INTENT: &str = r#"{"intent_type":"deploy_config","environment":"staging","requester":"bench","service_name":"payments","change_scope":"canary","deployment_target":"staging","operation":"update"}"#;

pub fn evaluate_request(path: &str, key: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer {key}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{INTENT}",
        INTENT.len()
    )
}

/// A server that does not outlive the benchmark.
pub struct Server {
    process: Child,
    pub address: String,
    /// Without a quota.
    pub key: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have exited.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Server {
    /// Returns once it listens.
    pub fn start(data: &Path) -> Self {
        Self::start_binary(Path::new(env!("CARGO_BIN_EXE_arf")), data)
    }

    pub fn start_binary(binary: &Path, data: &Path) -> Self {
        let mut command = Command::new(binary);
        command
            .args([
                "serve",
                "--listen",
                "127.0.0.1:0",
                "--no-print-keys",
                "--data",
            ])
            .arg(data)
            .stdout(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let stdout = BufReader::new(process.stdout.take().unwrap());
        let address = stdout
            .lines()
            .map_while(Result::ok)
            .find_map(|line| line.strip_prefix("listening on http://").map(str::to_owned))
            .expect("the server prints its address");
        let credentials = std::fs::read(data.join("credentials.json")).unwrap();
        let credentials: Value = serde_json::from_slice(&credentials).unwrap();
        Self {
            process,
            address,
            key: credentials["api_key"].as_str().unwrap().to_owned(),
        }
    }

    /// A graceful stop.
    pub fn stop(mut self) {
        let pid = self.process.id().to_string();
        assert!(Command::new("kill").arg(pid).status().unwrap().success());
        assert!(self.process.wait().unwrap().success());
    }
}

/// Sends one request and reads the whole response: a 200 with a content length.
pub async fn send(stream: &TcpStream, request: &[u8], buffer: &mut Vec<u8>) {
    let would_block = |error: &std::io::Error| error.kind() == std::io::ErrorKind::WouldBlock;
    let mut rest = request;
    while !rest.is_empty() {
        stream.writable().await.unwrap();
        match stream.try_write(rest) {
            Ok(sent) => rest = &rest[sent..],
            Err(error) => assert!(would_block(&error), "{error}"),
        }
    }
    buffer.clear();
    while !is_complete(buffer) {
        stream.readable().await.unwrap();
        let filled = buffer.len();
        buffer.resize(filled + 8_192, 0);
        let read = match stream.try_read(&mut buffer[filled..]) {
            Ok(read) => {
                assert_ne!(read, 0, "the connection was closed");
                read
            }
            Err(error) => {
                assert!(would_block(&error), "{error}");
                0
            }
        };
        buffer.truncate(filled + read);
    }
}

fn is_complete(answer: &[u8]) -> bool {
    let Some(head) = answer.windows(4).position(|window| window == b"\r\n\r\n") else {
        return false;
    };
    let text = std::str::from_utf8(&answer[..head]).unwrap();
    assert!(
        text.starts_with("HTTP/1.1 200"),
        "{}",
        String::from_utf8_lossy(answer)
    );
    let length = text
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .unwrap();
    answer.len() == head + 4 + length.parse::<usize>().unwrap()
}
