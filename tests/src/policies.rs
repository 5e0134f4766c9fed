//! Folders of policies.

use std::{
    fs,
    path::{Path, PathBuf},
};

use tempfile::TempDir;

/// A watched folder, removed on drop.
#[derive(Debug)]
pub struct PolicyDir(TempDir);

impl PolicyDir {
    /// A folder with the reference plugin `source` under the name `name`.
    ///
    /// # Panics
    /// If the plugin has not been built.
    #[must_use]
    pub fn with(source: &str, name: &str) -> Self {
        let dir = Self(tempfile::Builder::new().prefix("tidegate-policies-").tempdir().expect("a folder"));
        dir.put(source, name);
        dir
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Copies the reference plugin `source` (`hash-router`, `testing/faulty`) over `name`, as an
    /// operator would with `cp`.
    ///
    /// # Panics
    /// If the plugin has not been built.
    pub fn put(&self, source: &str, name: &str) {
        let from = dist().join(format!("{source}.wasm"));
        fs::copy(&from, self.file(name)).unwrap_or_else(|e| panic!("{}: {e}", from.display()));
    }

    /// Writes bytes over `name`.
    ///
    /// # Panics
    /// If the folder is not writable.
    pub fn put_bytes(&self, bytes: &[u8], name: &str) {
        fs::write(self.file(name), bytes).expect("own folder");
    }

    fn file(&self, name: &str) -> PathBuf {
        self.path().join(format!("{name}.wasm"))
    }
}

/// The reference plugins as they are checked in.
fn dist() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins/dist")
}
