//! Who may use a data folder, and what a killed gateway left behind on it.

use std::{
    fs::{self, File, TryLockError},
    io::{Read, Seek, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use nix::{errno::Errno, sys::signal::Signal, sys::signal::kill, unistd::Pid};
use tokio::time::Instant;

use crate::error::PgError;

/// How long an orphan may take for each of: fast shutdown, immediate shutdown, SIGKILL.
const ORPHAN_PATIENCE: [(Signal, Duration); 3] = [
    (Signal::SIGINT, Duration::from_secs(20)),
    (Signal::SIGQUIT, Duration::from_secs(5)),
    (Signal::SIGKILL, Duration::from_secs(5)),
];

/// A path beside the data folder: `initdb` wants the folder itself empty.
pub(crate) fn beside(data_dir: &Path, suffix: &str) -> PathBuf {
    let mut name = data_dir.file_name().unwrap_or_default().to_owned();
    name.push(suffix);
    data_dir.with_file_name(name)
}

/// The right to run a server on a data folder, held by this process until dropped. The kernel
/// releases it when the process dies, however it dies. The file names our postmaster, so that the
/// next holder can tell an orphan of ours from a server that somebody else started.
#[derive(Debug)]
pub(crate) struct Claim {
    file: File,
    data_dir: PathBuf,
}

impl Claim {
    pub(crate) fn take(data_dir: &Path) -> Result<Self, PgError> {
        let path = beside(data_dir, ".lock");
        let failed = |what: &str| PgError::io(format!("{what} {}", path.display()));
        let mut file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(failed("cannot open"))?;
        match file.try_lock() {
            Ok(()) => Ok(Self { file, data_dir: data_dir.to_owned() }),
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                let _ = file.read_to_string(&mut text);
                let holder = text.split_whitespace().next().map(|pid| format!(" (pid {pid})")).unwrap_or_default();
                Err(PgError::InUse { dir: data_dir.to_owned(), holder })
            }
            Err(TryLockError::Error(e)) => Err(failed("cannot lock")(e)),
        }
    }

    /// Notes this process and its postmaster.
    pub(crate) fn record(&mut self, postmaster: i32) -> Result<(), PgError> {
        let text = format!("{} {postmaster}\n", std::process::id());
        let mut write = || {
            self.file.rewind()?;
            self.file.write_all(text.as_bytes())?;
            self.file.set_len(text.len() as u64)
        };
        write().map_err(PgError::io(format!("cannot note the postmaster of {}", self.data_dir.display())))
    }

    fn recorded_postmaster(&mut self) -> Option<i32> {
        let mut text = String::new();
        self.file.rewind().ok()?;
        self.file.read_to_string(&mut text).ok()?;
        text.split_whitespace().nth(1)?.parse().ok()
    }

    /// Makes the folder free for a new postmaster: stops an orphan of ours, refuses to touch a
    /// server of somebody else's, removes a pid file whose number now belongs to another program.
    pub(crate) async fn clear(&mut self) -> Result<(), PgError> {
        let pid_file = self.data_dir.join("postmaster.pid");
        let Some(pid) = read_pid(&pid_file) else { return Ok(()) };
        match occupant(pid, &self.data_dir) {
            // PostgreSQL judges this case itself, by its shared memory too: leave it the file.
            Occupant::Nobody => Ok(()),
            // It would take the other program for a live postmaster and refuse to start.
            Occupant::OtherProgram => fs::remove_file(&pid_file)
                .map_err(PgError::io(format!("cannot remove the stale {}", pid_file.display()))),
            Occupant::Postmaster if self.recorded_postmaster() == Some(pid) => {
                tracing::info!(pid, data_dir = %self.data_dir.display(), "stopping the server a killed gateway left");
                self.stop_orphan(pid).await
            }
            Occupant::Postmaster => Err(PgError::Running { dir: self.data_dir.clone(), pid }),
        }
    }

    async fn stop_orphan(&self, pid: i32) -> Result<(), PgError> {
        for (signal, patience) in ORPHAN_PATIENCE {
            // It may have ended in between; the wait below finds out.
            let _ = kill(Pid::from_raw(pid), signal);
            let deadline = Instant::now() + patience;
            let mut pause = Duration::from_millis(5);
            while Instant::now() < deadline {
                if occupant(pid, &self.data_dir) != Occupant::Postmaster {
                    return Ok(());
                }
                // Not our child, so its end can only be polled for.
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(Duration::from_millis(100));
            }
        }
        Err(PgError::Running { dir: self.data_dir.clone(), pid })
    }
}

fn read_pid(pid_file: &Path) -> Option<i32> {
    fs::read_to_string(pid_file).ok()?.lines().next()?.trim().parse().ok().filter(|pid| *pid > 1)
}

/// What runs under the number a pid file gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Occupant {
    Nobody,
    Postmaster,
    OtherProgram,
}

fn occupant(pid: i32, data_dir: &Path) -> Occupant {
    if kill(Pid::from_raw(pid), None) == Err(Errno::ESRCH) {
        return Occupant::Nobody;
    }
    let process = PathBuf::from(format!("/proc/{pid}"));
    let Ok(name) = fs::read_to_string(process.join("comm")) else {
        // No /proc (macOS), or it ended just now. Being careful costs an error that says what to do.
        return if process.parent().is_some_and(Path::exists) && !process.exists() {
            Occupant::Nobody
        } else {
            Occupant::Postmaster
        };
    };
    if is_zombie(&process) {
        return Occupant::Nobody;
    }
    // A postmaster's working directory is its data folder.
    let elsewhere = match (fs::canonicalize(process.join("cwd")), fs::canonicalize(data_dir)) {
        (Ok(cwd), Ok(dir)) => cwd != dir,
        _ => false,
    };
    if name.trim() == "postgres" && !elsewhere { Occupant::Postmaster } else { Occupant::OtherProgram }
}

/// A zombie holds nothing; where process 1 does not reap (containers), orphans stay one for ever.
fn is_zombie(process: &Path) -> bool {
    let stat = fs::read_to_string(process.join("stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('Z'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_claimed_once() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("data");
        let mut first = Claim::take(&dir).unwrap();
        first.record(4711).unwrap();
        let message = Claim::take(&dir).unwrap_err().to_string();
        assert!(message.contains(&format!("(pid {})", std::process::id())), "{message}");
        drop(first);
        assert_eq!(Claim::take(&dir).unwrap().recorded_postmaster(), Some(4711));
    }

    #[tokio::test]
    async fn a_pid_file_naming_another_program_is_removed() {
        if !Path::new("/proc/self/comm").exists() {
            return;
        }
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("data");
        fs::create_dir(&dir).unwrap();
        let pid_file = dir.join("postmaster.pid");
        fs::write(&pid_file, format!("{}\n", std::process::id())).unwrap();
        Claim::take(&dir).unwrap().clear().await.unwrap();
        assert!(!pid_file.exists());
    }
}
