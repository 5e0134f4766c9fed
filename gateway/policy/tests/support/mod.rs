//! A host on a folder of its own, with guests from `plugins/dist`.

// Each test file uses the part it needs.
#![expect(dead_code, unreachable_pub, reason = "shared by several test crates")]

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use futures_util::future::BoxFuture;
use prometheus_client::registry::Registry;
use tempfile::TempDir;
use tidegate_policy::{
    DirectorySource, Hook, Keeping, PlacedKey, PlacementProbe, PluginReport, PolicyError, PolicyHost, RouteQuery,
    Session, Stillness, control::report::HookReport,
};
use tidegate_types::{
    collection::{Collection, CollectionId, Consistency, Mode, Visibility, WriteReach},
    policy::Who,
    request::Facts,
    route::{Access, Route, ShardId, Topology},
    settings::{
        DirectorySettings, FallBackSettings, Grant, HookSettings, Isolation, Moves, PolicySettings, RecordSettings,
        RouteFallback, TenantSettings, TenantsSettings,
    },
    tenant::Tenants,
};
use tokio::sync::Notify;

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
        consistency: Consistency::Strict,
        visibility: Visibility::Private,
        cdn_ttl: None,
        max_rows: 1000,
        list_bytes: None,
        track: Vec::new(),
    }
}

/// Answers with the keys and directories it was given, and remembers what moved.
#[derive(Default)]
pub struct Keys(
    pub Vec<PlacedKey>,
    pub Mutex<Vec<CollectionId>>,
    pub Mutex<HashMap<String, HashMap<String, String>>>,
    pub AtomicUsize,
    /// Directories are not read before it lets them.
    pub Mutex<Option<Arc<Notify>>>,
    /// Why keys cannot be looked for elsewhere now.
    pub Mutex<Option<String>>,
);

impl PlacementProbe for Keys {
    fn sample(&self) -> BoxFuture<'_, Vec<PlacedKey>> {
        Box::pin(async { self.0.clone() })
    }

    fn still<'a>(&'a self, _: &'a [CollectionId]) -> BoxFuture<'a, Result<Stillness, String>> {
        Box::pin(async {
            match self.5.lock().expect("alive").clone() {
                Some(why) => Err(why),
                None => Ok(Stillness::of(())),
            }
        })
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
        self.3.fetch_add(1, Ordering::Relaxed);
        Box::pin(async move {
            let gate = self.4.lock().expect("alive").clone();
            if let Some(gate) = gate {
                gate.notified().await;
            }
            self.2.lock().expect("alive").get(name).cloned().ok_or_else(|| "gone".to_owned())
        })
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
    /// The hooks the plugin is configured for.
    pub hooks: Vec<Hook>,
    pub isolation: Option<Isolation>,
    pub grants: Vec<Grant>,
    /// Tenants and where their rows may be; their class is `free`, and `paid` is another.
    pub tenants: Vec<(&'static str, Vec<&'static str>)>,
    pub trusted_keys: Vec<String>,
    pub fall_back: FallBackSettings,
    pub directories: HashMap<String, HashMap<String, String>>,
    pub record: Option<PathBuf>,
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
            hooks: vec![Hook::Route],
            isolation: None,
            grants: Grant::USUAL.to_vec(),
            tenants: Vec::new(),
            trusted_keys: Vec::new(),
            fall_back: FallBackSettings::default(),
            directories: HashMap::new(),
            record: None,
        }
    }
}

/// A running host and its folder.
pub struct Fixture {
    pub host: PolicyHost,
    pub topology: Arc<Topology>,
    pub tenants: Arc<Tenants>,
    pub registry: Registry,
    pub products: Collection,
    pub probe: Arc<Keys>,
    pub settings: PolicySettings,
    folder: TempDir,
}

impl Setup {
    /// Starts a host on these bytes.
    pub fn try_start(self, wasm: &[u8]) -> Result<Fixture, PolicyError> {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join(format!("{PLUGIN}.wasm")), wasm).expect("written");
        self.try_start_in(folder)
    }

    /// Starts a host on a folder as another host left it.
    pub fn try_start_in(self, folder: TempDir) -> Result<Fixture, PolicyError> {
        let topology = topology(&self.shards);
        let settings = self.settings(folder.path());
        let tenants = self.tenants(&topology);
        let mut registry = Registry::default();
        let (moved, asked, gate) = (Mutex::default(), AtomicUsize::new(0), Mutex::default());
        let probe = Arc::new(Keys(self.placed, moved, Mutex::new(self.directories), asked, gate, Mutex::default()));
        let known = (tenants.clone(), topology.clone());
        let host = start_for(&settings, known, probe.clone(), Keeping::Kept, &mut registry)?;
        Ok(Fixture { host, topology, tenants, registry, products: collection("products"), probe, settings, folder })
    }

    fn settings(&self, folder: &Path) -> PolicySettings {
        let hook = |hook: Hook| {
            self.hooks.contains(&hook).then(|| HookSettings {
                plugin: PLUGIN.into(),
                config: self.config.clone(),
                fallback: self.fallback,
                moves: self.moves,
                grants: self.grants.clone(),
                isolation: self.isolation,
            })
        };
        let directory = |name: &String| {
            let (shard, table, key, value) = ("a".into(), "t".into(), "k".into(), "v".into());
            let refresh = Duration::from_millis(250);
            (name.clone(), DirectorySettings { shard, table, key, value, refresh, max_rows: 10 })
        };
        PolicySettings {
            dir: Some(folder.to_owned()),
            classify: hook(Hook::Classify),
            route: hook(Hook::Route),
            cache_policy: hook(Hook::CachePolicy),
            invalidate: hook(Hook::Invalidate),
            max_memory_bytes: self.max_memory_bytes,
            call_timeout: self.call_timeout,
            trusted_keys: self.trusted_keys.clone(),
            fall_back: self.fall_back,
            directories: self.directories.keys().map(directory).collect(),
            record: self.record.clone().map(|file| RecordSettings { file, max_bytes: 1 << 20 }),
            ..PolicySettings::default()
        }
    }

    fn tenants(&self, topology: &Topology) -> Arc<Tenants> {
        let tenant = |(name, shards): &(&str, Vec<&str>)| {
            let shards = shards.iter().map(|shard| (*shard).to_owned()).collect();
            ((*name).to_owned(), TenantSettings { class: "free".into(), shards, residency: Vec::new() })
        };
        let known = self.tenants.iter().map(tenant).collect();
        let settings = TenantsSettings { classes: vec!["free".into(), "paid".into()], known };
        Arc::new(Tenants::resolve(&settings, topology).expect("tenants with a place"))
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

/// Starts a host without tenants.
pub fn start(
    settings: &PolicySettings,
    topology: Arc<Topology>,
    probe: Arc<Keys>,
    registry: &mut Registry,
) -> Result<PolicyHost, PolicyError> {
    start_for(settings, (Arc::new(Tenants::none(&topology)), topology), probe, Keeping::Kept, registry)
}

/// Starts a host, inside or outside of a runtime.
fn start_for(
    settings: &PolicySettings,
    (tenants, topology): (Arc<Tenants>, Arc<Topology>),
    probe: Arc<Keys>,
    keeping: Keeping,
    registry: &mut Registry,
) -> Result<PolicyHost, PolicyError> {
    let setup = tidegate_policy::Setup {
        settings,
        tenants,
        topology,
        probe: probe.clone(),
        directories: probe,
        keeping,
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

    /// Asks a hook something about a request with these header fields and this query.
    pub fn asked<T>(
        &self,
        headers: &[(&'static str, &str)],
        query: &str,
        ask: impl FnOnce(&Session, &RouteQuery<'_>) -> T,
    ) -> T {
        let fields = headers.iter().map(|(name, value)| {
            let value = http::HeaderValue::from_str(value).expect("a field");
            (http::HeaderName::from_static(name), value)
        });
        let headers: http::HeaderMap = fields.collect();
        let facts = Facts { method: &http::Method::GET, path: "/v1/products/1", query, headers: &headers };
        let query =
            RouteQuery { facts: &facts, collection: &self.products, access: Access::Read, shard_key: Some("1") };
        ask(&self.host.session(), &query)
    }

    /// Another host on the same folder, which only looks.
    pub fn look(&self) -> PolicyHost {
        let known = (self.tenants.clone(), self.topology.clone());
        let host = start_for(&self.settings, known, self.probe.clone(), Keeping::Nothing, &mut Registry::default());
        host.expect("looking takes nothing")
    }

    /// Keys cannot be looked for elsewhere now, for this reason.
    pub fn restless(&self, why: Option<&str>) {
        *self.probe.5.lock().expect("alive") = why.map(str::to_owned);
    }

    /// The collections whose rows moved so far.
    pub fn moved(&self) -> Vec<CollectionId> {
        self.probe.1.lock().expect("alive").clone()
    }

    /// Ends the host and keeps its folder, as a restart does.
    pub fn end(self) -> TempDir {
        drop(self.host);
        self.folder
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
