//! Samples existing keys, so that no routing policy moves rows by looking for them elsewhere.

use std::sync::Arc;

use futures_util::future::{BoxFuture, FutureExt, join_all};
use tidegate_policy::{PlacedKey, PlacementProbe};
use tidegate_store::Store;
use tidegate_types::{
    collection::{CollectionId, Collections},
    route::{ShardId, Topology},
};

/// Keys asked of each collection on each shard: enough to catch a policy that moves one key in fifty,
/// few enough to ask at every swap.
const SAMPLE: usize = 200;

/// Asks the shards themselves where rows are.
pub(crate) struct Sampler {
    pub(crate) store: Store,
    pub(crate) topology: Arc<Topology>,
    pub(crate) collections: Arc<Collections>,
}

impl Sampler {
    /// Collections one after the other: a sample must not take the scan pool from lists.
    async fn sample_shard(&self, shard: ShardId) -> Vec<PlacedKey> {
        let mut keys = Vec::new();
        for collection in self.collections.iter() {
            let place =
                |key| PlacedKey { collection: collection.clone(), shard, shard_key: collection.shard_key_text(&key) };
            match self.store.sample_keys(shard, collection, SAMPLE).await {
                Ok(sample) => keys.extend(sample.into_iter().map(place)),
                Err(error) => {
                    tracing::warn!(shard = self.topology.name(shard), collection = &*collection.name, %error,
                        "no keys sampled: routing is not checked against all of this shard's rows");
                    // The next collection would wait for the same shard in vain.
                    if error.is_connection() {
                        break;
                    }
                }
            }
        }
        keys
    }
}

impl PlacementProbe for Sampler {
    fn moved(&self, _: &[CollectionId]) {}

    fn sample(&self) -> BoxFuture<'_, Vec<PlacedKey>> {
        let shards = self.topology.all().into_iter().map(|shard| self.sample_shard(shard));
        join_all(shards).map(|keys| keys.into_iter().flatten().collect()).boxed()
    }
}
