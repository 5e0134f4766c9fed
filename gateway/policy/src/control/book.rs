//! What there is of each plugin.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use tidegate_types::settings::{HookSettings, PolicySettings, RouteFallback};

use super::Control;
use crate::{
    hook::Hook,
    loader::Use,
    set::{self, PolicySet, Slot, Trial},
    shadow::Shadow,
    stats::Mark,
    vault::{Stage, VersionRecord},
    version::Version,
};

/// Every configured plugin, by name.
#[derive(Default)]
pub struct Book {
    /// The plugins.
    pub plugins: BTreeMap<Arc<str>, Plugin>,
    /// The generation in use.
    pub number: u64,
}

/// A configured plugin.
pub struct Plugin {
    /// Its name.
    pub name: Arc<str>,
    /// The hooks it is configured for.
    pub hooks: Vec<(Hook, HookSettings)>,
    /// In use.
    pub active: Loaded,
    /// In use before, still warm.
    pub previous: Option<Loaded>,
    /// On its way into use.
    pub candidate: Option<Candidate>,
    /// Why the newest file or upload was refused, and its digest.
    pub refused: Option<(String, String)>,
    /// The generation in which the active version became active.
    pub since: u64,
    /// The versions' counts from where misbehaviour is judged; `None` where nothing could replace them.
    pub watched: Option<Vec<Mark>>,
}

/// A version of a plugin, ready for each of its hooks.
#[derive(Clone)]
pub struct Loaded {
    /// What is kept about it.
    pub record: VersionRecord,
    /// One of each hook, in the order of [`Plugin::hooks`].
    pub versions: Vec<Arc<Version>>,
}

/// A version on its way into use.
pub struct Candidate {
    /// The version.
    pub loaded: Loaded,
    /// How far it is.
    pub stage: Stage,
    /// In shadow: the comparison of each hook.
    pub shadows: Vec<Arc<Shadow>>,
    /// As a canary: from where its misbehaviour is judged, and that of the active one.
    pub marks: Vec<(Mark, Mark)>,
}

impl Plugin {
    /// How it is to be loaded with this configuration of its own, or that of the file.
    pub fn uses(hooks: &[(Hook, HookSettings)], config: Option<&serde_json::Value>) -> Vec<Use> {
        let of = |(hook, settings): &(Hook, HookSettings)| Use {
            hook: *hook,
            config: Arc::new(config.unwrap_or(&settings.config).clone()),
            grants: settings.grants.clone(),
            isolation: settings.isolation,
        };
        hooks.iter().map(of).collect()
    }

    /// The version that answers a hook.
    pub fn version(&self, hook: Hook) -> Option<&Arc<Version>> {
        self.active.versions.iter().find(|version| version.hook == hook)
    }

    fn trial(&self, hook: Hook) -> Option<Trial> {
        let candidate = self.candidate.as_ref()?;
        match candidate.stage {
            Stage::Staged => None,
            Stage::Shadow => {
                let shadow = candidate.shadows.iter().find(|shadow| shadow.version.hook == hook)?;
                Some(Trial::Shadow(shadow.clone()))
            }
            Stage::Canary { percent } => {
                let version = candidate.loaded.versions.iter().find(|version| version.hook == hook)?;
                Some(Trial::Canary { percent, version: version.clone() })
            }
        }
    }

    fn slot(&self, hook: Hook) -> Option<Slot> {
        let active = self.version(hook)?.clone();
        let fallback = self.hooks.iter().find(|(of, _)| *of == hook).map(|(_, settings)| settings.fallback);
        let fallback = fallback.unwrap_or(RouteFallback::Refuse);
        Some(Slot { plugin: self.name.clone(), active, trial: self.trial(hook), fallback })
    }
}

impl Candidate {
    /// One that answers nothing yet.
    pub fn at_rest(loaded: Loaded) -> Self {
        Self { loaded, stage: Stage::Staged, shadows: Vec::new(), marks: Vec::new() }
    }

    /// Puts it to rest: it stays, and answers nothing.
    pub fn rest(&mut self) {
        self.stage = Stage::Staged;
        self.shadows.clear();
        self.marks.clear();
    }
}

impl Loaded {
    /// Its version of a hook.
    pub fn version(&self, hook: Hook) -> Option<&Arc<Version>> {
        self.versions.iter().find(|version| version.hook == hook)
    }

    /// The counts of each version now.
    pub fn marks(&self) -> Vec<Mark> {
        self.versions.iter().map(|version| version.stats.mark()).collect()
    }
}

/// The plugins that are configured, and the hooks each of them serves.
pub fn configured(settings: &PolicySettings) -> BTreeMap<Arc<str>, Vec<(Hook, HookSettings)>> {
    let of = |hook| match hook {
        Hook::Classify => &settings.classify,
        Hook::Route => &settings.route,
        Hook::CachePolicy => &settings.cache_policy,
        Hook::Invalidate => &settings.invalidate,
    };
    let mut plugins: BTreeMap<Arc<str>, Vec<(Hook, HookSettings)>> = BTreeMap::new();
    for hook in Hook::ALL {
        if let Some(settings) = of(hook) {
            plugins.entry(settings.plugin.as_str().into()).or_default().push((hook, settings.clone()));
        }
    }
    plugins
}

/// The file of a plugin.
pub fn file_of(settings: &PolicySettings, plugin: &str) -> Option<PathBuf> {
    settings.dir.as_ref().map(|dir| dir.join(format!("{plugin}.wasm")))
}

impl Control {
    /// Makes a set of what the book says and takes it into use.
    pub fn publish(&self, book: &mut Book) {
        if !book.plugins.is_empty() {
            book.number += 1;
        }
        let set = self.set_of(book);
        self.metrics.activated(set.number);
        self.current.store(Arc::new(set));
    }

    /// The set of what the book says.
    pub fn set_of(&self, book: &Book) -> PolicySet {
        let environment = self.environment.load_full();
        let slots = Hook::ALL.map(|hook| book.plugins.values().find_map(|plugin| plugin.slot(hook)));
        PolicySet {
            number: book.number,
            topology: environment.topology.clone(),
            tenants: environment.tenants.clone(),
            columns: set::columns(slots[Hook::Invalidate as usize].as_ref()),
            slots,
            metrics: self.metrics.clone(),
            recent: self.recent.clone(),
            recorders: self.recorders.clone(),
        }
    }
}
