//! Samples existing keys, so that no routing policy moves rows by looking for them elsewhere.

use std::{
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use futures_util::future::{BoxFuture, FutureExt, join_all};
use tidegate_cache::Cache;
use tidegate_pipeline::{Gateway, WeakGateway};
use tidegate_policy::{PlacedKey, PlacementProbe, Stillness};
use tidegate_store::Store;
use tidegate_types::{
    collection::{CollectionId, Collections},
    route::{ShardId, Topology},
};

/// Keys held at once, of all collections and shards together: about 100 MB.
const MOST_KEYS: usize = 1_000_000;
/// Keys asked of each collection on each shard, however many of these there are.
const LEAST_KEYS: usize = 20;
/// When this much time has passed, no further collection is asked for. What is under way ends by the scan pool's
/// `statement_timeout`.
const TIME: Duration = Duration::from_secs(30);

/// Asks the shards themselves where rows are.
pub(crate) struct Sampler {
    store: Store,
    topology: Arc<Topology>,
    cache: Cache,
    /// Replaced with the configuration.
    asked: ArcSwap<Asked>,
    /// Which holds the policies, and they this.
    gateway: OnceLock<WeakGateway>,
}

/// What is asked for.
struct Asked {
    collections: Arc<Collections>,
    /// Of each collection on each shard.
    keys: usize,
}

impl Sampler {
    /// Asks for `keys` of each of these collections on each shard.
    pub(crate) fn new(
        store: Store,
        topology: Arc<Topology>,
        cache: Cache,
        collections: Arc<Collections>,
        keys: usize,
    ) -> Self {
        Self {
            store,
            topology,
            cache,
            asked: ArcSwap::from_pointee(Asked { collections, keys }),
            gateway: OnceLock::new(),
        }
    }

    /// Whose writers are to wait where rows are about to be looked for elsewhere. To be called once.
    pub(crate) fn watch_over(&self, gateway: &Gateway) {
        let set = self.gateway.set(gateway.downgrade()).is_ok();
        debug_assert!(set, "one gateway");
    }

    /// Asks for others from now on.
    pub(crate) fn ask_for(&self, collections: Arc<Collections>, keys: usize) {
        self.asked.store(Arc::new(Asked { collections, keys }));
    }

    /// Collections one after the other: a sample must not take the scan pool from lists.
    async fn sample_shard(&self, shard: ShardId, asked: &Asked, keys: usize) -> Vec<PlacedKey> {
        let began = Instant::now();
        let mut placed = Vec::new();
        for collection in asked.collections.iter() {
            if began.elapsed() > TIME {
                tracing::warn!(
                    shard = self.topology.name(shard),
                    collection = &*collection.name,
                    "the shard is slow: routing is not checked against the rows of this and later collections"
                );
                break;
            }
            let place =
                |key| PlacedKey { collection: collection.clone(), shard, shard_key: collection.shard_key_text(&key) };
            match self.store.sample_keys(shard, collection, keys).await {
                Ok(sample) => placed.extend(sample.into_iter().map(place)),
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
        placed
    }
}

impl PlacementProbe for Sampler {
    fn sample(&self) -> BoxFuture<'_, Vec<PlacedKey>> {
        let asked = self.asked.load_full();
        let keys = share(asked.keys, asked.collections.iter().len(), self.topology.len());
        async move {
            let shards = self.topology.all().into_iter().map(|shard| self.sample_shard(shard, &asked, keys));
            join_all(shards).await.into_iter().flatten().collect()
        }
        .boxed()
    }

    fn still<'a>(&'a self, collections: &'a [CollectionId]) -> BoxFuture<'a, Result<Stillness, String>> {
        async move {
            match self.gateway.get().and_then(WeakGateway::upgrade) {
                Some(gateway) => gateway.still(collections).await,
                // It has not begun to serve, or has ended.
                None => Ok(Stillness::of(())),
            }
        }
        .boxed()
    }

    fn moved(&self, collections: &[CollectionId]) {
        tidegate_pipeline::void_collections(&self.cache, &self.asked.load().collections, collections);
    }
}

/// Keys of each collection on each shard, so that all of them together stay within what is held at once.
fn share(wanted: usize, collections: usize, shards: usize) -> usize {
    wanted.min((MOST_KEYS / (collections * shards).max(1)).max(LEAST_KEYS))
}

#[cfg(test)]
mod tests {
    use super::share;

    #[test]
    fn many_collections_on_many_shards_share_what_can_be_held() {
        assert_eq!(share(10_000, 5, 4), 10_000);
        assert_eq!(share(10_000, 50, 8), 2_500);
        assert_eq!(share(10_000, 1_000, 256), 20);
        assert_eq!(share(5, 1_000, 256), 5);
        assert_eq!(share(10_000, 0, 1), 10_000);
    }
}
