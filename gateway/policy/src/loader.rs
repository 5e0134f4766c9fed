//! From a file's bytes to versions: everything that must hold before requests may use them.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tidegate_types::{
    route::Topology,
    settings::{Grant, Isolation, PolicySettings},
    tenant::Tenants,
};
use wasmtime::{Engine, Module, component::Component};
use wit_component::ComponentEncoder;

use crate::{
    bindings::{self, Directories, IMPORTS, Surroundings, WIT_VERSION},
    custom::CustomCounters,
    description::{self, Description, Form, HookInputs, Import, Needs, check_config},
    engine,
    error::{Refusal, RefusalReason},
    exports::Exports,
    guest::{Blueprint, GuestFailure, Instance},
    hook::Hook,
    metrics::FailureKind,
    vault::digest_of,
    version::{Parts, Version},
};

/// Budget of `describe`, `configure` and `self-test` while no request waits.
const LOAD_BUDGET: Duration = Duration::from_secs(1);
/// Calls after which an instance is replaced: guests of some languages leak.
const REUSE: u32 = 100_000;
/// How much longer than a call an instance may take to be made ready while a request waits.
const SETUP_FACTOR: u32 = 10;
/// Compiled files kept in memory: those in use, before them, and staged.
const COMPILED: usize = 16;

/// What is wrong, before it is known with which file.
pub type Step<T> = Result<T, (RefusalReason, String)>;

/// What a plugin says it is, and what each of its hooks reads.
pub type Described = (Description, Vec<(Hook, HookInputs)>);

/// Keeps compiled code between runs.
pub trait Artifacts: Send + Sync {
    /// The code kept for a file and an engine, exactly as it was given to [`Artifacts::keep`].
    fn get(&self, digest: &str, engine: &str) -> Option<Vec<u8>>;

    /// Keeps it. Failing to is no reason not to run.
    fn keep(&self, digest: &str, engine: &str, code: &[u8]);
}

/// Everything around a plugin that a version is bound to.
#[derive(Clone)]
pub struct Environment {
    /// The shards.
    pub topology: Arc<Topology>,
    /// The tenants.
    pub tenants: Arc<Tenants>,
    /// The directories.
    pub directories: Arc<Directories>,
}

/// How a plugin is to be used for one hook.
#[derive(Debug, Clone)]
pub struct Use {
    /// The hook.
    pub hook: Hook,
    /// The operator's configuration.
    pub config: Arc<serde_json::Value>,
    /// What it may import.
    pub grants: Vec<Grant>,
    /// What its instances may be used for.
    pub isolation: Option<Isolation>,
}

/// A compiled file.
pub struct Compiled {
    component: Component,
    /// SHA-256 in hex.
    pub digest: String,
    size: u64,
    form: Form,
    imports: Vec<(String, Option<Grant>)>,
    exports: Vec<String>,
    hooks: Vec<Hook>,
}

/// Makes versions.
pub struct Loader {
    engine: Engine,
    max_memory: usize,
    call_timeout: Duration,
    counters: CustomCounters,
    artifacts: Option<Arc<dyn Artifacts>>,
    compiled: Mutex<VecDeque<Arc<Compiled>>>,
    numbers: AtomicU64,
}

impl Loader {
    /// A loader on the process's engine.
    ///
    /// # Errors
    /// Policies cannot run on this machine.
    pub fn new(
        settings: &PolicySettings,
        counters: CustomCounters,
        artifacts: Option<Arc<dyn Artifacts>>,
    ) -> Result<Self, Refusal> {
        let engine = engine::shared().map_err(|detail| Refusal {
            origin: "the policy engine".into(),
            digest: "-".into(),
            reason: RefusalReason::Engine,
            detail,
        })?;
        Ok(Self::on(engine, settings.max_memory_bytes, settings.call_timeout, counters, artifacts))
    }

    /// A loader on another engine.
    pub fn on(
        engine: Engine,
        max_memory: usize,
        call_timeout: Duration,
        counters: CustomCounters,
        artifacts: Option<Arc<dyn Artifacts>>,
    ) -> Self {
        let (compiled, numbers) = (Mutex::default(), AtomicU64::new(1));
        Self { engine, max_memory, call_timeout, counters, artifacts, compiled, numbers }
    }

    /// Compiles a file, or finds it compiled. Takes milliseconds to seconds: never on a request thread.
    ///
    /// # Errors
    /// It is no plugin of any kind.
    pub fn compile(&self, bytes: &[u8]) -> Step<Arc<Compiled>> {
        let digest = digest_of(bytes);
        if let Some(found) = self.compiled.lock().iter().find(|compiled| compiled.digest == digest) {
            return Ok(found.clone());
        }
        let (form, component) = componentize(&self.engine, bytes)?;
        let component = self.code(&digest, &component)?;
        let (imports, exports, hooks) = surface(&self.engine, &component)?;
        let size = bytes.len() as u64;
        let compiled = Arc::new(Compiled { component, digest, size, form, imports, exports, hooks });
        let mut kept = self.compiled.lock();
        if kept.len() == COMPILED {
            kept.pop_front();
        }
        kept.push_back(compiled.clone());
        Ok(compiled)
    }

    fn code(&self, digest: &str, component: &[u8]) -> Step<Component> {
        let invalid = |error: wasmtime::Error| (RefusalReason::Invalid, format!("{error:#}"));
        let Some(artifacts) = &self.artifacts else { return Component::new(&self.engine, component).map_err(invalid) };
        let key = engine::key(&self.engine);
        if let Some(code) = artifacts.get(digest, &key) {
            match engine::load_native(&self.engine, &code) {
                Ok(component) => return Ok(component),
                Err(error) => tracing::warn!(digest, %error, "compiled code on disk cannot be used: compiling again"),
            }
        }
        let code = self.engine.precompile_component(component).map_err(invalid)?;
        artifacts.keep(digest, &key, &code);
        engine::load_native(&self.engine, &code).map_err(invalid)
    }

    /// Makes a version of each use, each proven on an instance of its own.
    ///
    /// # Errors
    /// One of them must not be used.
    pub fn versions(
        &self,
        plugin: &Arc<str>,
        compiled: &Compiled,
        uses: &[Use],
        environment: &Environment,
    ) -> Step<Vec<Version>> {
        let mut versions = Vec::with_capacity(uses.len());
        for of in uses {
            if !compiled.hooks.contains(&of.hook) {
                return Err((RefusalReason::World, lacks(of.hook, &compiled.hooks)));
            }
            let blueprint = self.blueprint(plugin, compiled, &of.config, &of.grants, environment)?;
            let (description, hooks) = self.rehearse(compiled, &blueprint, &of.config)?;
            let inputs = hooks.into_iter().find(|(hook, _)| *hook == of.hook);
            let Some((_, HookInputs { inputs, secret })) = inputs else { continue };
            let version = Version::new(Parts {
                hook: of.hook,
                description: Arc::new(description),
                inputs,
                secret,
                tenants: environment.tenants.clone(),
                blueprint,
                budget: self.call_timeout,
                isolation: of.isolation,
            });
            versions.push(version.map_err(failed_in("a further instance"))?);
        }
        Ok(versions)
    }

    /// What instances of a compiled file are made of.
    ///
    /// # Errors
    /// It imports what it may not.
    pub fn blueprint(
        &self,
        plugin: &Arc<str>,
        compiled: &Compiled,
        config: &serde_json::Value,
        grants: &[Grant],
        environment: &Environment,
    ) -> Step<Blueprint> {
        for (interface, grant) in &compiled.imports {
            if let Some(grant) = grant
                && !grants.contains(grant)
            {
                let detail = format!("it imports {interface}, but was not granted \"{}\"", grant.as_str());
                return Err((RefusalReason::Grant, detail));
            }
        }
        let linker = bindings::linker(&self.engine).map_err(|e| (RefusalReason::Engine, format!("{e:#}")))?;
        let pre = linker.instantiate_pre(&compiled.component).map_err(|e| (RefusalReason::Import, format!("{e:#}")))?;
        let exports = Exports::of(&pre, &compiled.hooks).map_err(|e| (RefusalReason::World, format!("{e:#}")))?;
        let surroundings = Surroundings {
            plugin: plugin.clone(),
            number: self.numbers.fetch_add(1, Ordering::Relaxed),
            topology: environment.topology.clone(),
            directories: environment.directories.clone(),
            counters: self.counters.clone(),
        };
        let config = if config.is_null() { "{}".into() } else { config.to_string().into() };
        Ok(Blueprint {
            pre,
            exports: Arc::new(exports),
            surroundings: Arc::new(surroundings),
            config,
            max_memory: self.max_memory,
            setup_budget: self.call_timeout * SETUP_FACTOR,
            reuse: REUSE,
        })
    }

    /// Describes, configures and self-tests a first instance.
    ///
    /// # Errors
    /// What it failed in.
    pub fn rehearse(&self, compiled: &Compiled, blueprint: &Blueprint, config: &serde_json::Value) -> Step<Described> {
        let (mut instance, (mut description, hooks)) = self.describe(compiled, blueprint)?;
        let empty = serde_json::Value::Object(serde_json::Map::new());
        check_config(&description.schema, if config.is_null() { &empty } else { config })?;
        instance.configure(&blueprint.config, LOAD_BUDGET).map_err(failed_in("configure"))?;
        let cases = instance.self_test(LOAD_BUDGET).map_err(failed_in("self-test"))?;
        tracing::debug!(plugin = &*blueprint.surroundings.plugin, cases, "policy self-test passed");
        description.needs.configured_memory = instance.memory() as u64;
        Ok((description, hooks))
    }

    /// Asks a first instance what it is. Its configuration does not matter yet.
    ///
    /// # Errors
    /// What it failed in.
    pub fn describe(&self, compiled: &Compiled, blueprint: &Blueprint) -> Step<(Instance, Described)> {
        let mut instance = Instance::create(blueprint, LOAD_BUDGET).map_err(failed_in("instantiation"))?;
        let initial_memory = instance.memory() as u64;
        let manifest = instance.describe(LOAD_BUDGET).map_err(failed_in("describe"))?;
        let hooks = description::hooks_of(&manifest, &compiled.hooks)?;
        let resources = compiled.component.resources_required();
        let needs = Needs {
            memories: resources.as_ref().map_or(0, |needs| needs.num_memories),
            tables: resources.as_ref().map_or(0, |needs| needs.num_tables),
            initial_memory,
            configured_memory: instance.memory() as u64,
        };
        let description = Description {
            name: manifest.name,
            version: manifest.version,
            wit: WIT_VERSION.into(),
            digest: compiled.digest.clone(),
            size: compiled.size,
            form: compiled.form,
            hooks: description::shown(&hooks),
            schema: manifest.config_schema,
            imports: compiled.imports.iter().map(|(name, grant)| Import::of(name, *grant)).collect(),
            exports: compiled.exports.clone(),
            needs,
        };
        Ok((instance, (description, hooks)))
    }
}

fn lacks(hook: Hook, hooks: &[Hook]) -> String {
    let has: Vec<&str> = hooks.iter().map(|hook| hook.as_str()).collect();
    let has = if has.is_empty() { "no hook".to_owned() } else { format!("only {}", has.join(", ")) };
    format!("it is configured for the hook {}, but exports {has}", hook.as_str())
}

fn failed_in(step: &'static str) -> impl Fn(GuestFailure) -> (RefusalReason, String) {
    move |failure| {
        let detail = format!("{step} failed ({}): {}", failure.kind.as_str(), failure.detail);
        match (failure.kind, step) {
            (FailureKind::BadExport, _) => (RefusalReason::World, failure.detail),
            (FailureKind::PolicyError, "configure") => (RefusalReason::Config, detail),
            _ => (RefusalReason::Lifecycle, detail),
        }
    }
}

type Surface = (Vec<(String, Option<Grant>)>, Vec<String>, Vec<Hook>);

/// What a component imports and exports, by allow-list: wasmtime's own message would name one import only.
fn surface(engine: &Engine, component: &Component) -> Step<Surface> {
    let ty = component.component_type();
    let exports: Vec<String> = ty.exports(engine).map(|(name, _)| name.to_owned()).collect();
    let other = |name: &&str| version_of(name).is_some_and(|version| version != WIT_VERSION);
    let names = ty.imports(engine).map(|(name, _)| name).chain(exports.iter().map(String::as_str));
    if let Some(version) = { names }.find(other).and_then(version_of) {
        let detail = format!("it is built for tidegate:policy {version}; this gateway runs {WIT_VERSION}");
        return Err((RefusalReason::WitVersion, detail));
    }
    let mut imports = Vec::new();
    let mut foreign = Vec::new();
    for (name, _) in ty.imports(engine) {
        match IMPORTS.iter().find(|(known, _)| *known == name) {
            Some((_, grant)) => imports.push((name.to_owned(), *grant)),
            None => foreign.push(name),
        }
    }
    if !foreign.is_empty() {
        let wasi = foreign.iter().any(|name| name.starts_with("wasi:"));
        let reason = if wasi { RefusalReason::Wasi } else { RefusalReason::Import };
        return Err((reason, format!("it imports {}", foreign.join(", "))));
    }
    let exported =
        |interface: &str| exports.iter().any(|name| *name == format!("tidegate:policy/{interface}@{WIT_VERSION}"));
    if !exported("lifecycle") {
        return Err((RefusalReason::World, format!("it does not export tidegate:policy/lifecycle@{WIT_VERSION}")));
    }
    let hooks: Vec<Hook> = Hook::ALL.into_iter().filter(|hook| exported(hook.as_str())).collect();
    if hooks.is_empty() {
        return Err((RefusalReason::World, "it exports no hook: classify, route, cache-policy or invalidate".into()));
    }
    Ok((imports, exports, hooks))
}

/// The version in the name of an interface of the policy package.
fn version_of(name: &str) -> Option<&str> {
    name.strip_prefix("tidegate:policy/")?.split_once('@').map(|(_, version)| version)
}

/// A component as it is; a core module wrapped by the component type it carries.
fn componentize(engine: &Engine, bytes: &[u8]) -> Step<(Form, Vec<u8>)> {
    const WASI: &[u8] = b"wasi_snapshot_preview1";
    let invalid = |detail: String| (RefusalReason::Invalid, detail);
    match (bytes.get(..4), bytes.get(4..8)) {
        (Some(b"\0asm"), Some([0x0d, 0, 1, 0])) => Ok((Form::Component, bytes.to_vec())),
        (Some(b"\0asm"), Some([1, 0, 0, 0])) => {
            // The encoder trusts the lengths it reads: a file that is cut off would make it panic.
            Module::validate(engine, bytes).map_err(|e| invalid(format!("{e:#}")))?;
            let encoded =
                encode(bytes).map_err(|detail| match bytes.windows(WASI.len()).any(|window| window == WASI) {
                    true => (RefusalReason::Wasi, "the module imports wasi_snapshot_preview1".to_owned()),
                    false => invalid(format!("the core module is no component: {detail}")),
                });
            Ok((Form::CoreModule, encoded?))
        }
        (Some(b"\0asm"), _) => Err(invalid("it is WebAssembly of an unknown version or cut off".into())),
        _ => Err(invalid("it is not WebAssembly".into())),
    }
}

/// Wraps a valid module. Its custom sections are not validated, hence the net under the encoder.
fn encode(module: &[u8]) -> Result<Vec<u8>, String> {
    let encode = || ComponentEncoder::default().module(module)?.validate(true).encode();
    match std::panic::catch_unwind(encode) {
        Ok(result) => result.map_err(|e| format!("{e:#}")),
        Err(_) => Err("its component type is damaged".into()),
    }
}

#[cfg(test)]
pub(crate) mod tests;
