//! Shards that were down when the catalogs were read: compared with the others once they are back.

use std::{sync::Arc, time::Duration};

use indexmap::IndexMap;
use tidegate_pipeline::Gateway;
use tidegate_store::catalog::ShardCatalog;
use tidegate_types::{
    route::ShardId,
    settings::{CollectionSettings, Settings},
};
use tokio_util::sync::CancellationToken;

use crate::catalogs;

/// How often a shard that is down is asked again.
const PAUSE: Duration = Duration::from_secs(5);

/// Asks until every shard has answered or `shutdown`. Requests go to a shard as soon as it is back;
/// what this finds is for the operator.
pub(crate) async fn compare(
    gateway: Gateway,
    settings: Arc<Settings>,
    unread: Vec<ShardId>,
    shutdown: CancellationToken,
) {
    // At least one shard was read, or nothing would be served.
    let read = gateway.topology().all().into_iter().find(|shard| !unread.contains(shard));
    let Some(reference) = read else { return };
    let mut waiting = unread;
    while !waiting.is_empty() {
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(PAUSE) => {}
        }
        // Read again each time: the tables may have changed while the shard was down.
        let Ok(like) = gateway.store().catalog(reference).await else { continue };
        let mut still_down = Vec::new();
        for shard in waiting {
            match gateway.store().catalog(shard).await {
                Ok(catalog) => tell(&settings.collections, like.clone(), catalog),
                Err(_) => still_down.push(shard),
            }
        }
        waiting = still_down;
    }
}

fn tell(settings: &IndexMap<String, CollectionSettings>, reference: ShardCatalog, catalog: ShardCatalog) {
    let shard = catalog.shard.clone();
    match catalogs::agree(settings, &[reference, catalog]) {
        Ok(_) => tracing::info!(shard, "a shard that was down is back and like the others"),
        Err(mismatches) => {
            for mismatch in mismatches {
                tracing::error!(shard, %mismatch, "a shard that was down is back and differs");
            }
        }
    }
}
