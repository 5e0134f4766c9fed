//! Writes: everything up to COMMIT, then COMMIT by whoever raised the floors.
//!
//! # Layout
//! - `begin`: one write on one connection: BEGIN, conditions, statements, transaction id
//! - `plan`: which statements a request needs, decided before a connection is taken
//! - `statement`: their text
//! - [`PreparedWrite`]: what is left to do
//!
//! # Ordering
//! BEGIN, the (only) statement and the question for the transaction id leave in one go: a write without
//! `If-Match` costs two round trips, COMMIT included.

mod plan;
mod prepared;
mod rows;
mod statement;

use futures_util::future::{join, join3};
use tidegate_types::{request::WriteRequest, snapshot::Xid};
use tokio_postgres::{Client, Error};

use self::{plan::Plan, rows::Collected};
use crate::{
    error::StoreError,
    pool::{Class, Lease},
    shard::Shard,
    sql::inferred,
};

pub use prepared::PreparedWrite;

/// `NULL` while the transaction has changed nothing.
const CURRENT_XID: &str = "SELECT pg_current_xact_id_if_assigned()::text";

/// Does a write up to its COMMIT. Nothing is committed, so a lost connection may be replaced once.
pub(crate) async fn begin(shard: &Shard, request: &WriteRequest) -> Result<PreparedWrite, StoreError> {
    let plan = Plan::of(request)?;
    if plan.statements.is_empty() {
        plan.check_rows(&[])?;
        return Ok(PreparedWrite::nothing(shard.link.identity.epoch()));
    }
    match attempt(shard, &plan).await {
        Err(error) if error.is_connection() => attempt(shard, &plan).await,
        other => other,
    }
}

async fn attempt(shard: &Shard, plan: &Plan<'_>) -> Result<PreparedWrite, StoreError> {
    let lease = shard.lease(Class::Write).await?;
    match execute(&lease, plan).await {
        Ok((collected, xid)) => Ok(PreparedWrite::new(lease, collected.rows, xid)),
        Err(error) => {
            // After a refusal the connection is fine; after anything else dropping the lease closes it.
            if matches!(error, StoreError::Database { .. } | StoreError::Refused(_)) {
                prepared::roll_back(lease).await;
            }
            Err(error)
        }
    }
}

/// Everything between BEGIN and COMMIT.
async fn execute(lease: &Lease, plan: &Plan<'_>) -> Result<(Collected, Option<Xid>), StoreError> {
    let client = &lease.connection().client;
    let mut collected = Collected::default();
    let mut begin = Begin::Needed;
    if let Some(condition) = &plan.condition {
        let params = inferred(&condition.params);
        let locked = lease
            .run(async {
                let locked = client.query_typed_opt(&condition.text, &params);
                let (begun, locked) = join(client.batch_execute("BEGIN"), locked).await;
                begun.and(locked)
            })
            .await?;
        begin = Begin::Done;
        plan.check_condition(lease.shard(), locked.as_ref())?;
    }
    let mut xid = None;
    for (i, statement) in plan.statements.iter().enumerate() {
        let run = collected.run(client, plan.collection, statement);
        let last = i + 1 == plan.statements.len();
        let results = lease.run(async {
            // Polled in this order, so sent in this order.
            let (begun, ran, asked) = join3(start(client, begin), run, ask(client, last)).await;
            begun?;
            Ok((ran?, asked?))
        });
        let (outcome, asked) = results.await?;
        outcome.map_err(|problem| problem.or_protocol(lease.shard()))?;
        begin = Begin::Done;
        xid = asked;
    }
    plan.check_rows(&collected.rows)?;
    let xid = xid.map(|text| text.parse().map(Xid)).transpose();
    let xid = xid.map_err(|_| StoreError::Protocol { shard: lease.shard().clone(), reason: "a transaction id".into() });
    Ok((collected, xid?))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Begin {
    Needed,
    Done,
}

async fn start(client: &Client, begin: Begin) -> Result<(), Error> {
    match begin {
        Begin::Needed => client.batch_execute("BEGIN").await,
        Begin::Done => Ok(()),
    }
}

async fn ask(client: &Client, last: bool) -> Result<Option<String>, Error> {
    if !last {
        return Ok(None);
    }
    let rows = client.query_typed(CURRENT_XID, &[]).await?;
    rows.first().map_or(Ok(None), |row| row.try_get(0))
}
