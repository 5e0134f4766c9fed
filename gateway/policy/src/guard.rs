//! Placement is data: a version that sends existing keys to other shards is refused.

use std::{collections::BTreeSet, sync::Arc};

use futures_util::future::BoxFuture;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use tidegate_types::{
    collection::{Collection, CollectionId},
    policy::Who,
    request::Facts,
    route::{Access, ShardId, ShardSet},
    tenant::Tenant,
};

use crate::{
    guest::GuestFailure,
    hook::Hook,
    inputs::Subject,
    recent::RecentKey,
    set::{PolicySet, RouteQuery, built_in},
    verdict::Verdict,
    version::Version,
};

/// A key and the shard its row is on.
#[derive(Debug, Clone)]
pub struct PlacedKey {
    /// The collection.
    pub collection: Arc<Collection>,
    /// Where the row is.
    pub shard: ShardId,
    /// The canonical text of its shard key ([`Collection::shard_key_text`]).
    pub shard_key: String,
}

/// Knows where some existing rows are.
pub trait PlacementProbe: Send + Sync {
    /// Some existing keys of every collection and shard. Shards that are down contribute nothing.
    fn sample(&self) -> BoxFuture<'_, Vec<PlacedKey>>;

    /// Keys of these collections are about to be looked for elsewhere: what was acknowledged for the places where they are
    /// must be there, and nothing more may be acknowledged for them before the stillness ends.
    ///
    /// # Errors
    /// Why it cannot be had now, for the operator.
    fn still<'a>(&'a self, collections: &'a [CollectionId]) -> BoxFuture<'a, Result<Stillness, String>> {
        // Where nothing is acknowledged before it is in its place.
        let _ = collections;
        Box::pin(std::future::ready(Ok(Stillness::of(()))))
    }

    /// An operator moved keys of these collections: what is cached of them must not be served again.
    fn moved(&self, collections: &[CollectionId]);
}

/// Lasts until it is dropped.
pub struct Stillness(#[expect(dead_code, reason = "it is there to be dropped")] Box<dyn Send>);

impl Stillness {
    /// Lasts as long as this.
    pub fn of(held: impl Send + 'static) -> Self {
        Self(Box::new(held))
    }
}

/// Examples shown of keys that would move.
const EXAMPLES: usize = 3;
/// Tenants each key is routed for.
const TENANTS: usize = 16;

/// What a check of existing keys found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Placement {
    /// Every key stays where it is.
    Kept {
        /// How many keys were asked about.
        checked: usize,
    },
    /// Some keys would be looked for elsewhere.
    Moved {
        /// The count and some examples, for the operator.
        detail: String,
        /// The collections concerned.
        collections: Vec<CollectionId>,
    },
}

/// Collects what moves.
#[derive(Default)]
struct Findings {
    checked: usize,
    moved: usize,
    examples: Vec<String>,
    collections: BTreeSet<CollectionId>,
}

impl Findings {
    fn note(&mut self, collection: &Collection, example: Option<String>) {
        self.checked += 1;
        if let Some(example) = example {
            self.moved += 1;
            self.collections.insert(collection.id);
            if self.examples.len() < EXAMPLES {
                self.examples.push(example);
            }
        }
    }

    fn placement(self) -> Placement {
        match self.moved {
            0 => Placement::Kept { checked: self.checked },
            moved => Placement::Moved {
                detail: format!(
                    "{moved} of {} existing keys would not be found where they are: {}",
                    self.checked,
                    self.examples.join("; ")
                ),
                collections: self.collections.into_iter().collect(),
            },
        }
    }
}

/// Routes every key as it is routed now, and compares with where its row is. With tenants, a row is in
/// place if it is for one of those that may be on its shard.
pub fn in_place(keys: &[PlacedKey], set: &PolicySet) -> Placement {
    let version = set.slots[Hook::Route as usize].as_ref().map(|slot| slot.active.clone());
    let route = |who, query: &RouteQuery<'_>| match &version {
        Some(version) => ask(version, set, who, query),
        None => Ok(built_in(&set.topology, tenant_of(set, who), query)),
    };
    let mut findings = Findings::default();
    for key in keys {
        let tried = candidates(set, key.shard);
        let mut elsewhere = None;
        let found = tried.iter().any(|who| {
            elsewhere = misplaced(set, &key.collection, &key.shard_key, key.shard, |query| route(*who, query));
            elsewhere.is_none()
        });
        let example = (!found).then(|| elsewhere.take().unwrap_or_else(|| stranded(set, key)));
        findings.note(&key.collection, example);
    }
    findings.placement()
}

fn stranded(set: &PolicySet, key: &PlacedKey) -> String {
    let (name, shard) = (&key.collection.name, set.topology.name(key.shard));
    format!("{name} {:?} is on {shard}, where no tenant has a place", key.shard_key)
}

/// Routes every key by the candidate: a write must go to exactly the shard where the row is, a read must
/// include it. Keys lately routed, and with tenants every key, are compared with where the version in
/// use sends them.
pub fn replay(keys: &[PlacedKey], recent: &[RecentKey], set: &PolicySet, candidate: &Version) -> Placement {
    let mut findings = Findings::default();
    let tenancy = set.tenants.iter().len() > 0;
    let slot = set.slots[Hook::Route as usize].as_ref();
    let now = |who, query: &RouteQuery<'_>| match slot {
        Some(slot) => ask(&slot.active, set, who, query),
        None => Ok(built_in(&set.topology, tenant_of(set, who), query)),
    };
    for key in keys {
        if !tenancy {
            let by = |query: &RouteQuery<'_>| ask(candidate, set, Who::SHARED, query);
            findings.note(&key.collection, misplaced(set, &key.collection, &key.shard_key, key.shard, by));
            continue;
        }
        for who in candidates(set, key.shard) {
            compare(set, &key.collection, &key.shard_key, who, &now, candidate, &mut findings);
        }
    }
    let known = keys.iter().map(|key| (key.collection.id, &key.collection));
    let collections: std::collections::BTreeMap<_, _> = known.collect();
    for key in recent {
        if let Some(collection) = collections.get(&key.collection) {
            compare(set, collection, &key.shard_key, key.who, &now, candidate, &mut findings);
        }
    }
    findings.placement()
}

/// Notes a key whose writes the candidate sends elsewhere than they go now. Keys that go to no single
/// shard now are nowhere yet.
fn compare(
    set: &PolicySet,
    collection: &Arc<Collection>,
    shard_key: &str,
    who: Who,
    now: &impl Fn(Who, &RouteQuery<'_>) -> Result<ShardSet, GuestFailure>,
    candidate: &Version,
    findings: &mut Findings,
) {
    let home = asked(collection, shard_key, Access::Write, |query| now(who, query));
    let Ok([home]) = home.as_deref() else { return };
    let by = |query: &RouteQuery<'_>| ask(candidate, set, who, query);
    findings.note(collection, misplaced(set, collection, shard_key, *home, by));
}

fn tenant_of(set: &PolicySet, who: Who) -> &Tenant {
    set.tenants.get(who.tenant).unwrap_or(set.tenants.shared())
}

/// For whom a row on this shard may be.
fn candidates(set: &PolicySet, shard: ShardId) -> Vec<Who> {
    if set.tenants.iter().len() == 0 {
        return vec![Who::SHARED];
    }
    let here = set.tenants.iter().filter(|tenant| tenant.placement.contains(&shard));
    here.take(TENANTS).map(|tenant| Who { tenant: tenant.id, class: tenant.class }).collect()
}

fn ask(version: &Version, set: &PolicySet, who: Who, query: &RouteQuery<'_>) -> Result<ShardSet, GuestFailure> {
    let RouteQuery { facts, collection, access, shard_key } = *query;
    let subject = Subject { facts, collection, access, shard_key, who, tenants: &set.tenants };
    match version.evaluate(&subject)? {
        Verdict::Shards(shards) => Ok(shards),
        Verdict::Who(_) | Verdict::Stranger | Verdict::Keep(_) => Ok(ShardSet::new()),
    }
}

fn asked<T>(collection: &Collection, shard_key: &str, access: Access, route: impl FnOnce(&RouteQuery<'_>) -> T) -> T {
    let path = format!("/v1/{}/{}", collection.name, utf8_percent_encode(shard_key, NON_ALPHANUMERIC));
    let headers = http::HeaderMap::new();
    let method = if access == Access::Write { http::Method::PATCH } else { http::Method::GET };
    let facts = Facts { method: &method, path: &path, query: "", headers: &headers };
    route(&RouteQuery { facts: &facts, collection, access, shard_key: Some(shard_key) })
}

/// Where the key would go instead, if not to the shard it is on.
fn misplaced(
    set: &PolicySet,
    collection: &Collection,
    shard_key: &str,
    home: ShardId,
    mut route: impl FnMut(&RouteQuery<'_>) -> Result<ShardSet, GuestFailure>,
) -> Option<String> {
    for access in [Access::Write, Access::Read] {
        let verb = if access == Access::Write { "writes" } else { "reads" };
        let elsewhere = match asked(collection, shard_key, access, &mut route) {
            Ok(shards) if access == Access::Write && shards[..] == [home] => continue,
            Ok(shards) if access == Access::Read && shards.contains(&home) => continue,
            Ok(shards) => {
                let names: Vec<&str> = shards.iter().map(|shard| set.topology.name(*shard)).collect();
                format!("{verb} would go to {}", names.join(", "))
            }
            Err(failure) => format!("{verb} would fail ({failure})"),
        };
        let (name, home) = (&collection.name, set.topology.name(home));
        return Some(format!("{name} {shard_key:?} is on {home}, {elsewhere}"));
    }
    None
}
