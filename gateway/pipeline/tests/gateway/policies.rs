//! Tenants, cache policies and invalidation policies in the request path. The guest `faulty` tags answers as the
//! field `x-fault` says, and purges the tags of a changed product's category, before and after.

use serde_json::json;
use tidegate_pipeline::Names;
use tidegate_types::{
    answer::{BypassReason, CacheStatus, NotStored},
    problem::{ProblemKind, codes},
    route::ShardId,
};

use crate::world::{Fields, Tenancy, World};

const FALLBACKS: &str = "tidegate_policy_invalidation_fallbacks_total";

impl World {
    /// Whether a category's page is served from the cache; it is tagged with its category.
    async fn page_hits(&self, category: i64, more: Fields<'_>) -> bool {
        let tag = format!("tag:category:{category}");
        let fields: Vec<(&str, &str)> = more.iter().copied().chain([("x-fault", tag.as_str())]).collect();
        self.hits("categories", category, &fields).await
    }

    /// A category on this shard, not below `from`.
    async fn category_on(&self, shard: ShardId, from: i64) -> i64 {
        for category in from..from + 100 {
            if self.home(category).await == shard {
                return category;
            }
        }
        panic!("a hundred categories on one shard");
    }
}

#[tokio::test]
async fn purges_hold_on_every_shard_when_the_write_is_answered() {
    let world = World::new(Tenancy::None).await;
    let (on_a, on_b) = (world.category_on(ShardId(0), 0).await, world.category_on(ShardId(1), 0).await);
    let others = [world.category_on(ShardId(0), on_a + 1).await, world.category_on(ShardId(1), on_b + 1).await];
    let warm = async || {
        for category in [on_a, on_b, others[0], others[1]] {
            world.page_hits(category, &[]).await;
            assert!(world.page_hits(category, &[]).await);
        }
    };
    warm().await;
    world.put(1, json!({"category_id": on_a}), &[]).await.unwrap();
    assert!(!world.page_hits(on_a, &[]).await, "a new product of it");
    assert!(world.page_hits(on_b, &[]).await);
    warm().await;
    world.put(1, json!({"category_id": on_b}), &[]).await.unwrap();
    assert!(!world.page_hits(on_a, &[]).await, "where it was");
    assert!(!world.page_hits(on_b, &[]).await, "where it is");
    for other in others {
        assert!(world.page_hits(other, &[]).await, "no tag of theirs was purged");
    }
    assert_eq!(world.metric(&format!("{FALLBACKS}{{reason=\"failed\"}}")).as_deref(), Some("0"));
}

#[tokio::test]
async fn a_failing_invalidation_policy_purges_more_and_fails_no_write() {
    let world = World::new(Tenancy::None).await;
    for (product, fault, reason) in [(1, "trap", "failed"), (2, "stray-key", "bad_target")] {
        for _ in 0..2 {
            world.page_hits(1, &[]).await;
            world.page_hits(2, &[]).await;
            world.hits("products", 77, &[]).await;
            world.hits("categories", 3, &[]).await;
        }
        world.put(product, json!({"category_id": 9, "fault": fault}), &[]).await.unwrap();
        for category in [1, 2] {
            assert!(!world.page_hits(category, &[]).await, "{fault}: every tagged answer");
        }
        assert!(!world.hits("products", 77, &[]).await, "{fault}: the collection");
        assert!(world.hits("categories", 3, &[]).await, "{fault}: neither tagged nor of the collection");
        let counted = world.metric(&format!("{FALLBACKS}{{reason=\"{reason}\"}}"));
        assert_eq!(counted.as_deref(), Some("1"), "{fault}");
    }
}

#[tokio::test]
async fn a_cache_policy_keeps_answers_out_of_the_cache_and_says_so() {
    let world = World::new(Tenancy::None).await;
    for (fault, reason) in [("bypass", BypassReason::Policy), ("trap", BypassReason::PolicyFailed)] {
        let fields = [("x-fault", fault)];
        for _ in 0..2 {
            let read = world.read("products", 1, &fields).await.unwrap();
            assert_eq!(read.status, CacheStatus::Bypass(reason), "{fault}");
        }
        assert_eq!(world.list("products", &fields).await.status, CacheStatus::Bypass(reason), "{fault}");
    }
    assert!(!world.hits("products", 1, &[]).await, "nothing was kept");
    assert!(world.hits("products", 1, &[]).await);
    let bypassed = world.read("products", 1, &[("x-fault", "bypass")]).await.unwrap();
    assert_eq!(bypassed.status, CacheStatus::Bypass(BypassReason::Policy), "nor is anything kept served");
    let status = world.list("products", &[]).await.status;
    assert!(matches!(status, CacheStatus::MissNotStored { reason: NotStored::FirstAsked, .. }), "{status:?}");
}

#[tokio::test]
async fn tenants_have_their_own_entries_and_share_the_rows() {
    let world = World::new(Tenancy::Two).await;
    let [acme, globex] = [[("x-tenant", "acme")], [("x-tenant", "globex")]];
    for tenant in [&acme, &globex] {
        assert!(!world.hits("products", 1, tenant).await, "nobody is served another's answer");
        assert!(world.hits("products", 1, tenant).await);
        world.page_hits(5, tenant).await;
        assert!(world.page_hits(5, tenant).await);
    }
    let written = world.put(1, json!({"category_id": 5}), &acme).await.unwrap();
    let names = Names { tenant: "acme".into(), class: Some("free".into()) };
    assert_eq!(world.gateway.names(written.trace.who), names);
    for tenant in [&acme, &globex] {
        let read = world.read("products", 1, tenant).await.unwrap();
        assert!(read.row.is_some(), "the row is the same");
    }
    assert!(!world.page_hits(5, &acme).await);
    assert!(world.page_hits(5, &globex).await, "tags are each tenant's own");
}

#[tokio::test]
async fn who_is_no_tenant_is_refused() {
    let world = World::new(Tenancy::Two).await;
    let stranger = [("x-tenant", "initech")];
    let read = world.read("products", 1, &stranger).await.unwrap_err();
    let write = world.put(1, json!({}), &stranger).await.unwrap_err();
    for problem in [read, write] {
        assert_eq!((problem.kind, &*problem.code), (ProblemKind::Forbidden, codes::TENANT));
    }
}
