//! Start-up, drain and the command line: the crate that puts all others together.
//!
//! # Layout
//! - [`cli`]: the arguments
//! - `logging`: where log lines go and how they look
//! - `serve`: `tidegate serve`: listeners, signals, drain
//! - `assemble`: settings in, gateway out; `catalogs`, `probe` and `directories` ask the shards, `late` asks
//!   those that were down again
//! - `behind`: the journal of write-behind collections
//! - `reload`: another configuration while it serves; `altered`: other tables; `operator`: what the admin listener shows and steers
//! - `check`: `tidegate check`
//! - `init`: `tidegate init`
//! - `demo`: `tidegate demo`
//! - [`error`]: why a command failed

mod altered;
mod assemble;
mod behind;
mod catalogs;
mod check;
pub mod cli;
mod demo;
mod directories;
pub mod error;
mod feeds;
mod init;
mod late;
mod logging;
mod metrics;
mod operator;
mod probe;
mod reload;
mod serve;
mod signals;

use std::process::ExitCode;

use clap::Parser;

use crate::{
    cli::{Cli, Command},
    error::ServerError,
};

/// How a command that could run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// As it should.
    Done,
    /// It did its work and found something wrong, which it has told.
    FoundProblems,
}

impl From<tidegate_plugin::Outcome> for Outcome {
    fn from(outcome: tidegate_plugin::Outcome) -> Self {
        match outcome {
            tidegate_plugin::Outcome::Done => Self::Done,
            tidegate_plugin::Outcome::FoundProblems => Self::FoundProblems,
        }
    }
}

/// Runs the process: arguments, log, runtime, command.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let failures = match logging::init(&cli) {
        Ok(failures) => failures,
        Err(problem) => {
            eprintln!("error: {problem}");
            return ExitCode::FAILURE;
        }
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: no threads for the runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    let ended = runtime.block_on(run(cli.command));
    match ended {
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::FoundProblems) => ExitCode::FAILURE,
        Err(error) => {
            failures.tell(&error);
            ExitCode::FAILURE
        }
    }
}

async fn run(command: Command) -> Result<Outcome, ServerError> {
    match command {
        Command::Serve(args) => Box::pin(serve::run(&args)).await.map(|()| Outcome::Done),
        Command::Check(args) => Box::pin(check::run(&args)).await,
        Command::Init(args) => Box::pin(init::run(&args)).await.map(|()| Outcome::Done),
        Command::Demo(args) => Box::pin(demo::run(&args)).await.map(|()| Outcome::Done),
        Command::Plugin(args) => Ok(tidegate_plugin::run(&args, &mut std::io::stdout().lock())?.into()),
    }
}
