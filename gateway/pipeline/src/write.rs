//! Writes: statements, floors, COMMIT, voids on other shards, reply, in this order.

use std::sync::Arc;

use tidegate_policy::Session;
use tidegate_store::PreparedWrite;
use tidegate_types::{
    answer::{Trace, WriteAnswer, WrittenRow},
    bucket::BucketId,
    policy::Who,
    problem::{Problem, ProblemKind},
    request::{Facts, WriteRequest},
    route::{ShardId, ShardSet},
};
use tracing::Instrument as _;

use crate::{
    Gateway,
    gateway::Shared,
    invalidate::{self, Written},
    metrics::WriteEnd,
    route,
    serving::Edition,
    touch,
};

/// A write and what it began with. Held until its transaction has ended.
struct Begun {
    write: WriteRequest,
    who: Who,
    shard: ShardId,
    session: Session,
    edition: Arc<Edition>,
}

/// Asks the policies here, since they look at the request, and runs the write in a task of its own,
/// since a client that disconnects must not leave a transaction half done.
pub(crate) async fn write(gateway: &Gateway, facts: &Facts<'_>, write: WriteRequest) -> Result<WriteAnswer, Problem> {
    let shared = gateway.0.clone();
    let (edition, session) = (shared.live.hold(), shared.policies.session());
    let generation = session.generation();
    let (who, shard) = route::write(&session, facts, &write)?;
    let work = async move {
        let outcome = run(&shared, Begun { write, who, shard, session, edition }).await;
        shared.metrics.write(match &outcome {
            Ok(_) => WriteEnd::Committed,
            Err(problem) if problem.kind == ProblemKind::OutcomeUnknown => WriteEnd::Unknown,
            Err(_) => WriteEnd::Failed,
        });
        outcome
    };
    let rows = tokio::spawn(work.in_current_span()).await.unwrap_or_else(|error| {
        tracing::error!(%error, "a write's task ended without an answer");
        // It may have got as far as COMMIT.
        Err(Problem::new(
            ProblemKind::OutcomeUnknown,
            tidegate_types::problem::codes::OUTCOME_UNKNOWN,
            "The write ended without an answer; it may have been applied",
        )
        .hint("Read the row before trying again."))
    })?;
    let shards = ShardSet::from_slice(&[shard]);
    Ok(WriteAnswer { rows, trace: Trace { shards, generation, who } })
}

async fn run(shared: &Shared, begun: Begun) -> Result<Vec<WrittenRow>, Problem> {
    let declared = begun.session.invalidation();
    let prepared = shared.store.begin_write(begun.shard, &begun.write, declared).await;
    let mut prepared = prepared.map_err(|error| error.into_problem())?;
    let purged = purged(shared, &begun, &prepared);
    raise_floors(shared, &begun, &prepared, &purged);
    let rows = std::mem::take(&mut prepared.rows);
    let (epoch, xid) = (prepared.epoch, prepared.xid);
    let outcome = prepared.commit().await.map_err(|error| error.into_problem());
    let unknown = outcome.as_ref().is_err_and(|problem| problem.kind == ProblemKind::OutcomeUnknown);
    if outcome.is_ok() || unknown {
        // No transaction of those shards changed anything, so there is no floor to raise. After COMMIT, or
        // an answer that a policy composed of what it read before could be fetched again, and kept.
        shared.cache.void_beside(Some(begun.shard), &purged);
    }
    if let (true, Some(xid)) = (unknown, xid) {
        // The transaction may still be under way, and ending the edition says that it is not.
        let now = shared.live.hold();
        if !Arc::ptr_eq(&now, &begun.edition) {
            let all: Vec<BucketId> = touch::all(&now.collections).collect();
            shared.cache.raise(begun.shard, epoch, xid, &all);
        }
    }
    outcome.map(|()| rows)
}

/// What the invalidation policy wants purged besides, if there is one and anything changed.
fn purged(shared: &Shared, begun: &Begun, prepared: &PreparedWrite) -> Vec<BucketId> {
    let Begun { write, who, session, edition, .. } = begun;
    if prepared.xid.is_none() || session.invalidation().is_none() {
        return Vec::new();
    }
    let written = Written {
        collections: &edition.collections,
        collection: &write.collection,
        who: *who,
        rows: &prepared.rows,
        images: &prepared.images,
    };
    invalidate::buckets(written, &shared.metrics, |changes| session.invalidate(*who, changes))
}

/// Before COMMIT is sent: until the transaction ends no snapshot sees it, so fills of these buckets
/// are refused; after it ended every new snapshot does, so they resume. An abort needs no undoing.
fn raise_floors(shared: &Shared, begun: &Begun, prepared: &PreparedWrite, purged: &[BucketId]) {
    if let Some(xid) = prepared.xid {
        let mut buckets = touch::buckets(&begun.edition.collections, &begun.write.collection, &prepared.rows);
        buckets.extend_from_slice(purged);
        shared.cache.raise(begun.shard, prepared.epoch, xid, &buckets);
    }
}
