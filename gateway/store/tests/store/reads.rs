//! Keyed reads: batches, negative rows, keys of every kind, representations.

use std::sync::Arc;

use futures_util::future::join_all;
use serde_json::json;
use tidegate_types::{
    problem::ProblemKind,
    query::{ColumnRef, JsonOutput, JsonStep, JsonTarget, Projection, SelectItem},
};

use crate::world::{A, Shape, World, column, key_of, select, until};

const SCHEMA: &str = r#"
CREATE TABLE items (id bigint PRIMARY KEY, name text NOT NULL, price numeric(12,4), meta jsonb, made timestamptz);
INSERT INTO items SELECT n, 'item ' || n, n + 0.1000, jsonb_build_object('lang', 'es', 'sizes', jsonb_build_array(n, n + 1)),
  '2026-03-04 05:06:07+02' FROM generate_series(1, 1000) n;
CREATE TABLE pairs (a int, b text, c uuid, d bool, e smallint, v text, PRIMARY KEY (a, b, c, d, e));
INSERT INTO pairs VALUES (1, 'x"\y', '00000000-0000-0000-0000-000000000001', true, -7, 'one'),
  (1, 'z', '00000000-0000-0000-0000-000000000001', true, -7, 'two');
CREATE TABLE "Odd ""Table" ("the ""key""" varchar(20) PRIMARY KEY, "Größe" text, "select" int);
INSERT INTO "Odd ""Table" VALUES ('k''1', 'groß', 3);
"#;

async fn world() -> World {
    World::new(Shape::Databases, SCHEMA, &["items", "pairs", "Odd \"Table"]).await
}

#[tokio::test]
async fn concurrent_misses_share_statements() {
    let world = Arc::new(world().await);
    world.load(A, "items", "1").await.unwrap();
    let before = world.metric("tidegate_store_queries_total");
    let readers = (0..1500).map(|n| {
        let world = world.clone();
        tokio::spawn(async move { (n, world.row(A, "items", &(n % 1200).to_string()).await) })
    });
    for reader in join_all(readers).await {
        let (n, row) = reader.unwrap();
        let id = n % 1200;
        assert_eq!(row.is_some(), (1..=1000).contains(&id), "{id}");
        assert!(row.is_none_or(|row| row["id"] == id && row["name"] == format!("item {id}")));
    }
    let statements = world.metric("tidegate_store_queries_total") - before;
    assert!(statements <= 150.0, "{statements} statements for 1500 readers");
}

#[tokio::test]
async fn misses_collect_while_two_batches_are_in_flight() {
    let world = Arc::new(world().await);
    world.load(A, "items", "1").await.unwrap();
    let statements = || world.metric("tidegate_store_batch_keys_count");
    let before = statements();
    let sql = world.sql(A).await;
    sql.batch_execute("BEGIN; LOCK TABLE items").await.unwrap();
    let read = |n: i64| {
        let world = world.clone();
        tokio::spawn(async move { world.row(A, "items", &n.to_string()).await })
    };
    let blocked = "SELECT count(*) FROM pg_locks WHERE NOT granted";
    let mut readers = Vec::new();
    for in_flight in 1..=2 {
        readers.push(read(in_flight));
        let waiting = async || sql.query_one(blocked, &[]).await.unwrap().get::<_, i64>(0) == in_flight;
        until("the batch waits for the lock", waiting).await;
    }
    // Every key twice: a batch asks for each once.
    readers.extend((3..=122).chain(3..=122).map(read));
    // A read that is not locked out, asked for later: those before it had their chance to leave.
    assert_eq!(world.row(A, "pairs", "2,z,00000000-0000-0000-0000-000000000001,t,-7").await, None);
    assert_eq!(sql.query_one(blocked, &[]).await.unwrap().get::<_, i64>(0), 2, "the others wait for those two");
    sql.batch_execute("ROLLBACK").await.unwrap();
    for reader in join_all(readers).await {
        assert!(reader.unwrap().is_some());
    }
    let keys = world.metric("tidegate_store_batch_keys_sum");
    assert!(statements() - before <= 5.0, "{} statements for 243 readers", statements() - before);
    assert!(keys < 150.0, "{keys} keys asked for");
}

#[tokio::test]
async fn a_row_and_its_absence_come_with_the_snapshot_of_their_statement() {
    let world = world().await;
    let found = world.load(A, "items", "7").await.unwrap();
    let json = found.json.unwrap();
    let expected = r#"{"id":7,"name":"item 7","price":7.1000,"meta":{"lang": "es", "sizes": [7, 8]},"made":"2026-03-04T03:06:07+00:00"}"#;
    assert_eq!(std::str::from_utf8(&json).unwrap(), expected, "as PostgreSQL renders it, in UTC");

    let absent = world.load(A, "items", "5000").await.unwrap();
    assert_eq!(absent.json, None);
    let sql = world.sql(A).await;
    let row = sql.query_one("INSERT INTO items VALUES (5000, 'new') RETURNING pg_current_xact_id()::text", &[]);
    let xid = tidegate_types::snapshot::Xid(row.await.unwrap().get::<_, String>(0).parse().unwrap());
    assert!(!absent.snapshot.sees(xid), "the absence was seen before the insert");
    let present = world.load(A, "items", "5000").await.unwrap();
    assert!(present.json.is_some() && present.snapshot.sees(xid));
    assert_eq!(present.epoch, world.epochs.current(A));
}

#[tokio::test]
async fn composite_keys_and_odd_names_work() {
    let world = world().await;
    let pairs = world.collection("pairs");
    let keys =
        ["1,x\"\\y,00000000-0000-0000-0000-000000000001,true,-7", "1,z,00000000-0000-0000-0000-000000000001,t,-7"];
    let reads = keys.map(|key| {
        let key = key_of(&pairs, key);
        let (world, pairs) = (&world, &pairs);
        async move { world.store.load_row(A, pairs, &select(&["v"]), &key).await.unwrap().json.unwrap() }
    });
    let rows = join_all(reads).await;
    assert_eq!([&rows[0][..], &rows[1][..]], [br#"{"v":"one"}"#, br#"{"v":"two"}"#]);
    assert_eq!(world.row(A, "pairs", "2,z,00000000-0000-0000-0000-000000000001,t,-7").await, None);

    let odd = world.row(A, "Odd \"Table", "k'1").await.unwrap();
    assert_eq!(odd, json!({"the \"key\"": "k'1", "Größe": "groß", "select": 3}));
}

#[tokio::test]
async fn representations_are_renamed_cast_and_taken_apart() {
    let world = world().await;
    let items = world.collection("items");
    let path = |name: &str, steps: &[(JsonTarget, JsonOutput)]| ColumnRef {
        name: name.into(),
        path: steps.iter().map(|(to, output)| JsonStep { to: to.clone(), output: *output }).collect(),
    };
    let key = |k: &str| JsonTarget::Key(k.into());
    let select = |alias: Option<&str>, column: ColumnRef, cast: Option<&str>| SelectItem::Column {
        alias: alias.map(Into::into),
        column,
        cast: cast.map(Into::into),
    };
    let projection = Projection::Items(Arc::from([
        select(Some("it's \"quoted\"\n"), column("id"), None),
        select(None, column("price"), Some("text")),
        select(None, path("meta", &[(key("lang"), JsonOutput::Text)]), None),
        select(
            Some("size"),
            path("meta", &[(key("sizes"), JsonOutput::Json), (JsonTarget::Index(-1), JsonOutput::Text)]),
            Some("int"),
        ),
        select(Some("gone"), path("meta", &[(key("no'; DROP TABLE items"), JsonOutput::Json)]), None),
        select(Some("first"), path("made", &[(key("x"), JsonOutput::Json)]), None),
    ]));
    let row = world.store.load_row(A, &items, &projection, &key_of(&items, "7")).await.unwrap().json.unwrap();
    let expected = r#"{"it's \"quoted\"\n":7,"price":"7.1000","lang":"es","size":8,"gone":null,"first":null}"#;
    assert_eq!(std::str::from_utf8(&row).unwrap(), expected);
}

#[tokio::test]
async fn unknown_columns_and_types_are_named() {
    let world = world().await;
    let items = world.collection("items");
    let cast = Projection::Items(Arc::from([SelectItem::Column {
        alias: None,
        column: column("id"),
        cast: Some("pg_user".into()),
    }]));
    for (projection, code, message) in [
        (select(&["id", "nope\""]), "42703", "column items.nope\" does not exist"),
        (cast, "42704", "type \"pg_user\" does not exist"),
    ] {
        let error = world.store.load_row(A, &items, &projection, &key_of(&items, "7")).await.unwrap_err();
        let problem = error.into_problem();
        assert_eq!((problem.kind, &*problem.code, &*problem.message), (ProblemKind::BadRequest, code, message));
    }
}

#[tokio::test]
async fn a_table_that_changes_under_a_prepared_statement_is_read_on() {
    let world = World::new(Shape::Databases, "CREATE TABLE words (w varchar(5) PRIMARY KEY, n int)", &["words"]).await;
    let sql = world.sql(A).await;
    sql.batch_execute("INSERT INTO words VALUES ('a', 1)").await.unwrap();
    for change in ["ALTER w TYPE text", "ALTER n TYPE numeric(5,2)", "ADD extra int"] {
        assert!(world.row(A, "words", "a").await.is_some());
        sql.batch_execute(&format!("ALTER TABLE words {change}")).await.unwrap();
    }
    sql.batch_execute("INSERT INTO words VALUES ('longer than before', 1)").await.unwrap();
    assert_eq!(world.row(A, "words", "longer than before").await, Some(json!({"w": "longer than before", "n": 1.0})));
}
