//! The handle that pipelines, operators and start-up hold.

use std::{path::PathBuf, sync::Arc};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use tidegate_types::{
    route::{ShardId, Topology},
    settings::PolicySettings,
    tenant::Tenants,
};
use tokio_util::sync::CancellationToken;

use crate::{
    bindings::Directories,
    control::{
        Control, DirectorySource,
        book::{Book, configured},
        follow::{Reload, Seen, stamps_of},
        orders::{Order, Upload},
        refused::ControlError,
        report::PluginReport,
        start,
    },
    error::PolicyError,
    guard::{self, Placement, PlacementProbe},
    loader::{Artifacts, Environment, Loader},
    metrics::Metrics,
    recent::Recent,
    recorder::Recorders,
    recording::{Header, Recorder},
    set::{PolicySet, Session},
    signature::TrustedKeys,
    vault::{State, Vault, VaultError, VaultReader, rfc3339},
    watch,
};

/// What a host is made of.
pub struct Setup<'a> {
    /// `[policies]`
    pub settings: &'a PolicySettings,
    /// The shards.
    pub topology: Arc<Topology>,
    /// The tenants.
    pub tenants: Arc<Tenants>,
    /// Knows where some rows are.
    pub probe: Arc<dyn PlacementProbe>,
    /// Reads directories.
    pub directories: Arc<dyn DirectorySource>,
    /// Whether what operators order is kept.
    pub keeping: Keeping,
    /// Where metrics go.
    pub registry: &'a mut Registry,
}

/// Whether a host keeps what operators order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keeping {
    /// In the state folder, which is then this process's alone.
    Kept,
    /// Nothing is written there: for a look at the configuration, and at what is in use.
    Nothing,
}

/// Decides about requests. Cheap to clone.
#[derive(Clone)]
pub struct PolicyHost {
    control: Arc<Control>,
    seen: Arc<tokio::sync::Mutex<Seen>>,
}

impl Artifacts for Vault {
    fn get(&self, digest: &str, engine: &str) -> Option<Vec<u8>> {
        self.artifact(digest, engine)
    }

    fn keep(&self, digest: &str, engine: &str, code: &[u8]) {
        if let Err(error) = self.keep_artifact(digest, engine, code) {
            tracing::warn!(digest, %error, "compiled code is not kept: the next start compiles again");
        }
    }
}

impl PolicyHost {
    /// Loads what is configured, or what operators promoted since. Hooks without a plugin are built in.
    /// Compiling takes milliseconds to seconds, so call it before serving. Existing keys are not looked
    /// at yet: call [`PolicyHost::verify_placement`] once the shards can be asked.
    ///
    /// # Errors
    /// A configured plugin cannot be used.
    pub async fn start(setup: Setup<'_>) -> Result<Self, PolicyError> {
        let Setup { settings, topology, tenants, probe, directories, keeping, registry } = setup;
        let metrics = Metrics::register(registry);
        let (vault, kept) = vault(settings, keeping)?;
        let (kept, state) = last_state(kept, keeping)?;
        let artifacts = vault.clone().map(|vault| vault as Arc<dyn Artifacts>);
        let loader = Loader::new(settings, metrics.custom.clone(), artifacts);
        let loader = Arc::new(loader.map_err(|refusal| PolicyError::Refused(Box::new(refusal)))?);
        let copies = start::directories(settings, &*directories).await?;
        let recorders = recorders(settings, &topology, &tenants, &copies, keeping)?;
        let environment = Environment { topology, tenants, directories: Arc::new(copies) };
        let trusted = trusted(settings)?;
        let recent = Recent::new();
        let empty = PolicySet {
            number: 0,
            topology: environment.topology.clone(),
            tenants: environment.tenants.clone(),
            slots: [const { None }; 4],
            columns: Arc::from([]),
            metrics: metrics.clone(),
            recent: recent.clone(),
            recorders: recorders.clone(),
        };
        let control = Control {
            current: ArcSwap::from_pointee(empty),
            turn: tokio::sync::Mutex::new(()),
            book: Mutex::new(Book::default()),
            settings: ArcSwap::from_pointee(settings.clone()),
            environment: ArcSwap::from_pointee(environment),
            trusted: ArcSwap::from_pointee(trusted),
            loader,
            vault,
            kept,
            state: Mutex::new(state),
            probe,
            directories,
            metrics,
            recent,
            recorders,
        };
        // Stamped before reading: a change while reading is a change for the first look.
        let seen = Arc::new(tokio::sync::Mutex::new(stamps_of(settings)));
        let book = control.fill(settings).await?;
        let state = {
            let mut held = control.book.lock();
            *held = book;
            control.publish(&mut held);
            control.noted(&held)
        };
        control.save(state).await.map_err(|error| PolicyError::State(error.message))?;
        Ok(Self { control: Arc::new(control), seen })
    }

    /// The policies in use, for one request.
    #[inline]
    #[must_use]
    pub fn session(&self) -> Session {
        Session(self.control.current.load_full())
    }

    /// The generation in use; 0 where everything is built in.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.control.current.load().number
    }

    /// Every plugin, and what is built in where a hook has none.
    #[must_use]
    pub fn plugins(&self) -> Vec<PluginReport> {
        self.control.reports()
    }

    /// One plugin.
    #[must_use]
    pub fn plugin(&self, name: &str) -> Option<PluginReport> {
        self.control.report(&self.control.book.lock(), name)
    }

    /// Loads a version as the plugin's candidate.
    ///
    /// # Errors
    /// It cannot be used, or not be kept.
    pub async fn stage(&self, plugin: &str, upload: Upload, order: Order) -> Result<PluginReport, ControlError> {
        self.control.stage(plugin, upload, &order).await
    }

    /// Asks the candidate what the version in use is asked, off the response path.
    ///
    /// # Errors
    /// There is none.
    pub async fn shadow(&self, plugin: &str, order: Order) -> Result<PluginReport, ControlError> {
        self.control.shadow(plugin, &order).await
    }

    /// Lets the candidate answer for 1 to 99 percent of the tenants; of the questions where there are none.
    ///
    /// # Errors
    /// There is none, or it would look for existing keys elsewhere.
    pub async fn canary(&self, plugin: &str, percent: u8, order: Order) -> Result<PluginReport, ControlError> {
        self.control.canary(plugin, percent, &order).await
    }

    /// Takes the candidate into use.
    ///
    /// # Errors
    /// There is none, or it would look for existing keys elsewhere.
    pub async fn promote(&self, plugin: &str, order: Order) -> Result<PluginReport, ControlError> {
        self.control.promote(plugin, &order).await
    }

    /// Takes the candidate back if it is at work, else goes back to the version before.
    ///
    /// # Errors
    /// There is nothing to go back to.
    pub async fn rollback(&self, plugin: &str, order: Order) -> Result<PluginReport, ControlError> {
        self.control.rollback(plugin, &order).await
    }

    /// Asks for existing keys and checks that routing finds them where they are.
    pub async fn verify_placement(&self) -> Placement {
        let keys = self.control.probe.sample().await;
        let set = self.control.current.load_full();
        match tokio::task::spawn_blocking(move || guard::in_place(&keys, &set)).await {
            Ok(placement) => placement,
            Err(stopped) => {
                Placement::Moved { detail: format!("the check did not finish: {stopped}"), collections: Vec::new() }
            }
        }
    }

    /// Looks at the plugins' files now, as [`PolicyHost::watch`] does when they change.
    pub async fn reload(&self) -> Reload {
        self.control.reload(&self.seen).await
    }

    /// Until `shutdown`: follows the plugins' files (a replaced one becomes a version in use, a broken one
    /// is refused), renews directories, and takes versions out of use that misbehave.
    pub async fn watch(&self, shutdown: CancellationToken) {
        let folder = self.control.settings.load().dir.clone();
        let files = async {
            match &folder {
                Some(folder) => {
                    let look = || self.control.stamps();
                    watch::follow(folder, look, watch::LOOK_EVERY, shutdown.clone(), || self.reload()).await;
                }
                None => shutdown.cancelled().await,
            }
        };
        tokio::join!(files, self.control.supervise(shutdown.clone()), self.control.renew(shutdown.clone()));
    }

    /// Takes another configuration into use. Plugins whose part of it is the same keep their versions, with
    /// all they remember. Either everything is taken or nothing.
    ///
    /// # Errors
    /// A plugin cannot be used with it, or would look for existing keys elsewhere.
    pub async fn reconfigure(&self, settings: &PolicySettings, tenants: Arc<Tenants>) -> Result<(), PolicyError> {
        self.control.reconfigure(settings, tenants, trusted(settings)?, &self.seen).await
    }
}

fn trusted(settings: &PolicySettings) -> Result<TrustedKeys, PolicyError> {
    TrustedKeys::parse(&settings.trusted_keys)
        .map_err(|error| PolicyError::State(format!("[policies] trusted_keys: {error}")))
}

/// The state folder, where there is anything to keep, to write to and to read from. One that cannot be
/// written to is no reason not to serve; one that is another gateway's is.
fn vault(
    settings: &PolicySettings,
    keeping: Keeping,
) -> Result<(Option<Arc<Vault>>, Option<VaultReader>), PolicyError> {
    let dir: Option<PathBuf> = settings.state.clone().or_else(|| settings.dir.as_ref().map(|dir| dir.join(".state")));
    let Some(dir) = dir.filter(|_| !configured(settings).is_empty()) else { return Ok((None, None)) };
    let reader = VaultReader::new(&dir);
    if keeping == Keeping::Nothing {
        return Ok((None, Some(reader)));
    }
    match Vault::open(&dir) {
        Ok(vault) => Ok((Some(Arc::new(vault)), Some(reader))),
        Err(error @ VaultError::Io { .. }) if settings.state.is_none() => {
            tracing::warn!(%error, "plugins cannot be staged, and are compiled at every start: set [policies] state");
            Ok((None, None))
        }
        Err(error) => Err(PolicyError::State(error.to_string())),
    }
}

/// What was in use when a gateway last saved it. Who only looks may not be allowed to see it.
fn last_state(kept: Option<VaultReader>, keeping: Keeping) -> Result<(Option<VaultReader>, State), PolicyError> {
    match kept.as_ref().map(VaultReader::load).transpose() {
        Ok(state) => Ok((kept, state.unwrap_or_default())),
        Err(error @ VaultError::Io { .. }) if keeping == Keeping::Nothing => {
            tracing::warn!(%error, "what was promoted is not known: the plugins of the folder are used");
            Ok((None, State::default()))
        }
        Err(error) => Err(PolicyError::State(error.to_string())),
    }
}

fn recorders(
    settings: &PolicySettings,
    topology: &Topology,
    tenants: &Tenants,
    directories: &Directories,
    keeping: Keeping,
) -> Result<Recorders, PolicyError> {
    let Some(record) = settings.record.as_ref().filter(|_| keeping == Keeping::Kept) else {
        return Ok(Recorders::default());
    };
    let shards = topology.all();
    let name = |shard: &ShardId| topology.name(*shard).to_owned();
    let region = |shard: &ShardId| Some((name(shard), topology.region(*shard)?.to_string()));
    let copy = |(name, copy): (&String, &Arc<std::collections::HashMap<String, String>>)| {
        (name.clone(), copy.iter().map(|(key, value)| (key.clone(), value.clone())).collect())
    };
    let confined = tenants.iter().filter(|tenant| tenant.placement.len() < shards.len());
    let header = Header {
        shards: shards.iter().map(name).collect(),
        regions: shards.iter().filter_map(region).collect(),
        directories: directories.iter().map(copy).collect(),
        tenants: confined.map(|of| (of.name.to_string(), of.placement.iter().map(name).collect())).collect(),
        at: rfc3339(std::time::SystemTime::now()),
    };
    let recorder = Recorder::open(record, header).map_err(|error| PolicyError::State(error.to_string()))?;
    Ok(Recorders(Some(Arc::new(recorder))))
}

#[cfg(test)]
mod tests;
