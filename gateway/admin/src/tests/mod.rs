//! Behaviour of the listener over real sockets, with a gateway that only remembers.

mod listener;
mod orders;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use prometheus_client::{metrics::counter::Counter, registry::Registry};
use serde_json::{Value, json};
use tidegate_types::{
    purge::{PurgeTarget, Softness},
    settings::{AdminSettings, Secret},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Notify,
};
use tokio_util::sync::CancellationToken;

use crate::{
    AdminState, Control, Server,
    control::{Decision, Letter, Order, Outcome, Refused, Step, Upload, Why},
};

/// What the fake was told to do.
#[derive(Debug, Clone, PartialEq)]
enum Told {
    Stage(String, Upload, Order),
    Steer(String, Step, Order),
    Reload(Order),
    Purge(Vec<PurgeTarget>, Softness, Order),
    Decide(Letter, Decision, Order),
}

/// A gateway with one plugin, `router`, that does what it is told.
#[derive(Default)]
struct Fake {
    told: Mutex<Vec<Told>>,
    /// What orders are answered with instead.
    refuses: Mutex<Option<Refused>>,
    /// Orders wait for this, where there is one.
    gate: Mutex<Option<Arc<Notify>>>,
    begun: Arc<Notify>,
    done: Arc<Notify>,
}

impl Fake {
    fn carry_out(&self, told: Told) -> BoxFuture<'static, Outcome> {
        self.told.lock().push(told);
        let (refuses, gate) = (self.refuses.lock().clone(), self.gate.lock().clone());
        let (begun, done) = (self.begun.clone(), self.done.clone());
        Box::pin(async move {
            begun.notify_one();
            if let Some(gate) = gate {
                gate.notified().await;
            }
            done.notify_one();
            refuses.map_or_else(|| Ok(json!({ "name": "router" })), Err)
        })
    }
}

impl Control for Fake {
    fn shards(&self) -> Vec<Value> {
        let shard =
            |name| json!({ "name": name, "pools": [{ "class": "point", "max": 2 }, { "class": "scan", "max": 3 }] });
        vec![shard("a"), shard("b")]
    }

    fn members(&self) -> Vec<Value> {
        vec![json!({ "shard": "a", "id": "one" })]
    }

    fn generation(&self) -> u64 {
        7
    }

    fn plugins(&self) -> Vec<Value> {
        vec![json!({ "name": "router", "version": "1.0.0" })]
    }

    fn plugin(&self, name: &str) -> Option<Value> {
        self.plugins().into_iter().find(|plugin| plugin["name"] == name)
    }

    fn settings(&self) -> Value {
        json!({ "shards": { "a": { "primary": "***" } } })
    }

    fn stage(&self, plugin: String, upload: Upload, order: Order) -> BoxFuture<'static, Outcome> {
        self.carry_out(Told::Stage(plugin, upload, order))
    }

    fn steer(&self, plugin: String, step: Step, order: Order) -> BoxFuture<'static, Outcome> {
        self.carry_out(Told::Steer(plugin, step, order))
    }

    fn purge(&self, targets: Vec<PurgeTarget>, softness: Softness, order: Order) -> BoxFuture<'static, Outcome> {
        self.carry_out(Told::Purge(targets, softness, order))
    }

    fn journal(&self) -> BoxFuture<'static, Option<Value>> {
        Box::pin(async { Some(json!({ "depth": 3 })) })
    }

    fn decide(&self, letter: Letter, decision: Decision, order: Order) -> BoxFuture<'static, Outcome> {
        self.carry_out(Told::Decide(letter, decision, order))
    }

    fn reload(&self, order: Order) -> BoxFuture<'static, Outcome> {
        self.carry_out(Told::Reload(order))
    }
}

struct Admin {
    address: SocketAddr,
    state: AdminState,
    fake: Arc<Fake>,
    shutdown: CancellationToken,
    running: tokio::task::JoinHandle<()>,
}

impl Admin {
    async fn start(listen: &str, token: Option<&str>) -> Self {
        let settings = AdminSettings {
            listen: listen.parse().expect("an address"),
            token: token.map(|token| Secret::new(token.to_owned())),
        };
        let state = AdminState::starting();
        let server = Server::bind(&settings, state.clone()).await.expect("bound");
        let address = SocketAddr::from(([127, 0, 0, 1], server.local_addr().port()));
        let shutdown = CancellationToken::new();
        let running = tokio::spawn(server.run(shutdown.clone()));
        Self { address, state, fake: Arc::default(), shutdown, running }
    }

    async fn serving(listen: &str, token: Option<&str>) -> Self {
        let admin = Self::start(listen, token).await;
        let mut registry = Registry::default();
        registry.register("tidegate_writes", "Writes", Counter::<u64>::default());
        admin.state.ready(admin.fake.clone(), registry);
        admin
    }

    /// Status line and head, and the body.
    async fn send(&self, request: &str) -> (String, String) {
        self.send_bytes(request.as_bytes()).await
    }

    async fn send_bytes(&self, request: &[u8]) -> (String, String) {
        let mut stream = TcpStream::connect(self.address).await.expect("connected");
        stream.write_all(request).await.expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("read");
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        (head.to_owned(), body.to_owned())
    }

    async fn get(&self, path: &str, headers: &str) -> (u16, String, String) {
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{headers}\r\n");
        let (head, body) = self.send(&request).await;
        (head.split(' ').nth(1).and_then(|s| s.parse().ok()).expect("a status"), head, body)
    }

    /// Sends an order: status, head, body as JSON.
    async fn order(&self, line: &str, headers: &str, body: &[u8]) -> (u16, String, Value) {
        let host = self.address;
        let mut request = format!(
            "{line} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\ncontent-length: {}\r\n{headers}\r\n",
            body.len()
        )
        .into_bytes();
        request.extend_from_slice(body);
        let (head, body) = self.send_bytes(&request).await;
        let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).expect("a status");
        (status, head, serde_json::from_str(&body).expect("JSON"))
    }

    /// A `POST` with JSON.
    async fn post(&self, path: &str, body: &str) -> (u16, Value) {
        let headers = if body.is_empty() { "" } else { "content-type: application/json\r\n" };
        let (status, _, body) = self.order(&format!("POST {path}"), headers, body.as_bytes()).await;
        (status, body)
    }

    /// The only thing the gateway was told.
    fn told(&self) -> Told {
        let told = std::mem::take(&mut *self.fake.told.lock());
        assert_eq!(told.len(), 1, "{told:?}");
        told.into_iter().next().expect("one")
    }

    async fn status(&self, path: &str) -> u16 {
        self.get(path, "").await.0
    }
}
