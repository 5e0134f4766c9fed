//! The arguments. `gateway/docs/CLI.md` is their reference.

use std::path::PathBuf;

use clap::{
    Args, Subcommand,
    builder::{PossibleValuesParser, TypedValueParser},
};
use serde_json::Value;
use tidegate_policy::hook::Hook;

use crate::{config, templates};

/// `tidegate plugin`
#[derive(Debug, Args)]
pub struct PluginArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: PluginCommand,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum PluginCommand {
    /// Start a policy from a template.
    New(NewArgs),
    /// Run the build command of a policy's folder, and check what came out.
    Build(BuildArgs),
    /// Run golden vectors: questions with the answers they must get.
    Test(TestArgs),
    /// Say what a policy is, reads, imports and needs.
    Inspect(InspectArgs),
    /// Measure what a policy costs.
    Bench(BenchArgs),
    /// Ask a policy what a live gateway was asked, and say which answers would change.
    Replay(ReplayArgs),
    /// Make a pair of keys to sign policies with.
    Keygen(KeygenArgs),
    /// Sign a policy.
    Sign(SignArgs),
}

/// `tidegate plugin new`
#[derive(Debug, Args)]
pub struct NewArgs {
    /// The policy's name: lower-case letters, digits and hyphens.
    #[arg(value_name = "NAME")]
    pub name: String,
    /// The language to write it in.
    #[arg(long, value_name = "LANGUAGE", value_parser = PossibleValuesParser::new(templates::languages()))]
    pub lang: String,
    /// The question it answers; may be given several times [default: route].
    #[arg(long = "hook", value_name = "HOOK", value_parser = hook())]
    pub hooks: Vec<Hook>,
    /// The folder with the SDKs [default: `sdk` of the checkout around the current folder or this program].
    #[arg(long, value_name = "PATH", env = "TIDEGATE_SDK")]
    pub sdk: Option<PathBuf>,
    /// The folder to make [default: NAME in the current folder].
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
}

/// `tidegate plugin build`
#[derive(Debug, Args)]
pub struct BuildArgs {
    /// The policy's folder, the one with policy.toml.
    #[arg(value_name = "DIR", default_value = ".")]
    pub dir: PathBuf,
}

/// `tidegate plugin test`
#[derive(Debug, Args)]
pub struct TestArgs {
    /// The policy, or its folder once it is built.
    #[arg(value_name = "FILE", default_value = ".")]
    pub policy: PathBuf,
    /// Golden vectors [default: vectors.json beside the policy or in its folder].
    #[arg(long, value_name = "FILE")]
    pub vectors: Vec<PathBuf>,
}

/// `tidegate plugin inspect`
#[derive(Debug, Args)]
pub struct InspectArgs {
    /// The policy, or its folder once it is built.
    #[arg(value_name = "FILE", default_value = ".")]
    pub policy: PathBuf,
    /// Answer with JSON.
    #[arg(long)]
    pub json: bool,
}

/// `tidegate plugin bench`
#[derive(Debug, Args)]
pub struct BenchArgs {
    /// The policy, or its folder once it is built.
    #[arg(value_name = "FILE", default_value = ".")]
    pub policy: PathBuf,
    /// Golden vectors with the questions to ask [default: as for `test`].
    #[arg(long, value_name = "FILE")]
    pub vectors: Vec<PathBuf>,
    /// Answer with JSON.
    #[arg(long)]
    pub json: bool,
}

/// `tidegate plugin replay`
#[derive(Debug, Args)]
pub struct ReplayArgs {
    /// What the gateway recorded (`[policies.record]`).
    // Text, as the server's own `--log` is, which this one hides: both have this name.
    #[arg(long, value_name = "FILE")]
    pub log: String,
    /// The candidate, or its folder once it is built.
    #[arg(value_name = "FILE", default_value = ".")]
    pub policy: PathBuf,
    /// The candidate's configuration, as JSON or `@FILE` [default: {}].
    #[arg(long, value_name = "JSON|@FILE", value_parser = config::parse)]
    pub config: Option<Value>,
    /// Most records to replay [default: all].
    #[arg(long, value_name = "N")]
    pub limit: Option<u64>,
    /// Answer with JSON.
    #[arg(long)]
    pub json: bool,
}

/// `tidegate plugin keygen`
#[derive(Debug, Args)]
pub struct KeygenArgs {
    /// The file to write the private key to.
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
}

/// `tidegate plugin sign`
#[derive(Debug, Args)]
pub struct SignArgs {
    /// The private key that `keygen` wrote.
    #[arg(long, value_name = "FILE")]
    pub key: PathBuf,
    /// The policy; the signature goes beside it, with `.sig` appended.
    #[arg(value_name = "FILE")]
    pub policy: PathBuf,
}

fn hook() -> impl TypedValueParser<Value = Hook> {
    PossibleValuesParser::new(Hook::ALL.map(Hook::as_str))
        .try_map(|name| Hook::named(&name).ok_or_else(|| format!("there is no hook {name}")))
}
