//! Writes: statements, floors here and in other gateways, COMMIT, voids on other shards, reply, in this order.

use std::{sync::Arc, time::Duration};

use tidegate_cache::Raised;
use tidegate_policy::Session;
use tidegate_store::PreparedWrite;
use tidegate_types::{
    answer::{Landed, Refill, Trace, WriteAnswer, WrittenRow},
    bucket::BucketId,
    collection::Mode,
    policy::{Keep, Who},
    problem::{Problem, ProblemKind, codes},
    purge::Softness,
    request::{Facts, WriteRequest},
    route::{ShardId, ShardSet},
};
use tracing::Instrument as _;

use crate::{
    Gateway,
    behind::{self, Held},
    feed::{Asked, remembered},
    gateway::Shared,
    gateways,
    invalidate::{self, Purges, Written},
    metrics::WriteEnd,
    monitor::{Sample, metrics::Source},
    refill::Refilling,
    refresh, route,
    serving::Edition,
    touch, values,
};

/// When to repeat a write whose epoch ended under it: the next connection is of the new one.
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// A write and what it began with. Held until its transaction has ended.
struct Begun {
    write: WriteRequest,
    who: Who,
    shard: ShardId,
    session: Session,
    edition: Arc<Edition>,
    /// How what it touches may be kept, where it fills the cache.
    keep: Keep,
}

/// A write that was committed.
struct Done {
    rows: Vec<WrittenRow>,
    refill: Refill,
}

/// Where a write goes, and what it began with.
pub(crate) struct Destination {
    pub(crate) who: Who,
    pub(crate) shard: ShardId,
    pub(crate) session: Session,
    edition: Arc<Edition>,
    keep: Keep,
}

impl Destination {
    /// Asks the policies on the request's task, since they look at the request.
    pub(crate) fn of(shared: &Shared, facts: &Facts<'_>, write: &WriteRequest) -> Result<Self, Problem> {
        let (edition, session) = (shared.live.hold(), shared.policies.session());
        let (who, shard) = route::write(&session, facts, write)?;
        let keep = route::refill(&session, facts, who, write);
        Ok(Self { who, shard, session, edition, keep })
    }
}

/// A write of any mode.
pub(crate) async fn write(gateway: &Gateway, facts: &Facts<'_>, write: WriteRequest) -> Result<WriteAnswer, Problem> {
    let shared = &gateway.0;
    if write.collection.mode == Mode::WriteBehind
        && let Some(behind) = shared.behind.get()
    {
        return behind::write(gateway, behind, facts, write).await;
    }
    let destination = Destination::of(shared, facts, &write)?;
    let held = behind::hold_reached(shared, &write.collection, destination.shard).await?;
    on_shard(gateway, write, destination, held).await
}

/// Runs a write on its shard in a task of its own, since a client that disconnects must not leave a transaction half
/// done, nor let go of what the write keeps others from.
pub(crate) async fn on_shard(
    gateway: &Gateway,
    write: WriteRequest,
    destination: Destination,
    held: Held,
) -> Result<WriteAnswer, Problem> {
    let shared = gateway.0.clone();
    let Destination { who, shard, session, edition, keep } = destination;
    let generation = session.generation();
    let work = async move {
        let outcome = run(&shared, Begun { write, who, shard, session, edition, keep }).await;
        shared.metrics.write(match &outcome {
            Ok(_) => WriteEnd::Committed,
            Err(problem) if problem.kind == ProblemKind::OutcomeUnknown => WriteEnd::Unknown,
            Err(_) => WriteEnd::Failed,
        });
        drop(held);
        outcome
    };
    let Done { rows, refill } = tokio::spawn(work.in_current_span()).await.unwrap_or_else(|error| {
        tracing::error!(%error, "a write's task ended without an answer");
        // It may have got as far as COMMIT.
        Err(Problem::new(
            ProblemKind::OutcomeUnknown,
            codes::OUTCOME_UNKNOWN,
            "The write ended without an answer; it may have been applied",
        )
        .hint("Read the row before trying again."))
    })?;
    let shards = ShardSet::from_slice(&[shard]);
    Ok(WriteAnswer { rows, refill, landed: Landed::Shard, trace: Trace { shards, generation, who } })
}

async fn run(shared: &Arc<Shared>, begun: Begun) -> Result<Done, Problem> {
    let wanted = values::wanted(&begun.edition.collections, &begun.write.collection, begun.session.invalidation());
    let prepared = shared.store.begin_write(begun.shard, &begun.write, wanted.as_deref(), None).await;
    let mut prepared = prepared.map_err(|error| error.into_problem())?;
    let purged = purged(shared, &begun, &prepared);
    let told = match raise_floors(shared, &begun, &prepared, wanted.as_deref().unwrap_or_default(), &purged.hard) {
        Ok(buckets) => gateways::tell(shared, begun.shard, begun.edition.digest, &prepared, buckets).await,
        Err(problem) => Err(problem),
    };
    if let Err(problem) = told {
        prepared.rollback().await;
        return Err(problem);
    }
    let rows = std::mem::take(&mut prepared.rows);
    let (epoch, xid) = (prepared.epoch, prepared.xid);
    let refilling = Refilling::prepare(shared, begun.shard, &begun.write.collection, &begun.keep, &rows);
    let outcome = match &refilling {
        Some(refilling) => prepared.commit_and_read(&refilling.reread).await,
        None => prepared.commit().await.map(|()| None),
    };
    let outcome = outcome.map_err(|error| error.into_problem());
    let unknown = outcome.as_ref().is_err_and(|problem| problem.kind == ProblemKind::OutcomeUnknown);
    if outcome.is_ok() || unknown {
        void(shared, begun.shard, begun.edition.digest, &purged).await;
    }
    if let (true, Some(xid)) = (unknown, xid) {
        // The transaction may still be under way, and ending the edition says that it is not.
        let now = shared.live.hold();
        if !Arc::ptr_eq(&now, &begun.edition) {
            let all: Vec<BucketId> = touch::all(&now.collections).collect();
            // An epoch that began since the floors were raised before COMMIT has a base above the transaction.
            let (Raised::Held | Raised::EpochOver) = shared.cache.raise(begun.shard, epoch, xid, &all);
        }
    }
    let read = outcome?;
    refresh::fetch(shared, begun.who, purged.refresh);
    shared.notes.note(Source::Write, || {
        let row = fastrand::choice(&rows)?;
        Sample::of(&begun.write.collection, begun.shard, Some(begun.who.tenant), row.key.clone())
    });
    let refill = match (refilling, read) {
        (Some(refilling), Some(read)) => refilling.keep(shared, begun.who.tenant, &read),
        _ => Refill::None,
    };
    Ok(Done { rows, refill })
}

/// What the policy purges where no transaction of a shard tells of it, so that there is no floor to raise: on the other
/// shards, and softly on every one. After COMMIT, or an answer that a policy composed of what it read before could be
/// fetched again, and kept.
pub(crate) async fn void(shared: &Shared, shard: ShardId, digest: u64, purged: &Purges) {
    let Purges { hard, soft, refresh: _ } = purged;
    shared.cache.void_beside(Some(shard), hard);
    shared.cache.soften_beside(None, soft);
    tokio::join!(
        gateways::void_beside(shared, Some(shard), digest, hard, Softness::Hard),
        gateways::void_beside(shared, None, digest, soft, Softness::Soft),
    );
}

/// What the invalidation policy wants purged besides, if there is one and anything changed.
fn purged(shared: &Shared, begun: &Begun, prepared: &PreparedWrite) -> Purges {
    let Begun { write, who, session, edition, .. } = begun;
    let (Some(_), Some(declared)) = (prepared.xid, session.invalidation()) else { return Purges::default() };
    let written = Written {
        collections: &edition.collections,
        dialect: &*shared.dialect,
        collection: &write.collection,
        who: *who,
        rows: &prepared.rows,
        declared,
        images: &prepared.images,
    };
    invalidate::buckets(written, &shared.metrics, |changes| session.invalidate(*who, changes))
}

/// Before COMMIT is sent: until the transaction ends no snapshot sees it, so fills of these buckets
/// are refused; after it ended every new snapshot does, so they resume. An abort needs no undoing.
/// `wanted` are the columns that the write told the values of.
///
/// # Errors
/// The connection's epoch is over: what is kept now would not know of the write. It must be rolled back.
fn raise_floors(
    shared: &Shared,
    begun: &Begun,
    prepared: &PreparedWrite,
    wanted: &[Arc<str>],
    purged: &[BucketId],
) -> Result<Vec<BucketId>, Problem> {
    let Some(xid) = prepared.xid else { return Ok(Vec::new()) };
    let (collections, collection) = (&begun.edition.collections, &begun.write.collection);
    let PreparedWrite { rows, images, .. } = prepared;
    let mut buckets = touch::buckets(collections, collection, rows);
    buckets.extend(values::of_write(collections, collection, wanted, rows.len(), images));
    buckets.extend_from_slice(purged);
    let asked = if begun.session.invalidation().is_some() { Asked::Policy } else { Asked::Nobody };
    shared.feeds.made(begun.shard, prepared.epoch, xid, asked, || remembered(collections, &buckets));
    match shared.cache.raise(begun.shard, prepared.epoch, xid, &buckets) {
        Raised::Held => Ok(buckets),
        Raised::EpochOver => Err(epoch_over(shared.topology.name(begun.shard))),
    }
}

pub(crate) fn epoch_over(shard: &str) -> Problem {
    tracing::warn!(shard, "a write was refused: the shard's epoch ended while it was under way");
    Problem::new(
        ProblemKind::ShardUnavailable,
        codes::SHARD_UNAVAILABLE,
        "The shard was found to be another server, or to show itself otherwise, while the write was under way",
    )
    .details("Nothing was written.")
    .hint("Try again.")
    .retry_after(RETRY_DELAY)
}
