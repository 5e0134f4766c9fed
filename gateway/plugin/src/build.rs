//! `tidegate plugin build`: runs a policy's own build command and checks what came out.

use std::{
    io::{self, Write},
    path::Path,
    process::Command,
};

use crate::{
    Outcome,
    args::BuildArgs,
    error::PluginError,
    inspect,
    load::Policy,
    project::{self, Project},
};

/// Runs the command.
///
/// # Errors
/// The build fails, or makes what the gateway would refuse.
pub fn run(args: &BuildArgs, out: &mut dyn Write) -> Result<Outcome, PluginError> {
    let project = Project::open(&args.dir)?;
    out.flush()?;
    build(&project)?;
    let output = project.output();
    let policy = Policy::read(&output)?;
    writeln!(out, "{}: {}", output.display(), inspect::line(policy.description()))?;
    Ok(Outcome::Done)
}

fn build(project: &Project) -> Result<(), PluginError> {
    let words = &project.manifest.build;
    let command = words.join(" ");
    let (tool, arguments) = words.split_first().map_or(("", words.as_slice()), |(tool, rest)| (tool.as_str(), rest));
    let status = Command::new(tool).args(arguments).current_dir(&project.dir).status();
    let status = status.map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => PluginError::NoTool { tool: tool.to_owned(), hint: how_to_get(tool) },
        _ => PluginError::Read { file: tool.into(), source },
    })?;
    if !status.success() {
        return Err(PluginError::BuildFailed { command, status: status.to_string() });
    }
    let output = project.output();
    if !output.is_file() {
        return Err(PluginError::NoOutput { command, output, manifest: project.dir.join(project::FILE) });
    }
    Ok(())
}

/// Where a build's program comes from.
fn how_to_get(tool: &str) -> &'static str {
    match Path::new(tool).file_stem().and_then(|stem| stem.to_str()).unwrap_or(tool) {
        "cargo" | "rustc" | "rustup" => {
            "Install Rust from https://rustup.rs, then run `rustup target add wasm32-unknown-unknown`"
        }
        "npm" | "npx" | "node" => "Install Node.js 20 or newer, then run `npm install` in the policy's folder",
        "python" | "python3" | "pip" => "Install Python 3.10 or newer",
        "componentize-py" => "Install it with `pip install componentize-py`",
        "zig" => "Install it with `pip install ziglang` (then it is `python3 -m ziglang`)",
        "go" => "Install Go 1.24 or newer",
        "make" | "sh" | "bash" => "Install it with the system's package manager",
        _ => "`build` in policy.toml names it; the policy's README.md says what the build needs",
    }
}
