//! One version of a plugin for one hook, with its configuration: immutable, replaced as a whole.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use smallvec::SmallVec;
use tidegate_types::{
    collection::CollectionId,
    policy::{Change, ChangeKind, Invalidation, Who},
    route::{Access, RouteSource},
    settings::Isolation,
    tenant::{TenantId, Tenants},
};

use crate::{
    bindings::{Action, Classification, Decision, Kind, Op, Request, RowChange, Targets},
    description::Description,
    guest::{Blueprint, GuestFailure, Instance},
    hook::Hook,
    inputs::{self, Declared, Subject},
    memo::Memo,
    metrics::{FailureKind, Metrics},
    phrase,
    pool::Pool,
    question::Answer,
    stats::Stats,
    verdict::{self, Verdict},
};

/// One call in so many is repeated on a fresh instance, which must answer the same.
const REPEAT_ONE_IN: u32 = 1000;

/// One question, with its inputs read.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    /// Whose request it is.
    pub who: Who,
    /// Read or write.
    pub access: Access,
    /// The collection.
    pub collection: CollectionId,
    /// The declared inputs, in their order.
    pub inputs: &'a [Option<&'a str>],
}

/// A loaded version of a plugin, for one hook.
pub struct Version {
    /// The hook it answers.
    pub hook: Hook,
    /// What the plugin said it is.
    pub description: Arc<Description>,
    /// What this hook reads.
    pub inputs: Vec<Declared>,
    /// Positions in `inputs` that must not be written down.
    pub secret: Vec<bool>,
    /// What happened in it.
    pub stats: Stats,
    tenants: Arc<Tenants>,
    blueprint: Blueprint,
    budget: Duration,
    pool: Pool,
    memo: Memo<Verdict>,
}

/// What a version is made of.
pub struct Parts {
    /// The hook it answers.
    pub hook: Hook,
    /// What the plugin said it is.
    pub description: Arc<Description>,
    /// What this hook reads.
    pub inputs: Vec<Declared>,
    /// Positions in `inputs` that must not be written down.
    pub secret: Vec<bool>,
    /// The tenants answers are resolved against.
    pub tenants: Arc<Tenants>,
    /// What its instances are made of.
    pub blueprint: Blueprint,
    /// The budget of a call.
    pub budget: Duration,
    /// As configured; `None` decides by how long an instance takes to make.
    pub isolation: Option<Isolation>,
}

/// An instance made in less than this is made anew for each call of `classify`.
const QUICK: Duration = Duration::from_micros(200);

/// What instances are used for where that is not configured, by how long one took to make.
fn usual_isolation(hook: Hook, took: Duration) -> Isolation {
    match hook {
        Hook::Classify if took < QUICK => Isolation::Fresh,
        Hook::Classify | Hook::Route | Hook::CachePolicy | Hook::Invalidate => Isolation::Shared,
    }
}

impl Version {
    /// A version with a warm instance for each thread.
    ///
    /// # Errors
    /// An instance could not be made ready within the budget that requests have for it.
    pub fn new(parts: Parts) -> Result<Self, GuestFailure> {
        let Parts { hook, description, inputs, secret, tenants, blueprint, budget, isolation } = parts;
        let start = Instant::now();
        let first = patiently(|| Instance::ready(&blueprint))?;
        let pool = Pool::new(isolation.unwrap_or(usual_isolation(hook, start.elapsed())));
        let mut warm = vec![first];
        while warm.len() < pool.width() {
            warm.push(patiently(|| Instance::ready(&blueprint))?);
        }
        pool.fill(warm);
        let (stats, memo) = (Stats::new(), Memo::new());
        Ok(Self { hook, description, inputs, secret, stats, tenants, blueprint, budget, pool, memo })
    }

    /// What its instances may be used for.
    pub fn isolation(&self) -> Isolation {
        self.pool.isolation()
    }

    /// The answer: by an earlier one, else by asking the plugin.
    ///
    /// # Errors
    /// The plugin failed.
    #[inline]
    pub fn decide(&self, subject: &Subject<'_>, metrics: &Metrics) -> Result<(Verdict, RouteSource), GuestFailure> {
        let key = inputs::key(&self.inputs, subject);
        if let Some(verdict) = self.memo.get(&key) {
            return Ok((verdict, RouteSource::Memo));
        }
        let values = inputs::values(&self.inputs, subject);
        let inputs: SmallVec<[Option<&str>; 8]> = values.iter().map(Option::as_deref).collect();
        let ask = Ask { who: subject.who, access: subject.access, collection: subject.collection.id, inputs: &inputs };
        let verdict = self.counted(subject.who.tenant, metrics, || self.ask(&ask), || self.repeat(&ask))?;
        self.memo.put(&key, &verdict);
        Ok((verdict, RouteSource::Policy))
    }

    /// What changes make outdated. `columns` names the columns that `changes` give, in their order.
    ///
    /// # Errors
    /// The plugin failed.
    pub fn purges(
        &self,
        who: Who,
        changes: &[Change],
        columns: &[Arc<str>],
        metrics: &Metrics,
    ) -> Result<Vec<Invalidation>, GuestFailure> {
        let purge = |warm| self.attempt_purges(warm, who, changes, columns);
        let asked = || retried(purge(self.pool.take(who.tenant)), || purge(None));
        self.counted(who.tenant, metrics, asked, || purge(None))
    }

    /// Asks the plugin, whatever it answered before, and counts nothing.
    ///
    /// # Errors
    /// The plugin failed.
    pub fn ask(&self, ask: &Ask<'_>) -> Result<Verdict, GuestFailure> {
        // The deadline is wall-clock time: a machine that stalled for it is no fault of the policy,
        // so one more try, on an instance that cannot have been the cause.
        retried(self.attempt(self.pool.take(ask.who.tenant), ask), || self.attempt(None, ask))
    }

    /// Asks about a request, and counts nothing.
    ///
    /// # Errors
    /// The plugin failed.
    pub fn evaluate(&self, subject: &Subject<'_>) -> Result<Verdict, GuestFailure> {
        let values = inputs::values(&self.inputs, subject);
        let inputs: SmallVec<[Option<&str>; 8]> = values.iter().map(Option::as_deref).collect();
        self.ask(&Ask { who: subject.who, access: subject.access, collection: subject.collection.id, inputs: &inputs })
    }

    /// As [`Version::ask`], with everything that is noted about calls.
    ///
    /// # Errors
    /// The plugin failed.
    pub fn asked(&self, ask: &Ask<'_>, metrics: &Metrics) -> Result<Verdict, GuestFailure> {
        let answer = self.counted(ask.who.tenant, metrics, || self.ask(ask), || self.repeat(ask));
        if let Err(failure) = &answer {
            self.stats.failed(failure);
        }
        answer
    }

    /// The answer in names, asked for once more.
    pub fn explain(&self, ask: &Ask<'_>) -> Answer {
        let raw = retried(self.raw(self.pool.take(ask.who.tenant), ask), || self.raw(None, ask));
        let explained = raw.and_then(|raw| match raw {
            Raw::Who(answer) => Ok(phrase::classified(answer)),
            Raw::Targets(targets) => {
                phrase::routed(targets, &self.blueprint.surroundings.topology, &self.tenants, ask.who)
            }
            Raw::Decision(decision) => Ok(phrase::kept(decision, &self.inputs)),
        });
        explained.unwrap_or_else(|failure| phrase::failure(&failure))
    }

    /// The answer about changes in names, asked for once more.
    pub fn explain_changes(&self, who: Who, changes: &[Change], columns: &[Arc<str>]) -> Answer {
        let actions = |warm| self.raw_actions(warm, who, changes, columns);
        retried(actions(self.pool.take(who.tenant)), || actions(None))
            .map_or_else(|failure| phrase::failure(&failure), phrase::actions)
    }

    fn repeat(&self, ask: &Ask<'_>) -> Result<Verdict, GuestFailure> {
        self.attempt(None, ask)
    }

    /// Runs a call with everything that is noted about calls.
    fn counted<T: PartialEq>(
        &self,
        tenant: TenantId,
        metrics: &Metrics,
        call: impl FnOnce() -> Result<T, GuestFailure>,
        repeat: impl FnOnce() -> Result<T, GuestFailure>,
    ) -> Result<T, GuestFailure> {
        if self.stats.left_alone(tenant) {
            let detail = "it ran out of time repeatedly and is left alone for a second";
            return Err(GuestFailure::new(FailureKind::Deadline, detail));
        }
        let start = Instant::now();
        let answer = call();
        let duration = start.elapsed();
        self.stats.called(tenant, duration, answer.as_ref().map(drop).map_err(|failure| failure.kind));
        metrics.called(duration.as_secs_f64());
        if fastrand::u32(..REPEAT_ONE_IN) == 0
            && let Ok(first) = &answer
            && repeat().is_ok_and(|second| second != *first)
        {
            self.unstable(metrics);
        }
        answer
    }

    #[cold]
    fn unstable(&self, metrics: &Metrics) {
        metrics.unstable(self.hook);
        if self.stats.unstable() {
            let (plugin, digest) = (&*self.blueprint.surroundings.plugin, self.description.digest.as_str());
            tracing::error!(
                plugin,
                digest,
                hook = self.hook.as_str(),
                "the policy answers the same question in different ways: its answers must depend on nothing but \
                 its declared inputs and configuration"
            );
        }
    }

    fn attempt(&self, warm: Option<Instance>, ask: &Ask<'_>) -> Result<Verdict, GuestFailure> {
        match self.raw(warm, ask)? {
            Raw::Who(answer) => verdict::who(&answer, &self.tenants),
            Raw::Targets(targets) => {
                let tenant = self.tenants.get(ask.who.tenant).unwrap_or(self.tenants.shared());
                verdict::shards(targets, &self.blueprint.surroundings.topology, tenant).map(Verdict::Shards)
            }
            Raw::Decision(decision) => verdict::keep(&decision, ask.who, &self.inputs, ask.inputs).map(Verdict::Keep),
        }
    }

    fn raw(&self, warm: Option<Instance>, ask: &Ask<'_>) -> Result<Raw, GuestFailure> {
        let request = Request {
            tenant: self.number(ask.who),
            class: ask.who.class.0,
            op: match ask.access {
                Access::Read => Op::Read,
                Access::Write => Op::Write,
            },
            collection: ask.collection.0,
            inputs: ask.inputs,
        };
        let budget = self.budget;
        self.with_instance(warm, ask.who, |instance| match self.hook {
            Hook::Classify => instance.classify(request, budget).map(Raw::Who),
            Hook::Route => instance.route(request, budget).map(Raw::Targets),
            Hook::CachePolicy => instance.decide(request, budget).map(Raw::Decision),
            Hook::Invalidate => Err(GuestFailure::new(FailureKind::BadAnswer, "invalidate is asked about changes")),
        })
    }

    fn attempt_purges(
        &self,
        warm: Option<Instance>,
        who: Who,
        changes: &[Change],
        columns: &[Arc<str>],
    ) -> Result<Vec<Invalidation>, GuestFailure> {
        verdict::purges(self.raw_actions(warm, who, changes, columns)?, who)
    }

    fn raw_actions(
        &self,
        warm: Option<Instance>,
        who: Who,
        changes: &[Change],
        columns: &[Arc<str>],
    ) -> Result<Vec<Action>, GuestFailure> {
        let places: SmallVec<[Option<usize>; 16]> = self.inputs.iter().map(|input| place(input, columns)).collect();
        let borrowed: Vec<_> =
            changes.iter().map(|change| (picked(&change.old, &places), picked(&change.new, &places))).collect();
        let rows: Vec<RowChange<'_>> = changes
            .iter()
            .zip(&borrowed)
            .map(|(change, (old, new))| RowChange {
                collection: &change.collection,
                key: &change.key,
                kind: match change.kind {
                    ChangeKind::Insert => Kind::Insert,
                    ChangeKind::Update => Kind::Update,
                    ChangeKind::Delete => Kind::Delete,
                    ChangeKind::Truncate => Kind::Truncate,
                },
                old,
                new,
            })
            .collect();
        let id = (self.number(who), who.class.0);
        self.with_instance(warm, who, |instance| instance.invalidate(id, &rows, self.budget))
    }

    /// What the guest knows the tenant by.
    fn number(&self, who: Who) -> u32 {
        self.tenants.get(who.tenant).unwrap_or(self.tenants.shared()).number
    }

    fn with_instance<T>(
        &self,
        warm: Option<Instance>,
        who: Who,
        call: impl FnOnce(&mut Instance) -> Result<T, GuestFailure>,
    ) -> Result<T, GuestFailure> {
        let mut instance = warm.map_or_else(|| Instance::ready(&self.blueprint), Ok)?;
        let answer = call(&mut instance);
        // Only an answer leaves the guest in a known state; saying no is an answer.
        let sound = answer.as_ref().err().is_none_or(|failure| failure.kind == FailureKind::PolicyError);
        if sound && instance.reusable() {
            self.pool.put(who.tenant, instance);
        }
        answer
    }
}

/// An answer as the guest gave it.
enum Raw {
    Who(Classification),
    Targets(Targets),
    Decision(Decision),
}

/// Where the column that an input names is given.
fn place(input: &Declared, columns: &[Arc<str>]) -> Option<usize> {
    let Declared::Column(name) = input else { return None };
    columns.iter().position(|column| **column == **name)
}

/// The values a version declared, of those that are given.
fn picked<'a>(given: &'a [Option<String>], places: &[Option<usize>]) -> Vec<Option<&'a str>> {
    match given {
        [] => Vec::new(),
        _ => places.iter().map(|place| given.get((*place)?)?.as_deref()).collect(),
    }
}

fn retried<T>(
    first: Result<T, GuestFailure>,
    again: impl FnOnce() -> Result<T, GuestFailure>,
) -> Result<T, GuestFailure> {
    match first {
        Err(failure) if failure.kind == FailureKind::Deadline => again(),
        answer => answer,
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

#[cfg(test)]
mod tests;
