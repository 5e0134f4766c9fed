//! `tidegate plugin inspect`.

use crate::support::{guest, plugin};
use serde_json::{Value, json};

fn report(name: &str) -> Value {
    serde_json::from_str(&plugin(&["inspect", &guest(name), "--json"]).done()).expect("JSON")
}

#[test]
fn a_policy_is_described_for_people() {
    let out = plugin(&["inspect", &guest("tier-classifier")]).done();
    let digest = report("tier-classifier")["sha256"].as_str().expect("text").to_owned();
    for line in [
        "\ncontract  tidegate:policy@0.1.0, world classifier\n",
        "\n  classify      header:host, header:x-tenant, header:x-api-key (secret), claim:tenant, claim:tier\n",
        "\n  tidegate:policy/lifecycle@0.1.0\n",
        "\n  tidegate:policy/classify@0.1.0\n",
        "\nconfig schema\n  {\n",
        &format!("\nsha256    {digest}\n"),
    ] {
        assert!(out.contains(line), "{line:?} is not in\n{out}");
    }
}

#[test]
fn what_tools_want_to_know_is_json() {
    let report = report("hash-router");
    assert_eq!(report["hooks"], json!([{"hook": "route", "inputs": [{"name": "shard-key", "secret": false}]}]));
    assert_eq!(
        (&report["form"], &report["world"], &report["wit"]),
        (&json!("core-module"), &json!("router"), &json!("0.1.0"))
    );
    let imports = report["imports"].as_array().expect("a list");
    let topology = imports.iter().find(|import| import["interface"] == "tidegate:policy/host-topology@0.1.0");
    assert_eq!(topology.expect("imported")["grant"], "topology");
    assert_eq!(report["sha256"].as_str().map(str::len), Some(64));
    assert_eq!(report["size"], std::fs::metadata(guest("hash-router")).expect("built").len());
    assert_eq!(report["config_schema"]["additionalProperties"], false);
    let needs = &report["needs"];
    assert!(needs["core_instances"].as_u64() >= Some(1), "{needs}");
    assert!(needs["min_memory"].as_u64() >= Some(64 << 10), "{needs}");
}
