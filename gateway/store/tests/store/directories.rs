//! Directories, and keys sampled: what policies are given of the tables.

use std::{collections::HashSet, time::Duration};

use tidegate_store::directory::DirectoryError;
use tidegate_types::settings::DirectorySettings;

use crate::world::{A, Shape, World};

const SCHEMA: &str = r#"
CREATE SCHEMA ops;
CREATE TABLE ops."Homes" ("Tenant" text PRIMARY KEY, shard text, since int);
INSERT INTO ops."Homes" VALUES ('acme', 'a', 1), ('globex', 'b', 2), ('nobody', NULL, 3);
CREATE TABLE numbered (id int PRIMARY KEY, home int);
INSERT INTO numbered VALUES (1, 10), (2, 20);
CREATE TABLE twice (name text, home text);
INSERT INTO twice VALUES ('x', 'a'), ('x', 'b');
CREATE VIEW seen AS SELECT id, home FROM numbered WHERE id = 2;
CREATE TABLE wide (name int PRIMARY KEY, home text);
CREATE TABLE many (id bigint PRIMARY KEY, filler text);
INSERT INTO many SELECT n, repeat('x', 200) FROM generate_series(1, 50000) n;
CREATE TABLE parted (id bigint PRIMARY KEY) PARTITION BY RANGE (id);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (1000);
CREATE TABLE parted_2 PARTITION OF parted FOR VALUES FROM (1000) TO (2000);
INSERT INTO parted SELECT generate_series(1, 1500);
ANALYZE many;
"#;

fn settings(table: &str, key: &str, value: &str) -> DirectorySettings {
    DirectorySettings {
        shard: "a".into(),
        table: table.into(),
        key: key.into(),
        value: value.into(),
        refresh: Duration::from_secs(10),
        max_rows: 10,
    }
}

async fn read(world: &World, settings: &DirectorySettings) -> Result<Vec<(String, String)>, DirectoryError> {
    let query = world.store.find_directory(A, settings).await?;
    let mut entries: Vec<_> = world.store.read_directory(A, &query).await?.into_iter().collect();
    entries.sort();
    Ok(entries)
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

#[tokio::test]
async fn a_directory_is_the_text_of_two_columns() {
    let world = World::new(Shape::Databases, SCHEMA, &[]).await;
    let homes = read(&world, &settings("ops.Homes", "Tenant", "shard")).await.unwrap();
    assert_eq!(homes, pairs(&[("acme", "a"), ("globex", "b")]), "without a value, not part of it");
    let numbers = read(&world, &settings("numbered", "id", "home")).await.unwrap();
    assert_eq!(numbers, pairs(&[("1", "10"), ("2", "20")]));
    assert_eq!(read(&world, &settings("seen", "id", "home")).await.unwrap(), pairs(&[("2", "20")]));
}

#[tokio::test]
async fn a_directory_that_cannot_be_read_says_what_to_change() {
    let world = World::new(Shape::Databases, SCHEMA, &[]).await;
    let says = async |settings: &DirectorySettings| read(&world, settings).await.unwrap_err().to_string();
    let no_table = says(&settings("numberd", "id", "home")).await;
    assert!(
        no_table.contains("shard a has no table numberd") && no_table.contains("Did you mean numbered?"),
        "{no_table}"
    );
    let no_column = says(&settings("numbered", "id", "hom")).await;
    assert!(no_column.contains("no column hom. Did you mean home?"), "{no_column}");
    let twice = says(&settings("twice", "name", "home")).await;
    assert!(twice.contains("\"x\" is in it twice") && twice.contains("unique index"), "{twice}");
    let small = DirectorySettings { max_rows: 1, ..settings("numbered", "id", "home") };
    assert!(says(&small).await.contains("more than 1 rows. Raise `max_rows`"));
    let exact = DirectorySettings { max_rows: 2, ..small };
    assert_eq!(read(&world, &exact).await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_directory_larger_than_memory_allows_is_given_up_and_costs_one_connection() {
    let world = World::new(Shape::Databases, SCHEMA, &[]).await;
    let fill = "INSERT INTO wide SELECT n, repeat('x', 1 << 20) FROM generate_series(1, 70) n";
    world.sql(A).await.batch_execute(fill).await.unwrap();
    let wide = DirectorySettings { max_rows: 1000, ..settings("wide", "name", "home") };
    assert!(matches!(read(&world, &wide).await, Err(DirectoryError::TooManyBytes)));
    assert_eq!(
        read(&world, &settings("numbered", "id", "home")).await.unwrap().len(),
        2,
        "the next one is not affected"
    );
}

#[tokio::test]
async fn a_table_that_is_gone_is_found_anew() {
    let world = World::new(Shape::Databases, SCHEMA, &[]).await;
    let settings = settings("numbered", "id", "home");
    let query = world.store.find_directory(A, &settings).await.unwrap();
    world.sql(A).await.batch_execute("DROP VIEW seen; DROP TABLE numbered").await.unwrap();
    let gone = world.store.read_directory(A, &query).await.unwrap_err();
    assert!(gone.is_database(), "{gone}");
}

#[tokio::test]
async fn keys_are_sampled_all_over_a_large_table() {
    let world = World::new(Shape::Databases, SCHEMA, &["many", "parted"]).await;
    let many = world.collection("many");
    let keys = world.store.sample_keys(A, &many, 2000).await.unwrap();
    let ids: Vec<u64> = keys.iter().map(|key| many.shard_key_text(key).parse().unwrap()).collect();
    assert!((1000..=2000).contains(&ids.len()), "{} keys", ids.len());
    assert_eq!(ids.iter().collect::<HashSet<_>>().len(), ids.len(), "each once");
    assert!(ids.contains(&1) && ids.contains(&50_000), "both ends");
    let tenths: HashSet<u64> = ids.iter().map(|id| (id - 1) / 5_000).collect();
    assert!(tenths.len() >= 7, "of ten parts of the table, {tenths:?} were met");
    let parted = world.store.sample_keys(A, &world.collection("parted"), 10_000).await.unwrap();
    assert_eq!(parted.len(), 1500, "a small table whole");
}
