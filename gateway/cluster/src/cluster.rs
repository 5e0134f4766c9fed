//! The cluster as the rest of a gateway sees it.

use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    sync::{Arc, OnceLock},
};

use parking_lot::Mutex;
use ring::rand::{SecureRandom, SystemRandom};
use tidegate_types::{
    member::Member,
    route::{ShardId, Topology},
};
use tokio::{net::TcpListener, sync::Notify};
use tokio_util::sync::CancellationToken;

use crate::{
    driver,
    lease::Terms,
    leases::Leases,
    listener,
    metrics::Metrics,
    peer::{self, Contact, Peer},
    seal::{HandshakeError, SharedSecret},
    sightings::Sightings,
    table::{FloorSink, MemberTable, Relay, RelaySink},
    wire::MAX_RELAY,
};

/// What a cluster is made of.
#[derive(Debug)]
pub struct Setup {
    /// This process among all, also those that were: unique.
    pub id: Arc<str>,
    /// Where to listen for other gateways.
    pub listen: SocketAddr,
    /// Where others reach it, host and port; the port 0 stands for the one that was taken. `None`: at `listen`.
    pub advertise: Option<String>,
    /// What all gateways know.
    pub secret: SharedSecret,
    /// How long leases are, and what follows from it.
    pub terms: Terms,
    /// The shards.
    pub topology: Arc<Topology>,
    /// The leases, as requests ask for them.
    pub leases: Leases,
    /// The member tables.
    pub table: Arc<dyn MemberTable>,
    /// Where floors are raised.
    pub sink: Arc<dyn FloorSink>,
    /// Counters; see [`Metrics::register`].
    pub metrics: Metrics,
}

/// Why there is no cluster.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// The listener cannot work.
    #[error("[cluster] listen {address}: {source}")]
    Listen {
        /// Where it should have listened.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// There are no random numbers.
    #[error("{0}")]
    Random(#[from] HandshakeError),
}

/// This gateway among the others. Clones share it.
#[derive(Debug, Clone)]
pub struct Cluster(pub(crate) Arc<Shared>);

/// What its parts share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) me: Arc<str>,
    pub(crate) listens: SocketAddr,
    pub(crate) address: Arc<str>,
    pub(crate) secret: SharedSecret,
    pub(crate) terms: Terms,
    pub(crate) topology: Arc<Topology>,
    pub(crate) leases: Leases,
    pub(crate) table: Arc<dyn MemberTable>,
    pub(crate) sink: Arc<dyn FloorSink>,
    pub(crate) relays: OnceLock<Arc<dyn RelaySink>>,
    pub(crate) sightings: Sightings,
    pub(crate) metrics: Metrics,
    // Held for a map operation.
    peers: Mutex<HashMap<Arc<str>, Arc<Peer>>>,
    /// The members as each shard's table last showed them, for operators and relays.
    rosters: Box<[Mutex<Vec<Member>>]>,
    /// Wakes the holder of a suspended lease.
    wake: Box<[Notify]>,
}

/// A member as operators see it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct MemberState {
    /// The shard whose table it is from.
    pub shard: String,
    /// The process.
    pub id: String,
    /// How often it joined.
    pub incarnation: i64,
    /// Where it is reached.
    pub address: String,
    /// Milliseconds of its lease.
    pub lease_ms: u64,
    /// Whether this is the gateway that was asked; then what is left of its lease, in milliseconds.
    pub own_lease_left_ms: Option<u64>,
    /// Whether this gateway has a connection to it. `None` of itself.
    pub contact: Option<Contact>,
}

/// A cluster that listens and does not run yet.
#[derive(Debug)]
pub struct Bound {
    shared: Arc<Shared>,
    listener: TcpListener,
}

impl Bound {
    /// The handle.
    #[must_use]
    pub fn handle(&self) -> Cluster {
        Cluster(self.shared.clone())
    }

    /// Joins at every shard, keeps the leases, answers other gateways. When told to stop, leaves: writers wait
    /// for this gateway no more, and nothing is served from its cache.
    pub async fn run(self, stop: CancellationToken) {
        let Self { shared, listener } = self;
        // Others' writes are acknowledged until this gateway has left.
        let left = CancellationToken::new();
        let listening = tokio::spawn(listener::run(listener, shared.clone(), left.clone()));
        let shards = shared.topology.all();
        let drivers: Vec<_> =
            shards.into_iter().map(|shard| tokio::spawn(driver::run(shared.clone(), shard, stop.clone()))).collect();
        for driver in drivers {
            if let Err(error) = driver.await {
                tracing::error!(%error, "the keeper of a lease failed");
            }
        }
        left.cancel();
        if let Err(error) = listening.await {
            tracing::error!(%error, "the cluster listener failed");
        }
        shared.peers.lock().clear();
    }
}

impl Cluster {
    /// Binds the listener.
    ///
    /// # Errors
    /// [`ClusterError::Listen`].
    pub async fn bind(setup: Setup) -> Result<Bound, ClusterError> {
        let Setup { id, listen, advertise, secret, terms, topology, leases, table, sink, metrics } = setup;
        let failed = |source| ClusterError::Listen { address: listen, source };
        let listener = TcpListener::bind(listen).await.map_err(failed)?;
        let bound = listener.local_addr().map_err(failed)?;
        let address: Arc<str> = advertised(advertise, bound).into();
        let shards = topology.len();
        let shared = Shared {
            me: id,
            listens: bound,
            address,
            secret,
            terms,
            topology,
            leases,
            table,
            sink,
            relays: OnceLock::new(),
            sightings: Sightings::new(shards),
            metrics,
            peers: Mutex::default(),
            rosters: (0..shards).map(|_| Mutex::default()).collect(),
            wake: (0..shards).map(|_| Notify::new()).collect(),
        };
        Ok(Bound { shared: Arc::new(shared), listener })
    }

    /// A name that no other process has or had: `name` and a number drawn by lot.
    ///
    /// # Errors
    /// The system gives no random numbers.
    pub fn unique_id(name: &str) -> Result<Arc<str>, HandshakeError> {
        let mut drawn = [0; 8];
        SystemRandom::new().fill(&mut drawn).map_err(|_| HandshakeError::NoRandom)?;
        Ok(format!("{name}-{:016x}", u64::from_le_bytes(drawn)).into())
    }

    /// This process's name among the members.
    #[must_use]
    pub fn id(&self) -> &Arc<str> {
        &self.0.me
    }

    /// Where other gateways reach it.
    #[must_use]
    pub fn address(&self) -> &Arc<str> {
        &self.0.address
    }

    /// Where it listens for them.
    #[must_use]
    pub fn listens(&self) -> SocketAddr {
        self.0.listens
    }

    /// Has what others relay told to `sink`. To be called before the cluster runs; the first one stays.
    pub fn on_relay(&self, sink: Arc<dyn RelaySink>) {
        self.0.relays.get_or_init(|| sink);
    }

    /// Sends something to every gateway there is contact with. Not acknowledged: who was not reached sees the gap
    /// in its numbers. Gives how many it is on its way to.
    pub fn relay(&self, relay: &Relay) -> usize {
        if relay.bytes.len() > MAX_RELAY {
            tracing::error!(channel = relay.channel, bytes = relay.bytes.len(), "a relayed message is too large");
            return 0;
        }
        let peers: Vec<Arc<Peer>> = self.0.peers.lock().values().cloned().collect();
        peers.iter().filter(|peer| peer.relay(relay.clone())).count()
    }

    /// Makes a change after which nothing that was kept may be served, such as another set of collections: every
    /// lease ends before it, and this process joins again after it.
    pub fn rejoin_after<T>(&self, change: impl FnOnce() -> T) -> T {
        let changed = self.0.leases.suspended(change);
        self.0.wake.iter().for_each(Notify::notify_one);
        changed
    }

    /// The members of every shard, as its table last showed them.
    #[must_use]
    pub fn members(&self) -> Vec<MemberState> {
        let shards = self.0.topology.all();
        shards.into_iter().flat_map(|shard| self.0.members_of(shard)).collect()
    }
}

impl Shared {
    fn members_of(&self, shard: ShardId) -> Vec<MemberState> {
        let millis = |time: std::time::Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let roster = self.rosters.get(usize::from(shard.0)).map(|roster| roster.lock().clone()).unwrap_or_default();
        let peers = self.peers.lock();
        let state = |member: Member| {
            let own = member.id == self.me;
            MemberState {
                shard: self.topology.name(shard).to_owned(),
                own_lease_left_ms: own.then(|| millis(self.leases.remaining(shard))),
                contact: (!own).then(|| peers.get(&member.id).map_or(Contact::Connecting, |peer| peer.contact())),
                id: member.id.to_string(),
                incarnation: member.incarnation,
                address: member.address.to_string(),
                lease_ms: millis(member.lease),
            }
        };
        roster.into_iter().map(state).collect()
    }

    /// The connection to a member. Made when it is first needed; made anew where the address has changed.
    pub(crate) fn peer(&self, member: &Member) -> Arc<Peer> {
        let mut peers = self.peers.lock();
        if let Some(peer) = peers.get(&member.id)
            && peer.address == member.address
        {
            return peer.clone();
        }
        let terms = peer::Terms {
            me: self.me.clone(),
            secret: self.secret.clone(),
            silence: self.terms.lease,
            metrics: self.metrics.clone(),
        };
        let peer = Arc::new(Peer::start(member.id.clone(), member.address.clone(), terms));
        peers.insert(member.id.clone(), peer.clone());
        peer
    }

    /// Notes the members of a shard: connects to those who are new, and forgets who is a member nowhere.
    pub(crate) fn roster(&self, shard: ShardId, members: Vec<Member>) {
        for member in members.iter().filter(|member| member.id != self.me) {
            self.peer(member);
        }
        self.sightings.keep(shard, &members);
        if let Some(roster) = self.rosters.get(usize::from(shard.0)) {
            *roster.lock() = members;
        }
        let known: Vec<Arc<str>> = self
            .rosters
            .iter()
            .flat_map(|roster| roster.lock().iter().map(|m| m.id.clone()).collect::<Vec<_>>())
            .collect();
        self.peers.lock().retain(|id, _| known.contains(id));
    }

    /// Ends the lease at a shard until this process has joined again.
    pub(crate) fn suspend(&self, shard: ShardId) {
        self.leases.suspend(shard);
        if let Some(wake) = self.wake.get(usize::from(shard.0)) {
            wake.notify_one();
        }
    }

    /// When a lease was suspended.
    pub(crate) async fn woken(&self, shard: ShardId) {
        match self.wake.get(usize::from(shard.0)) {
            Some(wake) => wake.notified().await,
            None => std::future::pending().await,
        }
    }
}

fn advertised(advertise: Option<String>, bound: SocketAddr) -> String {
    match advertise {
        None => bound.to_string(),
        Some(address) => match address.strip_suffix(":0") {
            Some(host) => format!("{host}:{}", bound.port()),
            None => address,
        },
    }
}
