//! A host on a folder of its own, with guests from `plugins/dist`.

// Each test file uses the part it needs.
#![expect(dead_code, unreachable_pub, reason = "shared by several test crates")]

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use futures_util::future::BoxFuture;
use prometheus_client::registry::Registry;
use tempfile::TempDir;
use tidegate_policy::{
    DirectorySource, Keeping, PlacedKey, PlacementProbe, PluginReport, PolicyError, PolicyHost, RouteQuery,
    control::report::HookReport,
};
use tidegate_types::{
    collection::{Collection, CollectionId, Mode, Visibility, WriteReach},
    policy::Who,
    request::Facts,
    route::{Access, Route, ShardId, Topology},
    settings::{DirectorySettings, Grant, HookSettings, Moves, PolicySettings, RouteFallback},
    tenant::Tenants,
};

/// The name every test gives its plugin's file.
pub const PLUGIN: &str = "router";

/// The folder of built guests; the build script points it at freshly built ones.
fn dist() -> PathBuf {
    std::env::var_os("TIDEGATE_PLUGIN_DIST")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins/dist"), PathBuf::from)
}

/// The bytes of a built guest (`hash-router`, `testing/faulty`).
pub fn guest(name: &str) -> Vec<u8> {
    let file = dist().join(format!("{name}.wasm"));
    fs::read(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()))
}

/// A topology of these shards.
pub fn topology(names: &[&str]) -> Arc<Topology> {
    Arc::new(Topology::new(names.iter().map(|name| Arc::from(*name))))
}

/// A collection of this name; routing looks at nothing else of it.
pub fn collection(name: &str) -> Collection {
    Collection {
        id: CollectionId(3),
        name: name.into(),
        relation: format!("\"public\".\"{name}\""),
        table: name.into(),
        columns: Vec::new(),
        key: Default::default(),
        shard_key: Default::default(),
        reach: WriteReach::Own,
        mode: Mode::CacheAside,
        ttl: Duration::from_secs(60),
        negative_ttl: Duration::from_secs(5),
        visibility: Visibility::Private,
        max_rows: 1000,
    }
}

/// Answers with the keys and directories it was given, and remembers what moved.
#[derive(Default)]
pub struct Keys(pub Vec<PlacedKey>, pub Mutex<Vec<CollectionId>>, pub Mutex<HashMap<String, HashMap<String, String>>>);

impl PlacementProbe for Keys {
    fn sample(&self) -> BoxFuture<'_, Vec<PlacedKey>> {
        Box::pin(async { self.0.clone() })
    }

    fn moved(&self, collections: &[CollectionId]) {
        self.1.lock().expect("alive").extend_from_slice(collections);
    }
}

impl DirectorySource for Keys {
    fn load<'a>(
        &'a self,
        name: &'a str,
        _: &'a DirectorySettings,
    ) -> BoxFuture<'a, Result<HashMap<String, String>, String>> {
        Box::pin(async move { self.2.lock().expect("alive").get(name).cloned().ok_or_else(|| "gone".to_owned()) })
    }
}

/// How a host is set up. Everything has a default that tests rarely change.
pub struct Setup {
    pub shards: Vec<&'static str>,
    pub config: serde_json::Value,
    pub fallback: RouteFallback,
    pub moves: Moves,
    pub call_timeout: Duration,
    pub max_memory_bytes: usize,
    pub placed: Vec<PlacedKey>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            shards: vec!["a", "b"],
            config: serde_json::json!({}),
            fallback: RouteFallback::Hash,
            moves: Moves::Refused,
            // Ample, because deadlines are wall-clock time and test machines are busy.
            call_timeout: Duration::from_millis(250),
            max_memory_bytes: 16 << 20,
            placed: Vec::new(),
        }
    }
}

/// A running host and its folder.
pub struct Fixture {
    pub host: PolicyHost,
    pub topology: Arc<Topology>,
    pub registry: Registry,
    pub products: Collection,
    folder: TempDir,
}

impl Setup {
    /// Starts a host on these bytes.
    pub fn try_start(self, wasm: &[u8]) -> Result<Fixture, PolicyError> {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join(format!("{PLUGIN}.wasm")), wasm).expect("written");
        let topology = topology(&self.shards);
        let settings = PolicySettings {
            dir: Some(folder.path().to_owned()),
            route: Some(HookSettings {
                plugin: PLUGIN.into(),
                config: self.config,
                fallback: self.fallback,
                moves: self.moves,
                grants: Grant::USUAL.to_vec(),
                isolation: None,
            }),
            max_memory_bytes: self.max_memory_bytes,
            call_timeout: self.call_timeout,
            ..PolicySettings::default()
        };
        let mut registry = Registry::default();
        let probe = Arc::new(Keys(self.placed, Mutex::default(), Mutex::default()));
        let host = start(&settings, topology.clone(), probe, &mut registry)?;
        Ok(Fixture { host, topology, registry, products: collection("products"), folder })
    }

    /// Starts a host on a built guest.
    pub fn start(self, name: &str) -> Fixture {
        self.try_start(&guest(name)).expect("the guest loads")
    }
}

/// A host without plugins.
pub fn built_in(shards: &[&str]) -> (PolicyHost, Arc<Topology>) {
    let topology = topology(shards);
    let host = start(&PolicySettings::default(), topology.clone(), Arc::default(), &mut Registry::default());
    (host.expect("nothing to load"), topology)
}

/// Starts a host without tenants, inside or outside of a runtime.
pub fn start(
    settings: &PolicySettings,
    topology: Arc<Topology>,
    probe: Arc<Keys>,
    registry: &mut Registry,
) -> Result<PolicyHost, PolicyError> {
    let setup = tidegate_policy::Setup {
        settings,
        tenants: Arc::new(Tenants::none(&topology)),
        topology,
        probe: probe.clone(),
        directories: probe,
        keeping: Keeping::Kept,
        registry,
    };
    // On a thread of its own: the test's may be a runtime's already.
    thread::scope(|scope| {
        let start = || tokio::runtime::Runtime::new().expect("a runtime").block_on(PolicyHost::start(setup));
        scope.spawn(start).join().expect("no panic")
    })
}

/// Routes a request without header fields.
pub fn route(
    host: &PolicyHost,
    collection: &Collection,
    access: Access,
    shard_key: Option<&str>,
) -> Result<Route, PolicyError> {
    let headers = http::HeaderMap::new();
    let method = if access == Access::Read { http::Method::GET } else { http::Method::PATCH };
    let facts = Facts { method: &method, path: "/v1/products/1", query: "", headers: &headers };
    host.session().route(Who::SHARED, &RouteQuery { facts: &facts, collection, access, shard_key })
}

impl Fixture {
    /// Routes a read of a row.
    pub fn read(&self, shard_key: &str) -> Result<Route, PolicyError> {
        route(&self.host, &self.products, Access::Read, Some(shard_key))
    }

    /// Routes a write to a row.
    pub fn write(&self, shard_key: &str) -> Result<Route, PolicyError> {
        route(&self.host, &self.products, Access::Write, Some(shard_key))
    }

    /// Where built-in routing places a key.
    pub fn home(&self, shard_key: &str) -> ShardId {
        self.topology.shard_for_hash(Topology::hash_key(shard_key))
    }

    /// The report of the plugin.
    pub fn report(&self) -> PluginReport {
        self.host.plugins().remove(0)
    }

    /// The report of its hook.
    pub fn hook(&self) -> HookReport {
        self.report().active.hooks.remove(0)
    }

    /// The plugin's file.
    pub fn file(&self) -> PathBuf {
        self.folder.path().join(format!("{PLUGIN}.wasm"))
    }

    /// Puts other bytes in place of the file, as a careful operator does: beside it, then renamed.
    pub fn replace(&self, wasm: &[u8]) {
        let beside = self.folder.path().join("incoming");
        fs::write(&beside, wasm).expect("written");
        fs::rename(beside, self.file()).expect("renamed");
    }

    /// The metrics as text.
    pub fn metrics(&self) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).expect("encoded");
        text
    }
}
