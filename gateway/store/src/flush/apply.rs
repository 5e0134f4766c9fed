//! Mutations, applied: all at once, or all but those that cannot be.
//!
//! What fails as a whole is halved, under a savepoint, until the one that fails is alone. Halves are tried in order, so
//! that a mutation stands alone only when everything before it is in place: a row that refers to another one of the
//! batch is not blamed for it.

use tidegate_types::mutation::Sequence;

use super::{
    DeadReason, FlushError, Pending,
    statement::{Task, groups},
    verdict,
};
use crate::{StoreError, pool::Lease};

/// A mutation that cannot be applied.
#[derive(Debug)]
pub(super) struct Dead {
    /// Its place in the batch.
    pub(super) position: usize,
    pub(super) reason: DeadReason,
}

const SAVE: &str = "SAVEPOINT tidegate_flush";
const BACK: &str = "ROLLBACK TO SAVEPOINT tidegate_flush";
/// Constraints that wait for COMMIT are asked now: COMMIT must not fail for them.
const KEEP: &str = "SET CONSTRAINTS ALL IMMEDIATE; SET CONSTRAINTS ALL DEFERRED; \
RELEASE SAVEPOINT tidegate_flush; SAVEPOINT tidegate_flush";

/// Applies what can be applied, and gives the rest, in order.
pub(super) async fn apply(lease: &Lease, mutations: &[Pending]) -> Result<Vec<Dead>, FlushError> {
    debug_assert!(mutations.is_sorted_by_key(|pending: &Pending| -> Sequence { pending.sequence }));
    let mut dead = Vec::new();
    let mut parts = Vec::with_capacity(mutations.len());
    for (position, pending) in mutations.iter().enumerate() {
        match Task::of(pending) {
            Ok(task) => parts.push(Part { position, task }),
            Err(reason) => dead.push(Dead { position, reason }),
        }
    }
    let client = &lease.connection().client;
    lease.run(client.batch_execute(SAVE)).await?;
    let refused = halve(lease, &parts).await?;
    dead.extend(again(lease, &parts, refused).await?);
    dead.sort_by_key(|dead| dead.position);
    Ok(dead)
}

/// A mutation to be applied, and how.
struct Part<'a> {
    position: usize,
    task: Task<'a>,
}

/// Tries parts, each smaller than the one that failed; gives those that failed alone.
async fn halve(lease: &Lease, parts: &[Part<'_>]) -> Result<Vec<Dead>, StoreError> {
    let mut refused = Vec::new();
    let mut left = vec![parts];
    while let Some(part) = left.pop() {
        match (attempt(lease, part).await?, part) {
            (None, _) | (Some(_), []) => {}
            (Some(reason), [only]) => refused.push(Dead { position: only.position, reason }),
            (Some(_), several) => {
                let (first, second) = several.split_at(several.len() / 2);
                left.push(second);
                left.push(first);
            }
        }
    }
    Ok(refused)
}

/// A constraint may be met by what came later in the batch, as it would have been had the batch been applied as a
/// whole: once more for each, now that everything else is in place.
async fn again(lease: &Lease, parts: &[Part<'_>], refused: Vec<Dead>) -> Result<Vec<Dead>, StoreError> {
    let mut dead = Vec::with_capacity(refused.len());
    for Dead { position, reason } in refused {
        let part = parts.iter().position(|part| part.position == position);
        let reason = match part {
            Some(at) if reason.sqlstate.starts_with("23") => attempt(lease, &parts[at..=at]).await?,
            _ => Some(reason),
        };
        dead.extend(reason.map(|reason| Dead { position, reason }));
    }
    Ok(dead)
}

/// Applies these, or none and says why. Fails for reasons that are not theirs.
async fn attempt(lease: &Lease, parts: &[Part<'_>]) -> Result<Option<DeadReason>, StoreError> {
    let error = match run(lease, parts).await {
        Ok(()) => return Ok(None),
        Err(error) => error,
    };
    let Some(reason) = verdict::poison(&error) else { return Err(error) };
    lease.run(lease.connection().client.batch_execute(BACK)).await?;
    Ok(Some(reason))
}

async fn run(lease: &Lease, parts: &[Part<'_>]) -> Result<(), StoreError> {
    let client = &lease.connection().client;
    for group in groups(parts.iter().map(|part| &part.task)) {
        let statement = group.statement();
        lease.run(client.query_typed(&statement.text, &statement.params())).await?;
    }
    lease.run(client.batch_execute(KEEP)).await
}
