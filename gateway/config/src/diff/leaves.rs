//! Settings as a flat list of keys and values. Every field of every table is taken apart by name, so that
//! one that is added and not listed here does not compile.

use std::{collections::HashMap, fmt};

use tidegate_types::{
    collection::{Consistency, Mode, Staleness, Visibility},
    settings::{
        AdminSettings, CacheSettings, ClusterSettings, CollectionSettings, DirectorySettings, FallBackSettings,
        FeedSettings, Following, HookSettings, HttpSettings, JournalSettings, L2Servers, L2Settings, Moves,
        PolicySettings, PoolSettings, PoolsSettings, RecordSettings, RouteFallback, Secret, Settings, ShardSettings,
        TenantSettings, TenantsSettings,
    },
};

use super::Effect;
use crate::section::quoted;

/// The sections in the order they are shown.
const SECTIONS: [&str; 11] =
    ["http", "admin", "shards", "pools", "cache", "cluster", "feed", "journal", "policies", "tenants", "collections"];

/// Where a key's section stands.
pub(super) fn section(path: &str) -> usize {
    let first = path.split('.').next();
    SECTIONS.iter().position(|name| Some(*name) == first).unwrap_or(SECTIONS.len())
}

/// A key or a table.
pub(super) struct Leaf {
    pub(super) path: String,
    pub(super) value: Value,
    pub(super) effect: Effect,
}

/// What stands there.
#[derive(PartialEq, Eq)]
pub(super) enum Value {
    /// A table with a name; its keys follow.
    Table,
    /// Anything that may be shown.
    Shown(String),
    /// Anything that may not.
    Hidden(String),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Table => f.write_str("{}"),
            Self::Shown(text) => f.write_str(text),
            Self::Hidden(_) => f.write_str("***"),
        }
    }
}

/// Every key of some settings; those of a table follow it.
pub(super) struct Leaves {
    all: Vec<Leaf>,
    by_path: HashMap<String, usize>,
}

impl Leaves {
    pub(super) fn of(settings: &Settings) -> Self {
        let Settings { http, admin, shards, pools, cache, cluster, feed, journal, policies, tenants, collections } =
            settings;
        let mut to = Keys { all: Vec::new(), path: String::new(), effect: Effect::Restart };
        to.section("http", Effect::Restart, |to| self::http(http, to));
        to.section("admin", Effect::Restart, |to| self::admin(admin, to));
        to.section("shards", Effect::Restart, |to| {
            shards.iter().for_each(|(name, shard)| to.table(name, |to| self::shard(shard, to)));
        });
        to.section("pools", Effect::Live, |to| self::pools(pools, to));
        to.section("cache", Effect::Restart, |to| self::cache(cache, to));
        if let Some(cluster) = cluster {
            to.put("cluster", Value::Table, Effect::Restart);
            to.below("cluster", Effect::Restart, |to| self::cluster(cluster, to));
        }
        to.section("feed", Effect::Restart, |to| self::feed(feed, to));
        if let Some(journal) = journal {
            to.put("journal", Value::Table, Effect::Restart);
            to.below("journal", Effect::Restart, |to| self::journal(journal, to));
        }
        to.section("policies", Effect::Live, |to| self::policies(policies, to));
        to.section("tenants", Effect::Live, |to| self::tenants(tenants, to));
        to.section("collections", Effect::Live, |to| {
            for (name, of) in collections {
                // What was acknowledged means the collection as it was.
                to.effect = if of.mode == Mode::WriteBehind { Effect::Restart } else { Effect::Live };
                to.table(name, |to| collection(of, to));
            }
        });
        Self::new(to.all)
    }

    pub(super) fn new(all: Vec<Leaf>) -> Self {
        let by_path = all.iter().enumerate().map(|(position, leaf)| (leaf.path.clone(), position)).collect();
        Self { all, by_path }
    }

    pub(super) fn into_all(self) -> impl Iterator<Item = Leaf> {
        self.all.into_iter()
    }

    /// Every key with what the other settings have in its place; of a table that they lack, only the table.
    pub(super) fn against<'l>(&'l self, other: &'l Self) -> impl Iterator<Item = (&'l Leaf, Option<&'l Leaf>)> {
        let mut lacking: Option<&Leaf> = None;
        self.all.iter().filter_map(move |leaf| {
            if lacking.is_some_and(|table| is_below(leaf, table)) {
                return None;
            }
            let counterpart = other.by_path.get(&leaf.path).map(|position| &other.all[*position]);
            if counterpart.is_none() && leaf.value == Value::Table {
                lacking = Some(leaf);
            }
            Some((leaf, counterpart))
        })
    }

    /// A value, or a table with what is in it.
    pub(super) fn text_of(&self, leaf: &Leaf) -> String {
        if leaf.value != Value::Table {
            return leaf.value.to_string();
        }
        let from = self.by_path.get(&leaf.path).map_or(self.all.len(), |position| position + 1);
        let below =
            self.all[from..].iter().take_while(|key| is_below(key, leaf)).filter(|key| key.value != Value::Table);
        let keys: Vec<String> =
            below.map(|key| format!("{} = {}", &key.path[leaf.path.len() + 1..], key.value)).collect();
        if keys.is_empty() { "{}".to_owned() } else { format!("{{ {} }}", keys.join(", ")) }
    }
}

fn is_below(leaf: &Leaf, table: &Leaf) -> bool {
    leaf.path.strip_prefix(table.path.as_str()).is_some_and(|rest| rest.starts_with('.'))
}

/// Where keys are put.
struct Keys {
    all: Vec<Leaf>,
    path: String,
    effect: Effect,
}

impl Keys {
    fn below(&mut self, name: &str, effect: Effect, put: impl FnOnce(&mut Self)) {
        let (length, before) = (self.path.len(), self.effect);
        self.path = self.path_of(name);
        self.effect = effect;
        put(self);
        self.path.truncate(length);
        self.effect = before;
    }

    /// A table that is always there.
    fn section(&mut self, name: &str, effect: Effect, put: impl FnOnce(&mut Self)) {
        self.below(name, effect, put);
    }

    /// A table that may come and go.
    fn table(&mut self, name: &str, put: impl FnOnce(&mut Self)) {
        self.put(name, Value::Table, self.effect);
        self.below(name, self.effect, put);
    }

    fn shown(&mut self, key: &str, value: impl fmt::Debug) {
        self.put(key, Value::Shown(format!("{value:?}")), self.effect);
    }

    fn at_restart(&mut self, key: &str, value: Option<impl fmt::Debug>) {
        if let Some(value) = value {
            self.put(key, Value::Shown(format!("{value:?}")), Effect::Restart);
        }
    }

    fn list(&mut self, key: &str, values: &[String]) {
        if !values.is_empty() {
            self.shown(key, values);
        }
    }

    fn word(&mut self, key: &str, word: &str) {
        self.shown(key, word);
    }

    fn secret(&mut self, key: &str, value: &Secret) {
        self.put(key, Value::Hidden(value.reveal().to_owned()), self.effect);
    }

    fn put(&mut self, key: &str, value: Value, effect: Effect) {
        self.all.push(Leaf { path: self.path_of(key), value, effect });
    }

    fn path_of(&self, name: &str) -> String {
        let name = quoted(name);
        if self.path.is_empty() { name } else { format!("{}.{name}", self.path) }
    }
}

fn http(http: &HttpSettings, to: &mut Keys) {
    let HttpSettings {
        listen,
        max_connections,
        header_timeout,
        max_headers,
        max_uri_bytes,
        max_body_bytes,
        body_timeout,
        max_streams,
        request_timeout,
        drain_delay,
        drain_grace,
        cdn,
    } = http;
    to.shown("listen", listen);
    to.shown("max_connections", max_connections);
    to.shown("header_timeout", header_timeout);
    to.shown("max_headers", max_headers);
    to.shown("max_uri_bytes", max_uri_bytes);
    to.shown("max_body_bytes", max_body_bytes);
    to.shown("body_timeout", body_timeout);
    to.shown("max_streams", max_streams);
    to.shown("request_timeout", request_timeout);
    to.shown("drain_delay", drain_delay);
    to.shown("drain_grace", drain_grace);
    to.word("cdn", cdn.as_str());
}

fn admin(admin: &AdminSettings, to: &mut Keys) {
    let AdminSettings { listen, token } = admin;
    to.shown("listen", listen);
    if let Some(token) = token {
        to.secret("token", token);
    }
}

fn shard(shard: &ShardSettings, to: &mut Keys) {
    let ShardSettings { primary, region } = shard;
    to.secret("primary", primary);
    if let Some(region) = region {
        to.shown("region", region);
    }
}

fn pools(pools: &PoolsSettings, to: &mut Keys) {
    let PoolsSettings { point, scan, write, batch } = pools;
    for (name, pool) in [("point", point), ("scan", scan), ("write", write), ("batch", batch)] {
        let PoolSettings { min, max, wait_timeout, statement_timeout } = pool;
        to.section(name, Effect::Live, |to| {
            to.shown("min", min);
            to.shown("max", max);
            to.shown("wait_timeout", wait_timeout);
            to.shown("statement_timeout", statement_timeout);
        });
    }
}

fn cache(cache: &CacheSettings, to: &mut Keys) {
    let CacheSettings { l1_bytes, list_bytes, buckets, max_entry_bytes, ttl_jitter, l2 } = cache;
    to.shown("l1_bytes", l1_bytes);
    to.shown("list_bytes", list_bytes);
    to.shown("buckets", buckets);
    to.shown("max_entry_bytes", max_entry_bytes);
    to.shown("ttl_jitter", ttl_jitter);
    if let Some(L2Settings { servers, timeout, compress_above }) = l2 {
        to.secret("l2", &Secret::new(l2_text(servers)));
        to.shown("l2_timeout", timeout);
        to.shown("l2_compress_above", compress_above);
    }
}

/// Everything that makes one tier another.
fn l2_text(servers: &L2Servers) -> String {
    let L2Servers { layout, nodes, username, password, database } = servers;
    format!("{layout:?} {nodes:?} {username:?} {:?} {database}", password.as_ref().map(Secret::reveal))
}

fn cluster(cluster: &ClusterSettings, to: &mut Keys) {
    let ClusterSettings { id, listen, advertise, secret, lease } = cluster;
    to.shown("id", id);
    to.shown("listen", listen);
    if let Some(advertise) = advertise {
        to.shown("advertise", advertise);
    }
    to.secret("secret", secret);
    to.shown("lease", lease);
}

fn feed(feed: &FeedSettings, to: &mut Keys) {
    let FeedSettings { following, slot, publication, heartbeat, max_retained_wal, schema_interval } = feed;
    to.shown("enabled", *following == Following::On);
    to.shown("slot", slot);
    to.shown("publication", publication);
    to.shown("heartbeat", heartbeat);
    to.shown("max_retained_wal", max_retained_wal);
    to.shown("schema_interval", schema_interval);
}

fn journal(journal: &JournalSettings, to: &mut Keys) {
    let JournalSettings { class, dir, max_bytes, max_dirty_bytes, max_age, idempotency_window, max_idempotency_keys } =
        journal;
    to.word("class", class.as_str());
    to.shown("dir", dir);
    to.shown("max_bytes", max_bytes);
    to.shown("max_dirty_bytes", max_dirty_bytes);
    to.shown("max_age", max_age);
    to.shown("idempotency_window", idempotency_window);
    to.shown("max_idempotency_keys", max_idempotency_keys);
}

fn policies(policies: &PolicySettings, to: &mut Keys) {
    let PolicySettings {
        dir,
        state,
        classify,
        route,
        cache_policy,
        invalidate,
        max_memory_bytes,
        call_timeout,
        trusted_keys,
        fall_back,
        guard_keys,
        directories,
        record,
    } = policies;
    // The folder is watched, the state locked and the recording open from start to end, and the engine is made once.
    to.at_restart("dir", dir.as_ref());
    to.at_restart("state", state.as_ref());
    to.at_restart("max_memory", Some(max_memory_bytes));
    to.at_restart("call_timeout", Some(call_timeout));
    to.list("trusted_keys", trusted_keys);
    to.shown("guard_keys", guard_keys);
    let hooks = [("classify", classify), ("route", route), ("cache-policy", cache_policy), ("invalidate", invalidate)];
    for (name, settings) in hooks {
        if let Some(settings) = settings {
            to.table(name, |to| hook(name, settings, to));
        }
    }
    let FallBackSettings { max_error_rate, max_p99, min_calls } = fall_back;
    to.section("fall_back", Effect::Live, |to| {
        to.shown("max_error_rate", max_error_rate);
        to.shown("max_p99", max_p99);
        to.shown("min_calls", min_calls);
    });
    to.section("directories", Effect::Live, |to| {
        directories.iter().for_each(|(name, of)| to.table(name, |to| directory(of, to)));
    });
    if let Some(RecordSettings { file, max_bytes }) = record {
        to.put("record", Value::Table, Effect::Restart);
        to.below("record", Effect::Restart, |to| {
            to.shown("file", file);
            to.shown("max_bytes", max_bytes);
        });
    }
}

fn hook(name: &str, hook: &HookSettings, to: &mut Keys) {
    let HookSettings { plugin, config, fallback, moves, grants, isolation } = hook;
    to.shown("plugin", plugin);
    to.section("config", to.effect, |to| {
        for (key, value) in config.as_object().into_iter().flatten() {
            // Only the plugin knows what of it is a secret, such as the API keys of a classifier.
            let shown = value.is_number() || value.is_boolean();
            let text = value.to_string();
            to.put(key, if shown { Value::Shown(text) } else { Value::Hidden(text) }, to.effect);
        }
    });
    if name == "route" {
        let fallback = match fallback {
            RouteFallback::Hash => "hash",
            RouteFallback::AllShards => "all-shards",
            RouteFallback::Refuse => "refuse",
        };
        to.word("fallback", fallback);
        to.shown("allow_moves", *moves == Moves::Allowed);
    }
    to.shown("grants", grants.iter().map(|grant| grant.as_str()).collect::<Vec<_>>());
    if let Some(isolation) = isolation {
        to.word("isolation", isolation.as_str());
    }
}

fn directory(directory: &DirectorySettings, to: &mut Keys) {
    let DirectorySettings { shard, table, key, value, refresh, max_rows } = directory;
    to.shown("shard", shard);
    to.shown("table", table);
    to.shown("key", key);
    to.shown("value", value);
    to.shown("refresh", refresh);
    to.shown("max_rows", max_rows);
}

fn tenants(tenants: &TenantsSettings, to: &mut Keys) {
    let TenantsSettings { classes, known } = tenants;
    to.section("classes", Effect::Live, |to| classes.iter().for_each(|name| to.table(name, |_| {})));
    to.section("known", Effect::Live, |to| {
        for (name, TenantSettings { class, shards, residency }) in known {
            to.table(name, |to| {
                to.shown("class", class);
                to.list("shards", shards);
                to.list("residency", residency);
            });
        }
    });
}

fn collection(collection: &CollectionSettings, to: &mut Keys) {
    let CollectionSettings {
        table,
        key,
        shard_key,
        columns,
        mode,
        ttl,
        negative_ttl,
        consistency,
        visibility,
        cdn_ttl,
        max_rows,
        list_bytes,
        track,
    } = collection;
    to.shown("table", table);
    to.list("key", key);
    to.list("shard_key", shard_key);
    to.list("columns", columns);
    to.word("mode", mode.as_str());
    to.shown("ttl", ttl);
    to.shown("negative_ttl", negative_ttl);
    match consistency {
        Consistency::Strict => to.word("consistency", "strict"),
        Consistency::Bounded(Staleness { max, while_revalidate, if_error }) => {
            to.word("consistency", "bounded");
            to.shown("max_staleness", max);
            to.shown("stale_while_revalidate", while_revalidate);
            to.shown("stale_if_error", if_error);
        }
    }
    to.word(
        "cache_control",
        match visibility {
            Visibility::Private => "private",
            Visibility::Public => "public",
        },
    );
    if let Some(cdn_ttl) = cdn_ttl {
        to.shown("cdn_ttl", cdn_ttl);
    }
    to.shown("max_rows", max_rows);
    if let Some(list_bytes) = list_bytes {
        to.shown("list_bytes", list_bytes);
    }
    to.list("track", track);
}
