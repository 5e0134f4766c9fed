//! A member table in memory, gateways over it, and a proxy between them.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use tidegate_cluster::{
    Cluster, Intent, Leases, Setup, Unheard,
    clock::Clock,
    lease::Terms,
    metrics::Metrics,
    peer::Contact,
    seal::SharedSecret,
    table::{
        Buckets, Fencing, Floor, FloorSink, Heard, Joined, MemberTable, Present, Rebased, Relay, RelaySink, Renewal,
        TableError, Void,
    },
};
use tidegate_types::{
    bucket::BucketId,
    epoch::Epoch,
    member::Member,
    route::{ShardId, Topology},
    settings::Secret,
    snapshot::Xid,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_util::sync::CancellationToken;

pub const SHARD: ShardId = ShardId(0);
pub const LEASE: Duration = Duration::from_secs(1);
const LINEAGE: u64 = 1;

/// The table of one shard, as PostgreSQL keeps it.
#[derive(Debug, Default)]
pub struct Database {
    rows: Mutex<HashMap<Arc<str>, (Member, bool)>>,
    xids: AtomicU64,
    pub epoch: AtomicU64,
}

impl Database {
    pub fn new() -> Arc<Self> {
        Arc::new(Self { epoch: AtomicU64::new(1), ..Self::default() })
    }

    fn epoch(&self) -> Epoch {
        Epoch(self.epoch.load(Ordering::SeqCst))
    }

    fn next_xid(&self) -> Xid {
        Xid(self.xids.fetch_add(1, Ordering::SeqCst) + 1)
    }

    fn live(&self) -> Vec<Member> {
        self.rows.lock().values().filter(|(_, fenced)| !fenced).map(|(row, _)| row.clone()).collect()
    }

    /// Loses the row of a member, as a promotion may.
    pub fn lose(&self, id: &str) {
        self.rows.lock().remove(id);
    }

    /// The row of a member, and whether it is fenced.
    pub fn row(&self, id: &str) -> Option<(Member, bool)> {
        self.rows.lock().get(id).cloned()
    }
}

/// How one gateway reaches the table.
#[derive(Debug)]
pub struct Table {
    database: Arc<Database>,
    /// Every order fails.
    pub cut: AtomicBool,
}

type Answer<'a, T> = BoxFuture<'a, Result<T, TableError>>;

impl Table {
    fn order<'a, T: Send + 'a>(
        &'a self,
        order: impl FnOnce(&Database) -> Result<T, TableError> + Send + 'a,
    ) -> Answer<'a, T> {
        Box::pin(async move {
            if self.cut.load(Ordering::SeqCst) {
                return Err(TableError("cut off".into()));
            }
            order(&self.database)
        })
    }
}

impl MemberTable for Table {
    fn join<'a>(&'a self, _: ShardId, row: &'a Member) -> Answer<'a, Joined> {
        self.order(move |database| {
            let mut rows = database.rows.lock();
            if rows.get(&row.id).is_some_and(|(known, _)| known.incarnation >= row.incarnation) {
                return Err(TableError("a later incarnation has joined".into()));
            }
            rows.insert(row.id.clone(), (Member { beat: 0, ..row.clone() }, false));
            drop(rows);
            Ok(Joined { epoch: database.epoch(), base: database.next_xid() })
        })
    }

    fn renew<'a>(&'a self, _: ShardId, row: &'a Member) -> Answer<'a, Renewal> {
        self.order(move |database| {
            match database.rows.lock().get_mut(&row.id) {
                Some((known, false)) if known.incarnation == row.incarnation => known.beat += 1,
                _ => return Ok(Renewal::NoRow),
            }
            Ok(Renewal::Done { epoch: database.epoch(), members: database.live() })
        })
    }

    fn fence<'a>(&'a self, _: ShardId, row: &'a Member) -> Answer<'a, Fencing> {
        self.order(move |database| match database.rows.lock().get_mut(&row.id) {
            Some((known, fenced)) if !*fenced && known.incarnation == row.incarnation => {
                if known.beat != row.beat {
                    return Ok(Fencing::Alive(known.clone()));
                }
                *fenced = true;
                Ok(Fencing::Done)
            }
            _ => Ok(Fencing::Done),
        })
    }

    fn members(&self, _: ShardId) -> Answer<'_, Present> {
        self.order(|database| Ok(Present { epoch: database.epoch(), members: database.live() }))
    }

    fn leave<'a>(&'a self, _: ShardId, row: &'a Member) -> Answer<'a, ()> {
        self.order(move |database| {
            database.rows.lock().remove(&row.id);
            Ok(())
        })
    }
}

/// Remembers what it was told.
#[derive(Debug, Default)]
pub struct Sink {
    pub floors: Mutex<Vec<Floor>>,
    pub voids: Mutex<Vec<Void>>,
    pub bases: Mutex<Vec<Xid>>,
    pub relays: Mutex<Vec<Relay>>,
}

impl Sink {
    pub fn raised(&self) -> Vec<u64> {
        self.floors.lock().iter().map(|floor| floor.xid.0).collect()
    }
}

impl FloorSink for Sink {
    fn raise(&self, floor: &Floor) -> Heard {
        self.floors.lock().push(floor.clone());
        if floor.lineage == LINEAGE { Heard::Raised } else { Heard::OtherLineage(SHARD) }
    }

    fn void(&self, void: &Void) {
        self.voids.lock().push(void.clone());
    }

    fn rebase(&self, _: ShardId, _: Epoch, base: Xid) -> Rebased {
        self.bases.lock().push(base);
        Rebased::Yes
    }
}

impl RelaySink for Sink {
    fn relayed(&self, _: &Arc<str>, relay: Relay) {
        self.relays.lock().push(relay);
    }
}

/// A gateway.
pub struct Gateway {
    pub cluster: Cluster,
    pub leases: Leases,
    pub table: Arc<Table>,
    pub sink: Arc<Sink>,
    pub database: Arc<Database>,
    pub registry: Registry,
    stop: CancellationToken,
    running: tokio::task::JoinHandle<()>,
}

/// How a gateway differs from the others.
#[derive(Debug, Default)]
pub struct Ways<'a> {
    /// Another secret.
    pub secret: Option<&'a str>,
    /// Where others reach it instead.
    pub advertise: Option<String>,
}

impl Gateway {
    pub async fn start(id: &str, database: &Arc<Database>) -> Self {
        Self::with(id, database, Ways::default()).await
    }

    pub async fn with(id: &str, database: &Arc<Database>, ways: Ways<'_>) -> Self {
        let topology = Arc::new(Topology::new([Arc::from("a")]));
        let leases = Leases::new(1, Clock::of_machine());
        let mut registry = Registry::default();
        let table = Arc::new(Table { database: database.clone(), cut: AtomicBool::new(false) });
        let sink = Arc::new(Sink::default());
        let secret = ways.secret.unwrap_or("the same in every gateway").to_owned();
        let bound = Cluster::bind(Setup {
            id: id.into(),
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            advertise: ways.advertise,
            secret: SharedSecret::new(&Secret::new(secret)),
            terms: Terms::of(LEASE),
            metrics: Metrics::register(&mut registry, &topology, &leases),
            topology,
            leases: leases.clone(),
            table: table.clone(),
            sink: sink.clone(),
        });
        let bound = bound.await.unwrap();
        let (cluster, stop) = (bound.handle(), CancellationToken::new());
        cluster.on_relay(sink.clone());
        let running = tokio::spawn(bound.run(stop.clone()));
        Self { cluster, leases, table, sink, database: database.clone(), registry, stop, running }
    }

    /// Waits until it holds its lease and has contact with these.
    pub async fn knows(&self, others: &[&str]) {
        until("it holds its lease and knows the others", async || {
            let connected = |id: &&str| self.contact(id) == Some(Contact::Connected);
            self.leases.holds(SHARD) && others.iter().all(connected)
        })
        .await;
    }

    /// A transaction of this gateway: begun, told, and how that ended.
    pub async fn write(&self) -> (u64, Result<(), Unheard>) {
        self.write_of(LINEAGE).await
    }

    pub async fn write_of(&self, lineage: u64) -> (u64, Result<(), Unheard>) {
        let (xid, members) = (self.database.next_xid(), self.database.live());
        let told = self.cluster.raise(Intent {
            shard: SHARD,
            epoch: self.database.epoch(),
            lineage,
            digest: 5,
            xid,
            buckets: Buckets::These([BucketId(xid.0)].into()),
            members: &members,
        });
        (xid.0, told.await)
    }

    /// Leaves, and waits until it has.
    pub async fn leave(self) {
        self.stop.cancel();
        self.running.await.unwrap();
    }

    /// Whether it is connected to another.
    pub fn contact(&self, other: &str) -> Option<Contact> {
        self.cluster.members().iter().find(|member| member.id == other)?.contact
    }

    /// The sum of every sample of a metric.
    pub fn metric(&self, name: &str) -> u64 {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).unwrap();
        let values = text.lines().filter(|line| line.starts_with(name)).filter_map(|line| line.rsplit(' ').next());
        values.filter_map(|value| value.parse::<u64>().ok()).sum()
    }
}

/// A gateway with threads of its own, to be killed with them.
pub struct Mortal {
    pub leases: Leases,
    gateway: Gateway,
    runtime: tokio::runtime::Runtime,
}

impl Mortal {
    pub async fn start(id: &'static str, database: &Arc<Database>) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let database = database.clone();
        let gateway = runtime.spawn(async move { Gateway::start(id, &database).await }).await.unwrap();
        until("it holds its lease", async || gateway.leases.holds(SHARD)).await;
        Self { leases: gateway.leases.clone(), gateway, runtime }
    }

    /// Is no more, without a word.
    pub fn die(self) {
        self.runtime.shutdown_background();
        drop(self.gateway);
    }
}

/// What a proxy does with what a gateway sends to the one behind it.
#[derive(Debug, Default)]
pub struct Way {
    /// Ends every connection, and refuses new ones.
    pub cut: AtomicBool,
    /// Takes what is sent and passes nothing on.
    pub swallow: AtomicBool,
    /// Flips a bit in the next bytes.
    pub flip: AtomicBool,
    /// Sends the next bytes twice.
    pub repeat: AtomicBool,
}

/// A proxy in front of an address that is told later.
pub struct Proxy {
    pub address: SocketAddr,
    pub way: Arc<Way>,
    pub target: Arc<Mutex<Option<SocketAddr>>>,
}

impl Proxy {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (way, target) = (Arc::new(Way::default()), Arc::new(Mutex::new(None)));
        let (at, behind) = (way.clone(), target.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let target = *behind.lock();
                let (Some(target), false) = (target, at.cut.load(Ordering::SeqCst)) else { continue };
                tokio::spawn(pass(stream, target, at.clone()));
            }
        });
        Self { address, way, target }
    }
}

async fn pass(front: TcpStream, target: SocketAddr, way: Arc<Way>) {
    let Ok(back) = TcpStream::connect(target).await else { return };
    let (mut from, mut answers) = front.into_split();
    let (mut answering, mut to) = back.into_split();
    let cut = async {
        while !way.cut.load(Ordering::SeqCst) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let forth = async {
        let mut bytes = [0; 4096];
        while let Ok(count @ 1..) = from.read(&mut bytes).await {
            if way.swallow.load(Ordering::SeqCst) {
                continue;
            }
            if way.flip.swap(false, Ordering::SeqCst) {
                bytes[count / 2] ^= 1;
            }
            let repeats = if way.repeat.swap(false, Ordering::SeqCst) { 2 } else { 1 };
            for _ in 0..repeats {
                if to.write_all(&bytes[..count]).await.is_err() {
                    return;
                }
            }
        }
    };
    let back = async { drop(tokio::io::copy(&mut answering, &mut answers).await) };
    tokio::select! { () = cut => {}, () = forth => {}, () = back => {} }
}

/// A gateway behind a proxy, as the others reach it.
pub async fn behind_a_proxy(id: &str, database: &Arc<Database>) -> (Gateway, Proxy) {
    let proxy = Proxy::start().await;
    // Where it listens is known only afterwards; its row names the proxy.
    let ways = Ways { advertise: Some(proxy.address.to_string()), ..Ways::default() };
    let gateway = Gateway::with(id, database, ways).await;
    *proxy.target.lock() = Some(gateway.cluster.listens());
    (gateway, proxy)
}

/// Waits for a condition that something else brings about.
pub async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let waited = tokio::time::timeout(Duration::from_secs(30), async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    assert!(waited.await.is_ok(), "waited in vain until {what}");
}
