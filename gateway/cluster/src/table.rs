//! What a cluster needs of the rest of a gateway: the member tables, and somewhere to raise floors.

use std::{fmt, sync::Arc};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tidegate_types::{
    bucket::BucketId, epoch::Epoch, member::Member, purge::Softness, route::ShardId, snapshot::Xid, tenant::TenantId,
};

/// The member table of every shard. Orders are carried out by a connection of their own: a pool that is used up
/// must not cost a lease.
pub trait MemberTable: fmt::Debug + Send + Sync + 'static {
    /// Writes the row, whose incarnation only rises, and commits; then takes a transaction id of its own and ends it.
    /// On a connection opened for it, so that the database it leads to was looked at just now.
    fn join<'a>(&'a self, shard: ShardId, row: &'a Member) -> BoxFuture<'a, Result<Joined, TableError>>;

    /// Adds a beat to the row, unless it is fenced or of another incarnation, and reads the table.
    fn renew<'a>(&'a self, shard: ShardId, row: &'a Member) -> BoxFuture<'a, Result<Renewal, TableError>>;

    /// Fences a member that has not renewed since the given beat, and commits before it answers.
    fn fence<'a>(&'a self, shard: ShardId, row: &'a Member) -> BoxFuture<'a, Result<Fencing, TableError>>;

    /// The members that are not fenced.
    fn members(&self, shard: ShardId) -> BoxFuture<'_, Result<Present, TableError>>;

    /// Removes the row. To be called after the lease was given up.
    fn leave<'a>(&'a self, shard: ShardId, row: &'a Member) -> BoxFuture<'a, Result<(), TableError>>;
}

/// A committed join.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joined {
    /// The epoch of the connection.
    pub epoch: Epoch,
    /// The transaction id taken after the row was committed: every writer that did not see the row has a lower one.
    pub base: Xid,
}

/// What became of a renewal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Renewal {
    /// It counts.
    Done {
        /// The epoch of the connection.
        epoch: Epoch,
        /// Everybody who is not fenced.
        members: Vec<Member>,
    },
    /// The row is fenced, gone, or of another incarnation.
    NoRow,
}

/// Who is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Present {
    /// The epoch of the connection.
    pub epoch: Epoch,
    /// Everybody who is not fenced.
    pub members: Vec<Member>,
}

/// What became of fencing somebody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fencing {
    /// It is fenced and committed, or was before, or left, or joined anew.
    Done,
    /// It has renewed.
    Alive(Member),
}

/// Why the table could not be asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TableError(pub String);

/// The buckets a message is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Buckets {
    /// These.
    These(Arc<[BucketId]>),
    /// Every bucket of the shard.
    All,
}

/// What another gateway is about to commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Floor {
    /// The shard's name: numbers of shards are each process's own.
    pub shard: Arc<str>,
    /// A digest of the lineage that `xid` belongs to.
    pub lineage: u64,
    /// A digest of the collections that made the buckets.
    pub digest: u64,
    /// Its transaction.
    pub xid: Xid,
    /// What it changes.
    pub buckets: Buckets,
}

/// What another gateway wants forgotten, without a transaction to wait for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Void {
    /// The shard's name; `None`: every shard.
    pub shard: Option<Arc<str>>,
    /// A digest of the collections that made the buckets.
    pub digest: u64,
    /// What is to be forgotten.
    pub what: Forgotten,
    /// Whether rows among it may still be served late.
    pub softness: Softness,
}

/// What is to be forgotten.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Forgotten {
    /// What depends on these buckets.
    Buckets(Buckets),
    /// What these tenants have. Tenants are the same in every gateway.
    Tenants(Arc<[TenantId]>),
}

/// How a floor was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// Raised: nothing older is served from here on.
    Raised,
    /// The shard, as this process knows it, is of another lineage: xids cannot be compared.
    OtherLineage(ShardId),
}

/// Whether a base was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rebased {
    /// It was.
    Yes,
    /// Another epoch has begun, of which the base says nothing: join again.
    OtherEpoch,
}

/// Where floors of other gateways are raised. Does not wait for anything.
pub trait FloorSink: fmt::Debug + Send + Sync + 'static {
    /// Raises floors. When it returns [`Heard::Raised`] they are raised. A shard that this process does not serve
    /// has none.
    fn raise(&self, floor: &Floor) -> Heard;

    /// Voids buckets. When it returns they are void.
    fn void(&self, void: &Void);

    /// Voids everything kept of a shard; from here on only what sees every transaction up to `base` is kept.
    /// Floors that were raised stay.
    fn rebase(&self, shard: ShardId, epoch: Epoch, base: Xid) -> Rebased;
}

/// Something a gateway has for all others, of which the cluster knows nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relay {
    /// What it is about: chosen by who uses it.
    pub channel: u32,
    /// Counts the sender's messages of the channel; a gap means that some were lost.
    pub seq: u64,
    /// The content.
    pub bytes: Bytes,
}

/// Takes what others relay. Does not wait for anything.
pub trait RelaySink: fmt::Debug + Send + Sync + 'static {
    /// A message of another gateway. In order per sender, each at most once, perhaps with gaps.
    fn relayed(&self, from: &Arc<str>, relay: Relay);
}
