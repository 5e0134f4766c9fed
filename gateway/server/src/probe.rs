//! Samples existing keys, so that no routing policy moves rows by looking for them elsewhere.

use std::sync::Arc;

use futures_util::future::{BoxFuture, FutureExt, join_all};
use tidegate_policy::{PlacedKey, PlacementProbe};
use tidegate_store::Store;
use tidegate_types::{
    collection::{Collection, Collections},
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
    async fn sample_one(&self, shard: ShardId, collection: &Arc<Collection>) -> Vec<PlacedKey> {
        match self.store.sample_keys(shard, collection, SAMPLE).await {
            Ok(keys) => {
                let place = |key| PlacedKey {
                    collection: collection.clone(),
                    shard,
                    shard_key: collection.shard_key_text(&key),
                };
                keys.into_iter().map(place).collect()
            }
            Err(error) => {
                tracing::warn!(shard = self.topology.name(shard), collection = &*collection.name, %error,
                    "no keys sampled: a policy is not checked against this shard's rows");
                Vec::new()
            }
        }
    }
}

impl PlacementProbe for Sampler {
    fn sample(&self) -> BoxFuture<'_, Vec<PlacedKey>> {
        let shards = self.topology.all();
        async move {
            // Collections one after the other: a sample must not take the scan pool from lists.
            let mut keys = Vec::new();
            for collection in self.collections.iter() {
                let samples = shards.iter().map(|shard| self.sample_one(*shard, collection));
                keys.extend(join_all(samples).await.into_iter().flatten());
            }
            keys
        }
        .boxed()
    }
}
