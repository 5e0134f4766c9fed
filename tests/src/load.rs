//! Clients that read and write all the time and believe nothing: every answer is checked, every write read back.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use http::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::{Answer, Client, Gateway, client::Call, until};

/// What clients do.
#[derive(Debug, Clone)]
pub struct Traffic {
    /// How many there are, each with a connection and rows of its own.
    pub clients: usize,
    /// The products they read and write, one after the other. Each belongs to one client.
    pub products: Vec<i64>,
    /// Header fields of every request.
    pub headers: Vec<(&'static str, String)>,
    /// Header fields of every fifth request, a read.
    pub spice: Vec<(&'static str, String)>,
}

impl Traffic {
    /// Six clients on these products.
    #[must_use]
    pub fn on(products: impl IntoIterator<Item = i64>) -> Self {
        Self { clients: 6, products: products.into_iter().collect(), headers: Vec::new(), spice: Vec::new() }
    }

    /// With this header field in every request.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    /// With this header field in every fifth request, a read.
    #[must_use]
    pub fn spice(mut self, name: &'static str, value: &str) -> Self {
        self.spice.push((name, value.to_owned()));
        self
    }

    /// Every client does this many rounds of five requests; what came of it.
    ///
    /// # Panics
    /// If there are fewer products than clients.
    pub async fn rounds(&self, gateway: &Gateway, rounds: u64) -> Tally {
        let load = Load::spawn(gateway, self, Some(rounds));
        load.joined().await
    }
}

/// What came of a load.
#[derive(Debug, Default)]
pub struct Tally {
    /// Requests answered as they should be.
    pub requests: u64,
    /// What was wrong with the others.
    pub failures: Vec<String>,
    latencies: Vec<Duration>,
}

impl Tally {
    /// Insists that nothing failed.
    ///
    /// # Panics
    /// If something did; the message has the first few.
    #[track_caller]
    pub fn flawless(&self) -> &Self {
        let (failed, shown) = (self.failures.len(), &self.failures[..self.failures.len().min(5)]);
        assert!(failed == 0, "{failed} of {} requests failed, the first: {shown:#?}", self.requests + failed as u64);
        self
    }

    /// The time that all but one in a hundred requests stayed within.
    #[must_use]
    pub fn p99(&self) -> Duration {
        let mut sorted = self.latencies.clone();
        sorted.sort_unstable();
        sorted.get((sorted.len() * 99 / 100).min(sorted.len().saturating_sub(1))).copied().unwrap_or_default()
    }

    fn add(mut self, other: Self) -> Self {
        self.requests += other.requests;
        self.failures.extend(other.failures);
        self.latencies.extend(other.latencies);
        self
    }
}

/// A load that runs until it is ended.
#[derive(Debug)]
pub struct Load {
    stop: Arc<AtomicBool>,
    rounds: Arc<AtomicU64>,
    clients: JoinSet<Tally>,
}

impl Load {
    /// Starts it.
    ///
    /// # Panics
    /// If there are fewer products than clients.
    #[must_use]
    pub fn start(gateway: &Gateway, traffic: &Traffic) -> Self {
        Self::spawn(gateway, traffic, None)
    }

    fn spawn(gateway: &Gateway, traffic: &Traffic, limit: Option<u64>) -> Self {
        let (stop, rounds) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let mut clients = JoinSet::new();
        for number in 0..traffic.clients {
            let own: Vec<i64> = traffic.products.iter().copied().skip(number).step_by(traffic.clients).collect();
            assert!(!own.is_empty(), "every client needs a product");
            let worker = Worker { client: gateway.client(), traffic: traffic.clone(), tally: Tally::default() };
            let (stop, rounds) = (stop.clone(), rounds.clone());
            clients.spawn(worker.run(own, move |done| {
                rounds.fetch_add(1, Ordering::Relaxed);
                stop.load(Ordering::Relaxed) || limit.is_some_and(|limit| done >= limit)
            }));
        }
        Self { stop, rounds, clients }
    }

    /// Waits until every client has gone through a round or two more, so that whatever was ordered before has met
    /// their requests.
    ///
    /// # Panics
    /// If they stand still.
    pub async fn goes_on(&self) {
        let enough = self.rounds.load(Ordering::Relaxed) + 2 * self.clients.len() as u64;
        let reached = || std::future::ready((self.rounds.load(Ordering::Relaxed) >= enough).then_some(()));
        until("the load goes on", reached).await;
    }

    /// Ends it; what came of it.
    pub async fn end(self) -> Tally {
        self.stop.store(true, Ordering::Relaxed);
        self.joined().await
    }

    async fn joined(self) -> Tally {
        self.clients.join_all().await.into_iter().fold(Tally::default(), Tally::add)
    }
}

struct Worker {
    client: Client,
    traffic: Traffic,
    tally: Tally,
}

impl Worker {
    /// Rounds of a write, the read of it, a read that comes from the cache, a spiced read, and a list.
    async fn run(mut self, products: Vec<i64>, done: impl Fn(u64) -> bool) -> Tally {
        for (round, id) in (1_u64..).zip(products.iter().cycle()) {
            let path = format!("/v1/products/{id}");
            let stock = json!(round);
            let wrote = self.send(Method::PATCH, &path, Some(&json!({ "stock": stock })), 204, |_| true).await;
            let fresh = |row: &Value| !wrote || row["stock"] == stock;
            self.send(Method::GET, &path, None, 200, fresh).await;
            self.send(Method::GET, &path, None, 200, fresh).await;
            let calm = std::mem::take(&mut self.traffic.headers);
            self.traffic.headers = calm.iter().chain(&self.traffic.spice).cloned().collect();
            self.send(Method::GET, &path, None, 200, fresh).await;
            self.traffic.headers = calm;
            let list = format!("/v1/products?id=eq.{id}&select=id,stock");
            self.send(Method::GET, &list, None, 200, |rows| rows.get(0).is_some_and(fresh)).await;
            if done(round) {
                break;
            }
        }
        self.tally
    }

    /// Whether the answer was as expected.
    async fn send(
        &mut self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        status: u16,
        right: impl Fn(&Value) -> bool,
    ) -> bool {
        let call = self.client.request(method.clone(), path);
        let call = self.traffic.headers.iter().fold(call, |call, (name, value)| call.header(name, value));
        let call = body.into_iter().fold(call, Call::json);
        let begun = Instant::now();
        let wrong = match call.try_send().await {
            Ok(answer) if answer.status == status && (answer.body.is_empty() || right(&body_of(&answer))) => None,
            Ok(answer) => Some(answer.to_string()),
            Err(error) => Some(error.to_string()),
        };
        self.tally.latencies.push(begun.elapsed());
        match wrong {
            None => self.tally.requests += 1,
            Some(wrong) => self.tally.failures.push(format!("{method} {path}: {wrong}")),
        }
        self.tally.failures.is_empty()
    }
}

fn body_of(answer: &Answer) -> Value {
    serde_json::from_slice(&answer.body).unwrap_or_default()
}
