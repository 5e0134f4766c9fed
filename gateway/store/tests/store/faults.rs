//! Shards that go away, come back, freeze or turn out to be others.

use std::time::{Duration, Instant};

use tidegate_store::{Reachable, StoreError};
use tidegate_types::{
    epoch::Epoch,
    problem::{ProblemKind, Retry},
    query::{ListQuery, Projection},
    request::{Missing, Resolution, WriteAction},
    settings::PoolSettings,
};
use tokio::task::JoinSet;

use crate::members::another_gateway;
use crate::world::{A, B, Shape, World, body, key_of, pools, until};

const SCHEMA: &str = "
CREATE TABLE items (id bigint PRIMARY KEY, name text);
INSERT INTO items SELECT n, 'item ' || n FROM generate_series(1, 100) n;";

/// Ends every connection of the store's, as an administrator would.
const TERMINATE: &str =
    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name LIKE 'tidegate %'";

fn insert(json: &str) -> WriteAction {
    WriteAction::Insert { body: body(json), resolution: Resolution::Fail, missing: Missing::Null }
}

#[tokio::test]
async fn a_shard_that_is_down_fails_fast_alone_and_comes_back() {
    let mut world = World::new(Shape::Clusters, SCHEMA, &["items"]).await;
    world.store.warm().await;
    assert!(world.store.shards().iter().all(|shard| shard.reachable == Reachable::Yes));
    world.clusters[1].kill().await;

    let started = Instant::now();
    for _ in 0..50 {
        let error = world.load(B, "items", "1").await.unwrap_err();
        let problem = error.into_problem();
        assert_eq!(problem.kind, ProblemKind::ShardUnavailable);
        assert_eq!(problem.retry, Retry::After(Duration::from_secs(1)));
        assert!(!format!("{problem:?}").contains("127.0.0.1"), "no addresses for clients: {problem:?}");
    }
    assert!(world.begin_on(B, insert(r#"{"id":900}"#)).await.unwrap_err().is_connection());
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
    assert!(world.row(A, "items", "1").await.is_some(), "the other shard is not affected");
    let list = world.store.list(&[A, B], &world.collection("items"), &ListQuery::default()).await;
    assert_eq!(list.unwrap_err().into_problem().kind, ProblemKind::ShardUnavailable);
    let state = &world.store.shards()[1];
    assert!(state.reachable == Reachable::No && state.last_error.is_some());
    let attempts = world.metric("tidegate_store_connect_failures_total");
    assert!(attempts < 40.0, "{attempts} connects for 52 requests: the gate does not hold");

    world.clusters[1].restart().await.unwrap();
    until("the shard is back", async || world.load(B, "items", "1").await.is_ok()).await;
    let row = world.load(B, "items", "1").await.unwrap();
    assert_eq!(row.epoch, Epoch(2), "xids after a crash are not those of before");
    assert_eq!(world.epochs.current(A), Epoch(1));
    assert!(world.metric("tidegate_store_epoch_changes_total") >= 1.0);
}

#[tokio::test]
async fn lost_connections_are_replaced_without_a_failed_read_or_write() {
    let world = World::new(Shape::Databases, SCHEMA, &["items"]).await;
    world.store.warm().await;
    let sql = world.sql(A).await;
    for id in 200..205 {
        sql.query(TERMINATE, &[]).await.unwrap();
        assert!(world.row(A, "items", "1").await.is_some());
        sql.query(TERMINATE, &[]).await.unwrap();
        world.store.list(&[A, B], &world.collection("items"), &ListQuery::default()).await.unwrap();
        sql.query(TERMINATE, &[]).await.unwrap();
        world.begin("items", insert(&format!(r#"{{"id":{id}}}"#))).await.unwrap().commit().await.unwrap();
    }
    assert_eq!(world.epochs.current(A), Epoch(1), "the server is the same one");
}

#[tokio::test]
async fn connections_of_an_older_epoch_are_not_used_again() {
    let world = World::new(Shape::Databases, SCHEMA, &["items"]).await;
    world.store.warm().await;
    world.epochs.advance(A);
    assert_eq!(world.load(A, "items", "1").await.unwrap().epoch, Epoch(2));
    let prepared = world.begin("items", insert(r#"{"id":800}"#)).await.unwrap();
    assert_eq!(prepared.epoch, Epoch(2));
    prepared.rollback().await;
}

/// What makes a gateway refuse COMMIT on a connection of an epoch that is over: the server does not.
#[tokio::test]
async fn a_grant_begins_an_epoch_and_transactions_of_the_last_one_can_still_commit() {
    let world = World::new(Shape::Databases, SCHEMA, &["items"]).await;
    let sql = world.sql(A).await;
    sql.batch_execute("CREATE ROLE plain LOGIN; GRANT ALL ON items TO plain").await.unwrap();
    let store = another_gateway(&world, Some("plain"));
    let write = world.request("items", insert(r#"{"id":801}"#));
    let old = store.begin_write(A, &write, None, None).await.unwrap();
    assert_eq!((old.epoch, store.epoch(A)), (Epoch(1), Epoch(1)));
    // From now on the role sees when the checkpointer was started, and not only when the postmaster was.
    sql.batch_execute("GRANT pg_read_all_stats TO plain").await.unwrap();
    store.list(&[A], &world.collection("items"), &ListQuery::default()).await.unwrap();
    assert_eq!(store.epoch(A), Epoch(2), "by a new connection, of another pool");
    old.commit().await.unwrap();
    assert!(world.row(A, "items", "801").await.is_some());
    let next = store.begin_write(A, &world.request("items", insert(r#"{"id":802}"#)), None, None).await.unwrap();
    assert_eq!(next.epoch, Epoch(2), "the old connection is not used again");
    next.rollback().await;
}

#[tokio::test]
async fn every_epoch_gets_a_base_of_its_own_that_ended_before_anything_is_read_in_it() {
    let world = World::new(Shape::Databases, SCHEMA, &["items"]).await;
    let first = world.load(A, "items", "1").await.unwrap();
    let base = world.epochs.base(A, Epoch(1)).expect("taken by the first connection, which read the catalog");
    assert!(base < first.snapshot.xmin, "{base:?} {:?}", first.snapshot);
    let epoch = world.epochs.advance(A);
    let then = world.load(A, "items", "1").await.unwrap();
    let next = world.epochs.base(A, epoch).expect("taken anew");
    assert!(base < next && next < then.snapshot.xmin, "{base:?} {next:?} {:?}", then.snapshot);
}

#[tokio::test]
async fn a_connection_lost_before_commit_is_a_definite_failure() {
    let world = World::new(Shape::Databases, SCHEMA, &["items"]).await;
    let prepared = world.begin("items", insert(r#"{"id":300}"#)).await.unwrap();
    let sql = world.sql(A).await;
    sql.query(TERMINATE, &[]).await.unwrap();
    let gone = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'tidegate write'";
    until("it is gone", async || sql.query_one(gone, &[]).await.unwrap().get::<_, i64>(0) == 0).await;
    let error = prepared.commit().await.unwrap_err();
    // Which of the two depends on whether the loss was noticed before COMMIT was handed over.
    assert!(matches!(error, StoreError::Unavailable { .. } | StoreError::OutcomeUnknown { .. }), "{error:?}");
    assert_eq!(world.row(A, "items", "300").await, None);
}

#[tokio::test]
async fn a_connection_lost_during_commit_leaves_the_outcome_unknown() {
    // COMMIT waits in a deferred trigger for a lock that the test holds.
    let schema = format!(
        "{SCHEMA} CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS
         $$BEGIN PERFORM pg_advisory_xact_lock(42); RETURN NULL; END$$;
         CREATE CONSTRAINT TRIGGER waits AFTER INSERT ON items DEFERRABLE INITIALLY DEFERRED
         FOR EACH ROW EXECUTE FUNCTION wait();"
    );
    let world = World::new(Shape::Databases, &schema, &["items"]).await;
    let sql = world.sql(A).await;
    sql.batch_execute("SELECT pg_advisory_lock(42)").await.unwrap();
    let prepared = world.begin("items", insert(r#"{"id":300}"#)).await.unwrap();
    let kill = async {
        let waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted";
        until("COMMIT waits", async || sql.query_one(waiting, &[]).await.unwrap().get::<_, i64>(0) == 1).await;
        sql.query(TERMINATE, &[]).await.unwrap();
    };
    let (outcome, ()) = futures_util::future::join(prepared.commit(), kill).await;
    let error = outcome.unwrap_err();
    assert!(matches!(error, StoreError::OutcomeUnknown { .. }), "{error:?}");
    assert_eq!(error.into_problem().kind, ProblemKind::OutcomeUnknown);
    assert!(!error.is_connection(), "it must not look as if it could be repeated");
}

#[tokio::test]
async fn a_frozen_shard_times_out_and_its_connections_are_not_used_again() {
    let mut pools = pools(2);
    pools.point = PoolSettings { statement_timeout: Duration::from_millis(300), ..pools.point };
    let world = World::with_pools(Shape::Clusters, SCHEMA, &["items"], pools).await;
    world.store.warm().await;
    world.clusters[1].pause();
    let started = Instant::now();
    let error = world.load(B, "items", "1").await.unwrap_err();
    assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());
    assert_eq!(error.into_problem().kind, ProblemKind::StatementTimeout, "{error:?}");
    assert!(world.row(A, "items", "1").await.is_some());

    let readers = (0..17_000).map(|n| {
        let (store, items) = (world.store.clone(), world.collection("items"));
        let key = key_of(&items, &n.to_string());
        async move { store.load_row(B, &items, &Projection::Whole, &key).await.unwrap_err() }
    });
    let refused = futures_util::future::join_all(readers).await;
    let refused = refused.iter().filter(|error| matches!(error, StoreError::Overloaded { .. })).count();
    assert!((1..2_000).contains(&refused), "{refused} of 17000 refused: the queue is bounded, and not tightly");
    world.clusters[1].resume();
    until("it thaws", async || world.load(B, "items", "1").await.is_ok()).await;
    assert_eq!(world.epochs.current(B), Epoch(1), "it was only frozen");
}

#[tokio::test]
async fn requests_wait_for_a_connection_only_so_long() {
    let world = World::with_pools(Shape::Databases, SCHEMA, &["items"], pools(1)).await;
    let held = world.begin("items", insert(r#"{"id":500}"#)).await.unwrap();
    let error = world.begin("items", insert(r#"{"id":501}"#)).await.unwrap_err();
    let problem = error.into_problem();
    assert_eq!((problem.kind, &*problem.code), (ProblemKind::PoolTimeout, "PGRST003"));
    assert!(world.row(A, "items", "1").await.is_some(), "reads have pools of their own");
    held.commit().await.unwrap();
    world.begin("items", insert(r#"{"id":501}"#)).await.unwrap().rollback().await;
}

#[tokio::test]
async fn slow_statements_are_cancelled_by_the_server() {
    let mut pools = pools(2);
    pools.write = PoolSettings { statement_timeout: Duration::from_millis(200), ..pools.write };
    let world = World::with_pools(Shape::Databases, SCHEMA, &["items"], pools).await;
    let sql = world.sql(A).await;
    sql.batch_execute("BEGIN; INSERT INTO items VALUES (700)").await.unwrap();
    let error = world.begin("items", insert(r#"{"id":700}"#)).await.unwrap_err();
    assert_eq!(error.into_problem().kind, ProblemKind::StatementTimeout, "{error:?}");
    sql.batch_execute("ROLLBACK").await.unwrap();
    world.begin("items", insert(r#"{"id":700}"#)).await.unwrap().commit().await.unwrap();
}

#[tokio::test]
async fn readers_that_go_away_leave_nothing_behind() {
    let world = World::with_pools(Shape::Databases, SCHEMA, &["items"], pools(1)).await;
    let sql = world.sql(A).await;
    sql.batch_execute("BEGIN; LOCK TABLE items").await.unwrap();
    let mut tasks = JoinSet::new();
    let (store, items) = (world.store.clone(), world.collection("items"));
    let list = {
        let (store, items) = (store.clone(), items.clone());
        async move { drop(store.list(&[A], &items, &ListQuery::default()).await) }
    };
    tasks.spawn(list);
    let blocked = "SELECT count(*) FROM pg_locks WHERE NOT granted";
    until("the list waits", async || sql.query_one(blocked, &[]).await.unwrap().get::<_, i64>(0) == 1).await;
    tasks.shutdown().await;
    sql.batch_execute("ROLLBACK").await.unwrap();
    // The only scan connection: were the abandoned list still on it, its rows would come first.
    assert_eq!(store.list(&[A], &items, &ListQuery::default()).await.unwrap().rows, 100);
    assert!(world.metric("tidegate_store_pool_discarded_total") >= 1.0);
}

#[tokio::test]
async fn a_crash_that_only_backends_see_is_a_new_epoch() {
    let world = World::new(Shape::Databases, SCHEMA, &["items"]).await;
    world.store.warm().await;
    let sql = world.sql(A).await;
    let victim: i32 = sql.query_one("SELECT pg_backend_pid()", &[]).await.unwrap().get(0);
    let postmaster = world.clusters[0].pid();
    // The postmaster survives and restarts everything else: xids that never reached the disk are given out again.
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(victim), nix::sys::signal::Signal::SIGKILL).unwrap();
    until("the crash is noticed", async || world.load(A, "items", "1").await.is_ok_and(|row| row.epoch == Epoch(2)))
        .await;
    assert_eq!(world.clusters[0].pid(), postmaster);
    assert_eq!(world.epochs.current(A), Epoch(2));
}
