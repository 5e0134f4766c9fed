//! From a file to a policy that can be asked, by the gateway's own loader.

use std::{
    collections::BTreeMap,
    fs,
    io::Read as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tidegate_policy::{
    description::Description,
    error::Refusal,
    offline::{Fuel, Guest, Options, Plugin, Timings},
    question::{Answer, Question},
    recording::Header,
};
use tidegate_types::{route::Topology, settings::PolicySettings, tenant::Tenants};

use crate::{
    error::PluginError,
    golden::Asked,
    vectors::{self, Set},
};

/// Bytes of a policy: the gateway's own limit.
const MAX_FILE_BYTES: u64 = 64 << 20;

/// A policy, compiled and described.
pub struct Policy {
    /// Its file.
    pub file: PathBuf,
    /// The file's content.
    pub bytes: Vec<u8>,
    /// How long compiling took.
    pub compiled_in: Duration,
    plugin: Plugin,
}

impl Policy {
    /// Reads and compiles a policy, and asks it what it is.
    ///
    /// # Errors
    /// The gateway would refuse it whatever its configuration is.
    pub fn read(file: &Path) -> Result<Self, PluginError> {
        Self::with_fuel(file, Fuel::Off)
    }

    /// As [`Policy::read`], for an engine that may count instructions.
    ///
    /// # Errors
    /// As there.
    pub fn with_fuel(file: &Path, fuel: Fuel) -> Result<Self, PluginError> {
        let bytes = read(file)?;
        let started = Instant::now();
        let plugin = Plugin::compile(&bytes, fuel).map_err(|refusal| refused(file, refusal))?;
        Ok(Self { file: file.to_owned(), bytes, compiled_in: started.elapsed(), plugin })
    }

    /// What it says it is.
    #[must_use]
    pub fn description(&self) -> &Description {
        self.plugin.description()
    }

    /// How long it takes to come up with the configuration of a set.
    ///
    /// # Errors
    /// It refuses the configuration.
    pub fn timings(&self, set: &Set) -> Result<Timings, PluginError> {
        self.plugin.timings(&self.bytes, &options(set)).map_err(|refusal| self.refused(refusal))
    }

    /// Configures it for a set.
    ///
    /// # Errors
    /// It refuses the configuration, or fails its own test.
    pub fn configured(&self, set: &Set) -> Result<Guest, PluginError> {
        self.try_configure(set).map_err(|refusal| self.refused(refusal))
    }

    /// As [`Policy::configured`], with the bare reason.
    ///
    /// # Errors
    /// As there.
    pub fn try_configure(&self, set: &Set) -> Result<Guest, Refusal> {
        self.plugin.configure(&options(set))
    }

    /// Configures it for the gateway that a recording is of.
    ///
    /// # Errors
    /// It refuses the configuration, or fails its own test.
    pub fn configured_like(&self, header: &Header, config: Option<&Value>) -> Result<Guest, PluginError> {
        let region = |shard: &str| header.regions.get(shard).map(|region| Arc::from(region.as_str()));
        let shards = header.shards.iter().map(|shard| (Arc::from(shard.as_str()), region(shard)));
        let directory = |(name, entries): (&String, &BTreeMap<String, String>)| {
            (name.clone(), entries.iter().map(|(key, value)| (key.clone(), value.clone())).collect())
        };
        let topology = Arc::new(Topology::with_regions(shards));
        let tenants = vectors::tenants(&header.tenants, &topology);
        let tenants = tenants.map_err(|error| PluginError::Recording(format!("its header is damaged: {error}")))?;
        let options = Options {
            config: config.cloned().unwrap_or_else(|| json!({})),
            tenants: Arc::new(tenants),
            directories: header.directories.iter().map(directory).collect(),
            max_memory: PolicySettings::default().max_memory_bytes,
            ..Options::on(topology)
        };
        self.plugin.configure(&options).map_err(|refusal| self.refused(refusal))
    }

    fn refused(&self, refusal: Refusal) -> PluginError {
        refused(&self.file, refusal)
    }
}

fn options(set: &Set) -> Options {
    let topology = set.topology();
    // That they can be placed was checked when the set was read.
    let tenants = set.tenants().unwrap_or_else(|_| Tenants::none(&topology));
    Options {
        tenants: Arc::new(tenants),
        config: set.config.clone().unwrap_or_else(|| json!({})),
        directories: set.directories.clone(),
        grants: set.grants(),
        max_memory: PolicySettings::default().max_memory_bytes,
        ..Options::on(topology)
    }
}

/// Configures a policy for a set of golden vectors; `Err` is why it refuses.
///
/// # Errors
/// It refuses the configuration.
pub fn asked(policy: &Policy, set: &Set) -> Result<Box<dyn Asked>, String> {
    match policy.try_configure(set) {
        Ok(guest) => Ok(Box::new(guest)),
        Err(refusal) => Err(format!("{}. {}", refusal.detail, refusal.reason.advice())),
    }
}

impl Asked for Guest {
    fn ask(&mut self, question: &Question) -> Answer {
        Self::ask(self, question)
    }

    fn why(&self) -> Option<String> {
        self.why_no_answer().map(str::to_owned)
    }
}

fn refused(file: &Path, refusal: Refusal) -> PluginError {
    PluginError::Refused(Box::new(Refusal { origin: file.display().to_string(), ..refusal }))
}

/// Reads a file within its limit.
fn read(file: &Path) -> Result<Vec<u8>, PluginError> {
    let mut bytes = Vec::new();
    fs::File::open(file)
        .and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes))
        .map_err(PluginError::reading(file))?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(PluginError::TooLarge { file: file.to_owned() });
    }
    Ok(bytes)
}
