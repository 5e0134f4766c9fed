//! Lists: filters against PostgreSQL's own answers, order over shards, limits.

use std::fmt::Write as _;

use serde_json::{Value, json};
use tidegate_types::{
    problem::{ProblemKind, codes},
    query::{
        ColumnRef, Count, Direction, Filter, IsValue, JsonOutput, JsonStep, JsonTarget, ListQuery, Nulls, Operator,
        OrderTerm, Sense,
    },
};

use crate::world::{A, B, Shape, World, column, compare, select};

const SCHEMA: &str = r#"
CREATE TABLE items (id int PRIMARY KEY, name text, price numeric, active bool, meta jsonb, tags text[]);
CREATE TABLE kinds (id int PRIMARY KEY, i2 smallint, i4 int, i8 bigint, f4 real, f8 double precision, n numeric,
  t text COLLATE "C", v varchar(10), b bool, d date, ts timestamp, tz timestamptz, ti time, u uuid,
  p point, loose text COLLATE "en-x-icu");
CREATE TABLE words (w text COLLATE "en-x-icu" PRIMARY KEY);
"#;

const ITEMS: &str = r#"INSERT INTO items VALUES
 (1, 'apple', 1.50, true, '{"lang":"es","n":5}', '{a,b}'), (2, 'Banana', 20, false, '{"lang":"en","n":47}', '{}'),
 (3, NULL, NULL, NULL, NULL, NULL), (4, 'a,b"c\(d)', 0.001, true, '{"n":[1,2]}', '{"x,y"}'),
 (5, 'per%cent', 1e30, false, '{}', NULL), (6, '', -3, NULL, '{"lang":null}', NULL), (7, 'null', 2, true, '[7]', NULL)"#;

async fn items() -> World {
    let world = World::new(Shape::Databases, SCHEMA, &["items", "kinds", "words"]).await;
    world.sql(A).await.batch_execute(ITEMS).await.unwrap();
    world
}

fn filtered(filters: Vec<Filter>) -> ListQuery {
    ListQuery { filters, projection: select(&["id"]), ..ListQuery::default() }
}

fn ids(rows: &Value) -> Vec<i64> {
    rows.as_array().unwrap().iter().map(|row| row["id"].as_i64().unwrap()).collect()
}

fn path(name: &str, key: &str, output: JsonOutput) -> ColumnRef {
    ColumnRef { name: name.into(), path: vec![JsonStep { to: JsonTarget::Key(key.into()), output }] }
}

#[tokio::test]
async fn filters_mean_what_postgresql_means() {
    let world = items().await;
    let not = |filter: Filter| match filter {
        Filter::Compare { column, operator, value, .. } => {
            Filter::Compare { column, operator, value, sense: Sense::Negated }
        }
        Filter::In { column, values, .. } => Filter::In { column, values, sense: Sense::Negated },
        Filter::Is { column, value, .. } => Filter::Is { column, value, sense: Sense::Negated },
        Filter::And { terms, .. } => Filter::And { terms, sense: Sense::Negated },
        Filter::Or { terms, .. } => Filter::Or { terms, sense: Sense::Negated },
    };
    let within = |name: &str, values: &[&str]| Filter::In {
        column: column(name),
        values: values.iter().map(|v| (*v).to_owned()).collect(),
        sense: Sense::Plain,
    };
    let is = |name: &str, value| Filter::Is { column: column(name), value, sense: Sense::Plain };
    let on =
        |column, operator, value: &str| Filter::Compare { column, operator, value: value.into(), sense: Sense::Plain };
    let cases = vec![
        (compare("price", Operator::Gt, "1.5"), "price > 1.5"),
        (compare("price", Operator::Gte, "1.5"), "price >= 1.5"),
        (compare("price", Operator::Lt, "2"), "price < 2"),
        (compare("price", Operator::Lte, "2"), "price <= 2"),
        (compare("price", Operator::Eq, "1.5000"), "price = 1.5"),
        (compare("price", Operator::Neq, "1.5"), "price <> 1.5"),
        (not(compare("price", Operator::Eq, "1.5")), "NOT price = 1.5"),
        (compare("name", Operator::Eq, ""), "name = ''"),
        (compare("name", Operator::Eq, "null"), "name = 'null'"),
        (compare("name", Operator::Like, "a*"), "name LIKE 'a%'"),
        (compare("name", Operator::Ilike, "*AN*"), "name ILIKE '%an%'"),
        (compare("active", Operator::Eq, "true"), "active"),
        (is("active", IsValue::True), "active IS TRUE"),
        (is("active", IsValue::False), "active IS FALSE"),
        (is("active", IsValue::Unknown), "active IS UNKNOWN"),
        (not(is("active", IsValue::True)), "active IS NOT TRUE"),
        (is("name", IsValue::Null), "name IS NULL"),
        (is("name", IsValue::NotNull), "name IS NOT NULL"),
        (within("id", &["1", "3", "99"]), "id IN (1, 3, 99)"),
        (within("name", &["a,b\"c\\(d)", "null", "apple"]), "id IN (4, 7, 1)"),
        (within("id", &[]), "false"),
        (not(within("name", &[])), "true"),
        (not(within("id", &["1"])), "id <> 1"),
        (on(path("meta", "lang", JsonOutput::Text), Operator::Eq, "es"), "meta->>'lang' = 'es'"),
        (on(path("meta", "n", JsonOutput::Json), Operator::Gt, "6"), "meta->'n' > '6'"),
        (on(path("tags", "0", JsonOutput::Text), Operator::Eq, "a"), "to_jsonb(tags)->>'0' = 'a'"),
        (
            Filter::Or {
                terms: vec![
                    compare("id", Operator::Lt, "3"),
                    Filter::And {
                        terms: vec![compare("active", Operator::Eq, "true"), not(is("name", IsValue::Null))],
                        sense: Sense::Plain,
                    },
                ],
                sense: Sense::Negated,
            },
            "NOT (id < 3 OR (active AND name IS NOT NULL))",
        ),
    ];
    let sql = world.sql(A).await;
    for (filter, condition) in cases {
        let rows = sql.query(&format!("SELECT id FROM items WHERE {condition} ORDER BY id"), &[]).await.unwrap();
        let expected: Vec<i64> = rows.iter().map(|row| row.get::<_, i32>(0).into()).collect();
        let got = world.list(&[A], "items", filtered(vec![filter.clone()])).await;
        assert_eq!(ids(&got), expected, "{filter:?}");
    }
}

#[tokio::test]
async fn what_does_not_fit_a_column_is_reported_in_postgresqls_words() {
    let world = items().await;
    for (filter, code, kind) in [
        (compare("id", Operator::Eq, "abc"), "22P02", ProblemKind::BadRequest),
        (compare("id", Operator::Eq, "99999999999"), "22003", ProblemKind::BadRequest),
        (compare("id", Operator::Like, "1"), "42883", ProblemKind::UndefinedFunction),
        (compare("nope", Operator::Eq, "1"), "42703", ProblemKind::BadRequest),
        (compare("name", Operator::Eq, "nul\0"), "22021", ProblemKind::BadRequest),
    ] {
        let result = world.store.list(&[A], &world.collection("items"), &filtered(vec![filter.clone()])).await;
        let problem = result.unwrap_err().into_problem();
        assert_eq!((&*problem.code, problem.kind), (code, kind), "{filter:?}");
    }
    assert!(world.metric("tidegate_store_pool_discarded_total") < 1.0, "a refused statement costs no connection");
}

#[tokio::test]
async fn pages_and_totals_agree_with_and_without_shards() {
    let world = items().await;
    let sql = world.sql(B).await;
    sql.batch_execute("INSERT INTO items (id, name) SELECT n, 'b' || n FROM generate_series(101, 130) n")
        .await
        .unwrap();
    for shards in [&[A][..], &[B], &[A, B]] {
        let all = world.list(shards, "items", filtered(Vec::new())).await;
        for (limit, offset) in [(3_u8, 0_u16), (3, 2), (0, 0), (5, 1000), (100, 5)] {
            let query = ListQuery {
                limit: Some(limit.into()),
                offset: offset.into(),
                count: Count::Exact,
                ..filtered(Vec::new())
            };
            let rows = world.store.list(shards, &world.collection("items"), &query).await.unwrap();
            let page: Vec<i64> = ids(&all).into_iter().skip(offset.into()).take(limit.into()).collect();
            assert_eq!(ids(&serde_json::from_slice(&rows.json).unwrap()), page, "{shards:?} {limit} {offset}");
            assert_eq!((rows.rows, rows.total), (page.len() as u64, Some(ids(&all).len() as u64)));
        }
    }
    let none = world.store.list(&[], &world.collection("items"), &filtered(Vec::new())).await.unwrap();
    assert_eq!((&none.json[..], none.total), (&b"[]"[..], None));
}

/// Values of every type the gateway merges by, some of them twice, spread over both shards.
const VALUES: &[(&str, &[&str])] = &[
    ("i2", &["-5", "0", "7", "7", "32767"]),
    ("i4", &["-2147483648", "-1", "0", "12"]),
    ("i8", &["-9223372036854775808", "3", "9007199254740993", "9007199254740992"]),
    ("f4", &["NaN", "-Infinity", "Infinity", "-0", "0", "1.5"]),
    ("f8", &["NaN", "-Infinity", "Infinity", "1e300", "-1e-300", "NaN"]),
    (
        "n",
        &[
            "NaN",
            "-Infinity",
            "Infinity",
            "0",
            "0.00",
            "1e-20",
            "-1e-20",
            "12345678901234567890.1",
            "12345678901234567890.10",
            "12345678901234567890.2",
            "-9999.9999",
            "-10000",
            "10000",
            "9999.5",
            "100000000",
        ],
    ),
    ("t", &["", "a", "B", "b", "ä", "z", "a b", "𝄞", "\u{ffff}"]),
    ("v", &["", "Z", "a", "é"]),
    ("b", &["true", "false", "true"]),
    ("d", &["-infinity", "infinity", "2026-01-01", "0044-03-15 BC"]),
    ("ts", &["-infinity", "2026-01-01 00:00:00.000001", "2026-01-01", "infinity"]),
    ("tz", &["2026-01-01 00:00+02", "2026-01-01 00:00+00", "1969-12-31 23:59+00"]),
    ("ti", &["00:00", "23:59:59.999999", "12:00"]),
    (
        "u",
        &[
            "00000000-0000-0000-0000-000000000001",
            "ffffffff-ffff-ffff-ffff-ffffffffffff",
            "80000000-0000-0000-0000-000000000000",
        ],
    ),
];

#[tokio::test]
async fn rows_of_two_shards_merge_in_the_order_one_would_have() {
    let world = items().await;
    let (a, b) = (world.sql(A).await, world.sql(B).await);
    // The reference holds every row; the shards hold half each.
    a.batch_execute("CREATE TABLE reference (LIKE kinds)").await.unwrap();
    let mut id = 0;
    for (name, values) in VALUES {
        for value in values.iter().map(|v| format!("'{v}'")).chain(["NULL".to_owned()]) {
            id += 1;
            let mut insert = String::new();
            write!(insert, " (id, {name}) VALUES ({id}, {value})").unwrap();
            a.batch_execute(&format!("INSERT INTO reference{insert}")).await.unwrap();
            let shard = if id % 2 == 0 { &a } else { &b };
            shard.batch_execute(&format!("INSERT INTO kinds{insert}")).await.unwrap();
        }
    }
    for (name, _) in VALUES {
        for (direction, direction_text) in [(Direction::Asc, "ASC"), (Direction::Desc, "DESC")] {
            for (nulls, nulls_text) in [(Nulls::First, "NULLS FIRST"), (Nulls::Last, "NULLS LAST")] {
                let sql = format!("SELECT id FROM reference ORDER BY {name} {direction_text} {nulls_text}, id");
                let expected: Vec<i64> =
                    a.query(&sql, &[]).await.unwrap().iter().map(|r| r.get::<_, i32>(0).into()).collect();
                let order = vec![OrderTerm { column: column(name), direction, nulls }];
                let query = ListQuery { order, projection: select(&["id"]), ..ListQuery::default() };
                assert_eq!(ids(&world.list(&[A, B], "kinds", query).await), expected, "{sql}");
            }
        }
    }
}

#[tokio::test]
async fn what_cannot_be_merged_is_refused_for_several_shards_only() {
    let world = items().await;
    for name in ["p", "loose"] {
        let order = vec![OrderTerm { column: column(name), direction: Direction::Asc, nulls: Nulls::Last }];
        let query = ListQuery { order, ..ListQuery::default() };
        let kinds = world.collection("kinds");
        let problem = world.store.list(&[A, B], &kinds, &query).await.unwrap_err().into_problem();
        assert_eq!((problem.kind, &*problem.code), (ProblemKind::BadRequest, codes::CROSS_SHARD));
        assert!(problem.hint.is_some());
        if name == "loose" {
            world.store.list(&[A], &kinds, &query).await.unwrap();
        }
    }
    let deep = ListQuery { offset: 10_000, limit: Some(1), ..ListQuery::default() };
    let problem = world.store.list(&[A, B], &world.collection("items"), &deep).await.unwrap_err().into_problem();
    assert_eq!((problem.kind, &*problem.code), (ProblemKind::BadRequest, codes::LIMIT_EXCEEDED));
    world.store.list(&[A], &world.collection("items"), &deep).await.unwrap();
}

#[tokio::test]
async fn keys_that_sort_by_language_still_page_stably_over_shards() {
    let world = items().await;
    world.sql(A).await.batch_execute("INSERT INTO words VALUES ('b'), ('A'), ('ä')").await.unwrap();
    world.sql(B).await.batch_execute("INSERT INTO words VALUES ('a'), ('B'), ('z')").await.unwrap();
    let rows = world.list(&[A, B], "words", ListQuery::default()).await;
    let expected: Vec<Value> = ["A", "B", "a", "b", "z", "ä"].iter().map(|w| json!({ "w": w })).collect();
    assert_eq!(rows, Value::from(expected));
}

#[tokio::test]
async fn keys_are_sampled_from_both_ends() {
    let world = items().await;
    let items = world.collection("items");
    let mut all = world.store.sample_keys(A, &items, 100_000).await.unwrap();
    all.sort();
    let some = world.store.sample_keys(A, &items, 4).await.unwrap();
    assert!(some.len() <= 4 && some.contains(&all[0]) && some.contains(&all[all.len() - 1]), "{some:?}");
    assert!(world.store.sample_keys(B, &world.collection("items"), 5).await.unwrap().is_empty());
}
