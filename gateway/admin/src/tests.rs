//! Behaviour of the listener over real sockets.

use std::{collections::HashMap, net::SocketAddr, sync::Arc};

use futures_util::future::BoxFuture;
use indexmap::IndexMap;
use prometheus_client::registry::Registry;
use serde_json::Value;
use tidegate_cache::Cache;
use tidegate_pipeline::{Gateway, GatewayParts};
use tidegate_policy::{DirectorySource, Keeping, PlacedKey, PlacementProbe, PolicyHost, Setup};
use tidegate_store::Store;
use tidegate_types::{
    collection::{CollectionId, Collections},
    epoch::Epochs,
    route::Topology,
    settings::{
        AdminSettings, CacheSettings, DirectorySettings, PolicySettings, PoolSettings, PoolsSettings, Secret,
        ShardSettings,
    },
    tenant::Tenants,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_util::sync::CancellationToken;

use crate::{AdminState, Server};

struct NoRows;

impl PlacementProbe for NoRows {
    fn sample(&self) -> BoxFuture<'_, Vec<PlacedKey>> {
        Box::pin(async { Vec::new() })
    }

    fn moved(&self, _: &[CollectionId]) {}
}

impl DirectorySource for NoRows {
    fn load<'a>(
        &'a self,
        _: &'a str,
        _: &'a DirectorySettings,
    ) -> BoxFuture<'a, Result<HashMap<String, String>, String>> {
        Box::pin(async { Ok(HashMap::new()) })
    }
}

/// A gateway over two shards where nobody listens: what the admin listener shows must not need them.
async fn gateway(registry: &mut Registry) -> Gateway {
    let second = std::time::Duration::from_secs(1);
    let pool = PoolSettings { min: 0, max: 2, wait_timeout: second, statement_timeout: second };
    let shards: IndexMap<String, ShardSettings> = ["a", "b"]
        .map(|name| {
            (
                name.to_owned(),
                ShardSettings { primary: Secret::new("postgres://x@127.0.0.1:1/x".to_owned()), region: None },
            )
        })
        .into();
    let topology = Arc::new(Topology::new(shards.keys().map(|name| Arc::from(name.as_str()))));
    let epochs = Epochs::new(2);
    let pools = PoolsSettings { point: pool, scan: pool, write: pool };
    let store = Store::new(&shards, &pools, topology.clone(), epochs.clone(), registry).expect("a store");
    let cache = CacheSettings { l1_bytes: 1 << 20, buckets: 64, max_entry_bytes: 1 << 10, ttl_jitter: 0.0 };
    let policies = PolicySettings { max_memory_bytes: 1 << 20, call_timeout: second, ..PolicySettings::default() };
    let setup = Setup {
        settings: &policies,
        topology: topology.clone(),
        tenants: Arc::new(Tenants::none(&topology)),
        probe: Arc::new(NoRows),
        directories: Arc::new(NoRows),
        keeping: Keeping::Nothing,
        registry,
    };
    let policies = PolicyHost::start(setup).await.expect("built-in routing");
    Gateway::new(GatewayParts {
        collections: Arc::new(Collections::default()),
        cache: Cache::new(&cache, 2, epochs, registry),
        policies,
        topology,
        store,
        metrics: Gateway::metrics(registry),
    })
}

struct Admin {
    address: SocketAddr,
    state: AdminState,
    shutdown: CancellationToken,
    running: tokio::task::JoinHandle<()>,
}

impl Admin {
    async fn start(listen: &str, token: Option<&str>) -> Self {
        let settings = AdminSettings {
            listen: listen.parse().expect("an address"),
            token: token.map(|token| Secret::new(token.to_owned())),
        };
        let state = AdminState::starting();
        let server = Server::bind(&settings, state.clone()).await.expect("bound");
        let address = SocketAddr::from(([127, 0, 0, 1], server.local_addr().port()));
        let shutdown = CancellationToken::new();
        let running = tokio::spawn(server.run(shutdown.clone()));
        Self { address, state, shutdown, running }
    }

    async fn serving(listen: &str, token: Option<&str>) -> Self {
        let admin = Self::start(listen, token).await;
        let mut registry = Registry::default();
        let gateway = gateway(&mut registry).await;
        admin.state.ready(gateway, registry);
        admin
    }

    /// Status line and head, and the body.
    async fn send(&self, request: &str) -> (String, String) {
        let mut stream = TcpStream::connect(self.address).await.expect("connected");
        stream.write_all(request.as_bytes()).await.expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("read");
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        (head.to_owned(), body.to_owned())
    }

    async fn get(&self, path: &str, headers: &str) -> (u16, String, String) {
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{headers}\r\n");
        let (head, body) = self.send(&request).await;
        (head.split(' ').nth(1).and_then(|s| s.parse().ok()).expect("a status"), head, body)
    }

    async fn status(&self, path: &str) -> u16 {
        self.get(path, "").await.0
    }
}

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
    assert_eq!(pools.len(), 6, "three classes on two shards: {pools:?}");
    assert_eq!((&pools[0]["shard"], &pools[0]["max"]), (&"a".into(), &2.into()));
    let plugins = json("/admin/plugins").await;
    assert!(plugins["generation"].is_u64() && plugins["plugins"].is_array(), "{plugins}");
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
    for path in ["/nope", "/admin", "/admin/", "/admin/plugins/x", "/v1/products", "//live"] {
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
    assert_eq!(links.len(), 6);
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
    let sent = tokio::time::timeout(std::time::Duration::from_secs(60), admin.send("GET /live HTTP/1.1\r\nhost:"));
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
