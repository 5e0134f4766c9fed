//! What the machine allows.

use std::process::Command;

/// How many files this process may have open.
#[must_use]
pub fn open_files() -> usize {
    let output = Command::new("sh").args(["-c", "ulimit -n"]).output();
    let text = output.map(|o| String::from_utf8_lossy(&o.stdout).trim().to_owned()).unwrap_or_default();
    if text == "unlimited" { usize::MAX } else { text.parse().unwrap_or(1024) }
}
