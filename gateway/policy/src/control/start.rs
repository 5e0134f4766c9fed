//! What is used first: what operators promoted before, unless the file was replaced since.

use std::{collections::BTreeMap, sync::Arc, time::SystemTime};

use tidegate_types::settings::{Grant, HookSettings, PolicySettings};

use super::{
    Control, DirectorySource,
    arrive::{Arrival, read},
    book::{Book, Candidate, Loaded, Plugin, configured, file_of},
    orders::log_active,
};
use crate::{
    bindings::Directories,
    error::{PolicyError, Refusal, RefusalReason},
    hook::Hook,
    loader,
    metrics::LoadOutcome,
    shadow::Shadow,
    signature,
    vault::{Action, Event, Stage, VersionRecord, rfc3339},
};

/// Where a version's bytes are.
enum Source {
    /// In the folder.
    File {
        /// They.
        wasm: Arc<[u8]>,
        /// SHA-256 of them.
        digest: String,
        /// The signature beside them.
        signature: Option<String>,
    },
    /// In the vault.
    Kept(VersionRecord),
}

impl Control {
    /// Loads every configured plugin.
    pub async fn fill(&self, settings: &PolicySettings) -> Result<Book, PolicyError> {
        let mut book = Book::default();
        for (name, hooks) in configured(settings) {
            let plugin = self.first(settings, name.clone(), hooks).await?;
            book.plugins.insert(name, plugin);
        }
        Ok(book)
    }

    /// Loads a plugin's first version, and what was on its way.
    pub async fn first(
        &self,
        settings: &PolicySettings,
        name: Arc<str>,
        hooks: Vec<(Hook, HookSettings)>,
    ) -> Result<Plugin, PolicyError> {
        let record = self.state.lock().plugins.get(&*name).cloned().unwrap_or_default();
        let file = self.file(settings, &name, &hooks)?;
        let source = match (file, record.active.clone()) {
            (Ok(Source::File { digest, .. }), Some(active)) if record.seen_file.as_ref() == Some(&digest) => {
                Source::Kept(active)
            }
            (Ok(file), _) => file,
            (Err(_), Some(active)) => Source::Kept(active),
            (Err(refusal), None) => return Err(self.unusable(refusal)),
        };
        let from_file = matches!(source, Source::File { .. });
        let (active, before) = match source {
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
                let active = self.load(arrival, self.environment.load_full()).await.map_err(|r| self.unusable(r))?;
                self.keep_quietly(&wasm);
                self.seen(&name, digest, &active);
                (active, record.active)
            }
            Source::Kept(active) => {
                (self.restore(&name, &hooks, &active).await.map_err(|r| self.unusable(r))?, record.previous)
            }
        };
        let mut plugin = Plugin {
            name: name.clone(),
            hooks,
            active,
            previous: None,
            candidate: None,
            refused: None,
            since: 1,
            watched: None,
        };
        plugin.previous = self.remembered(&plugin, before).await;
        if !from_file && let Some(candidate) = record.candidate {
            plugin.candidate = self.resumed(&plugin, candidate.version, candidate.stage).await;
        }
        log_active(&plugin, &plugin.active, 1);
        self.metrics.loaded(LoadOutcome::Active);
        Ok(plugin)
    }

    /// A version kept on disk.
    async fn restore(
        &self,
        name: &Arc<str>,
        hooks: &[(Hook, HookSettings)],
        record: &VersionRecord,
    ) -> Result<Loaded, Refusal> {
        let origin = format!("the version of {name} that was in use");
        let gone = |detail: String| Refusal {
            origin: origin.clone(),
            digest: record.digest.clone(),
            reason: RefusalReason::Unreadable,
            detail,
        };
        let vault = self.vault.as_ref().ok_or_else(|| gone("there is no folder to read it from".into()))?;
        let wasm = vault.get(&record.digest).map_err(|error| gone(error.to_string()))?;
        let arrival = Arrival {
            plugin: name.clone(),
            hooks: hooks.to_vec(),
            origin: origin.clone(),
            wasm: wasm.into(),
            config: record.config.clone(),
            signature: record.signature.clone(),
            at_least: None,
        };
        self.load(arrival, self.environment.load_full()).await
    }

    /// The version before, if it can still be used.
    async fn remembered(&self, plugin: &Plugin, before: Option<VersionRecord>) -> Option<Loaded> {
        let before = before.filter(|before| *before != plugin.active.record)?;
        let restored = self.restore(&plugin.name, &plugin.hooks, &before).await;
        restored
            .inspect_err(|refusal| {
                tracing::warn!(plugin = &*plugin.name, %refusal, "there is no version to go back to");
            })
            .ok()
    }

    /// The candidate, at the stage where it was.
    async fn resumed(&self, plugin: &Plugin, record: VersionRecord, stage: Stage) -> Option<Candidate> {
        let loaded = match self.restore(&plugin.name, &plugin.hooks, &record).await {
            Ok(loaded) => loaded,
            Err(refusal) => {
                tracing::warn!(plugin = &*plugin.name, %refusal, "the candidate is dropped");
                return None;
            }
        };
        let tenants = self.environment.load().tenants.clone();
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
    fn file(
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
        let wasm = match read(&path) {
            Ok(wasm) => wasm,
            Err(detail) => return Ok(Err(refusal(detail))),
        };
        match signature::read_beside(&path) {
            Ok(signature) => Ok(Ok(Source::File { digest: loader::digest(&wasm), wasm: wasm.into(), signature })),
            Err(error) => Ok(Err(refusal(error.to_string()))),
        }
    }

    /// Where versions are signed, files must not go back either: an old signed file is still signed.
    pub fn newest_signed(&self, plugin: &str) -> Option<String> {
        let newest = self.state.lock().plugins.get(plugin).and_then(|record| record.highest_version.clone());
        newest.filter(|_| self.trusted.load().are_asked_for())
    }

    /// Keeps a file's bytes, so that it can be gone back to when the file is another.
    pub fn keep_quietly(&self, wasm: &[u8]) {
        if let Some(vault) = &self.vault
            && let Err(error) = vault.put(wasm)
        {
            tracing::warn!(%error, "this version cannot be gone back to after a restart");
        }
    }

    /// Notes that a file was taken into use.
    pub fn seen(&self, plugin: &str, digest: String, loaded: &Loaded) {
        let mut state = self.state.lock();
        let record = state.plugins.entry(plugin.to_owned()).or_default();
        record.seen_file = Some(digest);
        record.note(Event {
            at: rfc3339(SystemTime::now()),
            action: Action::Load,
            digest: loaded.record.digest.clone(),
            version: loaded.record.version.clone(),
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
