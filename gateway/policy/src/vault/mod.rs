//! Everything about plugins that is on disk, below one folder.
//!
//! # Layout
//! - `blobs`: the plugins' bytes, `blobs/ab/abcd….wasm`, named by their SHA-256
//! - `state`: `state.json`: what is active, before, and staged, with history
//! - `artifacts`: compiled code, `artifacts/….cwasm`, trusted only with its MAC under `mac.key`
//! - `files`: how all of them are written: aside, synced, renamed, and the folder synced
//! - `time`: the time of an event as text
//! - `lock`: held while a gateway uses the folder
//!
//! All of it blocks; call it away from the request threads. Calls may be concurrent.

mod artifacts;
mod blobs;
mod files;
mod state;
mod time;

use std::{
    collections::BTreeSet,
    fs::{File, TryLockError},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use ring::hmac;

pub use self::{
    blobs::{MAX_BLOB_BYTES, digest_of},
    state::{Action, CandidateRecord, Event, MAX_HISTORY, PluginRecord, Stage, State, VersionRecord},
    time::rfc3339,
};

/// The folder, in use by this process alone.
#[derive(Debug)]
pub struct Vault {
    dir: PathBuf,
    mac: hmac::Key,
    /// One writer at a time, so that what [`Vault::collect`] lists is what it removes.
    writing: Mutex<()>,
    /// Unlocked when it is closed.
    _lock: File,
}

/// What [`Vault::collect`] removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Collected {
    /// Plugins.
    pub blobs: usize,
    /// Compiled plugins.
    pub artifacts: usize,
    /// The bytes of both.
    pub bytes: u64,
}

/// Why the folder cannot be used, or a part of it.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// The file system said no.
    #[error("cannot {doing} {}: {source}", path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// Another process has the lock.
    #[error(
        "another gateway uses {}; stop it, or give this one a folder of its own with `[policies] state`",
        dir.display()
    )]
    Locked {
        /// The folder.
        dir: PathBuf,
    },
    /// Others could change what the gateway runs, or read the key that it trusts.
    #[error("{} is open to other users (mode {mode:03o}); run chmod {wanted:03o} on it, or name a folder inside it", path.display())]
    Open {
        /// The folder or file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
        /// The mode it should have.
        wanted: u32,
    },
    /// `mac.key` is not 32 bytes.
    #[error("{} is not a key of 32 bytes; remove it, and compiled plugins are made anew", path.display())]
    NotAKey {
        /// The file.
        path: PathBuf,
    },
    /// No random bytes for a key.
    #[error("the system gives no random bytes for {}", path.display())]
    NoRandomness {
        /// The key's file.
        path: PathBuf,
    },
    /// The text is no SHA-256.
    #[error("{text:?} is no digest; a digest is the SHA-256 of a plugin in 64 lower-case hexadecimal digits")]
    NotADigest {
        /// The text, its start if it is long.
        text: String,
    },
    /// There is no such plugin.
    #[error("there is no plugin with the digest {digest}; upload it again")]
    Missing {
        /// Its digest.
        digest: String,
    },
    /// The bytes are not those that were stored.
    #[error("{} is damaged: it does not have the digest it is named after; remove it and upload the plugin again", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// Something is larger than anything the gateway writes.
    #[error("{what} has {bytes} bytes, at most {most} are kept")]
    TooLarge {
        /// What.
        what: &'static str,
        /// Its size.
        bytes: u64,
        /// The bound.
        most: u64,
    },
    /// `state.json` cannot be understood.
    #[error(
        "{} is damaged ({reason}); restore it from a backup, or move it away: then the gateway starts with the plugins \
         of the folder `[policies] dir`, without what was staged or promoted by the admin API",
        path.display()
    )]
    State {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// `state.json` is of another gateway.
    #[error("{} has version {version}, this gateway reads version 1; use the gateway that wrote it, or move it away", path.display())]
    StateVersion {
        /// The file.
        path: PathBuf,
        /// Its version.
        version: u64,
    },
}

impl Vault {
    /// Takes the folder into use, and creates it where it is missing.
    ///
    /// # Errors
    /// Another process uses it, others can write to it or read its key, or the file system says no.
    pub fn open(dir: &Path) -> Result<Self, VaultError> {
        files::create_private(dir)?;
        let lock_path = dir.join("lock");
        let lock = files::open_private(&lock_path)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(VaultError::Locked { dir: dir.to_owned() }),
            Err(TryLockError::Error(source)) => return Err(files::failed("lock", &lock_path, source)),
        }
        let mac = artifacts::key(&dir.join("mac.key"))?;
        files::create_private(&dir.join("blobs"))?;
        files::create_private(&dir.join("artifacts"))?;
        files::remove_temporary(dir)?;
        files::remove_temporary(&dir.join("artifacts"))?;
        blobs::remove_temporary(dir)?;
        Ok(Self { dir: dir.to_owned(), mac, writing: Mutex::new(()), _lock: lock })
    }

    /// Keeps a plugin and says its digest. Keeping it again changes nothing.
    ///
    /// # Errors
    /// It is too large, or the file system says no.
    pub fn put(&self, wasm: &[u8]) -> Result<String, VaultError> {
        let _alone = self.alone();
        blobs::put(&self.dir, wasm)
    }

    /// The plugin with this digest; what is returned has it.
    ///
    /// # Errors
    /// The text is no digest, there is no such plugin, or its file was changed.
    pub fn get(&self, digest: &str) -> Result<Vec<u8>, VaultError> {
        blobs::get(&self.dir, digest)
    }

    /// What was saved last; empty where nothing was.
    ///
    /// # Errors
    /// It is damaged, of an unknown version, or cannot be read.
    pub fn load(&self) -> Result<State, VaultError> {
        state::load(&self.dir)
    }

    /// Saves what is in use. A crash at any moment leaves this or what was saved before.
    ///
    /// # Errors
    /// The file system says no; then what was saved before stays.
    pub fn save(&self, state: &State) -> Result<(), VaultError> {
        let _alone = self.alone();
        state::save(&self.dir, state)
    }

    /// The code compiled from a plugin by an engine with this key, if this gateway made it. Anything
    /// else under its name is removed: native code from a file is trusted entirely.
    #[must_use]
    pub fn artifact(&self, digest: &str, engine_key: &str) -> Option<Vec<u8>> {
        // Beside writers: files are replaced as a whole, and one that is wrongly removed is made again.
        artifacts::get(&self.dir, &self.mac, digest, engine_key)
    }

    /// Keeps compiled code for [`Vault::artifact`]. Beyond a bound of all together, what was not used
    /// for longest is removed.
    ///
    /// # Errors
    /// The text is no digest, the code is too large, or the file system says no.
    pub fn keep_artifact(&self, digest: &str, engine_key: &str, bytes: &[u8]) -> Result<(), VaultError> {
        let _alone = self.alone();
        artifacts::put(&self.dir, &self.mac, digest, engine_key, bytes)
    }

    /// Removes plugins and compiled code of other digests than these. `keep` must name every plugin
    /// that a saved or coming [`State`] names: call it from where states are made.
    ///
    /// # Errors
    /// The file system says no.
    pub fn collect(&self, keep: &BTreeSet<String>) -> Result<Collected, VaultError> {
        let _alone = self.alone();
        let mut collected = Collected::default();
        blobs::collect(&self.dir, keep, &mut collected)?;
        artifacts::collect(&self.dir, keep, &mut collected)?;
        Ok(collected)
    }

    /// Held by whoever writes.
    pub(crate) fn alone(&self) -> MutexGuard<'_, ()> {
        // Nothing is half done in memory: a writer that panicked left at most a temporary file.
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The folder as a gateway in use left it, for those that only look: it takes no lock, creates nothing
/// and writes nothing.
#[derive(Debug, Clone)]
pub struct VaultReader {
    dir: PathBuf,
}

impl VaultReader {
    /// Looks into a folder, which need not exist.
    #[must_use]
    pub fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }

    /// As [`Vault::load`].
    ///
    /// # Errors
    /// As [`Vault::load`].
    pub fn load(&self) -> Result<State, VaultError> {
        state::load(&self.dir)
    }

    /// As [`Vault::get`].
    ///
    /// # Errors
    /// As [`Vault::get`].
    pub fn get(&self, digest: &str) -> Result<Vec<u8>, VaultError> {
        blobs::get(&self.dir, digest)
    }
}

#[cfg(test)]
mod tests;
