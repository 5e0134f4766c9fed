//! Writes: round trips, conditions, what is refused, what is left behind.

use serde_json::{Value, json};
use tidegate_store::{PreparedWrite, StoreError};
use tidegate_types::{
    answer::{ETag, RowChange},
    problem::{ProblemKind, codes},
    query::{ListQuery, Operator},
    request::{Cardinality, IfMatch, IfNoneMatch, Missing, Resolution, RowsBody, WriteAction, WriteRequest},
};

use crate::world::{A, Shape, World, body, compare, key_of, pools, until};

const SCHEMA: &str = r#"
CREATE TABLE items (id bigint PRIMARY KEY, name text NOT NULL DEFAULT 'unnamed', price numeric, stock int DEFAULT 7,
  meta jsonb, short varchar(3), doubled int GENERATED ALWAYS AS (stock * 2) STORED, big numeric);
CREATE TABLE lines (cart int, line text, PRIMARY KEY (cart, line));
CREATE TABLE numbered (tenant int, n bigint GENERATED ALWAYS AS IDENTITY, v text, PRIMARY KEY (tenant, n));
CREATE TABLE parts (id int, v text, PRIMARY KEY (id)) PARTITION BY HASH (id);
CREATE TABLE parts_0 PARTITION OF parts FOR VALUES WITH (MODULUS 1, REMAINDER 0);
CREATE TABLE checked (id int PRIMARY KEY, parent int REFERENCES checked DEFERRABLE INITIALLY DEFERRED);
"#;

async fn world() -> World {
    World::new(Shape::Databases, SCHEMA, &["items", "lines", "numbered", "parts", "checked"]).await
}

fn insert(json: &str) -> WriteAction {
    upsert(json, Resolution::Fail)
}

fn upsert(json: &str, resolution: Resolution) -> WriteAction {
    WriteAction::Insert { body: body(json), resolution, missing: Missing::Null }
}

impl World {
    fn put(&self, table: &str, key: &str, json: &str) -> WriteAction {
        WriteAction::Put { key: key_of(&self.collection(table), key), body: body(json) }
    }

    fn patch(&self, table: &str, key: &str, json: &str) -> WriteAction {
        WriteAction::Patch { key: key_of(&self.collection(table), key), body: body(json) }
    }

    fn delete(&self, table: &str, key: &str) -> WriteAction {
        WriteAction::Delete { key: key_of(&self.collection(table), key) }
    }

    /// Writes and commits; what became of every row.
    async fn write(&self, table: &str, action: WriteAction) -> Vec<(RowChange, Value)> {
        let prepared = self.begin(table, action).await.unwrap();
        let rows = rows(&prepared);
        prepared.commit().await.unwrap();
        rows
    }

    async fn refusal(&self, request: &WriteRequest) -> (ProblemKind, String) {
        let problem = self.store.begin_write(A, request, None, None).await.unwrap_err().into_problem();
        (problem.kind, problem.code.into_owned())
    }
}

fn rows(prepared: &PreparedWrite) -> Vec<(RowChange, Value)> {
    prepared.rows.iter().map(|row| (row.change, serde_json::from_slice(&row.body.json).unwrap())).collect()
}

#[tokio::test]
async fn what_is_written_is_what_is_read() {
    let world = world().await;
    let digits = "12345678901234567890.123456789012345678901234567890";
    let json =
        format!(r#"[{{"id":1,"price":{digits},"meta":{{"b":[1,2],"a":null}}}},{{"id":2,"price":"1.50","meta":null}}]"#);
    let prepared = world.begin("items", insert(&json)).await.unwrap();
    assert!(prepared.xid.is_some() && prepared.epoch == world.epochs.current(A));
    assert_eq!(world.row(A, "items", "1").await, None, "not before COMMIT");
    let written: Vec<_> = prepared.rows.iter().map(|row| (row.key.to_string(), row.body.clone())).collect();
    let xid = prepared.xid.unwrap();
    prepared.commit().await.unwrap();
    for (key, body) in written {
        let read = world.load(A, "items", &key).await.unwrap();
        assert_eq!(ETag::of(read.json.as_ref().unwrap()), body.etag, "the same representation as a read's");
        assert!(read.snapshot.sees(xid));
    }
    let text = world.load(A, "items", "1").await.unwrap().json.unwrap();
    assert!(std::str::from_utf8(&text).unwrap().contains(digits), "no digit is lost: {text:?}");
}

#[tokio::test]
async fn put_replaces_and_says_whether_the_row_was_there() {
    let world = world().await;
    for table in ["items", "parts"] {
        let (column, other) = if table == "items" { ("name", "short") } else { ("v", "v") };
        let new = world.write(table, world.put(table, "5", &format!(r#"{{"{column}":"n","{other}":"abc"}}"#))).await;
        assert_eq!(new[0].0, RowChange::Inserted, "{table}");
        let replaced = world.write(table, world.put(table, "5", r#"{"id":5}"#)).await;
        assert_eq!(replaced[0].0, RowChange::Updated, "{table}");
        assert_eq!(replaced[0].1[other], Value::Null, "{table}: absent columns do not survive");
    }
    let row = world.row(A, "items", "5").await.unwrap();
    assert_eq!((&row["name"], &row["stock"], &row["doubled"]), (&json!("unnamed"), &json!(7), &json!(14)), "defaults");
    let keys_only = world.write("lines", world.put("lines", "1,a", "{}")).await;
    assert_eq!(keys_only, [(RowChange::Inserted, json!({"cart": 1, "line": "a"}))]);
    assert_eq!(world.write("lines", world.put("lines", "1,a", "{}")).await[0].0, RowChange::Updated);
}

#[tokio::test]
async fn patch_changes_what_it_names_and_never_the_key() {
    let world = world().await;
    world.write("items", insert(r#"{"id":1,"name":"a","stock":1}"#)).await;
    let patched = world.write("items", world.patch("items", "1", r#"{"stock":2,"id":1}"#)).await;
    assert_eq!(patched[0].0, RowChange::Updated);
    assert_eq!((&patched[0].1["name"], &patched[0].1["stock"]), (&json!("a"), &json!(2)));
    assert_eq!(world.write("items", world.patch("items", "1", "{}")).await.len(), 1, "changes nothing, finds the row");
    assert!(world.write("items", world.patch("items", "9", r#"{"stock":2}"#)).await.is_empty());

    for json in [r#"{"stock":3,"id":2}"#, r#"{"id":null}"#] {
        let request = world.request("items", world.patch("items", "1", json));
        assert_eq!(world.refusal(&request).await, (ProblemKind::BadRequest, codes::KEY_CHANGE.into()), "{json}");
    }
    let query = ListQuery { filters: vec![compare("stock", Operator::Eq, "2")], ..ListQuery::default() };
    let request = world.request("items", WriteAction::PatchWhere { query, body: body(r#"{"id":8}"#) });
    assert_eq!(world.refusal(&request).await.1, codes::KEY_CHANGE);
    assert_eq!(world.row(A, "items", "1").await.unwrap()["stock"], 2, "nothing of a refused write is left");
}

#[tokio::test]
async fn filtered_writes_touch_what_the_filter_names() {
    let world = world().await;
    let rows: Vec<String> = (1..=5).map(|n| format!(r#"{{"id":{n},"stock":{n}}}"#)).collect();
    world.write("items", insert(&format!("[{}]", rows.join(",")))).await;
    let above = |n: &str| ListQuery { filters: vec![compare("stock", Operator::Gt, n)], ..ListQuery::default() };
    let patch = WriteAction::PatchWhere { query: above("3"), body: body(r#"{"name":"many"}"#) };
    assert_eq!(world.write("items", patch).await.len(), 2);
    let nothing = WriteAction::PatchWhere { query: above("0"), body: body("{}") };
    assert!(world.write("items", nothing).await.is_empty(), "an empty object changes nothing");
    let deleted = world.write("items", WriteAction::DeleteWhere { query: above("4") }).await;
    assert_eq!((deleted[0].0, &deleted[0].1["name"]), (RowChange::Deleted, &json!("many")));

    let unfiltered = world.request("items", WriteAction::DeleteWhere { query: ListQuery::default() });
    assert_eq!(world.refusal(&unfiltered).await, (ProblemKind::BadRequest, codes::UNSAFE_WRITE.into()));
    let mut singular = world.request("items", WriteAction::DeleteWhere { query: above("2") });
    singular.cardinality = Cardinality::Singular;
    assert_eq!(world.refusal(&singular).await, (ProblemKind::NotAcceptable, "PGRST116".into()));
    assert!(world.row(A, "items", "4").await.is_some(), "rolled back");
}

#[tokio::test]
async fn duplicates_are_refused_merged_or_ignored() {
    let world = world().await;
    world.write("items", insert(r#"{"id":1,"name":"old","stock":1}"#)).await;
    let both = r#"[{"id":1,"name":"new"},{"id":2,"name":"new"}]"#;
    let request = world.request("items", insert(both));
    assert_eq!(world.refusal(&request).await, (ProblemKind::Conflict, "23505".into()));
    let ignored = world.write("items", upsert(both, Resolution::IgnoreDuplicates)).await;
    assert_eq!(ignored.len(), 1);
    let merged = world.write("items", upsert(both, Resolution::MergeDuplicates)).await;
    assert_eq!(merged.iter().map(|row| row.0).collect::<Vec<_>>(), [RowChange::Updated, RowChange::Updated]);
    let row = world.row(A, "items", "1").await.unwrap();
    assert_eq!((&row["name"], &row["stock"]), (&json!("new"), &json!(1)), "only sent columns change");
    let keys = r#"[{"cart":1,"line":"a"},{"cart":1,"line":"b"}]"#;
    world.write("lines", upsert(keys, Resolution::MergeDuplicates)).await;
    assert_eq!(world.write("lines", upsert(keys, Resolution::MergeDuplicates)).await.len(), 2);
}

#[tokio::test]
async fn absent_columns_are_null_or_default_as_asked() {
    let world = world().await;
    let rows = RowsBody {
        columns: ["id", "name", "stock"].map(str::to_owned).to_vec(),
        ..body(r#"[{"id":1,"name":"a"},{"id":2,"name":"b","stock":2,"junk":1},{"id":3,"name":"c"}]"#)
    };
    let action = |missing| WriteAction::Insert { body: rows.clone(), resolution: Resolution::MergeDuplicates, missing };
    world.write("items", action(Missing::Default)).await;
    let stock = async |id: &str| world.row(A, "items", id).await.unwrap()["stock"].clone();
    assert_eq!([stock("1").await, stock("2").await, stock("3").await], [json!(7), json!(2), json!(7)]);
    world.write("items", action(Missing::Null)).await;
    assert_eq!([stock("1").await, stock("2").await], [Value::Null, json!(2)]);

    let numbered = world.write("numbered", insert(r#"{"tenant":1,"v":"x"}"#)).await;
    assert_eq!(numbered[0].1, json!({"tenant": 1, "n": 1, "v": "x"}), "the database numbers what the client does not");
    assert_eq!(world.write("numbered", world.put("numbered", "1,77", r#"{"v":"y"}"#)).await[0].1["n"], 77);
    assert!(world.write("items", insert("[]")).await.is_empty());
}

#[tokio::test]
async fn conditions_on_versions_are_judged_under_the_rows_lock() {
    let world = world().await;
    world.write("items", insert(r#"{"id":1,"name":"a"}"#)).await;
    let tag = ETag::of(&world.load(A, "items", "1").await.unwrap().json.unwrap());
    let with = |action: WriteAction, if_match: IfMatch| WriteRequest { if_match, ..world.request("items", action) };
    let patch = || world.patch("items", "1", r#"{"stock":8}"#);

    let first =
        world.store.begin_write(A, &with(patch(), IfMatch::OneOf(vec![ETag(1), tag])), None, None).await.unwrap();
    let (world_ref, second) = (&world, with(patch(), IfMatch::OneOf(vec![tag])));
    let second = async move { world_ref.refusal(&second).await };
    let commit = async {
        let sql = world.sql(A).await;
        let blocked = "SELECT count(*) FROM pg_locks WHERE NOT granted";
        until("the second waits", async || sql.query_one(blocked, &[]).await.unwrap().get::<_, i64>(0) > 0).await;
        first.commit().await.unwrap();
    };
    let (refused, ()) = futures_util::future::join(second, commit).await;
    assert_eq!(refused, (ProblemKind::PreconditionFailed, codes::PRECONDITION_FAILED.into()), "one of two wins");

    for (action, if_match, holds) in [
        (world.delete("items", "9"), IfMatch::Any, false),
        (world.patch("items", "9", "{}"), IfMatch::OneOf(vec![tag]), false),
        (world.put("items", "9", "{}"), IfMatch::Any, false),
        (patch(), IfMatch::OneOf(Vec::new()), false),
        (patch(), IfMatch::Any, true),
    ] {
        let outcome = world.store.begin_write(A, &with(action, if_match), None, None).await;
        assert_eq!(outcome.is_ok(), holds, "{outcome:?}");
        assert!(outcome.is_ok() || outcome.unwrap_err().into_problem().kind == ProblemKind::PreconditionFailed);
    }
}

#[tokio::test]
async fn creation_only_never_overwrites() {
    let world = world().await;
    let once = |action| WriteRequest { if_none_match: IfNoneMatch::Any, ..world.request("items", action) };
    let put = once(world.put("items", "1", r#"{"name":"first"}"#));
    world.store.begin_write(A, &put, None, None).await.unwrap().commit().await.unwrap();
    let both = once(insert(r#"[{"id":1,"name":"second"},{"id":2,"name":"second"}]"#));
    for request in [put, both, once(world.patch("items", "1", "{}"))] {
        assert_eq!(world.refusal(&request).await.0, ProblemKind::PreconditionFailed, "{:?}", request.action);
    }
    assert_eq!(world.row(A, "items", "1").await.unwrap()["name"], "first");
    assert_eq!(world.row(A, "items", "2").await, None, "all or nothing");
}

#[tokio::test]
async fn bad_rows_are_reported_by_the_database_and_leave_nothing() {
    let world = world().await;
    for (json, code) in [
        (r#"{"id":1,"price":"x"}"#, "22P02"),
        (r#"{"id":1,"stock":99999999999}"#, "22003"),
        (r#"{"id":1,"short":"toolong"}"#, "22001"),
        (r#"{"id":1,"name":null}"#, "23502"),
        (r#"{"id":1,"doubled":3}"#, "428C9"),
        (r#"{"id":1,"nope\"; --":3}"#, "PGRST204"),
    ] {
        let request = world.request("items", insert(json));
        assert_eq!(world.refusal(&request).await, (ProblemKind::BadRequest, code.into()), "{json}");
    }
    assert_eq!(world.row(A, "items", "1").await, None);
    assert!(world.metric("tidegate_store_pool_discarded_total") < 1.0, "a refused write costs no connection");
    let open = world
        .sql(A)
        .await
        .query_one("SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in transaction%'", &[])
        .await
        .unwrap();
    assert_eq!(open.get::<_, i64>(0), 0, "no transaction is left open");
}

#[tokio::test]
async fn a_commit_that_the_server_refuses_is_definite() {
    let world = world().await;
    let prepared = world.begin("checked", insert(r#"{"id":1,"parent":99}"#)).await.unwrap();
    let error = prepared.commit().await.unwrap_err();
    assert!(matches!(&error, StoreError::Database { report, .. } if report.code == "23503"), "{error:?}");
    assert_eq!(error.into_problem().kind, ProblemKind::Conflict);
    world.write("checked", insert(r#"{"id":1,"parent":1}"#)).await;
}

#[tokio::test]
async fn an_abandoned_write_gives_no_open_transaction_to_the_next_user() {
    let world = World::with_pools(Shape::Databases, SCHEMA, &["items"], pools(1)).await;
    drop(world.begin("items", insert(r#"{"id":1}"#)).await.unwrap());
    // The only connection of the pool: this one would be in the abandoned transaction.
    let second = world.begin("items", insert(r#"{"id":1}"#)).await.unwrap();
    second.rollback().await;
    world.write("items", insert(r#"{"id":2}"#)).await;
    assert_eq!(world.row(A, "items", "1").await, None);
    assert!(world.metric("tidegate_store_pool_discarded_total") > 0.0);
}
