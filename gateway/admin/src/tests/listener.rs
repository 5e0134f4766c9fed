//! What is shown, and to whom.

use super::*;

#[tokio::test]
async fn a_starting_process_lives_and_is_not_ready() {
    let admin = Admin::start("127.0.0.1:0", None).await;
    assert_eq!(admin.status("/live").await, 200);
    assert_eq!(admin.get("/ready", "").await.2, "starting\n");
    assert_eq!(admin.status("/ready").await, 503);
    let (status, head, body) = admin.get("/admin/plugins", "").await;
    assert_eq!(status, 503);
    assert!(head.to_lowercase().contains("retry-after: 1") && body.contains("\"TG014\""), "{head}\n{body}");
    assert_eq!(admin.status("/").await, 200);
}

#[tokio::test]
async fn readiness_follows_the_process_and_not_its_shards() {
    let admin = Admin::serving("127.0.0.1:0", None).await;
    assert_eq!(admin.status("/ready").await, 200, "no shard is up, and that is not this process's fault");
    admin.state.drain();
    assert_eq!(admin.get("/ready", "").await.2, "draining\n");
    assert_eq!(admin.status("/ready").await, 503);
    assert_eq!(admin.status("/live").await, 200);
}

#[tokio::test]
async fn shards_pools_and_plugins_are_shown_as_json() {
    let admin = Admin::serving("127.0.0.1:0", None).await;
    let json = async |path: &str| {
        let (status, head, body) = admin.get(path, "").await;
        assert_eq!(status, 200, "{body}");
        assert!(head.to_lowercase().contains("content-type: application/json"), "{head}");
        serde_json::from_str::<Value>(&body).expect("JSON")
    };
    let shards = json("/admin/shards").await;
    let names: Vec<_> = shards["shards"].as_array().expect("a list").iter().map(|s| s["name"].clone()).collect();
    assert_eq!(names, ["a", "b"]);
    let pools = json("/admin/pools").await;
    let pools = pools["pools"].as_array().expect("a list");
    assert_eq!(pools.len(), 4, "two classes on two shards: {pools:?}");
    assert_eq!((&pools[0]["shard"], &pools[0]["max"]), (&"a".into(), &2.into()));
    let plugins = json("/admin/plugins").await;
    assert_eq!((&plugins["generation"], &plugins["plugins"][0]["name"]), (&7.into(), &"router".into()));
    assert_eq!(json("/admin/plugins/router").await, plugins["plugins"][0]);
    assert_eq!(json("/admin/config").await["shards"]["a"]["primary"], "***");
}

#[tokio::test]
async fn metrics_are_readable_by_prometheus() {
    let admin = Admin::serving("127.0.0.1:0", Some("secret")).await;
    let (status, head, body) = admin.get("/metrics", "").await;
    assert_eq!(status, 200);
    assert!(head.contains("application/openmetrics-text"), "{head}");
    assert!(body.contains("# TYPE tidegate_writes counter") && body.ends_with("# EOF\n"), "{body}");
}

#[tokio::test]
async fn a_token_closes_the_admin_paths_and_only_those() {
    let admin = Admin::serving("127.0.0.1:0", Some("sesame")).await;
    for open in ["/", "/live", "/ready", "/metrics"] {
        assert_eq!(admin.status(open).await, 200, "{open}");
    }
    for closed in ["/admin/plugins", "/admin/nonsense"] {
        let (status, head, body) = admin.get(closed, "").await;
        assert_eq!(status, 401, "{closed}");
        assert!(head.to_lowercase().contains("www-authenticate: bearer"), "{head}");
        let error: Value = serde_json::from_str(&body).expect("JSON");
        let keys: Vec<_> = error.as_object().expect("an object").keys().cloned().collect();
        assert_eq!(
            (keys, &error["code"]),
            (["code", "details", "hint", "message"].map(str::to_owned).into(), &"TG013".into())
        );
    }
    let with = async |value: &str| admin.get("/admin/shards", &format!("authorization: {value}\r\n")).await.0;
    for wrong in ["Bearer sesam", "Bearer sesamee", "Bearer", "Basic sesame", "sesame", "Bearer "] {
        assert_eq!(with(wrong).await, 401, "{wrong}");
    }
    assert_eq!(with("Bearer sesame").await, 200);
    assert_eq!(with("bearer sesame").await, 200);
}

#[tokio::test]
async fn without_a_token_only_a_loopback_listener_is_open() {
    let open = Admin::serving("127.0.0.1:0", None).await;
    assert_eq!(open.status("/admin/shards").await, 200);
    let exposed = Admin::serving("0.0.0.0:0", None).await;
    assert_eq!(exposed.status("/admin/shards").await, 403);
    assert_eq!(exposed.status("/ready").await, 200);
}

#[tokio::test]
async fn other_paths_and_methods_are_refused_in_the_gateways_error_shape() {
    let admin = Admin::serving("127.0.0.1:0", None).await;
    for path in [
        "/nope",
        "/admin",
        "/admin/",
        "/admin/plugins/",
        "/admin/plugins/x/explode",
        "/admin/plugins/x/promote/now",
        "/v1/products",
        "//live",
    ] {
        let (status, _, body) = admin.get(path, "").await;
        assert_eq!((status, body.contains("\"PGRST125\"")), (404, true), "{path}: {body}");
    }
    let (head, body) =
        admin.send("POST /admin/plugins HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 0\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 405") && head.to_lowercase().contains("allow: get, head"), "{head}");
    assert!(body.contains("\"PGRST117\""), "{body}");
    let (head, body) = admin.send("HEAD /live HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 200") && body.is_empty(), "{head}{body}");
}

#[tokio::test]
async fn the_console_links_to_everything_there_is() {
    let admin = Admin::serving("127.0.0.1:0", None).await;
    let (_, _, page) = admin.get("/", "").await;
    let links: Vec<&str> = page.split("href=\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    assert_eq!(links.len(), 9, "eight paths and a plugin");
    for link in links {
        assert_eq!(admin.status(link).await, 200, "{link}");
    }
}

#[tokio::test]
async fn heads_that_are_too_large_are_refused() {
    let admin = Admin::serving("127.0.0.1:0", None).await;
    let many = "x: y\r\n".repeat(100);
    assert_eq!(admin.get("/live", &many).await.0, 431);
    let long = format!("x: {}\r\n", "y".repeat(20_000));
    assert_eq!(admin.get("/live", &long).await.0, 431);
}

#[tokio::test(start_paused = true)]
async fn a_head_that_never_ends_is_cut_off() {
    let admin = Admin::start("127.0.0.1:0", None).await;
    // Time is paused: it jumps to the timeout as soon as everybody waits.
    let sent = tokio::time::timeout(Duration::from_secs(60), admin.send("GET /live HTTP/1.1\r\nhost:"));
    let (head, _) = sent.await.expect("the connection does not outlive a minute");
    assert!(head.is_empty() || head.starts_with("HTTP/1.1 408"), "{head}");
}

#[tokio::test]
async fn shutdown_ends_idle_connections_too() {
    let admin = Admin::serving("127.0.0.1:0", None).await;
    let mut idle = TcpStream::connect(admin.address).await.expect("connected");
    idle.write_all(b"GET /live HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("sent");
    let mut buffer = [0; 1024];
    assert!(idle.read(&mut buffer).await.expect("an answer") > 0);
    admin.shutdown.cancel();
    admin.running.await.expect("ended");
    let mut rest = Vec::new();
    idle.read_to_end(&mut rest).await.expect("closed");
    assert!(TcpStream::connect(admin.address).await.is_err());
}

#[tokio::test]
async fn an_address_in_use_is_named() {
    let admin = Admin::start("127.0.0.1:0", None).await;
    let settings = AdminSettings { listen: admin.address, token: None };
    let error = Server::bind(&settings, AdminState::starting()).await.expect_err("in use").to_string();
    assert!(error.contains(&admin.address.to_string()) && error.contains("[admin]"), "{error}");
}
