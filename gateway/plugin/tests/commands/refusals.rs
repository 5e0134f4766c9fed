//! What an author is told about a policy that the gateway would refuse.

use crate::support::{guest, plugin, write};

#[track_caller]
fn refusal(policy: &str) -> String {
    plugin(&["inspect", policy]).error()
}

#[test]
fn a_policy_without_a_hook_is_told_which_there_are() {
    let says = refusal(&guest("testing/no-route"));
    assert!(says.contains("classify") && says.contains("route") && says.contains("invalidate"), "{says}");
}

#[test]
fn wasi_is_refused_with_the_target_to_build_for() {
    let says = refusal(&guest("testing/wasi-import"));
    assert!(says.contains("wasi_snapshot_preview1") && says.contains("wasm32-unknown-unknown"), "{says}");
}

/// What is said of a component written here.
#[track_caller]
fn refusal_of(text: &str) -> String {
    let dir = tempfile::tempdir().expect("a folder");
    refusal(&write(dir.path(), "policy.wasm", wat::parse_str(text).expect("valid text")))
}

#[test]
fn a_foreign_import_is_refused_by_name_with_those_there_are() {
    for import in ["acme:kv/store@1.0.0", "tidegate:policy/host-clock@0.1.0"] {
        let says = refusal_of(&format!(
            r#"(component (import "tidegate:policy/host-log@0.1.0" (instance)) (import "{import}" (instance)))"#
        ));
        assert!(
            says.contains(&format!("it imports {import}. Import only interfaces of tidegate:policy@0.1.0: host-log")),
            "{says}"
        );
    }
    let says = refusal_of(r#"(component (import "wasi:clocks/monotonic-clock@0.2.0" (instance)))"#);
    assert!(says.contains("it imports wasi:clocks/monotonic-clock@0.2.0. A policy has no clock"), "{says}");
}

#[test]
fn another_version_of_the_interface_is_told_from_a_wrong_import() {
    let says = refusal_of(r#"(component (import "tidegate:policy/host-log@0.2.0" (instance)))"#);
    assert!(
        says.contains("it is built for tidegate:policy 0.2.0; this gateway runs 0.1.0. Rebuild it with the SDK"),
        "{says}"
    );
}

#[test]
fn missing_exports_are_named() {
    for nothing in ["(component)", "(module)"] {
        let says = refusal_of(nothing);
        assert!(
            says.contains("it does not export tidegate:policy/lifecycle@0.1.0. Build it against a world"),
            "{says}"
        );
    }
    let says = refusal_of(
        r#"(component (instance $i) (export "tidegate:policy/lifecycle@0.1.0" (instance $i))
                      (instance $j) (export "tidegate:policy/route@0.1.0" (instance $j)))"#,
    );
    assert!(says.contains("`tidegate:policy/lifecycle@0.1.0` does not have export `describe`"), "{says}");
}

/// What is said of the faulty guest with this configuration.
#[track_caller]
fn configured(config: &str) -> String {
    let dir = tempfile::tempdir().expect("a folder");
    let vectors =
        format!(r#"{{"sets":[{{"config":{config},"cases":[{{"ask":{{"hook":"route"}},"expect":{{"all":true}}}}]}}]}}"#);
    let file = write(dir.path(), "vectors.json", vectors);
    plugin(&["test", &guest("testing/faulty"), "--vectors", &file]).found()
}

#[test]
fn each_step_of_coming_up_says_whose_turn_it_is() {
    let says = configured(r#"{"configure":"no"}"#);
    assert!(
        says.contains(
            "configure failed (policy-error): bad-input: refused as asked: no. Correct [policies.HOOK] config"
        ),
        "{says}"
    );
    for (config, happened) in [
        (r#"{"configure":"trap"}"#, "configure failed (trap)"),
        (r#"{"configure":"hoard"}"#, "configure failed (memory): it asked for "),
        (r#"{"self-test":"trap"}"#, "self-test failed (trap)"),
        (r#"{"self-test":"no"}"#, "self-test failed (policy-error): bad-input: refused as asked: no"),
    ] {
        let says = configured(config);
        assert!(says.contains(happened) && says.contains(". Correct the plugin"), "{says}");
    }
}

#[test]
fn a_configuration_that_does_not_fit_the_schema_is_told_by_place() {
    let dir = tempfile::tempdir().expect("a folder");
    let vectors =
        r#"{"sets":[{"config":{"bucket":1,"buckets":-1},"cases":[{"ask":{"hook":"route"},"expect":{"all":true}}]}]}"#;
    let file = write(dir.path(), "vectors.json", vectors);
    let says = plugin(&["test", &guest("hash-router"), "--vectors", &file]).found();
    for part in [
        "config/buckets: -1 is less than the minimum of 1",
        "'bucket' was unexpected",
        "Correct [policies.HOOK] config",
    ] {
        assert!(says.contains(part), "{says}");
    }
}

#[test]
fn what_is_no_webassembly_is_told_so() {
    let dir = tempfile::tempdir().expect("a folder");
    let says = refusal(&write(dir.path(), "policy.wasm", "#!/bin/sh\n"));
    assert!(says.contains("policy.wasm") && says.contains("it is not WebAssembly"), "{says}");
    let bytes = std::fs::read(guest("hash-router")).expect("built");
    let says = refusal(&write(dir.path(), "cut.wasm", &bytes[..bytes.len() / 2]));
    assert!(says.contains("cut.wasm") && says.contains("is refused"), "{says}");
    let says = refusal("/nowhere/policy.wasm");
    assert!(says.starts_with("cannot read /nowhere/policy.wasm: "), "{says}");
}

#[test]
fn a_folder_that_is_no_policys_says_what_to_do() {
    let dir = tempfile::tempdir().expect("a folder");
    let says = refusal(dir.path().to_str().expect("UTF-8"));
    assert!(says.contains("has no policy.toml") && says.contains("tidegate plugin new"), "{says}");
    write(dir.path(), "policy.toml", "language = \"c\"\nbuild = [\"make\"]\noutput = \"policy.wasm\"\n");
    let says = refusal(dir.path().to_str().expect("UTF-8"));
    assert!(says.contains("policy.wasm is not there: build it with `tidegate plugin build "), "{says}");
}
