//! Another configuration: all of it, or nothing.

use std::sync::Arc;

use tidegate_types::{
    collection::CollectionId,
    settings::{Moves, PolicySettings},
    tenant::Tenants,
};

use super::{
    Control,
    arrive::moves,
    book::{Plugin, configured},
    follow::{Seen, stamps_of},
    start::{self, First},
};
use crate::{
    error::PolicyError, guard::Stillness, hook::Hook, loader::Environment, signature::TrustedKeys, vault::Stage,
};

/// The plugins that a configuration changes, and whose rows they look for elsewhere.
#[derive(Default)]
struct Changed {
    plugins: Vec<First>,
    moved: Vec<CollectionId>,
}

impl Control {
    /// Takes another configuration into use. Plugins whose part of it is the same keep their versions.
    pub async fn reconfigure(
        &self,
        settings: &PolicySettings,
        tenants: Arc<Tenants>,
        trusted: TrustedKeys,
        seen: &tokio::sync::Mutex<Seen>,
    ) -> Result<(), PolicyError> {
        // Before the turn, as a look at the files does: the other way round each could wait for the other.
        let mut seen = seen.lock().await;
        let _turn = self.turn.lock().await;
        let environment = self.environment.load_full();
        let copies = start::directories(settings, &*self.directories).await?;
        let same = *environment.tenants == *tenants && *environment.directories == copies;
        let next = Environment { tenants, directories: Arc::new(copies), topology: environment.topology.clone() };
        let next = Arc::new(next);
        // Stamped before reading: a change while reading is a change for the next look.
        let mut stamps = stamps_of(settings);
        let before = self.trusted.swap(Arc::new(trusted));
        let changed = async {
            let changed = self.changed(settings, &next, same).await?;
            let still = self.still_around(settings, &changed).await?;
            Ok::<_, PolicyError>((changed, still))
        };
        let (changed, _still) = match changed.await {
            Ok(changed) => changed,
            Err(error) => {
                self.trusted.store(before);
                return Err(error);
            }
        };
        // From here on nothing fails.
        self.environment.store(next);
        self.settings.store(Arc::new(settings.clone()));
        let state = {
            let mut book = self.book.lock();
            let since = book.number + 1;
            let mut unchanged = std::mem::take(&mut book.plugins);
            for first in changed.plugins {
                let plugin = self.begun(first, since);
                unchanged.remove(&plugin.name);
                book.plugins.insert(plugin.name.clone(), plugin);
            }
            unchanged.retain(|name, _| stamps.contains_key(name));
            for name in unchanged.keys() {
                // Not read: a file replaced since it was last looked at is still to be seen.
                stamps.insert(name.clone(), seen.get(name).copied().flatten());
            }
            book.plugins.append(&mut unchanged);
            self.publish(&mut book);
            self.void(&changed.moved);
            self.noted(&book)
        };
        *seen = stamps;
        if let Err(error) = self.save(state).await {
            tracing::error!(%error, "what is in use is not on disk: after a restart it may be another version");
        }
        Ok(())
    }

    /// Loads what another configuration changes, and checks that it keeps keys in place.
    async fn changed(
        &self,
        settings: &PolicySettings,
        environment: &Arc<Environment>,
        same: bool,
    ) -> Result<Changed, PolicyError> {
        let mut changed = Changed::default();
        for (name, hooks) in configured(settings) {
            let unchanged = same && self.book.lock().plugins.get(&name).is_some_and(|known| known.hooks == hooks);
            if unchanged {
                continue;
            }
            let mut first = self.first(settings, name.clone(), hooks, environment).await?;
            let plugin = &mut first.plugin;
            let keys = self.keys(&plugin.active).await;
            let origin = start::origin(settings, &name);
            let moved = self.keeps_rows(&plugin.active, &origin, moves(&plugin.hooks), &keys).await;
            let moved = moved.map_err(|refusal| PolicyError::Refused(Box::new(refusal)))?;
            if !moved.is_empty() {
                // Going back to it would split the rows.
                plugin.previous = None;
            }
            self.reconsider(plugin, &keys).await;
            changed.moved.extend(moved);
            changed.plugins.push(first);
        }
        Ok(changed)
    }

    /// All at once: what is still already cannot be made still again.
    async fn still_around(
        &self,
        settings: &PolicySettings,
        changed: &Changed,
    ) -> Result<Option<Stillness>, PolicyError> {
        let moving = changed.plugins.iter().find(|first| first.plugin.active.version(Hook::Route).is_some());
        let Some(Plugin { name, active, .. }) = moving.map(|first| &first.plugin) else { return Ok(None) };
        let still = self.still(&start::origin(settings, name), &active.record.digest, &changed.moved).await;
        still.map_err(|refusal| PolicyError::Refused(Box::new(refusal)))
    }

    /// A canary was checked with the configuration before.
    async fn reconsider(&self, plugin: &mut Plugin, keys: &super::placement::Keys) {
        let Some(candidate) = &mut plugin.candidate else { return };
        if !matches!(candidate.stage, Stage::Canary { .. }) {
            return;
        }
        let origin = format!("the candidate of {}", plugin.name);
        if let Err(refusal) = self.keeps_rows(&candidate.loaded, &origin, Moves::Refused, keys).await {
            tracing::warn!(plugin = &*plugin.name, %refusal, "the canary is put to rest");
            candidate.rest();
        }
    }
}
