//! Several gateways in front of the same shards, and clients that read and write through all of them.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::{
    Client, Config, Gateway, Shards,
    history::{Histories, Operation, Span, Stopwatch},
    schema, until,
    world::PRODUCTS,
};

/// What the gateways of a scenario know of each other.
pub const SECRET: &str = "a secret of the scenarios, which is no secret";
/// Longest time that a client waits; an operation without an answer may still happen.
const PATIENCE: Duration = Duration::from_secs(20);

/// Gateways that know each other.
#[derive(Debug)]
pub struct Gateways {
    // Before the shards: gateways end first.
    /// The gateways, started one after the other.
    pub all: Vec<Gateway>,
    /// The shards.
    pub shards: Shards,
}

impl Gateways {
    /// Two shards with the storefront schema and this many gateways in front, each a member everywhere.
    pub async fn start(count: usize) -> Self {
        Self::with(count, |config| config).await
    }

    /// As [`Gateways::start`], with a changed configuration.
    pub async fn with(count: usize, change: impl Fn(Config) -> Config) -> Self {
        let shards = Shards::start(2).await;
        schema::create(&shards, PRODUCTS).await;
        let mut gateways = Self { all: Vec::new(), shards };
        for _ in 0..count {
            let config = change(Self::config(&gateways.shards));
            gateways.all.push(Gateway::start(&config).await);
        }
        for gateway in 0..count {
            gateways.joined(gateway).await;
        }
        gateways
    }

    /// A configuration of one of several gateways.
    #[must_use]
    pub fn config(shards: &Shards) -> Config {
        schema::config(shards).set("cluster", "listen", "\"127.0.0.1:0\"").set(
            "cluster",
            "secret",
            &format!("\"{SECRET}\""),
        )
    }

    /// Waits until a gateway holds its lease at every shard and is connected to every other.
    pub async fn joined(&self, gateway: usize) {
        until("the gateway has joined and knows the others", || async {
            let members = self.all[gateway].admin_json("/admin/members").await;
            let members = members["members"].as_array().cloned().unwrap_or_default();
            let own = members.iter().filter(|m| m["own_lease_left_ms"].as_u64().is_some_and(|left| left > 0)).count();
            let others = members.iter().filter(|m| !m["contact"].is_null());
            let connected = others.clone().filter(|m| m["contact"] == "connected").count();
            let all_others = (self.all.len() - 1) * self.shards.len();
            (own == self.shards.len() && connected == all_others && others.count() == all_others).then_some(())
        })
        .await;
    }

    /// Waits until each gateway knows how old what the shards' logs told it is.
    pub async fn followed(&self) {
        for gateway in &self.all {
            until("its heartbeats come back, whoever reads them", || async {
                let text = gateway.admin_client().get("/metrics").await.ok().text();
                let known = |line: &&str| line.starts_with("tidegate_feed_age_seconds{") && !line.ends_with("-1.0");
                (text.lines().filter(known).count() == self.shards.len()).then_some(())
            })
            .await;
        }
    }

    /// Sends a signal to one gateway.
    pub fn signal(&self, gateway: usize, signal: Signal) {
        self.all[gateway].signal(signal);
    }

    /// The sum of a counter over these gateways.
    pub async fn sum(&self, gateways: &[usize], name: &str, labels: &[(&str, &str)]) -> u64 {
        let mut sum = 0;
        for gateway in gateways {
            sum += self.all[*gateway].metrics().await.sum(name, labels);
        }
        sum
    }

    /// Sets the products' names to `v0` past the gateways, before anybody has read them.
    pub async fn prepare(&self, ids: &[i64]) {
        for id in ids {
            let sql = format!("UPDATE products SET name = 'v0' WHERE id = {id}");
            self.shards.execute(self.shards.shard_of(id), &sql).await;
        }
    }
}

/// Clients of several gateways that read and write a few products, and remember what they saw.
#[derive(Debug)]
pub struct Crowd {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    written: Arc<AtomicU64>,
    clients: JoinSet<Seen>,
}

/// What a crowd saw.
#[derive(Debug)]
pub struct Seen {
    /// Per product.
    pub histories: Histories<i64>,
    /// Writes that were acknowledged.
    pub writes: u64,
    /// Reads that were answered.
    pub reads: u64,
    /// Writes that were refused with 503, by gateway: certainly not made. (Nor are those that waited too long for a
    /// row.) A gateway that refused none is not in it.
    pub refused: BTreeMap<usize, u64>,
    /// Operations without an answer.
    pub unanswered: u64,
    /// The longest time until a write was acknowledged.
    pub slowest_write: Duration,
}

impl Seen {
    fn nothing() -> Self {
        Self {
            histories: Histories::starting_with(0),
            writes: 0,
            reads: 0,
            refused: BTreeMap::new(),
            unanswered: 0,
            slowest_write: Duration::ZERO,
        }
    }

    fn add(mut self, other: Self) -> Self {
        for (id, history) in other.histories.iter() {
            for (operation, span) in history.events() {
                self.histories.add(*id, *operation, *span);
            }
        }
        self.writes += other.writes;
        self.reads += other.reads;
        for (gateway, refused) in other.refused {
            *self.refused.entry(gateway).or_default() += refused;
        }
        self.unanswered += other.unanswered;
        self.slowest_write = self.slowest_write.max(other.slowest_write);
        self
    }

    /// Insists that nobody read a value older than one that was acknowledged or read before.
    ///
    /// # Panics
    /// With the contradictions.
    #[track_caller]
    pub fn linearizable(&self) -> &Self {
        if let Err(contradictions) = self.histories.check() {
            panic!("{contradictions}");
        }
        self
    }
}

impl Crowd {
    /// Starts `writers` and `readers` on each of the gateways.
    #[must_use]
    pub fn start(gateways: &Gateways, ids: &[i64], writers: usize, readers: usize) -> Self {
        let mut crowd =
            Self { stop: Arc::default(), done: Arc::default(), written: Arc::default(), clients: JoinSet::new() };
        let (clock, next) = (Stopwatch::start(), Arc::new(AtomicU64::new(1)));
        for (number, gateway) in gateways.all.iter().enumerate() {
            for client in 0..writers + readers {
                let worker = Worker {
                    gateway: number,
                    client: gateway.client(),
                    ids: ids.into(),
                    clock,
                    next: next.clone(),
                    done: crowd.done.clone(),
                    written: crowd.written.clone(),
                    random: fastrand::Rng::with_seed((number * 100 + client) as u64),
                    seen: Seen::nothing(),
                };
                let stop = crowd.stop.clone();
                crowd.clients.spawn(worker.run(client < writers, stop));
            }
        }
        crowd
    }

    /// Waits until this many more operations were answered.
    ///
    /// # Panics
    /// If they are not.
    pub async fn does(&self, operations: u64) {
        let enough = self.done.load(Ordering::Relaxed) + operations;
        let reached = || std::future::ready((self.done.load(Ordering::Relaxed) >= enough).then_some(()));
        until("the crowd goes on", reached).await;
    }

    /// Waits until this many more writes were acknowledged.
    ///
    /// # Panics
    /// If they are not.
    pub async fn writes(&self, writes: u64) {
        let enough = self.written.load(Ordering::Relaxed) + writes;
        let reached = || std::future::ready((self.written.load(Ordering::Relaxed) >= enough).then_some(()));
        until("the crowd goes on writing", reached).await;
    }

    /// Ends it; what it saw.
    pub async fn end(self) -> Seen {
        self.stop.store(true, Ordering::Relaxed);
        self.clients.join_all().await.into_iter().fold(Seen::nothing(), Seen::add)
    }
}

struct Worker {
    gateway: usize,
    client: Client,
    ids: Arc<[i64]>,
    clock: Stopwatch,
    next: Arc<AtomicU64>,
    done: Arc<AtomicU64>,
    written: Arc<AtomicU64>,
    random: fastrand::Rng,
    seen: Seen,
}

impl Worker {
    async fn run(mut self, writes: bool, stop: Arc<AtomicBool>) -> Seen {
        while !stop.load(Ordering::Relaxed) {
            let id = self.ids[self.random.usize(..self.ids.len())];
            if writes {
                self.write(id).await;
            } else {
                self.read(id).await;
            }
        }
        self.seen
    }

    async fn write(&mut self, id: i64) {
        let value = self.next.fetch_add(1, Ordering::Relaxed);
        let start = self.clock.now();
        let call = self.client.patch(&format!("/v1/products/{id}"), &json!({ "name": format!("v{value}") }));
        let answer = tokio::time::timeout(PATIENCE, call.try_send()).await;
        let end = self.clock.now();
        let span = match answer {
            Ok(Ok(answer)) if answer.status == 204 => {
                self.seen.writes += 1;
                self.written.fetch_add(1, Ordering::Relaxed);
                self.done.fetch_add(1, Ordering::Relaxed);
                self.seen.slowest_write = self.seen.slowest_write.max(end.saturating_sub(start));
                Span { start, end: Some(end) }
            }
            // Definite: nothing was written.
            Ok(Ok(answer)) if answer.status == 503 || answer.text().contains("\"57014\"") => {
                if answer.status == 503 {
                    *self.seen.refused.entry(self.gateway).or_default() += 1;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
                return;
            }
            Ok(Ok(answer)) => panic!("{answer}"),
            Ok(Err(_)) | Err(_) => {
                self.seen.unanswered += 1;
                tokio::time::sleep(Duration::from_millis(20)).await;
                Span { start, end: None }
            }
        };
        self.seen.histories.add(id, Operation::Write(Some(value)), span);
    }

    async fn read(&mut self, id: i64) {
        let start = self.clock.now();
        let call = self.client.request(http::Method::GET, &format!("/v1/products/{id}"));
        match tokio::time::timeout(PATIENCE, call.try_send()).await {
            Ok(Ok(answer)) if answer.status == 200 => {
                let row: Value = answer.json();
                let name = row["name"].as_str().and_then(|name| name.strip_prefix('v')?.parse().ok());
                let span = Span { start, end: Some(self.clock.now()) };
                self.seen.histories.add(id, Operation::Read(Some(name.expect("a version"))), span);
                self.seen.reads += 1;
                self.done.fetch_add(1, Ordering::Relaxed);
            }
            _ => {
                self.seen.unanswered += 1;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }
}
