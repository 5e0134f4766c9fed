//! `tidegate plugin new`: a policy from a template.

use std::{
    env, fs,
    io::Write,
    path::{Path, PathBuf},
};

use tidegate_policy::hook::Hook;

use crate::{
    Outcome,
    args::NewArgs,
    error::PluginError,
    templates::{self, Values},
};

/// Bytes of a name: the manifest's own limit.
const MAX_NAME_BYTES: usize = 64;

/// Runs the command.
///
/// # Errors
/// The template cannot be filled in, or the folder not be written.
pub fn run(args: &NewArgs, out: &mut dyn Write) -> Result<Outcome, PluginError> {
    check_name(&args.name)?;
    let template = templates::named(&args.lang).ok_or_else(|| PluginError::NoTemplate {
        language: args.lang.clone(),
        offered: templates::languages().join(", "),
    })?;
    let dir = args.dir.clone().unwrap_or_else(|| PathBuf::from(&args.name));
    if fs::symlink_metadata(&dir).is_ok() {
        return Err(PluginError::Exists { path: dir, hint: "choose another folder with --dir, or another name" });
    }
    let hooks = if args.hooks.is_empty() { vec![Hook::Route] } else { args.hooks.clone() };
    let sdk = sdk(args)?;
    let values = Values { name: args.name.clone(), sdk: sdk.display().to_string(), hooks };
    let files = template.fill(&values)?;
    for (path, content) in &files {
        write(&dir.join(path), content)?;
    }
    let shown = dir.display();
    writeln!(out, "Wrote {} files to {shown}. Next:\n", files.len())?;
    for step in ["build", "test", "inspect"] {
        writeln!(out, "  tidegate plugin {step} {shown}")?;
    }
    writeln!(out, "\n{shown}/README.md says where to change what.")?;
    Ok(Outcome::Done)
}

/// A name that every language takes for its packages and modules.
fn check_name(name: &str) -> Result<(), PluginError> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let fits = (1..=MAX_NAME_BYTES).contains(&name.len())
        && name.bytes().all(plain)
        && name.as_bytes()[0].is_ascii_lowercase()
        && !name.ends_with('-')
        && !name.contains("--");
    if fits { Ok(()) } else { Err(PluginError::Name { name: name.to_owned() }) }
}

fn write(file: &Path, content: &str) -> Result<(), PluginError> {
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder).map_err(PluginError::writing(folder))?;
    }
    fs::write(file, content).map_err(PluginError::writing(file))
}

/// The folder with the SDKs, absolute: builds run in the policy's folder.
fn sdk(args: &NewArgs) -> Result<PathBuf, PluginError> {
    let missing = |looked: PathBuf| PluginError::NoSdk { language: args.lang.clone(), looked };
    if let Some(given) = &args.sdk {
        return usable(given, &args.lang).ok_or_else(|| missing(given.clone()));
    }
    let here = env::current_dir().unwrap_or_default();
    let around = |path: &Path| path.ancestors().find_map(|folder| usable(&folder.join("sdk"), &args.lang));
    let program = || env::current_exe().ok();
    around(&here).or_else(|| program().and_then(|program| around(&program))).ok_or_else(|| missing(here.join("sdk")))
}

/// The folder, if it holds the language's SDK. TypeScript's is JavaScript's.
fn usable(sdk: &Path, language: &str) -> Option<PathBuf> {
    let language = if language == "ts" { "js" } else { language };
    sdk.join(language).is_dir().then(|| sdk.canonicalize().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_every_language_takes() {
        for name in ["r", "my-router", "v2-tiers"] {
            assert!(check_name(name).is_ok(), "{name}");
        }
        for name in ["", "My-router", "my_router", "2tiers", "-a", "a-", "a--b", "a/b", "ä", &"a".repeat(65)] {
            assert!(check_name(name).is_err(), "{name}");
        }
    }
}
