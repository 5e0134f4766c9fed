//! Asks every shard for its catalog and finds out whether they agree with the configuration and
//! with each other.

use futures_util::future::join_all;
use indexmap::IndexMap;
use tidegate_store::{
    Store, StoreError,
    catalog::{self, Mismatch, ShardCatalog},
};
use tidegate_types::{
    collection::Collection,
    route::{ShardId, Topology},
    settings::CollectionSettings,
};

/// What the shards answered, in the order of the configuration.
pub(crate) struct Catalogs {
    /// Those that did.
    pub(crate) read: Vec<ShardCatalog>,
    /// Those that did not, and why.
    pub(crate) unread: Vec<(ShardId, StoreError)>,
}

/// Asks all shards at once.
pub(crate) async fn read(store: &Store, topology: &Topology) -> Catalogs {
    let shards = topology.all();
    let answers = join_all(shards.iter().map(|shard| store.catalog(*shard))).await;
    let mut catalogs = Catalogs { read: Vec::new(), unread: Vec::new() };
    for (shard, answer) in shards.into_iter().zip(answers) {
        match answer {
            Ok(catalog) => catalogs.read.push(catalog),
            Err(error) => catalogs.unread.push((shard, error)),
        }
    }
    catalogs
}

/// The collections as every one of these catalogs has them, or everything they disagree on.
/// No catalogs, no collections.
pub(crate) fn agree(
    settings: &IndexMap<String, CollectionSettings>,
    catalogs: &[ShardCatalog],
) -> Result<Vec<Collection>, Vec<Mismatch>> {
    let mut reference: Option<(&str, Vec<Collection>)> = None;
    let mut mismatches = Vec::new();
    for catalog in catalogs {
        match (catalog::resolve(settings, catalog), &reference) {
            (Ok(collections), None) => reference = Some((&catalog.shard, collections)),
            (Ok(collections), Some((name, there))) => {
                mismatches.extend(catalog::differences(&catalog.shard, &collections, name, there));
            }
            (Err(found), _) => mismatches.extend(found),
        }
    }
    if mismatches.is_empty() { Ok(reference.map_or_else(Vec::new, |(_, found)| found)) } else { Err(mismatches) }
}
