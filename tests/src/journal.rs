//! Write-behind carts: a world that has them, and what became of what was acknowledged.

use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{Answer, Client, Config, Gateway, Shards, World, until};

/// `Cache-Status` of a row that its shard does not have yet.
pub const DIRTY: &str = "hit; detail=dirty";
/// Locks rows of the carts of everybody: no flush goes on, and reads do.
pub const HOLD: &str = "LOCK TABLE carts IN SHARE ROW EXCLUSIVE MODE";

/// Carts are write-behind, with a journal in this folder.
#[must_use]
pub fn behind(config: Config, dir: &Path) -> Config {
    config
        .set("journal", "dir", &format!("'{}'", dir.join("journal").display()))
        .set("journal", "max_bytes", "\"16MiB\"")
        .set("collections.carts", "mode", "\"write-behind\"")
        .set("pools.batch", "statement_timeout", "\"5s\"")
}

/// A folder for a journal, removed on drop.
///
/// # Panics
/// If there is no room for one.
#[must_use]
pub fn folder() -> TempDir {
    tempfile::Builder::new().prefix("tidegate-journal-").tempdir().expect("a temporary folder")
}

/// A world whose carts are write-behind.
pub async fn world(dir: &TempDir) -> World {
    World::with(|config| behind(config, dir.path())).await
}

/// A profile on this shard that is seeded.
///
/// # Panics
/// If the shard has none.
#[must_use]
pub fn profile(shards: &Shards, shard: usize) -> i64 {
    shards.ids_on(shard).find(|id| *id <= 20).expect("there are some")
}

/// The path of a cart's line.
#[must_use]
pub fn line(profile: i64, product: i64) -> String {
    format!("/v1/carts/{profile},{product}")
}

/// The body of a write of a line.
#[must_use]
pub fn quantity(quantity: i64) -> Value {
    json!({ "quantity": quantity })
}

/// Insists on an acknowledgement.
///
/// # Panics
/// If it is none.
#[track_caller]
pub fn acknowledged(answer: Answer) -> Answer {
    let answer = answer.expect_status(202);
    assert_eq!(answer.header("tidegate-durability"), "local", "{answer}");
    assert!(answer.header("tidegate-sequence").parse::<u64>().is_ok_and(|sequence| sequence > 0), "{answer}");
    assert!(answer.header("tidegate-status").starts_with("/v1/$status/"), "{answer}");
    answer
}

/// What the shard has of a cart's line.
pub async fn stored(shards: &Shards, profile: i64, product: i64) -> Option<String> {
    let sql = format!("SELECT max(quantity)::text FROM carts WHERE profile_id = {profile} AND product_id = {product}");
    shards.text(shards.shard_of(profile), &sql).await
}

/// How many acknowledged writes are not on their shard.
///
/// # Panics
/// If there is no journal.
pub async fn depth(gateway: &Gateway) -> u64 {
    gateway.admin_json("/admin/journal").await["journal"]["depth"].as_u64().expect("a number")
}

/// Waits until there is none.
///
/// # Panics
/// If that does not come.
pub async fn flushed(gateway: &Gateway) {
    until("everything is on its shard", async || (depth(gateway).await == 0).then_some(())).await;
}

/// What a status URL says.
pub async fn status(client: &Client, url: &str) -> Value {
    client.get(url).await.ok().json()
}
