//! One instance of a plugin: calls with a deadline, failures told apart.

use std::{sync::Arc, time::Duration};

use wasmtime::{PoolConcurrencyLimitError, Store, Trap, component::InstancePre};

use crate::{
    bindings::{
        Action, Classification, Decision, ErrorCode, GuestRefusal, GuestState, Manifest, Request, RowChange,
        Surroundings, Targets, cut,
    },
    engine::TICK,
    exports::{Exports, Guest},
    metrics::FailureKind,
};

/// Bytes a guest may hand to the host in one call.
const HOSTCALL_BYTES: usize = 256 << 10;
/// Handles of component resources: the interface has none.
const MAX_HANDLES: usize = 64;
/// Bytes kept of what a guest says about a failure.
const DETAIL_BYTES: usize = 512;

/// A call that gave no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {detail}", kind.as_str())]
pub struct GuestFailure {
    /// The class.
    pub kind: FailureKind,
    /// What happened.
    pub detail: String,
}

impl GuestFailure {
    /// A failure with what happened.
    pub fn new(kind: FailureKind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into() }
    }
}

/// What an instance is made of.
pub struct Blueprint {
    /// The compiled component, its imports resolved.
    pub pre: InstancePre<GuestState>,
    /// Its exports.
    pub exports: Arc<Exports>,
    /// What its host functions see.
    pub surroundings: Arc<Surroundings>,
    /// The operator's configuration, as JSON text.
    pub config: Arc<str>,
    /// Linear memory it may have.
    pub max_memory: usize,
    /// Budget of creating and of configuring an instance while a request waits.
    pub setup_budget: Duration,
    /// Calls after which an instance is replaced, before jitter.
    pub reuse: u32,
}

/// Fuel given to each call in an engine that counts it.
pub const FUEL: u64 = 1 << 50;

/// An instance and its store.
pub struct Instance {
    store: Store<GuestState>,
    guest: Guest,
    calls_left: u32,
}

impl Instance {
    /// A new instance, not configured yet.
    ///
    /// # Errors
    /// It trapped, ran out of time or memory, or no room is left for instances.
    pub fn create(blueprint: &Blueprint, budget: Duration) -> Result<Self, GuestFailure> {
        let engine = blueprint.pre.component().engine();
        let mut store = Store::new(engine, GuestState::new(blueprint.surroundings.clone(), blueprint.max_memory));
        store.limiter(|state| &mut state.limits);
        store.set_hostcall_fuel(HOSTCALL_BYTES);
        store.set_max_component_handles(MAX_HANDLES);
        store.set_epoch_deadline(ticks(budget));
        // Only an engine that counts fuel takes it.
        let _ = store.set_fuel(FUEL);
        let instance = blueprint.pre.instantiate(&mut store).map_err(|e| classify(&store, &e))?;
        let guest = blueprint.exports.load(&mut store, &instance);
        let guest = guest.map_err(|e| GuestFailure::new(FailureKind::BadExport, format!("{e:#}")))?;
        // Jitter, so that instances made together are not replaced together.
        let calls_left = blueprint.reuse / 2 + fastrand::u32(0..=blueprint.reuse / 2);
        Ok(Self { store, guest, calls_left })
    }

    /// A new instance, ready for calls.
    ///
    /// # Errors
    /// As [`Instance::create`], or the plugin refuses its configuration.
    pub fn ready(blueprint: &Blueprint) -> Result<Self, GuestFailure> {
        let mut instance = Self::create(blueprint, blueprint.setup_budget)?;
        instance.configure(&blueprint.config, blueprint.setup_budget)?;
        instance.store.data_mut().limits.settle();
        Ok(instance)
    }

    /// Asks what the plugin is.
    ///
    /// # Errors
    /// The guest failed.
    pub fn describe(&mut self, budget: Duration) -> Result<Manifest, GuestFailure> {
        self.call(budget, |guest, store| guest.lifecycle.call_describe(store))
    }

    /// Hands over the operator's configuration.
    ///
    /// # Errors
    /// The guest failed or refused it.
    pub fn configure(&mut self, config: &str, budget: Duration) -> Result<(), GuestFailure> {
        self.call(budget, |guest, store| guest.lifecycle.call_configure(store, config))?.map_err(refused)
    }

    /// Runs the plugin's own cases.
    ///
    /// # Errors
    /// The guest failed or a case did.
    pub fn self_test(&mut self, budget: Duration) -> Result<u32, GuestFailure> {
        self.call(budget, |guest, store| guest.lifecycle.call_self_test(store))?.map_err(refused)
    }

    /// Asks whose request it is.
    ///
    /// # Errors
    /// The guest failed or has no answer. After [`FailureKind::PolicyError`] the instance is fine,
    /// after any other failure it must be dropped. So it is for the other hooks.
    pub fn classify(&mut self, request: Request<'_>, budget: Duration) -> Result<Classification, GuestFailure> {
        self.hook(budget, |guest, store| Some(guest.classify.as_ref()?.call_classify(store, request)))
    }

    /// Asks where a request goes.
    ///
    /// # Errors
    /// As [`Instance::classify`].
    pub fn route(&mut self, request: Request<'_>, budget: Duration) -> Result<Targets, GuestFailure> {
        self.hook(budget, |guest, store| Some(guest.route.as_ref()?.call_route(store, request)))
    }

    /// Asks how an answer is kept.
    ///
    /// # Errors
    /// As [`Instance::classify`].
    pub fn decide(&mut self, request: Request<'_>, budget: Duration) -> Result<Decision, GuestFailure> {
        self.hook(budget, |guest, store| Some(guest.cache_policy.as_ref()?.call_decide(store, request)))
    }

    /// Asks what changes make outdated.
    ///
    /// # Errors
    /// As [`Instance::classify`].
    pub fn invalidate(
        &mut self,
        (tenant, class): (u32, u32),
        batch: &[RowChange<'_>],
        budget: Duration,
    ) -> Result<Vec<Action>, GuestFailure> {
        self.hook(budget, |guest, store| Some(guest.invalidate.as_ref()?.call_invalidate(store, tenant, class, batch)))
    }

    /// Whether it may serve another call.
    pub fn reusable(&self) -> bool {
        self.calls_left > 0 && !self.store.data().limits.nearly_full()
    }

    /// Bytes of linear memory it has.
    pub fn memory(&self) -> usize {
        self.store.data().limits.memory()
    }

    /// Fuel used since the call before, where the engine counts it.
    pub fn fuel_used(&mut self) -> Option<u64> {
        let left = self.store.get_fuel().ok()?;
        let _ = self.store.set_fuel(FUEL);
        Some(FUEL - left)
    }

    fn hook<T>(
        &mut self,
        budget: Duration,
        call: impl FnOnce(&Guest, &mut Store<GuestState>) -> Option<wasmtime::Result<Result<T, GuestRefusal>>>,
    ) -> Result<T, GuestFailure> {
        self.calls_left = self.calls_left.saturating_sub(1);
        let missing = || wasmtime::Error::msg("the plugin does not export this hook");
        self.call(budget, |guest, store| call(guest, store).unwrap_or_else(|| Err(missing())))?.map_err(refused)
    }

    fn call<T>(
        &mut self,
        budget: Duration,
        call: impl FnOnce(&Guest, &mut Store<GuestState>) -> wasmtime::Result<T>,
    ) -> Result<T, GuestFailure> {
        self.store.data_mut().begin_call();
        self.store.set_epoch_deadline(ticks(budget));
        call(&self.guest, &mut self.store).map_err(|e| classify(&self.store, &e))
    }
}

/// Epochs that cover a budget. One more, because the current one is already partly over.
fn ticks(budget: Duration) -> u64 {
    u64::try_from(budget.as_nanos().div_ceil(TICK.as_nanos())).unwrap_or(u64::MAX / 2).min(u64::MAX / 2) + 1
}

fn classify(store: &Store<GuestState>, error: &wasmtime::Error) -> GuestFailure {
    if let Some(bytes) = store.data().limits.exceeded() {
        return GuestFailure::new(FailureKind::Memory, format!("it asked for {bytes} bytes of memory"));
    }
    if error.is::<PoolConcurrencyLimitError>() {
        return GuestFailure::new(FailureKind::Capacity, "no room for another instance");
    }
    match error.downcast_ref::<Trap>() {
        Some(Trap::Interrupt) => GuestFailure::new(FailureKind::Deadline, "it ran out of time"),
        Some(trap) => GuestFailure::new(FailureKind::Trap, trap.to_string()),
        None => GuestFailure::new(FailureKind::Trap, cut(&format!("{error:#}"), DETAIL_BYTES)),
    }
}

fn refused(refusal: GuestRefusal) -> GuestFailure {
    let detail = format!("{}: {}", code(refusal.code), cut(&refusal.detail, DETAIL_BYTES));
    GuestFailure::new(FailureKind::PolicyError, detail)
}

fn code(code: ErrorCode) -> &'static str {
    match code {
        ErrorCode::NoMatch => "no-match",
        ErrorCode::BadInput => "bad-input",
        ErrorCode::NotReady => "not-ready",
        ErrorCode::Other => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{bindings::Op, loader::tests::blueprint_of};

    fn request<'a>(inputs: &'a [Option<&'a str>]) -> Request<'a> {
        Request { tenant: 0, class: 0, op: Op::Read, collection: 0, inputs }
    }

    #[test]
    fn a_budget_covers_its_ticks_and_the_one_under_way() {
        for (budget, expected) in [(0, 1), (1, 2), (1000, 2), (1001, 3), (10_000, 11)] {
            assert_eq!(ticks(Duration::from_micros(budget)), expected, "{budget} us");
        }
        assert!(ticks(Duration::MAX) > 1 << 60);
    }

    #[test]
    fn an_instance_is_worn_out_after_its_jittered_number_of_calls() {
        let mut blueprint = blueprint_of("hash-router");
        blueprint.reuse = 8;
        for _ in 0..8 {
            let mut instance = Instance::ready(&blueprint).expect("ready");
            let mut calls = 0;
            while instance.reusable() {
                instance.route(request(&[Some("1")]), Duration::from_millis(100)).expect("an answer");
                calls += 1;
            }
            assert!((4..=8).contains(&calls), "{calls} calls");
        }
    }

    #[test]
    fn time_spent_idle_counts_against_no_call() {
        let blueprint = blueprint_of("hash-router");
        let mut instance = Instance::ready(&blueprint).expect("ready");
        for _ in 0..3 {
            for _ in 0..=ticks(blueprint.setup_budget) {
                blueprint.pre.component().engine().increment_epoch();
            }
            instance.route(request(&[Some("1")]), Duration::from_millis(100)).expect("an answer");
        }
    }

    #[test]
    fn saying_no_leaves_the_instance_sound() {
        let mut instance = Instance::ready(&blueprint_of("testing/faulty")).expect("ready");
        for _ in 0..2 {
            let failure = instance.route(request(&[Some("fault:refuse"), None]), Duration::from_millis(100));
            assert_eq!(failure.expect_err("no").kind, FailureKind::PolicyError);
            instance.route(request(&[Some("1"), None]), Duration::from_millis(100)).expect("an answer");
        }
    }
}
