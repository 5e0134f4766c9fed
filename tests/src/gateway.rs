//! A `tidegate serve` process: addresses, log, signals.

use std::net::SocketAddr;

use nix::sys::signal::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::{Client, Config, metrics::Metrics, process::Process, until};

/// A gateway that serves.
#[derive(Debug)]
pub struct Gateway {
    /// The process.
    pub process: Process,
    http: SocketAddr,
    admin: SocketAddr,
    dir: TempDir,
}

/// The configuration's name in the gateway's folder.
const FILE: &str = "tidegate.toml";

impl Gateway {
    /// Writes the configuration, starts the gateway and waits until it is ready.
    ///
    /// # Panics
    /// If it does not get ready; the message has the end of its log.
    pub async fn start(config: &Config) -> Self {
        Self::start_text(&config.to_string()).await
    }

    /// As [`Gateway::start`], with a configuration from elsewhere.
    ///
    /// # Panics
    /// As [`Gateway::start`].
    pub async fn start_text(config: &str) -> Self {
        let dir = tempfile::Builder::new().prefix("tidegate-gateway-").tempdir().expect("a temporary folder");
        std::fs::write(dir.path().join(FILE), config).expect("own folder");
        Self::start_in(dir).await
    }

    /// Starts a gateway that must end by itself and say `why`.
    ///
    /// # Panics
    /// If it serves, or ends for another reason.
    pub async fn refused(config: &str, why: &str) {
        let dir = tempfile::Builder::new().prefix("tidegate-gateway-").tempdir().expect("a temporary folder");
        let path = dir.path().join(FILE);
        std::fs::write(&path, config).expect("own folder");
        let path = path.to_str().expect("temporary folders have plain names");
        let mut process = Process::tidegate(["serve", "--config", path]);
        let status = process.ended().await;
        let said = process.whole_transcript().await;
        assert!(!status.success() && said.contains(why), "it ended with {status}: {said}");
    }

    /// Ends it, and starts another on the same configuration.
    ///
    /// # Panics
    /// If it does not end well, or the other does not get ready.
    pub async fn restart(mut self) -> Self {
        self.signal(Signal::SIGTERM);
        let status = self.process.ended().await;
        assert!(status.success(), "it ended with {status}: {}", self.process.transcript(20));
        Self::start_in(self.dir).await
    }

    /// Starts another on the same configuration once this one has ended.
    ///
    /// # Panics
    /// If it does not end, or the other does not get ready.
    pub async fn start_again(mut self) -> Self {
        self.process.ended().await;
        Self::start_in(self.dir).await
    }

    /// Kills it as a power failure would, and starts another on the same configuration.
    ///
    /// # Panics
    /// If the other does not get ready.
    pub async fn kill_and_start(mut self) -> Self {
        self.signal(Signal::SIGKILL);
        self.process.ended().await;
        Self::start_in(self.dir).await
    }

    async fn start_in(dir: TempDir) -> Self {
        let gateway = Self::start_unready(dir).await;
        let admin = gateway.admin_client();
        until("the gateway is ready", || async { (admin.get("/ready").await.status == 200).then_some(()) }).await;
        gateway
    }

    async fn start_unready(dir: TempDir) -> Self {
        let path = dir.path().join(FILE);
        let path = path.to_str().expect("temporary folders have plain names");
        let mut process = Process::tidegate(["serve", "--config", path, "--log-format", "json"]);
        let line = process.line("\"listening\"").await;
        let address = |field: &str| {
            let line: Value = serde_json::from_str(&line).expect("a JSON log line");
            let value = line.get(field).or_else(|| line.get("fields")?.get(field)).and_then(Value::as_str);
            value.and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("no address {field} in {line}"))
        };
        Self { http: address("http"), admin: address("admin"), process, dir }
    }

    /// Writes another configuration, which the gateway has not read yet.
    ///
    /// # Panics
    /// If its folder is not writable.
    pub fn write_config(&self, config: &str) {
        std::fs::write(self.dir.path().join(FILE), config).expect("own folder");
    }

    /// The public address.
    #[must_use]
    pub fn http(&self) -> SocketAddr {
        self.http
    }

    /// The operator's address.
    #[must_use]
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// A client of the public listener with connections of its own.
    #[must_use]
    pub fn client(&self) -> Client {
        Client::new(self.http)
    }

    /// A client of the operator's listener.
    #[must_use]
    pub fn admin_client(&self) -> Client {
        Client::new(self.admin)
    }

    /// What `/metrics` says now.
    pub async fn metrics(&self) -> Metrics {
        Metrics::parse(&self.admin_client().get("/metrics").await.ok().text())
    }

    /// [`Gateway::metrics`] of one that may not answer.
    pub async fn try_metrics(&self) -> Option<Metrics> {
        let answer = self.admin_client().request(http::Method::GET, "/metrics").try_send().await.ok()?;
        (answer.status == 200).then(|| Metrics::parse(&answer.text()))
    }

    /// The answer of an admin path as JSON.
    pub async fn admin_json(&self, path: &str) -> Value {
        self.admin_client().get(path).await.ok().json()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }
}
