//! Purges that leave more than a void does: soft ones, and those of one tenant.

use std::sync::atomic::Ordering;

use tidegate_types::{
    bucket::BucketId, epoch::Epoch, purge::Softness, route::ShardId, snapshot::Xid, tenant::TenantId,
};

use crate::{
    cache::{Cache, Inner},
    entry::Moment,
};

impl Cache {
    /// [`Cache::void`], but rows that are kept may still be served late ([`Cache::get_late`]), counted from now. To
    /// everybody else, and for lists, it is a void.
    pub fn soften(&self, shard: ShardId, buckets: &[BucketId]) {
        if let Some(table) = self.0.table(shard) {
            table.soften(buckets, Moment::now(self.0.start));
            self.0.metrics.voids.inc_by(buckets.len() as u64);
        }
    }

    /// Ends everything that a tenant has of a shard, rows and lists, or makes the rows late. Nothing of another tenant
    /// ends, but of one that shares its slot by chance.
    pub fn purge_tenant(&self, shard: ShardId, tenant: TenantId, softness: Softness) {
        if let Some(table) = self.0.table(shard) {
            table.purge_tenant(tenant, softness, || self.0.after_all_stored());
            self.0.metrics.voids.inc();
        }
    }

    /// [`Cache::soften`] on every shard but one, or on all.
    pub fn soften_beside(&self, spared: Option<ShardId>, buckets: &[BucketId]) {
        for shard in self.0.shards().filter(|shard| Some(*shard) != spared) {
            self.soften(shard, buckets);
        }
    }

    /// [`Cache::soften`] for a transaction of the shard, told by the change feed: what is fetched from now on is kept
    /// if it sees the transaction.
    pub fn hear_softly(&self, shard: ShardId, epoch: Epoch, xid: Xid, buckets: &[BucketId]) {
        if let Some(table) = self.0.table(shard) {
            let now = Moment::now(self.0.start);
            buckets.iter().for_each(|bucket| table.hear_softly(*bucket, epoch, xid, now));
            self.0.metrics.raises.inc_by(buckets.len() as u64);
        }
    }
}

impl Inner {
    /// A time after that of everything stored so far: what is stored has the time of then, or of a purge before.
    fn after_all_stored(&self) -> Moment {
        let now = Moment::now(self.start);
        let after = |last: u64| now.max(Moment(last)).next();
        let advance = |last| Some(after(last).0);
        let last = self.purged.fetch_update(Ordering::SeqCst, Ordering::SeqCst, advance).unwrap_or_else(|last| last);
        after(last)
    }
}
