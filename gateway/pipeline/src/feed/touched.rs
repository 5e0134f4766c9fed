//! The buckets of what changed in a table.

use std::sync::Arc;

use tidegate_store::feed::{Changed, Changes, FeedTable, RowChange, RowImage, TableChanges, Watched};
use tidegate_types::{
    bucket::{BucketId, RelationSeed},
    collection::{Collection, Collections},
};

use super::made::Known;
use crate::{
    touch::{MAX_ROW_BUCKETS, all, whole},
    values::{Value, Values},
};

/// The collections of a table.
pub(super) fn of_table<'a>(
    collections: &'a Collections,
    table: &'a FeedTable,
) -> impl Iterator<Item = &'a Arc<Collection>> {
    collections.iter().filter(|collection| collection.relation == table.relation)
}

/// The buckets of what a transaction changed in a table; `made` is what is known of it, if a gateway made it.
pub(super) fn buckets(collections: &Collections, changes: &TableChanges, made: &Known) -> Vec<BucketId> {
    let Changed::Followed(table) = &changes.table else { return all(collections).collect() };
    let mut buckets = Vec::new();
    for collection in of_table(collections, table) {
        let seed = collection.seed();
        let rows = match &changes.changes {
            Changes::Rows(rows) if rows.len() <= MAX_ROW_BUCKETS => keyed(collection, table, rows),
            _ => None,
        };
        match rows {
            Some(rows) => {
                buckets.push(BucketId::relation(seed));
                buckets.extend(rows.iter().flat_map(|row| &row.buckets).copied());
                buckets.extend(values(collection, table, seed, &rows, made));
            }
            None => buckets.extend(whole(seed)),
        }
    }
    buckets
}

/// A changed row and the buckets of its keys, before and after.
struct Keyed<'a> {
    row: &'a RowChange,
    buckets: Vec<BucketId>,
}

fn images(row: &RowChange) -> impl Iterator<Item = &RowImage> {
    row.before.iter().chain(&row.after)
}

/// `None` if a key cannot be read.
fn keyed<'a>(collection: &Collection, table: &FeedTable, rows: &'a [RowChange]) -> Option<Vec<Keyed<'a>>> {
    // The collection may have been redefined since the table was asked for.
    collection.key_columns().map(|column| &column.name).eq(&table.key).then_some(())?;
    let seed = collection.seed();
    let bucket = |image: &RowImage| {
        let key = collection.parse_key(image.key.iter().map(|text| &**text)).ok()?;
        Some(BucketId::row(seed, &key))
    };
    rows.iter().map(|row| Some(Keyed { row, buckets: images(row).map(bucket).collect::<Option<_>>()? })).collect()
}

/// The values of tracked columns that rows had and have. What is not told of a row that a gateway wrote was known to
/// that gateway, which has raised it, or every value if it was not.
fn values(
    collection: &Collection,
    table: &FeedTable,
    seed: RelationSeed,
    rows: &[Keyed<'_>],
    made: &Known,
) -> Vec<BucketId> {
    if collection.track.is_empty() {
        return Vec::new();
    }
    let swept = made.has_raised(BucketId::sweep(seed));
    let mut values = Values::new(seed);
    for Keyed { row, buckets } in rows {
        let raised = swept || buckets.iter().all(|bucket| made.has_raised(*bucket));
        for tracked in &collection.track {
            // A table that was asked for before the column was tracked does not tell it.
            let at = table.watched.iter().position(|watched| **watched == *tracked.name);
            for image in images(row) {
                match at.and_then(|at| image.watched.get(at)) {
                    Some(Watched::Text(text)) => values.see(tracked, Value::Text(text)),
                    Some(Watched::Null) => values.see(tracked, Value::Null),
                    Some(Watched::Unknown) | None if raised => {}
                    Some(Watched::Unknown) | None => values.see(tracked, Value::Unknown),
                }
            }
        }
    }
    values.buckets()
}
