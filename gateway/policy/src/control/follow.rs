//! Files of the folder are replaced.

use std::{collections::HashMap, fs, io, os::unix::fs::MetadataExt as _, path::Path, sync::Arc};

use tidegate_types::{
    collection::CollectionId,
    settings::{Moves, PolicySettings},
};

use super::{
    Control,
    arrive::{Arrival, InFolder, moves},
    book::{Loaded, configured, file_of},
    start,
};
use crate::{
    error::{Refusal, RefusalReason},
    guard::Stillness,
    metrics::LoadOutcome,
};

/// What a look at a file led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reload {
    /// Nothing new.
    Unchanged,
    /// This generation is in use now.
    Activated(u64),
    /// The file was refused; the version in use stays.
    Refused(RefusalReason),
}

/// What tells one content of a path from another without reading it. The change time cannot be set
/// by `cp -p` or `touch`, and reading does not change it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    inode: u64,
    bytes: u64,
    changed: (i64, i64),
}

impl Stamp {
    /// The stamp of a path now.
    ///
    /// # Errors
    /// The path cannot be looked at.
    pub fn of(path: &Path) -> io::Result<Self> {
        let metadata = fs::metadata(path)?;
        let changed = (metadata.ctime(), metadata.ctime_nsec());
        Ok(Self { inode: metadata.ino(), bytes: metadata.len(), changed })
    }
}

/// The files as last looked at, by plugin.
pub type Seen = HashMap<Arc<str>, Option<Stamp>>;

/// The stamps of the files that are configured, as they are now.
pub fn stamps_of(settings: &PolicySettings) -> Seen {
    let stamp = |name: &Arc<str>| file_of(settings, name).and_then(|file| Stamp::of(&file).ok());
    configured(settings)
        .into_keys()
        .map(|name| {
            let stamp = stamp(&name);
            (name, stamp)
        })
        .collect()
}

impl Control {
    /// The stamps of the files as they are now.
    pub fn stamps(&self) -> Seen {
        stamps_of(&self.settings.load())
    }

    /// Looks at every plugin's file, and takes new contents into use where they may be. Says the last
    /// thing that happened.
    pub async fn reload(&self, seen: &tokio::sync::Mutex<Seen>) -> Reload {
        let mut seen = seen.lock().await;
        let settings = self.settings.load_full();
        let names: Vec<Arc<str>> = self.book.lock().plugins.keys().cloned().collect();
        let mut last = Reload::Unchanged;
        for name in names {
            let Some(file) = file_of(&settings, &name) else { continue };
            // Stamped before reading: a change while reading is a change for the next look.
            let stamp = Stamp::of(&file).ok();
            if seen.get(&name) == Some(&stamp) {
                continue;
            }
            seen.insert(name.clone(), stamp);
            match self.look(&name, &file, stamp).await {
                Reload::Unchanged => {}
                happened => last = happened,
            }
        }
        last
    }

    async fn look(&self, name: &Arc<str>, file: &Path, stamp: Option<Stamp>) -> Reload {
        let _turn = self.turn.lock().await;
        let origin = start::origin(&self.settings.load(), name);
        let refusal = |reason, detail: String| Refusal { origin: origin.clone(), digest: "-".into(), reason, detail };
        let read = if stamp.is_none() { Err("it is gone".to_owned()) } else { InFolder::read(file).await };
        let InFolder { wasm, digest, signature } = match read {
            Ok(read) => read,
            Err(detail) => return self.refused(name, &refusal(RefusalReason::Unreadable, detail)).await,
        };
        let known = {
            let mut book = self.book.lock();
            let Some(plugin) = book.plugins.get_mut(name) else { return Reload::Unchanged };
            if plugin.active.record.digest == digest && plugin.active.record.config.is_none() {
                plugin.refused = None;
                None
            } else {
                Some(plugin.hooks.clone())
            }
        };
        let Some(hooks) = known else { return Reload::Unchanged };
        let signature = match signature {
            Ok(signature) => signature,
            Err(error) => return self.refused(name, &refusal(RefusalReason::Signature, error)).await,
        };
        let allowed = moves(&hooks);
        let arrival = Arrival {
            plugin: name.clone(),
            hooks,
            origin: origin.clone(),
            wasm: wasm.clone(),
            config: None,
            signature,
            at_least: self.newest_signed(name),
        };
        match self.proven(arrival, allowed).await {
            Ok((loaded, moved, _still)) => {
                self.keep_quietly(wasm).await;
                self.seen(name, digest, &loaded.record);
                self.take(name, loaded, &moved).await
            }
            Err(refusal) => {
                self.state.lock().plugins.entry(name.to_string()).or_default().seen_file = Some(digest);
                self.refused(name, &refusal).await
            }
        }
    }

    /// Loads a version and checks that it keeps keys in place, or says whose it moves and keeps them still.
    async fn proven(
        &self,
        arrival: Arrival,
        moves: Moves,
    ) -> Result<(Loaded, Vec<CollectionId>, Option<Stillness>), Refusal> {
        let origin = arrival.origin.clone();
        let loaded = self.load(arrival, self.environment.load_full()).await?;
        let keys = self.keys(&loaded).await;
        let moved = self.keeps_rows(&loaded, &origin, moves, &keys).await?;
        let still = self.still(&origin, &loaded.record.digest, &moved).await?;
        Ok((loaded, moved, still))
    }

    async fn take(&self, name: &str, loaded: Loaded, moved: &[CollectionId]) -> Reload {
        let (number, state) = {
            let mut book = self.book.lock();
            self.activate(&mut book, name, loaded, moved);
            self.metrics.loaded(LoadOutcome::Active);
            (book.number, self.noted(&book))
        };
        if let Err(error) = self.save(state).await {
            tracing::error!(%error, "what is in use is not on disk: after a restart it may be another version");
        }
        Reload::Activated(number)
    }

    async fn refused(&self, name: &str, refusal: &Refusal) -> Reload {
        self.note_and_save(name, refusal, "the policy folder").await;
        Reload::Refused(refusal.reason)
    }
}
