//! Bounded consistency: what is changed past the gateway is seen in time, or the shard is asked.

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tidegate_tests::{Config, World, until};

fn bounded(config: Config) -> Config {
    config.set("feed", "enabled", "true").set("collections.products", "consistency", "\"bounded\"")
}

async fn world(change: impl FnOnce(Config) -> Config) -> World {
    World::with(|config| change(bounded(config))).await
}

async fn warm(world: &World, path: &str) {
    until("it is kept", || async { world.client.get(path).await.ok().is_hit().then_some(()) }).await;
}

/// The server process that sends a shard's log, stopped. Goes on when this is dropped: the server could not end.
struct Held(Pid);

impl Held {
    async fn of(world: &World, shard: usize) -> Self {
        let pid = world.shards.text(shard, "SELECT max(pid)::text FROM pg_stat_replication").await.expect("one reader");
        let pid = Pid::from_raw(pid.parse().expect("a number"));
        kill(pid, Signal::SIGSTOP).expect("it runs");
        Self(pid)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        kill(self.0, Signal::SIGCONT).expect("it is there");
    }
}

#[tokio::test]
async fn reads_pass_to_the_shard_while_the_feed_is_behind_and_return_to_the_cache_after() {
    let world = world(|config| config).await;
    let (id, other) = (world.product_on(0), world.product_on(1));
    let (path, elsewhere) = (format!("/v1/products/{id}"), format!("/v1/products/{other}"));
    warm(&world, &path).await;
    warm(&world, &elsewhere).await;
    let held = Held::of(&world, 0).await;
    let behind = || async {
        let read = world.client.get(&path).await.ok();
        read.cache().contains("fwd=bypass; detail=feed-behind").then_some(())
    };
    until("the feed is behind", behind).await;
    for stock in [41, 42, 43] {
        world.shards.execute(0, &format!("UPDATE products SET stock = {stock} WHERE id = {id}")).await;
        assert_eq!(
            world.client.get(&path).await.ok().json()["stock"],
            stock,
            "nobody told of it, so the shard was asked"
        );
    }
    let list = world.client.get("/v1/products?id=in.(1,2)&order=id").await.ok();
    assert!(list.cache().contains("detail=feed-behind"), "{list}");
    assert!(world.client.get(&elsewhere).await.ok().is_hit(), "the other shard's feed is not behind");
    drop(held);
    warm(&world, &path).await;
    assert_eq!(world.client.get(&path).await.ok().json()["stock"], 43);
}

#[tokio::test]
async fn a_row_after_its_time_is_served_while_it_is_fetched_again() {
    let lasting = |config: Config| {
        let products = "collections.products";
        config.set(products, "ttl", "\"300ms\"").set(products, "stale_while_revalidate", "\"60s\"")
    };
    let world = world(lasting).await;
    let path = format!("/v1/products/{}", world.product_on(0));
    warm(&world, &path).await;
    for _ in 0..2 {
        until("its time is over", || async {
            let read = world.client.get(&path).await.ok();
            assert!(read.is_hit(), "nobody waits for the shard: {read}");
            read.cache().contains("detail=stale-while-revalidate").then_some(())
        })
        .await;
        until("it was fetched again", || async {
            let read = world.client.get(&path).await.ok();
            (read.is_hit() && !read.cache().contains("stale")).then_some(())
        })
        .await;
    }
    // A row that was changed is not late, it is void.
    world.client.patch(&path, &serde_json::json!({ "stock": 77 })).send().await.expect_status(204);
    assert_eq!(world.client.get(&path).await.ok().json()["stock"], 77);
}

#[tokio::test]
async fn a_row_after_its_time_is_served_where_its_shard_does_not_answer() {
    let lasting = |config: Config| {
        let products = "collections.products";
        config.set(products, "ttl", "\"300ms\"").set(products, "stale_if_error", "\"60s\"")
    };
    let mut world = world(lasting).await;
    let path = format!("/v1/products/{}", world.product_on(0));
    let unread = format!("/v1/products/{}", world.nth_product_on(0, 1));
    warm(&world, &path).await;
    world.shards.cluster_mut(0).kill().await;
    until("the shard is missed", || async {
        let read = world.client.get(&path).await.ok();
        read.cache().contains("detail=stale-if-error").then_some(())
    })
    .await;
    assert_eq!(world.client.get(&unread).await.status, 503, "nothing is known of this one");
}
