//! Files that are right.

use std::{path::Path, time::Duration};

use tidegate_types::{
    collection::{Mode, Visibility},
    settings::{
        CdnKeys, ClusterSettings, DirectorySettings, DurabilityClass, FallBackSettings, Grant, Isolation,
        JournalSettings, L2Layout, L2Servers, L2Settings, Moves, PolicySettings, RecordSettings, RouteFallback, Secret,
        TenantSettings, TenantsSettings,
    },
};

use super::{LEAST, parse, parse_with};

#[test]
fn the_least_file_gets_the_documented_defaults() {
    let settings = parse(LEAST).expect("valid");
    assert_eq!(settings.http.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(settings.http.max_connections, 10_000);
    assert_eq!(settings.http.header_timeout, Duration::from_secs(10));
    assert_eq!(settings.http.max_headers, 100);
    assert_eq!(settings.http.max_uri_bytes, 8 << 10);
    assert_eq!(settings.http.max_body_bytes, 1 << 20);
    assert_eq!(settings.http.body_timeout, Duration::from_secs(30));
    assert_eq!(settings.http.max_streams, 128);
    assert_eq!(settings.http.request_timeout, Duration::from_secs(30));
    assert_eq!(settings.http.drain_delay, Duration::from_secs(10));
    assert_eq!(settings.http.drain_grace, Duration::from_secs(20));
    assert_eq!(settings.http.cdn, CdnKeys::Off);
    assert_eq!(settings.admin.listen.to_string(), "127.0.0.1:9090");
    assert!(settings.admin.token.is_none());
    assert_eq!(settings.cache.l1_bytes, 256 << 20);
    assert_eq!(settings.cache.list_bytes, 64 << 20, "a quarter");
    assert_eq!(settings.cache.buckets, 65_536);
    assert_eq!(settings.cache.max_entry_bytes, 256 << 10);
    assert!((settings.cache.ttl_jitter - 0.1).abs() < f64::EPSILON);
    assert_eq!(settings.cache.l2, None);
    assert!(settings.policies.dir.is_none() && settings.policies.route.is_none());
    assert_eq!(settings.policies.max_memory_bytes, 16 << 20);
    assert_eq!(settings.policies.call_timeout, Duration::from_millis(10));
    let policies = &settings.policies;
    assert!(policies.classify.is_none() && policies.cache_policy.is_none() && policies.invalidate.is_none());
    assert!(policies.state.is_none() && policies.trusted_keys.is_empty() && policies.record.is_none());
    assert_eq!((policies.guard_keys, policies.directories.len()), (10_000, 0));
    let fall_back = FallBackSettings { max_error_rate: 0.05, max_p99: Duration::from_millis(5), min_calls: 20 };
    assert_eq!(policies.fall_back, fall_back);
    assert_eq!(settings.shards["a"].region, None);
    assert_eq!(settings.tenants, TenantsSettings::default());
    let products = &settings.collections["products"];
    assert!(products.key.is_empty() && products.shard_key.is_empty() && products.columns.is_empty());
    assert!(products.track.is_empty());
    assert_eq!(products.mode, Mode::CacheAside);
    assert_eq!(products.ttl, Duration::from_secs(60));
    assert_eq!(products.negative_ttl, Duration::from_secs(5));
    assert_eq!(products.visibility, Visibility::Private);
    assert_eq!((products.max_rows, products.list_bytes, products.cdn_ttl), (1_000, None, None));
}

/// Every key there is, none at its default.
const EVERY_KEY: &str = r#"
[http]
listen = "0.0.0.0:80"
max_connections = 5
header_timeout = "1s"
max_headers = 50
max_uri_bytes = "4KiB"
max_body_bytes = 2_000
body_timeout = "2s"
max_streams = 7
request_timeout = "3s"
drain_delay = "0s"
drain_grace = "250ms"
cdn = "cache-tag"

[admin]
listen = "[::1]:91"
token = "env:TOKEN"

[shards.north]
primary = "env:NORTH"
region = "eu"
[shards.east]
primary = "postgres://app:p%40ss@[::1]:5433/app?sslmode=disable"

[pools.point]
min = 2
max = 3
wait_timeout = "100ms"
statement_timeout = "200ms"
[pools.scan]
min = 4
max = 5
wait_timeout = "300ms"
statement_timeout = "400ms"
[pools.write]
min = 6
max = 7
wait_timeout = "5m"
statement_timeout = "1h"
[pools.batch]
min = 8
max = 9
wait_timeout = "1s"
statement_timeout = "2s"

[cache]
l1_bytes = "64MiB"
list_bytes = "5MiB"
buckets = 1024
max_entry_bytes = "8KiB"
ttl_jitter = 0
l2 = "redis+sentinel://app:p%40ss@a,b:7/shared/2"
l2_timeout = "9ms"
l2_compress_above = "4KiB"

[cluster]
id = "north-1"
listen = "0.0.0.0:7946"
advertise = "north-1.internal:7946"
secret = "env:GATEWAYS"
lease = "2s"

[journal]
class = "local"
dir = "journal"
max_bytes = "1GiB"
max_dirty_bytes = "1MiB"
max_age = "30s"
idempotency_window = "1h"
max_idempotency_keys = 500

[policies]
dir = "policies"
state = "/var/lib/tidegate"
max_memory = "1MiB"
call_timeout = "5ms"
trusted_keys = ["ed25519:11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="]
guard_keys = 5

[policies.classify]
plugin = "tier-classifier"
config = { sources = ["header"] }
grants = []
isolation = "fresh"

[policies.cache-policy]
plugin = "catalog"
isolation = "per-tenant"

[policies.invalidate]
plugin = "catalog"
grants = ["log"]

[policies.fall_back]
max_error_rate = 0.5
max_p99 = "900us"
min_calls = 7

[policies.directories.tenants]
shard = "east"
table = "public.tenants"
key = "name"
value = "home"
refresh = "1s"
max_rows = 50

[policies.record]
file = "decisions.jsonl"
max_bytes = "1MiB"

[tenants.classes.free]
[tenants.classes.paid]
[tenants.known.acme]
class = "paid"
shards = ["north", "east"]
residency = "eu"
[tenants.known."Big & Co"]
class = "free"

[policies.route]
plugin = "hash-router"
config = { salt = "x", weights = [1, 2.5], deep = { on = true } }
fallback = "refuse"
allow_moves = true
grants = ["topology", "directory"]

[collections."order lines"]
table = "shop.order_lines"
key = ["order_id", "line"]
shard_key = ["order_id"]
columns = ["order_id", "line", "sku"]
mode = "bypass"
ttl = "10s"
negative_ttl = "0s"
consistency = "strict"
cache_control = "public"
max_rows = 10
list_bytes = "1MiB"
track = ["sku", "order_id"]

[collections.products]
table = "products"
key = "id"
"#;

fn north_1() -> ClusterSettings {
    ClusterSettings {
        id: "north-1".to_owned(),
        listen: ([0, 0, 0, 0], 7946).into(),
        advertise: Some("north-1.internal:7946".to_owned()),
        secret: Secret::new("0123456789abcdef0123456789abcdef".to_owned()),
        lease: Duration::from_secs(2),
    }
}

fn journal() -> JournalSettings {
    JournalSettings {
        class: DurabilityClass::Local,
        dir: "/etc/tidegate/journal".into(),
        max_bytes: 1 << 30,
        max_dirty_bytes: 1 << 20,
        max_age: Duration::from_secs(30),
        idempotency_window: Duration::from_secs(3600),
        max_idempotency_keys: 500,
    }
}

#[test]
fn every_key_reaches_its_setting() {
    let environment =
        [("NORTH", "postgresql://n/app"), ("TOKEN", "s3cret"), ("GATEWAYS", "0123456789abcdef0123456789abcdef")];
    let settings = parse_with(EVERY_KEY, &environment, Path::new("/etc/tidegate")).expect("valid");
    let http = &settings.http;
    assert_eq!(http.listen.to_string(), "0.0.0.0:80");
    assert_eq!((http.max_connections, http.max_headers, http.max_uri_bytes), (5, 50, 4096));
    assert_eq!((http.max_body_bytes, http.max_streams), (2000, 7));
    assert_eq!(http.header_timeout, Duration::from_secs(1));
    assert_eq!(http.body_timeout, Duration::from_secs(2));
    assert_eq!(http.request_timeout, Duration::from_secs(3));
    assert_eq!((http.drain_delay, http.drain_grace), (Duration::ZERO, Duration::from_millis(250)));
    assert_eq!(http.cdn, CdnKeys::CacheTag);
    assert_eq!(settings.admin.listen.to_string(), "[::1]:91");
    assert_eq!(settings.admin.token.expect("given").reveal(), "s3cret");
    assert_eq!(settings.shards.keys().collect::<Vec<_>>(), ["north", "east"], "in the order of the file");
    assert_eq!(settings.shards["north"].primary.reveal(), "postgresql://n/app");
    assert_eq!(settings.shards["east"].primary.reveal(), "postgres://app:p%40ss@[::1]:5433/app?sslmode=disable");
    let pools = [settings.pools.point, settings.pools.scan, settings.pools.write, settings.pools.batch];
    assert_eq!(pools.map(|p| (p.min, p.max)), [(2, 3), (4, 5), (6, 7), (8, 9)]);
    assert_eq!(pools.map(|p| p.wait_timeout.as_millis()), [100, 300, 300_000, 1000]);
    assert_eq!(pools.map(|p| p.statement_timeout.as_millis()), [200, 400, 3_600_000, 2000]);
    assert_eq!(
        (settings.cache.l1_bytes, settings.cache.buckets, settings.cache.max_entry_bytes),
        (64 << 20, 1024, 8192)
    );
    assert!(settings.cache.ttl_jitter.abs() < f64::EPSILON);
    let servers = L2Servers {
        layout: L2Layout::Sentinel { service: "shared".to_owned() },
        nodes: vec![("a".to_owned(), 26_379), ("b".to_owned(), 7)],
        username: Some("app".to_owned()),
        password: Some(Secret::new("p@ss".to_owned())),
        database: 2,
    };
    let l2 = L2Settings { servers, timeout: Duration::from_millis(9), compress_above: 4 << 10 };
    assert_eq!(settings.cache.l2, Some(l2));
    assert_eq!(settings.cluster, Some(north_1()));
    assert_eq!(settings.journal, Some(journal()));
    let policies = &settings.policies;
    assert_eq!(policies.dir.as_deref(), Some(Path::new("/etc/tidegate/policies")), "relative to the file's folder");
    assert_eq!((policies.max_memory_bytes, policies.call_timeout), (1 << 20, Duration::from_millis(5)));
    let route = policies.route.as_ref().expect("given");
    assert_eq!(
        (route.plugin.as_str(), route.fallback, route.moves),
        ("hash-router", RouteFallback::Refuse, Moves::Allowed)
    );
    let config = serde_json::json!({"salt": "x", "weights": [1, 2.5], "deep": {"on": true}});
    assert_eq!(route.config.to_string(), config.to_string());
    assert_eq!((&route.grants[..], route.isolation), (&[Grant::Topology, Grant::Directory][..], None));
    policies_reach_their_settings(policies);
    assert_eq!(
        (settings.shards["north"].region.as_deref(), settings.shards["east"].region.as_deref()),
        (Some("eu"), None)
    );
    assert_eq!(settings.tenants.classes, ["free", "paid"]);
    assert_eq!(settings.tenants.known.keys().collect::<Vec<_>>(), ["acme", "Big & Co"]);
    let texts = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
    let acme = TenantSettings { class: "paid".into(), shards: texts(&["north", "east"]), residency: texts(&["eu"]) };
    assert_eq!(settings.tenants.known["acme"], acme);
    let anywhere = TenantSettings { class: "free".into(), shards: Vec::new(), residency: Vec::new() };
    assert_eq!(settings.tenants.known["Big & Co"], anywhere);
    let lines = &settings.collections["order lines"];
    assert_eq!(lines.table, "shop.order_lines");
    assert_eq!(lines.key, ["order_id", "line"]);
    assert_eq!(lines.shard_key, ["order_id"]);
    assert_eq!(lines.columns, ["order_id", "line", "sku"]);
    assert_eq!((lines.mode, lines.visibility, lines.max_rows), (Mode::Bypass, Visibility::Public, 10));
    assert_eq!((lines.list_bytes, settings.cache.list_bytes), (Some(1 << 20), 5 << 20));
    assert_eq!(lines.track, ["sku", "order_id"]);
    assert_eq!((lines.ttl, lines.negative_ttl), (Duration::from_secs(10), Duration::ZERO));
    assert_eq!(settings.collections["products"].key, ["id"], "one name needs no brackets");
}

fn policies_reach_their_settings(policies: &PolicySettings) {
    assert_eq!(policies.state.as_deref(), Some(Path::new("/var/lib/tidegate")));
    assert_eq!(policies.trusted_keys, ["ed25519:11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="]);
    assert_eq!(policies.guard_keys, 5);
    let classify = policies.classify.as_ref().expect("given");
    assert_eq!(classify.plugin, "tier-classifier");
    assert_eq!(classify.config, serde_json::json!({"sources": ["header"]}));
    assert_eq!(
        (classify.grants.len(), classify.isolation),
        (0, Some(Isolation::Fresh)),
        "an empty array grants nothing"
    );
    let cache_policy = policies.cache_policy.as_ref().expect("given");
    assert_eq!((&cache_policy.grants[..], cache_policy.isolation), (&Grant::USUAL[..], Some(Isolation::PerTenant)));
    let invalidate = policies.invalidate.as_ref().expect("given");
    assert_eq!((invalidate.plugin.as_str(), &invalidate.grants[..]), ("catalog", &[Grant::Log][..]));
    let fall_back = FallBackSettings { max_error_rate: 0.5, max_p99: Duration::from_micros(900), min_calls: 7 };
    assert_eq!(policies.fall_back, fall_back);
    let tenants = DirectorySettings {
        shard: "east".into(),
        table: "public.tenants".into(),
        key: "name".into(),
        value: "home".into(),
        refresh: Duration::from_secs(1),
        max_rows: 50,
    };
    assert_eq!(policies.directories["tenants"], tenants);
    let record = RecordSettings { file: "/etc/tidegate/decisions.jsonl".into(), max_bytes: 1 << 20 };
    assert_eq!(policies.record, Some(record));
}

/// The names of `CONFIG.md` and those of the parser are the same: a key that is added to one
/// and not to the other shows here.
#[test]
fn the_reference_names_every_key() {
    let reference = include_str!("../../../docs/CONFIG.md");
    for line in EVERY_KEY.lines() {
        if let Some((key, _)) = line.split_once(" = ") {
            assert!(reference.contains(&format!("`{key}`")), "CONFIG.md does not name `{key}`");
        }
    }
}

#[test]
fn the_examples_of_the_reference_are_valid() {
    let (shards, collections) = LEAST.split_at(LEAST.find("[collections").expect("one"));
    let reference = include_str!("../../../docs/CONFIG.md").replace("file:/run/secrets/shard-b", "env:SHARD_B");
    let examples: Vec<&str> =
        reference.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(examples.len() >= 8, "{examples:?}");
    for example in examples {
        let missing = |part, table| if example.contains(table) { "" } else { part };
        let text = format!("{example}\n{}{}", missing(shards, "[shards."), missing(collections, "[collections."));
        let environment = [
            ("SHARD_A", "postgres://a/x"),
            ("SHARD_B", "postgres://b/x"),
            ("TIDEGATE_ADMIN_TOKEN", "t"),
            ("TIDEGATE_CLUSTER_SECRET", "0123456789abcdef"),
        ];
        if let Err(errors) = parse_with(&text, &environment, Path::new("")) {
            panic!("{errors}\n{text}");
        }
    }
}

#[test]
fn a_secret_file_is_read_relative_to_the_configuration_and_without_its_line_end() {
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::write(dir.path().join("url"), "postgres://app:pw@db/app\n").expect("written");
    std::fs::write(dir.path().join("tidegate.toml"), LEAST.replace("postgres://app@db-a/app", "file:url"))
        .expect("written");
    let settings = crate::load(&dir.path().join("tidegate.toml")).expect("valid");
    assert_eq!(settings.shards["a"].primary.reveal(), "postgres://app:pw@db/app");
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let error = crate::load(Path::new("/nonexistent/tidegate.toml")).expect_err("no such file").to_string();
    assert!(error.starts_with("/nonexistent/tidegate.toml: cannot be read: "), "{error}");
}
