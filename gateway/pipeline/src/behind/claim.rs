//! What a shard has of the journal, and that nobody else goes on with it.

use std::{collections::HashSet, sync::Arc};

use tidegate_store::{StoreError, flush::FlushError};
use tokio::time::sleep;

use super::{
    Behind,
    dirty::RowName,
    flush::backoff,
    lane::{Lane, LaneState},
};
use crate::gateway::Shared;

/// Until it is known what the shard has, or that the journal is somebody else's.
pub(super) async fn claim(shared: &Shared, behind: &Behind, lane: &Arc<Lane>) {
    let mut failures = 0;
    while let Err(error) = try_claim(shared, behind, lane).await {
        let after = match &error {
            FlushError::Retry { after, .. } => backoff(*after, failures),
            FlushError::Fenced { .. } | FlushError::StillDead { .. } | FlushError::NoLetter { .. } => {
                return lost(lane, &error.to_string());
            }
        };
        if failures == 0 {
            tracing::warn!(shard = %lane.name, %error,
                "it is not known yet which acknowledged writes the shard has; until then its write-behind collections \
                 are not served");
        }
        failures += 1;
        lane.failed(LaneState::Claiming, &error.to_string());
        sleep(after).await;
    }
}

/// Learns what the shard has.
pub(super) async fn try_claim(shared: &Shared, behind: &Behind, lane: &Arc<Lane>) -> Result<(), FlushError> {
    let applied = shared.store.claim_journal(lane.shard, behind.0.number, behind.0.journal.epoch()).await?;
    learn_parked(shared, behind, lane).await?;
    lane.applied_up_to(applied);
    lane.set_state(LaneState::Flowing);
    tracing::info!(shard = %lane.name, applied = applied.0, waiting = lane.report().depth, "the journal is claimed");
    Ok(())
}

/// The rows whose writes wait for an operator, as the shard has them.
pub(super) async fn learn_parked(shared: &Shared, behind: &Behind, lane: &Arc<Lane>) -> Result<(), StoreError> {
    let keys = shared.store.parked_keys(lane.shard, behind.0.number).await?;
    let edition = shared.live.hold();
    let mut rows = HashSet::with_capacity(keys.len());
    for parked in keys {
        // A collection that is not served any more has no writes to be refused.
        let Some(collection) = edition.collections.get(&parked.collection) else { continue };
        if let Ok(key) = collection.parse_path_key(&parked.key) {
            rows.insert(RowName { collection: collection.name.clone(), key });
        }
    }
    lane.park_only(rows);
    Ok(())
}

/// Nothing is read or written any more.
pub(super) fn lost(lane: &Lane, why: &str) {
    tracing::error!(shard = %lane.name, why, "another process owns this gateway's journal on the shard; its \
        write-behind collections are not served any more");
    lane.failed(LaneState::Lost, why);
}
