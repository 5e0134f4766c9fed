//! Real servers, each with a port and a folder of its own, gone when dropped.

use std::{
    net::{Ipv4Addr, TcpListener},
    process::{Child, Command, Stdio},
};

use tempfile::TempDir;
use tidegate_types::settings::{L2Layout, L2Servers};

use crate::until;

/// A `redis-server`, or a sentinel.
pub struct Server {
    pub port: u16,
    process: Child,
    folder: TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

pub fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("bound").port()
}

impl Server {
    pub async fn start(arguments: &[&str]) -> Self {
        Self::start_on(free_port(), arguments).await
    }

    pub async fn start_on(port: u16, arguments: &[&str]) -> Self {
        let folder = tempfile::Builder::new().prefix("tidegate-l2-").tempdir().expect("a folder");
        let process = spawn(port, &folder, arguments);
        let server = Self { port, process, folder };
        server.ready().await;
        server
    }

    /// A sentinel with this configuration.
    pub async fn start_sentinel(port: u16, config: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("tidegate-l2-").tempdir().expect("a folder");
        let own = folder.path().join("sentinel.conf");
        std::fs::write(&own, config).expect("written");
        let process = Command::new("redis-server")
            .arg(&own)
            .args(["--sentinel", "--port", &port.to_string(), "--bind", "127.0.0.1", "--dir"])
            .arg(folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("redis-server is installed");
        let server = Self { port, process, folder };
        server.ready().await;
        server
    }

    async fn ready(&self) {
        until("the server answers", || async {
            let client = ::redis::Client::open(("127.0.0.1", self.port)).ok()?;
            let mut connection = client.get_multiplexed_async_connection().await.ok()?;
            let answer = ::redis::cmd("PING").query_async::<::redis::Value>(&mut connection).await;
            // One that asks for a password is up too.
            match answer {
                Ok(_) => Some(()),
                Err(error) if error.code() == Some("NOAUTH") => Some(()),
                Err(_) => None,
            }
        })
        .await;
    }

    /// Ends it at once.
    pub fn kill(&mut self) {
        self.process.kill().expect("it ran");
        self.process.wait().expect("it ended");
    }

    /// Starts it again on the same port, empty.
    pub async fn restart(&mut self, arguments: &[&str]) {
        self.process = spawn(self.port, &self.folder, arguments);
        self.ready().await;
    }

    /// Stops or continues the process: it keeps its connections and answers nothing.
    pub fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.process.id().to_string()]).status().expect("kill runs");
        assert!(sent.success());
    }

    pub fn servers(&self) -> L2Servers {
        single(self.port)
    }

    /// Runs a command on it by the client under test's own crate.
    pub async fn command(&self, words: &[&str]) -> ::redis::Value {
        self.try_command(words).await.expect("it is up and understands")
    }

    /// The same where it may close the connection meanwhile: a server that is promoted by a sentinel closes its
    /// clients' connections.
    pub async fn try_command(&self, words: &[&str]) -> ::redis::RedisResult<::redis::Value> {
        let client = ::redis::Client::open(("127.0.0.1", self.port)).expect("an address");
        let mut connection = client.get_multiplexed_async_connection().await?;
        let mut command = ::redis::cmd(words[0]);
        command.arg(&words[1..]);
        command.query_async(&mut connection).await
    }
}

fn spawn(port: u16, folder: &TempDir, arguments: &[&str]) -> Child {
    Command::new("redis-server")
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir"])
        .arg(folder.path())
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("redis-server is installed")
}

pub fn single(port: u16) -> L2Servers {
    L2Servers {
        layout: L2Layout::Single,
        nodes: vec![("127.0.0.1".to_owned(), port)],
        username: None,
        password: None,
        database: 0,
    }
}
