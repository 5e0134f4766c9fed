//! Bounded consistency stretches time: rows shortly before their end are fetched again early, those shortly after it
//! are served while they are fetched again, or where their shard does not answer.

use std::sync::Arc;

use tidegate_cache::{EntryKey, Grace, Served};
use tidegate_types::{
    answer::{CacheStatus, StaleReason},
    policy::Narrowed,
    problem::{Problem, ProblemKind},
    request::RowRead,
};

use super::{load, plan};
use crate::{bounded, gateway::Shared};

/// Fetches a hit again if its end is near, with a chance.
pub(super) fn refresh_early(
    shared: &Arc<Shared>,
    read: &RowRead,
    entry: &EntryKey,
    bounds: Option<&Arc<Narrowed>>,
    served: &Served,
) {
    if let CacheStatus::Hit { ttl, .. } = served.status
        && shared.stretch.is_due_early(read.collection.consistency, ttl)
    {
        refresh(shared, read, entry, bounds);
    }
}

/// A row after its time, and a fetch for those who come later.
pub(super) fn while_revalidating(
    shared: &Arc<Shared>,
    read: &RowRead,
    entry: &EntryKey,
    bounds: Option<&Arc<Narrowed>>,
) -> Option<Served> {
    let grace = bounded::while_revalidate(read.collection.consistency, bounds.map(|bounds| &**bounds));
    if grace.is_zero() {
        return None;
    }
    let grace = Grace::For(grace, StaleReason::Revalidating);
    let served = shared.cache.get_late(entry, bounds.map(|bounds| &**bounds), grace)?;
    refresh(shared, read, entry, bounds);
    Some(served)
}

/// A row after its time instead of a problem, if the problem is the shard's.
pub(super) fn if_error(
    shared: &Shared,
    read: &RowRead,
    entry: &EntryKey,
    bounds: Option<&Narrowed>,
    problem: Problem,
) -> Result<Served, Problem> {
    let grace = bounded::if_error(read.collection.consistency);
    let of_shard = matches!(
        problem.kind,
        ProblemKind::ShardUnavailable | ProblemKind::PoolTimeout | ProblemKind::StatementTimeout
    );
    if grace.is_zero() || !of_shard {
        return Err(problem);
    }
    shared.cache.get_late(entry, bounds, Grace::For(grace, StaleReason::Error)).ok_or(problem)
}

/// In a task of its own; a few at a time, and one for each row.
fn refresh(shared: &Arc<Shared>, read: &RowRead, entry: &EntryKey, bounds: Option<&Arc<Narrowed>>) {
    let Ok(permit) = shared.stretch.refreshes.clone().try_acquire_owned() else { return };
    if !shared.live.is_settled(read.collection.id) {
        return;
    }
    let (shared, read, entry, bounds) = (shared.clone(), read.clone(), entry.clone(), bounds.cloned());
    tokio::spawn(async move {
        let plan = plan(&shared, &read.collection, bounds.as_deref());
        shared.cache.refresh(&entry, plan, || load(&shared, &read, entry.shard)).await;
        drop(permit);
    });
}
