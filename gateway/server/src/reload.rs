//! Another configuration while the gateway serves: the file is read again, and what can change without a restart
//! changes, all of it or nothing.
//!
//! # Order
//! Everything that can fail comes first: the file, the catalogs, the tenants, the policies. The policies are taken
//! before the collections, so for a moment new policies answer for old collections: both name what they mean, and
//! numbers of collections and tenants never mean anything else in the life of the process.

mod merge;

use std::{path::PathBuf, sync::Arc};

use arc_swap::ArcSwap;
use serde_json::{Value, json};
use tidegate_config::{ConfigErrors, Difference};
use tidegate_pipeline::{Gateway, Serving};
use tidegate_policy::{Placement, PolicyError};
use tidegate_store::{StoreError, catalog::Mismatch};
use tidegate_types::{
    collection::{Collection, renumber},
    route::ShardId,
    settings::Settings,
    tenant::TenantError,
};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

pub(crate) use merge::Merged;

use crate::{assemble, behind, catalogs, error::lines, late, probe::Sampler};

/// Reads the configuration again.
pub(crate) struct Reloader {
    file: PathBuf,
    gateway: Gateway,
    sampler: Arc<Sampler>,
    /// What is in effect, for whoever shows it. Replaced by whoever holds `turn`.
    settings: ArcSwap<Settings>,
    turn: Mutex<Late>,
    shutdown: CancellationToken,
}

/// The task that compares shards which were down when the catalogs were read.
type Late = CancellationToken;

/// What a reload did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reloaded {
    /// In effect from now on.
    pub(crate) changed: Vec<Difference>,
    /// In the file and not in effect before a restart.
    pub(crate) waiting: Vec<Difference>,
    /// Shards that could not be compared with the file.
    pub(crate) unread: Vec<String>,
}

/// What reading the catalogs again came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Renewed {
    /// The tables are what they were.
    Same,
    /// These collections are redefined, or were reached by other writes.
    Collections(Vec<String>),
}

/// Why a reload changed nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReloadError {
    /// The file has mistakes.
    #[error("the configuration has mistakes:{}", lines(&[.0]))]
    Config(#[from] ConfigErrors),
    /// No shard could be asked for its catalog.
    #[error("no shard can be reached to compare the configuration with:{}", lines(.0))]
    NoShard(Vec<StoreError>),
    /// The databases do not fit it.
    #[error("the databases do not fit the configuration:{}", lines(.0))]
    Mismatch(Vec<Mismatch>),
    /// A tenant cannot be placed.
    #[error("{0}. New shards and regions need a restart")]
    Tenants(#[from] TenantError),
    /// A policy cannot be used.
    #[error("{0}")]
    Policy(#[from] PolicyError),
    /// Reading the file failed otherwise.
    #[error("the configuration could not be read: {0}")]
    Stopped(#[from] tokio::task::JoinError),
}

impl Reloader {
    pub(crate) fn new(
        file: PathBuf,
        settings: Settings,
        gateway: Gateway,
        sampler: Arc<Sampler>,
        shutdown: CancellationToken,
    ) -> Self {
        let turn = Mutex::new(shutdown.child_token());
        Self { file, gateway, sampler, settings: ArcSwap::from_pointee(settings), turn, shutdown }
    }

    /// The settings in effect.
    pub(crate) fn settings(&self) -> Arc<Settings> {
        self.settings.load_full()
    }

    /// The settings in effect, without secrets.
    pub(crate) fn shown(&self) -> Value {
        let shown = tidegate_config::shown(&self.settings());
        let shown = shown.into_iter().map(
            |setting| json!({ "key": setting.key, "value": setting.value, "takes_effect": setting.effect.as_str() }),
        );
        json!({ "file": self.file.display().to_string(), "settings": shown.collect::<Vec<_>>() })
    }

    /// Compares these shards with the settings in effect once they are back.
    pub(crate) async fn compare_later(&self, unread: Vec<ShardId>) {
        self.restart(&mut *self.turn.lock().await, unread);
    }

    /// The task before compares with settings of before, and every shard was asked again.
    fn restart(&self, late: &mut Late, unread: Vec<ShardId>) {
        late.cancel();
        *late = self.shutdown.child_token();
        tokio::spawn(late::compare(self.gateway.clone(), self.settings(), unread, late.clone()));
    }

    /// Reads the file and takes it into use. One at a time; it runs to its end also when nobody waits.
    pub(crate) async fn reload(&self) -> Result<Reloaded, ReloadError> {
        let mut late = self.turn.lock().await;
        let file = self.file.clone();
        let written = tokio::task::spawn_blocking(move || tidegate_config::load(&file)).await??;
        let Merged { effective, changed, waiting } = Merged::of(&self.settings(), written);
        let (store, topology) = (self.gateway.store(), self.gateway.topology());
        let catalogs = catalogs::read(store, topology).await;
        if catalogs.read.is_empty() {
            return Err(ReloadError::NoShard(catalogs.unread.into_iter().map(|(_, error)| error).collect()));
        }
        let all = catalogs::agree(&effective.collections, &catalogs.read).map_err(ReloadError::Mismatch)?;
        let plans = behind::plans(&all, &catalogs.read).map_err(ReloadError::Mismatch)?;
        let session = self.gateway.policies().session();
        let tenants = session.tenants().succeeded_by(&effective.tenants, topology)?;
        assemble::warn_of_shared_shards(&tenants, topology);
        self.gateway.policies().reconfigure(&effective.policies, Arc::new(tenants)).await?;
        // From here on nothing fails.
        self.gateway.replace_plans(plans);
        let collections = self.gateway.replace(Serving { collections: assemble::collections(all) });
        self.sampler.ask_for(collections, effective.policies.guard_keys);
        store.resize(&effective.pools);
        self.settings.store(Arc::new(effective));
        let unread: Vec<_> = catalogs.unread.into_iter().map(|(shard, _)| shard).collect();
        let names = unread.iter().map(|shard| topology.name(*shard).to_owned()).collect();
        self.restart(&mut late, unread);
        tokio::spawn(verify_placement(self.gateway.clone()));
        Ok(Reloaded { changed, waiting, unread: names })
    }
}

impl Reloader {
    /// Reads the catalogs again and serves the tables as they are now, all of them or none. Settings stay as they
    /// are: what is in the file waits for somebody who wants it.
    pub(crate) async fn renew(&self) -> Result<Renewed, ReloadError> {
        let mut late = self.turn.lock().await;
        let settings = self.settings();
        let catalogs = catalogs::read(self.gateway.store(), self.gateway.topology()).await;
        if catalogs.read.is_empty() {
            return Err(ReloadError::NoShard(catalogs.unread.into_iter().map(|(_, error)| error).collect()));
        }
        let all = catalogs::agree(&settings.collections, &catalogs.read).map_err(ReloadError::Mismatch)?;
        let now = self.gateway.collections();
        let next = renumber(&now, all);
        let differs = |collection: &&Arc<Collection>| now.by_id(collection.id) != Some(*collection);
        let changed: Vec<_> = next.iter().filter(differs).map(|collection| collection.name.to_string()).collect();
        if changed.is_empty() {
            return Ok(Renewed::Same);
        }
        let collections = self.gateway.replace(Serving { collections: Arc::new(next) });
        self.sampler.ask_for(collections, settings.policies.guard_keys);
        self.restart(&mut late, catalogs.unread.into_iter().map(|(shard, _)| shard).collect());
        Ok(Renewed::Collections(changed))
    }
}

/// As at start: rows that are not where routing looks for them are the operator's to know of.
async fn verify_placement(gateway: Gateway) {
    if let Placement::Moved { detail, .. } = gateway.policies().verify_placement().await {
        assemble::warn_of_placement(&detail);
    }
}

impl Reloaded {
    /// The answer of the admin listener.
    pub(crate) fn report(&self, generation: u64) -> Value {
        let told = |all: &[Difference]| all.iter().map(ToString::to_string).collect::<Vec<_>>();
        json!({
            "generation": generation,
            "changed": told(&self.changed),
            "needs_restart": told(&self.waiting),
            "shards_not_compared": self.unread,
        })
    }

    /// For SIGHUP, where nobody waits for an answer.
    pub(crate) fn log(&self) {
        for change in &self.changed {
            tracing::info!(%change, "configuration changed");
        }
        for change in &self.waiting {
            tracing::warn!(%change, "in the file, and not in effect before a restart");
        }
        for shard in &self.unread {
            tracing::warn!(shard, "a shard is down; its collections are compared once it is back");
        }
    }
}

impl ReloadError {
    /// Everything that is wrong, one a line, where that is more than one thing.
    pub(crate) fn details(&self) -> Option<String> {
        let each = |items: Vec<String>| Some(items.join("\n"));
        match self {
            Self::Config(errors) => Some(errors.to_string()),
            Self::NoShard(errors) => each(errors.iter().map(ToString::to_string).collect()),
            Self::Mismatch(mismatches) => each(mismatches.iter().map(ToString::to_string).collect()),
            Self::Tenants(_) | Self::Policy(_) | Self::Stopped(_) => None,
        }
    }

    /// The first line.
    pub(crate) fn headline(&self) -> String {
        let text = self.to_string();
        text.lines().next().unwrap_or_default().trim_end_matches(':').to_owned()
    }
}
