//! From a file's bytes to a generation: everything that must hold before requests may use it.

use std::{path::PathBuf, sync::Arc, time::Duration};

use sha2::{Digest as _, Sha256};
use tidegate_types::{route::Topology, settings::PolicySettings};
use wasmtime::{Engine, Module, component::Component};
use wit_component::ComponentEncoder;

use crate::{
    bindings::{self, ALLOWED_IMPORTS, Identity, Manifest, RouterPre},
    engine,
    error::{Refusal, RefusalReason},
    generation::{Description, Generation},
    guest::{Blueprint, GuestFailure, Instance},
    inputs::{Declared, MAX_INPUTS},
};

/// Budget of `describe`, `configure` and `self-test` while no request waits.
const LOAD_BUDGET: Duration = Duration::from_secs(1);
/// Calls after which an instance is replaced: guests of some languages leak.
const REUSE: u32 = 100_000;
/// How much longer than a call an instance may take to be made ready while a request waits.
const SETUP_FACTOR: u32 = 10;
/// Bytes of the manifest's name and version.
const MAX_NAME_BYTES: usize = 64;
/// The name of the hook loaded here.
const HOOK: &str = "route";

/// What stays the same between versions of a plugin.
pub struct Loader {
    engine: Engine,
    topology: Arc<Topology>,
    plugin: Arc<str>,
    /// The plugin's file.
    pub file: PathBuf,
    config: Arc<str>,
    max_memory: usize,
    call_timeout: Duration,
}

/// SHA-256 of a file in hex.
pub fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A refusal whose file and digest are filled in by the loader.
type Step<T> = Result<T, (RefusalReason, String)>;

impl Loader {
    /// A loader of this plugin's versions.
    ///
    /// # Errors
    /// Policies cannot run on this machine.
    pub fn new(
        plugin: Arc<str>,
        file: PathBuf,
        config: &serde_json::Value,
        settings: &PolicySettings,
        topology: Arc<Topology>,
    ) -> Result<Self, Refusal> {
        let engine = engine::shared().map_err(|detail| Refusal {
            file: file.clone(),
            digest: "-".into(),
            reason: RefusalReason::Engine,
            detail,
        })?;
        Ok(Self::on(engine, plugin, file, config, settings, topology))
    }

    fn on(
        engine: Engine,
        plugin: Arc<str>,
        file: PathBuf,
        config: &serde_json::Value,
        settings: &PolicySettings,
        topology: Arc<Topology>,
    ) -> Self {
        let config = if config.is_null() { "{}".into() } else { config.to_string().into() };
        let (max_memory, call_timeout) = (settings.max_memory_bytes, settings.call_timeout);
        Self { engine, topology, plugin, file, config, max_memory, call_timeout }
    }

    /// The plugin's file name without `.wasm`.
    pub fn plugin(&self) -> &Arc<str> {
        &self.plugin
    }

    /// The shards.
    pub fn topology(&self) -> &Arc<Topology> {
        &self.topology
    }

    /// A refusal of these bytes.
    pub fn refusal(&self, digest: &str, reason: RefusalReason, detail: impl Into<String>) -> Refusal {
        Refusal { file: self.file.clone(), digest: digest.into(), reason, detail: detail.into() }
    }

    /// Makes a generation. Takes milliseconds to seconds: never on a request thread.
    ///
    /// # Errors
    /// The version must not be used.
    pub fn load(&self, bytes: &[u8], number: u64) -> Result<Generation, Refusal> {
        let digest = digest(bytes);
        self.build(bytes, &digest, number).map_err(|(reason, detail)| self.refusal(&digest, reason, detail))
    }

    fn build(&self, bytes: &[u8], digest: &str, number: u64) -> Step<Generation> {
        let blueprint = self.blueprint(bytes, number)?;
        let manifest = self.rehearse(&blueprint)?;
        let description = describe(&manifest, digest)?;
        Generation::new(description, blueprint, self.call_timeout).map_err(failed_in("a further instance"))
    }

    fn blueprint(&self, bytes: &[u8], number: u64) -> Step<Blueprint> {
        let component = self.compile(&componentize(&self.engine, bytes)?)?;
        Ok(Blueprint {
            pre: self.link(&component)?,
            identity: Arc::new(Identity { plugin: self.plugin.clone(), generation: number }),
            topology: self.topology.clone(),
            config: self.config.clone(),
            max_memory: self.max_memory,
            setup_budget: self.call_timeout * SETUP_FACTOR,
            reuse: REUSE,
        })
    }

    fn compile(&self, component: &[u8]) -> Step<Component> {
        Component::new(&self.engine, component).map_err(|e| (RefusalReason::Invalid, format!("{e:#}")))
    }

    /// Resolves the imports, by allow-list first: wasmtime's own message would name one of them only.
    fn link(&self, component: &Component) -> Step<RouterPre<bindings::GuestState>> {
        let engine = &self.engine;
        let ty = component.component_type();
        let foreign: Vec<&str> =
            ty.imports(engine).map(|(name, _)| name).filter(|name| !ALLOWED_IMPORTS.contains(name)).collect();
        if !foreign.is_empty() {
            let wasi = foreign.iter().any(|name| name.starts_with("wasi:"));
            let reason = if wasi { RefusalReason::Wasi } else { RefusalReason::Import };
            return Err((reason, format!("it imports {}", foreign.join(", "))));
        }
        let linker = bindings::linker(engine).map_err(|e| (RefusalReason::Engine, format!("{e:#}")))?;
        let pre = linker.instantiate_pre(component).map_err(|e| (RefusalReason::Import, format!("{e:#}")))?;
        RouterPre::new(pre).map_err(|e| (RefusalReason::World, format!("{e:#}")))
    }

    /// Describes, configures and self-tests a first instance.
    fn rehearse(&self, blueprint: &Blueprint) -> Step<Manifest> {
        let mut instance = Instance::create(blueprint, LOAD_BUDGET).map_err(failed_in("instantiation"))?;
        let manifest = instance.describe(LOAD_BUDGET).map_err(failed_in("describe"))?;
        instance.configure(&self.config, LOAD_BUDGET).map_err(failed_in("configure"))?;
        let cases = instance.self_test(LOAD_BUDGET).map_err(failed_in("self-test"))?;
        tracing::debug!(plugin = &*self.plugin, cases, "policy self-test passed");
        Ok(manifest)
    }
}

fn failed_in(step: &'static str) -> impl Fn(GuestFailure) -> (RefusalReason, String) {
    move |failure| (RefusalReason::Lifecycle, format!("{step} failed ({}): {}", failure.kind.as_str(), failure.detail))
}

/// A component as it is; a core module wrapped by the component type it carries.
fn componentize(engine: &Engine, bytes: &[u8]) -> Step<Vec<u8>> {
    const WASI: &[u8] = b"wasi_snapshot_preview1";
    let invalid = |detail: String| (RefusalReason::Invalid, detail);
    match (bytes.get(..4), bytes.get(4..8)) {
        (Some(b"\0asm"), Some([0x0d, 0, 1, 0])) => Ok(bytes.to_vec()),
        (Some(b"\0asm"), Some([1, 0, 0, 0])) => {
            // The encoder trusts the lengths it reads: a file that is cut off would make it panic.
            Module::validate(engine, bytes).map_err(|e| invalid(format!("{e:#}")))?;
            encode(bytes).map_err(|detail| match bytes.windows(WASI.len()).any(|window| window == WASI) {
                true => (RefusalReason::Wasi, "the module imports wasi_snapshot_preview1".to_owned()),
                false => invalid(format!("the core module is no component: {detail}")),
            })
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

/// Takes over a manifest within its limits.
fn describe(manifest: &Manifest, digest: &str) -> Step<Description> {
    let wrong = |detail: String| (RefusalReason::Manifest, detail);
    for (what, text) in [("name", &manifest.name), ("version", &manifest.version)] {
        if text.is_empty() || text.len() > MAX_NAME_BYTES {
            return Err(wrong(format!("its {what} has {} bytes, not 1 to {MAX_NAME_BYTES}", text.len())));
        }
    }
    let hooks: Vec<_> = manifest.hooks.iter().filter(|hook| hook.hook == HOOK).collect();
    let [hook] = hooks[..] else {
        return Err(wrong(format!("it describes the hook {HOOK} {} times, not once", hooks.len())));
    };
    if hook.inputs.len() > MAX_INPUTS {
        return Err(wrong(format!("it declares {} inputs, the most is {MAX_INPUTS}", hook.inputs.len())));
    }
    let inputs = hook.inputs.iter().map(Declared::parse).collect::<Result<_, _>>().map_err(wrong)?;
    Ok(Description {
        name: manifest.name.clone(),
        version: manifest.version.clone(),
        digest: digest.to_owned(),
        inputs,
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use std::path::Path;

    use serde_json::json;

    use super::*;
    use crate::bindings::Input;

    /// A loader on an engine of its own: a test may turn its clock, and it is one without a pool.
    fn loader() -> Loader {
        let settings = PolicySettings {
            dir: None,
            route: None,
            max_memory_bytes: 16 << 20,
            call_timeout: Duration::from_millis(100),
        };
        let topology = Arc::new(Topology::new(["a", "b"].map(Arc::from)));
        let engine = engine::build(engine::Allocation::OnDemand).expect("an engine");
        Loader::on(engine, "router".into(), "router.wasm".into(), &json!({}), &settings, topology)
    }

    fn guest(name: &str) -> Vec<u8> {
        let dist = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins/dist");
        std::fs::read(dist.join(format!("{name}.wasm"))).expect("built")
    }

    /// What instances of a built guest are made of.
    pub(crate) fn blueprint_of(name: &str) -> Blueprint {
        loader().blueprint(&guest(name), 1).expect("a blueprint")
    }

    #[test]
    fn damaged_files_are_refused_and_never_panic() {
        let (loader, good) = (loader(), guest("hash-router-c"));
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..200 {
            let mut bytes = good.clone();
            if random.bool() {
                bytes.truncate(random.usize(..good.len()));
            }
            for _ in 0..random.usize(1..4) {
                // The component type is at the end, where nothing validates it before the encoder.
                let at = if random.bool() {
                    random.usize(..bytes.len().max(1))
                } else {
                    bytes.len().saturating_sub(random.usize(1..900))
                };
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = random.u8(..);
                }
            }
            let _ = loader.load(&bytes, 1);
        }
    }

    #[test]
    fn manifests_outside_the_limits_are_refused() {
        use crate::bindings::generated::exports::tidegate::policy::lifecycle::HookInputs;
        let hook = |inputs| HookInputs { hook: HOOK.into(), inputs };
        let manifest = |name: &str, hooks| Manifest { name: name.into(), version: "1".into(), hooks };
        assert!(describe(&manifest("p", vec![hook(vec![Input::Path; MAX_INPUTS])]), "").is_ok());
        let other = HookInputs { hook: "classify".into(), inputs: Vec::new() };
        assert!(
            describe(&manifest("p", vec![other.clone(), hook(Vec::new())]), "").is_ok(),
            "other hooks are others' concern"
        );
        for (wrong, says) in [
            (manifest("", vec![hook(Vec::new())]), "name has 0 bytes"),
            (manifest(&"p".repeat(65), vec![hook(Vec::new())]), "name has 65 bytes"),
            (manifest("p", Vec::new()), "0 times"),
            (manifest("p", vec![other]), "0 times"),
            (manifest("p", vec![hook(Vec::new()), hook(Vec::new())]), "2 times"),
            (manifest("p", vec![hook(vec![Input::Path; MAX_INPUTS + 1])]), "17 inputs"),
            (manifest("p", vec![hook(vec![Input::Other("claim:sub".into())])]), "no input \"claim:sub\""),
        ] {
            let (reason, detail) = describe(&wrong, "").expect_err("refused");
            assert_eq!(reason, RefusalReason::Manifest);
            assert!(detail.contains(says), "{detail}");
        }
    }
}
