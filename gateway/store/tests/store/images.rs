//! What rows held before and after a write.

use std::{fmt::Write as _, sync::Arc};

use tidegate_store::{
    PreparedWrite,
    images::{Before, Image, Images, MAX_IMAGES},
};
use tidegate_types::{
    query::{ListQuery, Operator},
    request::{IfMatch, Missing, Resolution, WriteAction, WriteRequest},
};

use crate::world::{A, Shape, World, body, compare, key_of, until};

const SCHEMA: &str = r#"
CREATE TABLE items (id bigint PRIMARY KEY, category int, price numeric(10,2), "odd ""name" text DEFAULT 'none',
  meta jsonb, doubled int GENERATED ALWAYS AS (category * 2) STORED);
CREATE TABLE lines (cart int, line text, amount int, PRIMARY KEY (cart, line));
CREATE TABLE parts (id int PRIMARY KEY, category int) PARTITION BY HASH (id);
CREATE TABLE parts_0 PARTITION OF parts FOR VALUES WITH (MODULUS 1, REMAINDER 0);
"#;

async fn world() -> World {
    World::new(Shape::Databases, SCHEMA, &["items", "lines", "parts"]).await
}

fn columns(names: &[&str]) -> Vec<Arc<str>> {
    names.iter().map(|name| Arc::from(*name)).collect()
}

fn upsert(json: &str) -> WriteAction {
    WriteAction::Insert { body: body(json), resolution: Resolution::MergeDuplicates, missing: Missing::Null }
}

fn insert(json: &str) -> WriteAction {
    WriteAction::Insert { body: body(json), resolution: Resolution::Fail, missing: Missing::Null }
}

fn in_category(category: &str) -> ListQuery {
    ListQuery { filters: vec![compare("category", Operator::Eq, category)], ..ListQuery::default() }
}

/// `before > after` of each row: values joined by commas, `-` for NULL, `new`, `gone` and `?`.
fn shown(images: &Images) -> Vec<String> {
    let values = |values: &[Option<String>]| {
        values.iter().map(|value| value.as_deref().unwrap_or("-").to_owned()).collect::<Vec<_>>().join(",")
    };
    let one = |image: &Image| {
        let before = match &image.before {
            Before::Nothing => "new".to_owned(),
            Before::Values(before) => values(before),
            Before::Unknown => "?".to_owned(),
        };
        let after = if image.after.is_empty() { "gone".to_owned() } else { values(&image.after) };
        format!("{before} > {after}")
    };
    match images {
        Images::Each(images) => images.iter().map(one).collect(),
        other => panic!("{other:?}"),
    }
}

impl World {
    async fn begin_asked(&self, table: &str, action: WriteAction, names: &[&str]) -> PreparedWrite {
        self.store.begin_write(A, &self.request(table, action), Some(&columns(names)), None).await.unwrap()
    }

    /// Writes and commits; what the rows' category was and is.
    async fn categories(&self, table: &str, action: WriteAction) -> Vec<String> {
        let prepared = self.begin_asked(table, action, &["category"]).await;
        let images = shown(&prepared.images);
        prepared.commit().await.unwrap();
        images
    }

    fn put_item(&self, key: &str, json: &str) -> WriteAction {
        WriteAction::Put { key: key_of(&self.collection("items"), key), body: body(json) }
    }

    fn patch_item(&self, key: &str, json: &str) -> WriteAction {
        WriteAction::Patch { key: key_of(&self.collection("items"), key), body: body(json) }
    }

    /// Waits until this many sessions wait for a lock.
    async fn until_waiting(&self, sessions: i64) {
        let sql = self.sql(A).await;
        let blocked = "SELECT count(DISTINCT pid) FROM pg_locks WHERE NOT granted";
        until("the write waits", async || sql.query_one(blocked, &[]).await.unwrap().get::<_, i64>(0) == sessions)
            .await;
    }
}

#[tokio::test]
async fn every_kind_of_write_says_what_was_and_what_is() {
    let world = world().await;
    let items = |json: &str| insert(json);
    assert_eq!(
        world.categories("items", items(r#"[{"id":1,"category":1},{"id":2,"category":2}]"#)).await,
        ["new > 1", "new > 2"]
    );
    assert_eq!(world.categories("items", world.put_item("3", r#"{"category":3}"#)).await, ["new > 3"]);
    assert_eq!(world.categories("items", world.put_item("3", r#"{"category":4}"#)).await, ["3 > 4"]);
    assert_eq!(world.categories("items", world.patch_item("3", r#"{"category":null}"#)).await, ["4 > -"]);
    assert_eq!(world.categories("items", world.patch_item("9", r#"{"category":1}"#)).await, [""; 0]);
    let mixed = r#"[{"id":4,"category":4},{"id":2,"category":5},{"id":3,"category":6}]"#;
    assert_eq!(world.categories("items", upsert(mixed)).await, ["new > 4", "2 > 5", "- > 6"]);
    let ignored =
        WriteAction::Insert { body: body(mixed), resolution: Resolution::IgnoreDuplicates, missing: Missing::Null };
    assert_eq!(world.categories("items", ignored).await, [""; 0]);
    let moved = WriteAction::PatchWhere { query: in_category("5"), body: body(r#"{"category":6}"#) };
    assert_eq!(world.categories("items", moved).await, ["5 > 6"]);
    let mut gone = world.categories("items", WriteAction::DeleteWhere { query: in_category("6") }).await;
    gone.sort();
    assert_eq!(gone, ["6 > gone", "6 > gone"]);
    let one = WriteAction::Delete { key: key_of(&world.collection("items"), "1") };
    assert_eq!(world.categories("items", one).await, ["1 > gone"]);
}

#[tokio::test]
async fn values_are_as_postgresql_prints_them() {
    let world = world().await;
    let names = ["price", "nope", "odd \"name", "meta", "doubled", "id"];
    let json = r#"{"id":1,"category":21,"price":"1.5","meta":{"b": 1,"a":[null]}}"#;
    let prepared = world.begin_asked("items", insert(json), &names).await;
    assert_eq!(shown(&prepared.images), [r#"new > 1.50,-,none,{"a": [null], "b": 1},42,1"#]);
    prepared.commit().await.unwrap();
    let patch = world.patch_item("1", r#"{"odd \"name":"x, y","category":1}"#);
    let prepared = world.begin_asked("items", patch, &names).await;
    assert_eq!(
        shown(&prepared.images),
        [r#"1.50,-,none,{"a": [null], "b": 1},42,1 > 1.50,-,x, y,{"a": [null], "b": 1},2,1"#]
    );
    prepared.commit().await.unwrap();
    for names in [&[][..], &["nope"][..]] {
        let prepared = world.begin_asked("items", world.patch_item("1", r#"{"category":2}"#), names).await;
        let Images::Each(images) = &prepared.images else { panic!("{:?}", prepared.images) };
        assert_eq!(images.len(), 1);
        let blank = vec![None; names.len()];
        assert_eq!(images[0], Image { before: Before::Values(blank.clone()), after: blank }, "nothing can be unknown");
        prepared.rollback().await;
    }
    let unasked = world.begin("items", world.patch_item("1", "{}")).await.unwrap();
    assert_eq!(unasked.images, Images::NotAsked);
}

#[tokio::test]
async fn composite_keys_and_versions_go_along() {
    let world = world().await;
    let lines = r#"[{"cart":1,"line":"a","amount":1},{"cart":1,"line":"b","amount":2}]"#;
    let amounts = async |action| {
        let prepared = world.begin_asked("lines", action, &["amount", "line"]).await;
        let images = shown(&prepared.images);
        prepared.commit().await.unwrap();
        images
    };
    assert_eq!(amounts(upsert(lines)).await, ["new > 1,a", "new > 2,b"]);
    assert_eq!(amounts(upsert(&lines.replace("2}", "3}"))).await, ["1,a > 1,a", "2,b > 3,b"]);
    let key = key_of(&world.collection("lines"), "1,b");
    let patch = WriteAction::Patch { key, body: body(r#"{"amount":4}"#) };
    let request = WriteRequest { if_match: IfMatch::Any, ..world.request("lines", patch) };
    let prepared = world.store.begin_write(A, &request, Some(&columns(&["amount"])), None).await.unwrap();
    assert_eq!(shown(&prepared.images), ["3 > 4"]);
}

#[tokio::test]
async fn rows_with_different_columns_are_looked_for_together() {
    let world = world().await;
    world.categories("items", insert(r#"[{"id":1,"category":1},{"id":2,"category":2}]"#)).await;
    let mut rows = body(r#"[{"id":2},{"id":1,"category":7},{"id":3,"category":8}]"#);
    rows.columns = vec!["id".into(), "category".into()];
    let action = WriteAction::Insert { body: rows, resolution: Resolution::MergeDuplicates, missing: Missing::Default };
    let mut images = world.categories("items", action).await;
    images.sort();
    assert_eq!(images, ["1 > 7", "2 > -", "new > 8"]);
}

#[tokio::test]
async fn a_concurrent_update_is_what_was_before() {
    let world = world().await;
    world.categories("items", insert(r#"{"id":1,"category":1}"#)).await;
    let other = world.sql(A).await;
    other.batch_execute("BEGIN; UPDATE items SET category = 2 WHERE id = 1").await.unwrap();
    let between = async {
        world.until_waiting(1).await;
        other.batch_execute("COMMIT").await.unwrap();
    };
    let write = world.categories("items", world.patch_item("1", r#"{"category":3}"#));
    let (images, ()) = futures_util::future::join(write, between).await;
    assert_eq!(images, ["2 > 3"], "read under the row's lock");
}

#[tokio::test]
async fn a_row_that_appears_between_looking_and_writing_is_unknown() {
    let world = world().await;
    for (table, put) in [("items", "items"), ("parts", "parts")] {
        let other = world.sql(A).await;
        other.batch_execute(&format!("BEGIN; INSERT INTO {table} (id, category) VALUES (5, 1)")).await.unwrap();
        let between = async {
            world.until_waiting(1).await;
            other.batch_execute("COMMIT").await.unwrap();
        };
        let put = WriteAction::Put { key: key_of(&world.collection(put), "5"), body: body(r#"{"category":2}"#) };
        let (images, ()) = futures_util::future::join(world.categories(table, put), between).await;
        assert_eq!(images, ["? > 2"], "{table}: nobody knows that it was 1");
    }
}

#[tokio::test]
async fn a_row_that_comes_to_match_between_looking_and_writing_is_unknown() {
    let world = world().await;
    world.categories("items", insert(r#"[{"id":1,"category":1},{"id":2,"category":2}]"#)).await;
    let (holder, other) = (world.sql(A).await, world.sql(A).await);
    holder.batch_execute("BEGIN; SELECT FROM items WHERE id = 1 FOR UPDATE").await.unwrap();
    let between = async {
        world.until_waiting(1).await;
        other.batch_execute("UPDATE items SET category = 1 WHERE id = 2").await.unwrap();
        holder.batch_execute("COMMIT").await.unwrap();
    };
    let moved = WriteAction::PatchWhere { query: in_category("1"), body: body(r#"{"category":3}"#) };
    let (mut images, ()) = futures_util::future::join(world.categories("items", moved), between).await;
    images.sort();
    assert_eq!(images, ["1 > 3", "? > 3"]);
}

#[tokio::test]
async fn in_partitioned_tables_only_a_plain_insert_is_certainly_new() {
    let world = world().await;
    assert_eq!(world.categories("parts", insert(r#"{"id":1,"category":1}"#)).await, ["new > 1"]);
    let both = r#"[{"id":1,"category":2},{"id":2,"category":2}]"#;
    assert_eq!(world.categories("parts", upsert(both)).await, ["1 > 2", "? > 2"]);
}

#[tokio::test]
async fn of_too_many_rows_none_is_kept() {
    let world = world().await;
    let rows = |count: usize| {
        let mut json = "[".to_owned();
        for id in 0..count {
            write!(json, "{}{{\"id\":{id},\"category\":1}}", if id > 0 { "," } else { "" }).unwrap();
        }
        json + "]"
    };
    assert_eq!(world.categories("items", upsert(&rows(MAX_IMAGES))).await.len(), MAX_IMAGES);
    let all = || WriteAction::PatchWhere { query: in_category("1"), body: body(r#"{"price":1}"#) };
    assert_eq!(world.categories("items", all()).await, vec!["1 > 1"; MAX_IMAGES]);
    for action in [
        upsert(&rows(MAX_IMAGES + 1)),
        upsert(&rows(MAX_IMAGES + 1)),
        all(),
        WriteAction::DeleteWhere { query: in_category("1") },
    ] {
        let prepared = world.begin_asked("items", action, &["category"]).await;
        assert_eq!((&prepared.images, prepared.rows.len()), (&Images::TooMany, MAX_IMAGES + 1));
        prepared.commit().await.unwrap();
    }
}

#[tokio::test]
async fn of_too_large_values_none_is_kept_and_the_write_goes_on() {
    let world = world().await;
    let json = serde_json::json!({"id": 1, "odd \"name": "x".repeat(9 << 20)}).to_string();
    let names = ["odd \"name"; 2];
    let prepared = world.begin_asked("items", insert(&json), &names).await;
    assert_eq!((&prepared.images, prepared.rows.len()), (&Images::TooMany, 1));
    prepared.commit().await.unwrap();
    let prepared = world.begin_asked("items", world.patch_item("1", r#"{"odd \"name":null}"#), &names).await;
    assert_eq!(prepared.images, Images::TooMany, "what it held before is too large as well");
    prepared.commit().await.unwrap();
}

#[tokio::test]
async fn a_refused_write_is_refused_as_without() {
    let world = world().await;
    for action in [insert(r#"{"id":"x"}"#), upsert(r#"{"id":"x"}"#), upsert(r#"{"category":5}"#)] {
        let request = world.request("items", action);
        let plain = world.store.begin_write(A, &request, None, None).await.unwrap_err().into_problem();
        let asked = world.store.begin_write(A, &request, Some(&columns(&["category"])), None).await.unwrap_err();
        assert_eq!(asked.into_problem(), plain);
    }
    assert!(world.metric("tidegate_store_pool_discarded_total") < 1.0);
}
