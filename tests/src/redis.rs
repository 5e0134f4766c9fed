//! A `redis-server` with a port and a folder of its own, killed on drop.

use std::{
    net::Ipv4Addr,
    process::{Child, Command, Stdio},
};

use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{free_port, until};

/// The server.
#[derive(Debug)]
pub struct Redis {
    port: u16,
    process: Child,
    dir: TempDir,
}

impl Drop for Redis {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Redis {
    /// Starts an empty one.
    ///
    /// # Panics
    /// If `redis-server` is not installed, or does not get ready.
    pub async fn start() -> Self {
        let port = free_port();
        let dir = tempfile::Builder::new().prefix("tidegate-redis-").tempdir().expect("a temporary folder");
        let redis = Self { port, process: spawn(port, &dir), dir };
        redis.ready().await;
        redis
    }

    /// Where it is.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// The port it listens on.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Ends it at once; what it held is lost.
    ///
    /// # Panics
    /// If it had ended.
    pub fn kill(&mut self) {
        self.process.kill().expect("it ran");
        self.process.wait().expect("it ended");
    }

    /// Starts it again after [`Redis::kill`], empty, on the same port.
    pub async fn restart(&mut self) {
        self.process = spawn(self.port, &self.dir);
        self.ready().await;
    }

    /// Stops the process, which keeps its connections and answers nothing, or lets it go on.
    ///
    /// # Panics
    /// If there is no such process.
    pub fn signal(&self, signal: nix::sys::signal::Signal) {
        let pid = i32::try_from(self.process.id()).expect("a process number");
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal).expect("it runs");
    }

    /// Sends a command of plain words; the start of the answer.
    ///
    /// # Panics
    /// If the server does not answer.
    pub async fn command(&self, words: &str) -> String {
        self.try_command(words).await.expect("it answers")
    }

    async fn try_command(&self, words: &str) -> std::io::Result<String> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).await?;
        stream.write_all(format!("{words}\r\n").as_bytes()).await?;
        let mut answer = vec![0; 4096];
        let read = stream.read(&mut answer).await?;
        Ok(String::from_utf8_lossy(&answer[..read]).trim_end().to_owned())
    }

    async fn ready(&self) {
        until("redis-server answers", || async { (self.try_command("PING").await.ok()? == "+PONG").then_some(()) })
            .await;
    }
}

fn spawn(port: u16, dir: &TempDir) -> Child {
    Command::new("redis-server")
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir"])
        .arg(dir.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("redis-server is installed")
}
