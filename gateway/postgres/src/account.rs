//! PostgreSQL never runs as root. Where the process is root, its servers belong to an ordinary user.

use std::{
    fs,
    os::unix::{
        fs::{MetadataExt, lchown},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::Command,
};

use nix::unistd::{User, geteuid};

use crate::error::PgError;

/// Whether this process is root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Identity {
    Root,
    Ordinary,
}

pub(crate) fn identity() -> Identity {
    if geteuid().is_root() { Identity::Root } else { Identity::Ordinary }
}

/// Who the server's processes belong to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RunAs {
    /// The user of this process.
    Caller,
    /// Another one, because this process is root.
    Other { name: String, uid: u32, gid: u32 },
}

impl RunAs {
    pub(crate) fn detect() -> Result<Self, PgError> {
        if identity() == Identity::Ordinary {
            return Ok(Self::Caller);
        }
        let user = ["postgres", "nobody"].iter().find_map(|name| User::from_name(name).ok().flatten());
        let user = user.filter(|u| !u.uid.is_root()).ok_or(PgError::NoAccount)?;
        Ok(Self::Other { name: user.name, uid: user.uid.as_raw(), gid: user.gid.as_raw() })
    }

    /// A command that runs as this user, away from folders it may not enter, without the settings
    /// that PostgreSQL's programs take from the environment.
    pub(crate) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir("/").env("LC_MESSAGES", "C").env_remove("LC_ALL");
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("PG")) {
            command.env_remove(name);
        }
        if let Self::Other { uid, gid, .. } = self {
            // As root, the standard library also drops the supplementary groups.
            command.uid(*uid).gid(*gid);
        }
        command
    }

    /// Gives a folder and everything in it to this user.
    pub(crate) fn take(&self, path: &Path) -> Result<(), PgError> {
        let Self::Other { uid, gid, .. } = self else { return Ok(()) };
        let failed = |path: &Path| PgError::io(format!("cannot give {} to the server's user", path.display()));
        let mut open = vec![path.to_owned()];
        while let Some(path) = open.pop() {
            let meta = fs::symlink_metadata(&path).map_err(failed(&path))?;
            if meta.uid() != *uid || meta.gid() != *gid {
                lchown(&path, Some(*uid), Some(*gid)).map_err(failed(&path))?;
            }
            if meta.is_dir() {
                for entry in fs::read_dir(&path).map_err(failed(&path))? {
                    open.push(entry.map_err(failed(&path))?.path());
                }
            }
        }
        Ok(())
    }

    /// Whether this user may walk down to `path`: every folder above it must let it through.
    pub(crate) fn can_reach(&self, path: &Path) -> Result<(), PgError> {
        let Self::Other { name, uid, gid } = self else { return Ok(()) };
        let mut above: Vec<PathBuf> = path.ancestors().skip(1).map(Path::to_owned).collect();
        above.reverse();
        for dir in above.into_iter().filter(|d| !d.as_os_str().is_empty()) {
            let Ok(meta) = fs::metadata(&dir) else { continue };
            let needed = match (meta.uid() == *uid, meta.gid() == *gid) {
                (true, _) => 0o100,
                (false, true) => 0o010,
                (false, false) => 0o001,
            };
            if meta.mode() & needed == 0 {
                return Err(PgError::NotTraversable { account: name.clone(), dir });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_first_closed_folder_on_the_way_is_named() {
        let root = tempfile::tempdir().unwrap();
        fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let closed = root.path().join("closed");
        fs::create_dir_all(closed.join("below")).unwrap();
        fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).unwrap();
        // An id that owns nothing here.
        let other = RunAs::Other { name: "somebody".into(), uid: 54_321, gid: 54_321 };
        match other.can_reach(&closed.join("below/data")) {
            Err(PgError::NotTraversable { account, dir }) => {
                assert_eq!((account.as_str(), &dir), ("somebody", &closed));
            }
            unexpected => panic!("{unexpected:?}"),
        }
        assert!(RunAs::Caller.can_reach(&closed.join("below/data")).is_ok());
    }
}
