//! What wasmtime makes of the WIT package, and the host's side of it.

use std::sync::Arc;

use tidegate_types::route::Topology;
use wasmtime::ResourceLimiter;

pub(crate) mod generated {
    wasmtime::component::bindgen!({
        path: "../../wit",
        world: "router",
        ownership: Borrowing { duplicate_if_necessary: false },
    });
}

pub use generated::exports::tidegate::policy::lifecycle::{Input, Manifest};
pub use generated::exports::tidegate::policy::route::Targets;
pub use generated::tidegate::policy::types::{ErrorCode, Op, PolicyError as GuestRefusal, Request};
pub use generated::{Router, RouterPre};

use generated::tidegate::policy::{host_log, host_topology, types};

/// The version of `tidegate:policy` these bindings are for.
pub const WIT_VERSION: &str = "0.1.0";

/// What a policy may import. Everything else is refused at load, by name.
pub const ALLOWED_IMPORTS: [&str; 3] =
    ["tidegate:policy/types@0.1.0", "tidegate:policy/host-log@0.1.0", "tidegate:policy/host-topology@0.1.0"];

/// Bytes of one log line of a guest.
const LOG_LINE_BYTES: usize = 1024;
/// Log lines of one call.
const LOG_LINES_PER_CALL: u32 = 8;

/// Who a guest is, in its log lines.
#[derive(Debug)]
pub struct Identity {
    /// The plugin's file name without `.wasm`.
    pub plugin: Arc<str>,
    /// Its generation.
    pub generation: u64,
}

/// Data of a store: what the host functions of one instance need.
pub struct GuestState {
    identity: Arc<Identity>,
    topology: Arc<Topology>,
    log_lines_left: u32,
    /// Its memory.
    pub limits: Limits,
}

impl GuestState {
    /// State for a new instance.
    pub fn new(identity: Arc<Identity>, topology: Arc<Topology>, max_memory: usize) -> Self {
        let limits = Limits { max_memory, memory: 0, exceeded: None };
        Self { identity, topology, log_lines_left: LOG_LINES_PER_CALL, limits }
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
    exceeded: Option<usize>,
}

/// Elements of a guest's tables together with the pool's own limit: function references only.
const MAX_TABLE_ELEMENTS: usize = 20_000;

impl Limits {
    /// The bytes the guest asked for, if that was more than it may have.
    pub fn exceeded(&self) -> Option<usize> {
        self.exceeded
    }

    /// Whether so much memory is in use that the instance should not serve another call.
    pub fn nearly_full(&self) -> bool {
        self.memory > self.max_memory / 4 * 3
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
        let (plugin, generation) = (&*self.identity.plugin, self.identity.generation);
        match level {
            host_log::Level::Debug => tracing::debug!(plugin, generation, message, "policy"),
            host_log::Level::Info => tracing::info!(plugin, generation, message, "policy"),
            host_log::Level::Warn => tracing::warn!(plugin, generation, message, "policy"),
            host_log::Level::Error => tracing::error!(plugin, generation, message, "policy"),
        }
    }
}

impl host_topology::Host for GuestState {
    fn shard_count(&mut self) -> u32 {
        u32::try_from(self.topology.len()).unwrap_or(u32::MAX)
    }

    fn shard_named(&mut self, name: String) -> Option<u32> {
        self.topology.by_name(&name).map(|shard| shard.0.into())
    }

    fn shard_for_hash(&mut self, hash: u64) -> u32 {
        self.topology.shard_for_hash(hash).0.into()
    }

    fn hash_key(&mut self, text: String) -> u64 {
        Topology::hash_key(&text)
    }
}

/// The longest prefix of at most `bytes` bytes that ends between characters.
pub fn cut(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}

/// A linker that offers exactly [`ALLOWED_IMPORTS`].
pub fn linker(engine: &wasmtime::Engine) -> wasmtime::Result<wasmtime::component::Linker<GuestState>> {
    let mut linker = wasmtime::component::Linker::new(engine);
    Router::add_to_linker::<_, wasmtime::component::HasSelf<_>>(&mut linker, |state| state)?;
    Ok(linker)
}
