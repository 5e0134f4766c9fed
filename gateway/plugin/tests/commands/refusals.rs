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
