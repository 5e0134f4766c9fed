//! Another configuration while requests are under way.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};
use tidegate_pipeline::Serving;
use tidegate_types::{
    answer::{BypassReason, CacheStatus, RowAnswer},
    collection::{Collection, renumber},
    route::{ShardId, Topology},
};

use crate::world::{Tenancy, World, until};

fn product(answer: &RowAnswer) -> Value {
    answer.row.as_ref().map_or(Value::Null, |row| serde_json::from_slice(&row.json).unwrap())
}

impl World {
    /// Serves `products` for another time from now on, everything else as before.
    fn change_products_ttl(&self, ttl: Duration) {
        let now = self.gateway.collections();
        let changed = |collection: &Arc<Collection>| Collection {
            ttl: if &*collection.name == "products" { ttl } else { collection.ttl },
            ..(**collection).clone()
        };
        let next = renumber(&now, now.iter().map(changed).collect());
        self.gateway.replace(Serving { collections: Arc::new(next) });
    }
}

#[tokio::test]
async fn what_stays_as_it_is_keeps_its_entries_and_what_changed_loses_them() {
    let world = World::new(Tenancy::None).await;
    for collection in ["products", "categories"] {
        world.hits(collection, 1, &[]).await;
        assert!(world.hits(collection, 1, &[]).await);
    }
    world.change_products_ttl(Duration::from_secs(30));
    assert!(world.hits("categories", 1, &[]).await);
    assert!(!world.hits("products", 1, &[]).await);
    assert!(world.hits("products", 1, &[]).await, "nothing was under way, so it is cached at once");
    world.change_products_ttl(Duration::from_secs(60));
    assert!(!world.hits("products", 1, &[]).await, "nor does going back bring the old entries back");
}

#[tokio::test]
async fn a_write_that_began_before_a_replacement_leaves_nothing_outdated_after_it() {
    let world = World::new(Tenancy::None).await;
    world.put(1, json!({"category_id": 1}), &[]).await.unwrap();
    let home = world.gateway.topology().shard_for_hash(Topology::hash_key("1"));
    let lock = world.sql(home).await;
    lock.batch_execute("BEGIN; SELECT FROM products WHERE id = 1 FOR UPDATE").await.unwrap();
    let write = world.put(1, json!({"category_id": 2}), &[]);
    let meanwhile = async {
        until("the write waits for the row", async || waits(&world, home).await).await;
        world.change_products_ttl(Duration::from_secs(30));
        for _ in 0..2 {
            let read = world.read("products", 1, &[]).await.unwrap();
            assert_eq!(read.status, CacheStatus::Bypass(BypassReason::Settling));
            assert_eq!(product(&read)["category_id"], 1);
        }
        lock.batch_execute("COMMIT").await.unwrap();
    };
    let (written, ()) = tokio::join!(write, meanwhile);
    written.unwrap();
    let read = world.read("products", 1, &[]).await.unwrap();
    assert!(matches!(read.status, CacheStatus::MissStored { .. }), "{:?}", read.status);
    assert_eq!(product(&read)["category_id"], 2);
    assert!(world.hits("products", 1, &[]).await);
}

async fn waits(world: &World, shard: ShardId) -> bool {
    let blocked = "SELECT count(*) FROM pg_locks WHERE NOT granted";
    world.sql(shard).await.query_one(blocked, &[]).await.unwrap().get::<_, i64>(0) > 0
}
