//! Before rows are looked for elsewhere: what was acknowledged for the shards where they are is there, and nothing more is
//! acknowledged for those until they are looked for elsewhere.

use std::{collections::BTreeSet, sync::Arc};

use tidegate_policy::Stillness;
use tidegate_types::{
    collection::{Collection, CollectionId, Mode},
    problem::Problem,
};

use super::{
    Behind,
    locks::{Held, Place},
    read::settle,
};
use crate::Gateway;

impl Gateway {
    /// Waits until everything acknowledged of these collections is on its shard, and keeps their writers waiting until the
    /// stillness is dropped. A writer that waited asks anew where its row is. Within bounds: a shard that does not answer
    /// is no place to move rows from.
    ///
    /// # Errors
    /// What waits, for the operator.
    pub async fn still(&self, collections: &[CollectionId]) -> Result<Stillness, String> {
        let Some(behind) = self.0.behind.get() else { return Ok(Stillness::of(())) };
        let served = self.collections();
        let moved = collections.iter().filter_map(|id| served.by_id(*id));
        let moved: Vec<_> = moved.filter(|collection| collection.mode == Mode::WriteBehind).collect();
        let mut places = BTreeSet::new();
        for collection in &moved {
            let shards = behind.0.lanes.iter().map(|lane| lane.shard);
            places.extend(shards.map(|shard| Place { collection: collection.name.clone(), shard }));
            // Before the gates: while this waits, writers go on.
            settled(behind, collection).await?;
        }
        let alone = behind.0.gates.alone(places).await;
        let alone = alone.map_err(|_| "its writers do not come to an end".to_owned())?;
        for collection in &moved {
            settled(behind, collection).await?;
        }
        Ok(Stillness::of(Held { alone, row: None }))
    }
}

/// Nothing of the collection waits for any shard, nor for an operator.
async fn settled(behind: &Behind, collection: &Arc<Collection>) -> Result<(), String> {
    for lane in &behind.0.lanes {
        let waits = |problem: Problem| {
            let (name, shard) = (&collection.name, &lane.name);
            format!("acknowledged writes of {name} wait for shard {shard} (GET /admin/journal): {}", problem.message)
        };
        behind.open_lane(lane.shard).map_err(waits)?;
        settle(lane, lane.last_of(&collection.name)).await.map_err(waits)?;
        match lane.parked_rows_of(&collection.name) {
            0 => {}
            rows => {
                return Err(format!(
                    "{rows} rows of {} on shard {} have dead letters (GET /admin/journal): requeue or discard them first",
                    collection.name, lane.name
                ));
            }
        }
    }
    Ok(())
}
