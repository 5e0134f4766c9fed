//! What happens by itself: files are replaced, directories change, versions misbehave.

use std::{collections::HashMap, fs, io, os::unix::fs::MetadataExt as _, path::Path, sync::Arc, time::Duration};

use tidegate_types::settings::{FallBackSettings, Grant, Moves};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::{
    Control,
    arrive::{Arrival, moves, read},
    book::{Loaded, Plugin, file_of},
    orders::Order,
    start,
};
use crate::{
    error::{Refusal, RefusalReason},
    guard::{self, Placement},
    hook::Hook,
    loader::{self, Environment},
    metrics::LoadOutcome,
    signature,
    stats::{Mark, Window},
    vault::{Action, Stage},
    version::Version,
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

/// How often misbehaviour is looked for.
const SUPERVISE_EVERY: Duration = Duration::from_millis(250);
/// How long a version's counts are added up before they are judged anew.
const WINDOW: Duration = Duration::from_secs(30);

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

    /// Takes versions out of use that misbehave, until `shutdown`.
    pub async fn supervise(&self, shutdown: CancellationToken) {
        let mut ticks = interval(SUPERVISE_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut window = Instant::now();
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                _ = ticks.tick() => {}
            }
            let renew = window.elapsed() >= WINDOW;
            if renew {
                window = Instant::now();
            }
            self.judge(renew).await;
        }
    }

    /// Looks at every canary and at every version that could be gone back from.
    pub async fn judge(&self, renew: bool) {
        let bounds = self.settings.load().fall_back;
        let suspicion = |book: &super::book::Book| {
            book.plugins
                .values()
                .any(|plugin| canary_fault(plugin, &bounds).or(active_fault(plugin, &bounds)).is_some())
        };
        if suspicion(&self.book.lock()) {
            let _turn = self.turn.lock().await;
            self.fall_back(&bounds);
        } else if renew {
            let mut book = self.book.lock();
            for plugin in book.plugins.values_mut() {
                plugin.watched = plugin.previous.as_ref().map(|_| plugin.active.marks());
                if let Some(candidate) = &mut plugin.candidate {
                    candidate.marks = candidate.loaded.marks().into_iter().zip(plugin.active.marks()).collect();
                }
            }
        }
    }

    fn fall_back(&self, bounds: &FallBackSettings) {
        let mut book = self.book.lock();
        let names: Vec<Arc<str>> = book.plugins.keys().cloned().collect();
        for name in names {
            let Some(plugin) = book.plugins.get_mut(&name) else { continue };
            if let Some(fault) = canary_fault(plugin, bounds) {
                let Some(candidate) = &mut plugin.candidate else { continue };
                candidate.stage = Stage::Staged;
                candidate.marks.clear();
                let loaded = candidate.loaded.clone();
                self.note(&name, Action::FallBack, &loaded, &by_itself(&fault), "the canary is at rest again");
                self.announce(&name, &fault, "canary");
                self.publish(&mut book);
            } else if let Some(fault) = active_fault(plugin, bounds) {
                let Some(previous) = plugin.previous.take() else { continue };
                self.note(&name, Action::FallBack, &previous, &by_itself(&fault), "the version before is in use again");
                self.announce(&name, &fault, "active");
                self.activate(&mut book, &name, previous);
                if let Some(plugin) = book.plugins.get_mut(&name) {
                    // Not back to what just failed.
                    plugin.previous = None;
                    plugin.watched = None;
                }
            }
        }
        if let Err(error) = self.save(&book) {
            tracing::error!(%error, "the fall back is not on disk");
        }
    }

    fn announce(&self, plugin: &str, fault: &str, stage: &str) {
        self.metrics.fell_back();
        tracing::error!(plugin, stage, fault, "policy version taken out of use by itself");
    }

    /// Renews the directories until `shutdown`.
    pub async fn renew(&self, shutdown: CancellationToken) {
        let mut due: HashMap<String, Instant> = HashMap::new();
        let mut ticks = interval(SUPERVISE_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                _ = ticks.tick() => {}
            }
            let settings = self.settings.load_full();
            for (name, directory) in &settings.directories {
                if !self.environment.load().directories.contains_key(name) {
                    continue;
                }
                let now = Instant::now();
                if *due.entry(name.clone()).or_insert(now + directory.refresh) > now {
                    continue;
                }
                match self.directories.load(name, directory).await {
                    Ok(copy) => self.replace_directory(name, copy).await,
                    Err(error) => {
                        tracing::warn!(
                            directory = name,
                            error,
                            "the directory cannot be renewed: the last copy is used"
                        );
                    }
                }
                due.insert(name.clone(), Instant::now() + directory.refresh);
            }
        }
    }

    /// Takes a changed directory into use: every version that was granted directories is made anew, since
    /// its answers depend on them.
    pub async fn replace_directory(&self, name: &str, copy: HashMap<String, String>) {
        let _turn = self.turn.lock().await;
        let environment = self.environment.load_full();
        if environment.directories.get(name).is_some_and(|known| **known == copy) {
            return;
        }
        let mut directories = (*environment.directories).clone();
        directories.insert(name.to_owned(), Arc::new(copy));
        let next = Arc::new(Environment { directories: Arc::new(directories), ..(*environment).clone() });
        match self.rebuilt(&next).await {
            Ok(plugins) => {
                self.environment.store(next);
                let mut book = self.book.lock();
                for (plugin, active, previous) in plugins {
                    if let Some(known) = book.plugins.get_mut(&plugin) {
                        known.active = active;
                        known.previous = previous;
                        known.watched = None;
                        if let Some(candidate) = &mut known.candidate {
                            // It was made with the copy before, and compared by it.
                            candidate.stage = Stage::Staged;
                            candidate.shadows.clear();
                        }
                    }
                }
                self.publish(&mut book);
                tracing::info!(directory = name, generation = book.number, "directory renewed");
            }
            Err(refusal) => {
                tracing::error!(directory = name, %refusal, "the changed directory is not taken into use");
            }
        }
    }

    /// The plugins that look into directories, made anew.
    async fn rebuilt(
        &self,
        environment: &Arc<Environment>,
    ) -> Result<Vec<(Arc<str>, Loaded, Option<Loaded>)>, Refusal> {
        let known: Vec<_> = {
            let book = self.book.lock();
            let looks = |plugin: &&Plugin| plugin.hooks.iter().any(|(_, hook)| hook.grants.contains(&Grant::Directory));
            book.plugins
                .values()
                .filter(looks)
                .map(|plugin| {
                    (plugin.name.clone(), plugin.hooks.clone(), plugin.active.clone(), plugin.previous.clone())
                })
                .collect()
        };
        let mut plugins = Vec::new();
        for (name, hooks, active, previous) in known {
            let active = self.again(&name, &hooks, &active, environment).await?;
            if moves(&hooks) == Moves::Refused && environment.tenants.iter().len() == 0 {
                self.still_in_place(&name, &active, environment).await?;
            }
            let previous = match previous {
                Some(previous) => self.again(&name, &hooks, &previous, environment).await.ok(),
                None => None,
            };
            plugins.push((name, active, previous));
        }
        Ok(plugins)
    }

    async fn again(
        &self,
        name: &Arc<str>,
        hooks: &[(Hook, tidegate_types::settings::HookSettings)],
        loaded: &Loaded,
        environment: &Arc<Environment>,
    ) -> Result<Loaded, Refusal> {
        let unreadable = |detail: String| Refusal {
            origin: name.to_string(),
            digest: loaded.record.digest.clone(),
            reason: RefusalReason::Unreadable,
            detail,
        };
        let file = file_of(&self.settings.load(), name);
        let kept = self.vault.as_ref().and_then(|vault| vault.get(&loaded.record.digest).ok());
        let wasm = match (kept, file) {
            (Some(wasm), _) => wasm,
            (None, Some(file)) => read(&file).map_err(unreadable)?,
            (None, None) => return Err(unreadable("its bytes are not kept anywhere".into())),
        };
        let arrival = Arrival {
            plugin: name.clone(),
            hooks: hooks.to_vec(),
            origin: name.to_string(),
            wasm: wasm.into(),
            config: loaded.record.config.clone(),
            signature: loaded.record.signature.clone(),
            at_least: None,
        };
        self.load(arrival, environment.clone()).await
    }

    /// Whether rows are where a version looks for them, judged by the rows alone: a directory that changed
    /// after its rows were moved is right, and where they were looked for before does not matter.
    async fn still_in_place(&self, name: &str, loaded: &Loaded, environment: &Environment) -> Result<(), Refusal> {
        let Some(version) = loaded.version(Hook::Route).cloned() else { return Ok(()) };
        let keys = self.probe.sample().await;
        let set = self.set_of(&self.book.lock());
        let _ = environment;
        let check = move || guard::replay(&keys, &[], &set, &version);
        match tokio::task::spawn_blocking(check).await {
            Ok(Placement::Kept { .. }) => Ok(()),
            Ok(Placement::Moved { detail, .. }) => Err(Refusal {
                origin: format!("{name} with the changed directory"),
                digest: loaded.record.digest.clone(),
                reason: RefusalReason::Placement,
                detail,
            }),
            Err(error) => Err(Refusal {
                origin: name.to_owned(),
                digest: loaded.record.digest.clone(),
                reason: RefusalReason::Placement,
                detail: format!("the check did not finish: {error}"),
            }),
        }
    }
}

fn by_itself(fault: &str) -> Order {
    Order { actor: "the gateway".into(), reason: Some(fault.to_owned()), moves: Moves::Refused }
}

/// What a canary did wrong, compared with the version in use on the same traffic.
fn canary_fault(plugin: &Plugin, bounds: &FallBackSettings) -> Option<String> {
    let candidate = plugin.candidate.as_ref().filter(|candidate| matches!(candidate.stage, Stage::Canary { .. }))?;
    let versions = candidate.loaded.versions.iter().zip(&plugin.active.versions).zip(&candidate.marks);
    versions.into_iter().find_map(|((version, active), (mark, active_mark))| {
        fault(version, version.stats.since(mark), rate(active.stats.since(active_mark)), bounds)
    })
}

/// What the version in use did wrong, compared with the one before it.
fn active_fault(plugin: &Plugin, bounds: &FallBackSettings) -> Option<String> {
    let previous = plugin.previous.as_ref()?;
    let versions = plugin.active.versions.iter().zip(&previous.versions).zip(plugin.watched.as_ref()?);
    versions.into_iter().find_map(|((version, previous), mark)| {
        let before = rate(previous.stats.since(&Mark::default()));
        fault(version, version.stats.since(mark), before, bounds)
    })
}

fn rate(window: Window) -> f64 {
    if window.calls == 0 { 0.0 } else { window.failed as f64 / window.calls as f64 }
}

/// Failures count when there are more than the bound and clearly more than the other version has on its
/// traffic: otherwise anyone could undo a promotion by sending requests that every version refuses.
fn fault(version: &Version, window: Window, other: f64, bounds: &FallBackSettings) -> Option<String> {
    if window.calls < bounds.min_calls {
        return None;
    }
    let hook = version.hook.as_str();
    let failed = rate(window);
    if failed > bounds.max_error_rate.max(other * 2.0) {
        let (percent, bound) = (failed * 100.0, bounds.max_error_rate * 100.0);
        return Some(format!("{hook}: {percent:.1} % of {} calls failed, allowed are {bound:.1} %", window.calls));
    }
    match window.p99 {
        Some(p99) if p99 > bounds.max_p99 => Some(format!(
            "{hook}: the 99th percentile of {} calls is {p99:?}, allowed is {:?}",
            window.calls, bounds.max_p99
        )),
        _ => None,
    }
}
