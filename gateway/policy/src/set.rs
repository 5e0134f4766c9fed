//! The policies in use: one immutable set, replaced as a whole, taken once by each request.

use std::sync::Arc;

use tidegate_types::{
    collection::Collection,
    policy::{Change, Invalidation, Keep, Who},
    request::Facts,
    route::{Access, Route, RouteSource, ShardSet, Topology},
    settings::RouteFallback,
    tenant::{Tenant, Tenants},
};
use xxhash_rust::xxh3::xxh3_64;

use crate::{
    error::PolicyError,
    guest::GuestFailure,
    hook::Hook,
    inputs::{self, Declared, Subject},
    metrics::{FailureKind, Metrics},
    recent::Recent,
    recorder::Recorders,
    shadow::Shadow,
    stats::Report,
    verdict::Verdict,
    version::Version,
};

/// What is to be routed.
#[derive(Debug, Clone, Copy)]
pub struct RouteQuery<'a> {
    /// The request, for the inputs a policy declared.
    pub facts: &'a Facts<'a>,
    /// The collection.
    pub collection: &'a Collection,
    /// Read or write.
    pub access: Access,
    /// The canonical text of the row's shard key ([`Collection::shard_key_text`]); `None` where it
    /// is unknown, as in a list without filters.
    pub shard_key: Option<&'a str>,
}

/// A candidate at work beside the version in use.
#[derive(Clone)]
pub enum Trial {
    /// Asked the same, off the response path.
    Shadow(Arc<Shadow>),
    /// Answers for a share of the tenants.
    Canary {
        /// The share, 1 to 100.
        percent: u8,
        /// The candidate.
        version: Arc<Version>,
    },
}

/// Who answers a hook.
#[derive(Clone)]
pub struct Slot {
    /// The plugin's name.
    pub plugin: Arc<str>,
    /// The version in use.
    pub active: Arc<Version>,
    /// A candidate.
    pub trial: Option<Trial>,
    /// Of `route`: what answers a read when the plugin fails.
    pub fallback: RouteFallback,
}

/// Everything a request's policies depend on.
pub struct PolicySet {
    /// Counts up from 1; 0 where no hook has a plugin.
    pub number: u64,
    /// The shards.
    pub topology: Arc<Topology>,
    /// The tenants.
    pub tenants: Arc<Tenants>,
    /// Who answers each hook, by its number.
    pub slots: [Option<Slot>; 4],
    /// Columns that the versions of `invalidate` declare, without repetition.
    pub columns: Arc<[Arc<str>]>,
    /// What is counted.
    pub metrics: Metrics,
    /// Keys lately routed.
    pub recent: Arc<Recent>,
    /// Decisions written down.
    pub recorders: Recorders,
}

/// One generation, held for a request from classification to invalidation. Cheap to clone.
#[derive(Clone)]
pub struct Session(pub(crate) Arc<PolicySet>);

impl Session {
    /// The generation; 0 where everything is built in.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.0.number
    }

    /// The tenants and classes.
    #[must_use]
    pub fn tenants(&self) -> &Tenants {
        &self.0.tenants
    }

    /// Whose request it is. [`Who::SHARED`] where nothing classifies.
    ///
    /// # Errors
    /// The policy failed, or names a tenant there is not.
    #[inline]
    pub fn classify(&self, facts: &Facts<'_>, collection: &Collection, access: Access) -> Result<Who, PolicyError> {
        let set = &*self.0;
        let Some(slot) = &set.slots[Hook::Classify as usize] else { return Ok(Who::SHARED) };
        let subject = Subject { facts, collection, access, shard_key: None, who: Who::SHARED, tenants: &set.tenants };
        match set.ask(slot, &subject) {
            Ok((Verdict::Who(who), _)) => Ok(who),
            Ok(_) => Err(PolicyError::UnknownTenant),
            Err((version, failure)) => Err(set.call_error(slot, version, failure, &subject)),
        }
    }

    /// Where a request goes. At least one shard, all of them the tenant's. Never waits for anything but
    /// the policy itself, which has a deadline.
    ///
    /// # Errors
    /// The policy failed, and the request is a write, or the operator's fallback is to refuse, or it
    /// named a shard where the tenant has no place.
    #[inline]
    pub fn route(&self, who: Who, query: &RouteQuery<'_>) -> Result<Route, PolicyError> {
        let set = &*self.0;
        let tenant = set.tenants.get(who.tenant).unwrap_or(set.tenants.shared());
        let Some(slot) = &set.slots[Hook::Route as usize] else {
            set.metrics.decided(Hook::Route, RouteSource::BuiltIn);
            let shards = built_in(&set.topology, tenant, query);
            return Ok(Route { shards, source: RouteSource::BuiltIn, generation: set.number });
        };
        let subject = set.subject(who, query);
        match set.ask(slot, &subject) {
            Ok((Verdict::Shards(shards), source)) => {
                if source == RouteSource::Policy {
                    set.recent.note(&subject);
                }
                Ok(Route { shards, source, generation: set.number })
            }
            Ok(_) => {
                Ok(Route { shards: tenant.placement.clone(), source: RouteSource::Fallback, generation: set.number })
            }
            Err((version, failure)) => set.without_route(slot, version, failure, &subject, tenant, query),
        }
    }

    /// How the answer of a read may be kept. Where the policy fails, not at all.
    #[inline]
    pub fn keep(&self, who: Who, query: &RouteQuery<'_>) -> Keep {
        let set = &*self.0;
        let Some(slot) = &set.slots[Hook::CachePolicy as usize] else { return Keep::AsConfigured };
        let subject = set.subject(who, query);
        match set.ask(slot, &subject) {
            Ok((Verdict::Keep(keep), _)) => keep,
            Ok(_) => Keep::BypassFailed,
            Err((version, failure)) => {
                set.note_failure(slot, version, &failure, &subject.collection.name);
                Keep::BypassFailed
            }
        }
    }

    /// The columns an invalidation policy wants of changed rows; `None` where there is no such policy.
    #[must_use]
    pub fn invalidation(&self) -> Option<&[Arc<str>]> {
        self.0.slots[Hook::Invalidate as usize].as_ref().map(|_| &*self.0.columns)
    }

    /// What changes make outdated besides the rows themselves. The columns of `changes` are those of
    /// [`Session::invalidation`].
    ///
    /// # Errors
    /// The policy failed: everything it might have meant is to be purged.
    pub fn invalidate(&self, who: Who, changes: &[Change]) -> Result<Vec<Invalidation>, PolicyError> {
        let set = &*self.0;
        let Some(slot) = &set.slots[Hook::Invalidate as usize] else { return Ok(Vec::new()) };
        let version = slot.pick(who, || changes.first().map_or(0, |change| xxh3_64(change.key.as_bytes())));
        let purges = version.purges(who, changes, &set.columns, &set.metrics);
        if let Some(Trial::Shadow(shadow)) = &slot.trial {
            shadow.purges(who, changes, &set.columns, purges.as_ref().ok(), &set.metrics);
        }
        set.recorders.changes(set, slot, version, who, changes, &purges);
        match purges {
            Ok(purges) => {
                set.metrics.decided(Hook::Invalidate, RouteSource::Policy);
                Ok(purges)
            }
            Err(failure) => {
                let collection = changes.first().map_or("", |change| &*change.collection);
                set.note_failure(slot, version, &failure, collection);
                Err(set.failed(slot, failure))
            }
        }
    }
}

impl Slot {
    /// The version that answers: the canary for its share of the tenants, else the active one. Without
    /// tenancy, and while tenants are unknown, shares are taken by `spread`, a number of the question.
    #[inline]
    pub fn pick(&self, who: Who, spread: impl FnOnce() -> u64) -> &Arc<Version> {
        match &self.trial {
            Some(Trial::Canary { percent, version }) => {
                let spread = if who == Who::SHARED { spread() } else { xxh3_64(&who.tenant.0.to_le_bytes()) };
                if spread % 100 < u64::from(*percent) { version } else { &self.active }
            }
            Some(Trial::Shadow(_)) | None => &self.active,
        }
    }

    /// Every version at work, the active one first.
    pub fn versions(&self) -> impl Iterator<Item = &Arc<Version>> {
        let candidate = match &self.trial {
            Some(Trial::Shadow(shadow)) => Some(&shadow.version),
            Some(Trial::Canary { version, .. }) => Some(version),
            None => None,
        };
        std::iter::once(&self.active).chain(candidate)
    }
}

type Asked<'a> = Result<(Verdict, RouteSource), (&'a Arc<Version>, GuestFailure)>;

impl PolicySet {
    #[inline]
    fn subject<'a>(&'a self, who: Who, query: &RouteQuery<'a>) -> Subject<'a> {
        let RouteQuery { facts, collection, access, shard_key } = *query;
        Subject { facts, collection, access, shard_key, who, tenants: &self.tenants }
    }

    #[inline]
    fn ask<'a>(&self, slot: &'a Slot, subject: &Subject<'_>) -> Asked<'a> {
        let spread = || inputs::key(&slot.active.inputs, subject).spread();
        let version = slot.pick(subject.who, spread);
        let answer = version.decide(subject, &self.metrics);
        if let Some(Trial::Shadow(shadow)) = &slot.trial {
            shadow.compare(subject, answer.as_ref().ok().map(|(verdict, _)| verdict), &self.metrics);
        }
        match answer {
            Ok((verdict, source)) => {
                self.metrics.decided(version.hook, source);
                if source == RouteSource::Policy {
                    self.recorders.request(self, slot, version, subject, Ok(&verdict));
                }
                Ok((verdict, source))
            }
            Err(failure) => {
                self.recorders.request(self, slot, version, subject, Err(&failure));
                Err((version, failure))
            }
        }
    }

    #[cold]
    fn note_failure(&self, slot: &Slot, version: &Version, failure: &GuestFailure, collection: &str) {
        self.metrics.failed(version.hook, failure.kind);
        let (plugin, hook, kind) = (&*slot.plugin, version.hook.as_str(), failure.kind.as_str());
        let (digest, detail) = (version.description.digest.as_str(), failure.detail.as_str());
        if failure.kind == FailureKind::OutsidePlacement {
            tracing::warn!(target: "audit", plugin, hook, digest, detail, collection, "placement refused");
        }
        if version.stats.failed(failure) == Report::Log {
            let generation = self.number;
            tracing::error!(plugin, hook, generation, digest, kind, detail, collection, "policy call failed");
        }
    }

    fn failed(&self, slot: &Slot, failure: GuestFailure) -> PolicyError {
        PolicyError::Call {
            hook: slot.active.hook,
            plugin: slot.plugin.clone(),
            generation: self.number,
            kind: failure.kind,
            detail: failure.detail,
        }
    }

    #[cold]
    fn call_error(&self, slot: &Slot, version: &Version, failure: GuestFailure, subject: &Subject<'_>) -> PolicyError {
        self.note_failure(slot, version, &failure, &subject.collection.name);
        self.failed(slot, failure)
    }

    #[cold]
    fn without_route(
        &self,
        slot: &Slot,
        version: &Version,
        failure: GuestFailure,
        subject: &Subject<'_>,
        tenant: &Tenant,
        query: &RouteQuery<'_>,
    ) -> Result<Route, PolicyError> {
        self.note_failure(slot, version, &failure, &subject.collection.name);
        let shards = match (query.access, slot.fallback) {
            _ if failure.kind == FailureKind::OutsidePlacement => return Err(self.failed(slot, failure)),
            (Access::Read, RouteFallback::Hash) => built_in(&self.topology, tenant, query),
            (Access::Read, RouteFallback::AllShards) => tenant.placement.clone(),
            (Access::Write, _) | (Access::Read, RouteFallback::Refuse) => return Err(self.failed(slot, failure)),
        };
        self.metrics.decided(Hook::Route, RouteSource::Fallback);
        Ok(Route { shards, source: RouteSource::Fallback, generation: self.number })
    }
}

/// The columns that the versions of a slot declare.
pub fn columns(slot: Option<&Slot>) -> Arc<[Arc<str>]> {
    let mut columns: Vec<Arc<str>> = Vec::new();
    for version in slot.into_iter().flat_map(Slot::versions) {
        for input in &version.inputs {
            if let Declared::Column(name) = input
                && !columns.iter().any(|known| **known == **name)
            {
                columns.push(name.as_str().into());
            }
        }
    }
    columns.into()
}

/// Built-in routing: the hash of the shard key, or every shard of the tenant where it is unknown.
#[inline]
pub(crate) fn built_in(topology: &Topology, tenant: &Tenant, query: &RouteQuery<'_>) -> ShardSet {
    match query.shard_key {
        Some(key) => topology.shard_for_hash_among(Topology::hash_key(key), &tenant.placement).into_iter().collect(),
        None => tenant.placement.clone(),
    }
}
