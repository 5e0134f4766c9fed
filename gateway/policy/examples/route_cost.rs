//! What a routing decision costs: natively, remembered, asked. One run, one machine, ratios.
//!
//! `cargo run --release -p tidegate-policy --example route_cost`

use std::{hint::black_box, path::Path, sync::Arc, time::Duration, time::Instant};

use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use prometheus_client::registry::Registry;
use tidegate_policy::{PlacedKey, PlacementProbe, PolicyHost, RouteQuery};
use tidegate_types::{
    collection::{Collection, CollectionId, Mode, Visibility, WriteReach},
    request::Facts,
    route::{Access, Topology},
    settings::{HookSettings, Moves, PolicySettings, RouteFallback},
};

/// Keys that are asked again and again: the memo holds them all.
const FEW: usize = 1000;
/// Keys that are asked once.
const MANY: usize = 400_000;

struct NoKeys;

impl PlacementProbe for NoKeys {
    fn sample(&self) -> BoxFuture<'_, Vec<PlacedKey>> {
        Box::pin(async { Vec::new() })
    }
}

fn host(plugin: Option<&str>) -> PolicyHost {
    let hook = |plugin: &str| HookSettings {
        plugin: plugin.into(),
        config: serde_json::json!({}),
        fallback: RouteFallback::Refuse,
        moves: Moves::Refused,
    };
    let settings = PolicySettings {
        dir: Some(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins/dist")),
        route: plugin.map(hook),
        max_memory_bytes: 16 << 20,
        call_timeout: Duration::from_millis(10),
    };
    let topology = Arc::new(Topology::new(["a", "b"].map(Arc::from)));
    match PolicyHost::start(&settings, topology, Arc::new(NoKeys), &mut Registry::default()) {
        Ok(host) => host,
        Err(error) => panic!("{error}"),
    }
}

fn collection() -> Collection {
    Collection {
        id: CollectionId(0),
        name: "products".into(),
        relation: "\"public\".\"products\"".into(),
        table: "products".into(),
        columns: Vec::new(),
        key: Default::default(),
        shard_key: Default::default(),
        reach: WriteReach::Own,
        mode: Mode::CacheAside,
        ttl: Duration::from_secs(60),
        negative_ttl: Duration::from_secs(5),
        visibility: Visibility::Public,
        max_rows: 1000,
    }
}

/// Median nanoseconds of a decision, over rounds so short that most are not interrupted by other
/// processes.
fn measure(host: &PolicyHost, keys: &[String], rounds_over_same_keys: Keys) -> f64 {
    let (collection, mut headers) = (collection(), HeaderMap::new());
    for i in 0..20 {
        let name = HeaderName::from_bytes(format!("x-header-{i}").as_bytes());
        headers.insert(name.unwrap_or(http::header::ACCEPT), HeaderValue::from_static("some value"));
    }
    headers.insert("x-region", HeaderValue::from_static("eu-west"));
    let query = "select=id,name&region=eu-west";
    let facts = Facts { method: &Method::GET, path: "/v1/products/42", query, headers: &headers };
    let mut round = |keys: &[String]| {
        let start = Instant::now();
        for key in keys {
            let query =
                RouteQuery { facts: &facts, collection: &collection, access: Access::Read, shard_key: Some(key) };
            if let Err(error) = black_box(host.route(black_box(&query))) {
                panic!("{error}");
            }
        }
        start.elapsed().as_nanos() as f64 / keys.len() as f64
    };
    let mut rounds: Vec<f64> = match rounds_over_same_keys {
        Keys::Again => (0..1000).map(|_| round(keys)).skip(20).collect(),
        Keys::Once => keys.chunks(FEW / 10).map(&mut round).collect(),
    };
    rounds.sort_by(f64::total_cmp);
    rounds[rounds.len() / 2]
}

/// Whether keys come again.
#[derive(Clone, Copy)]
enum Keys {
    Again,
    Once,
}

fn main() {
    let few: Vec<String> = (0..FEW).map(|key| key.to_string()).collect();
    let many: Vec<String> = (0..MANY).map(|key| format!("once-{key}")).collect();
    let native = measure(&host(None), &few, Keys::Again);
    println!("native                  {native:8.0} ns");
    for plugin in ["hash-router", "hash-router-c", "testing/hash-router-next"] {
        let host = host(Some(plugin));
        let memo = measure(&host, &few, Keys::Again);
        let asked = measure(&host, &many, Keys::Once);
        println!("{plugin}, {} input(s)", host.status()[0].inputs.len());
        println!("  remembered            {memo:8.0} ns  {:6.1} x native (target: at most 150 ns)", memo / native);
        println!("  asked                 {asked:8.0} ns  {:6.1} x native (target: at most 2000 ns)", asked / native);
    }
}
