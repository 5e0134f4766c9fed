//! What the listener does with clients of every kind, over real sockets.

use std::future::Future;

use bytes::Bytes;
use tidegate_types::{
    request::WriteAction,
    settings::{CdnKeys, HttpSettings},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    task::JoinHandle,
};

use super::*;
use crate::fixture::Fake;

mod drain;
mod http2;

const SECOND: Duration = Duration::from_secs(1);

/// A server that runs until the value is dropped or told to stop.
struct Running {
    address: SocketAddr,
    fake: Fake,
    drain: Drain,
    registry: Registry,
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn settings() -> HttpSettings {
    HttpSettings {
        listen: ([127, 0, 0, 1], 0).into(),
        max_connections: 100,
        header_timeout: 10 * SECOND,
        max_headers: 20,
        max_uri_bytes: 1024,
        max_body_bytes: 1024,
        body_timeout: 10 * SECOND,
        max_streams: 8,
        request_timeout: 60 * SECOND,
        drain_delay: Duration::ZERO,
        drain_grace: 10 * SECOND,
        cdn: CdnKeys::Off,
    }
}

fn start(change: impl FnOnce(&mut HttpSettings)) -> Running {
    let mut settings = settings();
    change(&mut settings);
    let (fake, drain, shutdown) = (Fake::new(), Drain::new(), CancellationToken::new());
    let mut registry = Registry::default();
    let server = Server::bind(&settings, fake.clone(), drain.clone(), &mut registry).expect("a free port");
    let address = server.local_addr();
    let task = tokio::spawn(server.run(shutdown.clone()));
    Running { address, fake, drain, registry, shutdown, task }
}

impl Running {
    async fn connect(&self) -> Wire {
        Wire { stream: TcpStream::connect(self.address).await.expect("accepts"), read: Vec::new() }
    }

    fn rejected(&self, reason: &str) -> bool {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).expect("encodes");
        let line = format!("tidegate_http_rejected_total{{reason=\"{reason}\"}} ");
        text.lines().any(|l| l.starts_with(&line) && !l.ends_with(" 0"))
    }
}

/// A client that writes bytes.
struct Wire {
    stream: TcpStream,
    read: Vec<u8>,
}

async fn soon<T>(what: &str, work: impl Future<Output = T>) -> T {
    tokio::time::timeout(20 * SECOND, work).await.unwrap_or_else(|_| panic!("{what} took too long"))
}

impl Wire {
    async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        // The server may have closed already; then the answer tells.
        let _ = self.stream.write_all(bytes.as_ref()).await;
    }

    /// The next answer's status and body; `None` if the connection was closed instead.
    async fn answer(&mut self) -> Option<(u16, String)> {
        let head = loop {
            if let Some(end) = self.read.windows(4).position(|w| w == b"\r\n\r\n") {
                let head = self.read.drain(..end + 4).collect();
                break String::from_utf8(head).expect("ascii");
            }
            self.more().await?;
        };
        let status = head.split(' ').nth(1).expect("a status").parse().expect("a number");
        let length = head.to_ascii_lowercase().lines().find_map(|l| l.strip_prefix("content-length: ")?.parse().ok());
        let length: usize = length.unwrap_or(0);
        while self.read.len() < length {
            self.more().await?;
        }
        let body = self.read.drain(..length).collect();
        Some((status, String::from_utf8(body).expect("text")))
    }

    async fn more(&mut self) -> Option<()> {
        let mut buffer = [0; 4096];
        match soon("an answer", self.stream.read(&mut buffer)).await {
            Ok(0) | Err(_) => None,
            Ok(length) => {
                self.read.extend_from_slice(&buffer[..length]);
                Some(())
            }
        }
    }

    async fn closed(&mut self) -> bool {
        self.answer().await.is_none()
    }

    async fn status(&mut self, request: impl AsRef<[u8]>) -> Option<u16> {
        self.send(request).await;
        self.answer().await.map(|(status, _)| status)
    }

    async fn still_serves(&mut self) -> bool {
        self.status("GET /v1/products/1 HTTP/1.1\r\n\r\n").await == Some(200)
    }
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let server = start(|_| {});
    let mut wire = server.connect().await;
    wire.send("GET /v1/products/1 HTTP/1.1\r\n\r\nGET /v1/products/2 HTTP/1.1\r\n\r\nPUT /v1/products/3 HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}").await;
    assert_eq!(wire.answer().await, Some((200, "{\"id\":1}".into())));
    assert_eq!(wire.answer().await, Some((200, "{\"id\":2}".into())));
    assert_eq!(wire.answer().await, Some((204, String::new())));
}

#[tokio::test]
async fn an_answer_does_not_wait_for_the_rest_of_the_next_request() {
    let server = start(|_| {});
    let mut wire = server.connect().await;
    wire.send("GET /v1/products/1 HTTP/1.1\r\n\r\nGET /v1/products/2 HT").await;
    assert_eq!(wire.answer().await, Some((200, "{\"id\":1}".into())));
    wire.send("TP/1.1\r\n\r\n").await;
    assert_eq!(wire.answer().await, Some((200, "{\"id\":2}".into())));
}

#[tokio::test]
async fn arrows_and_quotes_need_no_escapes_in_a_request_line() {
    let server = start(|_| {});
    let mut wire = server.connect().await;
    let request = |query: &str| format!("GET /v1/products?{query} HTTP/1.1\r\nif-match: \"x\", *\r\n\r\n");
    assert_eq!(wire.status(request("meta->>a=eq.\"<\"")).await, Some(412), "fields stay as they are");
    for query in ["select=meta->a", "name=in.(\"a,b\")", "or=(name.eq.\">\",id.eq.1)"] {
        assert_eq!(wire.status(request(query).replace("\"x\", ", "")).await, Some(200), "{query}");
    }
    for part in ["GET /v1/products?meta-", ">", ">a=eq.1 HT", "TP/1.1\r\n"] {
        wire.send(part).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(wire.status("\r\n").await, Some(200));
    let put = "PUT /v1/products/1 HTTP/1.1\r\ncontent-length: 12\r\n\r\n{\"name\":\">\"}";
    wire.send(&put[..put.len() - 5]).await;
    assert_eq!(wire.status(&put[put.len() - 5..]).await, Some(204));
    let writes = server.fake.writes.lock().expect("not poisoned").clone();
    let WriteAction::Put { body, .. } = &writes[0].action else { panic!("a PUT") };
    assert_eq!(body.json, "[{\"name\":\">\"}]");
    assert!(wire.still_serves().await);
}

#[tokio::test]
async fn garbage_is_refused_and_hurts_nobody() {
    let server = start(|_| {});
    for garbage in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01"[..],
        b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\ngarbage that is no frame at all, and long enough to be read as one",
        b"GET / HTTP/9.9\r\n\r\n",
        b"\r\n\r\n\0\0\0\r\n\r\n",
        b"GET /v1/products/1 HTTP/1.1\r\nno colon\r\n\r\n",
        b"POST /v1/products HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST /v1/products HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"POST /v1/products HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"POST /v1/products HTTP/1.1\r\nContent-Length: 3\r\n\r\n{}",
        b"PO",
    ] {
        let mut wire = server.connect().await;
        wire.send(garbage).await;
        // With nothing more to come, everything must end in an error or a close.
        let _ = wire.stream.shutdown().await;
        while let Some((status, _)) = garbage_answer(&mut wire).await {
            assert!((400..506).contains(&status), "{garbage:?}: {status}");
        }
    }
    assert!(server.connect().await.still_serves().await);
}

/// An HTTP/2 peer is answered in frames, which are not looked at here.
async fn garbage_answer(wire: &mut Wire) -> Option<(u16, String)> {
    while wire.read.len() < 5 {
        wire.more().await?;
    }
    if wire.read.starts_with(b"HTTP/") {
        return wire.answer().await;
    }
    while wire.more().await.is_some() {}
    None
}

#[tokio::test]
async fn a_head_that_does_not_come_ends_the_connection() {
    let server = start(|s| s.header_timeout = Duration::from_millis(150));
    for begun in ["", "P", "PRI * HTTP/2.0\r\n", "GET /v1/prod", "GET /v1/products/1 HTTP/1.1\r\nx: "] {
        let mut wire = server.connect().await;
        wire.send(begun).await;
        assert!(wire.closed().await, "{begun:?}");
    }
    assert!(server.rejected("slow_head"));
    let mut second = server.connect().await;
    assert!(second.still_serves().await);
    second.send("GET /v1/products/1 HTTP/1.1\r\nx: ").await;
    assert!(second.closed().await, "also between requests");
}

#[tokio::test]
async fn idle_connections_outlive_the_header_timeout() {
    let server = start(|s| s.header_timeout = Duration::from_millis(100));
    let mut wire = server.connect().await;
    assert!(wire.still_serves().await);
    let closed = tokio::time::timeout(Duration::from_millis(400), wire.stream.readable()).await;
    assert!(closed.is_err(), "nothing came, neither bytes nor the end");
    assert!(wire.still_serves().await);
}

#[tokio::test]
async fn large_heads_are_refused_by_what_is_too_large() {
    let server = start(|_| {});
    let fields = (0..21).map(|n| format!("x-{n}: 1\r\n")).collect::<String>();
    let mut wire = server.connect().await;
    assert_eq!(wire.status(format!("GET /v1/products/1 HTTP/1.1\r\n{fields}\r\n")).await, Some(431));
    let mut wire = server.connect().await;
    let huge = format!("GET /v1/products/1 HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(200_000));
    assert!(matches!(wire.status(huge).await, Some(431) | None));

    let mut wire = server.connect().await;
    wire.send(format!("GET /v1/products?name=eq.{} HTTP/1.1\r\n\r\n", "x".repeat(1024))).await;
    let (status, body) = wire.answer().await.expect("an answer");
    assert!(status == 414 && body.contains("TG008"), "{status} {body}");
    assert!(server.rejected("uri_too_long"));
    assert!(wire.still_serves().await, "the connection is kept");
}

#[tokio::test]
async fn large_bodies_are_refused_and_the_connection_kept_where_little_is_left() {
    let server = start(|_| {});
    let body = "x".repeat(1025);
    for request in [
        format!("POST /v1/products HTTP/1.1\r\nContent-Length: 1025\r\n\r\n{body}"),
        format!("POST /v1/products HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n401\r\n{body}\r\n0\r\n\r\n"),
    ] {
        let mut wire = server.connect().await;
        wire.send(request).await;
        let (status, body) = wire.answer().await.expect("an answer");
        assert!(status == 413 && body.contains("TG008"), "{status} {body}");
        assert!(wire.still_serves().await);
    }
    let mut wire = server.connect().await;
    let head = "POST /v1/products HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 99999999\r\n\r\n";
    assert_eq!(wire.status(head).await, Some(413), "answered before anything was sent, and without a 100");
    assert!(server.rejected("body_too_large"));
}

#[tokio::test]
async fn a_body_that_comes_after_its_refusal_is_not_taken_for_requests() {
    let server = start(|_| {});
    let mut wire = server.connect().await;
    assert_eq!(wire.status("POST /v1/products HTTP/1.1\r\nContent-Length: 1025\r\n\r\n").await, Some(413));
    // Quotes would be escaped in a request line, and every escape would shift the body's end.
    wire.send("\"".repeat(1025)).await;
    assert!(wire.still_serves().await);
}

#[tokio::test]
async fn other_refusals_keep_the_connection_too() {
    let server = start(|_| {});
    let mut wire = server.connect().await;
    for (request, status) in [
        ("POST /v1/nothing HTTP/1.1\r\nContent-Length: 4\r\n\r\n{\"a\"", 404),
        ("GET /v1/products/1 HTTP/1.1\r\nContent-Length: 4\r\n\r\nbody", 200),
        ("DELETE /v1/products/1 HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}", 204),
        ("POST /v1/products HTTP/1.1\r\nContent-Length: 3\r\n\r\n{\"a", 400),
        ("GET /v1/products?id=foo.1 HTTP/1.1\r\n\r\n", 400),
        ("GET /v1/products/%ff HTTP/1.1\r\n\r\n", 400),
    ] {
        assert_eq!(wire.status(request).await, Some(status), "{request}");
    }
    assert!(wire.still_serves().await);
}

#[tokio::test]
async fn a_body_that_does_not_come_is_408() {
    let server = start(|s| s.body_timeout = Duration::from_millis(150));
    let mut wire = server.connect().await;
    wire.send("PUT /v1/products/1 HTTP/1.1\r\nContent-Length: 50\r\n\r\n{").await;
    let (status, body) = wire.answer().await.expect("an answer");
    assert!(status == 408 && body.contains("TG008"), "{status} {body}");
    assert!(wire.closed().await);
    assert!(server.rejected("slow_body"));
}

#[tokio::test]
async fn a_client_that_leaves_in_the_middle_writes_nothing() {
    let server = start(|_| {});
    let mut wire = server.connect().await;
    wire.send("PUT /v1/products/1 HTTP/1.1\r\nContent-Length: 50\r\n\r\n{\"name\":").await;
    drop(wire);
    assert!(server.connect().await.still_serves().await);
    assert!(server.fake.writes.lock().expect("not poisoned").is_empty());
}

#[tokio::test]
async fn over_the_cap_connections_wait_for_their_turn() {
    let server = start(|s| s.max_connections = 2);
    let (mut first, mut second) = (server.connect().await, server.connect().await);
    assert!(first.still_serves().await && second.still_serves().await);
    let mut third = server.connect().await;
    third.send("GET /v1/products/1 HTTP/1.1\r\n\r\n").await;
    let waiting = tokio::time::timeout(Duration::from_millis(200), third.stream.readable()).await;
    assert!(waiting.is_err(), "neither answered nor refused");
    drop(first);
    assert_eq!(third.answer().await.expect("its turn").0, 200);
    assert!(server.rejected("connection_cap"));
}

#[tokio::test]
async fn an_address_in_use_is_named() {
    let server = start(|_| {});
    let taken = HttpSettings { listen: server.address, ..settings() };
    let error = Server::bind(&taken, Fake::new(), Drain::new(), &mut Registry::default()).expect_err("in use");
    assert!(error.to_string().starts_with(&format!("cannot listen on {}", server.address)), "{error}");
}
