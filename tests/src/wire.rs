//! A socket for bytes that no HTTP client would send.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::PATIENCE;

/// A connection that sends what it is told.
#[derive(Debug)]
pub struct Wire {
    stream: TcpStream,
    unread: Vec<u8>,
}

/// An answer read from a socket.
#[derive(Debug, Clone)]
pub struct RawAnswer {
    /// The status.
    pub status: u16,
    /// The status line and header fields, in lower case.
    pub head: String,
    /// The body.
    pub body: String,
}

impl RawAnswer {
    /// Whether the server says that it will close the connection.
    #[must_use]
    pub fn closes(&self) -> bool {
        self.head.contains("connection: close")
    }
}

impl Wire {
    /// Connects.
    ///
    /// # Panics
    /// If the server does not accept.
    pub async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.expect("a connection");
        stream.set_nodelay(true).expect("a socket");
        Self { stream, unread: Vec::new() }
    }

    /// Sends bytes. A server may close early, so this can be in vain.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.stream.write_all(bytes.as_ref()).await;
    }

    /// The next answer, or `None` where the server closes instead.
    ///
    /// # Panics
    /// If there is neither in time, or if the answer is not HTTP/1.1 with a length.
    pub async fn answer(&mut self) -> Option<RawAnswer> {
        let end = loop {
            if let Some(at) = self.unread.windows(4).position(|w| w == b"\r\n\r\n") {
                break at;
            }
            self.read_more().await?;
        };
        let head = String::from_utf8_lossy(&self.unread[..end]).to_lowercase();
        let status: u16 = head.split(' ').nth(1).and_then(|s| s.parse().ok()).expect("a status line");
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.trim().parse().ok());
        let length: usize = length.unwrap_or(0);
        while self.unread.len() < end + 4 + length {
            self.read_more().await?;
        }
        let body = String::from_utf8_lossy(&self.unread[end + 4..end + 4 + length]).into_owned();
        self.unread.drain(..end + 4 + length);
        Some(RawAnswer { status, head, body })
    }

    /// Whether the server closes the connection within this time, without an answer.
    pub async fn closed_within(&mut self, patience: Duration) -> bool {
        let mut byte = [0];
        matches!(timeout(patience, self.stream.read(&mut byte)).await, Ok(Ok(0) | Err(_)))
    }

    /// Sends a good request and says whether it was answered: the connection is still of use.
    pub async fn still_serves(&mut self, path: &str) -> bool {
        self.send(format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n")).await;
        self.answer().await.is_some_and(|answer| answer.status < 500)
    }

    async fn read_more(&mut self) -> Option<()> {
        let mut buffer = [0; 4 * 1024];
        match timeout(PATIENCE, self.stream.read(&mut buffer)).await.expect("an answer or the end in time") {
            Ok(0) | Err(_) => None,
            Ok(read) => {
                self.unread.extend_from_slice(&buffer[..read]);
                Some(())
            }
        }
    }
}
