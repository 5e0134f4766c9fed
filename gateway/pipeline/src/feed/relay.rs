//! One gateway reads a shard's feed and hands on to the others what it comes to: floors by bucket, not rows.
//!
//! Messages are numbered. Who finds a gap, another sender, or another lineage has doubts: what is told goes on being
//! raised, but no heartbeat counts before a flush whose base was taken after the doubt arose. Whatever was not told
//! committed before that.

use std::{collections::HashMap, sync::Arc};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use parking_lot::Mutex;
use tidegate_cluster::table::{Buckets, Relay};
use tidegate_store::feed::{Beat, FeedHealth, FeedRole};
use tidegate_types::{bucket::BucketId, epoch::Epoch, route::ShardId, snapshot::Xid};

use super::Feeds;
use crate::{gateway::Shared, touch::all};

/// What a message begins with.
pub(crate) const KIND: u8 = 1;
/// Bytes of items in a message, after which another one begins.
const FULL: usize = 24 << 10;
/// Buckets named one by one; of more, all are meant.
const MOST_BUCKETS: usize = 4096;
/// In the place of a count: all buckets.
const ALL: u32 = u32::MAX;

/// What is handed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Item {
    /// A transaction of the shard changed these.
    Floor(Xid, Buckets),
    /// These are void on every other shard.
    Void(Buckets),
    /// A transaction of the shard made these late.
    SoftFloor(Xid, Buckets),
    /// These are late on every other shard.
    SoftVoid(Buckets),
    /// A heartbeat came back.
    Beat(Beat),
    /// Changes may have been missed.
    Flush,
}

/// Messages to the other gateways, of one shard.
#[derive(Debug)]
pub(super) struct Teller {
    shard: Arc<str>,
    channel: u32,
    next: u64,
    items: BytesMut,
}

/// What the items of a message are about.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Head {
    shard: String,
    lineage: u64,
    digest: u64,
}

/// Whose messages were heard last, by channel, and the number that comes next.
pub(super) type Heard = Mutex<HashMap<u32, (Arc<str>, u64)>>;

impl Teller {
    pub(super) fn new(shard: &str) -> Self {
        // Any number will do that the others give the same name; two names of one number only give gaps.
        let channel =
            shard.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
        Self { shard: shard.into(), channel, next: 0, items: BytesMut::new() }
    }

    /// Adds an item to the message that is being written; sends it if it is full.
    pub(super) fn tell(&mut self, shared: &Shared, shard: ShardId, epoch: Epoch, item: &Item) {
        if shared.cluster.get().is_none() {
            return;
        }
        item.put(&mut self.items);
        if self.items.len() > FULL {
            self.flush(shared, shard, epoch);
        }
    }

    /// Sends what was added.
    pub(super) fn flush(&mut self, shared: &Shared, shard: ShardId, epoch: Epoch) {
        let (false, Some(cluster)) = (self.items.is_empty(), shared.cluster.get()) else { return };
        let items = self.items.split();
        // The number is used up whether it is sent or not: who hears the next one knows that something is missing.
        let seq = self.next;
        self.next += 1;
        let Some((_, lineage)) = shared.store.lineage(shard).filter(|(of, _)| *of == epoch) else { return };
        let head = Head { shard: self.shard.to_string(), lineage: lineage.digest(), digest: shared.live.hold().digest };
        let mut bytes = BytesMut::with_capacity(items.len() + 64);
        head.put(&mut bytes);
        bytes.put(items);
        cluster.relay(&Relay { channel: self.channel, seq, bytes: bytes.freeze() });
    }
}

impl Head {
    fn put(&self, to: &mut BytesMut) {
        to.put_u8(KIND);
        // Names of shards are short: configuration bounds them.
        to.put_u8(u8::try_from(self.shard.len()).unwrap_or(0));
        to.put_slice(self.shard.as_bytes());
        to.put_u64_le(self.lineage);
        to.put_u64_le(self.digest);
    }

    fn take(from: &mut Bytes) -> Option<Self> {
        (from.try_get_u8().ok()? == KIND).then_some(())?;
        let length = usize::from(from.try_get_u8().ok()?);
        let name = (length <= from.len()).then(|| from.split_to(length))?;
        let shard = String::from_utf8(name.into()).ok()?;
        Some(Self { shard, lineage: from.try_get_u64_le().ok()?, digest: from.try_get_u64_le().ok()? })
    }
}

impl Item {
    fn put(&self, to: &mut BytesMut) {
        match self {
            Self::Floor(xid, buckets) => {
                to.put_u8(1);
                to.put_u64_le(xid.0);
                put_buckets(buckets, to);
            }
            Self::Void(buckets) => {
                to.put_u8(2);
                put_buckets(buckets, to);
            }
            Self::Beat(beat) => {
                to.put_u8(3);
                to.put_u64_le(beat.gateway);
                to.put_u64_le(beat.sent);
            }
            Self::Flush => to.put_u8(4),
            Self::SoftFloor(xid, buckets) => {
                to.put_u8(5);
                to.put_u64_le(xid.0);
                put_buckets(buckets, to);
            }
            Self::SoftVoid(buckets) => {
                to.put_u8(6);
                put_buckets(buckets, to);
            }
        }
    }

    fn take(from: &mut Bytes) -> Option<Self> {
        Some(match from.try_get_u8().ok()? {
            1 => Self::Floor(Xid(from.try_get_u64_le().ok()?), take_buckets(from)?),
            2 => Self::Void(take_buckets(from)?),
            3 => Self::Beat(Beat { gateway: from.try_get_u64_le().ok()?, sent: from.try_get_u64_le().ok()? }),
            4 => Self::Flush,
            5 => Self::SoftFloor(Xid(from.try_get_u64_le().ok()?), take_buckets(from)?),
            6 => Self::SoftVoid(take_buckets(from)?),
            _ => return None,
        })
    }
}

fn put_buckets(buckets: &Buckets, to: &mut BytesMut) {
    match buckets {
        Buckets::These(these) if these.len() <= MOST_BUCKETS => {
            to.put_u32_le(u32::try_from(these.len()).unwrap_or(ALL));
            these.iter().for_each(|bucket| to.put_u64_le(bucket.0));
        }
        Buckets::These(_) | Buckets::All => to.put_u32_le(ALL),
    }
}

fn take_buckets(from: &mut Bytes) -> Option<Buckets> {
    let count = from.try_get_u32_le().ok()?;
    if count == ALL {
        return Some(Buckets::All);
    }
    let count = usize::try_from(count).ok()?;
    // A lying count reserves nothing.
    (count.checked_mul(8)? <= from.len()).then_some(())?;
    (0..count).map(|_| from.try_get_u64_le().ok().map(BucketId)).collect::<Option<_>>().map(Buckets::These)
}

/// Obeys what another gateway read.
pub(crate) fn relayed(shared: &Shared, from: &Arc<str>, relay: Relay) {
    let Relay { channel, seq, mut bytes } = relay;
    let Some(head) = Head::take(&mut bytes) else { return };
    let Some(shard) = shared.topology.by_name(&head.shard) else { return };
    let Some(health) = shared.feeds.health(shard) else { return };
    if !follows_on(&shared.feeds, from, channel, seq) {
        health.suspect();
    }
    let epoch = match shared.store.lineage(shard) {
        Some((epoch, lineage)) if lineage.digest() == head.lineage => epoch,
        // Ids of another lineage say nothing here; what they tell of is missed.
        _ => return health.suspect(),
    };
    let same = shared.live.hold().digest == head.digest;
    while bytes.has_remaining() {
        match Item::take(&mut bytes) {
            Some(item) if same => obey(shared, shard, epoch, item, health),
            Some(item) => obey(shared, shard, epoch, item.blurred(), health),
            None => return health.suspect(),
        }
    }
}

impl Item {
    /// The same, where the buckets mean something else: all of them, whatever collections they are of.
    fn blurred(self) -> Self {
        match self {
            Self::Floor(xid, _) | Self::SoftFloor(xid, _) => Self::Floor(xid, Buckets::All),
            Self::Void(_) | Self::SoftVoid(_) => Self::Void(Buckets::All),
            other => other,
        }
    }
}

/// Whether nothing is missing between a message and the last one of its channel.
fn follows_on(feeds: &Feeds, from: &Arc<str>, channel: u32, seq: u64) -> bool {
    let last = feeds.heard.lock().insert(channel, (from.clone(), seq + 1));
    last.is_some_and(|(sender, next)| sender == *from && next == seq)
}

fn obey(shared: &Shared, shard: ShardId, epoch: Epoch, item: Item, health: &FeedHealth) {
    let named = |buckets| match buckets {
        Buckets::These(these) => these,
        Buckets::All => all(&shared.live.hold().collections).collect(),
    };
    match item {
        Item::Floor(xid, buckets) => shared.cache.hear(shard, epoch, xid, &named(buckets)),
        Item::Void(buckets) => shared.cache.void_beside(Some(shard), &named(buckets)),
        Item::SoftFloor(xid, buckets) => shared.cache.hear_softly(shard, epoch, xid, &named(buckets)),
        Item::SoftVoid(buckets) => shared.cache.soften_beside(Some(shard), &named(buckets)),
        // Who reads by itself knows better.
        Item::Beat(beat) if health.role() == FeedRole::Waiting && !health.is_suspect() => health.returned(beat),
        Item::Beat(_) => {}
        Item::Flush => health.suspect(),
    }
}

#[cfg(test)]
mod tests;
