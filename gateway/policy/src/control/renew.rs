//! Directories change, and the versions that look into them with them.

use std::{collections::HashMap, sync::Arc};

use tidegate_types::{
    collection::CollectionId,
    settings::{Grant, Moves},
};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::{
    Control,
    arrive::moves,
    book::{Book, Candidate, Loaded, Plugin},
    supervise::{SUPERVISE_EVERY, by_itself},
};
use crate::{
    error::Refusal,
    guard::Stillness,
    loader::Environment,
    vault::{Action, VersionRecord},
};

impl Control {
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
        let rebuilt = async {
            let rebuilt = self.rebuilt(&next).await?;
            let still = self.still_for(name, &rebuilt).await?;
            Ok::<_, Refusal>((rebuilt, still))
        };
        let (rebuilt, _still) = match rebuilt.await {
            Ok(rebuilt) => rebuilt,
            Err(refusal) => {
                tracing::error!(directory = name, %refusal, "the changed directory is not taken into use");
                return;
            }
        };
        self.environment.store(next);
        let state = {
            let mut book = self.book.lock();
            let mut moved = Vec::new();
            for rebuilt in rebuilt {
                moved.extend_from_slice(&rebuilt.moved);
                self.put(&mut book, name, rebuilt);
            }
            self.publish(&mut book);
            self.void(&moved);
            tracing::info!(directory = name, generation = book.number, "directory renewed");
            self.noted(&book)
        };
        if let Err(error) = self.save(state).await {
            tracing::error!(%error, "what the changed directory led to is not on disk");
        }
    }

    /// Puts what was made anew in place of what it was made of.
    fn put(&self, book: &mut Book, directory: &str, rebuilt: Rebuilt) {
        let Some(known) = book.plugins.get_mut(&rebuilt.name) else { return };
        known.active = rebuilt.active;
        known.previous = rebuilt.previous;
        known.watched = None;
        let Some(before) = known.candidate.take() else { return };
        match rebuilt.candidate {
            // At rest: what it was compared by was made with the copy before.
            Some(Ok(loaded)) => known.candidate = Some(Candidate::at_rest(loaded)),
            Some(Err(refusal)) => {
                tracing::warn!(plugin = &*rebuilt.name, %refusal, "the candidate is dropped");
                let order = by_itself(&format!("the directory {directory} changed"));
                let outcome = format!("the candidate is dropped: {}: {}", refusal.reason.as_str(), refusal.detail);
                self.note(&rebuilt.name, Action::Refuse, &before.loaded, &order, &outcome);
            }
            None => {}
        }
    }

    /// The plugins that look into directories, made anew.
    async fn rebuilt(&self, environment: &Arc<Environment>) -> Result<Vec<Rebuilt>, Refusal> {
        let known: Vec<_> = {
            let book = self.book.lock();
            let looks = |plugin: &&Plugin| plugin.hooks.iter().any(|(_, hook)| hook.grants.contains(&Grant::Directory));
            let records = |plugin: &Plugin| {
                let previous = plugin.previous.as_ref().map(|loaded| loaded.record.clone());
                let candidate = plugin.candidate.as_ref().map(|candidate| candidate.loaded.record.clone());
                (plugin.name.clone(), plugin.hooks.clone(), plugin.active.record.clone(), previous, candidate)
            };
            book.plugins.values().filter(looks).map(records).collect()
        };
        let settings = self.settings.load_full();
        let mut plugins = Vec::new();
        for (name, hooks, active, previous, candidate) in known {
            let again =
                async |record: &VersionRecord| self.restore(&settings, &name, &hooks, record, environment).await;
            let active = again(&active).await?;
            let moved = self.moved_by_directory(&name, &active, moves(&hooks)).await?;
            let previous = match previous {
                Some(previous) => {
                    let kept = again(&previous).await.inspect_err(|refusal| {
                        tracing::warn!(plugin = &*name, %refusal, "there is no version to go back to");
                    });
                    kept.ok()
                }
                None => None,
            };
            let candidate = match candidate {
                Some(candidate) => Some(again(&candidate).await),
                None => None,
            };
            plugins.push(Rebuilt { name: name.clone(), active, previous, candidate, moved });
        }
        Ok(plugins)
    }

    /// All at once: what is still already cannot be made still again.
    async fn still_for(&self, directory: &str, rebuilt: &[Rebuilt]) -> Result<Option<Stillness>, Refusal> {
        let moved: Vec<CollectionId> = rebuilt.iter().flat_map(|rebuilt| rebuilt.moved.iter().copied()).collect();
        let Some(first) = rebuilt.iter().find(|rebuilt| !rebuilt.moved.is_empty()) else { return Ok(None) };
        let origin = format!("{} with the changed directory {directory}", first.name);
        self.still(&origin, &first.active.record.digest, &moved).await
    }

    /// Refuses a version that, with the changed directory, does not look for rows where they are, judged by
    /// the rows alone: a directory that changed after its rows were moved is right, and where they were
    /// looked for before does not matter. Says whose keys go elsewhere than now.
    async fn moved_by_directory(
        &self,
        name: &str,
        loaded: &Loaded,
        moves: Moves,
    ) -> Result<Vec<CollectionId>, Refusal> {
        let origin = format!("{name} with the changed directory");
        let keys = self.keys(loaded).await;
        // With tenants, rows say nothing: whose they are is not known.
        if moves == Moves::Refused && self.environment.load().tenants.iter().len() == 0 {
            self.keeps_rows(loaded, &origin, Moves::Refused, &keys.of_rows()).await?;
        }
        self.keeps_rows(loaded, &origin, Moves::Allowed, &keys).await
    }
}

/// A plugin made anew.
struct Rebuilt {
    name: Arc<str>,
    active: Loaded,
    previous: Option<Loaded>,
    /// Or why it cannot be used any more.
    candidate: Option<Result<Loaded, Refusal>>,
    /// Whose keys its active version looks for elsewhere.
    moved: Vec<CollectionId>,
}
