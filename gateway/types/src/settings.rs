//! Validated configuration. `tidegate-config` makes it; each layer takes its own part.

use std::{fmt, net::SocketAddr, path::PathBuf, time::Duration};

use indexmap::IndexMap;

use crate::collection::{Consistency, Mode, Visibility};

mod cluster;
mod journal;
mod l2;

pub use cluster::ClusterSettings;
pub use journal::{DurabilityClass, JournalSettings};
pub use l2::{L2Layout, L2Servers, L2Settings};

/// A value that must never be printed: its `Debug` and `Display` say `***`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Hides a value.
    #[must_use]
    pub fn new(value: String) -> Self {
        Self(value)
    }

    /// The value, for the one place that needs it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Everything a gateway needs to start.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The public listener.
    pub http: HttpSettings,
    /// The admin listener.
    pub admin: AdminSettings,
    /// The shards by name, at least one.
    pub shards: IndexMap<String, ShardSettings>,
    /// The pools.
    pub pools: PoolsSettings,
    /// The cache.
    pub cache: CacheSettings,
    /// Other gateways in front of the same shards; `None`: there are none.
    pub cluster: Option<ClusterSettings>,
    /// The change feed.
    pub feed: FeedSettings,
    /// Where write-behind collections keep what was acknowledged; `None`: there are none.
    pub journal: Option<JournalSettings>,
    /// The policies.
    pub policies: PolicySettings,
    /// The tenants that classification may name.
    pub tenants: TenantsSettings,
    /// The collections by name, at least one.
    pub collections: IndexMap<String, CollectionSettings>,
}

/// `[feed]`: changes made outside the gateway, by logical replication.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeedSettings {
    /// Whether changes are followed. Default off: it needs rights, and a slot keeps log until it is read.
    pub following: Following,
    /// What the slot's name begins with; the database's oid follows. Default `tidegate`.
    pub slot: String,
    /// The publication. Default `tidegate`.
    pub publication: String,
    /// How often a heartbeat is sent. Default 100 ms.
    pub heartbeat: Duration,
    /// Bytes of log the slot may keep; beyond, it is made anew and the shard's cache is emptied. Default 1 GiB.
    pub max_retained_wal: u64,
    /// How often tables are compared with what they were. Default 5 s.
    pub schema_interval: Duration,
}

/// Whether changes are followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Following {
    /// Every shard's.
    On,
    /// None.
    Off,
}

/// `[http]`
#[derive(Debug, Clone)]
pub struct HttpSettings {
    /// Where to listen. Default 127.0.0.1:8080.
    pub listen: SocketAddr,
    /// Connections served at once; more wait in the backlog. Default 10000.
    pub max_connections: usize,
    /// Time for a complete request head. Default 10 s.
    pub header_timeout: Duration,
    /// Header fields per request. Default 100.
    pub max_headers: usize,
    /// Bytes of a request URI. Default 8 KiB.
    pub max_uri_bytes: usize,
    /// Bytes of a request body. Default 1 MiB.
    pub max_body_bytes: usize,
    /// Time for a complete request body. Default 30 s.
    pub body_timeout: Duration,
    /// Concurrent streams per HTTP/2 connection. Default 128.
    pub max_streams: u32,
    /// Time for a request from head to answer. Default 30 s.
    pub request_timeout: Duration,
    /// How long readiness says 503 while requests are still accepted. Default 10 s.
    pub drain_delay: Duration,
    /// How long requests in flight may take after that. Default 20 s.
    pub drain_grace: Duration,
    /// The field that tells a CDN what an answer may be purged by. Default none.
    pub cdn: CdnKeys,
}

/// `cdn` of `[http]`: how a CDN in front is told what an answer may be purged by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CdnKeys {
    /// Not at all.
    #[default]
    Off,
    /// `Surrogate-Key`, names separated by spaces.
    SurrogateKey,
    /// `Cache-Tag`, names separated by commas.
    CacheTag,
}

impl CdnKeys {
    /// The name used in configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::SurrogateKey => "surrogate-key",
            Self::CacheTag => "cache-tag",
        }
    }
}

/// `[admin]`
#[derive(Debug, Clone)]
pub struct AdminSettings {
    /// Where to listen. Default 127.0.0.1:9090.
    pub listen: SocketAddr,
    /// The bearer token of `/admin/*`. Without one those calls are refused
    /// unless the listener is on a loopback address.
    pub token: Option<Secret>,
}

/// `[shards.NAME]`
#[derive(Debug, Clone)]
pub struct ShardSettings {
    /// `postgres://` URL of the primary.
    pub primary: Secret,
    /// Where it is, for residency and geographic routing.
    pub region: Option<String>,
}

/// `[pools]`
#[derive(Debug, Clone)]
pub struct PoolsSettings {
    /// Keyed, batched reads.
    pub point: PoolSettings,
    /// Lists.
    pub scan: PoolSettings,
    /// Writes.
    pub write: PoolSettings,
    /// What write-behind brings to a shard.
    pub batch: PoolSettings,
}

/// `[pools.CLASS]`, per shard
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolSettings {
    /// Connections opened at start and kept.
    pub min: usize,
    /// Most connections.
    pub max: usize,
    /// How long a request may wait for one.
    pub wait_timeout: Duration,
    /// `statement_timeout` of its connections.
    pub statement_timeout: Duration,
}

/// `[cache]`
#[derive(Debug, Clone)]
pub struct CacheSettings {
    /// Bytes of the in-process cache, entries and their overhead. Default 256 MiB.
    pub l1_bytes: u64,
    /// How many of them are for lists; 0 keeps none. Default a quarter.
    pub list_bytes: u64,
    /// Slots of the floor table of each shard; a power of two. Default 65536.
    pub buckets: usize,
    /// Rows and lists above this size are served, not stored. Default 256 KiB.
    pub max_entry_bytes: usize,
    /// How far a TTL is shortened at random, so that entries do not expire together. Default 0.1.
    pub ttl_jitter: f64,
    /// The tier shared with other gateways, if there is one.
    pub l2: Option<L2Settings>,
}

/// `[policies]`
#[derive(Debug, Clone)]
pub struct PolicySettings {
    /// The watched folder. Without one there are no plugins.
    pub dir: Option<PathBuf>,
    /// Where versions that came by the admin API, their stage and compiled code are kept.
    /// Default `.state` in `dir`.
    pub state: Option<PathBuf>,
    /// `[policies.classify]`
    pub classify: Option<HookSettings>,
    /// `[policies.route]`
    pub route: Option<HookSettings>,
    /// `[policies.cache-policy]`
    pub cache_policy: Option<HookSettings>,
    /// `[policies.invalidate]`
    pub invalidate: Option<HookSettings>,
    /// Linear memory a plugin instance may have. Default 16 MiB.
    pub max_memory_bytes: usize,
    /// Wall-clock budget of one call. Default 10 ms.
    pub call_timeout: Duration,
    /// Ed25519 public keys, `ed25519:` and base64. Where there are any, unsigned versions are refused.
    pub trusted_keys: Vec<String>,
    /// When a version is taken out of use by itself.
    pub fall_back: FallBackSettings,
    /// Keys of each collection on each shard that the placement guard asks about. Default 10000.
    pub guard_keys: usize,
    /// `[policies.directories.NAME]`
    pub directories: IndexMap<String, DirectorySettings>,
    /// `[policies.record]`: decisions written to a file, for `tidegate plugin replay`.
    pub record: Option<RecordSettings>,
}

impl Default for PolicySettings {
    fn default() -> Self {
        Self {
            dir: None,
            state: None,
            classify: None,
            route: None,
            cache_policy: None,
            invalidate: None,
            max_memory_bytes: 16 << 20,
            call_timeout: Duration::from_millis(10),
            trusted_keys: Vec::new(),
            fall_back: FallBackSettings::default(),
            guard_keys: 10_000,
            directories: IndexMap::new(),
            record: None,
        }
    }
}

/// `[policies.HOOK]`
#[derive(Debug, Clone, PartialEq)]
pub struct HookSettings {
    /// The file's name in the folder without `.wasm`.
    pub plugin: String,
    /// Passed to the plugin's `configure` as JSON.
    pub config: serde_json::Value,
    /// Of `route`: what answers a read when the plugin fails.
    pub fallback: RouteFallback,
    /// Of `route`: whether a new version may send existing keys to other shards.
    pub moves: Moves,
    /// What the plugin may import.
    pub grants: Vec<Grant>,
    /// Whether instances may serve several calls and tenants. `None`: `fresh` for `classify` where
    /// instances are quick to make, else `shared`.
    pub isolation: Option<Isolation>,
}

/// A host interface that a plugin may import (`grants`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Grant {
    /// `host-log`
    Log,
    /// `host-metrics`
    Metrics,
    /// `host-topology`
    Topology,
    /// `host-directory`
    Directory,
}

impl Grant {
    /// Given where the configuration does not say.
    pub const USUAL: [Self; 3] = [Self::Log, Self::Metrics, Self::Topology];

    /// The name used in configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::Metrics => "metrics",
            Self::Topology => "topology",
            Self::Directory => "directory",
        }
    }
}

/// What an instance of a plugin may be used for (`isolation`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Isolation {
    /// Any calls, one after the other.
    Shared,
    /// Calls of one tenant.
    PerTenant,
    /// One call.
    Fresh,
}

impl Isolation {
    /// The name used in configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Shared => "shared",
            Self::PerTenant => "per-tenant",
            Self::Fresh => "fresh",
        }
    }
}

/// `[policies.fall_back]`: bounds of a canary or newly promoted version. Beyond one of them the version
/// before it is used again.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FallBackSettings {
    /// Failed calls, as a part of all. Default 0.05.
    pub max_error_rate: f64,
    /// 99th percentile of a call's duration. Default 5 ms.
    pub max_p99: Duration,
    /// Calls before either counts. Default 20.
    pub min_calls: u64,
}

impl Default for FallBackSettings {
    fn default() -> Self {
        Self { max_error_rate: 0.05, max_p99: Duration::from_millis(5), min_calls: 20 }
    }
}

/// `[policies.directories.NAME]`: a small table that policies may look things up in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectorySettings {
    /// The shard it is on.
    pub shard: String,
    /// `table` or `schema.table`.
    pub table: String,
    /// The column looked up.
    pub key: String,
    /// The column answered.
    pub value: String,
    /// How often the copy is renewed. Default 10 s.
    pub refresh: Duration,
    /// Most rows; a larger table is refused. Default 100000.
    pub max_rows: u64,
}

/// `[policies.record]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordSettings {
    /// JSON lines are appended here.
    pub file: PathBuf,
    /// Recording stops at this size. Default 64 MiB.
    pub max_bytes: u64,
}

/// `[tenants]`
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TenantsSettings {
    /// `[tenants.classes.NAME]`
    pub classes: Vec<String>,
    /// `[tenants.known.NAME]`
    pub known: IndexMap<String, TenantSettings>,
}

/// `[tenants.known.NAME]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantSettings {
    /// Its class where classification names none.
    pub class: String,
    /// The shards its rows may be on; empty: any.
    pub shards: Vec<String>,
    /// The regions its shards must be in, the home region first; empty: any.
    pub residency: Vec<String>,
}

/// `fallback` of `[policies.route]`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RouteFallback {
    /// Built-in hash routing of the shard key.
    Hash,
    /// Ask every shard.
    AllShards,
    /// Fail closed, as writes do.
    Refuse,
}

/// `allow_moves` of `[policies.route]`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moves {
    /// A version that would move existing keys is refused.
    Refused,
    /// The operator takes care of the data.
    Allowed,
}

/// `[collections.NAME]`
#[derive(Debug, Clone)]
pub struct CollectionSettings {
    /// `table` or `schema.table`.
    pub table: String,
    /// The primary key; empty means the catalog's.
    pub key: Vec<String>,
    /// The columns that place a row; empty means the first key column.
    pub shard_key: Vec<String>,
    /// The exposed columns; empty means all.
    pub columns: Vec<String>,
    /// The pipeline.
    pub mode: Mode,
    /// Longest time a row is served from the cache. Default 60 s.
    pub ttl: Duration,
    /// Longest time "no such row" is served from the cache. Default 5 s.
    pub negative_ttl: Duration,
    /// What reads promise. Default strict.
    pub consistency: Consistency,
    /// `Cache-Control`. Default private.
    pub visibility: Visibility,
    /// `CDN-Cache-Control`: how long a CDN in front may serve an answer. `None`: the field is not sent.
    pub cdn_ttl: Option<Duration>,
    /// Most rows of a list. Default 1000.
    pub max_rows: u64,
    /// Most bytes of its lists in the cache, as far as all lists may have them. `None`: no cap of its own.
    pub list_bytes: Option<u64>,
    /// Columns by whose values its lists are told apart; at most [`crate::track::MAX_TRACKED`].
    pub track: Vec<String>,
}
