//! Which `postgres` and `initdb` are used.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{download, error::PgError};

/// `pg_current_snapshot()` and `xid8` came with it.
pub const OLDEST_MAJOR: u32 = 13;

/// Folders whose children may be `VERSION/bin` or `postgresql@VERSION/bin`, on the systems we know.
const VERSIONED_ROOTS: [&str; 3] = ["/usr/lib/postgresql", "/opt/homebrew/opt", "/usr/local/opt"];

/// A PostgreSQL installation, as far as it is needed: `postgres` and `initdb` in one folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binaries {
    dir: PathBuf,
    major: u32,
    version: String,
}

impl Binaries {
    /// Looks for PostgreSQL: `explicit`, else the folder in `TIDEGATE_PG_BIN`, else the newest of
    /// those on `PATH`, in the usual places and downloaded earlier.
    ///
    /// # Errors
    /// [`PgError::BadBinaries`] if a folder was named and is unusable; [`PgError::NotFound`], with
    /// the line that installs PostgreSQL here, if none was named and none exists.
    pub fn find(explicit: Option<&Path>) -> Result<Self, PgError> {
        let named = explicit
            .map(Path::to_owned)
            .or_else(|| env::var_os("TIDEGATE_PG_BIN").filter(|v| !v.is_empty()).map(PathBuf::from));
        if let Some(dir) = named {
            return Self::inspect(&dir).map_err(|problem| PgError::BadBinaries { dir, problem });
        }
        Self::newest(candidates()).ok_or_else(|| PgError::NotFound { download: String::new(), install: install_line() })
    }

    /// [`Binaries::find`], and where that finds none, downloads PostgreSQL into the user's cache
    /// with a progress display on the terminal.
    ///
    /// # Errors
    /// As [`Binaries::find`]; [`PgError::NotFound`] then also says why the download failed.
    pub async fn find_or_download(explicit: Option<&Path>) -> Result<Self, PgError> {
        match Self::find(explicit) {
            Err(PgError::NotFound { .. }) => {}
            found => return found,
        }
        let failed = |why: String| PgError::NotFound {
            download: format!(", and downloading it failed: {why}"),
            install: install_line(),
        };
        let dir = download::fetch(&download::cache_dir()).await.map_err(failed)?;
        Self::inspect(&dir).map_err(failed)
    }

    /// The folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The major version.
    #[must_use]
    pub fn major(&self) -> u32 {
        self.major
    }

    /// The version as PostgreSQL prints it (`15.13`).
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The path of one of its programs.
    #[must_use]
    pub fn program(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// The newest usable one; the first where versions are equal.
    fn newest(dirs: impl IntoIterator<Item = PathBuf>) -> Option<Self> {
        let mut best: Option<Self> = None;
        for found in dirs.into_iter().filter_map(|dir| Self::inspect(&dir).ok()) {
            if best.as_ref().is_none_or(|b| found.major > b.major) {
                best = Some(found);
            }
        }
        best
    }

    /// Reads the version of the server in a folder; the error is the end of a sentence.
    fn inspect(dir: &Path) -> Result<Self, String> {
        for program in ["postgres", "initdb"] {
            if !dir.join(program).is_file() {
                return Err(format!("it has no {program}"));
            }
        }
        // A link such as /usr/local/bin/postgres leads to the folder with the other programs.
        let dir = dir
            .join("postgres")
            .canonicalize()
            .ok()
            .and_then(|real| real.parent().map(Path::to_owned))
            .filter(|real| real.join("initdb").is_file())
            .unwrap_or_else(|| dir.to_owned());
        let output = Command::new(dir.join("postgres"))
            .arg("--version")
            .output()
            .map_err(|e| format!("postgres --version cannot run: {e}"))?;
        let text = String::from_utf8_lossy(&output.stdout);
        let (major, version) =
            parse_version(&text).ok_or_else(|| format!("postgres --version says {:?}", text.trim()))?;
        if major < OLDEST_MAJOR {
            return Err(format!("it is PostgreSQL {version}, and {OLDEST_MAJOR} is the oldest supported"));
        }
        Ok(Self { dir, major, version })
    }
}

/// The version in `postgres (PostgreSQL) 15.13 (Debian 15.13-0+deb12u1)`.
fn parse_version(text: &str) -> Option<(u32, String)> {
    let version = text.split_once("(PostgreSQL) ")?.1.split_whitespace().next()?;
    let digits: String = version.chars().take_while(char::is_ascii_digit).collect();
    Some((digits.parse().ok()?, version.to_owned()))
}

/// Every folder that may hold a server, those on `PATH` first.
fn candidates() -> Vec<PathBuf> {
    let mut dirs: Vec<PathBuf> = env::var_os("PATH").map(|path| env::split_paths(&path).collect()).unwrap_or_default();
    for root in VERSIONED_ROOTS {
        dirs.extend(children(Path::new(root)).into_iter().map(|child| child.join("bin")));
    }
    let named_by_version = |root: &str, prefix: &str| {
        let wanted = |p: &PathBuf| p.file_name().and_then(|n| n.to_str()).is_some_and(|name| name.starts_with(prefix));
        children(Path::new(root)).into_iter().filter(wanted).collect::<Vec<_>>()
    };
    // Red Hat's community packages, and Alpine's.
    dirs.extend(named_by_version("/usr", "pgsql-").into_iter().map(|dir| dir.join("bin")));
    dirs.extend(named_by_version("/usr/libexec", "postgresql"));
    dirs.extend(children(&download::cache_dir()).into_iter().map(|child| child.join("bin")));
    dirs
}

fn children(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten();
    entries.filter_map(|entry| entry.ok().map(|e| e.path())).collect()
}

/// The line that installs PostgreSQL on this operating system.
fn install_line() -> &'static str {
    if cfg!(target_os = "macos") {
        return "brew install postgresql@17";
    }
    let release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    install_line_for(&release)
}

fn install_line_for(os_release: &str) -> &'static str {
    let mut words: Vec<&str> = Vec::new();
    for line in os_release.lines() {
        if let Some(value) = line.strip_prefix("ID=").or_else(|| line.strip_prefix("ID_LIKE=")) {
            words.extend(value.trim_matches('"').split_whitespace());
        }
    }
    for word in words {
        match word {
            "debian" | "ubuntu" => return "sudo apt-get install -y postgresql",
            "fedora" | "rhel" | "centos" => return "sudo dnf install -y postgresql-server",
            "arch" => return "sudo pacman -S --noconfirm postgresql",
            "alpine" => return "sudo apk add postgresql",
            "suse" | "opensuse" => return "sudo zypper install -y postgresql-server",
            _ => {}
        }
    }
    "see https://www.postgresql.org/download/"
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn fake_install(root: &Path, version: &str) -> PathBuf {
        let dir = root.join(version).join("bin");
        std::fs::create_dir_all(&dir).unwrap();
        for program in ["postgres", "initdb"] {
            let path = dir.join(program);
            std::fs::write(&path, format!("#!/bin/sh\necho 'postgres (PostgreSQL) {version}'\n")).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        dir
    }

    #[test]
    fn versions_are_read_as_every_packager_prints_them() {
        let major = |text: &str| parse_version(text).map(|(major, _)| major);
        assert_eq!(major("postgres (PostgreSQL) 15.13 (Debian 15.13-0+deb12u1)\n"), Some(15));
        assert_eq!(major("postgres (PostgreSQL) 18beta2\n"), Some(18));
        assert_eq!(major("mysqld 8"), None);
    }

    #[test]
    fn the_newest_installation_wins_and_old_ones_are_not_offered() {
        let root = tempfile::tempdir().unwrap();
        let dirs = ["12.9", "14.2", "16.1", "15.0"].map(|v| fake_install(root.path(), v));
        assert_eq!(Binaries::newest(dirs.clone()).unwrap().version(), "16.1");
        assert_eq!(Binaries::newest([dirs[0].clone()]), None);
    }

    #[test]
    fn a_named_folder_is_used_or_refused_but_never_replaced() {
        let root = tempfile::tempdir().unwrap();
        let good = fake_install(root.path(), "14.2");
        assert_eq!(Binaries::find(Some(&good)).unwrap().major(), 14);
        let message = Binaries::find(Some(root.path())).unwrap_err().to_string();
        assert!(message.contains("it has no postgres") && message.contains("--pg-bin"), "{message}");
        let old = fake_install(root.path(), "12.9");
        let message = Binaries::find(Some(&old)).unwrap_err().to_string();
        assert!(message.contains("13 is the oldest supported"), "{message}");
    }

    #[test]
    fn every_system_gets_its_own_install_line() {
        for (release, expected) in [
            ("ID=debian\n", "apt-get"),
            ("NAME=Mint\nID=linuxmint\nID_LIKE=\"ubuntu debian\"\n", "apt-get"),
            ("ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\n", "dnf"),
            ("ID=arch\n", "pacman"),
            ("ID=alpine\n", "apk"),
            ("", "postgresql.org/download"),
        ] {
            assert!(install_line_for(release).contains(expected), "{release}");
        }
    }
}
