//! Policies and tenants that are wrong: where, and what the message says.

use super::mistakes_in;

const KEY: &str = "ed25519:11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";

/// A classifier and what it needs: six lines.
const TENANCY: &str = "\
[policies]
dir = \"p\"
classify.plugin = \"c\"
[tenants.classes.paid]
[tenants.known.acme]
class = \"paid\"
";

fn with_tenancy(text: &str) -> Vec<String> {
    mistakes_in(&format!("{TENANCY}{text}"))
}

fn in_hook(hook: &str, lines: &str) -> Vec<String> {
    let tenants = if hook == "classify" { "[tenants.classes.x]\n[tenants.known.y]\nclass = \"x\"" } else { "" };
    mistakes_in(&format!("[policies]\ndir = \"p\"\n[policies.{hook}]\nplugin = \"x\"\n{lines}\n{tenants}"))
}

#[test]
fn every_hook_needs_the_folder_and_says_so_once() {
    assert_eq!(
        mistakes_in("[policies.invalidate]\nplugin = \"r\"\n[policies.cache-policy]\nplugin = \"r\""),
        ["1:2: policies.dir: is required where [policies.cache-policy] names a plugin"]
    );
    assert_eq!(
        mistakes_in("[policies]\ncache_policy = 1"),
        ["2:1: policies.cache_policy: unknown key; did you mean `cache-policy`?"]
    );
}

#[test]
fn only_routing_falls_back_and_moves_rows() {
    assert_eq!(
        in_hook("cache-policy", "fallback = \"hash\"\nallow_moves = true"),
        [
            "5:1: policies.cache-policy.fallback: only [policies.route] has a fallback; where `cache-policy` fails, the cache is bypassed",
            "6:1: policies.cache-policy.allow_moves: only [policies.route] has it: no other hook places rows",
        ]
    );
    let says = |hook: &str| in_hook(hook, "fallback = \"hash\"").concat();
    assert!(says("classify").contains("requests are refused with 503"), "{}", says("classify"));
    assert!(says("invalidate").contains("everything it might have meant is purged"), "{}", says("invalidate"));
}

#[test]
fn grants_are_names_of_interfaces() {
    assert_eq!(
        in_hook("route", "grants = [\"log\", \"dirctory\"]"),
        [
            "5:10: policies.route.grants: expected one of `log`, `metrics`, `topology`, `directory`, found the string \"dirctory\"; did you mean `directory`?"
        ]
    );
    assert_eq!(in_hook("route", "grants = [\"log\", \"log\"]"), ["5:10: policies.route.grants: names `log` twice"]);
    assert_eq!(
        in_hook("route", "grants = \"log\""),
        ["5:10: policies.route.grants: expected an array such as [\"log\", \"directory\"], found the string \"log\""]
    );
}

#[test]
fn isolation_is_one_of_three_and_classification_has_no_tenant_yet() {
    assert_eq!(
        in_hook("invalidate", "isolation = \"tenant\""),
        [
            "5:13: policies.invalidate.isolation: expected one of `shared`, `per-tenant`, `fresh`, found the string \"tenant\"; did you mean `per-tenant`?"
        ]
    );
    assert_eq!(
        in_hook("classify", "isolation = \"per-tenant\""),
        ["5:13: policies.classify.isolation: must be `fresh` or `shared`: the tenant is what `classify` is asked for"]
    );
}

#[test]
fn trusted_keys_are_public_keys() {
    let says = |keys: &str| mistakes_in(&format!("[policies]\ntrusted_keys = {keys}"));
    for key in ["x", "ed25519:AAAA", "ed25519:", &KEY[8..], &KEY[..KEY.len() - 1]] {
        let errors = says(&format!("[\"{KEY}\", \"{key}\"]"));
        let expected = format!("2:16: policies.trusted_keys: \"{key}\" is no public key; a key is `ed25519:` and 44");
        assert!(errors.len() == 1 && errors[0].starts_with(&expected), "{errors:?}");
    }
    assert_eq!(says(&format!("[\"{KEY}\", \"{KEY}\"]")), [format!("2:16: policies.trusted_keys: names `{KEY}` twice")]);
}

#[test]
fn bounds_of_policies() {
    assert_eq!(
        mistakes_in("[policies.fall_back]\nmax_error_rate = 5\nmax_p99 = \"0s\"\nmin_calls = 0"),
        [
            "2:18: policies.fall_back.max_error_rate: must be between 0 and 1, found the integer 5",
            "3:11: policies.fall_back.max_p99: must be between 1µs and 10s, found \"0s\"",
            "4:13: policies.fall_back.min_calls: must be between 1 and 1000000, found 0",
        ]
    );
    assert_eq!(
        mistakes_in("[policies]\nguard_keys = 0\n[policies.record]\nmax_bytes = 1"),
        [
            "2:14: policies.guard_keys: must be between 1 and 1000000, found 0",
            "3:11: policies.record.file: is required",
            "4:13: policies.record.max_bytes: must be between 1KiB and 1TiB, found 1B",
        ]
    );
}

#[test]
fn a_directory_is_a_table_of_a_shard() {
    let directory = "table = \"t\"\nkey = \"k\"\nvalue = \"v\"\n";
    assert_eq!(
        mistakes_in(&format!("[policies.directories.d]\n{directory}shard = \"b\"\nrefresh = \"1ms\"")),
        [
            "5:9: policies.directories.d.shard: there is no shard `b`; there are: `a`",
            "6:11: policies.directories.d.refresh: must be between 100ms and 3600s, found \"1ms\"",
        ]
    );
    assert_eq!(
        mistakes_in("[policies.directories.d]\nmax_rows = 0"),
        [
            "1:23: policies.directories.d.shard: is required",
            "1:23: policies.directories.d.table: is required",
            "1:23: policies.directories.d.key: is required",
            "1:23: policies.directories.d.value: is required",
            "2:12: policies.directories.d.max_rows: must be between 1 and 10000000, found 0",
        ]
    );
    let errors = mistakes_in(&format!("[policies.directories.\"a\\nb\"]\n{directory}shard = \"a\""));
    assert!(errors[0].starts_with("1:23: policies.directories.\"a\\nb\": a directory's name has"), "{errors:?}");
}

#[test]
fn a_shard_that_is_wrong_is_still_known_by_name() {
    let text = "[shards.b]\n[policies.directories.d]\nshard = \"b\"\ntable = \"t\"\nkey = \"k\"\nvalue = \"v\"";
    assert_eq!(mistakes_in(text), ["1:9: shards.b.primary: is required"]);
}

#[test]
fn tenants_name_classes_shards_and_regions_that_there_are() {
    let tenant = "[tenants.known.b]\nclass = \"pait\"\nshards = [\"a\", \"z\"]\nresidency = [\"eu\"]";
    assert_eq!(
        with_tenancy(tenant),
        [
            "8:9: tenants.known.b.class: there is no class `pait`; did you mean `paid`?",
            "9:10: tenants.known.b.shards: there is no shard `z`; there are: `a`",
            "10:13: tenants.known.b.residency: there is no shard with the region `eu`",
        ]
    );
    assert_eq!(with_tenancy("[tenants.known.b]"), ["7:16: tenants.known.b.class: is required"]);
    let shards = "[shards.n]\nprimary = \"postgres://n/x\"\nregion = \"eu-north\"\n";
    assert_eq!(
        with_tenancy(&format!("{shards}[tenants.known.b]\nclass = \"paid\"\nresidency = \"eu-nord\"")),
        ["12:13: tenants.known.b.residency: there is no shard with the region `eu-nord`; did you mean `eu-north`?"]
    );
    let away = "[tenants.known.b]\nclass = \"paid\"\nshards = \"a\"\nresidency = \"eu-north\"";
    assert_eq!(
        with_tenancy(&format!("{shards}{away}")),
        ["13:13: tenants.known.b.residency: none of its `shards` is in eu-north"]
    );
}

#[test]
fn tenants_and_their_classifier_need_each_other() {
    assert_eq!(
        mistakes_in("[tenants.classes.free]\n[tenants.known.acme]\nclass = \"free\""),
        [
            "1:2: tenants: nothing says whose a request is, so no tenant would be told from another; add [policies.classify] with a plugin, or remove this table"
        ]
    );
    assert_eq!(
        mistakes_in("[policies]\ndir = \"p\"\n[policies.classify]\nplugin = \"c\""),
        [
            "3:11: policies.classify: needs at least one [tenants.known.NAME]: a tenant that is not known is refused with 403"
        ]
    );
}

#[test]
fn classes_are_names_and_nothing_else() {
    assert_eq!(
        with_tenancy("[tenants.classes.gold]\nttl = 1"),
        ["8:1: tenants.classes.gold.ttl: unknown key; this table has none"]
    );
    assert_eq!(
        with_tenancy("[tenants.classes.\"a b\"]"),
        ["7:18: tenants.classes.\"a b\": a class's name has 1 to 63 ASCII letters, digits, `_` or `-`"]
    );
    assert_eq!(
        with_tenancy("[tenants.known.\"\"]\nclass = \"paid\""),
        ["7:16: tenants.known.\"\": a tenant's name has 1 to 256 bytes, without control characters"]
    );
}
