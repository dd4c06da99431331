//! The real binary on a data folder, and one request after the other over one connection.
#![allow(dead_code, reason = "not every benchmark needs all of it")]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use actix_web::rt::net::TcpStream;
use serde_json::Value;

const INTENT: &str = r#"{"intent_type":"deploy_config","environment":"staging","requester":"bench","service_name":"payments","change_scope":"canary","deployment_target":"staging","operation":"update"}"#;

/// The text of a request to evaluate, as it is sent.
pub fn evaluation(path: &str, key: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer {key}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{INTENT}",
        INTENT.len()
    )
}

/// A server that does not outlive the benchmark.
pub struct Server {
    process: Child,
    /// Where it listens.
    pub address: String,
    /// A key without a quota.
    pub key: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Server {
    /// The real binary on this data folder, once it listens.
    pub fn start(data: &Path) -> Self {
        Self::start_binary(Path::new(env!("CARGO_BIN_EXE_arf")), data)
    }

    /// The same of another binary, as one to compare with.
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
            .expect("the server says where it listens");
        let credentials = std::fs::read(data.join("credentials.json")).unwrap();
        let credentials: Value = serde_json::from_slice(&credentials).unwrap();
        Self {
            process,
            address,
            key: credentials["api_key"].as_str().unwrap().to_owned(),
        }
    }

    /// Has it stop in order, and waits until it did.
    pub fn stop(mut self) {
        let pid = self.process.id().to_string();
        assert!(Command::new("kill").arg(pid).status().unwrap().success());
        assert!(self.process.wait().unwrap().success());
    }
}

/// Sends one request and reads the whole answer, which must be a 200 with a length.
pub async fn ask(stream: &TcpStream, request: &[u8], buffer: &mut Vec<u8>) {
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
    while !is_whole(buffer) {
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

fn is_whole(answer: &[u8]) -> bool {
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
