//! The arguments. `gateway/docs/CLI.md` is their reference.

use std::{net::SocketAddr, path::PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum};

/// An HTTP data gateway in front of sharded PostgreSQL.
#[derive(Debug, Parser)]
#[command(name = "tidegate", version, about, propagate_version = true, arg_required_else_help = true)]
pub struct Cli {
    /// How log lines look [default: pretty on a terminal, else json].
    #[arg(long, global = true, value_enum, env = "TIDEGATE_LOG_FORMAT")]
    pub log_format: Option<LogFormat>,
    /// What is logged: a level, or a filter such as `warn,tidegate_policy=debug` [default: info;
    /// for demo, check and init only warnings].
    #[arg(long, global = true, value_name = "FILTER", env = "TIDEGATE_LOG")]
    pub log: Option<String>,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Pretty,
    /// One JSON object per line.
    Json,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show it: two PostgreSQL shards of its own, a filled storefront, a WASM routing policy.
    Demo(DemoArgs),
    /// Write a configuration from the catalogs of your databases.
    Init(InitArgs),
    /// Serve.
    Serve(ServeArgs),
    /// Say what is wrong with a configuration and its databases, and how to mend it.
    Check(CheckArgs),
    /// Start, build, test, measure and sign policies. Needs no server.
    Plugin(tidegate_plugin::PluginArgs),
}

/// `tidegate serve`
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// The configuration.
    #[arg(long, short, value_name = "FILE", default_value = "tidegate.toml")]
    pub config: PathBuf,
}

/// `tidegate check`
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// The configuration.
    #[arg(long, short, value_name = "FILE", default_value = "tidegate.toml")]
    pub config: PathBuf,
    /// Also tell what it would change: of this file, or without one of the running gateway.
    #[arg(long, value_name = "OLD", num_args = 0..=1)]
    pub diff: Option<Option<PathBuf>>,
    /// The running gateway's admin listener [default: the one of the configuration].
    #[arg(long, value_name = "URL", requires = "diff")]
    pub admin: Option<String>,
}

/// `tidegate init`
#[derive(Debug, Args)]
pub struct InitArgs {
    /// A shard's name and its primary; once for each. The URL may also be env:NAME or file:PATH.
    #[arg(long = "shard", value_name = "NAME=URL", required = true, value_parser = shard)]
    pub shards: Vec<ShardArg>,
    /// The file to write.
    #[arg(long, short, value_name = "FILE", default_value = "tidegate.toml")]
    pub output: PathBuf,
    /// Overwrite the file.
    #[arg(long)]
    pub force: bool,
}

/// `NAME=URL`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardArg {
    /// The shard's name.
    pub name: String,
    /// Its primary, as `[shards.NAME] primary` takes it.
    pub primary: String,
}

/// `tidegate demo`
#[derive(Debug, Clone, Args)]
pub struct DemoArgs {
    /// Where data is served.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,
    /// Where the operator's listener is.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9090")]
    pub admin: SocketAddr,
    /// Keep the databases and policies here [default: a temporary folder, removed at the end].
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// The folder with PostgreSQL's programs [default: found on this machine, else downloaded].
    #[arg(long, value_name = "DIR", env = "TIDEGATE_PG_BIN")]
    pub pg_bin: Option<PathBuf>,
    /// Products to make.
    #[arg(long, value_name = "N", default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub products: u32,
    /// Profiles to make, with carts and orders.
    #[arg(long, value_name = "N", default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub profiles: u32,
}

fn shard(text: &str) -> Result<ShardArg, String> {
    let form = "expected NAME=URL, such as a=postgres://user@host/database";
    let (name, primary) = text.split_once('=').ok_or(form)?;
    // "postgres://host/db?x=y" has a = too.
    if name.is_empty() || primary.is_empty() || name.contains([':', '/']) {
        return Err(form.to_owned());
    }
    Ok(ShardArg { name: name.to_owned(), primary: primary.to_owned() })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_arguments_fit_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_shard_is_a_name_and_a_url() {
        let given = shard("a=postgres://u:p=w@h/d?x=y").expect("valid");
        assert_eq!((given.name.as_str(), given.primary.as_str()), ("a", "postgres://u:p=w@h/d?x=y"));
        for wrong in ["postgres://h/d", "postgres://h/d?x=y", "a", "=postgres://h", "a="] {
            assert!(shard(wrong).is_err(), "{wrong}");
        }
    }
}
