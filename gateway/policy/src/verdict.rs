//! What a guest's answer means once the host has bounded it.

use std::{sync::Arc, time::Duration};

use tidegate_types::{
    bucket::BucketId,
    policy::{Invalidation, Keep, MAX_TAGS, Narrowed, Purge, Urgency, Who},
    route::{ShardId, ShardSet, Topology},
    tenant::{Tenant, TenantId, Tenants},
};

use crate::{
    bindings::{Action, Classification, Decision, Mode, Target, Targets, Verb},
    guest::GuestFailure,
    inputs::Declared,
    metrics::FailureKind,
};

/// Shards a policy may list in one answer.
const MAX_SHARDS: usize = 4096;
/// Bytes of a tag.
const MAX_TAG_BYTES: usize = 128;
/// Actions of one answer.
const MAX_ACTIONS: usize = 1024;

/// A bounded answer of a hook that is asked about requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// `classify`: a tenant there is.
    Who(Who),
    /// `classify`: a tenant there is not.
    Stranger,
    /// `route`: at least one shard, all of them the tenant's.
    Shards(ShardSet),
    /// `cache-policy`
    Keep(Keep),
}

fn bad<T>(detail: impl Into<String>) -> Result<T, GuestFailure> {
    Err(GuestFailure::new(FailureKind::BadAnswer, detail))
}

/// Looks up who a classification names. An unknown class is the policy's fault, an unknown tenant the
/// client's.
pub fn who(answer: &Classification, tenants: &Tenants) -> Result<Verdict, GuestFailure> {
    let Some(tenant) = tenants.by_name(&answer.tenant) else { return Ok(Verdict::Stranger) };
    let class = match &answer.class {
        None => tenant.class,
        Some(name) => match tenants.class_named(name) {
            Some(class) => class,
            None => return bad(format!("it answered with the class {name:?}; there is no such class")),
        },
    };
    Ok(Verdict::Who(Who { tenant: tenant.id, class }))
}

/// Turns targets into shards that exist and are the tenant's.
pub fn shards(targets: Targets, topology: &Topology, tenant: &Tenant) -> Result<ShardSet, GuestFailure> {
    match targets {
        // Placement is never empty, so there is a winner.
        Targets::Hash(hash) => Ok(topology.shard_for_hash_among(hash, &tenant.placement).into_iter().collect()),
        Targets::AllOfTenant => Ok(tenant.placement.clone()),
        Targets::Shards(list) if list.is_empty() => bad("it answered with no shard"),
        Targets::Shards(list) if list.len() > MAX_SHARDS => {
            bad(format!("it answered with {} shards, the most is {MAX_SHARDS}", list.len()))
        }
        Targets::Shards(list) => {
            let mut shards = ShardSet::new();
            for id in list {
                let shard = u16::try_from(id).map(ShardId).ok().filter(|shard| usize::from(shard.0) < topology.len());
                let Some(shard) = shard else {
                    return bad(format!("it answered with shard {id}; there are {}", topology.len()));
                };
                if !tenant.placement.contains(&shard) {
                    let (name, tenant) = (topology.name(shard), &tenant.name);
                    let detail = format!("it answered with shard {name}, where tenant {tenant} has no place");
                    return Err(GuestFailure::new(FailureKind::OutsidePlacement, detail));
                }
                if !shards.contains(&shard) {
                    shards.push(shard);
                }
            }
            Ok(shards)
        }
    }
}

/// Bounds a cache decision. An answer that cannot carry all its tags is not kept: it could not be
/// purged by those left out.
pub fn keep(answer: &Decision, who: Who, declared: &[Declared], inputs: &[Option<&str>]) -> Result<Keep, GuestFailure> {
    if answer.mode == Mode::Bypass
        || answer.tags.len() > MAX_TAGS
        || answer.tags.iter().any(|tag| tag.len() > MAX_TAG_BYTES)
    {
        return Ok(Keep::Bypass);
    }
    let mut variant = Vec::new();
    let mut vary = Vec::new();
    for position in &answer.vary {
        let position = *position as usize;
        let Some(input) = declared.get(position) else {
            return bad(format!("it varies by input {position}; it declared {}", declared.len()));
        };
        let value = inputs.get(position).copied().flatten();
        let length = value.map_or(u64::MAX, |text| text.len() as u64);
        variant.extend_from_slice(&length.to_le_bytes());
        variant.extend_from_slice(value.unwrap_or("").as_bytes());
        if let Declared::Header(name) = input
            && !vary.contains(name)
        {
            vary.push(name.clone());
        }
    }
    let narrowed = Narrowed {
        ttl: answer.ttl_ms.map(|ttl| Duration::from_millis(u64::from(ttl.max(1)))),
        stale: Duration::from_millis(u64::from(answer.stale_ms)),
        tags: answer.tags.iter().map(|tag| BucketId::tag(who.tenant, tag)).collect(),
        tag_names: if who.tenant == TenantId::SHARED { answer.tags.clone() } else { Vec::new() },
        variant: (!answer.vary.is_empty()).then(|| variant.into()),
        vary,
    };
    Ok(if narrowed == Narrowed::default() { Keep::AsConfigured } else { Keep::Narrowed(Arc::new(narrowed)) })
}

/// Bounds what is to be purged. Tags and queries become the tenant's own here, so that no answer can name another's.
pub fn purges(actions: Vec<Action>, who: Who) -> Result<Vec<Invalidation>, GuestFailure> {
    if actions.len() > MAX_ACTIONS {
        return bad(format!("it answered with {} actions, the most is {MAX_ACTIONS}", actions.len()));
    }
    let bounded = |Action { verb, target }| Invalidation {
        urgency: match verb {
            Verb::Purge => Urgency::Purge,
            Verb::SoftPurge => Urgency::SoftPurge,
            Verb::Refresh => Urgency::Refresh,
        },
        purge: match target {
            Target::Row(row) => Purge::Row { collection: row.collection, key: row.key },
            Target::Tag(tag) => Purge::Tag(BucketId::tag(who.tenant, &tag)),
            Target::Query(query) => {
                Purge::Query { tenant: who.tenant, collection: query.collection, query: query.query }
            }
            Target::Lists(collection) => Purge::Lists { collection },
            Target::Collection(collection) => Purge::Collection { collection },
        },
    };
    Ok(actions.into_iter().map(bounded).collect())
}

#[cfg(test)]
mod tests {
    use tidegate_types::{
        settings::{TenantSettings, TenantsSettings},
        tenant::ClassId,
    };

    use super::*;
    use crate::bindings::invalidate::QueryRef;

    fn topology() -> Topology {
        Topology::new(["a", "b", "c"].map(Arc::from))
    }

    fn tenants() -> Tenants {
        let acme = TenantSettings { class: "free".into(), shards: vec!["a".into(), "c".into()], residency: Vec::new() };
        let settings = TenantsSettings {
            classes: vec!["free".into(), "paid".into()],
            known: [("acme".to_owned(), acme)].into_iter().collect(),
        };
        Tenants::resolve(&settings, &topology()).expect("resolved")
    }

    fn ids(ids: &[u16]) -> ShardSet {
        ids.iter().map(|id| ShardId(*id)).collect()
    }

    #[test]
    fn answers_are_resolved_to_shards_that_exist_and_are_the_tenants() {
        let (topology, tenants) = (topology(), tenants());
        let acme = tenants.by_name("acme").expect("known");
        assert_eq!(shards(Targets::AllOfTenant, &topology, acme), Ok(ids(&[0, 2])));
        assert_eq!(shards(Targets::AllOfTenant, &topology, tenants.shared()), Ok(ids(&[0, 1, 2])));
        assert_eq!(shards(Targets::Shards(vec![2, 0, 2]), &topology, acme), Ok(ids(&[2, 0])));
        for hash in 0..100 {
            let placed = shards(Targets::Hash(hash), &topology, acme).expect("placed");
            assert!(placed.len() == 1 && acme.placement.contains(&placed[0]), "{placed:?}");
            let anywhere = shards(Targets::Hash(hash), &topology, tenants.shared()).expect("placed");
            assert_eq!(anywhere[..], [topology.shard_for_hash(hash)], "without tenancy as the built-in routing");
        }
        for wrong in [vec![], vec![3], vec![0, 65_536], vec![u32::MAX], vec![0; MAX_SHARDS + 1]] {
            let failure = shards(Targets::Shards(wrong), &topology, acme).expect_err("refused");
            assert_eq!(failure.kind, FailureKind::BadAnswer);
        }
        let failure = shards(Targets::Shards(vec![0, 1]), &topology, acme).expect_err("refused");
        assert_eq!(failure.kind, FailureKind::OutsidePlacement);
        assert_eq!(failure.detail, "it answered with shard b, where tenant acme has no place");
    }

    #[test]
    fn a_classification_names_a_tenant_and_a_class_there_are() {
        let tenants = tenants();
        let classified = |tenant: &str, class: Option<&str>| {
            who(&Classification { tenant: tenant.into(), class: class.map(str::to_owned) }, &tenants)
        };
        let acme = |class| Ok(Verdict::Who(Who { tenant: TenantId::named("acme"), class: ClassId(class) }));
        assert_eq!(classified("acme", None), acme(1));
        assert_eq!(classified("acme", Some("paid")), acme(2));
        for stranger in ["", "ACME", "acme ", "other"] {
            assert_eq!(classified(stranger, None), Ok(Verdict::Stranger), "{stranger:?}");
        }
        assert_eq!(classified("acme", Some("gold")).expect_err("refused").kind, FailureKind::BadAnswer);
    }

    fn decision() -> Decision {
        Decision { mode: Mode::AsConfigured, ttl_ms: None, stale_ms: 0, vary: Vec::new(), tags: Vec::new() }
    }

    #[test]
    fn a_cache_decision_only_narrows() {
        let declared = [Declared::Header(http::header::ACCEPT_LANGUAGE), Declared::Path];
        let inputs = [Some("de"), None];
        let keep = |decision| keep(&decision, Who::SHARED, &declared, &inputs);
        assert_eq!(keep(decision()), Ok(Keep::AsConfigured));
        assert_eq!(keep(Decision { mode: Mode::Bypass, ..decision() }), Ok(Keep::Bypass));
        let narrowed = |decision| match keep(decision) {
            Ok(Keep::Narrowed(narrowed)) => narrowed,
            other => panic!("{other:?}"),
        };
        let ttl = |ttl| narrowed(Decision { ttl_ms: Some(ttl), ..decision() }).ttl;
        assert_eq!(ttl(0), Some(Duration::from_millis(1)));
        assert_eq!(ttl(u32::MAX), Some(Duration::from_millis(u64::from(u32::MAX))));
        let varied = narrowed(Decision { vary: vec![0, 1, 0], ..decision() });
        assert_eq!(varied.vary, [http::header::ACCEPT_LANGUAGE]);
        assert_eq!(varied.variant.as_ref().map(|bytes| bytes.len()), Some(3 * 8 + 4));
        assert_eq!(keep(Decision { vary: vec![2], ..decision() }).expect_err("refused").kind, FailureKind::BadAnswer);
    }

    #[test]
    fn an_answer_with_more_tags_than_it_can_carry_is_not_kept() {
        let keep = |tags: Vec<String>| keep(&Decision { tags, ..decision() }, Who::SHARED, &[], &[]).expect("bounded");
        assert!(
            matches!(keep(vec!["t".into(); MAX_TAGS]), Keep::Narrowed(narrowed) if narrowed.tags.len() == MAX_TAGS)
        );
        assert_eq!(keep(vec!["t".into(); MAX_TAGS + 1]), Keep::Bypass);
        assert_eq!(keep(vec!["t".repeat(MAX_TAG_BYTES + 1)]), Keep::Bypass);
    }

    #[test]
    fn equal_tags_of_two_tenants_are_two_tags() {
        let of = |tenant| Who { tenant: TenantId(tenant), class: ClassId(0) };
        let tag = |who| {
            let action = Action { verb: Verb::Purge, target: Target::Tag("category:1".into()) };
            purges(vec![action], who).expect("bounded")
        };
        assert_ne!(tag(of(1)), tag(of(2)));
        let purge = Purge::Tag(BucketId::tag(TenantId(1), "category:1"));
        assert_eq!(tag(of(1)), [Invalidation { urgency: Urgency::Purge, purge }]);
    }

    #[test]
    fn each_verb_and_each_target_means_something_of_its_own() {
        let query = QueryRef { collection: "p".into(), query: "a=eq.1".into() };
        let targets = [Target::Query(query), Target::Lists("p".into()), Target::Collection("p".into())];
        let verbs = [Verb::Purge, Verb::SoftPurge, Verb::Refresh];
        let actions = verbs.iter().flat_map(|verb| targets.iter().map(|target| (*verb, target.clone())));
        let actions: Vec<Action> = actions.map(|(verb, target)| Action { verb, target }).collect();
        let bounded = purges(actions, Who { tenant: TenantId(3), class: ClassId(0) }).expect("bounded");
        let urgencies: Vec<_> = bounded.iter().step_by(3).map(|one| one.urgency).collect();
        assert_eq!(urgencies, [Urgency::Purge, Urgency::SoftPurge, Urgency::Refresh]);
        let query = Purge::Query { tenant: TenantId(3), collection: "p".into(), query: "a=eq.1".into() };
        let collection = || "p".to_owned();
        let purges = [query, Purge::Lists { collection: collection() }, Purge::Collection { collection: collection() }];
        assert_eq!(bounded[..3].iter().map(|one| one.purge.clone()).collect::<Vec<_>>(), purges);
    }

    #[test]
    fn too_many_actions_are_a_failure_and_not_cut_off() {
        let actions = vec![Action { verb: Verb::Purge, target: Target::Lists("p".into()) }; MAX_ACTIONS + 1];
        assert_eq!(purges(actions, Who::SHARED).expect_err("refused").kind, FailureKind::BadAnswer);
    }
}
