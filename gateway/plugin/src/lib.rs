//! The author's tools: `tidegate plugin new | build | test | inspect | bench | replay | keygen | sign`.
//! None of them needs a server.
//!
//! # Layout
//! - [`args`]: the arguments; `config`: JSON among them
//! - [`new`] fills in [`templates`]; [`build`] runs what a [`project`] says
//! - [`golden`]: `test`, over [`vectors`]; [`diff`] shows two answers
//! - [`inspect`], [`mod@bench`], [`replay`], [`sign`]
//! - [`load`]: from a file to a policy that can be asked, as the gateway loads it
//! - [`error`]: why a command failed

pub mod args;
pub mod bench;
pub mod build;
mod config;
pub mod diff;
pub mod error;
pub mod golden;
pub mod inspect;
pub mod load;
pub mod new;
pub mod project;
pub mod replay;
pub mod sections;
pub mod sign;
pub mod templates;
mod units;
pub mod vectors;

use std::io::Write;

pub use args::{PluginArgs, PluginCommand};
pub use error::PluginError;

/// How a command that could run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// As it should.
    Done,
    /// It did its work and found something wrong, which it has told.
    FoundProblems,
}

/// Runs a command; what it has to say goes to `out`.
///
/// # Errors
/// It could not do its work.
pub fn run(args: &PluginArgs, out: &mut dyn Write) -> Result<Outcome, PluginError> {
    match &args.command {
        PluginCommand::New(args) => new::run(args, out),
        PluginCommand::Build(args) => build::run(args, out),
        PluginCommand::Test(args) => golden::run(args, out),
        PluginCommand::Inspect(args) => inspect::run(args, out),
        PluginCommand::Bench(args) => bench::run(args, out),
        PluginCommand::Replay(args) => replay::run(args, out),
        PluginCommand::Keygen(args) => sign::keygen(args, out),
        PluginCommand::Sign(args) => sign::run(args, out),
    }
}
