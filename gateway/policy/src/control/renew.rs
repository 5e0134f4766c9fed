//! Directories change, and the versions that look into them with them.

use std::{collections::HashMap, sync::Arc};

use tidegate_types::settings::{Grant, HookSettings, Moves};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::{
    Control,
    arrive::{Arrival, moves, read},
    book::{Loaded, Plugin, file_of},
    supervise::SUPERVISE_EVERY,
};
use crate::{
    error::{Refusal, RefusalReason},
    guard::{self, Placement},
    hook::Hook,
    loader::Environment,
    vault::Stage,
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
                self.still_in_place(&name, &active).await?;
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
        hooks: &[(Hook, HookSettings)],
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
    async fn still_in_place(&self, name: &str, loaded: &Loaded) -> Result<(), Refusal> {
        let Some(version) = loaded.version(Hook::Route).cloned() else { return Ok(()) };
        let keys = self.probe.sample().await;
        let set = self.set_of(&self.book.lock());
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
