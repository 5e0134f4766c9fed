//! Shards, gateways, Redis, and a bad network between any two of them.

use std::{net::SocketAddr, sync::Arc};

use tokio::sync::{Mutex, RwLock};

use super::{BOUND, Effort, Neighbour, Place, Row, Tier, name};
use crate::{Config, Gateway, Redis, Shards, free_port, gateways::SECRET, proxy::Proxy, schema};

const SHARDS: usize = 2;
/// Strict rows, and half as many of each other kind, on both shards alike.
const ROWS: usize = 8;
/// Rows of the storefront, of which the first are used.
const PRODUCTS: i64 = 200;
/// Short, so that leases end while others go on writing.
const LEASE: &str = "\"400ms\"";
/// Long enough for a machine that is busy with all of this.
const TIER_TIMEOUT: &str = "\"50ms\"";

/// One gateway's connections to everybody else.
#[derive(Debug)]
pub(super) struct Front {
    /// To each shard.
    pub(super) shards: Vec<Proxy>,
    /// To Redis.
    pub(super) tier: Option<Proxy>,
    /// From other gateways.
    pub(super) peers: Option<Proxy>,
    /// Read by who makes its network bad, written by who starts the gateway, which takes a fair one.
    pub(super) network: RwLock<()>,
    config: Config,
}

/// All but the gateways. Dropped after them.
#[derive(Debug)]
pub(super) struct Site {
    pub(super) shards: Shards,
    pub(super) redis: Option<Arc<Mutex<Redis>>>,
    pub(super) fronts: Arc<[Front]>,
    rows: Vec<Row>,
}

impl Site {
    /// Starts everything.
    pub(super) async fn start(effort: &Effort) -> (Self, Vec<Gateway>) {
        let shards = Shards::start_with(SHARDS, crate::shards::StatementLog::Off, &[]).await;
        schema::create(&shards, PRODUCTS).await;
        shards.execute_all("CREATE TABLE ledger (id bigint PRIMARY KEY, name text NOT NULL)").await;
        let rows = rows(&shards, effort.neighbour);
        for row in &rows {
            let name = name(0);
            let sql = match row.place {
                Place::Products => format!("UPDATE products SET name = '{name}' WHERE id = {}", row.id),
                Place::Ledger | Place::Alone => format!("INSERT INTO ledger VALUES ({}, '{name}')", row.id),
            };
            shards.execute(row.shard, &sql).await;
        }
        let redis = match effort.tier {
            Tier::Redis => Some(Redis::start().await),
            Tier::None => None,
        };
        let mut fronts = Vec::new();
        for number in 0..effort.gateways {
            fronts.push(Front::start(number, effort, &shards, redis.as_ref()).await);
        }
        let mut gateways = Vec::new();
        for front in &fronts {
            gateways.push(Gateway::start(&front.config).await);
        }
        let redis = redis.map(|redis| Arc::new(Mutex::new(redis)));
        (Self { shards, redis, fronts: fronts.into(), rows }, gateways)
    }

    pub(super) fn rows(&self) -> Vec<Row> {
        self.rows.clone()
    }
}

/// The rows that clients use, on the shards in turn.
fn rows(shards: &Shards, neighbour: Neighbour) -> Vec<Row> {
    let row = |place, nth: usize| {
        let shard = nth % shards.len();
        let id = shards.ids_on(shard).nth(nth / shards.len()).expect("numbers do not end");
        Row { place, id, shard }
    };
    let mut rows: Vec<Row> = (0..ROWS).map(|nth| row(Place::Products, nth)).collect();
    if neighbour == Neighbour::Writer {
        rows.extend((0..ROWS / 2).map(|nth| row(Place::Ledger, nth)));
        rows.extend((ROWS / 2..ROWS).map(|nth| row(Place::Alone, nth)));
    }
    rows
}

impl Front {
    async fn start(number: usize, effort: &Effort, shards: &Shards, redis: Option<&Redis>) -> Self {
        let mut front = Self {
            shards: Vec::new(),
            tier: None,
            peers: None,
            network: RwLock::new(()),
            config: schema::config(shards),
        };
        for (name, url) in shards.urls() {
            let (proxy, url) = before_database(&url).await;
            front.set(&format!("shards.{name}"), "primary", &format!("\"{url}\""));
            front.shards.push(proxy);
        }
        if effort.gateways > 1 {
            // Taken when the gateway starts, each time.
            let port = free_port();
            let proxy = Proxy::start(local(port)).await;
            front.set("cluster", "id", &format!("\"gateway-{number}\""));
            front.set("cluster", "listen", &format!("\"{}\"", local(port)));
            front.set("cluster", "advertise", &format!("\"{}\"", proxy.address()));
            front.set("cluster", "secret", &format!("\"{SECRET}\""));
            front.set("cluster", "lease", LEASE);
            front.peers = Some(proxy);
        }
        if let Some(redis) = redis {
            let proxy = Proxy::start(local(redis.port())).await;
            front.set("cache", "l2", &format!("\"redis://{}\"", proxy.address()));
            front.set("cache", "l2_timeout", TIER_TIMEOUT);
            front.tier = Some(proxy);
        }
        if effort.neighbour == Neighbour::Writer {
            front.set("feed", "enabled", "true");
            let ledger = "collections.ledger";
            front.set(ledger, "table", "\"ledger\"");
            front.set(ledger, "mode", "\"write-through\"");
            front.set(ledger, "consistency", "\"bounded\"");
            front.set(ledger, "max_staleness", &format!("\"{}ms\"", BOUND.as_millis()));
        }
        front
    }

    fn set(&mut self, section: &str, key: &str, value: &str) {
        self.config = std::mem::take(&mut self.config).set(section, key, value);
    }
}

fn local(port: u16) -> SocketAddr {
    ([127, 0, 0, 1], port).into()
}

/// A proxy in front of a shard, and the shard's URL through it.
async fn before_database(url: &str) -> (Proxy, String) {
    let config: tokio_postgres::Config = url.parse().expect("own URL");
    let port = *config.get_ports().first().expect("a port");
    let proxy = Proxy::start(local(port)).await;
    let through = url.replace(&format!(":{port}"), &format!(":{}", proxy.address().port()));
    assert_ne!(through, url, "the URL names its port");
    (proxy, through)
}
