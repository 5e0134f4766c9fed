//! `tidegate plugin new` and `build`.

use std::{fs, path::Path};

use crate::support::{checkout, guest, plugin, text, write};

fn project(dir: &Path, build: &str, output: &str) -> String {
    write(dir, "policy.toml", format!("language = \"c\"\nbuild = {build}\noutput = {output:?}\n"));
    text(dir)
}

#[test]
fn a_new_policy_has_its_name_and_the_sdk_filled_in() {
    let dir = tempfile::tempdir().expect("a folder");
    let made = dir.path().join("shop-router");
    let sdk = text(&checkout("sdk"));
    let out = plugin(&["new", "--lang", "rust", "shop-router", "--sdk", &sdk, "--dir", &text(&made)]).done();
    let shown = made.display();
    for line in [
        format!("tidegate plugin build {shown}"),
        format!("tidegate plugin test {shown}"),
        format!("tidegate plugin inspect {shown}"),
    ] {
        assert!(out.contains(&line), "{out}");
    }
    let manifest = fs::read_to_string(made.join("Cargo.toml")).expect("written");
    assert!(manifest.contains("name = \"shop-router\"") && manifest.contains(&sdk), "{manifest}");
    let source = fs::read_to_string(made.join("src/lib.rs")).expect("written");
    assert!(
        source.contains("impl Router") && !source.contains("impl Classifier") && !source.contains("{{"),
        "{source}"
    );
    assert!(made.join("policy.toml").is_file() && made.join("README.md").is_file());
    tidegate_plugin::vectors::Vectors::read(&made.join("vectors.json")).expect("valid vectors");
}

#[test]
fn a_new_policy_answers_the_hooks_asked_for() {
    let dir = tempfile::tempdir().expect("a folder");
    let made = dir.path().join("tags");
    let (sdk, to) = (text(&checkout("sdk")), text(&made));
    let hooks = ["--hook", "cache-policy", "--hook", "invalidate"];
    plugin(&[&["new", "--lang", "rust", "tags", "--sdk", &sdk, "--dir", &to][..], &hooks].concat()).done();
    let source = fs::read_to_string(made.join("src/lib.rs")).expect("written");
    assert!(
        source.contains("impl CachePolicy") && source.contains("impl Invalidator") && !source.contains("impl Router"),
        "{source}"
    );
}

#[test]
fn nothing_is_overwritten() {
    let dir = tempfile::tempdir().expect("a folder");
    let (sdk, to) = (text(&checkout("sdk")), text(dir.path()));
    let error = plugin(&["new", "--lang", "rust", "r", "--sdk", &sdk, "--dir", &to]).error();
    assert!(error.contains("exists: choose another folder with --dir"), "{error}");
    assert_eq!(fs::read_dir(dir.path()).expect("there").count(), 0);
}

#[test]
fn an_sdk_that_is_not_there_and_a_language_that_is_none_are_told() {
    let dir = tempfile::tempdir().expect("a folder");
    let to = text(&dir.path().join("r"));
    let error = plugin(&["new", "--lang", "rust", "r", "--sdk", &text(dir.path()), "--dir", &to]).error();
    assert!(error.starts_with("no SDK for rust is at ") && error.contains("--sdk PATH"), "{error}");
    let error = plugin(&["new", "--lang", "cobol", "r"]).error();
    assert!(error.contains("invalid value 'cobol'") && error.contains("rust"), "{error}");
    let error = plugin(&["new", "--lang", "rust", "My Router"]).error();
    assert!(error.contains("\"My Router\" cannot be a policy's name"), "{error}");
}

#[test]
fn a_build_ends_with_what_the_gateway_would_say_of_it() {
    let dir = tempfile::tempdir().expect("a folder");
    let build = format!("[\"cp\", {:?}, \"policy.wasm\"]", guest("tier-classifier"));
    let out = plugin(&["build", &project(dir.path(), &build, "policy.wasm")]).done();
    assert!(
        out.contains("policy.wasm: tier-classifier ") && out.contains(": classify, tidegate:policy@0.1.0, "),
        "{out}"
    );
    let build = format!("[\"cp\", {:?}, \"policy.wasm\"]", guest("testing/wasi-import"));
    let error = plugin(&["build", &project(dir.path(), &build, "policy.wasm")]).error();
    assert!(error.contains("is refused") && error.contains("wasi"), "{error}");
}

#[test]
fn a_build_that_cannot_work_says_what_to_change() {
    let dir = tempfile::tempdir().expect("a folder");
    let build = |command: &str| plugin(&["build", &project(dir.path(), command, "policy.wasm")]).error();
    assert!(
        build(r#"["componentize-py-that-is-missing"]"#)
            .contains("is not installed, or not in PATH. `build` in policy.toml names it")
    );
    assert!(build(r#"["false"]"#).contains("`false` failed (exit status: 1)"));
    let says = build(r#"["true"]"#);
    assert!(says.contains("`true` went well, but") && says.contains("correct `output` in"), "{says}");
    assert!(build("[]").contains("build is empty"));
    assert!(build("\"make\"").contains("invalid type"));
}

#[test]
fn a_folder_without_a_policy_says_how_to_start_one() {
    let dir = tempfile::tempdir().expect("a folder");
    let error = plugin(&["build", &text(dir.path())]).error();
    assert!(error.contains("has no policy.toml") && error.contains("tidegate plugin new"), "{error}");
}
