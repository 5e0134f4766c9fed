//! What lasts of versions: their bytes, and which of them are in use. Disks are slow: everything here is
//! done away from the request threads, and nobody holds the book meanwhile. `Control::turn` keeps the order.

use bytes::Bytes;
use tidegate_types::settings::PolicySettings;

use super::{
    Control,
    arrive::{older, read},
    book::{Book, file_of},
    refused::ControlError,
};
use crate::{
    control::refused::ControlErrorKind,
    vault::{CandidateRecord, State, digest_of},
};

impl Control {
    /// The bytes of a version that was loaded before: as they were kept, else the folder's file if that
    /// still is it.
    ///
    /// # Errors
    /// Why there are none.
    pub async fn bytes(&self, settings: &PolicySettings, name: &str, digest: &str) -> Result<Bytes, String> {
        let (kept, file, digest) = (self.kept.clone(), file_of(settings, name), digest.to_owned());
        let find = move || {
            let missing = match kept.map(|kept| kept.get(&digest)) {
                Some(Ok(wasm)) => return Ok(wasm.into()),
                Some(Err(error)) => error.to_string(),
                None => "nothing is kept".to_owned(),
            };
            match file.as_deref().map(read) {
                Some(Ok(wasm)) if digest_of(&wasm) == digest => Ok(wasm.into()),
                Some(Ok(_)) => Err(format!("{missing}, and the file in the folder is another")),
                Some(Err(error)) => Err(format!("{missing}, and of the file in the folder: {error}")),
                None => Err(missing),
            }
        };
        let found = tokio::task::spawn_blocking(find).await;
        found.unwrap_or_else(|error| Err(format!("reading it did not finish: {error}")))
    }

    /// Keeps a version's bytes.
    ///
    /// # Errors
    /// There is no folder for them, or it says no.
    pub async fn keep(&self, wasm: Bytes) -> Result<(), ControlError> {
        let Some(vault) = self.vault.clone() else {
            let message = "versions sent to the admin API cannot be kept";
            let hint = "Set [policies] state to a folder the gateway can write to.";
            return Err(ControlError::new(ControlErrorKind::Disk, message, hint));
        };
        match tokio::task::spawn_blocking(move || vault.put(&wasm)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(ControlError::disk(&error)),
            Err(error) => Err(ControlError::disk(&error)),
        }
    }

    /// Keeps a file's bytes where anything is kept, so that it can be gone back to when the file is another.
    pub async fn keep_quietly(&self, wasm: Bytes) {
        if self.vault.is_some()
            && let Err(error) = self.keep(wasm).await
        {
            tracing::warn!(%error, "this version cannot be gone back to after a restart");
        }
    }

    /// Notes what the book says, for [`Control::save`] once the book is let go.
    #[must_use = "it is not on disk yet"]
    pub fn noted(&self, book: &Book) -> State {
        let mut state = self.state.lock();
        for (name, plugin) in &book.plugins {
            let record = state.plugins.entry(name.to_string()).or_default();
            record.active = Some(plugin.active.record.clone());
            record.previous = plugin.previous.as_ref().map(|loaded| loaded.record.clone());
            let candidate = plugin.candidate.as_ref();
            record.candidate = candidate
                .map(|candidate| CandidateRecord { version: candidate.loaded.record.clone(), stage: candidate.stage });
            let version = &plugin.active.record.version;
            let higher = record.highest_version.as_ref().is_none_or(|highest| older(highest, version));
            if higher && semver::Version::parse(version).is_ok() {
                record.highest_version = Some(version.clone());
            }
        }
        state.clone()
    }

    /// Writes down what was noted, and removes what nothing refers to any more.
    ///
    /// # Errors
    /// The disk says no; then what was written before stays.
    pub async fn save(&self, state: State) -> Result<(), ControlError> {
        let Some(vault) = self.vault.clone() else { return Ok(()) };
        let write = move || {
            vault.save(&state)?;
            if let Err(error) = vault.collect(&state.digests()) {
                tracing::warn!(%error, "versions that nothing refers to stay on disk");
            }
            Ok::<_, crate::vault::VaultError>(())
        };
        match tokio::task::spawn_blocking(write).await {
            Ok(written) => written.map_err(|error| ControlError::disk(&error)),
            Err(error) => Err(ControlError::disk(&error)),
        }
    }
}
