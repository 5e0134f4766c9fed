//! Embeds the templates of `sdk/templates`, one folder per language, so that the program needs no
//! checkout to start a policy.

use std::{
    env,
    error::Error,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

/// What builds leave behind in a template that somebody tried out.
const LEFT_BEHIND: [&str; 6] = ["target", "node_modules", "__pycache__", "build", "dist", ".venv"];

fn main() -> Result<(), Box<dyn Error>> {
    let sdk = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("../../sdk");
    let templates = sdk.join("templates");
    println!("cargo::rerun-if-changed={}", if templates.is_dir() { &templates } else { &sdk }.display());
    let mut code = String::from("[\n");
    for language in entries(&templates)? {
        let mut files = Vec::new();
        collect(&language, &mut files)?;
        if files.iter().all(|file| !file.ends_with("policy.toml")) {
            continue;
        }
        writeln!(code, "    Template {{ language: {:?}, files: &[", name(&language)?)?;
        for file in files {
            let relative = file.strip_prefix(&language)?.to_str().ok_or("a template's path is not UTF-8")?;
            writeln!(code, "        ({relative:?}, include_str!({:?})),", file.canonicalize()?)?;
        }
        code.push_str("    ] },\n");
    }
    code.push_str("]\n");
    fs::write(PathBuf::from(env::var("OUT_DIR")?).join("templates.rs"), code)?;
    Ok(())
}

/// What a folder holds, in order; nothing where there is no folder.
fn entries(folder: &Path) -> Result<Vec<PathBuf>, Box<dyn Error>> {
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder)? {
        paths.push(entry?.path());
    }
    paths.sort();
    Ok(paths)
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<(), Box<dyn Error>> {
    for path in entries(folder)? {
        if !path.is_dir() {
            if path.extension().is_none_or(|extension| extension != "wasm") {
                files.push(path);
            }
        } else if !LEFT_BEHIND.contains(&name(&path)?) {
            collect(&path, files)?;
        }
    }
    Ok(())
}

fn name(path: &Path) -> Result<&str, Box<dyn Error>> {
    Ok(path.file_name().and_then(|name| name.to_str()).ok_or("a template's path is not UTF-8")?)
}
