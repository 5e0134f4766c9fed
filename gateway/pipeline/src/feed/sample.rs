//! A row of a transaction for the consistency monitor.

use std::sync::Arc;

use tidegate_store::feed::{Changed, Changes, TableChanges, Transaction};
use tidegate_types::{
    collection::{Collection, Collections},
    key::RowKey,
    route::ShardId,
};

use super::of_table;
use crate::monitor::Sample;

/// One of the rows that a transaction changed, drawn by lot; `None` where no row is known, or none may be kept.
pub(super) fn of(collections: &Collections, shard: ShardId, transaction: &Transaction) -> Option<Sample> {
    let changes = fastrand::choice(&transaction.tables)?;
    let Changed::Followed(table) = &changes.table else { return None };
    let collection = fastrand::choice(of_table(collections, table).collect::<Vec<_>>())?;
    // Whose it is the log does not say.
    Sample::of(collection, shard, None, key(collection, &table.key, changes)?)
}

fn key(collection: &Arc<Collection>, columns: &[String], changes: &TableChanges) -> Option<RowKey> {
    // The collection may have been redefined since the table was asked for.
    collection.key_columns().map(|column| &column.name).eq(columns).then_some(())?;
    let Changes::Rows(rows) = &changes.changes else { return None };
    let row = fastrand::choice(rows)?;
    // Of one that moved both keys are of interest: what was kept under the old one is outdated.
    let image = fastrand::choice(row.before.iter().chain(&row.after).collect::<Vec<_>>())?;
    collection.parse_key(image.key.iter().map(|text| &**text)).ok()
}
