//! What a routing decision costs: natively, remembered, asked. One run, one machine, ratios.
//!
//! `cargo run --release -p tidegate-policy --example route_cost`

use std::{
    collections::HashMap,
    hint::black_box,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use prometheus_client::registry::Registry;
use tidegate_policy::{DirectorySource, Keeping, PlacedKey, PlacementProbe, PolicyHost, RouteQuery, Setup};
use tidegate_types::{
    collection::{Collection, CollectionId, Consistency, Mode, Visibility, WriteReach},
    policy::Who,
    request::Facts,
    route::{Access, Topology},
    settings::{DirectorySettings, Grant, HookSettings, Moves, PolicySettings, RouteFallback},
    tenant::Tenants,
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

    fn moved(&self, _: &[CollectionId]) {}
}

impl DirectorySource for NoKeys {
    fn load<'a>(
        &'a self,
        _: &'a str,
        _: &'a DirectorySettings,
    ) -> BoxFuture<'a, Result<HashMap<String, String>, String>> {
        Box::pin(async { Ok(HashMap::new()) })
    }
}

fn host(plugin: Option<&str>) -> PolicyHost {
    let hook = |plugin: &str| HookSettings {
        plugin: plugin.into(),
        config: serde_json::json!({}),
        fallback: RouteFallback::Refuse,
        moves: Moves::Refused,
        grants: Grant::USUAL.to_vec(),
        isolation: None,
    };
    let settings = PolicySettings {
        dir: Some(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins/dist")),
        route: plugin.map(hook),
        ..PolicySettings::default()
    };
    let topology = Arc::new(Topology::new(["a", "b"].map(Arc::from)));
    let setup = Setup {
        settings: &settings,
        tenants: Arc::new(Tenants::none(&topology)),
        topology,
        probe: Arc::new(NoKeys),
        directories: Arc::new(NoKeys),
        keeping: Keeping::Nothing,
        registry: &mut Registry::default(),
    };
    let started = tokio::runtime::Runtime::new().map(|runtime| runtime.block_on(PolicyHost::start(setup)));
    match started {
        Ok(Ok(host)) => host,
        Ok(Err(error)) => panic!("{error}"),
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
        consistency: Consistency::Strict,
        visibility: Visibility::Public,
        cdn_ttl: None,
        max_rows: 1000,
        list_bytes: None,
        track: Vec::new(),
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
            if let Err(error) = black_box(host.session().route(Who::SHARED, black_box(&query))) {
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
        println!("{plugin}, {} input(s)", host.plugins()[0].active.hooks[0].inputs.len());
        println!("  remembered            {memo:8.0} ns  {:6.1} x native (target: at most 150 ns)", memo / native);
        println!("  asked                 {asked:8.0} ns  {:6.1} x native (target: at most 2000 ns)", asked / native);
    }
}
