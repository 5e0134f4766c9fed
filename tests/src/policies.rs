//! Guests, and folders of policies.

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
        Self::of(&[(source, name)])
    }

    /// A folder with these plugins, each `(source, name)`.
    ///
    /// # Panics
    /// If one has not been built.
    #[must_use]
    pub fn of(plugins: &[(&str, &str)]) -> Self {
        let dir = Self(tempfile::Builder::new().prefix("tidegate-policies-").tempdir().expect("a folder"));
        for (source, name) in plugins {
            dir.put(source, name);
        }
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
        fs::copy(found(source).expect("the guest is built: plugins/build"), self.file(name)).expect("own folder");
    }

    /// Writes bytes over `name`.
    ///
    /// # Panics
    /// If the folder is not writable.
    pub fn put_bytes(&self, bytes: &[u8], name: &str) {
        fs::write(self.file(name), bytes).expect("own folder");
    }

    /// The file of the plugin `name`.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.path().join(format!("{name}.wasm"))
    }
}

/// The bytes of the guest `source` (`hash-router`, `testing/faulty`).
///
/// # Panics
/// If it has not been built.
#[must_use]
pub fn guest(source: &str) -> Vec<u8> {
    fs::read(found(source).expect("the guest is built: plugins/build")).expect("readable")
}

/// Whether the guest `source` is there. Those that are too large to be checked in are only where they were built
/// (`plugins/build --into FOLDER`, and `TIDEGATE_PLUGIN_DIST=FOLDER`): without one, says so.
///
/// # Panics
/// If it is not, in continuous integration: nothing is skipped there.
#[must_use]
pub fn is_built(source: &str) -> bool {
    if found(source).is_some() {
        return true;
    }
    let advice = "run `plugins/build --into FOLDER` and set TIDEGATE_PLUGIN_DIST=FOLDER, as tests/run does";
    assert!(std::env::var_os("CI").is_none(), "{source} is not built: {advice}");
    eprintln!("NOT TESTED: {source} is not built: {advice}");
    false
}

/// The file of a guest: of those built now, else of those checked in.
fn found(source: &str) -> Option<PathBuf> {
    let checked_in = Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins/dist");
    let built = std::env::var_os("TIDEGATE_PLUGIN_DIST").map(PathBuf::from);
    let files = built.into_iter().chain([checked_in]).map(|folder| folder.join(format!("{source}.wasm")));
    files.into_iter().find(|file| file.is_file())
}
