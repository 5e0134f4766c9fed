//! What it was measured on.

use std::{fs, process::Command};

/// One paragraph: processor, memory, system, versions.
pub(crate) fn describe() -> String {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    let processor = field(&cpuinfo, "model name").unwrap_or_else(|| std::env::consts::ARCH.to_owned());
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let memory = field(&fs::read_to_string("/proc/meminfo").unwrap_or_default(), "MemTotal").unwrap_or_default();
    let postgres = tidegate_postgres::Binaries::find(None).map_or("none".to_owned(), |b| b.version().to_owned());
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or("?").to_owned();
    format!(
        "{processor}, {cores} cores, {memory}, {}; PostgreSQL {postgres}; {}; load before {load}\n\
         Clients, servers and databases share the cores.",
        first_line("uname", &["-sr"]),
        crate::load::generator(),
    )
}

/// What a program prints first; empty where it does not exist.
pub(crate) fn first_line(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output();
    let text = output.map(|o| String::from_utf8_lossy(&o.stdout).into_owned()).unwrap_or_default();
    text.lines().next().unwrap_or_default().trim().to_owned()
}
