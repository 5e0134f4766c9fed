//! The other gateways in front of the same shards. Joins what the cluster knows with store and cache: the member
//! tables, the floors that others raise here, and those that this gateway raises there.

use std::{
    collections::BTreeSet,
    fmt,
    sync::{Arc, Weak},
    time::Duration,
};

use futures_util::future::{BoxFuture, FutureExt, join_all};
use tidegate_cache::{Holding, Raised, Validity};
use tidegate_cluster::{
    Cluster, Intent, Leases, Unheard,
    table::{
        Buckets, Fencing, Floor, FloorSink, Forgotten, Heard, Joined, MemberTable, Present, Rebased, Relay, RelaySink,
        Renewal, TableError, Void,
    },
};
use tidegate_store::{PreparedWrite, Store, StoreError};
use tidegate_types::{
    bucket::BucketId,
    epoch::Epoch,
    member::Member,
    problem::{Problem, ProblemKind, codes},
    purge::Softness,
    route::ShardId,
    snapshot::Xid,
    tenant::TenantId,
};

use crate::{
    feed,
    gateway::{Gateway, Shared},
    monitor,
};

/// When to repeat a write that another gateway has not acknowledged.
const RETRY_DELAY: Duration = Duration::from_secs(1);

impl Gateway {
    /// The cluster this gateway is part of, if it is.
    #[must_use]
    pub fn cluster(&self) -> Option<&Cluster> {
        self.0.cluster.get()
    }

    /// Tells this cluster of every write. To be called before the first request; the first cluster stays.
    pub fn join_cluster(&self, cluster: Cluster) {
        self.0.cluster.get_or_init(|| cluster);
    }

    /// Serves from the cache only while these leases hold. To be called before the first request.
    pub fn guard(&self, leases: Leases) {
        self.0.cache.guard(Arc::new(Guard(leases)));
    }

    /// Where floors of other gateways are raised.
    #[must_use]
    pub fn floor_sink(&self) -> Arc<dyn FloorSink> {
        // Not the gateway itself: the cluster, which holds the sink, is part of it.
        Arc::new(Floors(Arc::downgrade(&self.0)))
    }

    /// Where what others relay goes.
    #[must_use]
    pub fn relay_sink(&self) -> Arc<dyn RelaySink> {
        Arc::new(Relays(Arc::downgrade(&self.0)))
    }

    /// The member tables.
    #[must_use]
    pub fn member_table(&self) -> Arc<dyn MemberTable> {
        Arc::new(Tables(self.0.store.clone()))
    }
}

/// The leases as the cache asks for them.
#[derive(Debug)]
struct Guard(Leases);

impl Validity for Guard {
    fn holds(&self, shard: ShardId) -> Holding {
        if self.0.holds(shard) { Holding::Held } else { Holding::Lapsed }
    }
}

/// The member tables of a store.
#[derive(Debug)]
struct Tables(Store);

fn failed(error: StoreError) -> TableError {
    TableError(error.to_string())
}

impl MemberTable for Tables {
    fn join<'a>(&'a self, shard: ShardId, row: &'a Member) -> BoxFuture<'a, Result<Joined, TableError>> {
        async move {
            let joined = self.0.members(shard).map_err(failed)?.join(row).await.map_err(failed)?;
            Ok(Joined { epoch: joined.epoch, base: joined.base })
        }
        .boxed()
    }

    fn renew<'a>(&'a self, shard: ShardId, row: &'a Member) -> BoxFuture<'a, Result<Renewal, TableError>> {
        async move {
            let renewed = self.0.members(shard).map_err(failed)?.renew(row).await.map_err(failed)?;
            Ok(renewed
                .map_or(Renewal::NoRow, |renewed| Renewal::Done { epoch: renewed.epoch, members: renewed.members }))
        }
        .boxed()
    }

    fn fence<'a>(&'a self, shard: ShardId, row: &'a Member) -> BoxFuture<'a, Result<Fencing, TableError>> {
        async move {
            let alive = self.0.members(shard).map_err(failed)?.fence(row).await.map_err(failed)?;
            Ok(alive.map_or(Fencing::Done, Fencing::Alive))
        }
        .boxed()
    }

    fn members(&self, shard: ShardId) -> BoxFuture<'_, Result<Present, TableError>> {
        async move {
            let present = self.0.members(shard).map_err(failed)?.all().await.map_err(failed)?;
            Ok(Present { epoch: present.epoch, members: present.members })
        }
        .boxed()
    }

    fn leave<'a>(&'a self, shard: ShardId, row: &'a Member) -> BoxFuture<'a, Result<(), TableError>> {
        async move { self.0.members(shard).map_err(failed)?.leave(row).await.map_err(failed) }.boxed()
    }
}

/// Where floors of others are raised.
struct Floors(Weak<Shared>);

impl fmt::Debug for Floors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Floors").finish_non_exhaustive()
    }
}

impl Floors {
    /// The buckets that a message names, if they mean the same here.
    fn understood<'b>(shared: &Shared, digest: u64, buckets: &'b Buckets) -> Option<&'b [BucketId]> {
        match buckets {
            Buckets::These(these) if shared.live.hold().digest == digest => Some(these),
            // What another set of collections calls the change is not known here: it may be anything.
            Buckets::These(_) | Buckets::All => None,
        }
    }
}

impl FloorSink for Floors {
    fn raise(&self, floor: &Floor) -> Heard {
        // A gateway that is gone serves nothing.
        let Some(shared) = self.0.upgrade() else { return Heard::Raised };
        let Some(shard) = shared.topology.by_name(&floor.shard) else { return Heard::Raised };
        // The epoch belongs to the lineage. If another begins now, its base is taken later than this transaction's
        // id was given.
        let epoch = match shared.store.lineage(shard) {
            Some((epoch, lineage)) if lineage.digest() == floor.lineage => epoch,
            Some(_) => return Heard::OtherLineage(shard),
            // Never connected: nothing is kept of it.
            None => return Heard::Raised,
        };
        match Self::understood(&shared, floor.digest, &floor.buckets) {
            Some(these) => {
                let remembered = || feed::remembered(&shared.live.hold().collections, these);
                shared.feeds.made(shard, epoch, floor.xid, feed::Asked::Nobody, remembered);
                match shared.cache.raise(shard, epoch, floor.xid, these) {
                    Raised::Held => Heard::Raised,
                    Raised::EpochOver => Heard::OtherLineage(shard),
                }
            }
            // Fills resume when the transaction has ended, as with any floor.
            None => match shared.cache.rebase(shard, epoch, floor.xid) {
                Ok(()) => Heard::Raised,
                Err(_) => Heard::OtherLineage(shard),
            },
        }
    }

    fn void(&self, void: &Void) {
        let Some(shared) = self.0.upgrade() else { return };
        let shards = match &void.shard {
            Some(name) => shared.topology.by_name(name).into_iter().collect(),
            None => shared.topology.all(),
        };
        for shard in shards {
            match &void.what {
                Forgotten::Buckets(buckets) => match (Self::understood(&shared, void.digest, buckets), void.softness) {
                    (Some(these), Softness::Hard) => shared.cache.void(shard, these),
                    (Some(these), Softness::Soft) => shared.cache.soften(shard, these),
                    (None, _) => shared.cache.void_every_bucket(shard),
                },
                Forgotten::Tenants(tenants) => {
                    tenants.iter().for_each(|tenant| shared.cache.purge_tenant(shard, *tenant, void.softness));
                }
            }
        }
    }

    fn rebase(&self, shard: ShardId, epoch: Epoch, base: Xid) -> Rebased {
        match self.0.upgrade().map(|shared| shared.cache.rebase(shard, epoch, base)) {
            Some(Ok(())) => Rebased::Yes,
            Some(Err(_)) | None => Rebased::OtherEpoch,
        }
    }
}

/// Where relayed messages go, by what they begin with.
struct Relays(Weak<Shared>);

impl fmt::Debug for Relays {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Relays").finish_non_exhaustive()
    }
}

impl RelaySink for Relays {
    fn relayed(&self, from: &Arc<str>, relay: Relay) {
        let Some(shared) = self.0.upgrade() else { return };
        match relay.bytes.first() {
            Some(&feed::relay::KIND) => feed::relay::relayed(&shared, from, relay),
            Some(&monitor::told::KIND) => monitor::told::heard(&shared, relay.bytes),
            // Of a gateway that is newer than this one.
            _ => {}
        }
    }
}

/// Before COMMIT: until everybody else has raised what the transaction changes, or is fenced.
pub(crate) async fn tell(
    shared: &Shared,
    shard: ShardId,
    digest: u64,
    prepared: &PreparedWrite,
    buckets: Vec<BucketId>,
) -> Result<(), Problem> {
    let (Some(cluster), Some(xid)) = (shared.cluster.get(), prepared.xid) else { return Ok(()) };
    let members = prepared.members.as_deref().ok_or_else(unknown)?;
    let intent = Intent {
        shard,
        epoch: prepared.epoch,
        lineage: prepared.lineage,
        digest,
        xid,
        buckets: Buckets::These(buckets.into()),
        members,
    };
    cluster.raise(intent).await.map_err(|unheard| refused(&unheard))
}

/// After COMMIT: what changed without a transaction of those shards.
pub(crate) async fn void_beside(
    shared: &Shared,
    spared: Option<ShardId>,
    digest: u64,
    buckets: &[BucketId],
    softness: Softness,
) {
    let shards = shared.topology.all().into_iter().filter(|shard| Some(*shard) != spared);
    for outcome in join_all(shards.map(|shard| void(shared, shard, digest, buckets.to_vec(), softness))).await {
        if let Err(unheard) = outcome {
            tracing::warn!(%unheard, "a purge has not reached every gateway yet; it goes on");
        }
    }
}

/// Voids buckets in every other gateway; gives who has done so.
pub(crate) async fn void(
    shared: &Shared,
    shard: ShardId,
    digest: u64,
    buckets: Vec<BucketId>,
    softness: Softness,
) -> Result<BTreeSet<Arc<str>>, Unheard> {
    match shared.cluster.get() {
        Some(cluster) if !buckets.is_empty() => {
            let what = Forgotten::Buckets(Buckets::These(buckets.into()));
            cluster.void(Some(shard), digest, &what, softness).await
        }
        _ => Ok(BTreeSet::new()),
    }
}

/// Has every other gateway forget tenants, on every shard; gives who has done so.
pub(crate) async fn purge_tenants(
    shared: &Shared,
    digest: u64,
    tenants: Vec<TenantId>,
    softness: Softness,
) -> Result<BTreeSet<Arc<str>>, Unheard> {
    match shared.cluster.get() {
        Some(cluster) if !tenants.is_empty() => {
            cluster.void(None, digest, &Forgotten::Tenants(tenants.into()), softness).await
        }
        _ => Ok(BTreeSet::new()),
    }
}

/// Cannot be: a store of several gateways always asks.
fn unknown() -> Problem {
    Problem::new(ProblemKind::Internal, "XX000", "The gateway did not ask who else serves the shard")
}

fn refused(unheard: &Unheard) -> Problem {
    tracing::warn!(%unheard, "a write was refused");
    Problem::new(ProblemKind::ShardUnavailable, codes::CLUSTER, "Another gateway did not acknowledge the write in time")
        .details("Nothing was written: it might have gone on serving the old row.")
        .hint("Try again. If it persists, look at the connections between the gateways.")
        .retry_after(RETRY_DELAY)
}
