//! What wasmtime makes of the WIT package, and the host's side of it.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use tidegate_types::{route::Topology, settings::Grant};
use wasmtime::ResourceLimiter;

use crate::custom::CustomCounters;

pub(crate) mod generated {
    wasmtime::component::bindgen!({
        path: "wit/0.1.0",
        world: "full",
        ownership: Borrowing { duplicate_if_necessary: false },
    });
}

pub use generated::exports::tidegate::policy::{
    cache_policy::{self, Decision, Mode},
    classify::{self, Classification},
    invalidate::{self, Action, Kind, RowChange, Target, Verb},
    lifecycle::{self, Input, Manifest},
    route::{self, Targets},
};
pub use generated::tidegate::policy::types::{ErrorCode, Op, PolicyError as GuestRefusal, Request};

use generated::{
    Full,
    tidegate::policy::{host_directory, host_log, host_metrics, host_topology, types},
};

/// The version of `tidegate:policy` these bindings are for.
pub const WIT_VERSION: &str = "0.1.0";

/// An interface that a policy may import, and the grant it needs.
pub const IMPORTS: [(&str, Option<Grant>); 5] = [
    ("tidegate:policy/types@0.1.0", None),
    ("tidegate:policy/host-log@0.1.0", Some(Grant::Log)),
    ("tidegate:policy/host-metrics@0.1.0", Some(Grant::Metrics)),
    ("tidegate:policy/host-topology@0.1.0", Some(Grant::Topology)),
    ("tidegate:policy/host-directory@0.1.0", Some(Grant::Directory)),
];

/// Bytes of one log line of a guest.
const LOG_LINE_BYTES: usize = 1024;
/// Log lines of one call.
const LOG_LINES_PER_CALL: u32 = 8;

/// Copies of tables that policies may look things up in, by name. Fixed for a generation.
pub type Directories = BTreeMap<String, Arc<HashMap<String, String>>>;

/// What the host functions of a plugin's instances need: the same for all of them.
pub struct Surroundings {
    /// The plugin's name.
    pub plugin: Arc<str>,
    /// The version's number, for log lines.
    pub number: u64,
    /// The shards it may ask about.
    pub topology: Arc<Topology>,
    /// The directories it may look into.
    pub directories: Arc<Directories>,
    /// Counters of its own.
    pub counters: CustomCounters,
}

/// Data of a store.
pub struct GuestState {
    surroundings: Arc<Surroundings>,
    log_lines_left: u32,
    /// Its memory.
    pub limits: Limits,
}

impl GuestState {
    /// State for a new instance.
    pub fn new(surroundings: Arc<Surroundings>, max_memory: usize) -> Self {
        let limits = Limits { max_memory, memory: 0, base: 0, exceeded: None };
        Self { surroundings, log_lines_left: LOG_LINES_PER_CALL, limits }
    }

    /// Forgets what counted against the previous call.
    pub fn begin_call(&mut self) {
        self.log_lines_left = LOG_LINES_PER_CALL;
    }
}

/// Keeps an instance within its memory, and remembers if it wanted more: a guest that is refused
/// memory traps in its own way, which alone would not tell why.
pub struct Limits {
    max_memory: usize,
    memory: usize,
    base: usize,
    exceeded: Option<usize>,
}

/// Elements of a guest's tables together with the pool's own limit: function references only.
const MAX_TABLE_ELEMENTS: usize = 20_000;

impl Limits {
    /// The bytes the guest asked for, if that was more than it may have.
    pub fn exceeded(&self) -> Option<usize> {
        self.exceeded
    }

    /// Bytes it has.
    pub fn memory(&self) -> usize {
        self.memory
    }

    /// Takes what it has now as what it needs at least: interpreters start out large.
    pub fn settle(&mut self) {
        self.base = self.memory;
    }

    /// Whether so much memory was taken since that the instance should not serve another call.
    pub fn nearly_full(&self) -> bool {
        self.memory.saturating_sub(self.base) > self.max_memory.saturating_sub(self.base) / 4 * 3
    }
}

impl ResourceLimiter for Limits {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let total = self.memory.saturating_sub(current).saturating_add(desired);
        if total > self.max_memory {
            self.exceeded = Some(total);
            wasmtime::bail!("the guest asked for {total} bytes of memory, the cap is {}", self.max_memory);
        }
        self.memory = total;
        Ok(true)
    }

    fn table_growing(&mut self, _: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        if desired > MAX_TABLE_ELEMENTS {
            wasmtime::bail!("the guest asked for a table of {desired} elements, the cap is {MAX_TABLE_ELEMENTS}");
        }
        Ok(true)
    }
}

impl types::Host for GuestState {}

impl host_log::Host for GuestState {
    fn log(&mut self, level: host_log::Level, message: String) {
        if self.log_lines_left == 0 {
            return;
        }
        self.log_lines_left -= 1;
        let message = cut(&message, LOG_LINE_BYTES);
        let (plugin, version) = (&*self.surroundings.plugin, self.surroundings.number);
        match level {
            host_log::Level::Debug => tracing::debug!(plugin, version, message, "policy"),
            host_log::Level::Info => tracing::info!(plugin, version, message, "policy"),
            host_log::Level::Warn => tracing::warn!(plugin, version, message, "policy"),
            host_log::Level::Error => tracing::error!(plugin, version, message, "policy"),
        }
    }
}

impl host_metrics::Host for GuestState {
    fn add(&mut self, name: String, amount: u64) {
        self.surroundings.counters.add(&self.surroundings.plugin, &name, amount);
    }
}

impl host_topology::Host for GuestState {
    fn shard_count(&mut self) -> u32 {
        u32::try_from(self.surroundings.topology.len()).unwrap_or(u32::MAX)
    }

    fn shard_named(&mut self, name: String) -> Option<u32> {
        self.surroundings.topology.by_name(&name).map(|shard| shard.0.into())
    }

    fn shard_for_hash(&mut self, hash: u64) -> u32 {
        self.surroundings.topology.shard_for_hash(hash).0.into()
    }

    fn shards_in_region(&mut self, region: String) -> Vec<u32> {
        self.surroundings.topology.in_region(&region).into_iter().map(|shard| shard.0.into()).collect()
    }

    fn hash_key(&mut self, text: String) -> u64 {
        Topology::hash_key(&text)
    }
}

impl host_directory::Host for GuestState {
    fn lookup(&mut self, directory: String, key: String) -> Option<String> {
        self.surroundings.directories.get(&directory)?.get(&key).cloned()
    }
}

/// The longest prefix of at most `bytes` bytes that ends between characters.
pub fn cut(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}

/// A linker that offers exactly [`IMPORTS`].
pub fn linker(engine: &wasmtime::Engine) -> wasmtime::Result<wasmtime::component::Linker<GuestState>> {
    let mut linker = wasmtime::component::Linker::new(engine);
    Full::add_to_linker::<_, wasmtime::component::HasSelf<_>>(&mut linker, |state| state)?;
    Ok(linker)
}
