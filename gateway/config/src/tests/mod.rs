//! Behaviour of the whole parser: text in, settings or the exact list of mistakes out.

mod diff;
mod mistakes;
mod never_panics;
mod policies;
mod whole_file;

use std::path::Path;

use tidegate_types::settings::Settings;

use crate::{error::ConfigErrors, read, secret::Resolver};

/// The least a file must hold.
const LEAST: &str = "\
[shards.a]
primary = \"postgres://app@db-a/app\"
[collections.products]
table = \"products\"
";

/// Parses with an environment that only knows these variables.
fn parse_with(text: &str, environment: &[(&str, &str)], base: &Path) -> Result<Settings, ConfigErrors> {
    let lookup = |name: &str| environment.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned());
    read(text, "tidegate.toml", &Resolver::new(base, lookup))
}

fn parse(text: &str) -> Result<Settings, ConfigErrors> {
    parse_with(text, &[], Path::new(""))
}

/// The mistakes of a text, one per line, without the file's name.
fn mistakes(text: &str) -> Vec<String> {
    let errors = parse(text).expect_err("the text is wrong").to_string();
    errors.lines().map(|line| line.strip_prefix("tidegate.toml:").expect("the file's name").to_owned()).collect()
}

/// The mistakes of `LEAST` followed by `text`, whose first line is line 1.
fn mistakes_in(text: &str) -> Vec<String> {
    let text = format!("{text}\n{LEAST}");
    mistakes(&text)
}
