//! Where log lines go (standard error) and how they look.

use std::io::IsTerminal;

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
    let filter = cli.log.as_deref().unwrap_or(default_filter(&cli.command));
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
