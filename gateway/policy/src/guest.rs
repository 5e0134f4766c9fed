//! One instance of a plugin: calls with a deadline, failures told apart.

use std::{sync::Arc, time::Duration};

use tidegate_types::route::Topology;
use wasmtime::{PoolConcurrencyLimitError, Store, Trap};

use crate::{
    bindings::{ErrorCode, GuestRefusal, GuestState, Identity, Manifest, Request, Router, RouterPre, Targets, cut},
    engine::TICK,
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
    pub pre: RouterPre<GuestState>,
    /// Who it is.
    pub identity: Arc<Identity>,
    /// The shards it may ask about.
    pub topology: Arc<Topology>,
    /// The operator's configuration, as JSON text.
    pub config: Arc<str>,
    /// Linear memory it may have.
    pub max_memory: usize,
    /// Budget of creating and of configuring an instance while a request waits.
    pub setup_budget: Duration,
    /// Calls after which an instance is replaced, before jitter.
    pub reuse: u32,
}

/// An instance and its store.
pub struct Instance {
    store: Store<GuestState>,
    router: Router,
    calls_left: u32,
}

impl Instance {
    /// A new instance, not configured yet.
    ///
    /// # Errors
    /// It trapped, ran out of time or memory, or no room is left for instances.
    pub fn create(blueprint: &Blueprint, budget: Duration) -> Result<Self, GuestFailure> {
        let state = GuestState::new(blueprint.identity.clone(), blueprint.topology.clone(), blueprint.max_memory);
        let mut store = Store::new(blueprint.pre.engine(), state);
        store.limiter(|state| &mut state.limits);
        store.set_hostcall_fuel(HOSTCALL_BYTES);
        store.set_max_component_handles(MAX_HANDLES);
        store.set_epoch_deadline(ticks(budget));
        let router = blueprint.pre.instantiate(&mut store).map_err(|e| classify(&store, &e))?;
        // Jitter, so that instances made together are not replaced together.
        let calls_left = blueprint.reuse / 2 + fastrand::u32(0..=blueprint.reuse / 2);
        Ok(Self { store, router, calls_left })
    }

    /// A new instance, ready for calls.
    ///
    /// # Errors
    /// As [`Instance::create`], or the plugin refuses its configuration.
    pub fn ready(blueprint: &Blueprint) -> Result<Self, GuestFailure> {
        let mut instance = Self::create(blueprint, blueprint.setup_budget)?;
        instance.configure(&blueprint.config, blueprint.setup_budget)?;
        Ok(instance)
    }

    /// Asks what the plugin is.
    ///
    /// # Errors
    /// The guest failed.
    pub fn describe(&mut self, budget: Duration) -> Result<Manifest, GuestFailure> {
        self.call(budget, |router, store| router.tidegate_policy_lifecycle().call_describe(store))
    }

    /// Hands over the operator's configuration.
    ///
    /// # Errors
    /// The guest failed or refused it.
    pub fn configure(&mut self, config: &str, budget: Duration) -> Result<(), GuestFailure> {
        self.call(budget, |router, store| router.tidegate_policy_lifecycle().call_configure(store, config))?
            .map_err(refused)
    }

    /// Runs the plugin's own cases.
    ///
    /// # Errors
    /// The guest failed or a case did.
    pub fn self_test(&mut self, budget: Duration) -> Result<u32, GuestFailure> {
        self.call(budget, |router, store| router.tidegate_policy_lifecycle().call_self_test(store))?.map_err(refused)
    }

    /// Asks where a request goes.
    ///
    /// # Errors
    /// The guest failed or has no answer. After [`FailureKind::PolicyError`] the instance is fine,
    /// after any other failure it must be dropped.
    pub fn route(&mut self, request: Request<'_>, budget: Duration) -> Result<Targets, GuestFailure> {
        self.calls_left = self.calls_left.saturating_sub(1);
        self.call(budget, |router, store| router.tidegate_policy_route().call_route(store, request))?.map_err(refused)
    }

    /// Whether it may serve another call.
    pub fn reusable(&self) -> bool {
        self.calls_left > 0 && !self.store.data().limits.nearly_full()
    }

    fn call<T>(
        &mut self,
        budget: Duration,
        call: impl FnOnce(&Router, &mut Store<GuestState>) -> wasmtime::Result<T>,
    ) -> Result<T, GuestFailure> {
        self.store.data_mut().begin_call();
        self.store.set_epoch_deadline(ticks(budget));
        call(&self.router, &mut self.store).map_err(|e| classify(&self.store, &e))
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
    let code = match refusal.code {
        ErrorCode::NoMatch => "no-match",
        ErrorCode::BadInput => "bad-input",
        ErrorCode::NotReady => "not-ready",
        ErrorCode::Other => "other",
    };
    let detail = format!("{code}: {}", cut(&refusal.detail, DETAIL_BYTES));
    GuestFailure::new(FailureKind::PolicyError, detail)
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
                blueprint.pre.engine().increment_epoch();
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
