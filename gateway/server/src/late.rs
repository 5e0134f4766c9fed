//! Shards that were down at start: compared with the others once they are back.

use std::{sync::Arc, time::Duration};

use indexmap::IndexMap;
use tidegate_pipeline::Gateway;
use tidegate_store::catalog::{self, ShardCatalog};
use tidegate_types::{
    collection::Collection,
    route::ShardId,
    settings::{CollectionSettings, Settings},
};
use tokio_util::sync::CancellationToken;

/// How often a shard that is down is asked again.
const PAUSE: Duration = Duration::from_secs(5);

/// Asks until every shard has answered or `shutdown`. Requests go to a shard as soon as it is back;
/// what this finds is for the operator.
pub(crate) async fn compare(gateway: Gateway, settings: Settings, unread: Vec<ShardId>, shutdown: CancellationToken) {
    let topology = gateway.topology().clone();
    // At least one shard was read, or nothing would be served.
    let read = topology.all().into_iter().find(|shard| !unread.contains(shard));
    let reference = read.map_or("?", |shard| topology.name(shard));
    let mut waiting = unread;
    while !waiting.is_empty() {
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(PAUSE) => {}
        }
        let mut still_down = Vec::new();
        for shard in waiting {
            match gateway.store().catalog(shard).await {
                Ok(catalog) => tell(&gateway, &settings.collections, &catalog, reference),
                Err(_) => still_down.push(shard),
            }
        }
        waiting = still_down;
    }
}

fn tell(gateway: &Gateway, settings: &IndexMap<String, CollectionSettings>, catalog: &ShardCatalog, reference: &str) {
    let served: Vec<Collection> = gateway.collections().iter().map(|c| Arc::unwrap_or_clone(c.clone())).collect();
    let mismatches = match catalog::resolve(settings, catalog) {
        Ok(collections) => catalog::differences(&catalog.shard, &collections, reference, &served),
        Err(mismatches) => mismatches,
    };
    if mismatches.is_empty() {
        tracing::info!(shard = catalog.shard, "a shard that was down at start is back and like the others");
    }
    for mismatch in mismatches {
        tracing::error!(shard = catalog.shard, %mismatch, "a shard that was down at start is back and differs");
    }
}
