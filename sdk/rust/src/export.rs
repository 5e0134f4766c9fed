//! From types that implement the traits to the exports of a component.

/// Exports a type as the component's policy, with the hooks named. Once per crate. Name and version
/// shown to operators are those of the crate.
///
/// ```ignore
/// export_policy!(Catalog: CachePolicy, Invalidator);
/// ```
#[macro_export]
macro_rules! export_policy {
    ($policy:ty: $($hook:ident),+ $(,)?) => {
        $crate::export_policy!(@hooks $policy; $($hook)+);
    };
    (@hooks $policy:ty; $($hook:ident)+) => {
        const _: () = {
            use $crate::bindings::base::exports::tidegate::policy::lifecycle;

            std::thread_local! {
                static POLICY: std::cell::OnceCell<$policy> = const { std::cell::OnceCell::new() };
            }

            fn with_policy<T>(
                f: impl FnOnce(&$policy) -> Result<T, $crate::PolicyError>,
            ) -> Result<T, $crate::PolicyError> {
                POLICY.with(|policy| match policy.get() {
                    Some(policy) => f(policy),
                    None => Err($crate::PolicyError::config("called before configure")),
                })
            }

            struct Exported;

            impl lifecycle::Guest for Exported {
                fn describe() -> lifecycle::Manifest {
                    lifecycle::Manifest {
                        name: env!("CARGO_PKG_NAME").into(),
                        version: env!("CARGO_PKG_VERSION").into(),
                        hooks: vec![$($crate::__describe_hook!($hook, $policy)),+],
                        config_schema: <$policy as $crate::Policy>::CONFIG_SCHEMA.into(),
                    }
                }

                fn configure(json: String) -> Result<(), $crate::PolicyError> {
                    let policy = <$policy as $crate::Policy>::configure(&json)?;
                    POLICY.with(|slot| slot.set(policy)).map_err(|_| $crate::PolicyError::config("configured twice"))
                }

                fn self_test() -> Result<u32, $crate::PolicyError> {
                    with_policy($crate::Policy::self_test)
                }
            }

            $crate::bindings::base::export_lifecycle!(Exported with_types_in $crate::bindings::base);
            $($crate::__export_hook!($hook);)+
        };
    };
}

/// Exports a type that implements [`Router`](crate::Router): `export_policy!(Type: Router)`.
#[macro_export]
macro_rules! export_router {
    ($policy:ty) => {
        $crate::export_policy!($policy: Router);
    };
}

/// The manifest's item of one hook.
#[doc(hidden)]
#[macro_export]
macro_rules! __describe_hook {
    (Classifier, $policy:ty) => {
        $crate::__describe_hook!("classify", $policy, $crate::Classifier)
    };
    (Router, $policy:ty) => {
        $crate::__describe_hook!("route", $policy, $crate::Router)
    };
    (CachePolicy, $policy:ty) => {
        $crate::__describe_hook!("cache-policy", $policy, $crate::CachePolicy)
    };
    (Invalidator, $policy:ty) => {
        $crate::__describe_hook!("invalidate", $policy, $crate::Invalidator)
    };
    ($name:literal, $policy:ty, $hook:path) => {
        $crate::__hook_inputs($name, <$policy as $hook>::inputs(), &<$policy as $hook>::secret())
    };
    ($hook:ident, $policy:ty) => {
        compile_error!("the hooks are Classifier, Router, CachePolicy and Invalidator")
    };
}

/// The exports of one hook of `Exported`.
#[doc(hidden)]
#[macro_export]
macro_rules! __export_hook {
    (Classifier) => {
        impl $crate::bindings::classify::exports::tidegate::policy::classify::Guest for Exported {
            fn classify(request: $crate::Request) -> Result<$crate::Classification, $crate::PolicyError> {
                with_policy(|policy| $crate::Classifier::classify(policy, &request))
            }
        }
        $crate::bindings::classify::export_classify!(Exported with_types_in $crate::bindings::classify);
    };
    (Router) => {
        impl $crate::bindings::route::exports::tidegate::policy::route::Guest for Exported {
            fn route(request: $crate::Request) -> Result<$crate::Targets, $crate::PolicyError> {
                with_policy(|policy| $crate::Router::route(policy, &request))
            }
        }
        $crate::bindings::route::export_route!(Exported with_types_in $crate::bindings::route);
    };
    (CachePolicy) => {
        impl $crate::bindings::cache_policy::exports::tidegate::policy::cache_policy::Guest for Exported {
            fn decide(request: $crate::Request) -> Result<$crate::Decision, $crate::PolicyError> {
                with_policy(|policy| $crate::CachePolicy::decide(policy, &request))
            }
        }
        $crate::bindings::cache_policy::export_cache_policy!(Exported with_types_in $crate::bindings::cache_policy);
    };
    (Invalidator) => {
        impl $crate::bindings::invalidate::exports::tidegate::policy::invalidate::Guest for Exported {
            fn invalidate(
                tenant: u32,
                class: u32,
                changes: Vec<$crate::RowChange>,
            ) -> Result<Vec<$crate::Action>, $crate::PolicyError> {
                with_policy(|policy| $crate::Invalidator::invalidate(policy, tenant, class, &changes))
            }
        }
        $crate::bindings::invalidate::export_invalidate!(Exported with_types_in $crate::bindings::invalidate);
    };
    ($hook:ident) => {};
}

use crate::{Input, bindings::base::exports::tidegate::policy::lifecycle::HookInputs};

/// What a hook reads. A secret that is no input gets a position that does not exist: the gateway
/// refuses it rather than log it.
#[doc(hidden)]
#[must_use]
pub fn hook_inputs(hook: &str, inputs: Vec<Input>, secret: &[Input]) -> HookInputs {
    let position = |of: &Input| inputs.iter().position(|input| input == of);
    let secret = secret.iter().map(|input| position(input).and_then(|p| u32::try_from(p).ok()).unwrap_or(u32::MAX));
    HookInputs { hook: hook.into(), secret: secret.collect(), inputs }
}
