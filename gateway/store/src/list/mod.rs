//! Lists: one statement on one shard, or one per shard and a merge in the gateway.
//!
//! # Layout
//! - [`read`]: the decision between the two, limits, the JSON array
//! - `merge`: rows of several shards in one order
//! - `sample`: keys of some rows, for checks of placement
//! - `value`, `numeric`: sort values, compared as PostgreSQL compares them
//!
//! Rows are never re-serialised: their JSON is copied once, from the row received to the array sent.

mod merge;
mod numeric;
mod sample;
mod value;

use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::{TryStreamExt, future::join_all};
use tidegate_types::{
    collection::Collection,
    problem::{Problem, ProblemKind, codes},
    query::{Count, ListQuery},
};
use tokio_postgres::Row;

pub(crate) use sample::sample_keys;

use crate::{
    error::StoreError,
    pool::{Class, Lease},
    shard::Shard,
    sql::{Sql, inferred, order::merge_terms},
    store::ListRows,
    wire::Raw,
};

/// Rows (limit plus offset) that every shard may be asked for when several are merged.
const MAX_MERGED_ROWS: u64 = 10_000;
/// Bytes of row JSON in one answer, or received from all shards for it.
const MAX_BYTES: usize = 64 << 20;

/// Reads a list.
pub(crate) async fn read(
    shards: &[&Shard],
    collection: &Collection,
    query: &ListQuery,
) -> Result<ListRows, StoreError> {
    let limit = query.limit.unwrap_or(collection.max_rows).min(collection.max_rows);
    match shards {
        [] => Ok(ListRows { json: Bytes::from_static(b"[]"), rows: 0, total: total(query, 0) }),
        [only] => read_one(only, collection, query, limit).await,
        several => read_merged(several, collection, query, limit).await,
    }
}

async fn read_one(
    shard: &Shard,
    collection: &Collection,
    query: &ListQuery,
    limit: u64,
) -> Result<ListRows, StoreError> {
    let window = Window { limit, offset: query.offset };
    let mut sql = Sql::new(collection);
    statement(&mut sql, query, window, |_| (), |sql| sql.order_by(&query.order).map(drop))?;
    let part = fetch(shard, sql, query.count, &AtomicUsize::new(MAX_BYTES)).await?;
    let json = array(part.rows.iter());
    Ok(ListRows { json: json?, rows: part.rows.len() as u64, total: total(query, part.total) })
}

async fn read_merged(
    shards: &[&Shard],
    collection: &Collection,
    query: &ListQuery,
    limit: u64,
) -> Result<ListRows, StoreError> {
    let terms = merge_terms(collection, &query.order)?;
    let window = query.offset.saturating_add(limit);
    if window > MAX_MERGED_ROWS {
        return Err(too_deep(window).into());
    }
    let budget = AtomicUsize::new(MAX_BYTES);
    let parts = shards.iter().map(|shard| async {
        let mut sql = Sql::new(collection);
        let hidden = |sql: &mut Sql<'_>| {
            for (i, term) in terms.iter().enumerate() {
                sql.push(", ").column(term.column).push(" AS o").number(i as u64);
            }
        };
        statement(&mut sql, query, Window { limit: window, offset: 0 }, hidden, |sql| {
            sql.merge_order_by(&terms);
            Ok(())
        })?;
        fetch(shard, sql, query.count, &budget).await
    });
    // All are awaited, also after one has failed: an abandoned statement would cost its connection.
    let parts: Vec<Part> = join_all(parts).await.into_iter().collect::<Result<_, _>>()?;

    let placements: Vec<_> = terms.iter().map(|term| term.placement).collect();
    let rows: Vec<&[Row]> = parts.iter().map(|part| &part.rows[..]).collect();
    let merged = merge::merge(&rows, &placements, query.offset, limit);
    let merged = merged.map_err(|error| protocol(shards[0], &error.to_string()))?;
    let count = merged.len() as u64;
    let json = array(merged.into_iter())?;
    Ok(ListRows { json, rows: count, total: total(query, parts.iter().map(|part| part.total).sum()) })
}

#[derive(Debug, Clone, Copy)]
struct Window {
    limit: u64,
    offset: u64,
}

/// Builds a list's statement. Its first column is the row's JSON; with a count, its last is the total.
fn statement<'a, 'c>(
    sql: &'a mut Sql<'c>,
    query: &ListQuery,
    window: Window,
    hidden: impl FnOnce(&mut Sql<'c>),
    order: impl FnOnce(&mut Sql<'c>) -> Result<(), Problem>,
) -> Result<(), Problem> {
    if query.count == Count::Exact {
        // One statement, so that rows and total are of one snapshot; LEFT JOIN, so that the total comes
        // back without rows too. A join with a single row keeps the order of the other side.
        sql.push("SELECT s.*, c.n FROM (SELECT count(*) AS n FROM ").relation().push(" t");
        sql.filters(&query.filters)?.push(") c LEFT JOIN (");
    }
    sql.push("SELECT ");
    sql.row_json(&query.projection)?.push(" AS j");
    hidden(sql);
    sql.push(" FROM ").relation().push(" t");
    sql.filters(&query.filters)?;
    order(sql)?;
    let clamp = |rows: u64| i64::try_from(rows).unwrap_or(i64::MAX);
    sql.push(" LIMIT ").number(clamp(window.limit)).push(" OFFSET ").number(clamp(window.offset));
    if query.count == Count::Exact {
        sql.push(") s ON true");
    }
    Ok(())
}

/// What one shard answered.
#[derive(Debug)]
struct Part {
    rows: Vec<Row>,
    total: u64,
}

/// One try, and another on a new connection if the first one's was lost: reads may be repeated.
async fn fetch(shard: &Shard, sql: Sql<'_>, count: Count, budget: &AtomicUsize) -> Result<Part, StoreError> {
    let (text, params) = sql.finish();
    let attempt = || async {
        let lease = shard.lease(Class::Scan).await?;
        let work = async |lease: &Lease| {
            let client = &lease.connection().client;
            let rows = lease
                .run(async {
                    let rows = client.query_typed_raw(&text, inferred(&params)).await?;
                    let mut kept = Vec::new();
                    let mut rows = std::pin::pin!(rows);
                    while let Some(row) = rows.try_next().await? {
                        if !spend(budget, row.raw_size_bytes()) {
                            return Ok(None);
                        }
                        kept.push(row);
                    }
                    Ok(Some(kept))
                })
                .await?;
            rows.ok_or_else(|| too_large().into())
        };
        finish(lease, work).await
    };
    let rows = match attempt().await {
        Err(error) if error.is_connection() => attempt().await?,
        other => other?,
    };
    part(rows, count).ok_or_else(|| protocol(shard, "a list and its total"))
}

fn part(mut rows: Vec<Row>, count: Count) -> Option<Part> {
    if count == Count::None {
        return Some(Part { rows, total: 0 });
    }
    let first = rows.first()?;
    let total = first.try_get::<_, i64>(first.len() - 1).ok()?;
    if first.try_get::<_, Option<Raw<'_>>>(0).ok()?.is_none() {
        rows.clear();
    }
    Some(Part { rows, total: u64::try_from(total).ok()? })
}

/// Runs read-only work and gives the connection back if nothing can be pending on it.
async fn finish<T>(lease: Lease, work: impl AsyncFnOnce(&Lease) -> Result<T, StoreError>) -> Result<T, StoreError> {
    let result = work(&lease).await;
    if matches!(result, Ok(_) | Err(StoreError::Database { .. })) {
        lease.release();
    }
    result
}

/// Takes bytes from what the answer may still hold.
fn spend(budget: &AtomicUsize, bytes: usize) -> bool {
    budget.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(bytes)).is_ok()
}

fn array<'r>(rows: impl Iterator<Item = &'r Row> + Clone) -> Result<Bytes, StoreError> {
    let missing = || StoreError::Protocol { shard: "?".into(), reason: "a row's JSON".into() };
    let size: usize = rows.clone().map(|row| row.raw_size_bytes() + 1).sum();
    let mut json = BytesMut::with_capacity(size + 2);
    json.put_u8(b'[');
    for (i, row) in rows.enumerate() {
        if i > 0 {
            json.put_u8(b',');
        }
        let Raw(row) = row.try_get(0).map_err(|_| missing())?;
        json.extend_from_slice(row);
    }
    json.put_u8(b']');
    Ok(json.freeze())
}

fn total(query: &ListQuery, total: u64) -> Option<u64> {
    (query.count == Count::Exact).then_some(total)
}

fn protocol(shard: &Shard, expected: &str) -> StoreError {
    StoreError::Protocol { shard: shard.link.name.clone(), reason: expected.into() }
}

fn too_deep(window: u64) -> Problem {
    Problem::new(
        ProblemKind::BadRequest,
        codes::LIMIT_EXCEEDED,
        format!("limit plus offset may be at most {MAX_MERGED_ROWS} when several shards answer"),
    )
    .details(format!("limit plus offset is {window}."))
    .hint("Filter by the shard key so that one shard answers, or page by a filter on the sort column.")
}

fn too_large() -> Problem {
    Problem::new(
        ProblemKind::BadRequest,
        codes::LIMIT_EXCEEDED,
        format!("The result is larger than {} MiB", MAX_BYTES >> 20),
    )
    .hint("Ask for fewer rows with limit, or fewer columns with select.")
}
