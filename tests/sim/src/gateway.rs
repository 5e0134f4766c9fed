//! A gateway process: the real cache, and around it what the pipeline and the cluster do for a read, a write, a
//! lease.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    rc::{Rc, Weak},
    sync::Arc,
};

use bytes::Bytes;
use prometheus_client::registry::Registry;
use tidegate_cache_with_bugs::{Cache, EntryKey, Fetched, FillPlan, Raised, Served};
use tidegate_types::{
    bucket::{BucketId, RelationSeed},
    collection::CollectionId,
    epoch::{Epoch, Epochs},
    key::{KeyValue, RowKey},
    problem::{Problem, ProblemKind, codes},
    query::{ColumnRef, Projection, SelectItem},
    request::TenantId,
    route::ShardId,
    settings::CacheSettings,
    snapshot::{Snapshot, Xid},
};

use crate::{
    bugs::Bug,
    executor::{Node, Sim},
    identity::{Life, Link},
    lease::Lease,
    network::Network,
    postgres::{Lost, Server},
    session::Shard,
    shape::Shape,
    shared::SharedTier,
    standby::Standbys,
};

/// What gateways share.
#[derive(Clone)]
pub struct Surroundings {
    /// The scheduler.
    pub sim: Sim,
    /// What this run is like.
    pub shape: Shape,
    /// The shards.
    pub shards: Rc<[Shard]>,
    /// The network between gateways.
    pub network: Network,
    /// The processes that run now, by gateway.
    pub processes: Rc<RefCell<BTreeMap<u8, Rc<Gateway>>>>,
    /// The tier that gateways share, if there is one.
    pub tier: Option<SharedTier>,
    /// The error that this run has.
    pub bug: Option<Bug>,
}

/// One life of a gateway.
pub struct Gateway {
    /// Which one.
    pub id: u8,
    /// What it shares.
    pub around: Surroundings,
    /// The cache.
    pub cache: Cache,
    /// The epochs of the shards.
    pub epochs: Epochs,
    /// Per shard.
    pub links: Box<[Link]>,
    /// The leases of the shards.
    pub lease: Arc<Lease>,
    /// What is kept of the shards' standbys.
    pub(crate) standbys: Box<[RefCell<Standbys>]>,
    me: Weak<Self>,
}

/// How a gateway answers what it cannot do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// It did not happen and will not.
    Refused,
    /// It may have happened, or may yet.
    Unknown,
}

const SEED: RelationSeed = RelationSeed(1);

/// The bucket of a row.
#[must_use]
pub fn bucket(key: u32) -> BucketId {
    BucketId::row(SEED, &RowKey::single(KeyValue::Int(i64::from(key))))
}

/// Two entries may be kept of each row; they share its bucket.
fn entry_key(shard: usize, key: u32, variant: u32) -> EntryKey {
    let projection = if variant == 0 {
        Projection::Whole
    } else {
        let column = ColumnRef { name: "name".into(), path: Vec::new() };
        Projection::Items(Arc::new([SelectItem::Column { alias: None, column, cast: None }]))
    };
    EntryKey {
        tenant: TenantId(1),
        collection: CollectionId(0),
        shard: shard_id(shard),
        key: RowKey::single(KeyValue::Int(i64::from(key))),
        projection,
        variant: None,
    }
}

/// A shard's number as the cache knows it.
#[must_use]
pub fn shard_id(shard: usize) -> ShardId {
    ShardId(u16::try_from(shard).unwrap_or(u16::MAX))
}

fn value_of(served: &Served) -> Option<u64> {
    served.row.as_ref().and_then(|row| std::str::from_utf8(&row.json).ok()?.parse().ok())
}

fn unavailable() -> Problem {
    Problem::new(ProblemKind::ShardUnavailable, codes::SHARD_UNAVAILABLE, "the connection was lost")
}

impl Gateway {
    /// A process that has just started, with its background tasks.
    #[must_use]
    pub fn start(id: u8, around: &Surroundings) -> Rc<Self> {
        let shape = &around.shape;
        let settings = CacheSettings {
            l1_bytes: 2 << 20,
            list_bytes: 1 << 20,
            buckets: shape.buckets,
            max_entry_bytes: 1 << 16,
            ttl_jitter: 0.1,
            l2: None,
        };
        let epochs = Epochs::new(around.shards.len());
        let cache = Cache::new(&settings, around.shards.len(), epochs.clone(), &mut Registry::default());
        if let Some(Bug::Cache(bug)) = around.bug {
            cache.choose(bug);
        }
        if let Some(tier) = &around.tier {
            cache.share(tier.l2(around.shards.len()));
        }
        let lease = Arc::new(Lease::new(around.sim.clock(), around.shards.len(), around.bug));
        if shape.gateways > 1 && around.bug != Some(Bug::LeaseUnchecked) {
            cache.guard(lease.clone());
        }
        let shards = 0..around.shards.len();
        let links = shards.clone().map(|i| Link::new(epochs.current(shard_id(i)))).collect();
        let of_shard = |i| RefCell::new(Standbys::new(epochs.current(shard_id(i)), shape.buckets, around.bug));
        let standbys = shards.clone().map(of_shard).collect();
        let around = around.clone();
        let gateway = Rc::new_cyclic(|me| Self { id, around, cache, epochs, links, lease, standbys, me: me.clone() });
        for shard in shards {
            gateway.name_lineage(shard, 1);
            if gateway.around.shape.disasters.shows.is_some() {
                let connecting = gateway.clone();
                gateway.spawn(async move { connecting.keep_connecting(shard).await });
            }
            if gateway.around.shape.lag.is_some() {
                let settling = gateway.clone();
                gateway.spawn(async move { settling.keep_settling(shard).await });
            }
            let keeper = gateway.clone();
            gateway.spawn(async move { keeper.keep_membership(shard).await });
        }
        gateway
    }

    /// Itself, to be held by a task.
    ///
    /// # Panics
    /// Never: it is asked by itself.
    #[must_use]
    pub fn handle(&self) -> Rc<Self> {
        self.me.upgrade().unwrap_or_else(|| unreachable!("it is being used"))
    }

    /// Where its tasks run.
    #[must_use]
    pub fn node(&self) -> Node {
        Node::Gateway(self.id)
    }

    /// Starts one of its tasks.
    pub fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        self.around.sim.spawn(self.node(), task);
    }

    /// Whether this run has this error.
    #[must_use]
    pub fn has(&self, bug: Bug) -> bool {
        self.around.bug == Some(bug)
    }

    /// Reads a row, from the cache if it may.
    ///
    /// # Errors
    /// The shard could not be reached.
    pub async fn read(&self, shard: usize, key: u32, variant: u32) -> Result<Option<u64>, Failure> {
        let entry = entry_key(shard, key, variant);
        if let Some(served) = self.cache.get(&entry, None) {
            self.around.sim.note("hit", [u64::from(self.id), u64::from(key), value_of(&served).unwrap_or(0)]);
            return Ok(value_of(&served));
        }
        let served = self.cache.fetch(&entry, self.plan(), || self.load(shard, key)).await;
        match served {
            Ok(served) => {
                self.around.sim.note("missed", [u64::from(self.id), u64::from(key), value_of(&served).unwrap_or(0)]);
                Ok(value_of(&served))
            }
            Err(_) => {
                self.reconnect(shard).await;
                Err(Failure::Refused)
            }
        }
    }

    fn plan(&self) -> FillPlan<'static> {
        FillPlan {
            seed: SEED,
            shared: self.around.tier.as_ref().map(|_| 1),
            ttl: self.around.shape.ttl,
            negative_ttl: self.around.shape.ttl / 4,
            bounds: None,
        }
    }

    async fn load(&self, shard: usize, key: u32) -> Result<Fetched, Problem> {
        let link = &self.links[shard];
        let (timeline, bug) = (link.timeline.get(), self.around.bug);
        // Of the connection, before the query is sent.
        let epoch = link.epoch(timeline);
        let answer = self.around.shards[shard].request(async move |shard| {
            if shard.server.borrow().timeline != timeline {
                return Err(Lost);
            }
            let (value, xmin) = shard.server.borrow().read(key);
            if bug == Some(Bug::SnapshotAfterRow) {
                shard.sim.sleep(crate::session::delay(&shard.sim)).await;
            }
            Ok((value, as_stamped(&shard.server.borrow(), xmin, bug)))
        });
        let (value, snapshot) = answer.await.map_err(|Lost| unavailable())?;
        Ok(fetched(value, snapshot, epoch))
    }

    /// Caches a value that no statement with this snapshot read: what a bug does.
    pub async fn cache_wrongly(&self, shard: usize, key: u32, value: Option<u64>, snapshot: Snapshot, epoch: Epoch) {
        let entry = entry_key(shard, key, 0);
        let load = || {
            let fetched = fetched(value, snapshot.clone(), epoch);
            async move { Ok(fetched) }
        };
        // Nobody asked.
        let _ = self.cache.fetch(&entry, self.plan(), load).await;
    }

    /// Forgets a row.
    pub fn void(&self, shard: usize, key: u32) {
        self.cache.void(shard_id(shard), &[bucket(key)]);
        self.around.sim.note("voided", [u64::from(self.id), u64::from(key), 0]);
    }

    /// Raises the floors of rows by a transaction of an own write, on a connection of this epoch.
    pub fn raise(&self, shard: usize, epoch: Epoch, xid: u64, keys: &[u32]) -> Raised {
        let of_another = u32::from(self.has(Bug::FloorOfAnotherKey)) * 1_000;
        let buckets: Vec<BucketId> =
            keys.iter().map(|key| bucket(key + of_another)).chain([BucketId::relation(SEED)]).collect();
        let raised = match self.around.bug {
            Some(Bug::NoFloor) => Raised::Held,
            _ => self.cache.raise(shard_id(shard), epoch, Xid(xid), &buckets),
        };
        if let Some(mut standbys) = self.standbys(shard) {
            standbys.raise(epoch, Xid(xid), keys);
        }
        self.around.sim.note("raised", [u64::from(self.id), xid, u64::from(keys[0])]);
        raised
    }

    /// Takes another gateway's floors. Where its connection shows another server than this gateway knows, xids
    /// cannot be compared: nothing kept is served until this gateway has joined where the writer writes.
    pub fn heed(&self, shard: usize, life: Life, xid: u64, keys: &[u32]) {
        let epoch = self.observe(shard, life.timeline);
        let link = &self.links[shard];
        if link.timeline.get() == life.timeline && link.shown.get() != life.shown {
            self.lease.end(shard);
            return;
        }
        if self.raise(shard, epoch, xid, keys) == Raised::EpochOver {
            self.lease.end(shard);
        }
    }
}

fn fetched(value: Option<u64>, snapshot: Snapshot, epoch: Epoch) -> Fetched {
    Fetched { json: value.map(|value| Bytes::from(value.to_string())), snapshot: Arc::new(snapshot), epoch }
}

/// The snapshot that an entry is stamped with.
fn as_stamped(server: &Server, row_xmin: u64, bug: Option<Bug>) -> Snapshot {
    let snapshot = server.snapshot();
    let sees_below = |xid: Xid| Snapshot { xmin: xid, xmax: xid, xip: Default::default() };
    match bug {
        Some(Bug::FloorsByLsn) => server.snapshot_by_log(),
        Some(Bug::RunningIgnored) => sees_below(snapshot.xmax),
        Some(Bug::JudgedByRowXmin) => sees_below(Xid(row_xmin + 1)),
        Some(Bug::FillUnchecked) => sees_below(Xid(u64::MAX)),
        _ => snapshot,
    }
}
