//! The catalog as it is, and configuration that does not fit it.

use indexmap::IndexMap;
use tidegate_store::catalog::{RelationKind, UserCode, differences, resolve};
use tidegate_types::{
    collection::{Collection, CollectionId, WriteReach},
    key::KeyType,
    settings::CollectionSettings,
    track::TrackedKind,
};

use crate::world::{A, B, Shape, World, served};

const SCHEMA: &str = r#"
CREATE SCHEMA shop;
CREATE TABLE shop.orders (id bigint PRIMARY KEY, total numeric(10,2) NOT NULL);
CREATE TABLE products (id bigint PRIMARY KEY, name text DEFAULT 'x', code varchar(5) COLLATE "C",
  loose text COLLATE "en-x-icu", made timestamptz NOT NULL, twice int GENERATED ALWAYS AS (1) STORED,
  n int GENERATED ALWAYS AS IDENTITY);
CREATE TABLE carts (profile int, product bigint REFERENCES products ON DELETE CASCADE, PRIMARY KEY (profile, product));
CREATE TABLE between (id int PRIMARY KEY, product bigint REFERENCES products ON UPDATE SET NULL);
CREATE TABLE behind (id int PRIMARY KEY, b int REFERENCES between ON DELETE SET NULL);
CREATE TABLE strict (id int PRIMARY KEY, product bigint REFERENCES products);
CREATE TABLE tree (id int PRIMARY KEY, up int REFERENCES tree ON DELETE CASCADE);
CREATE TABLE parts (id int PRIMARY KEY, v text) PARTITION BY RANGE (id);
CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (100);
CREATE TABLE touched (id int PRIMARY KEY);
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER touch BEFORE UPDATE ON touched FOR EACH ROW EXECUTE FUNCTION touch();
CREATE TABLE keyless (id int);
CREATE TABLE priced (price numeric PRIMARY KEY);
CREATE COLLATION folded (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
CREATE TABLE loosely (name text COLLATE folded PRIMARY KEY);
CREATE TYPE size AS ENUM ('small', 'large');
CREATE DOMAIN code AS text;
CREATE TABLE told (id bigint PRIMARY KEY, a smallint, b int, c bigint, d text, e varchar(3), f uuid, g bool, h date, i size,
  j numeric, k timestamptz, l char(3), m code, n text COLLATE folded);
CREATE VIEW seen AS SELECT 1 AS id;
"#;

async fn world() -> World {
    World::new(Shape::Databases, SCHEMA, &[]).await
}

fn named(tables: &[&str]) -> IndexMap<String, CollectionSettings> {
    tables.iter().map(|table| ((*table).to_owned(), served(table))).collect()
}

fn reach(collections: &[Collection], name: &str) -> WriteReach {
    collections.iter().find(|c| &*c.name == name).unwrap().reach.clone()
}

#[tokio::test]
async fn tables_columns_and_keys_are_as_the_catalog_has_them() {
    let world = world().await;
    let catalog = world.store.catalog(A).await.unwrap();
    assert_eq!(catalog.table("shop.orders").unwrap().relation, "shop.orders");
    assert!(catalog.table("orders").is_none(), "not on the search path");
    assert_eq!(catalog.table("seen").unwrap().kind, RelationKind::View);
    assert_eq!(catalog.table("touched").unwrap().user_code, UserCode::Present);

    let mut settings = named(&["products", "carts"]);
    settings["carts"].shard_key = vec!["product".into()];
    let collections = resolve(&settings, &catalog).unwrap();
    let products = &collections[0];
    let facts: Vec<_> = products
        .columns
        .iter()
        .map(|c| (c.name.as_str(), c.type_name.as_str(), c.not_null, c.has_default, c.generated, c.mergeable))
        .collect();
    let expected = [
        ("id", "bigint", true, false, false, true),
        ("name", "text", false, true, false, true),
        ("code", "character varying(5)", false, false, false, true),
        ("loose", "text", false, false, false, false),
        ("made", "timestamp with time zone", true, false, false, true),
        ("twice", "integer", false, true, true, true),
        ("n", "integer", true, true, true, true),
    ];
    assert_eq!(facts, expected);
    assert_eq!((products.key[0].key_type, products.key[0].column), (KeyType::Int8, 0));
    assert_eq!((&collections[1].shard_key[..], collections[1].key.len()), (&[1][..], 2));
}

#[tokio::test]
async fn reach_follows_actions_partitions_and_code() {
    let world = world().await;
    let catalog = world.store.catalog(A).await.unwrap();
    let tables = ["products", "carts", "behind", "strict", "tree", "parts", "parts_1", "touched"];
    let mut settings = named(&tables);
    settings.insert("same".into(), served("carts"));
    let collections = resolve(&settings, &catalog).unwrap();
    let id = |name: &str| CollectionId(u32::try_from(settings.get_index_of(name).unwrap()).unwrap());
    let cascades = |names: &[&str]| WriteReach::Cascades(names.iter().map(|n| id(n)).collect());
    assert_eq!(reach(&collections, "products"), cascades(&["carts", "behind", "same"]));
    assert_eq!(reach(&collections, "carts"), cascades(&["same"]), "two collections of one table");
    assert_eq!(reach(&collections, "strict"), WriteReach::Own);
    assert_eq!(reach(&collections, "tree"), cascades(&["tree"]));
    assert_eq!(reach(&collections, "parts_1"), cascades(&["parts", "parts_1"]));
    assert_eq!(reach(&collections, "touched"), WriteReach::Anything);
}

#[tokio::test]
async fn every_mismatch_is_named_with_its_remedy() {
    let world = world().await;
    let catalog = world.store.catalog(A).await.unwrap();
    let mut settings = named(&["prodcuts", "keyless", "priced", "loosely", "seen", "orders"]);
    let mut odd = served("products");
    odd.key = vec!["name".into()];
    odd.shard_key = vec!["made".into()];
    odd.columns = vec!["nmae".into(), "made".into()];
    settings.insert("odd".into(), odd);
    let mismatches = resolve(&settings, &catalog).unwrap_err();
    let printed: Vec<String> = mismatches.iter().map(ToString::to_string).collect();
    for expected in [
        "[collections.prodcuts] shard a: table prodcuts: there is no such table. Did you mean table = \"products\"?",
        "[collections.keyless] shard a: table keyless: it has no primary key. Add one: ALTER TABLE public.keyless",
        "table priced, column price: its type numeric cannot be a key. Keys may be",
        "table loosely, column name: its collation is not deterministic",
        "table seen: it is a view. Only tables can be served",
        "table orders: there is no such table. Did you mean table = \"shop.orders\"?",
        "[collections.odd] shard a: table products, column nmae: there is no such column. Did you mean \"name\"?",
        "table products, column id: it belongs to the primary key and is not exposed",
        "table products: key = [\"name\"], but the primary key is (id). Set key = [\"id\"]",
        "table products, column made: shard_key names it, but the primary key is (id)",
    ] {
        assert!(printed.iter().any(|line| line.contains(expected)), "{expected}\nnot in\n{}", printed.join("\n"));
    }
    assert_eq!(printed.len(), 10, "{}", printed.join("\n"));
}

#[tokio::test]
async fn columns_are_tracked_whose_equal_values_have_equal_text() {
    let world = world().await;
    let catalog = world.store.catalog(A).await.unwrap();
    let tracking = |columns: &str, exposed: &[&str]| {
        let mut settings = named(&["told"]);
        settings["told"].track = columns.split(' ').map(str::to_owned).collect();
        settings["told"].columns = exposed.iter().map(|name| (*name).to_owned()).collect();
        resolve(&settings, &catalog)
    };
    let told = tracking("a b c d e f g h i id", &[]).unwrap();
    let kinds: Vec<_> = told[0].track.iter().map(|tracked| (&*tracked.name, tracked.kind)).collect();
    let key = TrackedKind::Key;
    let expected = [
        ("a", key(KeyType::Int2)),
        ("b", key(KeyType::Int4)),
        ("c", key(KeyType::Int8)),
        ("d", key(KeyType::Text)),
        ("e", key(KeyType::Text)),
        ("f", key(KeyType::Uuid)),
        ("g", key(KeyType::Bool)),
        ("h", TrackedKind::Date),
        ("i", TrackedKind::Label),
        ("id", key(KeyType::Int8)),
    ];
    assert_eq!(kinds, expected, "in the order of the configuration");
    for (column, exposed, wrong) in [
        ("j", &[][..], "column j: its type numeric cannot be tracked. Lists can be told apart by smallint,"),
        ("k", &[], "column k: its type timestamp with time zone cannot be tracked"),
        ("l", &[], "column l: its type character(3) cannot be tracked"),
        ("m", &[], "column m: its type code cannot be tracked"),
        ("n", &[], "column n: its collation is not deterministic: different texts may be equal"),
        ("idd", &[], "column idd: `track` names it, and there is no such column. Did you mean track = [\"id\"]?"),
        ("a", &["id"], "column a: it is tracked and not exposed. Add it to `columns`"),
    ] {
        let mismatches = tracking(column, exposed).unwrap_err();
        assert_eq!(mismatches.len(), 1);
        assert!(mismatches[0].to_string().contains(wrong), "{}", mismatches[0]);
    }
}

#[tokio::test]
async fn shards_that_differ_are_told_apart() {
    let world = world().await;
    world
        .sql(B)
        .await
        .batch_execute(
            "ALTER TABLE products ADD extra int; ALTER TABLE products ALTER made TYPE timestamp;
             ALTER TABLE products DROP COLUMN code; DROP TABLE behind",
        )
        .await
        .unwrap();
    let settings = named(&["products", "carts"]);
    let a = resolve(&settings, &world.store.catalog(A).await.unwrap()).unwrap();
    let b = resolve(&settings, &world.store.catalog(B).await.unwrap()).unwrap();
    assert!(differences("a", &a, "a", &a).is_empty());
    let found = differences("b", &b, "a", &a);
    let columns: Vec<_> = found.iter().filter_map(|m| m.column.as_deref()).collect();
    assert_eq!(columns, ["code", "made", "extra"], "{found:?}");
}
