//! Placement is data: a version that sends existing keys to other shards is refused.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use tidegate_types::{
    collection::Collection,
    request::Facts,
    route::{Access, ShardId, ShardSet, Topology},
};

use crate::host::RouteQuery;

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

/// Examples shown of keys that would move.
const EXAMPLES: usize = 3;

/// What a check of existing keys found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Placement {
    /// Every key stays where it is.
    Kept {
        /// How many keys were asked about.
        checked: usize,
    },
    /// Some keys would be looked for elsewhere.
    Moved {
        /// The count and some examples, for the operator.
        detail: String,
    },
}

/// Routes every key and compares with where its row is: a write must go to exactly that shard, a
/// read must include it.
pub fn check<E: std::fmt::Display>(
    keys: &[PlacedKey],
    topology: &Topology,
    mut route: impl FnMut(&RouteQuery<'_>) -> Result<ShardSet, E>,
) -> Placement {
    let mut moved = 0;
    let mut examples = Vec::new();
    for key in keys {
        if let Some(elsewhere) = misplaced(key, topology, &mut route) {
            moved += 1;
            if examples.len() < EXAMPLES {
                let (name, home) = (&key.collection.name, topology.name(key.shard));
                examples.push(format!("{name} {:?} is on {home}, {elsewhere}", key.shard_key));
            }
        }
    }
    match moved {
        0 => Placement::Kept { checked: keys.len() },
        _ => Placement::Moved {
            detail: format!(
                "{moved} of {} existing keys would not be found where they are: {}",
                keys.len(),
                examples.join("; ")
            ),
        },
    }
}

/// Where the key would go instead, if not to the shard it is on.
fn misplaced<E: std::fmt::Display>(
    key: &PlacedKey,
    topology: &Topology,
    route: &mut impl FnMut(&RouteQuery<'_>) -> Result<ShardSet, E>,
) -> Option<String> {
    let path = format!("/v1/{}/{}", key.collection.name, utf8_percent_encode(&key.shard_key, NON_ALPHANUMERIC));
    let headers = http::HeaderMap::new();
    for (access, method) in [(Access::Write, http::Method::PATCH), (Access::Read, http::Method::GET)] {
        let facts = Facts { method: &method, path: &path, query: "", headers: &headers };
        let query = RouteQuery { facts: &facts, collection: &key.collection, access, shard_key: Some(&key.shard_key) };
        let verb = if access == Access::Write { "writes" } else { "reads" };
        match route(&query) {
            Ok(shards) if access == Access::Write && shards[..] == [key.shard] => {}
            Ok(shards) if access == Access::Read && shards.contains(&key.shard) => {}
            Ok(shards) => {
                let names: Vec<&str> = shards.iter().map(|shard| topology.name(*shard)).collect();
                return Some(format!("{verb} would go to {}", names.join(", ")));
            }
            Err(failure) => return Some(format!("{verb} would fail ({failure})")),
        }
    }
    None
}
