//! Which buckets a write raises.

use tidegate_types::{
    answer::WrittenRow,
    bucket::BucketId,
    collection::{Collection, CollectionId, Collections, WriteReach},
    request::TenantId,
};

/// Rows raised one by one; a write of more raises the whole collection instead.
const MAX_ROW_BUCKETS: usize = 256;

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
    let mut whole = |id: CollectionId| {
        buckets.extend([BucketId::sweep(tenant, id), BucketId::relation(tenant, id)]);
    };
    match &collection.reach {
        WriteReach::Own => {}
        WriteReach::Cascades(others) => others.iter().copied().for_each(&mut whole),
        WriteReach::Anything => collections.iter().map(|c| c.id).for_each(&mut whole),
    }
    buckets
}
