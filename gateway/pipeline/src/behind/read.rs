//! What readers see of what was acknowledged and is not on its shard yet.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tidegate_cache::Served;
use tidegate_store::values::project;
use tidegate_types::{
    answer::{CacheStatus, RowBody},
    collection::{Collection, Mode},
    mutation::{Image, Sequence},
    problem::Problem,
    query::Projection,
    request::RowRead,
    route::ShardId,
};

use super::{Behind, dirty::RowName, lane::Lane, unavailable};
use crate::gateway::Shared;

/// How long a list waits for what was acknowledged before it. A flush takes milliseconds; a shard that does not answer
/// would not answer the list either.
const PATIENCE: Duration = Duration::from_secs(5);

/// A keyed read's answer where the row was acknowledged and its shard does not have it yet. `None`: the shard has
/// everything of it.
pub(crate) async fn row(shared: &Shared, read: &RowRead, shard: ShardId) -> Result<Option<Served>, Problem> {
    let Some(behind) = of(shared, &read.collection) else { return Ok(None) };
    let lane = behind.open_lane(shard)?;
    let name = RowName { collection: read.collection.name.clone(), key: read.key.clone() };
    let Some(dirty) = lane.dirty.get(&name) else { return Ok(None) };
    // What a crash could take back is nobody's to see.
    behind.0.journal.wait_durable(dirty.sequence).await.map_err(|_| super::accept::ended())?;
    let row = match &dirty.image {
        Image::Gone => None,
        Image::Row { json, .. } => match represent(json, &read.projection) {
            Some(body) => Some(body),
            None => {
                settle(lane, dirty.sequence).await?;
                return Ok(None);
            }
        },
    };
    behind.0.metrics.dirty_hits.inc();
    Ok(Some(Served { row, status: CacheStatus::Dirty }))
}

/// Before a list: everything acknowledged before it in its collection is on its shards, or among their dead letters.
pub(crate) async fn list(shared: &Shared, collection: &Collection, shards: &[ShardId]) -> Result<(), Problem> {
    let Some(behind) = of(shared, collection) else { return Ok(()) };
    for shard in shards {
        let lane = behind.open_lane(*shard)?;
        settle(lane, lane.last_of(&collection.name)).await?;
    }
    Ok(())
}

/// What rows of the collection wait in; `None` for every other mode, at the cost of a comparison.
fn of<'a>(shared: &'a Shared, collection: &Collection) -> Option<&'a Behind> {
    match collection.mode {
        Mode::WriteBehind => shared.behind.get(),
        Mode::CacheAside | Mode::WriteThrough | Mode::Bypass => None,
    }
}

/// Waits for the shard, within bounds.
pub(super) async fn settle(lane: &Arc<Lane>, sequence: Sequence) -> Result<(), Problem> {
    tokio::time::timeout(PATIENCE, lane.reaches(sequence)).await.map_err(|_| {
        unavailable(&lane.name, "Writes that were acknowledged before this request have not reached the shard yet.")
    })
}

/// A representation of an image; `None` where only PostgreSQL can make it.
pub(super) fn represent(json: &Bytes, projection: &Projection) -> Option<RowBody> {
    project(json, projection).map(RowBody::new)
}
