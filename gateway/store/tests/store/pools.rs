//! Pools that are given other sizes while they are in use.

use std::time::Duration;

use tidegate_store::StoreError;
use tidegate_types::{
    request::{Missing, Resolution, WriteAction},
    settings::{PoolSettings, PoolsSettings},
};

use crate::world::{A, Shape, World, body, pools, until};

const SCHEMA: &str = "CREATE TABLE items (id bigint PRIMARY KEY, name text);";

fn insert(id: u32) -> WriteAction {
    let body = body(&format!("{{\"id\":{id}}}"));
    WriteAction::Insert { body, resolution: Resolution::Fail, missing: Missing::Null }
}

fn write(write: PoolSettings) -> PoolsSettings {
    PoolsSettings { write, ..pools(4) }
}

#[tokio::test]
async fn a_pool_grows_and_shrinks_while_it_is_used() {
    let settings = PoolSettings { max: 1, ..pools(4).write };
    let world = World::with_pools(Shape::Databases, SCHEMA, &["items"], write(settings)).await;
    let first = world.begin_on(A, insert(1)).await.unwrap();
    let full = world.begin_on(A, insert(2)).await.unwrap_err();
    assert!(matches!(full, StoreError::PoolTimeout { .. }), "{full}");
    world.store.resize(&write(PoolSettings { max: 2, ..settings }));
    let second = world.begin_on(A, insert(2)).await.unwrap();
    let state = || world.store.shards()[0].pools.iter().find(|pool| pool.class == "write").cloned().unwrap();
    assert_eq!((state().max, state().size), (2, 2));
    world.store.resize(&write(settings));
    drop((first, second));
    until("one connection is left", async || state().max == 1 && state().size <= 1).await;
    assert!(world.begin_on(A, insert(3)).await.is_ok());
}

#[tokio::test]
async fn other_times_hold_for_connections_that_are_open_already() {
    let settings = PoolSettings { max: 1, statement_timeout: Duration::from_secs(60), ..pools(4).write };
    let world = World::with_pools(Shape::Databases, SCHEMA, &["items"], write(settings)).await;
    world.store.warm().await;
    let mut blocker = world.sql(A).await;
    let lock = blocker.transaction().await.unwrap();
    lock.batch_execute("LOCK TABLE items").await.unwrap();
    let short = PoolSettings { statement_timeout: Duration::from_millis(200), ..settings };
    world.store.resize(&write(short));
    let blocked = tokio::time::timeout(Duration::from_secs(10), world.begin_on(A, insert(1))).await;
    let error = blocked.expect("the new statement_timeout ends it").unwrap_err();
    assert!(error.to_string().contains("57014"), "{error}");
}
