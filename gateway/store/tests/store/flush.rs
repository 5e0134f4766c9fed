//! What was acknowledged before its shard had it, brought there.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use serde_json::{Value, json};
use tidegate_store::{
    Store, StoreError,
    flush::{DeadLetter, FlushBatch, FlushError, LetterState, Pending, PreparedFlush, Requeue},
};
use tidegate_types::{
    epoch::Epochs,
    mutation::{Image, Mutation, Sequence},
    route::Topology,
    settings::{PoolSettings, PoolsSettings, Secret, ShardSettings},
    tenant::TenantId,
};

use crate::world::{A, Shape, World, key_of, pools, until};

const SCHEMA: &str = "
CREATE TABLE items (id bigint PRIMARY KEY, name text NOT NULL, qty int CHECK (qty >= 0), email text UNIQUE,
  made timestamptz, kept text DEFAULT 'kept');
CREATE TABLE pairs (a int, b text, n numeric(10,2), PRIMARY KEY (a, b));
CREATE TABLE parents (id int PRIMARY KEY);
CREATE TABLE children (id int PRIMARY KEY, parent int REFERENCES parents DEFERRABLE INITIALLY DEFERRED);
CREATE TABLE strict (id int PRIMARY KEY, parent int REFERENCES parents);
CREATE TABLE moody (id int PRIMARY KEY, mood text);
CREATE FUNCTION mood() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF NEW.mood ~ '^[0-9A-Z]{5}$' THEN RAISE EXCEPTION 'in no mood' USING ERRCODE = NEW.mood; END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER mood BEFORE INSERT OR UPDATE ON moody FOR EACH ROW EXECUTE FUNCTION mood();
";
const TABLES: [&str; 6] = ["items", "pairs", "parents", "children", "strict", "moody"];
const JOURNAL: u64 = 0xfeed_0000_0000_0001;

async fn world() -> World {
    let world = World::new(Shape::Databases, SCHEMA, &TABLES).await;
    assert_eq!(world.store.claim_journal(A, JOURNAL, 1).await.unwrap(), Sequence(0));
    world
}

fn row(image: &Value, set: &[&str]) -> Image {
    Image::Row { json: Bytes::from(image.to_string()), set: set.iter().map(|name| Box::from(*name)).collect() }
}

fn pending(world: &World, sequence: u64, table: &str, key: &str, image: Image) -> Pending {
    let collection = world.collection(table);
    let mutation = Mutation {
        collection: table.into(),
        shard: "a".into(),
        tenant: TenantId(u64::MAX - 7),
        key: key_of(&collection, key),
        image,
    };
    Pending { sequence: Sequence(sequence), collection, mutation }
}

/// An item that sets name and quantity.
fn item(world: &World, sequence: u64, id: u64, qty: i64) -> Pending {
    let image =
        json!({ "id": id, "name": format!("item {id}"), "qty": qty, "email": null, "made": null, "kept": "new" });
    pending(world, sequence, "items", &id.to_string(), row(&image, &["name", "qty"]))
}

fn batch(old: u64, mutations: Vec<Pending>) -> FlushBatch {
    let new = mutations.last().map_or(Sequence(old), |last| last.sequence);
    FlushBatch { journal: JOURNAL, epoch: 1, old: Sequence(old), new, mutations, parked: Vec::new() }
}

async fn flush(world: &World, batch: &FlushBatch) -> Vec<(u64, String)> {
    let prepared = world.store.begin_flush(A, batch).await.unwrap();
    let dead = prepared.dead.iter().map(|(sequence, reason)| (sequence.0, reason.sqlstate.clone())).collect();
    prepared.commit().await.unwrap();
    dead
}

async fn letters(world: &World) -> Vec<DeadLetter> {
    world.store.dead_letters(A, JOURNAL, 1000, Sequence(0)).await.unwrap()
}

async fn count(world: &World, table: &str) -> i64 {
    let sql = world.sql(A).await;
    sql.query_one(&format!("SELECT count(*) FROM {table}"), &[]).await.unwrap().get(0)
}

fn retry(result: Result<PreparedFlush, FlushError>) -> StoreError {
    match result {
        Err(FlushError::Retry { error, after }) => {
            assert!(after > Duration::ZERO);
            error
        }
        other => panic!("not to be tried again: {other:?}"),
    }
}

#[tokio::test]
async fn a_batch_is_applied_and_noted_in_one_transaction() {
    let world = world().await;
    let mut first = vec![item(&world, 1, 1, 5), item(&world, 2, 2, 6)];
    let pair = json!({ "a": 1, "b": "x,y\"", "n": 1.50 });
    first.push(pending(&world, 3, "pairs", "1,z", row(&json!({ "a": 1, "b": "z", "n": 1 }), &["n"])));
    let mut quoted = pending(&world, 4, "pairs", "1,z", row(&pair, &["n"]));
    quoted.mutation.key = world.collection("pairs").parse_path_key("1,\"x,y\\\"\"").unwrap();
    first.push(quoted);
    let prepared = world.store.begin_flush(A, &batch(0, first)).await.unwrap();
    assert!(prepared.transaction.xid.is_some());
    let touched: Vec<_> = prepared.touched.iter().map(|t| (&*t.collection.name, t.keys.len())).collect();
    assert_eq!(touched, [("items", 2), ("pairs", 2)]);
    assert_eq!(world.row(A, "items", "1").await, None, "not before COMMIT");
    prepared.commit().await.unwrap();
    assert_eq!(world.row(A, "items", "2").await.unwrap()["qty"], 6);
    assert_eq!(world.store.applied(A, JOURNAL).await.unwrap(), Sequence(4));

    // Only what was set is changed where the row exists; deletes go by whole keys.
    world.sql(A).await.batch_execute("UPDATE items SET kept = 'by others', qty = 0").await.unwrap();
    let second = vec![
        item(&world, 5, 1, 7),
        pending(&world, 6, "pairs", "1,z", Image::Gone),
        pending(&world, 7, "pairs", "1,gone", Image::Gone),
        pending(&world, 8, "items", "2", Image::Gone),
    ];
    assert_eq!(flush(&world, &batch(4, second)).await, []);
    let changed = world.row(A, "items", "1").await.unwrap();
    assert_eq!((&changed["qty"], &changed["kept"]), (&json!(7), &json!("by others")));
    assert_eq!((world.row(A, "items", "2").await, count(&world, "pairs").await), (None, 1));
    assert_eq!(world.store.applied(A, JOURNAL).await.unwrap(), Sequence(8));
}

#[tokio::test]
async fn poison_is_put_aside_and_everything_else_is_applied() {
    let world = world().await;
    flush(&world, &batch(0, vec![pending(&world, 1, "parents", "1", row(&json!({ "id": 1 }), &[]))])).await;
    let poison = |sequence: u64| -> Option<(Value, &'static str)> {
        let image = |name: Value, qty: Value, email: Value| json!({ "id": sequence, "name": name, "qty": qty, "email": email, "made": null, "kept": null });
        match sequence {
            // 9 % 100: values that a changed column does not take, of several classes.
            109 => Some((image(json!("x"), json!("many"), Value::Null), "22P02")),
            209 => Some((image(json!("x"), json!(3_000_000_000_u64), Value::Null), "22003")),
            309 => Some((image(Value::Null, json!(1), Value::Null), "23502")),
            409 => Some((image(json!("x"), json!(-1), Value::Null), "23514")),
            488 => Some((image(json!("x"), json!(1), json!("taken")), "23505")),
            _ => None,
        }
    };
    let mut mutations = Vec::new();
    for sequence in 2..=501_u64 {
        let healthy = if sequence == 200 { json!("taken") } else { Value::Null };
        let image = poison(sequence).map_or_else(
            || json!({ "id": sequence, "name": "n", "qty": 1, "email": healthy, "made": "2020-01-02T03:04:05.5+00:00", "kept": null }),
            |(image, _)| image,
        );
        let set = ["name", "qty", "email", "made", "kept"];
        mutations.push(pending(&world, sequence, "items", &sequence.to_string(), row(&image, &set)));
    }
    let parked = pending(&world, 900, "items", "109", Image::Gone);
    let all = FlushBatch { parked: vec![parked], ..batch(1, mutations) };
    let dead = flush(&world, &all).await;
    let expected: Vec<(u64, String)> =
        (2..=501).filter_map(|at| poison(at).map(|(_, code)| (at, code.to_owned()))).collect();
    assert_eq!(dead, expected);
    assert_eq!(count(&world, "items").await, 495);
    assert_eq!(world.store.applied(A, JOURNAL).await.unwrap(), Sequence(501));
    let kept = letters(&world).await;
    let kept_as: Vec<_> = kept.iter().map(|letter| letter.sequence.0).collect();
    assert_eq!(kept_as, [109, 209, 309, 409, 488, 900]);
    let first = &kept[0];
    assert_eq!((&*first.collection, first.key.as_str(), first.tenant), ("items", "109", TenantId(u64::MAX - 7)));
    assert_eq!(first.image, all.mutations[107].mutation.image, "to the byte");
    let LetterState::Dead(reason) = &first.state else { panic!("{first:?}") };
    assert_eq!(reason.message, "invalid input syntax for type integer: \"many\"");
    assert_eq!((&kept[5].image, &kept[5].state), (&Image::Gone, &LetterState::Parked));
    let keys: Vec<_> =
        world.store.parked_keys(A, JOURNAL).await.unwrap().into_iter().map(|k| (k.key, k.since.0)).collect();
    assert_eq!(keys[0], ("109".to_owned(), 109));
    assert_eq!(keys.len(), 5);
}

#[tokio::test]
async fn a_batch_that_is_nothing_but_poison_is_put_aside_whole() {
    let world = world().await;
    let dead = flush(&world, &batch(0, (1..=20).map(|at| item(&world, at, at, -1)).collect())).await;
    assert_eq!(dead.len(), 20);
    assert!(dead.iter().all(|(_, code)| code == "23514"), "{dead:?}");
    assert_eq!((count(&world, "items").await, letters(&world).await.len()), (0, 20));
}

#[tokio::test]
async fn a_batch_sent_twice_is_applied_once_and_another_owner_stops_it() {
    let world = world().await;
    let once = batch(0, vec![item(&world, 1, 1, 1)]);
    flush(&world, &once).await;
    world.sql(A).await.batch_execute("UPDATE items SET qty = 100").await.unwrap();
    match world.store.begin_flush(A, &once).await {
        Err(FlushError::Fenced { found: Some(found), .. }) => assert_eq!((found.sequence.0, found.epoch), (1, 1)),
        other => panic!("{other:?}"),
    }
    assert_eq!(world.row(A, "items", "1").await.unwrap()["qty"], 100);

    assert_eq!(world.store.claim_journal(A, JOURNAL, 3).await.unwrap(), Sequence(1), "taken over");
    let late = batch(1, vec![item(&world, 2, 1, 2)]);
    match world.store.begin_flush(A, &late).await {
        Err(FlushError::Fenced { found: Some(found), .. }) => assert_eq!((found.sequence.0, found.epoch), (1, 3)),
        other => panic!("{other:?}"),
    }
    let behind = world.store.claim_journal(A, JOURNAL, 2).await;
    assert!(matches!(behind, Err(FlushError::Fenced { .. })), "{behind:?}");
    flush(&world, &FlushBatch { epoch: 3, ..late }).await;
    assert_eq!(world.row(A, "items", "1").await.unwrap()["qty"], 2);
    let unknown = FlushBatch { journal: 5, ..batch(0, vec![]) };
    assert!(matches!(world.store.begin_flush(A, &unknown).await, Err(FlushError::Fenced { found: None, .. })));
}

#[tokio::test]
async fn whoever_takes_over_waits_for_the_transaction_of_the_owner() {
    let world = world().await;
    let prepared = world.store.begin_flush(A, &batch(0, vec![item(&world, 1, 1, 1)])).await.unwrap();
    let store = world.store.clone();
    let claim = tokio::spawn(async move { store.claim_journal(A, JOURNAL, 2).await });
    waits(&world, "epoch").await;
    prepared.commit().await.unwrap();
    assert_eq!(claim.await.unwrap().unwrap(), Sequence(1));
}

/// Until a statement with this text waits for a lock.
async fn waits(world: &World, text: &str) {
    let sql = world.sql(A).await;
    let query = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%' || $1 || '%'";
    until("a statement waits for a lock", async || sql.query_one(query, &[&text]).await.unwrap().get::<_, i64>(0) > 0)
        .await;
}

#[tokio::test]
async fn what_became_of_an_unknown_commit_is_known_when_it_has_ended() {
    let world = world().await;
    // Refused at COMMIT by nobody, held up there by a lock on the parent's row.
    let sql = world.sql(A).await;
    let prepared = world.store.begin_flush(A, &batch(0, vec![item(&world, 1, 1, 1)])).await.unwrap();
    let store = world.store.clone();
    let asked = tokio::spawn(async move { store.applied(A, JOURNAL).await });
    waits(&world, "FOR UPDATE").await;
    // The connection dies under the transaction: what is said then is that it was not applied.
    let killed = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE state = 'idle in transaction'";
    sql.batch_execute(killed).await.unwrap();
    assert_eq!(asked.await.unwrap().unwrap(), Sequence(0));
    assert!(prepared.commit().await.is_err());
    assert_eq!(count(&world, "items").await, 0, "nothing is left of it");
    flush(&world, &batch(0, vec![item(&world, 1, 1, 1)])).await;

    let store = world.store.clone();
    let prepared = world.store.begin_flush(A, &batch(1, vec![item(&world, 2, 2, 1)])).await.unwrap();
    let asked = tokio::spawn(async move { store.applied(A, JOURNAL).await });
    waits(&world, "FOR UPDATE").await;
    prepared.commit().await.unwrap();
    assert_eq!(asked.await.unwrap().unwrap(), Sequence(2));
}

#[tokio::test]
async fn a_connection_killed_in_the_middle_of_a_batch_leaves_nothing() {
    let world = world().await;
    let sql = world.sql(A).await;
    sql.batch_execute("BEGIN; LOCK TABLE pairs").await.unwrap();
    let store = world.store.clone();
    let image = row(&json!({ "a": 1, "b": "x", "n": 1 }), &["n"]);
    let all = batch(0, vec![item(&world, 1, 1, 1), pending(&world, 2, "pairs", "1,x", image)]);
    let sent = all.clone();
    let flushing = tokio::spawn(async move { store.begin_flush(A, &sent).await });
    let killer = world.sql(A).await;
    let kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                WHERE application_name = 'tidegate batch' AND wait_event_type = 'Lock'";
    for _ in 0..2 {
        // Replaced once by itself.
        until("the batch waits and is killed", async || !killer.query(kill, &[]).await.unwrap().is_empty()).await;
    }
    let error = retry(flushing.await.unwrap());
    assert!(error.is_connection(), "{error:?}");
    sql.batch_execute("ROLLBACK").await.unwrap();
    assert_eq!((count(&world, "items").await, world.store.applied(A, JOURNAL).await.unwrap()), (0, Sequence(0)));
    assert_eq!(flush(&world, &all).await, []);
    assert_eq!((count(&world, "items").await, count(&world, "pairs").await), (1, 1));
}

#[tokio::test]
async fn deferred_constraints_are_asked_before_commit() {
    let world = world().await;
    let child = |at: u64, parent: i64| {
        let image = json!({ "id": at, "parent": parent });
        pending(&world, at, "children", &at.to_string(), row(&image, &["parent"]))
    };
    let parent = |at: u64| pending(&world, at, "parents", &at.to_string(), row(&json!({ "id": at }), &[]));
    // The parent comes later, in the same batch: whether or not somebody else is to blame.
    assert_eq!(flush(&world, &batch(0, vec![child(1, 2), parent(2)])).await, []);
    let dead = flush(&world, &batch(2, vec![child(3, 6), child(4, 99), child(5, 2), parent(6)])).await;
    assert_eq!(dead, [(4, "23503".to_owned())]);
    assert_eq!(count(&world, "children").await, 3);
}

#[tokio::test]
async fn rows_that_refer_to_one_another_are_applied_in_order() {
    let world = world().await;
    let strict = |at: u64, parent: i64| {
        let image = json!({ "id": at, "parent": parent });
        pending(&world, at, "strict", &at.to_string(), row(&image, &["parent"]))
    };
    let parent = |at: u64| pending(&world, at, "parents", &at.to_string(), row(&json!({ "id": at }), &[]));
    flush(&world, &batch(0, vec![parent(1)])).await;
    // Grouped, the second child would come before its parent.
    assert_eq!(flush(&world, &batch(1, vec![strict(2, 1), parent(3), strict(4, 3)])).await, []);
    let gone = |at: u64, table: &str, key: &str| pending(&world, at, table, key, Image::Gone);
    assert_eq!(flush(&world, &batch(4, vec![gone(5, "strict", "4"), gone(6, "parents", "3")])).await, []);
    assert_eq!(flush(&world, &batch(6, vec![gone(7, "parents", "1"), gone(8, "strict", "2")])).await, []);
    assert_eq!((count(&world, "strict").await, count(&world, "parents").await), (0, 0));
    // An address changes hands.
    let named = |at: u64, id: u64, email: Option<&str>| {
        let image = json!({ "id": id, "name": "n", "qty": 1, "email": email, "made": null, "kept": null });
        pending(&world, at, "items", &id.to_string(), row(&image, &["name", "email"]))
    };
    flush(&world, &batch(8, vec![named(9, 1, Some("x"))])).await;
    assert_eq!(flush(&world, &batch(9, vec![named(10, 1, None), named(11, 2, Some("x"))])).await, []);
}

#[tokio::test]
async fn a_row_deleted_and_inserted_again_has_nothing_of_the_old_one() {
    let world = world().await;
    flush(&world, &batch(0, vec![item(&world, 1, 1, 1)])).await;
    flush(&world, &batch(1, vec![pending(&world, 2, "items", "1", Image::Gone)])).await;
    assert_eq!(world.row(A, "items", "1").await, None);
    let image = json!({ "id": 1, "name": "again", "qty": null, "email": null, "made": null, "kept": "kept" });
    flush(&world, &batch(2, vec![pending(&world, 3, "items", "1", row(&image, &["name"]))])).await;
    assert_eq!(world.row(A, "items", "1").await.unwrap(), image);
}

#[tokio::test]
async fn what_passes_is_tried_again_and_never_put_aside() {
    let world = world().await;
    let moody = |mood: &str| {
        let image = json!({ "id": 1, "mood": mood });
        batch(0, vec![item(&world, 1, 1, 1), pending(&world, 2, "moody", "1", row(&image, &["mood"]))])
    };
    for mood in ["40001", "40P01", "53100", "53200", "55P03", "57014", "58030", "XX000"] {
        let error = retry(world.store.begin_flush(A, &moody(mood)).await);
        assert!(matches!(&error, StoreError::Database { report, .. } if report.code == mood), "{error:?}");
        assert_eq!((letters(&world).await.len(), count(&world, "items").await), (0, 0), "{mood}");
        assert_eq!(world.store.applied(A, JOURNAL).await.unwrap(), Sequence(0));
    }
    assert!(world.metric("tidegate_store_pool_discarded_total") < 1.0, "a refusal costs no connection");
    for mood in ["22012", "23514", "42501", "0A000", "P0001"] {
        let prepared = world.store.begin_flush(A, &moody(mood)).await.unwrap();
        assert_eq!((prepared.dead[0].0, prepared.dead[0].1.sqlstate.as_str()), (Sequence(2), mood));
        prepared.rollback().await;
    }
}

#[tokio::test]
async fn a_database_that_takes_no_writes_or_has_no_room_is_waited_for() {
    let settings = PoolSettings { max: 1, statement_timeout: Duration::from_millis(300), ..pools(4).batch };
    let settings = PoolsSettings { batch: settings, ..pools(4) };
    let world = World::with_pools(Shape::Databases, SCHEMA, &TABLES, settings).await;
    world.store.claim_journal(A, JOURNAL, 1).await.unwrap();
    let one = batch(0, vec![item(&world, 1, 1, 1)]);
    let sql = world.sql(A).await;
    sql.batch_execute("BEGIN; LOCK TABLE items").await.unwrap();
    let slow = retry(world.store.begin_flush(A, &one).await);
    assert!(matches!(&slow, StoreError::Database { report, .. } if report.code == "57014"), "{slow:?}");
    sql.batch_execute("ROLLBACK").await.unwrap();
    let held = world.store.begin_flush(A, &one).await.unwrap();
    let busy = retry(world.store.begin_flush(A, &one).await);
    assert!(matches!(busy, StoreError::PoolTimeout { class: "batch", .. }), "{busy:?}");
    drop(held);
    until("the connection is gone", async || world.store.begin_flush(A, &one).await.is_ok()).await;
    assert!(letters(&world).await.is_empty());
}

#[tokio::test]
async fn columns_that_came_or_went_since_the_answer() {
    let world = world().await;
    let image = json!({ "id": 1, "name": "n", "qty": 1, "email": null, "made": null, "kept": "x" });
    let sets = |at: u64, id: &str, image: &Value, set: &[&str]| pending(&world, at, "items", id, row(image, set));
    let mut with_gone = image.clone();
    with_gone["gone"] = json!(5);
    let mut without_kept = image.clone();
    without_kept.as_object_mut().unwrap().remove("kept");
    (with_gone["id"], without_kept["id"]) = (json!(2), json!(3));
    let mutations = vec![
        sets(1, "1", &with_gone, &["name", "gone"]),
        sets(2, "2", &with_gone, &["name"]),
        sets(3, "3", &without_kept, &["name"]),
    ];
    assert_eq!(flush(&world, &batch(0, mutations)).await, [(1, "42703".to_owned())]);
    assert_eq!(
        world.row(A, "items", "3").await.unwrap()["kept"],
        "kept",
        "the default of a column that it did not know"
    );
    assert_eq!(count(&world, "items").await, 2);
}

#[tokio::test]
async fn dead_letters_are_requeued_with_what_followed_them_or_discarded() {
    let world = world().await;
    flush(&world, &batch(0, vec![item(&world, 1, 1, 1), item(&world, 2, 2, 2)])).await;
    let bad = item(&world, 3, 1, -5);
    let mut later = item(&world, 4, 1, 9);
    let image = json!({ "id": 1, "name": "later", "qty": -5, "email": "e", "made": null, "kept": "new" });
    later.mutation.image = row(&image, &["name", "email"]);
    let all = FlushBatch { new: Sequence(5), parked: vec![later], ..batch(2, vec![bad, item(&world, 5, 2, -1)]) };
    assert_eq!(flush(&world, &all).await.len(), 2);

    let order = |sequence: u64, table: &str, epoch: u64| Requeue {
        journal: JOURNAL,
        epoch,
        sequence: Sequence(sequence),
        collection: world.collection(table),
    };
    let still = world.store.begin_requeue(A, &order(4, "items", 1)).await;
    assert!(matches!(&still, Err(FlushError::StillDead { reason, .. }) if reason.sqlstate == "23514"), "{still:?}");
    for wrong in [order(7, "items", 1), order(3, "pairs", 1)] {
        assert!(matches!(world.store.begin_requeue(A, &wrong).await, Err(FlushError::NoLetter { .. })));
    }
    assert!(matches!(world.store.begin_requeue(A, &order(3, "items", 0)).await, Err(FlushError::Fenced { .. })));
    assert_eq!(letters(&world).await.len(), 3, "nothing is lost by trying");

    world.sql(A).await.batch_execute("ALTER TABLE items DROP CONSTRAINT items_qty_check").await.unwrap();
    let prepared = world.store.begin_requeue(A, &order(3, "items", 1)).await.unwrap();
    assert!(prepared.transaction.xid.is_some());
    assert_eq!(prepared.touched[0].keys, [key_of(&world.collection("items"), "1")]);
    prepared.commit().await.unwrap();
    let now = world.row(A, "items", "1").await.unwrap();
    assert_eq!((&now["qty"], &now["name"], &now["email"]), (&json!(-5), &json!("later"), &json!("e")));
    let left: Vec<_> = letters(&world).await.into_iter().map(|letter| letter.sequence.0).collect();
    assert_eq!(left, [5]);
    assert_eq!(world.store.discard(A, JOURNAL, Sequence(5)).await.unwrap().len(), 1);
    assert_eq!(world.store.discard(A, JOURNAL, Sequence(5)).await.unwrap().len(), 0);
    assert_eq!(world.row(A, "items", "2").await.unwrap()["qty"], 2);
    assert_eq!(world.store.applied(A, JOURNAL).await.unwrap(), Sequence(5), "requeueing moves no number");
}

#[tokio::test]
async fn letters_are_listed_page_by_page() {
    let world = world().await;
    flush(&world, &batch(0, (1..=5).map(|at| item(&world, at, at, -1)).collect())).await;
    let page = async |after| {
        let letters = world.store.dead_letters(A, JOURNAL, 2, Sequence(after)).await.unwrap();
        letters.into_iter().map(|letter| letter.sequence.0).collect::<Vec<_>>()
    };
    assert_eq!((page(0).await, page(2).await, page(4).await, page(5).await), (vec![1, 2], vec![3, 4], vec![5], vec![]));
    assert!(world.store.dead_letters(A, JOURNAL + 1, 2, Sequence(0)).await.unwrap().is_empty());
}

/// A store over the first shard as a role that is not a superuser.
fn as_plain(world: &World) -> Store {
    let url = world.clusters[0].url("a").replacen("tidegate@", "plain@", 1);
    let shards = [("a".to_owned(), ShardSettings { primary: Secret::new(url), region: None })].into_iter().collect();
    Store::new(&shards, &pools(2), Arc::new(Topology::new(["a".into()])), Epochs::new(1), &mut Default::default())
        .unwrap()
}

#[tokio::test]
async fn missing_rights_are_told_with_the_sql_that_grants_them() {
    let world = World::new(Shape::Databases, SCHEMA, &TABLES).await;
    let sql = world.sql(A).await;
    sql.batch_execute(
        "CREATE ROLE plain LOGIN; GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO plain",
    )
    .await
    .unwrap();
    let plain = as_plain(&world);
    let refused = plain.check_journal_tables(A).await.unwrap_err();
    assert!(
        matches!(&refused, StoreError::Journal { reason, .. } if reason.contains("CREATE TABLE IF NOT EXISTS tidegate.applied")),
        "{refused}"
    );
    let grants = tidegate_store::flush::GRANTS.replace("ROLE", "plain");
    sql.batch_execute(&format!("{}{grants}", tidegate_store::flush::TABLES)).await.unwrap();
    plain.check_journal_tables(A).await.unwrap();
    assert_eq!(plain.claim_journal(A, JOURNAL, 1).await.unwrap(), Sequence(0));
    let mut bad = item(&world, 2, 2, -1);
    bad.collection = world.collection("items");
    let prepared = plain.begin_flush(A, &batch(0, vec![item(&world, 1, 1, 1), bad])).await.unwrap();
    assert_eq!(prepared.dead.len(), 1);
    prepared.commit().await.unwrap();
    assert_eq!(plain.discard(A, JOURNAL, Sequence(2)).await.unwrap().len(), 1);
    // Rights that are taken away are an operator's matter, not the mutations'.
    sql.batch_execute("REVOKE UPDATE ON tidegate.applied FROM plain").await.unwrap();
    let error = retry(plain.begin_flush(A, &batch(2, vec![item(&world, 3, 3, 1)])).await);
    assert!(matches!(error, StoreError::Journal { .. }), "{error:?}");
}

#[tokio::test]
#[should_panic(expected = "two mutations of")]
async fn two_mutations_of_a_key_in_one_batch_are_the_callers_error() {
    let world = world().await;
    let _ = world.store.begin_flush(A, &batch(0, vec![item(&world, 1, 1, 1), item(&world, 2, 1, 2)])).await;
}
