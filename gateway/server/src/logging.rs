//! Where log lines go (standard error) and how they look.

use std::io::IsTerminal;

use tidegate_plugin::{PluginArgs, PluginCommand};
use tracing_subscriber::{EnvFilter, filter::ParseError, fmt};

use crate::{
    cli::{Cli, Command, LogFormat},
    error::ServerError,
};

/// How a command's failure is told.
pub(crate) struct Failures(LogFormat);

impl Failures {
    /// To a person as it is, to a machine as one more log line.
    pub(crate) fn tell(&self, error: &ServerError) {
        match self.0 {
            LogFormat::Json => tracing::error!(%error, "failed"),
            LogFormat::Pretty => eprintln!("error: {error}"),
        }
    }
}

/// Installs the log for the life of the process.
pub(crate) fn init(cli: &Cli) -> Result<Failures, String> {
    let terminal = std::io::stderr().is_terminal();
    let format = cli.log_format.unwrap_or(if terminal { LogFormat::Pretty } else { LogFormat::Json });
    let filter = filter(cli);
    let filter = EnvFilter::try_new(filter).map_err(|error: ParseError| format!("--log {filter:?}: {error}"))?;
    let lines = fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let installed = match format {
        LogFormat::Json => lines.json().with_span_list(false).try_init(),
        LogFormat::Pretty => lines.with_ansi(terminal).with_target(false).compact().try_init(),
    };
    installed.map_err(|error| error.to_string())?;
    // check, init and plugin are for people whatever standard error is; their findings are their output.
    let told = match cli.command {
        Command::Check(_) | Command::Init(_) | Command::Plugin(_) => cli.log_format.unwrap_or(LogFormat::Pretty),
        Command::Serve(_) | Command::Demo(_) => format,
    };
    Ok(Failures(told))
}

fn filter(cli: &Cli) -> &str {
    let given = match &cli.command {
        // Its `--log` names a recording.
        Command::Plugin(PluginArgs { command: PluginCommand::Replay(_) }) => None,
        _ => cli.log.as_deref(),
    };
    given.unwrap_or(default_filter(&cli.command))
}

const fn default_filter(command: &Command) -> &'static str {
    match command {
        Command::Serve(_) => "info",
        Command::Demo(_) => "warn,tidegate_server=info,tidegate_policy=info",
        // The store's warnings about a shard are in the findings already.
        Command::Check(_) | Command::Init(_) => "error",
        // What a policy logs is for its author to see.
        Command::Plugin(_) => "warn",
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    fn cli(arguments: &[&str]) -> Cli {
        Cli::try_parse_from(arguments).expect("understood")
    }

    #[test]
    fn the_recording_of_a_replay_is_no_filter() {
        let replay = cli(&["tidegate", "plugin", "replay", "--log", "decisions.jsonl", "router.wasm"]);
        assert_eq!(filter(&replay), "warn");
        let Command::Plugin(PluginArgs { command: PluginCommand::Replay(args) }) = &replay.command else {
            panic!("a replay")
        };
        assert_eq!(args.log, "decisions.jsonl");
        assert_eq!(filter(&cli(&["tidegate", "serve", "--log", "debug"])), "debug");
        assert_eq!(filter(&cli(&["tidegate", "plugin", "inspect", "--log", "debug", "router.wasm"])), "debug");
    }

    #[test]
    fn the_command_line_contradicts_itself_nowhere() {
        <Cli as clap::CommandFactory>::command().debug_assert();
    }
}
