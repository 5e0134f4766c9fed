//! Which buckets a write raises by itself.

use tidegate_cache::Cache;
use tidegate_types::{
    answer::WrittenRow,
    bucket::{BucketId, RelationSeed},
    collection::{Collection, CollectionId, Collections, WriteReach},
    normal,
    query::{Count, ListQuery},
    tenant::TenantId,
};

use crate::values;

/// Rows raised one by one; a write of more raises the whole collection instead.
pub(crate) const MAX_ROW_BUCKETS: usize = 256;

/// Rows and lists of a collection, whatever the tenant: tenants may share its table. Lists that are told apart by a
/// column's value depend on the first of them too.
pub(crate) fn whole(seed: RelationSeed) -> [BucketId; 2] {
    [BucketId::sweep(seed), BucketId::relation(seed)]
}

/// Voids everything that is kept of these collections, on every shard: their rows were moved.
pub fn void_collections(cache: &Cache, served: &Collections, moved: &[CollectionId]) {
    let buckets: Vec<BucketId> = moved.iter().flat_map(|id| reached(served, *id)).collect();
    cache.void_beside(None, &buckets);
}

/// The buckets of the rows written, of the lists they appear in, and of whatever the database
/// changes along with them; but for the values that lists are told apart by ([`crate::values`]).
pub(crate) fn buckets(collections: &Collections, collection: &Collection, rows: &[WrittenRow]) -> Vec<BucketId> {
    let seed = collection.seed();
    let mut buckets = vec![BucketId::relation(seed)];
    if rows.len() > MAX_ROW_BUCKETS {
        buckets.push(BucketId::sweep(seed));
    } else {
        buckets.extend(rows.iter().map(|row| BucketId::row(seed, &row.key)));
    }
    match &collection.reach {
        // The request was parsed before the collections were replaced: which of them it reaches now is not known.
        _ if collections.by_id(collection.id).is_none() => buckets.extend(all(collections)),
        WriteReach::Own => {}
        WriteReach::Cascades(others) => buckets.extend(others.iter().flat_map(|id| reached(collections, *id))),
        WriteReach::Anything => buckets.extend(all(collections)),
    }
    buckets
}

/// The lists of a collection, also those that are told apart by a column's value.
pub(crate) fn lists(seed: RelationSeed) -> [BucketId; 2] {
    [BucketId::relation(seed), BucketId::columns(seed)]
}

/// The buckets that a list depends on: whatever changes its rows raises one of them.
pub(crate) fn list(collection: &Collection, query: &ListQuery) -> Vec<BucketId> {
    let seed = collection.seed();
    match values::of_list(collection, query) {
        Some(mut buckets) => {
            buckets.extend([BucketId::columns(seed), BucketId::sweep(seed)]);
            buckets
        }
        None => whole(seed).into(),
    }
}

/// The bucket that a purge of this query voids, whether or not its total was asked for: that is no part of a query
/// string.
pub(crate) fn query(tenant: TenantId, collection: &Collection, normal: &ListQuery) -> BucketId {
    let uncounted = ListQuery { count: Count::None, ..normal.clone() };
    BucketId::query(tenant, collection.seed(), &normal::encode(&uncounted))
}

/// Everything.
pub(crate) fn all(collections: &Collections) -> impl Iterator<Item = BucketId> {
    collections.iter().flat_map(|collection| whole(collection.seed()))
}

/// Rows and lists of one collection; of all, if it is not among them.
fn reached(collections: &Collections, id: CollectionId) -> Vec<BucketId> {
    match collections.by_id(id) {
        Some(collection) => whole(collection.seed()).into(),
        None => all(collections).collect(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tidegate_types::{
        answer::{RowBody, RowChange},
        key::{KeyValue, RowKey},
    };

    use super::*;
    use crate::fixture::collection;

    fn rows(count: i64) -> Vec<WrittenRow> {
        let key = |i| RowKey([KeyValue::Int(i), KeyValue::Text("en".into())].into_iter().collect());
        let row = |i| WrittenRow { key: key(i), change: RowChange::Updated, body: RowBody::new(i.to_string().into()) };
        (0..count).map(row).collect()
    }

    fn served(reach: WriteReach) -> (Collections, Collection) {
        let written = Collection { reach, ..collection(0, "written") };
        let all = [written.clone(), collection(1, "other"), collection(2, "third")];
        (Collections::new(all.into_iter().map(Arc::new).collect()), written)
    }

    /// Which collections are raised as a whole, by their place.
    fn sweeps(collections: &Collections, buckets: &[BucketId]) -> Vec<u32> {
        let raised = |c: &&Arc<Collection>| buckets.contains(&BucketId::sweep(c.seed()));
        collections.iter().filter(raised).map(|c| c.id.0).collect()
    }

    #[test]
    fn a_write_raises_its_rows_its_lists_and_what_it_reaches() {
        let (collections, written) = served(WriteReach::Own);
        let own = buckets(&collections, &written, &rows(2));
        assert_eq!(own.len(), 3);
        assert!(own.contains(&BucketId::relation(written.seed())));
        assert!(own.contains(&BucketId::row(written.seed(), &rows(1)[0].key)));
        assert_eq!(
            sweeps(&collections, &buckets(&collections, &written, &rows(257))),
            [0],
            "too many to raise one by one"
        );

        let (collections, written) = served(WriteReach::Cascades(vec![CollectionId(2)]));
        assert_eq!(sweeps(&collections, &buckets(&collections, &written, &rows(1))), [2]);
        let (collections, written) = served(WriteReach::Anything);
        assert_eq!(sweeps(&collections, &buckets(&collections, &written, &rows(1))), [0, 1, 2]);
    }

    #[test]
    fn a_write_of_a_collection_that_was_replaced_meanwhile_raises_everything() {
        let (collections, _) = served(WriteReach::Own);
        let before = collection(7, "written");
        let raised = buckets(&collections, &before, &rows(1));
        assert_eq!(sweeps(&collections, &raised), [0, 1, 2]);
        assert!(raised.contains(&BucketId::row(before.seed(), &rows(1)[0].key)));
    }
}
