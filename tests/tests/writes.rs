//! Writes: where they go, who sees them, what they answer.

use http::Method;
use serde_json::{Value, json};
use tidegate_tests::{Client, World};

/// A product number that is not seeded, on this shard.
fn new_id(world: &World, shard: usize) -> i64 {
    world.shards.ids_on(shard).find(|id| *id > 100_000).expect("numbers do not end")
}

async fn stored(world: &World, shard: usize, id: i64) -> Option<String> {
    world.shards.text(shard, &format!("SELECT max(name) FROM products WHERE id = {id}")).await
}

#[tokio::test]
async fn a_row_lives_through_post_patch_put_and_delete_on_its_own_shard() {
    let world = World::start().await;
    for shard in 0..2 {
        let id = new_id(&world, shard);
        let path = format!("/v1/products/{id}");
        // Others have cached that it is missing; each step must show on their connections too.
        let others: [Client; 2] = [world.gateway.client(), world.gateway.client()];
        let seen = async |status: u16, name: Value| {
            for other in &others {
                let answer = other.get(&path).await.expect_status(status);
                assert_eq!(answer.json().get("name").cloned().unwrap_or_default(), name);
            }
        };
        seen(404, Value::Null).await;
        let row = json!({ "id": id, "name": "posted", "price": "12.30", "attributes": { "a": [1, null] } });
        let posted = world.client.post("/v1/products", &row).send().await.expect_status(201);
        assert!(posted.body.is_empty(), "minimal is the default");
        seen(200, json!("posted")).await;
        assert_eq!(stored(&world, shard, id).await.as_deref(), Some("posted"));
        assert_eq!(stored(&world, 1 - shard, id).await, None, "the other shard knows nothing of it");

        world.client.patch(&path, &json!({ "name": "patched" })).send().await.expect_status(204);
        seen(200, json!("patched")).await;
        assert_eq!(others[0].get(&path).await.json()["attributes"], json!({ "a": [1, null] }), "the rest stays");

        let put = json!({ "id": id, "name": "put", "price": 1 });
        let answer = world.client.put(&path, &put).send().await;
        assert!(matches!(answer.status, 200 | 204), "{answer}");
        seen(200, json!("put")).await;

        world.client.delete(&path).send().await.expect_status(204);
        seen(404, Value::Null).await;
        assert_eq!(stored(&world, shard, id).await, None);
    }
}

#[tokio::test]
async fn put_inserts_what_is_not_there() {
    let world = World::start().await;
    let id = new_id(&world, 1);
    let path = format!("/v1/products/{id}");
    let row = json!({ "name": "put", "price": 3 });
    let answer = world.client.put(&path, &row).prefer("return=representation").send().await.expect_status(201);
    assert_eq!(answer.json()[0]["id"], id, "the key is that of the path: {answer}");
    let again = world.client.put(&path, &row).prefer("return=representation").send().await.expect_status(200);
    assert_eq!(again.json()[0]["name"], "put");
    let other = json!({ "id": id + 1, "name": "x", "price": 3 });
    world.client.put(&path, &other).send().await.problem(400, "PGRST115");
}

#[tokio::test]
async fn an_old_version_does_not_overwrite_a_new_one() {
    let world = World::start().await;
    let path = format!("/v1/products/{}", world.product_on(0));
    let old = world.client.get(&path).await.ok().header("etag").to_owned();
    let patch = |etag: &str, name: &str| {
        let call = world.client.patch(&path, &json!({ "name": name })).header("if-match", etag);
        call.send()
    };
    patch(&old, "first").await.expect_status(204);
    let problem = patch(&old, "second").await.problem(412, "TG002");
    assert!(!problem["message"].as_str().expect("text").is_empty());
    let current = world.client.get(&path).await.ok();
    assert_eq!(current.json()["name"], "first");
    patch(&format!("{old}, {}", current.header("etag")), "third").await.expect_status(204);
    patch("*", "fourth").await.expect_status(204);
    patch("\"foreign\"", "fifth").await.problem(412, "TG002");
    world.client.delete(&path).header("if-match", &old).send().await.problem(412, "TG002");
    let put = json!({ "name": "put", "price": 1 });
    world.client.put(&path, &put).header("if-match", &old).send().await.problem(412, "TG002");
    world.client.put(&path, &put).header("if-none-match", "*").send().await.problem(412, "TG002");
    assert_eq!(world.client.get(&path).await.ok().json()["name"], "fourth");
    let missing = format!("/v1/products/{}", new_id(&world, 0));
    world.client.patch(&missing, &json!({ "stock": 1 })).header("if-match", "*").send().await.problem(412, "TG002");
}

#[tokio::test]
async fn preferences_shape_the_answer_and_are_echoed() {
    let world = World::start().await;
    let path = format!("/v1/products/{}", world.product_on(0));
    let call = || world.client.patch(&path, &json!({ "stock": 5 }));
    let full = call().prefer("return=representation").send().await.ok();
    assert_eq!(full.json()[0]["stock"], 5);
    assert_eq!(full.header("preference-applied"), "return=representation");
    let minimal = call().prefer("return=minimal").send().await.expect_status(204);
    assert_eq!((minimal.body.len(), minimal.header("preference-applied")), (0, "return=minimal"));
    let counted = call().prefer("return=representation, count=exact").send().await.ok();
    assert_eq!(counted.header("content-range"), "0-0/1");
    assert_eq!(counted.header("preference-applied"), "return=representation, count=exact");
    let one = call().prefer("return=representation").header("accept", "application/vnd.pgrst.object+json");
    assert_eq!(one.send().await.ok().json()["stock"], 5, "an object, not an array");
    let shaped = world.client.patch(&format!("{path}?select=id,stock"), &json!({ "stock": 6 }));
    let shaped = shaped.prefer("return=representation").send().await.ok();
    assert_eq!(shaped.json()[0].as_object().expect("an object").len(), 2);
    call().prefer("handling=strict, florid").send().await.problem(400, "PGRST122");
    call().prefer("florid").send().await.expect_status(204);

    let id = new_id(&world, 1);
    let row = json!({ "id": id, "name": "n", "price": 1 });
    let posted = world.client.post("/v1/products", &row).prefer("return=headers-only").send().await;
    assert_eq!(posted.clone().expect_status(201).header("location"), format!("/v1/products/{id}"));
}

#[tokio::test]
async fn bulk_inserts_are_atomic_on_one_shard_and_refused_over_several() {
    let world = World::start().await;
    let rows = |ids: &[i64]| Value::from_iter(ids.iter().map(|id| json!({ "id": id, "name": "bulk", "price": 1 })));
    let on_a: Vec<i64> = world.shards.ids_on(0).skip_while(|id| *id < 200_000).take(3).collect();
    world.client.post("/v1/products", &rows(&on_a)).send().await.expect_status(201);
    for id in &on_a {
        world.client.get(&format!("/v1/products/{id}")).await.ok();
    }
    let (fresh, taken) = (new_id(&world, 0), on_a[0]);
    world.client.post("/v1/products", &rows(&[fresh, taken])).send().await.problem(409, "23505");
    world.client.get(&format!("/v1/products/{fresh}")).await.problem(404, "TG001");
    let both = rows(&[fresh, new_id(&world, 1)]);
    world.client.post("/v1/products", &both).send().await.problem(400, "TG006");
    for id in [fresh, new_id(&world, 1)] {
        world.client.get(&format!("/v1/products/{id}")).await.problem(404, "TG001");
    }
}

#[tokio::test]
async fn duplicates_are_merged_or_ignored_on_request() {
    let world = World::start().await;
    let id = world.product_on(0);
    let path = format!("/v1/products/{id}");
    let row = json!({ "id": id, "name": "merged", "price": 9 });
    world.client.get(&path).await.ok();
    world.client.post("/v1/products", &row).send().await.problem(409, "23505");
    let ignored = world.client.post("/v1/products", &row).prefer("resolution=ignore-duplicates").send().await;
    assert!(matches!(ignored.status, 200 | 201), "{ignored}");
    assert_eq!(world.client.get(&path).await.ok().json()["name"], format!("Product {id}"));
    let merged = world.client.post("/v1/products", &row).prefer("resolution=merge-duplicates").send().await;
    assert_eq!(merged.clone().expect_status(200).header("preference-applied"), "resolution=merge-duplicates");
    let now = world.client.get(&path).await.ok().json();
    assert_eq!((&now["name"], &now["stock"]), (&json!("merged"), &json!(id % 7)), "columns not sent stay");
}

#[tokio::test]
async fn filtered_writes_stay_on_one_shard_and_need_a_filter() {
    let world = World::start().await;
    let profile = (1..=20).find(|id| world.shards.shard_of(id) == 0).expect("one of twenty");
    let line = format!("/v1/carts/{profile},1");
    let other = format!("/v1/carts/{profile},2");
    world.client.get(&line).await.ok();
    world.client.get(&other).await.ok();
    let path = format!("/v1/carts?profile_id=eq.{profile}&product_id=lt.2");
    world.client.patch(&path, &json!({ "quantity": 99 })).send().await.expect_status(204);
    assert_eq!(world.client.get(&line).await.ok().json()["quantity"], 99);
    assert_eq!(world.client.get(&other).await.ok().json()["quantity"], 2);
    world.client.delete(&path).send().await.expect_status(204);
    world.client.get(&line).await.problem(404, "TG001");
    world.client.patch("/v1/carts?quantity=gt.0", &json!({ "quantity": 1 })).send().await.problem(400, "TG006");
    world.client.patch("/v1/carts", &json!({ "quantity": 1 })).send().await.problem(400, "TG007");
    world.client.delete("/v1/carts").send().await.problem(400, "TG007");
}

#[tokio::test]
async fn rows_that_cascade_away_leave_the_cache() {
    let world = World::start().await;
    let profile = (1..=20).find(|id| world.shards.shard_of(id) == 1).expect("one of twenty");
    let line = format!("/v1/carts/{profile},3");
    assert!(!world.client.get(&line).await.ok().is_hit());
    assert!(world.client.get(&line).await.ok().is_hit());
    world.client.delete(&format!("/v1/profiles/{profile}")).send().await.expect_status(204);
    world.client.get(&line).await.problem(404, "TG001");
}

#[tokio::test]
async fn what_the_database_refuses_is_explained() {
    let world = World::start().await;
    let id = world.product_on(0);
    let path = format!("/v1/products/{id}");
    let patch = |body: Value| world.client.patch(&path, &body).send();
    patch(json!({ "price": -1 })).await.problem(400, "23514");
    patch(json!({ "price": "cheap" })).await.problem(400, "22P02");
    patch(json!({ "name": null })).await.problem(400, "23502");
    patch(json!({ "category_id": 999 })).await.problem(409, "23503");
    patch(json!({ "colour": "red" })).await.problem(400, "PGRST204");
    patch(json!({ "id": id + 1 })).await.problem(400, "TG009");
    patch(json!({ "id": id, "stock": 3 })).await.expect_status(204);
    let missing = format!("/v1/products/{}", new_id(&world, 0));
    world.client.patch(&missing, &json!({ "stock": 1 })).send().await.problem(404, "TG001");
    world.client.delete(&missing).send().await.problem(404, "TG001");
    let body = |text: &str| world.client.request(Method::PATCH, &path).body(text.to_owned()).send();
    for (text, code) in [("", "PGRST102"), ("{", "PGRST102"), ("[1]", "PGRST102"), ("\"x\"", "PGRST102")] {
        body(text).await.problem(400, code);
    }
    assert_eq!(world.client.get(&path).await.ok().json()["stock"], 3, "nothing of that was kept");
}
