//! Which buckets a write raises by itself.

use tidegate_cache::Cache;
use tidegate_types::{
    answer::WrittenRow,
    bucket::BucketId,
    collection::{Collection, CollectionId, Collections, WriteReach},
    request::TenantId,
};

/// Rows raised one by one; a write of more raises the whole collection instead.
const MAX_ROW_BUCKETS: usize = 256;

/// Rows and lists of a collection, whatever the tenant: tenants may share its table.
pub(crate) fn whole(id: CollectionId) -> [BucketId; 2] {
    [BucketId::sweep(TenantId::SHARED, id), BucketId::relation(TenantId::SHARED, id)]
}

/// Voids everything that is kept of these collections, on every shard: their rows were moved.
pub fn void_collections(cache: &Cache, collections: &[CollectionId]) {
    let buckets: Vec<BucketId> = collections.iter().copied().flat_map(whole).collect();
    cache.void_beside(None, &buckets);
}

/// The buckets of the rows written, of the lists they appear in, and of whatever the database
/// changes along with them.
pub(crate) fn buckets(collections: &Collections, collection: &Collection, rows: &[WrittenRow]) -> Vec<BucketId> {
    let tenant = TenantId::SHARED;
    let mut buckets = vec![BucketId::relation(tenant, collection.id)];
    if rows.len() > MAX_ROW_BUCKETS {
        buckets.push(BucketId::sweep(tenant, collection.id));
    } else {
        buckets.extend(rows.iter().map(|row| BucketId::row(tenant, collection.id, &row.key)));
    }
    match &collection.reach {
        // The request was parsed before the collections were replaced: which of them it reaches now is not known.
        _ if collections.by_id(collection.id).is_none() => buckets.extend(all(collections)),
        WriteReach::Own => {}
        WriteReach::Cascades(others) => buckets.extend(others.iter().copied().flat_map(whole)),
        WriteReach::Anything => buckets.extend(all(collections)),
    }
    buckets
}

/// Everything.
pub(crate) fn all(collections: &Collections) -> impl Iterator<Item = BucketId> {
    collections.iter().flat_map(|collection| whole(collection.id))
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

    fn sweeps(buckets: &[BucketId]) -> Vec<u32> {
        let raised = |id: &u32| buckets.contains(&BucketId::sweep(TenantId::SHARED, CollectionId(*id)));
        (0..9).filter(raised).collect()
    }

    #[test]
    fn a_write_raises_its_rows_its_lists_and_what_it_reaches() {
        let (collections, written) = served(WriteReach::Own);
        let own = buckets(&collections, &written, &rows(2));
        assert_eq!(own.len(), 3);
        assert!(own.contains(&BucketId::relation(TenantId::SHARED, written.id)));
        assert!(own.contains(&BucketId::row(TenantId::SHARED, written.id, &rows(1)[0].key)));
        assert_eq!(sweeps(&buckets(&collections, &written, &rows(257))), [0], "too many to raise one by one");

        let (collections, written) = served(WriteReach::Cascades(vec![CollectionId(2)]));
        assert_eq!(sweeps(&buckets(&collections, &written, &rows(1))), [2]);
        let (collections, written) = served(WriteReach::Anything);
        assert_eq!(sweeps(&buckets(&collections, &written, &rows(1))), [0, 1, 2]);
    }

    #[test]
    fn a_write_of_a_collection_that_was_replaced_meanwhile_raises_everything() {
        let (collections, _) = served(WriteReach::Own);
        let before = collection(7, "written");
        let raised = buckets(&collections, &before, &rows(1));
        assert_eq!(sweeps(&raised), [0, 1, 2]);
        assert!(raised.contains(&BucketId::row(TenantId::SHARED, before.id, &rows(1)[0].key)));
    }
}
