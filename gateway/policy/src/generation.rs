//! One version of a plugin with its configuration: immutable, replaced as a whole.

use std::time::{Duration, Instant};

use smallvec::SmallVec;
use tidegate_types::{
    request::TenantId,
    route::{Access, RouteSource, ShardId, ShardSet, Topology},
};

use crate::{
    bindings::{Op, Request, Targets},
    guest::{Blueprint, GuestFailure, Instance},
    host::RouteQuery,
    inputs::{self, Declared},
    memo::Memo,
    metrics::{FailureKind, Metrics},
    pool::Pool,
    stats::Stats,
};

/// Shards a policy may list in one answer.
const MAX_SHARDS: usize = 4096;

/// What the plugin said it is.
#[derive(Debug, Clone)]
pub struct Description {
    /// The manifest's name.
    pub name: String,
    /// The manifest's version.
    pub version: String,
    /// SHA-256 of the file, in hex.
    pub digest: String,
    /// What `route` reads.
    pub inputs: Vec<Declared>,
}

/// A loaded version.
pub struct Generation {
    /// Counts up from 1; 0 is built-in routing.
    pub number: u64,
    /// What the plugin said it is.
    pub description: Description,
    /// What happened in it.
    pub stats: Stats,
    blueprint: Blueprint,
    budget: Duration,
    pool: Pool,
    memo: Memo,
}

impl Generation {
    /// A generation with a warm instance for each thread.
    ///
    /// # Errors
    /// An instance could not be made ready within the budget that requests have for it.
    pub fn new(description: Description, blueprint: Blueprint, budget: Duration) -> Result<Self, GuestFailure> {
        let pool = Pool::new();
        let warm =
            (0..pool.width()).map(|_| patiently(|| Instance::ready(&blueprint))).collect::<Result<Vec<_>, _>>()?;
        pool.fill(warm);
        let number = blueprint.identity.generation;
        Ok(Self { number, description, stats: Stats::new(), blueprint, budget, pool, memo: Memo::new() })
    }

    /// Where a request goes: by an earlier answer, else by asking the plugin.
    ///
    /// # Errors
    /// The plugin failed.
    #[inline]
    pub fn decide(&self, query: &RouteQuery<'_>, metrics: &Metrics) -> Result<(ShardSet, RouteSource), GuestFailure> {
        let key = inputs::key(&self.description.inputs, query);
        if let Some(shards) = self.memo.get(&key) {
            return Ok((shards, RouteSource::Memo));
        }
        let shards = self.call_counted(query, metrics)?;
        self.memo.put(&key, &shards);
        Ok((shards, RouteSource::Policy))
    }

    /// Asks the plugin, whatever it answered before, and counts nothing.
    ///
    /// # Errors
    /// The plugin failed.
    pub fn evaluate(&self, query: &RouteQuery<'_>) -> Result<ShardSet, GuestFailure> {
        self.call(query)
    }

    fn call_counted(&self, query: &RouteQuery<'_>, metrics: &Metrics) -> Result<ShardSet, GuestFailure> {
        if self.stats.left_alone() {
            let detail = "it ran out of time repeatedly and is left alone for a second";
            return Err(GuestFailure::new(FailureKind::Deadline, detail));
        }
        let start = Instant::now();
        let answer = self.call(query);
        let duration = start.elapsed();
        self.stats.called(duration, answer.as_ref().map(drop).map_err(|failure| failure.kind));
        metrics.called(duration.as_secs_f64());
        answer
    }

    fn call(&self, query: &RouteQuery<'_>) -> Result<ShardSet, GuestFailure> {
        let values = inputs::values(&self.description.inputs, query);
        let inputs: SmallVec<[Option<&str>; 8]> = values.iter().map(Option::as_deref).collect();
        let request = Request {
            tenant: TenantId::SHARED.0,
            class: 0,
            op: match query.access {
                Access::Read => Op::Read,
                Access::Write => Op::Write,
            },
            collection: query.collection.id.0,
            inputs: &inputs,
        };
        // The deadline is wall-clock time: a machine that stalled for it is no fault of the policy,
        // so one more try, on an instance that cannot have been the cause.
        let answer = match self.attempt(self.pool.take(), request.clone()) {
            Err(failure) if failure.kind == FailureKind::Deadline => self.attempt(None, request),
            answer => answer,
        };
        resolve(answer?, &self.blueprint.topology)
    }

    fn attempt(&self, warm: Option<Instance>, request: Request<'_>) -> Result<Targets, GuestFailure> {
        let mut instance = warm.map_or_else(|| Instance::ready(&self.blueprint), Ok)?;
        let answer = instance.route(request, self.budget);
        // Only an answer leaves the guest in a known state; saying no is an answer.
        let sound = answer.as_ref().err().is_none_or(|failure| failure.kind == FailureKind::PolicyError);
        if sound && instance.reusable() {
            self.pool.put(instance);
        }
        answer
    }
}

/// Tries again where only time was short: the deadline is wall-clock time, and a machine that
/// compiles policies may be a busy one.
fn patiently<T>(mut attempt: impl FnMut() -> Result<T, GuestFailure>) -> Result<T, GuestFailure> {
    const MORE: usize = 2;
    for _ in 0..MORE {
        match attempt() {
            Err(failure) if failure.kind == FailureKind::Deadline => {}
            answer => return answer,
        }
    }
    attempt()
}

/// Turns an answer into shards that exist.
fn resolve(targets: Targets, topology: &Topology) -> Result<ShardSet, GuestFailure> {
    let bad = |detail: String| Err(GuestFailure::new(FailureKind::BadAnswer, detail));
    match targets {
        Targets::Hash(hash) => Ok(ShardSet::from_slice(&[topology.shard_for_hash(hash)])),
        Targets::AllOfTenant => Ok(topology.all()),
        Targets::Shards(list) if list.is_empty() => bad("it answered with no shard".into()),
        Targets::Shards(list) if list.len() > MAX_SHARDS => {
            bad(format!("it answered with {} shards, the most is {MAX_SHARDS}", list.len()))
        }
        Targets::Shards(list) => {
            let mut shards = ShardSet::new();
            for id in list {
                match u16::try_from(id).map(ShardId) {
                    Ok(shard) if usize::from(shard.0) < topology.len() => {
                        if !shards.contains(&shard) {
                            shards.push(shard);
                        }
                    }
                    _ => return bad(format!("it answered with shard {id}; there are {}", topology.len())),
                }
            }
            Ok(shards)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn answers_are_resolved_to_shards_that_exist() {
        let topology = Topology::new(["a", "b"].map(Arc::from));
        let shards = |ids: &[u16]| Ok(ids.iter().map(|id| ShardId(*id)).collect::<ShardSet>());
        assert_eq!(resolve(Targets::AllOfTenant, &topology), shards(&[0, 1]));
        assert_eq!(resolve(Targets::Hash(5), &topology), shards(&[topology.shard_for_hash(5).0]));
        assert_eq!(resolve(Targets::Shards(vec![1, 0, 1]), &topology), shards(&[1, 0]));
        for bad in [vec![], vec![2], vec![0, 65_536], vec![u32::MAX], vec![0; MAX_SHARDS + 1]] {
            let failure = resolve(Targets::Shards(bad), &topology).expect_err("refused");
            assert_eq!(failure.kind, FailureKind::BadAnswer);
        }
    }
}
