//! Writes that hold the note about a journal, and who claims it.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::json;
use tidegate_store::{
    JournalGuard, PreparedWrite, Store, StoreError,
    flush::{FlushBatch, Pending},
};
use tidegate_types::{
    answer::ETag,
    mutation::{Image, Mutation, Sequence},
    problem::Retry,
    request::{IfMatch, Missing, Resolution, WriteAction, WriteRequest},
    tenant::TenantId,
};

use crate::world::{A, Shape, World, body, key_of, until};

const SCHEMA: &str = "CREATE TABLE items (id bigint PRIMARY KEY, n int); INSERT INTO items VALUES (1, 1), (2, 1)";
const JOURNAL: u64 = 0x8eed_0000_0000_0001;

fn guard(epoch: u64) -> Option<JournalGuard> {
    Some(JournalGuard { journal: JOURNAL, epoch })
}

async fn world() -> World {
    let world = World::new(Shape::Databases, SCHEMA, &["items"]).await;
    world.store.claim_journal(A, JOURNAL, 1).await.unwrap();
    world
}

fn upsert(world: &World, id: i64) -> WriteRequest {
    let body = body(&format!("{{\"id\":{id},\"n\":5}}"));
    world
        .request("items", WriteAction::Insert { body, resolution: Resolution::MergeDuplicates, missing: Missing::Null })
}

async fn begin(world: &World, id: i64, epoch: u64) -> Result<PreparedWrite, StoreError> {
    world.store.begin_write(A, &upsert(world, id), None, guard(epoch)).await
}

fn claim(world: &World, epoch: u64) -> tokio::task::JoinHandle<Sequence> {
    let store: Store = world.store.clone();
    tokio::spawn(async move { store.claim_journal(A, JOURNAL, epoch).await.unwrap() })
}

async fn waits(world: &World, class: &str) {
    let sql = world.sql(A).await;
    let waiting = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND application_name = $1";
    let name = format!("tidegate {class}");
    until("somebody waits for the note", async || !sql.query(waiting, &[&name]).await.unwrap().is_empty()).await;
}

fn is_taken_over(outcome: Result<PreparedWrite, StoreError>) {
    let Err(error @ StoreError::TakenOver { .. }) = outcome else { panic!("not refused: {outcome:?}") };
    let problem = error.into_problem();
    assert_eq!(problem.code, "TG003");
    assert!(matches!(problem.retry, Retry::After(_)), "{problem:?}");
}

#[tokio::test]
async fn a_claim_waits_for_a_write_that_holds_the_note_and_refuses_the_next() {
    let world = world().await;
    let first = begin(&world, 1, 1).await.unwrap();
    let second = begin(&world, 2, 1).await.unwrap();
    let claim = claim(&world, 2);
    waits(&world, "batch").await;
    first.commit().await.unwrap();
    assert!(!claim.is_finished(), "there is another one");
    waits(&world, "batch").await;
    second.rollback().await;
    claim.await.unwrap();
    is_taken_over(begin(&world, 1, 1).await);
    begin(&world, 1, 2).await.unwrap().commit().await.unwrap();
    assert_eq!(world.row(A, "items", "1").await.unwrap()["n"], 5);
}

#[tokio::test]
async fn a_write_that_comes_while_a_claim_is_under_way_waits_and_is_refused() {
    let world = world().await;
    let claiming = world.sql(A).await;
    claiming
        .batch_execute("BEGIN; SELECT 1 FROM tidegate.applied FOR UPDATE; UPDATE tidegate.applied SET epoch = 2")
        .await
        .unwrap();
    let late = {
        let (store, request) = (world.store.clone(), upsert(&world, 1));
        tokio::spawn(async move { store.begin_write(A, &request, None, guard(1)).await })
    };
    waits(&world, "write").await;
    claiming.batch_execute("COMMIT").await.unwrap();
    is_taken_over(late.await.unwrap());
    assert_eq!(world.row(A, "items", "1").await.unwrap()["n"], 1);
}

#[tokio::test]
async fn a_refused_write_leaves_nothing_and_keeps_its_connection() {
    let world = world().await;
    world.store.claim_journal(A, JOURNAL, 2).await.unwrap();
    let discarded = world.metric("tidegate_store_pool_discarded");
    is_taken_over(begin(&world, 1, 1).await);
    // In the flight of a condition, too, whatever that says.
    for tag in [ETag(1), ETag(2)] {
        let conditional = WriteRequest {
            if_match: IfMatch::OneOf(vec![tag]),
            action: WriteAction::Put { key: key_of(&world.collection("items"), "1"), body: body("{\"id\":1,\"n\":9}") },
            ..upsert(&world, 1)
        };
        is_taken_over(world.store.begin_write(A, &conditional, None, guard(1)).await);
    }
    // And with a statement that fails.
    let failing = world.request(
        "items",
        WriteAction::Insert { body: body("{\"id\":1,\"n\":9}"), resolution: Resolution::Fail, missing: Missing::Null },
    );
    is_taken_over(world.store.begin_write(A, &failing, None, guard(1)).await);
    let nobody = Some(JournalGuard { journal: JOURNAL + 1, epoch: 1 });
    is_taken_over(world.store.begin_write(A, &upsert(&world, 1), None, nobody).await);
    assert!((world.metric("tidegate_store_pool_discarded") - discarded).abs() < 0.5, "no connection was closed");
    assert_eq!(world.row(A, "items", "1").await.unwrap()["n"], 1);
}

#[tokio::test]
async fn without_the_table_a_guarded_write_is_refused() {
    let world = World::new(Shape::Databases, SCHEMA, &["items"]).await;
    let outcome = begin(&world, 1, 1).await;
    assert!(matches!(outcome, Err(StoreError::Journal { .. })), "{outcome:?}");
    assert_eq!(world.row(A, "items", "1").await.unwrap()["n"], 1);
}

#[tokio::test]
async fn flushes_and_guarded_writes_do_not_wait_for_each_other() {
    let world = world().await;
    let collection = world.collection("items");
    let image =
        Image::Row { json: Bytes::from(json!({ "id": 2, "n": 7 }).to_string()), set: Arc::from([Box::from("n")]) };
    let key = key_of(&collection, "2");
    let mutation = Mutation { collection: "items".into(), shard: "a".into(), tenant: TenantId(0), key, image };
    let pending = Pending { sequence: Sequence(1), collection, mutation };
    let batch = FlushBatch {
        journal: JOURNAL,
        epoch: 1,
        old: Sequence(0),
        new: Sequence(1),
        mutations: vec![pending],
        parked: Vec::new(),
    };
    let before = begin(&world, 1, 1).await.unwrap();
    let flush = world.store.begin_flush(A, &batch).await.unwrap();
    let during = begin(&world, 3, 1).await.unwrap();
    flush.commit().await.unwrap();
    // The lock is on what the note has become, too.
    let claim = claim(&world, 2);
    waits(&world, "batch").await;
    before.commit().await.unwrap();
    waits(&world, "batch").await;
    during.commit().await.unwrap();
    assert_eq!(claim.await.unwrap(), Sequence(1));
}
