//! The hash router places rows alike in every implementation: swapping one for another moves no row.

mod support;

use std::path::Path;

use serde::Deserialize;
use support::{Setup, collection, guest, route};
use tidegate_policy::PolicyHost;
use tidegate_types::route::{Access, Topology};

#[derive(Deserialize)]
struct Vectors {
    sets: Vec<Set>,
}

#[derive(Deserialize)]
struct Set {
    shards: Vec<String>,
    config: serde_json::Value,
    #[serde(default)]
    cases: Vec<serde_json::Value>,
}

fn check(what: &str, start: impl Fn(&[&'static str]) -> PolicyHost) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins/vectors/hash-router.json");
    let vectors: Vectors = serde_json::from_slice(&std::fs::read(file).expect("vectors")).expect("valid");
    let products = collection("products");
    for set in vectors.sets.into_iter().filter(|set| set.config == serde_json::json!({})) {
        // Leaked, because shard names of a test are static; a few bytes.
        let shards: Vec<&'static str> = set.shards.iter().map(|name| &*name.clone().leak()).collect();
        let topology = Topology::new(shards.iter().map(|name| (*name).into()));
        let host = start(&shards);
        let cases = set.cases.iter().filter_map(|case| {
            Some((case["ask"]["inputs"]["shard-key"].as_str()?, case["expect"]["shards"][0].as_str()?))
        });
        for (key, shard) in cases {
            for access in [Access::Read, Access::Write] {
                let route = route(&host, &products, access, Some(key)).expect("routed");
                let names: Vec<&str> = route.shards.iter().map(|id| topology.name(*id)).collect();
                assert_eq!(names, [shard], "{what}: {key:?} among {shards:?}");
            }
        }
        let list = route(&host, &products, Access::Read, None).expect("routed");
        assert_eq!(list.shards, topology.all(), "{what}: a list goes everywhere");
    }
}

fn check_guest(name: &str) {
    check(name, |shards| Setup { shards: shards.to_vec(), ..Setup::default() }.start(name).host);
}

#[test]
fn built_in() {
    check("built-in", |shards| support::built_in(shards).0);
}

#[test]
fn rust_guest() {
    check_guest("hash-router");
}

#[test]
fn c_guest() {
    check_guest("hash-router-c");
}

#[test]
fn next_version_of_the_rust_guest() {
    check_guest("testing/hash-router-next");
}

#[test]
fn a_component_and_the_core_module_it_is_made_of_are_the_same_policy() {
    let module = guest("hash-router");
    assert_eq!(module[4..8], [1, 0, 0, 0], "dist holds core modules");
    let component = wit_component::ComponentEncoder::default().module(&module).and_then(|e| e.encode());
    let component = component.expect("a component");
    check("component", |shards| {
        Setup { shards: shards.to_vec(), ..Setup::default() }.try_start(&component).expect("loads").host
    });
}
