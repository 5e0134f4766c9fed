//! Why a command failed. Every message says what to do about it.

use std::{
    io,
    path::{Path, PathBuf},
};

use tidegate_policy::error::Refusal;

/// A command's failure.
#[derive(Debug, thiserror::Error)]
pub enum PluginError {
    /// A file could not be read.
    #[error("cannot read {}: {source}", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file could not be written.
    #[error("cannot write {}: {source}", file.display())]
    Write {
        /// The file.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The output could not be written.
    #[error("cannot write the output: {0}")]
    Output(#[from] io::Error),
    /// A name that not every language takes.
    #[error(
        "{name:?} cannot be a policy's name: take 1 to 64 lower-case letters, digits and single hyphens, a letter first, such as my-router"
    )]
    Name {
        /// The name.
        name: String,
    },
    /// `new` and `keygen` do not overwrite.
    #[error("{} exists: {hint}", path.display())]
    Exists {
        /// What is there.
        path: PathBuf,
        /// What to do instead.
        hint: &'static str,
    },
    /// The program was built without the template.
    #[error("this tidegate has no template for {language}. It has: {offered}")]
    NoTemplate {
        /// The language asked for.
        language: String,
        /// Those there are.
        offered: String,
    },
    /// The template answers other hooks.
    #[error(
        "the {language} template has no {hook} hook. It has: {offered}. Leave --hook out, and follow the SDK's README from there"
    )]
    NoSuchHook {
        /// The template.
        language: &'static str,
        /// The hook asked for.
        hook: &'static str,
        /// Those it has.
        offered: String,
    },
    /// A template is broken: a mistake in this program.
    #[error(
        "the {language} template's {path} cannot be filled in: {detail}. This is a mistake in tidegate, please report it"
    )]
    Template {
        /// The template.
        language: &'static str,
        /// The file.
        path: &'static str,
        /// What is wrong.
        detail: String,
    },
    /// The template needs an SDK, and none was found.
    #[error("no SDK for {language} is at {}: give the folder `sdk` of a Tidegate checkout with --sdk PATH or TIDEGATE_SDK", looked.display())]
    NoSdk {
        /// The language.
        language: String,
        /// Where it was looked for.
        looked: PathBuf,
    },
    /// A folder is no policy's.
    #[error("{} has no policy.toml: name the policy's folder or its .wasm file, or start one with `tidegate plugin new`", dir.display())]
    NoProject {
        /// The folder.
        dir: PathBuf,
    },
    /// `policy.toml` cannot be used.
    #[error("{}: {detail}\nIt takes language = \"...\", build = [\"program\", \"argument\"], output = \"path/of.wasm\"", file.display())]
    Manifest {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        detail: String,
    },
    /// The build's output is not there.
    #[error("{} is not there: build it with `tidegate plugin build {}`", output.display(), dir.display())]
    NotBuilt {
        /// The folder.
        dir: PathBuf,
        /// What it lacks.
        output: PathBuf,
    },
    /// The build's program is not there.
    #[error("{tool} is not installed, or not in PATH. {hint}")]
    NoTool {
        /// The program.
        tool: String,
        /// How to get it.
        hint: &'static str,
    },
    /// The build failed.
    #[error("`{command}` failed ({status}): what it printed above says why")]
    BuildFailed {
        /// The command.
        command: String,
        /// How it ended.
        status: String,
    },
    /// The build went well and made something else.
    #[error("`{command}` went well, but {} is not there: correct `output` in {}, or the command", output.display(), manifest.display())]
    NoOutput {
        /// The command.
        command: String,
        /// What is missing.
        output: PathBuf,
        /// The `policy.toml`.
        manifest: PathBuf,
    },
    /// A policy's file is larger than the gateway takes.
    #[error("{} is larger than 64 MiB: strip it, or build it for size", file.display())]
    TooLarge {
        /// The file.
        file: PathBuf,
    },
    /// The policy cannot be used.
    #[error("{0}")]
    Refused(#[from] Box<Refusal>),
    /// There is nothing to ask.
    #[error("no golden vectors for {}: put vectors.json beside it or into its folder, or name a file with --vectors", policy.display())]
    NoVectors {
        /// The policy.
        policy: PathBuf,
    },
    /// Golden vectors cannot be used.
    #[error("{}: {detail}", file.display())]
    Vectors {
        /// The file.
        file: PathBuf,
        /// What is wrong, where, and what is expected.
        detail: String,
    },
    /// No vector asks a hook that the policy has.
    #[error("none of the vectors has a case for a hook of {}: there is nothing to measure. It has: {hooks}", policy.display())]
    NothingToAsk {
        /// The policy.
        policy: PathBuf,
        /// Its hooks.
        hooks: String,
    },
    /// A recording cannot be read.
    #[error("{0}")]
    Recording(String),
    /// A recording cannot be used.
    #[error("{}, line {line}: {detail}", file.display())]
    Log {
        /// The file.
        file: PathBuf,
        /// The line, from 1.
        line: u64,
        /// What is wrong, and what is expected.
        detail: String,
    },
    /// A key cannot be used.
    #[error("{}: {detail}", file.display())]
    Key {
        /// The file.
        file: PathBuf,
        /// What is wrong, and what is expected.
        detail: String,
    },
}

impl PluginError {
    /// Names the file that could not be read; for `map_err`.
    pub(crate) fn reading(file: &Path) -> impl FnOnce(io::Error) -> Self {
        let file = file.to_owned();
        move |source| Self::Read { file, source }
    }

    /// Names the file that could not be written; for `map_err`.
    pub(crate) fn writing(file: &Path) -> impl FnOnce(io::Error) -> Self {
        let file = file.to_owned();
        move |source| Self::Write { file, source }
    }
}
