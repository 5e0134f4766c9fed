//! A `tidegate` process with its output, killed on drop.

use std::{
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::until;

/// The binary under test: `TIDEGATE_BIN`, else the one that cargo built beside this executable.
///
/// # Panics
/// If there is none; the message says how to build it.
#[must_use]
pub fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("TIDEGATE_BIN") {
        return path.into();
    }
    let me = std::env::current_exe().expect("own path");
    // target/PROFILE/tidegate-bench or target/PROFILE/deps/scenario-HASH
    let found = me.ancestors().skip(1).take(2).map(|dir| dir.join("tidegate")).find(|path| path.is_file());
    found.expect("the tidegate binary is built: cargo build -p tidegate-server, or set TIDEGATE_BIN")
}

/// Lines that a thread collects as they are written.
#[derive(Debug, Clone, Default)]
pub struct Lines {
    lines: Arc<Mutex<Vec<String>>>,
    ended: Arc<AtomicBool>,
}

impl Lines {
    fn collect(source: impl Read + Send + 'static) -> Self {
        let lines = Self::default();
        let target = lines.clone();
        std::thread::spawn(move || {
            let mut reader = BufReader::new(source);
            let mut line = Vec::new();
            while reader.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
                let text = String::from_utf8_lossy(&line).trim_end().to_owned();
                target.lines.lock().unwrap_or_else(PoisonError::into_inner).push(text);
                line.clear();
            }
            target.ended.store(true, Ordering::Release);
        });
        lines
    }

    /// All lines so far.
    #[must_use]
    pub fn all(&self) -> Vec<String> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The first line that contains `needle`.
    #[must_use]
    pub fn find(&self, needle: &str) -> Option<String> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).iter().find(|line| line.contains(needle)).cloned()
    }

    /// How many lines contain `needle`.
    #[must_use]
    pub fn count(&self, needle: &str) -> usize {
        self.all().iter().filter(|line| line.contains(needle)).count()
    }
}

/// A process and what it has written.
#[derive(Debug)]
pub struct Process {
    child: Child,
    /// Its standard output.
    pub stdout: Lines,
    /// Its standard error.
    pub stderr: Lines,
}

impl Process {
    /// Starts `tidegate` with these arguments.
    ///
    /// # Panics
    /// If it cannot be started.
    #[must_use]
    pub fn tidegate<'a>(args: impl IntoIterator<Item = &'a str>) -> Self {
        Self::tidegate_in(&std::env::temp_dir(), args)
    }

    /// Starts `tidegate` in a folder with these arguments.
    ///
    /// # Panics
    /// If it cannot be started.
    #[must_use]
    pub fn tidegate_in<'a>(dir: &Path, args: impl IntoIterator<Item = &'a str>) -> Self {
        let mut command = Command::new(binary());
        command.args(args).current_dir(dir).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the tidegate binary runs");
        let stdout = Lines::collect(child.stdout.take().expect("piped"));
        let stderr = Lines::collect(child.stderr.take().expect("piped"));
        Self { child, stdout, stderr }
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).expect("process ids are small")
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        let _ = kill(Pid::from_raw(self.pid()), signal);
    }

    /// How it ended, if it has.
    ///
    /// # Panics
    /// If the system cannot say.
    pub fn exit_status(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("own child")
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// If it does not end.
    pub async fn ended(&mut self) -> ExitStatus {
        until("the process has ended", || std::future::ready(self.exit_status())).await
    }

    /// Waits for a line on standard error or output that contains `needle`.
    ///
    /// # Panics
    /// If it ends or stays silent.
    pub async fn line(&mut self, needle: &str) -> String {
        until(&format!("the process says {needle:?}"), || {
            let found = self.stderr.find(needle).or_else(|| self.stdout.find(needle));
            let ended = self.exit_status();
            assert!(found.is_some() || ended.is_none(), "it ended ({ended:?}) and said:\n{}", self.transcript(40));
            std::future::ready(found)
        })
        .await
    }

    /// Everything a process that has ended said.
    ///
    /// # Panics
    /// If its output does not end.
    pub async fn whole_transcript(&self) -> String {
        let ended = || self.stdout.ended.load(Ordering::Acquire) && self.stderr.ended.load(Ordering::Acquire);
        until("its output has ended", || std::future::ready(ended().then_some(()))).await;
        self.transcript(usize::MAX)
    }

    /// The last lines of both streams, for messages.
    #[must_use]
    pub fn transcript(&self, count: usize) -> String {
        let mut lines = self.stdout.all();
        lines.extend(self.stderr.all());
        lines[lines.len().saturating_sub(count)..].join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the end of what tidegate said ---\n{}", self.transcript(40));
        }
        // An error means that it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The command lines of all processes that name a folder.
///
/// # Panics
/// If they cannot be listed.
#[must_use]
pub fn processes_naming(dir: &Path) -> Vec<String> {
    let dir = dir.to_str().expect("temporary folders have plain names");
    command_lines().into_iter().filter(|line| line.contains(dir)).collect()
}

/// Zombies have none.
fn command_lines() -> Vec<String> {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        let output = Command::new("ps").args(["-A", "-o", "args="]).output().expect("ps runs");
        return String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect();
    };
    let lines = entries.flatten().filter_map(|entry| std::fs::read_to_string(entry.path().join("cmdline")).ok());
    lines.map(|line| line.replace('\0', " ").trim().to_owned()).collect()
}
