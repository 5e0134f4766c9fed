//! The one wasmtime engine of the process, and the thread that makes its deadlines pass.

use std::{
    hash::{Hash as _, Hasher as _},
    sync::{Arc, OnceLock},
    thread,
    time::Duration,
};

use wasmtime::{Config, Engine, EngineWeak, InstanceAllocationStrategy, PoolingAllocationConfig, component::Component};
use xxhash_rust::xxh3::Xxh3Default;

/// How often the epoch advances: the resolution of deadlines.
pub const TICK: Duration = Duration::from_millis(1);

/// Linear memory no instance of any plugin can exceed: the most that configuration allows. Each
/// plugin's own cap is kept by its store.
const MEMORY_CEILING: usize = 512 << 20;

/// Guest stack. Calls run on tokio's worker threads, whose 2 MiB hold it and the host's frames.
const GUEST_STACK: usize = 512 << 10;

/// Instances that may exist at once, of all generations together. A call uses one instance of one
/// thread, so this bounds warm instances rather than concurrency.
const INSTANCES: u32 = 256;

/// How instances get their memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Allocation {
    /// From address space reserved once: instantiation takes microseconds.
    Pooled,
    /// By mmap each time, because the address space could not be reserved (`ulimit -v`, containers).
    OnDemand,
}

/// The process's engine, built on first use. One per process: compiled code, the reserved address
/// space and the ticker are shared by every host, also in tests.
///
/// # Errors
/// This machine cannot run one at all; the text says why.
pub fn shared() -> Result<Engine, String> {
    static ENGINE: OnceLock<Result<Engine, Arc<str>>> = OnceLock::new();
    ENGINE
        .get_or_init(|| build(Allocation::Pooled).or_else(|pooled| fall_back(&pooled)).map_err(Arc::from))
        .clone()
        .map_err(|reason| reason.to_string())
}

fn fall_back(pooled: &str) -> Result<Engine, String> {
    tracing::warn!(reason = pooled, "cannot reserve address space for policy instances: they are mapped one by one");
    build(Allocation::OnDemand)
}

/// An engine that counts instructions, for measuring. It takes memory as it goes.
///
/// # Errors
/// This machine cannot run one; the text says why.
pub(crate) fn counting() -> Result<Engine, String> {
    let mut config = config(Allocation::OnDemand);
    config.consume_fuel(true);
    let engine = Engine::new(&config).map_err(|e| format!("{e:#}"))?;
    start_ticker(engine.weak())?;
    Ok(engine)
}

/// Tells engines apart whose compiled code differs: version of wasmtime, machine, settings.
pub(crate) fn key(engine: &Engine) -> String {
    let mut hash = Xxh3Default::new();
    engine.precompile_compatibility_hash().hash(&mut hash);
    format!("{}-{:016x}", env!("CARGO_PKG_VERSION"), hash.finish())
}

/// Takes compiled code for a component.
///
/// # Errors
/// It is of another engine.
#[expect(unsafe_code, reason = "compiled code cannot be loaded otherwise")]
pub(crate) fn load_native(engine: &Engine, code: &[u8]) -> wasmtime::Result<Component> {
    // SAFETY: `code` is what `precompile_component` of this process returned, or bytes from disk whose MAC
    // by a key that only the gateway can read was verified (`vault::artifacts`). Users never supply any.
    unsafe { Component::deserialize(engine, code) }
}

/// Builds an engine and starts its ticker.
pub(crate) fn build(allocation: Allocation) -> Result<Engine, String> {
    let engine = Engine::new(&config(allocation)).map_err(|e| format!("{e:#}"))?;
    start_ticker(engine.weak())?;
    Ok(engine)
}

fn config(allocation: Allocation) -> Config {
    let mut config = Config::new();
    // Deterministic answers: equal inputs give equal bits, on every machine. Threads are compiled out.
    config.cranelift_nan_canonicalization(true).wasm_relaxed_simd(false).wasm_memory64(false);
    config.wasm_component_model(true).concurrency_support(false);
    config.epoch_interruption(true).memory_init_cow(true).max_wasm_stack(GUEST_STACK);
    config.wasm_backtrace_max_frames(std::num::NonZeroUsize::new(8));
    config.allocation_strategy(match allocation {
        Allocation::Pooled => InstanceAllocationStrategy::Pooling(pooling()),
        Allocation::OnDemand => InstanceAllocationStrategy::OnDemand,
    });
    config
}

/// Room for guests of every language: those of Python have 38 core instances and large tables.
fn pooling() -> PoolingAllocationConfig {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(INSTANCES)
        .total_core_instances(INSTANCES * 4)
        .total_memories(INSTANCES)
        .total_tables(INSTANCES * 2)
        .max_core_instances_per_component(64)
        .max_memories_per_component(4)
        .max_tables_per_component(64)
        .max_component_instance_size(4 << 20)
        .max_core_instance_size(4 << 20)
        .table_elements(20_000)
        .max_memory_size(MEMORY_CEILING)
        // A discarded instance's first pages stay resident: the next one touches them anyway.
        .linear_memory_keep_resident(64 << 10)
        .table_keep_resident(16 << 10)
        .max_unused_warm_slots(32);
    pool
}

/// Advances the epoch until the engine is gone: the thread holds it weakly.
fn start_ticker(engine: EngineWeak) -> Result<(), String> {
    thread::Builder::new()
        .name("policy-epoch".into())
        .spawn(move || {
            while let Some(engine) = engine.upgrade() {
                engine.increment_epoch();
                drop(engine);
                tick();
            }
        })
        .map(drop)
        .map_err(|e| format!("cannot start the deadline thread: {e}"))
}

#[expect(clippy::disallowed_methods, reason = "this thread is the clock: there is no condition to wait for")]
fn tick() {
    thread::sleep(TICK);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_of_allocating_work_and_the_ticker_stops_with_its_engine() {
        for allocation in [Allocation::Pooled, Allocation::OnDemand] {
            let built = build(allocation).expect("an engine");
            let weak = built.weak();
            drop(built);
            while weak.upgrade().is_some() {
                thread::yield_now();
            }
        }
    }
}
