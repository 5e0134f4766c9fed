//! The running postmaster: its signals, its end, and the watchdog that outlives its owner.

use std::{
    io::Write,
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread,
    time::Duration,
};

use nix::{sys::signal::Signal, sys::signal::kill, unistd::Pid};

use crate::{account::RunAs, error::PgError};

/// How long each way of stopping may take before the next, harsher one.
const PATIENCE: [(Signal, Duration); 3] = [
    (Signal::SIGINT, Duration::from_secs(20)),
    (Signal::SIGQUIT, Duration::from_secs(5)),
    (Signal::SIGKILL, Duration::from_secs(5)),
];

/// Waits on standard input: a line means that the owner stopped the server itself, end-of-file
/// that the owner is gone. The pid is compared with the pid file, because numbers are reused.
/// (`PR_SET_PDEATHSIG` would not do: it fires when the spawning *thread* ends.)
const WATCHDOG: &str = r#"
if read -r _; then exit 0; fi
if read -r pid < "$2/postmaster.pid" && [ "$pid" = "$1" ]; then kill -INT "$1"; fi
"#;

/// How the end of the child is made known: set once by the thread that waits for it.
#[derive(Debug, Default)]
struct Ended {
    status: Mutex<Option<ExitStatus>>,
    changed: Condvar,
}

impl Ended {
    fn set(&self, status: ExitStatus) {
        *self.status.lock().unwrap_or_else(PoisonError::into_inner) = Some(status);
        self.changed.notify_all();
    }

    fn get(&self) -> Option<ExitStatus> {
        *self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait(&self, patience: Duration) -> Option<ExitStatus> {
        let guard = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.changed.wait_timeout_while(guard, patience, |status| status.is_none());
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

/// A postmaster that is our child. Dropping it stops it and waits for its end.
#[derive(Debug)]
pub(crate) struct Postmaster {
    pid: Pid,
    ended: Arc<Ended>,
    watchdog: Option<(Child, ChildStdin)>,
}

impl Postmaster {
    /// Starts `command` in a process group of its own, with a watchdog.
    pub(crate) fn spawn(mut command: Command, run_as: &RunAs, data_dir: &Path) -> Result<Self, PgError> {
        let failed = || PgError::io(format!("cannot start {}", command_line(&command)));
        let failed = failed();
        let child = command.process_group(0).spawn().map_err(failed)?;
        let pid = Pid::from_raw(i32::try_from(child.id()).unwrap_or(i32::MAX));
        let ended = Arc::new(Ended::default());
        wait_in_background(child, ended.clone())?;
        let mut postmaster = Self { pid, ended, watchdog: None };
        postmaster.watchdog = Some(spawn_watchdog(pid, run_as, data_dir)?);
        Ok(postmaster)
    }

    pub(crate) fn pid(&self) -> i32 {
        self.pid.as_raw()
    }

    /// How it ended, if it has.
    pub(crate) fn exit_status(&self) -> Option<ExitStatus> {
        self.ended.get()
    }

    /// Sends a signal unless it has ended.
    pub(crate) fn signal(&self, signal: Signal) {
        if self.ended.get().is_none() {
            let _ = kill(self.pid, signal);
        }
    }

    /// Sends a signal to it and to every process it has started: all that is the server.
    pub(crate) fn signal_all(&self, signal: Signal) {
        // Stopped first, so that it starts no child that the list would miss, and not killed
        // before its children, which would no longer be listed as its own.
        self.signal(Signal::SIGSTOP);
        for child in children_of(self.pid) {
            let _ = kill(child, signal);
        }
        self.signal(signal);
    }

    /// Stops the server: fast, then immediately, then by force. Returns when it has ended.
    pub(crate) fn shut_down(&mut self) {
        if self.ended.get().is_none() {
            // Signals other than SIGKILL wait while a process is stopped.
            self.signal_all(Signal::SIGCONT);
        }
        for (signal, patience) in PATIENCE {
            self.signal(signal);
            if self.ended.wait(patience).is_some() {
                break;
            }
            tracing::warn!(pid = self.pid.as_raw(), %signal, "PostgreSQL is slow to stop");
        }
        self.dismiss_watchdog();
    }

    /// Kills every process of the server at once, as a crash of the machine would.
    pub(crate) fn crash(&mut self) {
        self.signal_all(Signal::SIGKILL);
        self.ended.wait(Duration::from_secs(10));
        self.dismiss_watchdog();
    }

    fn dismiss_watchdog(&mut self) {
        if let Some((mut watchdog, mut stdin)) = self.watchdog.take() {
            // It may be gone; then there is nobody to tell.
            let _ = stdin.write_all(b"stopped\n");
            drop(stdin);
            let _ = watchdog.wait();
        }
    }
}

impl Drop for Postmaster {
    fn drop(&mut self) {
        self.shut_down();
    }
}

/// Reaps the child as soon as it ends, on a thread, so that waiting can have a time limit.
fn wait_in_background(mut child: Child, ended: Arc<Ended>) -> Result<(), PgError> {
    let wait = move || match child.wait() {
        Ok(status) => ended.set(status),
        Err(error) => tracing::error!(%error, "cannot wait for PostgreSQL"),
    };
    let thread = thread::Builder::new().name("postgres-wait".into()).spawn(wait);
    thread.map(drop).map_err(PgError::io("cannot start a thread"))
}

fn spawn_watchdog(pid: Pid, run_as: &RunAs, data_dir: &Path) -> Result<(Child, ChildStdin), PgError> {
    let mut command = run_as.command(Path::new("/bin/sh"));
    command.args(["-c", WATCHDOG, "tidegate-watchdog", &pid.to_string()]).arg(data_dir);
    command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    let failed = "cannot start the watchdog of PostgreSQL";
    let mut watchdog = command.spawn().map_err(PgError::io(failed))?;
    let stdin = watchdog.stdin.take().ok_or_else(|| PgError::io(failed)(std::io::ErrorKind::BrokenPipe.into()))?;
    Ok((watchdog, stdin))
}

fn command_line(command: &Command) -> String {
    command.get_program().to_string_lossy().into_owned()
}

/// The direct children of a process. PostgreSQL has no grandchildren.
fn children_of(parent: Pid) -> Vec<Pid> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return children_by_pgrep(parent) };
    let mut children = Vec::new();
    for entry in entries.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        // pid (name) state ppid ...; the name may hold anything.
        let ppid = stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1)?.parse::<i32>().ok());
        if ppid == Some(parent.as_raw()) {
            children.push(Pid::from_raw(pid));
        }
    }
    children
}

/// Where there is no `/proc` (macOS).
fn children_by_pgrep(parent: Pid) -> Vec<Pid> {
    let output = Command::new("pgrep").args(["-P", &parent.to_string()]).output();
    let text = output.map(|o| String::from_utf8_lossy(&o.stdout).into_owned()).unwrap_or_default();
    text.lines().filter_map(|line| line.trim().parse().ok().map(Pid::from_raw)).collect()
}
