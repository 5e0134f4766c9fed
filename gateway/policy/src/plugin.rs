//! A configured plugin: its generation in use, what happens when it fails, and how it is replaced.

use std::{
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering},
};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tidegate_types::{
    route::{Access, Route, RouteSource, Topology},
    settings::{HookSettings, Moves, PolicySettings, RouteFallback},
};

use crate::{
    error::{PolicyError, Refusal, RefusalReason},
    generation::Generation,
    guard::{self, Placement, PlacementProbe},
    guest::GuestFailure,
    host::{RouteQuery, built_in},
    loader::{self, Loader},
    metrics::{LoadOutcome, Metrics},
    stats::Report,
    status::PluginState,
};

/// Bytes of a plugin's file. The largest of the known toolchains makes 18 MB.
const MAX_FILE_BYTES: u64 = 64 << 20;

/// What a look at the file led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reload {
    /// Nothing new.
    Unchanged,
    /// This generation is in use now.
    Activated(u64),
    /// The file was refused; the generation in use stays.
    Refused(RefusalReason),
}

/// A configured plugin.
pub struct Plugin {
    loader: Arc<Loader>,
    fallback: RouteFallback,
    moves: Moves,
    active: ArcSwap<Generation>,
    /// What the status shows besides the generation in use.
    state: Mutex<PluginState>,
    /// The file as last looked at. Locked for the whole of a look, so that looks take turns.
    seen: tokio::sync::Mutex<Option<Stamp>>,
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

impl Plugin {
    /// Loads the first generation.
    ///
    /// # Errors
    /// It cannot be used.
    pub fn start(
        settings: &PolicySettings,
        hook: &HookSettings,
        topology: Arc<Topology>,
        metrics: &Metrics,
    ) -> Result<Self, PolicyError> {
        let name: Arc<str> = hook.plugin.as_str().into();
        let Some(dir) = &settings.dir else {
            return Err(PolicyError::NoDirectory { plugin: hook.plugin.clone() });
        };
        let file: PathBuf = dir.join(format!("{name}.wasm"));
        let refused = |refusal: Refusal| {
            metrics.loaded(LoadOutcome::Refused(refusal.reason));
            PolicyError::Refused(Box::new(refusal))
        };
        let loader = Loader::new(name, file, &hook.config, settings, topology).map_err(refused)?;
        let stamp = Stamp::of(&loader.file).ok();
        let generation =
            read(&loader.file).map_err(|detail| unreadable(&loader, detail)).and_then(|bytes| loader.load(&bytes, 1));
        let generation = generation.map_err(refused)?;
        log_active(loader.plugin(), &generation);
        metrics.loaded(LoadOutcome::Active);
        metrics.activated(generation.number);
        Ok(Self {
            loader: Arc::new(loader),
            fallback: hook.fallback,
            moves: hook.moves,
            active: ArcSwap::from_pointee(generation),
            state: Mutex::new(PluginState::Active),
            seen: tokio::sync::Mutex::new(stamp),
        })
    }

    /// The file's name without `.wasm`.
    pub fn name(&self) -> &str {
        self.loader.plugin()
    }

    /// The file.
    pub fn file(&self) -> &Path {
        &self.loader.file
    }

    /// The generation in use.
    pub fn active(&self) -> Arc<Generation> {
        self.active.load_full()
    }

    /// The generation in use and whether it is from the newest file, as one consistent pair.
    pub fn newest(&self) -> (Arc<Generation>, PluginState) {
        let state = self.state.lock();
        (self.active.load_full(), state.clone())
    }

    /// Routes a request. The generation is loaded once, so that one decision never mixes two.
    ///
    /// # Errors
    /// The plugin failed, and the request is a write or the fallback is to refuse.
    #[inline]
    pub fn route(&self, query: &RouteQuery<'_>, topology: &Topology, metrics: &Metrics) -> Result<Route, PolicyError> {
        // A guard instead of an owned reference: threads do not meet at one counter on every hit.
        let generation = self.active.load();
        match generation.decide(query, metrics) {
            Ok((shards, source)) => {
                metrics.decided(source);
                Ok(Route { shards, source, generation: generation.number })
            }
            Err(failure) => self.without_answer(&generation, failure, query, topology, metrics),
        }
    }

    #[cold]
    fn without_answer(
        &self,
        generation: &Generation,
        failure: GuestFailure,
        query: &RouteQuery<'_>,
        topology: &Topology,
        metrics: &Metrics,
    ) -> Result<Route, PolicyError> {
        metrics.failed(failure.kind);
        if generation.stats.failed(&failure) == Report::Log {
            let (plugin, kind, detail) = (self.name(), failure.kind.as_str(), failure.detail.as_str());
            let collection = &*query.collection.name;
            tracing::error!(plugin, generation = generation.number, kind, detail, collection, "policy call failed");
        }
        let shards = match (query.access, self.fallback) {
            (Access::Read, RouteFallback::Hash) => built_in(topology, query),
            (Access::Read, RouteFallback::AllShards) => topology.all(),
            (Access::Write, _) | (Access::Read, RouteFallback::Refuse) => {
                return Err(PolicyError::Call {
                    plugin: self.loader.plugin().clone(),
                    generation: generation.number,
                    kind: failure.kind,
                    detail: failure.detail,
                });
            }
        };
        metrics.decided(RouteSource::Fallback);
        Ok(Route { shards, source: RouteSource::Fallback, generation: generation.number })
    }

    /// Looks at the file, and takes a new content into use if it may be.
    pub async fn reload(&self, probe: &dyn PlacementProbe, metrics: &Metrics) -> Reload {
        let mut seen = self.seen.lock().await;
        // Stamped before reading: a change while reading is a change for the next look.
        let stamp = Stamp::of(self.file()).ok();
        if *seen == stamp {
            return Reload::Unchanged;
        }
        *seen = stamp;
        let outcome = match self.candidate(probe, stamp).await {
            Ok(None) => {
                *self.state.lock() = PluginState::Active;
                return Reload::Unchanged;
            }
            Ok(Some(generation)) => Ok(generation),
            Err(refusal) => Err(refusal),
        };
        match outcome {
            Ok(generation) => self.activate(generation, metrics),
            Err(refusal) => self.refuse(&refusal, metrics),
        }
    }

    /// A generation of the file's content; `None` where that is what is in use already.
    async fn candidate(&self, probe: &dyn PlacementProbe, stamp: Option<Stamp>) -> Result<Option<Generation>, Refusal> {
        let active = self.active();
        let loader = self.loader.clone();
        let load = move || {
            if stamp.is_none() {
                return Err(unreadable(&loader, "it is gone".into()));
            }
            let bytes = read(&loader.file).map_err(|detail| unreadable(&loader, detail))?;
            if loader::digest(&bytes) == active.description.digest {
                return Ok(None);
            }
            loader.load(&bytes, active.number + 1).map(Some)
        };
        let Some(generation) = self.aside(load).await? else { return Ok(None) };
        if self.moves == Moves::Allowed {
            return Ok(Some(generation));
        }
        let keys = probe.sample().await;
        let loader = self.loader.clone();
        let check = move || match guard::check(&keys, loader.topology(), |query| generation.evaluate(query)) {
            Placement::Kept { checked: 0 } => {
                tracing::warn!("no existing keys to check: whether the new policy version moves rows is unknown");
                Ok(Some(generation))
            }
            Placement::Kept { checked } => {
                tracing::debug!(checked, generation = generation.number, "policy keeps existing keys in place");
                Ok(Some(generation))
            }
            Placement::Moved { detail } => {
                Err(loader.refusal(&generation.description.digest, RefusalReason::Placement, detail))
            }
        };
        self.aside(check).await
    }

    /// Runs away from the request threads. A panic, which only a bug of a parser of the file could
    /// cause, refuses the file instead of ending the watch.
    async fn aside<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        match tokio::task::spawn_blocking(work).await {
            Ok(result) => result,
            Err(stopped) => {
                Err(self.loader.refusal("-", RefusalReason::Invalid, format!("loading it did not finish: {stopped}")))
            }
        }
    }

    fn activate(&self, generation: Generation, metrics: &Metrics) -> Reload {
        let number = generation.number;
        log_active(self.name(), &generation);
        let memo_hits = metrics.decisions(RouteSource::Memo).get();
        generation.stats.memo_hits_before.store(memo_hits, Ordering::Relaxed);
        {
            let mut state = self.state.lock();
            self.active.store(Arc::new(generation));
            *state = PluginState::Active;
        }
        metrics.loaded(LoadOutcome::Active);
        metrics.activated(number);
        Reload::Activated(number)
    }

    fn refuse(&self, refusal: &Refusal, metrics: &Metrics) -> Reload {
        tracing::error!(
            file = %refusal.file.display(),
            digest = refusal.digest,
            reason = refusal.reason.as_str(),
            detail = refusal.detail,
            advice = refusal.reason.advice(),
            generation_in_use = self.active.load().number,
            "policy version refused, the one in use stays"
        );
        *self.state.lock() =
            PluginState::Refused { reason: refusal.to_string(), refused_digest: refusal.digest.clone() };
        metrics.loaded(LoadOutcome::Refused(refusal.reason));
        Reload::Refused(refusal.reason)
    }
}

fn log_active(plugin: &str, generation: &Generation) {
    let description = &generation.description;
    tracing::info!(
        plugin,
        generation = generation.number,
        title = description.name,
        version = description.version,
        digest = description.digest,
        "policy active"
    );
}

fn unreadable(loader: &Loader, detail: String) -> Refusal {
    loader.refusal("-", RefusalReason::Unreadable, detail)
}

/// Reads a file within its limit.
fn read(file: &Path) -> Result<Vec<u8>, String> {
    use io::Read as _;
    let mut bytes = Vec::new();
    fs::File::open(file)
        .and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes))
        .map_err(|e| format!("it cannot be read: {e}"))?;
    if bytes.len() as u64 > MAX_FILE_BYTES { Err("it is larger than 64 MiB".into()) } else { Ok(bytes) }
}
