//! Files that are whole or not there, and private.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use super::VaultError;

const TEMPORARY: &str = ".tmp-";

pub(super) fn failed(doing: &'static str, path: &Path, source: io::Error) -> VaultError {
    VaultError::Io { doing, path: path.to_owned(), source }
}

/// Creates a folder for its owner alone, with the folders above it; refuses one that others can write to.
pub(super) fn create_private(dir: &Path) -> Result<(), VaultError> {
    match fs::metadata(dir) {
        Ok(metadata) => {
            let mode = metadata.permissions().mode() & 0o777;
            if mode & 0o022 == 0 { Ok(()) } else { Err(VaultError::Open { path: dir.to_owned(), mode, wanted: 0o700 }) }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty());
            if let Some(parent) = parent {
                fs::create_dir_all(parent).map_err(|source| failed("create", parent, source))?;
            }
            DirBuilder::new().mode(0o700).create(dir).map_err(|source| failed("create", dir, source))?;
            sync_dir(parent.unwrap_or(Path::new(".")))
        }
        Err(source) => Err(failed("look at", dir, source)),
    }
}

/// Opens a file for its owner alone, and creates it where it is missing.
pub(super) fn open_private(path: &Path) -> Result<File, VaultError> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    options.open(path).map_err(|source| failed("open", path, source))
}

/// Puts a file in place of whatever has its name: at no moment is there half of it.
pub(super) fn replace(path: &Path, parts: &[&[u8]]) -> Result<(), VaultError> {
    let dir = path.parent().unwrap_or(Path::new("."));
    let temporary = Temporary::new(dir);
    let write = || {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary.path)?;
        for part in parts {
            file.write_all(part)?;
        }
        // Before the rename: a name must not lead to bytes that a power failure takes away.
        file.sync_all()?;
        fs::rename(&temporary.path, path)
    };
    write().map_err(|source| failed("write", path, source))?;
    sync_dir(dir)
}

/// Reads a file of at most so many bytes; `None` if it is not there.
pub(super) fn read(path: &Path, what: &'static str, most: u64) -> Result<Option<Vec<u8>>, VaultError> {
    let read = || {
        let file = File::open(path)?;
        let mut bytes = Vec::new();
        file.take(most + 1).read_to_end(&mut bytes)?;
        Ok::<_, io::Error>(bytes)
    };
    match read() {
        Ok(bytes) if bytes.len() as u64 > most => {
            let bytes = fs::metadata(path).map_or(bytes.len() as u64, |metadata| metadata.len());
            Err(VaultError::TooLarge { what, bytes, most })
        }
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(failed("read", path, source)),
    }
}

/// The files and folders of a folder, by name.
pub(super) fn list(dir: &Path) -> Result<Vec<(String, PathBuf)>, VaultError> {
    let entries = fs::read_dir(dir).and_then(|entries| {
        entries.map(|entry| entry.map(|e| (e.file_name().to_string_lossy().into_owned(), e.path()))).collect()
    });
    entries.map_err(|source| failed("list", dir, source))
}

/// Removes a file and says how large it was.
pub(super) fn remove(path: &Path) -> Result<u64, VaultError> {
    let bytes = fs::metadata(path).map_or(0, |metadata| metadata.len());
    fs::remove_file(path).map_err(|source| failed("remove", path, source))?;
    Ok(bytes)
}

/// Removes what a crash left half written.
pub(super) fn remove_temporary(dir: &Path) -> Result<(), VaultError> {
    for (name, path) in list(dir)? {
        if name.starts_with(TEMPORARY) {
            remove(&path)?;
        }
    }
    Ok(())
}

/// Makes the names of a folder last through a power failure.
pub(super) fn sync_dir(dir: &Path) -> Result<(), VaultError> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(|source| failed("sync", dir, source))
}

/// A name beside the final one, free again when it is dropped.
struct Temporary {
    path: PathBuf,
}

impl Temporary {
    fn new(dir: &Path) -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        Self { path: dir.join(format!("{TEMPORARY}{}-{number}", std::process::id())) }
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // After the rename there is nothing of this name; before it, the write failed and says why.
        let _ = fs::remove_file(&self.path);
    }
}
