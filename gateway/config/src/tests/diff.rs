//! What a changed file would change.

use std::path::Path;

use super::{LEAST, parse_with};
use crate::diff::{Effect, diff, diff_shown, shown};

fn lines(old: &str, new: &str) -> Vec<String> {
    let settings = |text: &str| {
        let environment = [("ONE", "postgres://app:hunter2@one/x"), ("TWO", "postgres://app:hunter3@two/x")];
        parse_with(text, &environment, Path::new("/etc/tidegate")).expect("valid")
    };
    diff(&settings(old), &settings(new)).iter().map(ToString::to_string).collect()
}

/// What `text` before `LEAST` changes to `other`.
fn between(text: &str, other: &str) -> Vec<String> {
    lines(&format!("{text}\n{LEAST}"), &format!("{other}\n{LEAST}"))
}

#[test]
fn nothing_changed_is_nothing_told() {
    assert_eq!(between("", ""), Vec::<String>::new());
    assert_eq!(between("", "[cache]\nbuckets = 65536\n[policies.fall_back]\nmin_calls = 20"), Vec::<String>::new());
    let same = between("[shards.x]\nprimary = \"env:ONE\"", "[shards.x]\nprimary = \"postgres://app:hunter2@one/x\"");
    assert_eq!(same, Vec::<String>::new());
}

#[test]
fn what_can_be_applied_is_told_from_what_takes_a_restart() {
    let old = "[http]\nlisten = \"127.0.0.1:80\"\n[pools.point]\nmax = 4\n[cache]\nl1_bytes = \"1MiB\"";
    let new = "[http]\nlisten = \"127.0.0.1:81\"\n[pools.point]\nmax = 5\n[cache]\nl1_bytes = \"2MiB\"";
    assert_eq!(
        between(old, new),
        [
            "~ http.listen: 127.0.0.1:80 -> 127.0.0.1:81 (takes a restart)",
            "~ pools.point.max: 4 -> 5",
            "~ cache.l1_bytes: 1048576 -> 2097152 (takes a restart)",
            "~ cache.list_bytes: 262144 -> 524288 (takes a restart)",
        ]
    );
    assert_eq!(
        between("[policies]\ndir = \"a\"", "[policies]\ndir = \"b\"\nstate = \"s\"\nguard_keys = 9"),
        [
            "~ policies.dir: \"/etc/tidegate/a\" -> \"/etc/tidegate/b\" (takes a restart)",
            "~ policies.guard_keys: 10000 -> 9",
            "+ policies.state: \"/etc/tidegate/s\" (takes a restart)",
        ]
    );
    let settings = |text: &str| parse_with(&format!("{text}\n{LEAST}"), &[], Path::new("")).expect("valid");
    let effects =
        diff(&settings(""), &settings("[collections.x]\ntable = \"x\"\n[shards.x]\nprimary = \"postgres://x\""));
    let effects: Vec<(&str, Effect)> = effects.iter().map(|one| (one.path.as_str(), one.effect)).collect();
    assert_eq!(effects, [("shards.x", Effect::Restart), ("collections.x", Effect::Live)]);
}

#[test]
fn differences_stand_in_the_order_of_sections() {
    let told = between("[cache]\nbuckets = 64", "[cache]\nbuckets = 128\n[admin]\ntoken = \"t\"");
    assert_eq!(told, ["+ admin.token: *** (takes a restart)", "~ cache.buckets: 64 -> 128 (takes a restart)"]);
}

#[test]
fn secrets_are_never_shown() {
    let with = |url: &str, token: &str| format!("[admin]\ntoken = \"{token}\"\n[shards.x]\nprimary = \"{url}\"");
    let told = between(&with("env:ONE", "s3cret"), &with("env:TWO", "s4cret"));
    assert_eq!(
        told,
        ["~ admin.token: *** -> *** (takes a restart)", "~ shards.x.primary: *** -> *** (takes a restart)",]
    );
    assert_eq!(
        between("", &with("env:ONE", "s3cret")),
        ["+ admin.token: *** (takes a restart)", "+ shards.x: { primary = *** } (takes a restart)",]
    );
}

#[test]
fn of_a_plugins_configuration_only_numbers_and_switches_are_shown() {
    let with =
        |config: &str| format!("[policies]\ndir = \"p\"\n[policies.route]\nplugin = \"r\"\nconfig = {{ {config} }}");
    assert_eq!(
        between(
            &with("buckets = 4, on = true, keys = { k-1 = \"a\" }"),
            &with("buckets = 8, on = false, keys = { k-2 = \"a\" }")
        ),
        [
            "~ policies.route.config.buckets: 4 -> 8",
            "~ policies.route.config.on: true -> false",
            "~ policies.route.config.keys: *** -> ***",
        ]
    );
}

#[test]
fn a_table_that_came_or_went_is_one_difference() {
    let shop = "[collections.\"order lines\"]\ntable = \"lines\"\nkey = \"id\"\nttl = \"250ms\"";
    let text = "\"order lines\": { table = \"lines\", key = [\"id\"], mode = \"cache-aside\", ttl = 250ms, negative_ttl = 5s, consistency = \"strict\", cache_control = \"private\", max_rows = 1000 }";
    assert_eq!(between("", shop), [format!("+ collections.{text}")]);
    assert_eq!(between(shop, ""), [format!("- collections.{text}")]);
    assert_eq!(
        between(shop, &shop.replace("250ms", "1m").replace("key = \"id\"\n", "")),
        ["- collections.\"order lines\".key: [\"id\"]", "~ collections.\"order lines\".ttl: 250ms -> 60s",]
    );
}

#[test]
fn policies_and_tenants_are_told_by_name() {
    let classify =
        "[policies]\ndir = \"p\"\n[policies.classify]\nplugin = \"c\"\nisolation = \"fresh\"\nconfig = { n = 1 }";
    let tenants = "[tenants.classes.free]\n[tenants.known.acme]\nclass = \"free\"\nshards = \"a\"";
    assert_eq!(
        between("[policies]\ndir = \"p\"", &format!("{classify}\n{tenants}")),
        [
            "+ policies.classify: { plugin = \"c\", config.n = 1, grants = [\"log\", \"metrics\", \"topology\"], isolation = \"fresh\" }",
            "+ tenants.classes.free: {}",
            "+ tenants.known.acme: { class = \"free\", shards = [\"a\"] }",
        ]
    );
    let other = tenants.replace("free", "paid").replace("\nshards = \"a\"", "");
    assert_eq!(
        between(&format!("{classify}\n{tenants}"), &format!("{classify}\n{other}")),
        [
            "- tenants.classes.free: {}",
            "~ tenants.known.acme.class: \"free\" -> \"paid\"",
            "- tenants.known.acme.shards: [\"a\"]",
            "+ tenants.classes.paid: {}",
        ]
    );
}

#[test]
fn names_that_begin_alike_are_not_mixed_up() {
    let (one, two) = ("[collections.x]\ntable = \"x\"\n", "[collections.xy]\ntable = \"xy\"\n");
    let told = between(&format!("{one}{two}"), "");
    assert!(told.len() == 2 && told[1].starts_with("- collections.xy: { table = \"xy\""), "{told:?}");
}

#[test]
fn what_is_shown_can_be_compared_without_its_secrets() {
    let settings = |text: &str| parse_with(text, &[], Path::new("/etc/tidegate")).expect("valid");
    let text = |url: &str, ttl: &str, salt: &str| {
        format!(
            "[shards.x]\nprimary = \"postgres://app:{url}@one/x\"\n[collections.c]\ntable = \"c\"\nttl = \"{ttl}\"\n\
             [policies]\ndir = \"p\"\n[policies.route]\nplugin = \"r\"\nconfig = {{ salt = \"{salt}\" }}\n\
             [collections.d]\ntable = \"d\""
        )
    };
    let old = shown(&settings(&text("hunter2", "5s", "pepper")));
    assert!(!format!("{old:?}").contains("hunter2") && !format!("{old:?}").contains("pepper"), "{old:?}");
    assert_eq!(diff_shown(&old, &settings(&text("hunter2", "5s", "pepper"))), []);
    let told =
        |text: &str| -> Vec<String> { diff_shown(&old, &settings(text)).iter().map(ToString::to_string).collect() };
    assert_eq!(told(&text("hunter3", "6s", "sugar")), ["~ collections.c.ttl: 5s -> 6s"], "secrets cannot be compared");
    let less = text("hunter2", "5s", "pepper").replace("[collections.d]\ntable = \"d\"", "");
    let told = told(&less);
    assert!(told.len() == 1 && told[0].starts_with("- collections.d: { table = \"d\""), "{told:?}");
}
