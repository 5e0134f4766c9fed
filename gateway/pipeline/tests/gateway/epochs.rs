//! What becomes of a write whose shard's epoch ends under it.

use serde_json::json;
use tidegate_types::{
    answer::CacheStatus,
    problem::{ProblemKind, Retry},
    route::{ShardId, Topology},
};

use crate::world::{Tenancy, World, until};

async fn waits(world: &World, shard: ShardId) -> bool {
    let blocked = "SELECT count(*) FROM pg_locks WHERE NOT granted";
    world.sql(shard).await.query_one(blocked, &[]).await.unwrap().get::<_, i64>(0) > 0
}

#[tokio::test]
async fn a_write_that_gets_its_transaction_after_its_epoch_ended_is_rolled_back() {
    let world = World::new(Tenancy::None).await;
    world.put(1, json!({"category_id": 1}), &[]).await.unwrap();
    let home = world.gateway.topology().shard_for_hash(Topology::hash_key("1"));
    let lock = world.sql(home).await;
    lock.batch_execute("BEGIN; LOCK TABLE products IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let write = world.put(1, json!({"category_id": 2}), &[]);
    let meanwhile = async {
        until("the write waits for the table", || async { waits(&world, home).await }).await;
        // As if a new connection showed the server otherwise: it lives on, and so does the write's connection.
        let epoch = world.epochs.advance(home);
        // By a connection of the new epoch, which takes its base: below the transaction id that the write gets.
        assert_eq!(world.home(1).await, home);
        assert!(world.epochs.base(home, epoch).is_some());
        lock.batch_execute("COMMIT").await.unwrap();
    };
    let (written, ()) = tokio::join!(write, meanwhile);
    let problem = written.unwrap_err();
    assert_eq!(problem.kind, ProblemKind::ShardUnavailable, "{problem:?}");
    assert!(matches!(problem.retry, Retry::After(_)));
    let row = lock.query_one("SELECT category_id FROM products WHERE id = 1", &[]).await.unwrap();
    assert_eq!(row.get::<_, i32>(0), 1, "it was rolled back");
    let read = world.read("products", 1, &[]).await.unwrap();
    assert!(matches!(read.status, CacheStatus::MissStored { .. }), "{:?}", read.status);
    world.put(1, json!({"category_id": 2}), &[]).await.unwrap();
    assert!(!world.hits("products", 1, &[]).await, "tried again, it is a write of the new epoch");
}
