//! The same behaviour in every language: each built policy answers the golden vectors of its name.
//!
//! The build command of `plugins/` points `TIDEGATE_PLUGIN_DIST` at freshly built guests. Elsewhere those that are
//! checked in are asked; guests of languages whose files are too large for that are skipped, but not in continuous
//! integration.

use std::path::{Path, PathBuf};

use clap::Parser;
use tidegate_plugin::{Outcome, PluginArgs};

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    plugin: PluginArgs,
}

fn plugins() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins")
}

fn dist() -> PathBuf {
    std::env::var_os("TIDEGATE_PLUGIN_DIST").map_or_else(|| plugins().join("dist"), PathBuf::from)
}

/// The names of the golden vectors: one file for each policy.
fn vectors() -> Vec<String> {
    let files = std::fs::read_dir(plugins().join("vectors")).expect("a folder");
    let name = |file: std::io::Result<std::fs::DirEntry>| {
        let path = file.expect("readable").path();
        path.file_stem().and_then(|stem| stem.to_str()).expect("a name").to_owned()
    };
    let mut names: Vec<String> = files.map(name).collect();
    names.sort();
    names
}

/// Asks a built policy its vectors. Whether it is built; in continuous integration it must be.
fn answers(guest: &str, vectors: &str) -> bool {
    let wasm = dist().join(format!("{guest}.wasm"));
    if !wasm.is_file() {
        let advice = "run `plugins/build --into FOLDER` and set TIDEGATE_PLUGIN_DIST=FOLDER, as tests/run does";
        assert!(std::env::var_os("CI").is_none(), "{guest} is not built: {advice}");
        eprintln!("NOT TESTED: {guest} is not built: {advice}");
        return false;
    }
    let vectors = plugins().join("vectors").join(format!("{vectors}.json"));
    let args = ["plugin", "test", wasm.to_str().expect("UTF-8"), "--vectors", vectors.to_str().expect("UTF-8")];
    let mut out = Vec::new();
    let ended = tidegate_plugin::run(&Cli::parse_from(args).plugin, &mut out);
    let out = String::from_utf8(out).expect("text");
    assert_eq!(ended.map_err(|error| error.to_string()), Ok(Outcome::Done), "{guest}: {out}");
    true
}

/// Asks the two policies that every language has.
fn both_in(language: &str) -> bool {
    ["hash-router", "tier-classifier"].map(|policy| answers(&format!("{policy}-{language}"), policy)) == [true; 2]
}

#[test]
fn every_reference_policy_in_rust() {
    let names = vectors();
    assert!(names.len() >= 7, "{names:?}");
    for name in names {
        assert!(answers(&name, &name), "{name} is checked in");
    }
}

#[test]
fn c() {
    assert!(both_in("c"), "they are checked in");
}

#[test]
fn javascript() {
    both_in("js");
}

#[test]
fn python() {
    both_in("py");
}

#[test]
fn go() {
    both_in("go");
}
