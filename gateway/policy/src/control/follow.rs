//! Files of the folder are replaced.

use std::{collections::HashMap, fs, io, os::unix::fs::MetadataExt as _, path::Path, sync::Arc};

use tidegate_types::settings::Moves;

use super::{
    Control,
    arrive::{Arrival, moves, read},
    book::{Loaded, file_of},
    start,
};
use crate::{
    error::{Refusal, RefusalReason},
    guard::Placement,
    hook::Hook,
    loader,
    metrics::LoadOutcome,
    signature,
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

impl Control {
    /// The stamps of the files as they are now.
    pub fn stamps(&self) -> Seen {
        let settings = self.settings.load();
        let stamp = |name: &Arc<str>| file_of(&settings, name).and_then(|file| Stamp::of(&file).ok());
        self.book.lock().plugins.keys().map(|name| (name.clone(), stamp(name))).collect()
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
        let wasm = if stamp.is_none() { Err("it is gone".to_owned()) } else { read(file) };
        let wasm = match wasm {
            Ok(wasm) => wasm,
            Err(detail) => return self.refused(name, &refusal(RefusalReason::Unreadable, detail)),
        };
        let digest = loader::digest(&wasm);
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
        let signature = match signature::read_beside(file) {
            Ok(signature) => signature,
            Err(error) => return self.refused(name, &refusal(RefusalReason::Signature, error.to_string())),
        };
        let wasm: Arc<[u8]> = wasm.into();
        let arrival = Arrival {
            plugin: name.clone(),
            hooks: hooks.clone(),
            origin: origin.clone(),
            wasm: wasm.clone(),
            config: None,
            signature,
            at_least: self.newest_signed(name),
        };
        match self.proven(arrival, moves(&hooks)).await {
            Ok(loaded) => {
                self.keep_quietly(&wasm);
                self.seen(name, digest, &loaded);
                self.take(name, loaded)
            }
            Err(refusal) => {
                self.state.lock().plugins.entry(name.to_string()).or_default().seen_file = Some(digest);
                self.refused(name, &refusal)
            }
        }
    }

    /// Loads a version and checks that it keeps keys in place.
    async fn proven(&self, arrival: Arrival, moves: Moves) -> Result<Loaded, Refusal> {
        let loaded = self.load(arrival.clone(), self.environment.load_full()).await?;
        if moves == Moves::Allowed {
            return Ok(loaded);
        }
        match self.placed(&loaded, self.current.load_full()).await {
            Placement::Kept { checked } => {
                if checked == 0 && loaded.version(Hook::Route).is_some() {
                    tracing::warn!("no existing keys to check: whether the new policy version moves rows is unknown");
                }
                Ok(loaded)
            }
            Placement::Moved { detail, .. } => Err(Refusal {
                origin: arrival.origin,
                digest: loaded.record.digest.clone(),
                reason: RefusalReason::Placement,
                detail,
            }),
        }
    }

    fn take(&self, name: &str, loaded: Loaded) -> Reload {
        let mut book = self.book.lock();
        self.activate(&mut book, name, loaded);
        self.metrics.loaded(LoadOutcome::Active);
        if let Err(error) = self.save(&book) {
            tracing::error!(%error, "what is in use is not on disk: after a restart it may be another version");
        }
        Reload::Activated(book.number)
    }

    fn refused(&self, name: &str, refusal: &Refusal) -> Reload {
        let mut book = self.book.lock();
        self.note_refusal(&mut book, name, refusal, "the policy folder");
        if let Err(error) = self.save(&book) {
            tracing::error!(%error, "the refusal is not on disk");
        }
        Reload::Refused(refusal.reason)
    }
}
