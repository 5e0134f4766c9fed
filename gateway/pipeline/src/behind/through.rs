//! Writes that go to the shard themselves, as in every other mode, and what they wait for.

use std::{collections::BTreeSet, sync::Arc};

use bytes::{BufMut, BytesMut};
use tidegate_store::values::ImagePlan;
use tidegate_types::{
    answer::WriteAnswer,
    collection::{Collection, Mode, WriteReach},
    key::{KeyType, KeyValue, RowKey},
    mutation::Image,
    problem::Problem,
    request::{WriteAction, WriteRequest},
    route::ShardId,
};

use super::{
    Behind, Held,
    accept::busy,
    dirty::RowName,
    lane::Lane,
    locks::Place,
    read::settle,
    render::{Base, Outcome, Single},
};
use crate::{Gateway, gateway::Shared, write::Destination};

/// A write that may touch any row: alone in its collection, and in the write-behind ones that it changes along with it,
/// after everything that waits of them.
pub(super) async fn any_row(
    gateway: &Gateway,
    behind: &Behind,
    write: WriteRequest,
    destination: Destination,
) -> Result<WriteAnswer, Problem> {
    let shard = destination.shard;
    let mut places = reached(&gateway.0, &write.collection, shard);
    places.insert(Place { collection: write.collection.name.clone(), shard });
    let held = hold(behind, &write.collection, shard, places).await?;
    crate::write::on_shard(gateway, write, destination, held).await
}

/// A write of one row, whose lock is held: after what waits of the row.
pub(super) async fn one_row(
    gateway: &Gateway,
    lane: &Arc<Lane>,
    row: &RowName,
    write: WriteRequest,
    destination: Destination,
    held: Held,
) -> Result<WriteAnswer, Problem> {
    if let Some(dirty) = lane.dirty.get(row) {
        settle(lane, dirty.sequence).await?;
    }
    crate::write::on_shard(gateway, write, destination, held).await
}

/// Whether a write of one row changes no other.
pub(super) fn stays_in_its_row(collection: &Collection) -> bool {
    collection.reach == WriteReach::Own
}

/// Before a write of another mode that may change rows of write-behind collections along with its own.
pub(crate) async fn hold_reached(shared: &Shared, collection: &Collection, shard: ShardId) -> Result<Held, Problem> {
    if collection.reach == WriteReach::Own {
        return Ok(Held::default());
    }
    let Some(behind) = shared.behind.get() else { return Ok(Held::default()) };
    let places = reached(shared, collection, shard);
    if places.is_empty() {
        return Ok(Held::default());
    }
    hold(behind, collection, shard, places).await
}

/// The write-behind collections whose rows a write may change along with its own.
fn reached(shared: &Shared, collection: &Collection, shard: ShardId) -> BTreeSet<Place> {
    let edition = shared.live.hold();
    let changed = edition.collections.iter().filter(|other| {
        other.mode == Mode::WriteBehind && other.name != collection.name && collection.reach.includes(other.id)
    });
    changed.map(|other| Place { collection: other.name.clone(), shard }).collect()
}

async fn hold(
    behind: &Behind,
    collection: &Collection,
    shard: ShardId,
    places: BTreeSet<Place>,
) -> Result<Held, Problem> {
    let lane = behind.open_lane(shard)?;
    // Before the gates: while this waits, others go on.
    for place in &places {
        settle(lane, lane.last_of(&place.collection)).await?;
    }
    let gates = behind.0.gates.alone(places.clone()).await.map_err(|_| busy(collection))?;
    for place in &places {
        settle(lane, lane.last_of(&place.collection)).await?;
    }
    Ok(Held { alone: gates, row: None })
}

/// A PUT with every column, as it would be journaled: what was not sent has its default, and not what it was. As it is
/// where that is not known, and any other write.
pub(super) fn whole(mut write: WriteRequest, single: Single<'_>, plan: &ImagePlan) -> WriteRequest {
    let WriteAction::Put { body, .. } = &mut write.action else { return write };
    let Ok(Outcome::Changed { image: Image::Row { json, .. }, .. }) = single.outcome(plan, &Base::Unknown) else {
        return write;
    };
    body.json = [b"[", &json[..], b"]"].concat().into();
    body.columns = write.collection.columns.iter().map(|column| column.name.clone()).collect();
    write
}

/// Gives a new row that lacks a UUID of its key one: version 7, so that rows made one after the other lie beside each
/// other. Before the request is routed, since the key places the row.
pub(super) fn complete_key(write: &mut WriteRequest) {
    let collection = write.collection.clone();
    let WriteAction::Insert { body, .. } = &mut write.action else { return };
    if body.rows != 1 || !matches!(body.keys[..], [None]) {
        return;
    }
    let missing = collection.key.iter().filter(|key| !body.columns.contains(&collection.columns[key.column].name));
    let missing: Vec<_> = missing.collect();
    let [lacking] = missing[..] else { return };
    if lacking.key_type != KeyType::Uuid {
        return;
    }
    let name = &collection.columns[lacking.column].name;
    let uuid = uuid::Uuid::now_v7();
    let Some(completed) = with_member(&body.json, name, uuid) else { return };
    let Some(key) = key_of(&collection, &completed) else { return };
    body.json = completed.into();
    body.columns.push(name.clone());
    body.shard_keys = vec![Some(collection.shard_key_text(&key))];
    body.keys = vec![Some(key)];
}

/// `[{...}]` with another member in front.
fn with_member(array: &[u8], name: &str, uuid: uuid::Uuid) -> Option<Vec<u8>> {
    let start = array.iter().position(|byte| *byte == b'{')? + 1;
    let is_empty = array[start..].iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'}');
    let mut out = BytesMut::with_capacity(array.len() + name.len() + 48);
    out.put_slice(&array[..start]);
    out.put_slice(&serde_json::to_vec(name).ok()?);
    out.put_slice(format!(":\"{uuid}\"").as_bytes());
    if !is_empty {
        out.put_u8(b',');
    }
    out.put_slice(&array[start..]);
    Some(out.to_vec())
}

/// The key of the one row of an array, if it has all of it.
fn key_of(collection: &Collection, array: &[u8]) -> Option<RowKey> {
    let rows: Vec<serde_json::Map<String, serde_json::Value>> = serde_json::from_slice(array).ok()?;
    let row = rows.first()?;
    let values: Option<smallvec::SmallVec<[KeyValue; 1]>> = collection
        .key
        .iter()
        .map(|key| match row.get(&collection.columns[key.column].name)? {
            serde_json::Value::String(text) => key.key_type.parse(text).ok(),
            serde_json::Value::Null => None,
            other => key.key_type.parse(&other.to_string()).ok(),
        })
        .collect();
    values.map(RowKey)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_is_put_in_front_and_the_rest_stays_byte_for_byte() {
        let uuid = uuid::Uuid::from_u128(7);
        let member = "\"the \\\"id\":\"00000000-0000-0000-0000-000000000007\"";
        for (array, expected) in [
            ("[{}]", format!("[{{{member}}}]")),
            ("[ { } ]", format!("[ {{{member} }} ]")),
            ("[{\"n\":1.10}]", format!("[{{{member},\"n\":1.10}}]")),
        ] {
            let completed = with_member(array.as_bytes(), "the \"id", uuid).expect("an object");
            assert_eq!(String::from_utf8(completed).expect("text"), expected);
        }
    }
}
