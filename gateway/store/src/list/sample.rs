//! The keys of some rows, for checks of placement.

use serde_json::Value;
use tidegate_types::{collection::Collection, key::RowKey};

use super::{finish, protocol};
use crate::{
    error::StoreError,
    pool::{Class, Lease},
    shard::Shard,
    sql::Sql,
    wire::{self, Raw},
};

/// How many of the keys wanted the blocks drawn are meant to give, in percent. Their number varies, and a limit
/// that cuts it off leaves out the end of the table.
const AIM: u64 = 80;

/// At most `limit` keys: a quarter from each end of the primary key, which two index scans give, and
/// the rest from blocks drawn at random all over the table. Rows that were copied in together lie
/// together, so neither the ends nor one run of the table would do.
///
/// Drawing blocks reads those blocks only, however large the table is.
pub(crate) async fn sample_keys(
    shard: &Shard,
    collection: &Collection,
    limit: usize,
) -> Result<Vec<RowKey>, StoreError> {
    let lease = shard.lease(Class::Scan).await?;
    let limit = limit as u64;
    let rows = finish(lease, async |lease| {
        let estimate = estimate(lease, collection).await?;
        let statement = statement(collection, limit, estimate);
        lease.run(lease.connection().client.query_typed(&statement, &[])).await
    })
    .await?;
    rows.iter()
        .map(|row| {
            let values = (0..row.len()).map(|i| row.try_get::<_, Option<Raw<'_>>>(i).ok().flatten());
            wire::row_key(collection, values).map_err(|error| protocol(shard, &error.to_string()))
        })
        .collect()
}

/// The planner's estimate of the table's rows: at once, for partitioned tables too, and within a few
/// times the truth for tables never analysed.
async fn estimate(lease: &Lease, collection: &Collection) -> Result<u64, StoreError> {
    let mut sql = Sql::new(collection);
    sql.push("EXPLAIN (FORMAT JSON) SELECT FROM ").relation().push(" t");
    let (text, _) = sql.finish();
    let rows = lease.run(lease.connection().client.query_typed(&text, &[])).await?;
    let plan = rows.first().and_then(|row| row.try_get::<_, Raw<'_>>(0).ok());
    let plan = plan.and_then(|Raw(plan)| serde_json::from_slice::<Value>(plan).ok()).unwrap_or_default();
    // Without it every block is drawn from, and the limit ends it.
    Ok(plan[0]["Plan"]["Plan Rows"].as_u64().unwrap_or(0))
}

fn statement(collection: &Collection, limit: u64, estimate: u64) -> String {
    // Both halves of a small table are its ends.
    let end = if estimate <= limit { limit.div_ceil(2) } else { limit.div_ceil(4) };
    let spread = limit.saturating_sub(2 * end);
    let mut sql = Sql::new(collection);
    for direction in ["", " DESC"] {
        sql.push("(SELECT ").key_columns(", ").push(" FROM ").relation().push(" t ORDER BY ");
        sql.separated(", ", collection.key_columns(), |sql, column| {
            sql.column(column).push(direction);
        });
        sql.push(" LIMIT ").number(end).push(") UNION ");
    }
    sql.push("(SELECT ").key_columns(", ").push(" FROM ").relation().push(" t TABLESAMPLE SYSTEM (");
    sql.push(&percent(spread * AIM / 100, estimate)).push(") LIMIT ").number(spread).push(")");
    sql.finish().0
}

/// The part of the blocks, in percent, that holds about this many of the rows.
fn percent(wanted: u64, estimate: u64) -> String {
    if estimate <= wanted {
        return "100".to_owned();
    }
    // Both are far below what a float holds exactly.
    #[expect(clippy::cast_precision_loss, reason = "a percentage of blocks needs no more digits")]
    let percent = 100.0 * wanted as f64 / estimate as f64;
    format!("{percent:.9}")
}

#[cfg(test)]
mod tests {
    use super::percent;

    #[test]
    fn small_tables_are_drawn_from_whole_and_large_ones_in_part() {
        assert_eq!((percent(5_000, 0).as_str(), percent(5_000, 5_000).as_str()), ("100", "100"));
        assert_eq!(percent(5_000, 50_000), "10.000000000");
        assert_eq!(percent(5_000, 1_000_000_000), "0.000500000");
    }
}
