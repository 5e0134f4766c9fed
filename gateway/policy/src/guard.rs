//! Placement is data: a version that sends existing keys to other shards is refused.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use tidegate_types::{collection::Collection, route::ShardId};

/// A key and the shard its row is on.
#[derive(Debug, Clone)]
pub struct PlacedKey {
    /// The collection.
    pub collection: Arc<Collection>,
    /// Where the row is.
    pub shard: ShardId,
    /// The canonical text of its shard key ([`Collection::shard_key_text`]).
    pub shard_key: String,
}

/// Knows where some existing rows are.
pub trait PlacementProbe: Send + Sync {
    /// Some existing keys of every collection and shard. Shards that are down contribute nothing.
    fn sample(&self) -> BoxFuture<'_, Vec<PlacedKey>>;
}
