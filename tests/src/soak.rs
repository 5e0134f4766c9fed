//! Clients that read and write the same few rows through several gateways, and somebody who changes rows past them,
//! while connections, Redis and processes fail; then the checkers.
//!
//! # Layout
//! - `site`: shards, gateways, Redis, and a bad network between any two of them
//! - `clients`: what clients do, and what an answer says of its outcome
//! - `outside`: changes past the gateways
//! - `disasters`: what goes wrong, when
//! - `totals`: what was done and found

mod clients;
mod disasters;
mod outside;
mod site;
mod totals;

use std::{
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tidegate_history::{Stopwatch, Value};
use tokio::{sync::watch, task::JoinSet};

use crate::{Client, Gateway};
use clients::Record;
use disasters::Stop;
use site::Site;
pub use totals::Totals;

/// How much of it.
#[derive(Debug, Clone, Copy)]
pub struct Effort {
    /// Reads and writes that are to be checked.
    pub operations: u64,
    /// It ends after this time, even if they were fewer.
    pub time: Duration,
    /// Decides what clients do and what goes wrong; not when.
    pub seed: u64,
    /// How many clients.
    pub clients: u64,
    /// How many gateways. One alone is not told of others.
    pub gateways: usize,
    /// What the gateways share.
    pub tier: Tier,
    /// Who else changes rows.
    pub neighbour: Neighbour,
    /// The longest time between two things of one kind that go wrong.
    pub calm: Duration,
}

/// What the gateways share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tier {
    /// A Redis.
    Redis,
    /// Nothing.
    None,
}

/// Who else changes rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Neighbour {
    /// Somebody with a connection to each shard. The gateways follow the shards' logs.
    Writer,
    /// Nobody.
    None,
}

/// How long a read may miss what the neighbour changed: the `max_staleness` of [`Place::Ledger`].
const BOUND: Duration = Duration::from_millis(500);

/// How often a run says how far it has come.
const REPORT: Duration = Duration::from_secs(15);

/// What kind of row it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Of a strict collection; clients alone write it.
    Products,
    /// Of a bounded, write-through collection; the neighbour writes it, and here clients do too.
    Ledger,
    /// Of the same; the neighbour alone writes it, inserts and deletes it.
    Alone,
}

impl Place {
    fn collection(self) -> &'static str {
        match self {
            Self::Products => "products",
            Self::Ledger | Self::Alone => "ledger",
        }
    }
}

/// A row that clients use.
#[derive(Debug, Clone, Copy)]
struct Row {
    place: Place,
    id: i64,
    shard: usize,
}

/// What clients share.
#[derive(Debug, Clone)]
struct Scene {
    rows: Arc<[Row]>,
    // Held for a clone only. A gateway that starts again has another address.
    clients: Arc<RwLock<Vec<Client>>>,
    clock: Stopwatch,
    begun: Arc<AtomicU64>,
    next_value: Arc<AtomicU64>,
    operations: u64,
    ends: Instant,
}

impl Scene {
    fn new(effort: &Effort, site: &Site, gateways: &[Gateway]) -> Self {
        Self {
            rows: site.rows().into(),
            clients: Arc::new(RwLock::new(gateways.iter().map(Gateway::client).collect())),
            clock: Stopwatch::start(),
            begun: Arc::default(),
            next_value: Arc::new(AtomicU64::new(1)),
            operations: effort.operations,
            ends: Instant::now() + effort.time,
        }
    }

    /// Whether another operation is to begin, which counts.
    fn begin(&self) -> bool {
        self.begun.fetch_add(1, Ordering::Relaxed) < self.operations && Instant::now() < self.ends
    }

    /// An operation that says nothing does not count.
    fn uncount(&self) {
        self.begun.fetch_sub(1, Ordering::Relaxed);
    }

    /// How many operations have begun that count.
    fn begun(&self) -> u64 {
        self.begun.load(Ordering::Relaxed)
    }

    /// A value that nobody has written.
    fn fresh(&self) -> u64 {
        self.next_value.fetch_add(1, Ordering::Relaxed)
    }

    fn client(&self, gateway: usize) -> Client {
        self.clients.read().unwrap_or_else(PoisonError::into_inner)[gateway].clone()
    }

    fn moved(&self, gateway: usize, to: Client) {
        self.clients.write().unwrap_or_else(PoisonError::into_inner)[gateway] = to;
    }
}

/// Says how far it has come, from time to time. Never ends.
async fn report(scene: Scene) {
    let mut ticks = tokio::time::interval(REPORT);
    loop {
        ticks.tick().await;
        eprintln!("{} operations in {} s", scene.begun(), scene.clock.now().as_secs());
    }
}

/// A value as rows hold it.
fn name(value: u64) -> String {
    format!("v{value}")
}

/// The value that a row holds, which must be one.
fn value_of(name: &str) -> Value {
    name.strip_prefix('v').and_then(|digits| digits.parse().ok())
}

/// Runs it. Ends by itself, when there were enough operations or after its time.
///
/// # Panics
/// If servers cannot be started, or an answer has no meaning.
pub async fn run(effort: Effort) -> Totals {
    let (site, gateways) = Site::start(&effort).await;
    let scene = Scene::new(&effort, &site, &gateways);
    let random = |lane: u64| fastrand::Rng::with_seed(effort.seed ^ (lane << 32));
    let (ended, over) = watch::channel(Stop::No);
    let mut running: JoinSet<Record> = JoinSet::new();
    for number in 0..effort.clients {
        running.spawn(clients::run(scene.clone(), number, random(number)));
    }
    let mut neighbours: JoinSet<Record> = JoinSet::new();
    if effort.neighbour == Neighbour::Writer {
        for shard in 0..site.shards.len() {
            let connection = site.shards.connect(shard).await;
            let random = random(1_000 + shard as u64);
            neighbours.spawn(outside::run(scene.clone(), shard, connection, over.clone(), random));
        }
    }
    let reporting = tokio::spawn(report(scene.clone()));
    let disasters = disasters::Disasters::start(&site, &scene, &effort, gateways, over);
    let mut records = running.join_all().await;
    reporting.abort();
    // They may have ended by themselves, by a panic that is raised below.
    let _ = ended.send(Stop::Yes);
    records.extend(neighbours.join_all().await);
    let mut totals = disasters.end().await;
    totals.judge(&scene, records);
    totals
}
