//! The tables of the scenarios and their seeded rows.

use serde_json::{Value, json};

use crate::{Config, Shards};

/// A storefront with one of everything that matters to the gateway.
///
/// `products.category_id` is checked at COMMIT: whoever locks a category's row `FOR UPDATE` stops
/// every commit that moves a product to it, without a trigger in sight.
const TABLES: &str = r#"
CREATE TABLE categories (id int PRIMARY KEY, title text NOT NULL);
INSERT INTO categories SELECT n, 'Category ' || n FROM generate_series(1, 10) n;
CREATE TABLE products (
    id bigint PRIMARY KEY,
    name text NOT NULL,
    price numeric(10,2) NOT NULL CHECK (price >= 0),
    stock int NOT NULL DEFAULT 0,
    category_id int NOT NULL DEFAULT 1 REFERENCES categories DEFERRABLE INITIALLY DEFERRED,
    attributes jsonb NOT NULL DEFAULT '{}',
    note text,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE profiles (id bigint PRIMARY KEY, email text NOT NULL UNIQUE, active bool NOT NULL DEFAULT true);
CREATE TABLE carts (
    profile_id bigint REFERENCES profiles ON DELETE CASCADE,
    product_id bigint,
    quantity int NOT NULL CHECK (quantity > 0),
    PRIMARY KEY (profile_id, product_id)
);
CREATE TABLE "odd "" table" ("the ""key" text PRIMARY KEY, "Größe" text);
"#;

/// Rows of `products` with these numbers, as [`product`] describes them.
const SEED_PRODUCTS: &str = "
INSERT INTO products (id, name, price, stock, category_id, attributes, note, created_at)
SELECT n, 'Product ' || n, (n % 100) + 0.50, n % 7, n % 10 + 1,
       jsonb_build_object('color', (ARRAY['red','green','blue'])[n % 3 + 1], 'weight', n),
       CASE WHEN n % 5 = 0 THEN NULL ELSE 'note ' || n END,
       timestamptz '2026-01-01 00:00:00+00' + n * interval '1 minute'
FROM unnest($1::bigint[]) n";

const SEED_PROFILES: &str =
    "INSERT INTO profiles SELECT n, 'user' || n || '@example.com', n % 2 = 0 FROM unnest($1::bigint[]) n";

const SEED_CARTS: &str = "INSERT INTO carts SELECT n, p, p FROM unnest($1::bigint[]) n, generate_series(1, 3) p";

/// Some columns of the seeded product `id`.
#[must_use]
pub fn product(id: i64) -> Value {
    let note = if id % 5 == 0 { Value::Null } else { json!(format!("note {id}")) };
    json!({ "id": id, "name": format!("Product {id}"), "stock": id % 7, "category_id": id % 10 + 1, "note": note })
}

/// The seeded price of product `id`, as PostgreSQL writes it.
#[must_use]
pub fn price(id: i64) -> String {
    format!("{}.50", id % 100)
}

/// Makes the tables on every shard and fills them: `products` products, and a tenth of that many
/// profiles with three cart lines each. Rows are where hash routing looks for them.
///
/// # Panics
/// If a statement fails.
pub async fn create(shards: &Shards, products: i64) {
    for shard in 0..shards.len() {
        let client = shards.connect(shard).await;
        client.batch_execute(TABLES).await.expect("the tables");
        let placed = |last: i64| (1..=last).filter(|id| shards.shard_of(id) == shard).collect::<Vec<i64>>();
        let profiles = placed(products / 10);
        client.execute(SEED_PRODUCTS, &[&placed(products)]).await.expect("products");
        client.execute(SEED_PROFILES, &[&profiles]).await.expect("profiles");
        client.execute(SEED_CARTS, &[&profiles]).await.expect("carts");
        client.batch_execute("ANALYZE").await.expect("statistics");
    }
}

/// A configuration that serves these tables.
#[must_use]
pub fn config(shards: &Shards) -> Config {
    Config::new(shards)
        .set("collections.products", "table", "\"products\"")
        .set("collections.profiles", "table", "\"profiles\"")
        .set("collections.carts", "table", "\"carts\"")
        .set("collections.odd", "table", "'odd \" table'")
}
