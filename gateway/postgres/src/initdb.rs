//! Making a data folder: by `initdb`, or as a copy of one that `initdb` made earlier.

use std::{
    fs,
    os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    process::Stdio,
    sync::atomic::{AtomicU64, Ordering},
};

use crate::{account::RunAs, binaries::Binaries, data_dir::beside, error::PgError};

/// The superuser of every cluster made here.
pub(crate) const SUPERUSER: &str = "tidegate";

/// Byte order is what the gateway can merge in, and it never changes with the C library.
const LOCALES: [&str; 2] = ["C.UTF-8", "C"];

/// A suffix that no other attempt has, of this process or of another that runs.
fn attempt() -> String {
    static ATTEMPTS: AtomicU64 = AtomicU64::new(0);
    format!("{}-{}", std::process::id(), ATTEMPTS.fetch_add(1, Ordering::Relaxed))
}

/// Fills `data_dir`, which does not exist or is empty. It appears complete or not at all, so that
/// an interrupted start leaves nothing that looks like a cluster.
pub(crate) async fn initdb(binaries: &Binaries, run_as: &RunAs, data_dir: &Path) -> Result<(), PgError> {
    let building = beside(data_dir, &format!(".init-{}", attempt()));
    let result = run_initdb(binaries, run_as, &building, data_dir).await.and_then(|()| {
        // An empty folder may be replaced by rename.
        fs::rename(&building, data_dir)
            .map_err(PgError::io(format!("cannot put the new cluster at {}", data_dir.display())))
    });
    if result.is_err() {
        let _ = fs::remove_dir_all(&building);
    }
    result
}

async fn run_initdb(binaries: &Binaries, run_as: &RunAs, building: &Path, data_dir: &Path) -> Result<(), PgError> {
    let mut output = String::new();
    for locale in LOCALES {
        new_private_dir(building)?;
        run_as.take(building)?;
        let mut command = run_as.command(&binaries.program("initdb"));
        command.args(["--no-sync", "--encoding=UTF8", "--auth=trust", "-U", SUPERUSER]);
        command.arg(format!("--locale={locale}")).arg("-D").arg(building);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = tokio::process::Command::from(command).kill_on_drop(true).output();
        let done = child.await.map_err(PgError::io(format!("cannot run {}", binaries.program("initdb").display())))?;
        if done.status.success() {
            return Ok(());
        }
        output = last_lines(&String::from_utf8_lossy(&done.stderr), 6);
        let _ = fs::remove_dir_all(building);
        if !output.contains("locale") {
            break;
        }
    }
    Err(PgError::Initdb { dir: data_dir.to_owned(), output })
}

fn new_private_dir(dir: &Path) -> Result<(), PgError> {
    let _ = fs::remove_dir_all(dir);
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(PgError::io(format!("cannot make {}", dir.display())))
}

/// The end of a longer text, for messages.
pub(crate) fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.trim_end().lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

/// A cluster made once and copied, because `initdb` takes a second and a copy a fraction of one.
/// Copies share their system identifier: nothing may tell clusters apart by it alone.
#[derive(Debug, Clone)]
pub struct Template {
    dir: PathBuf,
}

impl Template {
    /// The template for this version below `root`, made now if it is not there. Any number of
    /// processes may ask at once.
    ///
    /// # Errors
    /// [`PgError`] if `root` belongs to another user or `initdb` fails.
    pub async fn prepare(binaries: &Binaries, root: &Path) -> Result<Self, PgError> {
        let run_as = RunAs::detect()?;
        fs::create_dir_all(root).map_err(PgError::io(format!("cannot make {}", root.display())))?;
        let owner = fs::metadata(root).map_err(PgError::io(format!("cannot read {}", root.display())))?.uid();
        if owner != nix::unistd::geteuid().as_raw() {
            let problem = format!("it belongs to user {owner}, so its templates cannot be trusted");
            return Err(PgError::BadDataDir { dir: root.to_owned(), problem });
        }
        let dir = root.join(format!("pg-{}", binaries.version()));
        if !dir.join("PG_VERSION").exists() {
            match initdb(binaries, &run_as, &dir).await {
                Ok(()) => {}
                // Another process was quicker: its template is as good as ours.
                Err(_) if dir.join("PG_VERSION").exists() => {}
                Err(e) => return Err(e),
            }
        }
        Ok(Self { dir })
    }

    /// Copies the template to `data_dir`, which appears complete or not at all.
    pub(crate) fn copy_to(&self, run_as: &RunAs, data_dir: &Path) -> Result<(), PgError> {
        let building = beside(data_dir, &format!(".copy-{}", attempt()));
        let _ = fs::remove_dir_all(&building);
        let copied = copy_tree(&self.dir, &building).map_err(PgError::io(format!(
            "cannot copy the template {} to {}",
            self.dir.display(),
            data_dir.display()
        )));
        let result = copied.and_then(|()| run_as.take(&building)).and_then(|()| {
            fs::rename(&building, data_dir)
                .map_err(PgError::io(format!("cannot put the new cluster at {}", data_dir.display())))
        });
        if result.is_err() {
            let _ = fs::remove_dir_all(&building);
        }
        result
    }
}

fn copy_tree(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::DirBuilder::new().mode(0o700).create(to)?;
    fs::set_permissions(to, fs::Permissions::from_mode(0o700))?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_tree(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
