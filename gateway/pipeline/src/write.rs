//! Writes: statements, floors, COMMIT, reply, in this order.

use tidegate_store::PreparedWrite;
use tidegate_types::{
    answer::{Trace, WriteAnswer, WrittenRow},
    problem::{Problem, ProblemKind},
    request::{Facts, WriteRequest},
    route::{ShardId, ShardSet},
};
use tracing::Instrument as _;

use crate::{Gateway, gateway::GatewayParts, metrics::WriteEnd, route, touch};

/// Routes the write here, since policies look at the request, and runs it in a task of its own,
/// since a client that disconnects must not leave a transaction half done.
pub(crate) async fn write(gateway: &Gateway, facts: &Facts<'_>, write: WriteRequest) -> Result<WriteAnswer, Problem> {
    let (shard, generation) = route::write(&gateway.0, facts, &write)?;
    let parts = gateway.0.clone();
    let work = async move {
        let outcome = run(&parts, shard, &write).await;
        parts.metrics.write(match &outcome {
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
    Ok(WriteAnswer { rows, trace: Trace { shards, generation } })
}

async fn run(parts: &GatewayParts, shard: ShardId, write: &WriteRequest) -> Result<Vec<WrittenRow>, Problem> {
    let mut prepared = parts.store.begin_write(shard, write).await.map_err(|error| error.into_problem())?;
    raise_floors(parts, shard, write, &prepared);
    let rows = std::mem::take(&mut prepared.rows);
    prepared.commit().await.map_err(|error| error.into_problem())?;
    Ok(rows)
}

/// Before COMMIT is sent: until the transaction ends no snapshot sees it, so fills of these buckets
/// are refused; after it ended every new snapshot does, so they resume. An abort needs no undoing.
fn raise_floors(parts: &GatewayParts, shard: ShardId, write: &WriteRequest, prepared: &PreparedWrite) {
    if let Some(xid) = prepared.xid {
        let buckets = touch::buckets(&parts.collections, &write.collection, &prepared.rows);
        parts.cache.raise(shard, prepared.epoch, xid, &buckets);
    }
}
