//! Runs `tidegate plugin` as the program does, on the guests of `plugins/dist`.

use std::path::{Path, PathBuf};

use clap::Parser;
use tidegate_plugin::{Outcome, PluginArgs};

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    plugin: PluginArgs,
}

/// What a command said, and how it ended.
#[derive(Debug)]
pub struct Said {
    /// Its output.
    pub out: String,
    /// How it ended; an error as its text.
    pub ended: Result<Outcome, String>,
}

/// Runs `tidegate plugin` with these arguments.
pub fn plugin<T: AsRef<str>>(args: &[T]) -> Said {
    let args = std::iter::once("plugin").chain(args.iter().map(AsRef::as_ref));
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => return Said { out: String::new(), ended: Err(error.to_string()) },
    };
    let mut out = Vec::new();
    let ended = tidegate_plugin::run(&cli.plugin, &mut out).map_err(|error| error.to_string());
    Said { out: String::from_utf8(out).expect("text"), ended }
}

impl Said {
    /// The output of a command that ended well.
    #[track_caller]
    pub fn done(self) -> String {
        assert_eq!(self.ended, Ok(Outcome::Done), "{}", self.out);
        self.out
    }

    /// The output of a command that found something.
    #[track_caller]
    pub fn found(self) -> String {
        assert_eq!(self.ended, Ok(Outcome::FoundProblems), "{}", self.out);
        self.out
    }

    /// Why the command could not do its work.
    #[track_caller]
    pub fn error(self) -> String {
        self.ended.expect_err(&self.out)
    }
}

/// A folder of the checkout.
pub fn checkout(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path).canonicalize().expect("in the checkout")
}

/// A built guest.
pub fn guest(name: &str) -> String {
    text(&checkout(&format!("plugins/dist/{name}.wasm")))
}

/// Shared golden vectors.
pub fn shared_vectors(name: &str) -> String {
    text(&checkout(&format!("plugins/vectors/{name}.json")))
}

/// A path as an argument.
pub fn text(path: &Path) -> String {
    path.to_str().expect("UTF-8").to_owned()
}

/// Writes a file into a folder.
pub fn write(dir: &Path, name: &str, content: impl AsRef<[u8]>) -> String {
    let file = dir.join(name);
    std::fs::write(&file, content).expect("written");
    text(&file)
}
