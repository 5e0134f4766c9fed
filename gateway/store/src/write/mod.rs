//! Writes: everything up to COMMIT, then COMMIT by whoever raised the floors.
//!
//! # Layout
//! - `begin`: one write on one connection: BEGIN, conditions, statements, transaction id
//! - `plan`: which statements a request needs, decided before a connection is taken
//! - `statement`: their text
//! - [`JournalGuard`]: what must still be so when they have run, where write-behind owns the rows
//! - `question`: what is asked when they have run: the transaction id, and who must hear of it
//! - [`images`]: what rows held before and after, for whoever wants to know
//! - [`PreparedWrite`]: what is left to do
//!
//! # Ordering
//! BEGIN, the guard, the (only) statement and the question for the transaction id leave in one go: a write without
//! `If-Match` costs two round trips, COMMIT included.

mod guard;
pub mod images;
mod plan;
mod prepared;
pub(crate) mod question;
mod rows;
mod statement;

use std::sync::Arc;

use futures_util::future::{join, join4};
use tidegate_types::{member::Member, request::WriteRequest, snapshot::Xid};
use tokio_postgres::{Client, Error};

use self::{
    guard::Held,
    images::{Declared, Found, Images},
    plan::Plan,
    question::Question,
    rows::Collected,
};
use crate::{
    error::StoreError,
    pool::{Class, Lease},
    shard::Shard,
    sql::inferred,
    store::Gateways,
    wire::Malformed,
};

pub use guard::JournalGuard;
pub(crate) use prepared::roll_back;
pub use prepared::{PreparedWrite, Reread};

/// Who writes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Who {
    /// Whether it must be asked who else there is.
    pub(crate) gateways: Gateways,
    /// What it must own until the write has ended.
    pub(crate) guard: Option<JournalGuard>,
}

/// Does a write up to its COMMIT. Nothing is committed, so a lost connection may be replaced once.
pub(crate) async fn begin(
    shard: &Shard,
    request: &WriteRequest,
    declared: Option<&[Arc<str>]>,
    who: Who,
) -> Result<PreparedWrite, StoreError> {
    let declared = declared.map(|names| Declared::new(&request.collection, names));
    let plan = Plan::of(request, declared.as_ref())?;
    if plan.statements.is_empty() {
        plan.check_rows(&[])?;
        return Ok(PreparedWrite::nothing(shard.link.identity.epoch()));
    }
    match attempt(shard, &plan, who).await {
        Err(error) if error.is_connection() => attempt(shard, &plan, who).await,
        other => other,
    }
}

async fn attempt(shard: &Shard, plan: &Plan<'_>, who: Who) -> Result<PreparedWrite, StoreError> {
    let lease = shard.lease(Class::Write).await?;
    match execute(&lease, plan, who).await {
        Ok(Executed { collected, found, asked: Asked { xid, members } }) => {
            let Collected { rows, returned, .. } = collected;
            let images = match (plan.declared, found) {
                (Some(declared), Some(found)) => returned.images(declared, found, &rows),
                _ => Images::NotAsked,
            };
            Ok(PreparedWrite::new(lease, rows, images, Asked { xid, members }))
        }
        Err(error) => {
            // After a refusal the connection is fine; after anything else dropping the lease closes it.
            if matches!(
                error,
                StoreError::Database { .. }
                    | StoreError::Refused(_)
                    | StoreError::Members { .. }
                    | StoreError::Journal { .. }
                    | StoreError::TakenOver { .. }
            ) {
                roll_back(lease).await;
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
    asked: Asked,
}

/// What is asked when everything has run.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    /// `None` while the transaction has changed nothing.
    pub(crate) xid: Option<Xid>,
    /// Who must hear of it; `None` where there is one gateway.
    pub(crate) members: Option<Vec<Member>>,
}

/// Everything between BEGIN and COMMIT.
async fn execute(lease: &Lease, plan: &Plan<'_>, who: Who) -> Result<Executed, StoreError> {
    let client = &lease.connection().client;
    let question = Question::of(lease, who.gateways).await?;
    let mut collected = Collected::default();
    let mut found = plan.declared.map(|_| Found::default());
    let mut begin = Begin::Needed(who.guard);
    if let Some(condition) = &plan.condition {
        let params = inferred(&condition.params);
        let locked = lease.run(async {
            let locked = client.query_typed_opt(&condition.text, &params);
            let (begun, locked) = join(start(client, begin), locked).await;
            Flight::of(begun?, || locked)
        });
        let locked = locked.await?.check(lease.shard())?;
        begin = Begin::Done;
        plan.check_condition(lease.shard(), locked.as_ref())?;
    }
    let mut answer = Asked::default();
    for (i, statement) in plan.statements.iter().enumerate() {
        let run = collected.run(client, plan.collection, plan.declared, statement);
        let last = i + 1 == plan.statements.len();
        let results = lease.run(async {
            // Polled in this order, so sent in this order. After an error the later ones only say that there was one.
            let (begun, looked, ran, asked) =
                join4(start(client, begin), look(client, plan, i), run, question.ask(client, last)).await;
            Flight::of(begun?, || Ok((looked?, ran?, question.judge(asked)?)))
        });
        let (looked, outcome, asked) = results.await?.check(lease.shard())?;
        let protocol = |malformed: Malformed| rows::Unacceptable::from(malformed).or_protocol(lease.shard());
        if let Some(looked) = looked {
            found = Some(looked.map_err(protocol)?);
        }
        outcome.map_err(|problem| problem.or_protocol(lease.shard()))?;
        begin = Begin::Done;
        answer = question.answer(lease.shard(), asked)?;
    }
    plan.check_rows(&collected.rows)?;
    Ok(Executed { collected, found, asked: answer })
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

/// What was sent together with BEGIN, or behind it.
enum Flight<T> {
    /// All of it counts.
    Arrived(T),
    /// None of it does.
    NotHeld(Held),
}

impl<T> Flight<T> {
    /// Errors of the others are not looked at where the guard does not hold: they may come of that.
    fn of(held: Held, others: impl FnOnce() -> Result<T, Error>) -> Result<Self, Error> {
        match held {
            Held::Yes => others().map(Self::Arrived),
            held => Ok(Self::NotHeld(held)),
        }
    }

    fn check(self, shard: &Arc<str>) -> Result<T, StoreError> {
        match self {
            Self::Arrived(arrived) => Ok(arrived),
            Self::NotHeld(held) => Err(held.refusal(shard)),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Begin {
    Needed(Option<JournalGuard>),
    Done,
}

/// BEGIN, and the guard in the same flight.
async fn start(client: &Client, begin: Begin) -> Result<Held, Error> {
    match begin {
        Begin::Needed(None) => client.batch_execute("BEGIN").await.map(|()| Held::Yes),
        // Boxed for all other writes: their futures would be larger by it.
        Begin::Needed(Some(guard)) => {
            let (begun, held) = Box::pin(join(client.batch_execute("BEGIN"), Held::ask(client, guard))).await;
            begun.and(held)
        }
        Begin::Done => Ok(Held::Yes),
    }
}

#[cfg(test)]
mod tests;
