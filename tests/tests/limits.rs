//! What a server on the internet meets: nonsense, excess, slowness.

use std::time::Duration;

use http::Method;
use serde_json::json;
use tidegate_tests::{Client, World, wire::Wire};

/// Requests that are wrong in their own way, as they stand in a request line after `/v1/`.
const MALFORMED: &str = include_str!("malformed.txt");

#[tokio::test]
async fn every_malformed_query_is_explained_and_the_connection_kept() {
    let world = World::start().await;
    let mut wire = Wire::connect(world.gateway.http()).await;
    let (mut count, mut accepted) = (0, Vec::new());
    for line in MALFORMED.lines().filter(|line| !line.is_empty() && !line.starts_with("# ")) {
        wire.send(format!("GET /v1/{line} HTTP/1.1\r\nhost: x\r\n\r\n")).await;
        let answer = wire.answer().await.unwrap_or_else(|| panic!("the connection was closed by {line}"));
        if !(400..500).contains(&answer.status) {
            accepted.push(format!("{} {line}", answer.status));
            continue;
        }
        let problem: serde_json::Value =
            serde_json::from_str(&answer.body).unwrap_or_else(|e| panic!("{line}: {e}: {answer:?}"));
        let keys: Vec<&String> = problem.as_object().expect("an object").keys().collect();
        assert_eq!(keys, ["code", "details", "hint", "message"], "{line}");
        assert!(!problem["message"].as_str().expect("text").is_empty(), "{line}");
        count += 1;
    }
    assert!(accepted.is_empty(), "not refused as the client's mistake:\n{}", accepted.join("\n"));
    assert!(count >= 200, "{count} cases");
    let path = format!("/v1/products/{}", world.product_on(0));
    assert!(wire.still_serves(&path).await);
}

#[tokio::test]
async fn bytes_that_are_no_request_get_400_and_hurt_nobody() {
    let world = World::start().await;
    for garbage in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"\0\0\0\0\0\0\0\0\r\n\r\n",
        b"GET /v1/products/1 HTTP/1.1\r\nhost: x\r\nbad header\r\n\r\n",
        b"GET /v1/products/1 HTTP/1.1\r\nhost: x\r\nx: a\0b\r\n\r\n",
        b"POST /v1/products HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n",
        b"POST /v1/products HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
        b"POST /v1/products HTTP/1.1\r\nhost: x\r\ntransfer-encoding: gzip\r\n\r\n",
    ] {
        let mut wire = Wire::connect(world.gateway.http()).await;
        wire.send(garbage).await;
        if let Some(answer) = wire.answer().await {
            assert!((400..506).contains(&answer.status), "{garbage:?}: {answer:?}");
        }
    }
    let mut wire = Wire::connect(world.gateway.http()).await;
    for path in
        ["%", "%zz", "%00", "%ff%fe", "products/%ff", "products/%00", "products?name=eq.%00", "products?%ff=eq.1"]
    {
        wire.send(format!("GET /v1/{path} HTTP/1.1\r\nhost: x\r\n\r\n")).await;
        let answer = wire.answer().await.expect("an answer");
        assert!((400..500).contains(&answer.status), "{path}: {answer:?}");
    }
    assert!(wire.still_serves(&format!("/v1/products/{}", world.product_on(1))).await);
}

#[tokio::test]
async fn oversized_requests_are_refused_by_what_is_too_large() {
    let world = World::with(|config| {
        config.set("http", "max_body_bytes", "\"4KiB\"").set("http", "max_uri_bytes", "\"1KiB\"").set(
            "http",
            "max_headers",
            "20",
        )
    })
    .await;
    let path = format!("/v1/products/{}", world.product_on(0));
    let long = "x".repeat(5000);
    world.client.get(&format!("{path}?name=eq.{long}")).await.problem(414, "TG008");
    let mut many = world.client.request(Method::GET, &path);
    for n in 0..30 {
        many = many.header(&format!("x-{n}"), "1");
    }
    many.send().await.problem(431, "TG008");
    let body = json!({ "name": long }).to_string();
    world.client.request(Method::PATCH, &path).body(body.clone()).send().await.problem(413, "TG008");

    // Without a declared length it is noticed while it arrives.
    let mut wire = Wire::connect(world.gateway.http()).await;
    wire.send(format!("PATCH {path} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n")).await;
    wire.send(format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len())).await;
    assert_eq!(wire.answer().await.expect("an answer").status, 413);

    // A declared length over the limit is refused before anything is sent.
    let mut wire = Wire::connect(world.gateway.http()).await;
    wire.send(format!("PATCH {path} HTTP/1.1\r\nhost: x\r\ncontent-length: 9999999\r\n\r\n")).await;
    assert_eq!(wire.answer().await.expect("an answer").status, 413);

    let mut wire = Wire::connect(world.gateway.http()).await;
    wire.send(format!("GET {path} HTTP/1.1\r\nhost: x\r\nx: {}\r\n", "y".repeat(1 << 20))).await;
    wire.send("\r\n").await;
    if let Some(answer) = wire.answer().await {
        assert_eq!(answer.status, 431);
    }
    let name = world.client.get(&path).await.ok().json()["name"].clone();
    assert_eq!(name, format!("Product {}", world.product_on(0)), "nothing was written");
}

#[tokio::test]
async fn slow_clients_are_let_go() {
    let world = World::with(|config| {
        config.set("http", "header_timeout", "\"300ms\"").set("http", "body_timeout", "\"300ms\"")
    })
    .await;
    let path = format!("/v1/products/{}", world.product_on(0));
    let mut head = Wire::connect(world.gateway.http()).await;
    head.send(format!("GET {path} HTTP/1.1\r\nhost:")).await;
    let mut body = Wire::connect(world.gateway.http()).await;
    body.send(format!("PATCH {path} HTTP/1.1\r\nhost: x\r\ncontent-length: 50\r\n\r\n{{")).await;
    assert_eq!(body.answer().await.expect("an answer").status, 408);
    match head.answer().await {
        None => {}
        Some(answer) => assert_eq!(answer.status, 408),
    }
    assert!(head.closed_within(Duration::from_secs(5)).await);
    world.client.get(&path).await.ok();
}

#[tokio::test]
async fn connections_over_the_cap_wait_for_their_turn() {
    let world = World::with(|config| config.set("http", "max_connections", "3")).await;
    let path = format!("/v1/products/{}", world.product_on(0));
    let mut held = Vec::new();
    for _ in 0..3 {
        let mut wire = Wire::connect(world.gateway.http()).await;
        assert!(wire.still_serves(&path).await);
        held.push(wire);
    }
    let mut waiting = Wire::connect(world.gateway.http()).await;
    waiting.send(format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n")).await;
    assert!(!waiting.closed_within(Duration::from_millis(300)).await, "not answered, not refused");
    drop(held.pop());
    assert_eq!(waiting.answer().await.expect("its turn").status, 200);
}

#[tokio::test]
async fn unknown_paths_methods_and_media_types_are_refused_in_the_same_shape() {
    let world = World::start().await;
    let path = format!("/v1/products/{}", world.product_on(0));
    for (path, code) in [("/", "PGRST125"), ("/v2/products", "PGRST125"), ("/v1/products/1/2", "PGRST125")] {
        world.client.get(path).await.problem(404, code);
    }
    let brew = Method::from_bytes(b"BREW").expect("a token");
    world.client.request(brew, &path).send().await.problem(405, "PGRST117");
    world.client.request(Method::POST, &path).body("{}").send().await.problem(405, "PGRST117");
    world.client.request(Method::GET, &path).header("accept", "text/csv").send().await.problem(406, "PGRST107");
    let xml = world.client.request(Method::PATCH, &path).header("content-type", "application/xml").body("<a/>");
    xml.send().await.problem(400, "PGRST102");
    let options = world.client.request(Method::OPTIONS, &path).send().await;
    assert!(options.header("allow").contains("PATCH"), "{options}");
}

#[tokio::test]
async fn http2_is_served_with_more_requests_than_streams() {
    let world = World::with(|config| config.set("http", "max_streams", "8")).await;
    let client = Client::http2(world.gateway.http());
    // Until a client knows the limit it may open too many, which are refused (REFUSED_STREAM, RFC 9113, 5.1.2).
    client.get("/v1/products/1").await.ok();
    let mut requests = tokio::task::JoinSet::new();
    for id in 1..=100 {
        let client = client.clone();
        requests.spawn(async move { client.get(&format!("/v1/products/{id}")).await.ok().json()["id"].as_i64() });
    }
    let mut ids: Vec<i64> = requests.join_all().await.into_iter().flatten().collect();
    ids.sort_unstable();
    assert_eq!(ids, (1..=100).collect::<Vec<_>>());
    let path = format!("/v1/products/{}", world.product_on(0));
    client.patch(&path, &json!({ "name": "over h2" })).send().await.expect_status(204);
    assert_eq!(world.client.get(&path).await.ok().json()["name"], "over h2");
    client.get("/v1/products?nope=eq.1").await.problem(400, "42703");
}
