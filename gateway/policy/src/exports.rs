//! Which hooks a component exports, and calling them.

use wasmtime::{
    AsContextMut,
    component::{Instance, InstancePre},
};

use crate::{
    bindings::{GuestState, cache_policy, classify, invalidate, lifecycle, route},
    hook::Hook,
};

/// Where a component's exports are, found once.
pub struct Exports {
    lifecycle: lifecycle::GuestIndices,
    classify: Option<classify::GuestIndices>,
    route: Option<route::GuestIndices>,
    cache_policy: Option<cache_policy::GuestIndices>,
    invalidate: Option<invalidate::GuestIndices>,
}

/// The exports of one instance.
pub struct Guest {
    /// Of every plugin.
    pub lifecycle: lifecycle::Guest,
    /// Of those with the hook.
    pub classify: Option<classify::Guest>,
    /// Of those with the hook.
    pub route: Option<route::Guest>,
    /// Of those with the hook.
    pub cache_policy: Option<cache_policy::Guest>,
    /// Of those with the hook.
    pub invalidate: Option<invalidate::Guest>,
}

impl Exports {
    /// Finds them.
    ///
    /// # Errors
    /// `lifecycle` is missing, or an export has another type than the interface says.
    pub fn of(pre: &InstancePre<GuestState>, exported: &[Hook]) -> wasmtime::Result<Self> {
        let has = |hook| exported.contains(&hook);
        Ok(Self {
            lifecycle: lifecycle::GuestIndices::new(pre)?,
            classify: has(Hook::Classify).then(|| classify::GuestIndices::new(pre)).transpose()?,
            route: has(Hook::Route).then(|| route::GuestIndices::new(pre)).transpose()?,
            cache_policy: has(Hook::CachePolicy).then(|| cache_policy::GuestIndices::new(pre)).transpose()?,
            invalidate: has(Hook::Invalidate).then(|| invalidate::GuestIndices::new(pre)).transpose()?,
        })
    }

    /// The hooks among them.
    pub fn hooks(&self) -> Vec<Hook> {
        let has = |hook: &Hook| match hook {
            Hook::Classify => self.classify.is_some(),
            Hook::Route => self.route.is_some(),
            Hook::CachePolicy => self.cache_policy.is_some(),
            Hook::Invalidate => self.invalidate.is_some(),
        };
        Hook::ALL.into_iter().filter(has).collect()
    }

    /// Those of an instance.
    ///
    /// # Errors
    /// The instance is not of this component.
    pub fn load(&self, mut store: impl AsContextMut, instance: &Instance) -> wasmtime::Result<Guest> {
        let mut store = store.as_context_mut();
        Ok(Guest {
            lifecycle: self.lifecycle.load(&mut store, instance)?,
            classify: self.classify.as_ref().map(|found| found.load(&mut store, instance)).transpose()?,
            route: self.route.as_ref().map(|found| found.load(&mut store, instance)).transpose()?,
            cache_policy: self.cache_policy.as_ref().map(|found| found.load(&mut store, instance)).transpose()?,
            invalidate: self.invalidate.as_ref().map(|found| found.load(&mut store, instance)).transpose()?,
        })
    }
}
