//! Writes: everything up to COMMIT, then COMMIT by whoever raised the floors.
//!
//! # Layout
//! - `begin`: one write on one connection: BEGIN, conditions, statements, transaction id
//! - `plan`: which statements a request needs, decided before a connection is taken
//! - `statement`: their text
//! - [`images`]: what rows held before and after, for whoever wants to know
//! - [`PreparedWrite`]: what is left to do
//!
//! # Ordering
//! BEGIN, the (only) statement and the question for the transaction id leave in one go: a write without
//! `If-Match` costs two round trips, COMMIT included.

pub mod images;
mod plan;
mod prepared;
mod rows;
mod statement;

use std::sync::Arc;

use futures_util::future::{join, join4};
use tidegate_types::{request::WriteRequest, snapshot::Xid};
use tokio_postgres::{Client, Error};

use self::{
    images::{Declared, Found, Images},
    plan::Plan,
    rows::Collected,
};
use crate::{
    error::StoreError,
    pool::{Class, Lease},
    shard::Shard,
    sql::inferred,
    wire::Malformed,
};

pub use prepared::PreparedWrite;

/// `NULL` while the transaction has changed nothing.
const CURRENT_XID: &str = "SELECT pg_current_xact_id_if_assigned()::text";

/// Does a write up to its COMMIT. Nothing is committed, so a lost connection may be replaced once.
pub(crate) async fn begin(
    shard: &Shard,
    request: &WriteRequest,
    declared: Option<&[Arc<str>]>,
) -> Result<PreparedWrite, StoreError> {
    let declared = declared.map(|names| Declared::new(&request.collection, names));
    let plan = Plan::of(request, declared.as_ref())?;
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
        Ok(Executed { collected, found, xid }) => {
            let Collected { rows, returned, .. } = collected;
            let images = match (plan.declared, found) {
                (Some(declared), Some(found)) => returned.images(declared, found, &rows),
                _ => Images::NotAsked,
            };
            Ok(PreparedWrite::new(lease, rows, images, xid))
        }
        Err(error) => {
            // After a refusal the connection is fine; after anything else dropping the lease closes it.
            if matches!(error, StoreError::Database { .. } | StoreError::Refused(_)) {
                prepared::roll_back(lease).await;
            }
            Err(error)
        }
    }
}

/// What the statements of a write brought.
struct Executed {
    collected: Collected,
    /// `None` if nobody asked.
    found: Option<Found>,
    xid: Option<Xid>,
}

/// Everything between BEGIN and COMMIT.
async fn execute(lease: &Lease, plan: &Plan<'_>) -> Result<Executed, StoreError> {
    let client = &lease.connection().client;
    let mut collected = Collected::default();
    let mut found = plan.declared.map(|_| Found::default());
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
        let run = collected.run(client, plan.collection, plan.declared, statement);
        let last = i + 1 == plan.statements.len();
        let results = lease.run(async {
            // Polled in this order, so sent in this order. After an error the later ones only say that there was one.
            let (begun, looked, ran, asked) =
                join4(start(client, begin), look(client, plan, i), run, ask(client, last)).await;
            begun?;
            Ok((looked?, ran?, asked?))
        });
        let (looked, outcome, asked) = results.await?;
        let protocol = |malformed: Malformed| rows::Unacceptable::from(malformed).or_protocol(lease.shard());
        if let Some(looked) = looked {
            found = Some(looked.map_err(protocol)?);
        }
        outcome.map_err(|problem| problem.or_protocol(lease.shard()))?;
        begin = Begin::Done;
        xid = asked;
    }
    plan.check_rows(&collected.rows)?;
    let xid = xid.map(|text| text.parse().map(Xid)).transpose();
    let xid = xid.map_err(|_| StoreError::Protocol { shard: lease.shard().clone(), reason: "a transaction id".into() });
    Ok(Executed { collected, found, xid: xid? })
}

/// Reads what the rows hold, before the first statement.
async fn look(client: &Client, plan: &Plan<'_>, statement: usize) -> Result<Option<Result<Found, Malformed>>, Error> {
    match (plan.declared, &plan.before) {
        (Some(declared), Some(before)) if statement == 0 => {
            Found::read(client, plan.collection, declared, before).await.map(Some)
        }
        _ => Ok(None),
    }
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

#[cfg(test)]
mod tests;
