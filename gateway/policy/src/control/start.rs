//! What is used first: what operators promoted before, unless the file was replaced since.

use std::{collections::BTreeMap, sync::Arc, time::SystemTime};

use bytes::Bytes;
use tidegate_types::settings::{Grant, HookSettings, Moves, PolicySettings};

use super::{
    Control, DirectorySource,
    arrive::{Arrival, InFolder, moves},
    book::{Book, Candidate, Loaded, Plugin, configured, file_of},
    orders::log_active,
};
use crate::{
    bindings::Directories,
    error::{PolicyError, Refusal, RefusalReason},
    hook::Hook,
    loader::Environment,
    metrics::LoadOutcome,
    shadow::Shadow,
    vault::{Action, Event, Stage, VersionRecord, rfc3339},
};

/// Where a version's bytes are.
enum Source {
    /// In the folder.
    File {
        /// They.
        wasm: Bytes,
        /// SHA-256 of them.
        digest: String,
        /// The signature beside them.
        signature: Option<String>,
    },
    /// Where they were kept.
    Kept(VersionRecord),
}

/// A plugin with its first version, which is in use only once it is [`Control::begun`].
pub struct First {
    /// The plugin.
    pub plugin: Plugin,
    /// The digest of the folder's file, where that was taken.
    file: Option<String>,
}

impl Control {
    /// Loads every configured plugin.
    pub async fn fill(&self, settings: &PolicySettings) -> Result<Book, PolicyError> {
        let environment = self.environment.load_full();
        let mut book = Book::default();
        for (name, hooks) in configured(settings) {
            let first = self.first(settings, name.clone(), hooks, &environment).await?;
            book.plugins.insert(name, self.begun(first, 1));
        }
        Ok(book)
    }

    /// Loads a plugin's first version with these settings, and what was on its way.
    pub async fn first(
        &self,
        settings: &PolicySettings,
        name: Arc<str>,
        hooks: Vec<(Hook, HookSettings)>,
        environment: &Arc<Environment>,
    ) -> Result<First, PolicyError> {
        let record = self.state.lock().plugins.get(&*name).cloned().unwrap_or_default();
        let file = self.file(settings, &name, &hooks).await?;
        let source = match (file, record.active.clone()) {
            (Ok(Source::File { digest, .. }), Some(active)) if record.seen_file.as_ref() == Some(&digest) => {
                Source::Kept(active)
            }
            (Ok(file), _) => file,
            (Err(_), Some(active)) => Source::Kept(active),
            (Err(refusal), None) => return Err(self.unusable(refusal)),
        };
        let (active, before, candidate, file) = match source {
            Source::File { wasm, digest, signature } => {
                let arrival = Arrival {
                    plugin: name.clone(),
                    hooks: hooks.clone(),
                    origin: origin(settings, &name),
                    wasm: wasm.clone(),
                    config: None,
                    signature,
                    at_least: self.newest_signed(&name),
                };
                let active = self.load(arrival, environment.clone()).await.map_err(|r| self.unusable(r))?;
                self.keep_quietly(wasm).await;
                // Rows may have been moved along with the file: then the version before would split them.
                let before = record.active.filter(|_| moves(&hooks) == Moves::Refused);
                (active, before, None, Some(digest))
            }
            Source::Kept(active) => {
                let active = self.restore(settings, &name, &hooks, &active, environment).await;
                (active.map_err(|r| self.unusable(r))?, record.previous, record.candidate, None)
            }
        };
        let (previous, refused) = (None, None);
        let mut plugin = Plugin { name, hooks, active, previous, candidate: None, refused, since: 1, watched: None };
        plugin.previous = self.remembered(settings, &plugin, before, environment).await;
        if let Some(candidate) = candidate {
            plugin.candidate = self.resumed(settings, &plugin, candidate.version, candidate.stage, environment).await;
        }
        Ok(First { plugin, file })
    }

    /// Notes that a plugin's first version is in use since this generation.
    pub fn begun(&self, first: First, since: u64) -> Plugin {
        let First { mut plugin, file } = first;
        plugin.since = since;
        if let Some(digest) = file {
            self.seen(&plugin.name, digest, &plugin.active.record);
        }
        log_active(&plugin, &plugin.active, since);
        self.metrics.loaded(LoadOutcome::Active);
        plugin
    }

    /// The version before, if it can still be used.
    async fn remembered(
        &self,
        settings: &PolicySettings,
        plugin: &Plugin,
        before: Option<VersionRecord>,
        environment: &Arc<Environment>,
    ) -> Option<Loaded> {
        let before = before.filter(|before| *before != plugin.active.record)?;
        let restored = self.restore(settings, &plugin.name, &plugin.hooks, &before, environment).await;
        restored
            .inspect_err(|refusal| {
                tracing::warn!(plugin = &*plugin.name, %refusal, "there is no version to go back to");
            })
            .ok()
    }

    /// The candidate, at the stage where it was.
    async fn resumed(
        &self,
        settings: &PolicySettings,
        plugin: &Plugin,
        record: VersionRecord,
        stage: Stage,
        environment: &Arc<Environment>,
    ) -> Option<Candidate> {
        let loaded = match self.restore(settings, &plugin.name, &plugin.hooks, &record, environment).await {
            Ok(loaded) => loaded,
            Err(refusal) => {
                tracing::warn!(plugin = &*plugin.name, %refusal, "the candidate is dropped");
                return None;
            }
        };
        let tenants = environment.tenants.clone();
        let shadow = |(version, active): (&Arc<_>, &Arc<_>)| {
            Shadow::start(Arc::clone(version), Arc::clone(active), tenants.clone(), &self.metrics).ok().map(Arc::new)
        };
        let shadows = match stage {
            Stage::Shadow => loaded.versions.iter().zip(&plugin.active.versions).filter_map(shadow).collect(),
            Stage::Staged | Stage::Canary { .. } => Vec::new(),
        };
        let marks = loaded.marks().into_iter().zip(plugin.active.marks()).collect();
        Some(Candidate { loaded, stage, shadows, marks })
    }

    /// What the folder has of a plugin; the inner error is that it has nothing usable.
    async fn file(
        &self,
        settings: &PolicySettings,
        name: &str,
        hooks: &[(Hook, HookSettings)],
    ) -> Result<Result<Source, Refusal>, PolicyError> {
        let Some(path) = file_of(settings, name) else {
            let hook = hooks.first().map_or(Hook::Route, |(hook, _)| *hook);
            return Err(PolicyError::NoDirectory { hook, plugin: name.to_owned() });
        };
        let refusal = |detail: String| Refusal {
            origin: path.display().to_string(),
            digest: "-".into(),
            reason: RefusalReason::Unreadable,
            detail,
        };
        Ok(match InFolder::read(&path).await {
            Ok(InFolder { wasm, digest, signature: Ok(signature) }) => Ok(Source::File { wasm, digest, signature }),
            Ok(InFolder { signature: Err(detail), .. }) | Err(detail) => Err(refusal(detail)),
        })
    }

    /// Where versions are signed, files must not go back either: an old signed file is still signed.
    pub fn newest_signed(&self, plugin: &str) -> Option<String> {
        let newest = self.state.lock().plugins.get(plugin).and_then(|record| record.highest_version.clone());
        newest.filter(|_| self.trusted.load().are_asked_for())
    }

    /// Notes that a file was taken into use.
    pub fn seen(&self, plugin: &str, digest: String, version: &VersionRecord) {
        let mut state = self.state.lock();
        let record = state.plugins.entry(plugin.to_owned()).or_default();
        record.seen_file = Some(digest);
        record.note(Event {
            at: rfc3339(SystemTime::now()),
            action: Action::Load,
            digest: version.digest.clone(),
            version: version.version.clone(),
            actor: "the policy folder".into(),
            reason: None,
            outcome: "in use".into(),
        });
    }

    fn unusable(&self, refusal: Refusal) -> PolicyError {
        self.metrics.loaded(LoadOutcome::Refused(refusal.reason));
        PolicyError::Refused(Box::new(refusal))
    }
}

/// The file of a plugin, for messages.
pub fn origin(settings: &PolicySettings, plugin: &str) -> String {
    file_of(settings, plugin).map_or_else(|| plugin.to_owned(), |path| path.display().to_string())
}

/// Loads the directories that a plugin is granted.
pub async fn directories(settings: &PolicySettings, source: &dyn DirectorySource) -> Result<Directories, PolicyError> {
    let mut directories = BTreeMap::new();
    let asked = configured(settings).values().flatten().any(|(_, hook)| hook.grants.contains(&Grant::Directory));
    for (name, directory) in settings.directories.iter().filter(|_| asked) {
        let loaded = source.load(name, directory).await;
        let loaded = loaded.map_err(|reason| PolicyError::Directory { name: name.clone(), reason })?;
        directories.insert(name.clone(), Arc::new(loaded));
    }
    Ok(directories)
}
