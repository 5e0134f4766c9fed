//! Lists: one statement on one shard, or one per shard and a merge in the gateway.
//!
//! # Layout
//! - [`read`]: the decision between the two, limits, the JSON array
//! - `merge`: rows of several shards in one order
//! - `sample`: keys of some rows, for checks of placement
//! - `value`, `numeric`: sort values, compared as PostgreSQL compares them
//!
//! Rows are never re-serialised: their JSON is copied once, from the row received to the array sent.
//!
//! Each statement returns its own snapshot, also without rows: its first row holds that and the total, and no JSON.

mod merge;
mod numeric;
mod sample;
mod value;

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::{TryStreamExt, future::join_all};
use smallvec::SmallVec;
use tidegate_types::{
    collection::Collection,
    epoch::Epoch,
    problem::{Problem, ProblemKind, codes},
    query::{Count, ListQuery},
    snapshot::Snapshot,
};
use tokio_postgres::Row;

pub(crate) use sample::sample_keys;

use crate::{
    error::StoreError,
    pool::{Class, Lease},
    shard::Shard,
    sql::{
        Sql, inferred,
        order::{MergeTerm, merge_terms},
    },
    store::{ListPart, ListRows},
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
        [] => {
            let parts = SmallVec::new();
            Ok(ListRows { json: Bytes::from_static(b"[]"), rows: 0, total: total(query, 0), parts })
        }
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
    statement(&mut sql, query, window, &[], |sql| sql.order_by(&query.order).map(drop))?;
    let part = fetch(shard, sql, query.count, &AtomicUsize::new(MAX_BYTES)).await?;
    Ok(ListRows {
        json: array(part.rows().iter())?,
        rows: part.rows().len() as u64,
        total: total(query, part.total),
        parts: SmallVec::from_buf([part.read]),
    })
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
        statement(&mut sql, query, Window { limit: window, offset: 0 }, &terms, |sql| {
            sql.merge_order_by(&terms);
            Ok(())
        })?;
        fetch(shard, sql, query.count, &budget).await
    });
    // All are awaited, also after one has failed: an abandoned statement would cost its connection.
    let parts: Vec<Part> = join_all(parts).await.into_iter().collect::<Result<_, _>>()?;

    let placements: Vec<_> = terms.iter().map(|term| term.placement).collect();
    let rows: Vec<&[Row]> = parts.iter().map(Part::rows).collect();
    let merged = merge::merge(&rows, &placements, query.offset, limit);
    let merged = merged.map_err(|error| protocol(shards[0], &error.to_string()))?;
    let count = merged.len() as u64;
    let json = array(merged.into_iter())?;
    let total = total(query, parts.iter().map(|part| part.total).sum());
    Ok(ListRows { json, rows: count, total, parts: parts.into_iter().map(|part| part.read).collect() })
}

#[derive(Debug, Clone, Copy)]
struct Window {
    limit: u64,
    offset: u64,
}

/// Builds a list's statement. Its columns are the row's JSON, the `hidden` ones to merge by, and those of its first
/// row alone: the snapshot and, with a count, the total.
///
/// One statement, so that all of it is of one snapshot. The first row stands before the others because PostgreSQL
/// appends the branches of UNION ALL in their order; a branch with a LIMIT is never run by parallel workers.
fn statement<'c>(
    sql: &mut Sql<'c>,
    query: &ListQuery,
    window: Window,
    hidden: &[MergeTerm<'_>],
    order: impl FnOnce(&mut Sql<'c>) -> Result<(), Problem>,
) -> Result<(), Problem> {
    sql.push("SELECT NULL AS j");
    sql.separated("", hidden, |sql, _| {
        sql.push(", NULL");
    });
    sql.push(", pg_current_snapshot()::text");
    if query.count == Count::Exact {
        sql.push(", (SELECT count(*) FROM ").relation().push(" t");
        sql.filters(&query.filters)?.push(")");
    }
    sql.push(" UNION ALL (SELECT ");
    sql.row_json(&query.projection)?;
    sql.separated("", hidden, |sql, term| {
        sql.push(", ").column(term.column);
    });
    sql.push(match query.count {
        Count::None => ", NULL FROM ",
        Count::Exact => ", NULL, NULL FROM ",
    });
    sql.relation().push(" t");
    sql.filters(&query.filters)?;
    order(sql)?;
    let clamp = |rows: u64| i64::try_from(rows).unwrap_or(i64::MAX);
    sql.push(" LIMIT ").number(clamp(window.limit)).push(" OFFSET ").number(clamp(window.offset)).push(")");
    Ok(())
}

/// What one shard answered.
#[derive(Debug)]
struct Part {
    /// The first is not one of the list's.
    answered: Vec<Row>,
    total: u64,
    read: ListPart,
}

impl Part {
    fn of(shard: &Shard, epoch: Epoch, answered: Vec<Row>, count: Count) -> Option<Self> {
        let first = answered.first()?;
        let last = first.len().checked_sub(1)?;
        let (snapshot, total) = match count {
            Count::None => (last, 0),
            Count::Exact => (last.checked_sub(1)?, first.try_get::<_, i64>(last).ok()?),
        };
        let snapshot = Arc::new(Snapshot::parse(first.try_get(snapshot).ok()?).ok()?);
        let read = ListPart { shard: shard.link.identity.shard(), snapshot, epoch };
        Some(Self { answered, total: u64::try_from(total).ok()?, read })
    }

    fn rows(&self) -> &[Row] {
        self.answered.get(1..).unwrap_or_default()
    }
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
            let rows = rows.ok_or_else(|| StoreError::from(too_large()))?;
            Ok((rows, lease.connection().epoch))
        };
        finish(lease, work).await
    };
    let (rows, epoch) = match attempt().await {
        Err(error) if error.is_connection() => attempt().await?,
        other => other?,
    };
    let part = Part::of(shard, epoch, rows, count).ok_or_else(|| protocol(shard, "a list with its snapshot"))?;
    shard.link.identity.saw(part.read.epoch, part.read.snapshot.xmax);
    Ok(part)
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
