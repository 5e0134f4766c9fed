//! Files that are wrong: where, and what the message says.

use std::path::Path;

use super::{LEAST, mistakes, mistakes_in, parse_with};

#[test]
fn an_unknown_key_names_its_place_and_the_nearest_key() {
    assert_eq!(
        mistakes_in("[http]\nlisten = \"127.0.0.1:1\"\n  max_conections = 5"),
        ["3:3: http.max_conections: unknown key; did you mean `max_connections`?"]
    );
    assert_eq!(mistakes_in("[htpp]"), ["1:2: htpp: unknown key; did you mean `http`?"]);
    assert_eq!(mistakes_in("[pools.points]"), ["1:8: pools.points: unknown key; did you mean `point`?"]);
    assert_eq!(
        mistakes_in("[collections.x]\ntable=\"x\"\nTTL = \"1s\""),
        ["3:1: collections.x.TTL: unknown key; did you mean `ttl`?"]
    );
}

#[test]
fn a_key_like_no_other_gets_the_list() {
    assert_eq!(mistakes_in("[admin]\nzzz = 1"), ["2:1: admin.zzz: unknown key; valid here: `listen`, `token`"]);
}

#[test]
fn all_mistakes_are_told_at_once_in_the_order_of_lines() {
    let text = "\
[http]
listen = \"nowhere\"
max_headers = \"many\"
[shards.a]
primary = \"mysql://x\"
[shards.b]
[collections.c]
ttl = \"1 week\"
mode = \"bypas\"
tabel = \"c\"
";
    assert_eq!(
        mistakes(text),
        [
            "2:10: http.listen: expected an IP address and a port such as \"127.0.0.1:8080\" or \"[::]:8080\", found the string \"nowhere\"",
            "3:15: http.max_headers: expected an integer, found the string \"many\"",
            "5:11: shards.a.primary: expected a URL such as \"postgres://user@host:5432/database\", \"env:NAME\" or \"file:PATH\"",
            "6:9: shards.b.primary: is required",
            "7:14: collections.c.table: is required",
            "8:7: collections.c.ttl: expected a duration such as \"250ms\", \"60s\" or \"5m\", found the string \"1 week\"",
            "9:8: collections.c.mode: expected one of `cache-aside`, `write-through`, `write-behind`, `bypass`, found the string \"bypas\"; did you mean `bypass`?",
            "10:1: collections.c.tabel: unknown key; did you mean `table`?",
        ]
    );
}

#[test]
fn shards_and_collections_are_required() {
    assert_eq!(
        mistakes(""),
        [
            "1:1: shards: at least one [shards.NAME] with its `primary` is required",
            "1:1: collections: at least one [collections.NAME] with its `table` is required",
        ]
    );
}

#[test]
fn syntax_errors_have_a_place_too() {
    let errors = mistakes("[http]\nlisten = \n[admin\n");
    assert!(errors[0].starts_with("2:"), "{errors:?}");
    assert!(errors.iter().any(|error| error.starts_with("3:")), "{errors:?}");
    let errors = mistakes(&format!("{LEAST}table = \"again\"\n"));
    assert!(errors[0].starts_with("5:1: ") && errors[0].contains("duplicate"), "{errors:?}");
}

#[test]
fn wrong_types() {
    assert_eq!(mistakes_in("http = 1"), ["1:8: http: expected a table, found the integer 1"]);
    assert_eq!(
        mistakes_in("[pools.point]\nmax = 1.5"),
        ["2:7: pools.point.max: expected an integer, found the float 1.5"]
    );
    assert_eq!(
        mistakes_in("[cache]\nttl_jitter = true"),
        ["2:14: cache.ttl_jitter: expected a number, found the boolean true"]
    );
    assert_eq!(
        mistakes_in("[collections.x]\ntable = [\"x\"]"),
        ["2:9: collections.x.table: expected a string, found an array"]
    );
    assert_eq!(
        mistakes_in("[collections.x]\ntable = \"x\"\nkey = [1]"),
        ["3:7: collections.x.key: expected a string, found the integer 1"]
    );
    assert_eq!(
        mistakes_in("[http]\nheader_timeout = 10"),
        ["2:18: http.header_timeout: expected a duration such as \"250ms\", \"60s\" or \"5m\", found the integer 10"]
    );
}

#[test]
fn values_out_of_range() {
    assert_eq!(mistakes_in("[pools.point]\nmax = 0"), ["2:7: pools.point.max: must be between 1 and 1000, found 0"]);
    assert_eq!(mistakes_in("[pools.scan]\nmin = 9"), ["2:7: pools.scan.min: is 9, more than `max` (8)"]);
    assert_eq!(mistakes_in("[cache]\nbuckets = 1000"), ["2:11: cache.buckets: must be a power of two, such as 1024"]);
    assert_eq!(
        mistakes_in("[cache]\nttl_jitter = nan"),
        ["2:14: cache.ttl_jitter: must be between 0 and 0.9, found the float nan"]
    );
    assert_eq!(
        mistakes_in("[cache]\nl1_bytes = \"1MiB\"\nmax_entry_bytes = \"2MiB\""),
        ["3:19: cache.max_entry_bytes: `max_entry_bytes` must not be more than `l1_bytes`"]
    );
    assert_eq!(
        mistakes_in("[cache]\nl1_bytes = \"1MiB\"\nlist_bytes = \"1MiB\""),
        ["3:14: cache.list_bytes: `list_bytes` is a part of `l1_bytes` and must be less"]
    );
    assert_eq!(
        mistakes_in("[http]\nmax_body_bytes = \"300MiB\""),
        ["2:18: http.max_body_bytes: must be between 1B and 256MiB, found 300MiB"]
    );
    assert_eq!(
        mistakes_in("[collections.x]\ntable = \"x\"\nttl = \"0s\""),
        ["3:7: collections.x.ttl: must be between 1ms and 31622400s, found \"0s\""]
    );
    assert_eq!(
        mistakes_in("[http]\nmax_streams = 99999999999999999999"),
        ["2:15: http.max_streams: must be between 1 and 10000, found 99999999999999999999"]
    );
}

#[test]
fn bad_durations_and_sizes() {
    for text in ["60", "s", "", "1.5s", "-1s", "60 sec", "99999999999999d"] {
        let errors = mistakes_in(&format!("[http]\nbody_timeout = \"{text}\""));
        assert!(errors.len() == 1 && errors[0].contains("expected a duration"), "{text}: {errors:?}");
    }
    for text in ["\"256\"", "\"MiB\"", "\"1.5MiB\"", "\"256 mb\"", "-1", "1.0", "\"99999999999GiB\""] {
        let errors = mistakes_in(&format!("[cache]\nl1_bytes = {text}"));
        assert!(errors.len() == 1 && errors[0].contains("expected a size"), "{text}: {errors:?}");
    }
}

#[test]
fn bad_urls_never_show_what_they_hold() {
    let cases = [
        ("postgres://u:hunter2@/db", "names no host"),
        ("postgres://u:hunter2@h:0/db", "port"),
        ("postgres://u:hunter2@h:99999/db", "port"),
        ("postgres://u:hunter2@[::1/db", "lacks its ]"),
        ("postgres://u:hunter2@a,b/db", "several hosts"),
        ("postgres://u:hunter2%zz@h/db", "hexadecimal"),
        ("postgres://u:hunter2@h/my db", "spaces"),
        ("http://u:hunter2@h/db", "expected a URL"),
    ];
    for (url, says) in cases {
        let errors = mistakes(&LEAST.replace("postgres://app@db-a/app", url));
        assert!(errors.len() == 1 && errors[0].starts_with("2:11: shards.a.primary: "), "{url}: {errors:?}");
        assert!(errors[0].contains(says) && !errors[0].contains("hunter2"), "{url}: {errors:?}");
    }
    let socket = LEAST.replace("postgres://app@db-a/app", "postgres:///app?host=/run/postgresql");
    super::parse(&socket).expect("a socket folder is a host");
}

#[test]
fn secrets_that_are_not_there() {
    let errors = mistakes(&LEAST.replace("postgres://app@db-a/app", "env:SHARD_A"));
    assert_eq!(errors, ["2:11: shards.a.primary: the environment variable \"SHARD_A\" is not set"]);
    let errors = mistakes(&LEAST.replace("postgres://app@db-a/app", "file:/nonexistent"));
    assert!(errors[0].starts_with("2:11: shards.a.primary: /nonexistent: "), "{errors:?}");
    let text = LEAST.replace("postgres://app@db-a/app", "env:SHARD_A");
    let errors = parse_with(&text, &[("SHARD_A", "")], Path::new("")).expect_err("empty").to_string();
    assert!(errors.ends_with("env:SHARD_A is empty"), "{errors}");
    let errors = mistakes_in("[admin]\ntoken = \"two words\"");
    assert_eq!(errors, ["2:9: admin.token: a token is printable ASCII without spaces, and not empty"]);
    let errors = mistakes_in("[admin]\ntoken = 12345");
    assert_eq!(errors, ["2:9: admin.token: expected a string, found an integer"]);
}

#[test]
fn what_later_versions_have_is_told_from_a_spelling_mistake() {
    assert_eq!(
        mistakes_in("[journal]\nclass = \"replicated\"\ndir = \"j\""),
        ["2:9: journal.class: `replicated` is not in this version yet; available: `local`"]
    );
    assert_eq!(
        mistakes_in("[shards.z]\nprimary=\"postgres://z\"\nreplicas = []"),
        ["3:1: shards.z.replicas: not supported by this version"]
    );
    assert_eq!(
        mistakes_in("[collections.x]\ntable = \"x\"\nmode = \"write-behind\""),
        ["3:8: collections.x.mode: `write-behind` needs a journal; add [journal] with its `dir`"]
    );
    let cluster = "[cluster]\nlisten = \"127.0.0.1:1\"\nsecret = \"0123456789abcdef\"\n[journal]\ndir = \"j\"";
    assert_eq!(
        mistakes_in(&format!("{cluster}\n[collections.x]\ntable = \"x\"\nmode = \"write-behind\"")),
        [
            "8:8: collections.x.mode: `write-behind` with the journal's class `local` is for one gateway: other gateways \
          would not see what this one acknowledged. Remove [cluster], or choose another mode"
        ]
    );
    assert_eq!(
        mistakes_in("[collections.x]\ntable = \"x\"\nconsistency = \"bounded\""),
        ["3:15: collections.x.consistency: `bounded` rests on the change feed; add `[feed] enabled = true`"]
    );
    assert_eq!(
        mistakes_in("[collections.x]\ntable = \"x\"\nmax_staleness = \"2s\"\nstale_if_error = \"1m\""),
        [
            "3:17: collections.x.max_staleness: is for `consistency = \"bounded\"` only; strict reads are never stale",
            "4:18: collections.x.stale_if_error: is for `consistency = \"bounded\"` only; strict reads are never stale",
        ]
    );
    assert_eq!(
        mistakes_in(
            "[feed]\nenabled = true\n[collections.x]\ntable = \"x\"\nconsistency = \"bounded\"\nmax_staleness = \"1ms\""
        ),
        ["6:17: collections.x.max_staleness: must be between 250ms and 31622400s, found \"1ms\""]
    );
}

#[test]
fn a_cdn_is_offered_only_what_is_the_same_for_everybody() {
    let told = |more: &str, before: &str| mistakes_in(&format!("{before}[collections.x]\ntable = \"x\"\n{more}"));
    assert_eq!(told("cdn_ttl = \"1m\"", ""), ["3:11: collections.x.cdn_ttl: is for `cache_control = \"public\"` only"]);
    assert_eq!(
        told("cdn_ttl = \"1m\"\ncache_control = \"public\"\nmode = \"bypass\"", ""),
        ["3:11: collections.x.cdn_ttl: is not for mode `bypass`, whose answers nobody keeps"]
    );
    let classified = "[policies]\ndir = \"p\"\n[policies.classify]\nplugin = \"c\"\n\
        [tenants.classes.free]\n[tenants.known.acme]\nclass = \"free\"\n";
    assert_eq!(
        told("cdn_ttl = \"1m\"\ncache_control = \"public\"", classified),
        ["10:11: collections.x.cdn_ttl: has no effect with [policies.classify]: answers of a tenant are not offered \
          to a CDN"]
    );
    let settings = parse_with(&format!("{LEAST}cache_control = \"public\"\ncdn_ttl = \"1m\"\n"), &[], Path::new(""));
    let settings = settings.expect("valid");
    assert_eq!(settings.collections["products"].cdn_ttl, Some(std::time::Duration::from_secs(60)));
}

#[test]
fn one_database_is_not_two_shards() {
    assert_eq!(
        mistakes_in("[shards.z]\nprimary=\"postgres://app@db-a/app\""),
        ["4:11: shards.a.primary: is the database of shard `z`"]
    );
}

#[test]
fn keys_that_contradict_each_other() {
    let table = "[collections.x]\ntable = \"x\"\n";
    assert_eq!(
        mistakes_in(&format!("{table}key = [\"a\"]\nshard_key = [\"b\"]")),
        ["4:13: collections.x.shard_key: `b` is not in `key`; the shard key must be part of the primary key"]
    );
    assert_eq!(
        mistakes_in(&format!("{table}key = [\"a\"]\ncolumns = [\"b\"]")),
        ["4:11: collections.x.columns: lacks the key column `a`"]
    );
    assert_eq!(
        mistakes_in(&format!("{table}columns = [\"b\", \"b\"]")),
        ["3:11: collections.x.columns: names `b` twice"]
    );
    assert_eq!(
        mistakes_in(&format!("{table}columns = []")),
        ["3:11: collections.x.columns: must not be empty; leave the key out for the default"]
    );
    assert_eq!(
        mistakes_in(&format!("{table}columns = [\"a\", \"b\"]\ntrack = [\"b\", \"c\"]")),
        ["4:9: collections.x.track: `c` is not in `columns`; clients cannot ask for it"]
    );
    assert_eq!(
        mistakes_in(&format!("{table}track = [\"a\", \"b\", \"c\", \"d\", \"e\", \"f\", \"g\", \"h\", \"i\"]")),
        ["3:9: collections.x.track: names 9 columns; at most 8 are tracked"]
    );
}

#[test]
fn names_that_cannot_be_served() {
    assert_eq!(
        mistakes_in("[shards.\"a b\"]\nprimary=\"postgres://z\""),
        ["1:9: shards.\"a b\": a shard's name has 1 to 63 ASCII letters, digits, `_` or `-`"]
    );
    let errors = mistakes_in("[collections.\"a/b\"]\ntable=\"x\"");
    assert!(errors[0].starts_with("1:14: collections.\"a/b\": a collection's name is one path segment"), "{errors:?}");
}

#[test]
fn a_plugin_is_a_file_of_the_folder() {
    let with = |plugin: &str| mistakes_in(&format!("[policies]\ndir = \"p\"\n[policies.route]\nplugin = \"{plugin}\""));
    assert_eq!(with("r.wasm"), ["4:10: policies.route.plugin: is the file's name without .wasm: \"r\""]);
    for path in ["../r", "a/b", ".hidden", "a b"] {
        assert_eq!(
            with(path),
            ["4:10: policies.route.plugin: is a file's name in `policies.dir` without .wasm, not a path"]
        );
    }
    assert_eq!(
        mistakes_in("[policies.route]\nplugin = \"r\"\nconfig = 1\nfallback = \"none\""),
        [
            "1:2: policies.dir: is required where [policies.route] names a plugin",
            "3:10: policies.route.config: expected an inline table such as { salt = \"x\" }",
            "4:12: policies.route.fallback: expected one of `hash`, `all-shards`, `refuse`, found the string \"none\"",
        ]
    );
}

#[test]
fn columns_count_characters_not_bytes() {
    assert_eq!(mistakes_in("x = { \"ü\" = 1 }, y"), mistakes_in("x = { \"u\" = 1 }, y"));
}

#[test]
fn the_shared_tier_is_a_url_and_its_other_keys_need_it() {
    assert_eq!(
        mistakes_in("[cache]\nl2 = \"redis://u:hunter2@a,b\""),
        ["2:6: cache.l2: names several servers; say redis+sentinel:// or redis+cluster:// before them"]
    );
    assert_eq!(mistakes_in("[cache]\nl2 = 6379"), ["2:6: cache.l2: expected a string, found an integer"]);
    assert_eq!(
        mistakes_in("[cache]\nl2_timeout = \"5ms\"\nl2_compress_above = \"1KiB\""),
        [
            "2:14: cache.l2_timeout: has no effect without `l2`",
            "3:21: cache.l2_compress_above: has no effect without `l2`"
        ]
    );
    let errors = mistakes_in("[cache]\nl2 = \"env:NOWHERE\"\nl2_timeout = \"5s\"");
    assert!(
        errors[0].contains("NOWHERE") && errors[1].starts_with("3:14: cache.l2_timeout: must be between"),
        "{errors:?}"
    );
}

#[test]
fn a_cluster_needs_an_address_that_others_reach_and_a_secret_that_nobody_guesses() {
    assert_eq!(
        mistakes_in("[cluster]\nid = \"a b\"\nlease = \"1m\""),
        [
            "1:2: cluster.listen: is required",
            "1:2: cluster.secret: is required",
            "2:6: cluster.id: expected 1 to 64 letters, digits, `.`, `_` or `-`",
            "3:9: cluster.lease: must be between 200ms and 10s, found \"1m\"",
        ]
    );
    assert_eq!(
        mistakes_in("[cluster]\nlisten = \"0.0.0.0:7946\"\nsecret = \"tooshort\""),
        [
            "1:2: cluster.advertise: is required where `listen` is on every address: other gateways must know one that reaches this one",
            "3:10: cluster.secret: must have at least 16 characters; `openssl rand -hex 32` makes one",
        ]
    );
    for wrong in ["gateway", "gateway:", ":7946", "fd00::1:7946", "a b:1", "gateway:99999"] {
        let text =
            format!("[cluster]\nlisten = \"127.0.0.1:7946\"\nsecret = \"0123456789abcdef\"\nadvertise = \"{wrong}\"");
        assert!(mistakes_in(&text)[0].contains("expected a host and a port"), "{wrong}");
    }
}
