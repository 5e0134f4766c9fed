//! Tidegate policies in Rust: implement [`Router`], name the type in [`export_router!`], build for
//! `wasm32-unknown-unknown`. The README has a complete policy.

/// What `wit-bindgen` makes of the WIT package `tidegate:policy`. The rest of this crate is the
/// pleasant way to use it.
#[expect(missing_docs, reason = "generated; the WIT files in wit/ document every item")]
pub mod bindings {
    wit_bindgen::generate!({
        path: "wit",
        world: "router",
        pub_export_macro: true,
        export_macro_name: "export_world",
        default_bindings_module: "tidegate_policy_sdk::bindings",
    });
}

pub use bindings::exports::tidegate::policy::{lifecycle::Input, route::Targets};
pub use bindings::tidegate::policy::types::{ErrorCode, Op, PolicyError, Request};

/// The shards of this gateway.
pub mod topology {
    pub use crate::bindings::tidegate::policy::host_topology::{hash_key, shard_count, shard_for_hash, shard_named};
}

/// The gateway's log.
pub mod log {
    use crate::bindings::tidegate::policy::host_log::{Level, log};

    /// Detail for developers.
    pub fn debug(message: &str) {
        log(Level::Debug, message);
    }

    /// Normal events.
    pub fn info(message: &str) {
        log(Level::Info, message);
    }

    /// Something is odd and the policy copes.
    pub fn warn(message: &str) {
        log(Level::Warn, message);
    }

    /// Something is wrong.
    pub fn error(message: &str) {
        log(Level::Error, message);
    }
}

/// A routing policy.
///
/// The answer must depend only on the request's operation, collection and declared inputs, and on
/// the configuration: the gateway remembers it.
pub trait Router: Sized + 'static {
    /// What [`Router::route`] wants to see, in this order.
    fn inputs() -> Vec<Input>;

    /// Makes the policy from the operator's `config`, as JSON text (`{}` where there is none).
    ///
    /// # Errors
    /// The configuration is wrong: the gateway refuses this version and logs the detail.
    fn configure(config: &str) -> Result<Self, PolicyError>;

    /// Decides where a request goes.
    ///
    /// # Errors
    /// The policy has no answer: writes fail, reads take the operator's fallback.
    fn route(&self, request: &Request) -> Result<Targets, PolicyError>;

    /// Checks the configured policy when it is loaded; returns how many cases were checked.
    ///
    /// # Errors
    /// A case failed: the gateway refuses this version.
    fn self_test(&self) -> Result<u32, PolicyError> {
        Ok(0)
    }
}

impl Request {
    /// The value of the input declared at this position, if the request has one.
    #[must_use]
    pub fn input(&self, position: usize) -> Option<&str> {
        self.inputs.get(position)?.as_deref()
    }
}

impl PolicyError {
    /// A refusal. `detail` is for the operator's log.
    pub fn new(code: ErrorCode, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into() }
    }

    /// The configuration is wrong.
    pub fn config(detail: impl Into<String>) -> Self {
        Self::new(ErrorCode::NotReady, detail)
    }
}

/// Exports a type that implements [`Router`] as the component's policy. Once per crate. Name and
/// version shown to operators are those of the crate.
#[macro_export]
macro_rules! export_router {
    ($router:ty) => {
        const _: () = {
            use $crate::bindings::exports::tidegate::policy::{lifecycle, route};

            std::thread_local! {
                static ROUTER: std::cell::OnceCell<$router> = const { std::cell::OnceCell::new() };
            }

            fn with_router<T>(
                f: impl FnOnce(&$router) -> Result<T, $crate::PolicyError>,
            ) -> Result<T, $crate::PolicyError> {
                ROUTER.with(|router| match router.get() {
                    Some(router) => f(router),
                    None => Err($crate::PolicyError::config("called before configure")),
                })
            }

            struct Exported;

            impl lifecycle::Guest for Exported {
                fn describe() -> lifecycle::Manifest {
                    lifecycle::Manifest {
                        name: env!("CARGO_PKG_NAME").into(),
                        version: env!("CARGO_PKG_VERSION").into(),
                        hooks: vec![lifecycle::HookInputs {
                            hook: "route".into(),
                            inputs: <$router as $crate::Router>::inputs(),
                        }],
                    }
                }

                fn configure(json: String) -> Result<(), $crate::PolicyError> {
                    let router = <$router as $crate::Router>::configure(&json)?;
                    ROUTER.with(|slot| slot.set(router)).map_err(|_| $crate::PolicyError::config("configured twice"))
                }

                fn self_test() -> Result<u32, $crate::PolicyError> {
                    with_router($crate::Router::self_test)
                }
            }

            impl route::Guest for Exported {
                fn route(request: $crate::Request) -> Result<$crate::Targets, $crate::PolicyError> {
                    with_router(|router| $crate::Router::route(router, &request))
                }
            }

            $crate::bindings::export_world!(Exported with_types_in $crate::bindings);
        };
    };
}
