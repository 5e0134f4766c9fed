use std::path::Path;

use serde_json::json;

use super::*;

fn environment() -> Environment {
    let topology = Arc::new(Topology::new(["a", "b"].map(Arc::from)));
    Environment { tenants: Arc::new(Tenants::none(&topology)), topology, directories: Arc::default() }
}

/// A loader on an engine of its own: a test may turn its clock, and it is one without a pool.
fn loader() -> Loader {
    let engine = engine::build(engine::Allocation::OnDemand).expect("an engine");
    Loader::on(engine, 16 << 20, Duration::from_millis(100), CustomCounters::default(), None)
}

/// The bytes of a built guest.
pub(crate) fn guest(name: &str) -> Vec<u8> {
    let dist = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins/dist");
    std::fs::read(dist.join(format!("{name}.wasm"))).expect("built")
}

/// What instances of a built guest are made of.
pub(crate) fn blueprint_of(name: &str) -> Blueprint {
    let loader = loader();
    let compiled = loader.compile(&guest(name)).expect("compiled");
    loader.blueprint(&"router".into(), &compiled, &json!({}), &Grant::USUAL, &environment()).expect("a blueprint")
}

/// A version of a built guest for one hook.
pub(crate) fn version_of(name: &str, hook: Hook, config: serde_json::Value) -> Version {
    let loader = loader();
    let compiled = loader.compile(&guest(name)).expect("compiled");
    let of = Use { hook, config: Arc::new(config), ..route() };
    loader.versions(&"router".into(), &compiled, &[of], &environment()).expect("it runs").remove(0)
}

fn route() -> Use {
    Use { hook: Hook::Route, config: Arc::new(json!({})), grants: Grant::USUAL.to_vec(), isolation: None }
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
        if let Ok(compiled) = loader.compile(&bytes) {
            let _ = loader.versions(&"router".into(), &compiled, &[route()], &environment());
        }
    }
}

/// Keeps compiled code in memory and counts.
#[derive(Default)]
struct Counting(Mutex<std::collections::HashMap<String, Vec<u8>>>, AtomicU64);

impl Artifacts for Counting {
    fn get(&self, digest: &str, _: &str) -> Option<Vec<u8>> {
        self.0.lock().get(digest).cloned()
    }

    fn keep(&self, digest: &str, _: &str, code: &[u8]) {
        self.1.fetch_add(1, Ordering::Relaxed);
        self.0.lock().insert(digest.to_owned(), code.to_vec());
    }
}

#[test]
fn code_is_compiled_once_and_taken_up_again() {
    let kept = Arc::new(Counting::default());
    for _ in 0..2 {
        let engine = engine::build(engine::Allocation::OnDemand).expect("an engine");
        let timeout = Duration::from_millis(100);
        let loader = Loader::on(engine, 16 << 20, timeout, CustomCounters::default(), Some(kept.clone()));
        let compiled = loader.compile(&guest("hash-router")).expect("compiled");
        assert!(Arc::ptr_eq(&compiled, &loader.compile(&guest("hash-router")).expect("known")));
        let versions = loader.versions(&"router".into(), &compiled, &[route()], &environment());
        assert_eq!(versions.expect("it runs").len(), 1);
    }
    assert_eq!(kept.1.load(Ordering::Relaxed), 1, "the second loader found the first one's code");
}

#[test]
fn code_of_another_engine_is_made_anew() {
    let kept = Arc::new(Counting::default());
    kept.0.lock().insert(digest_of(&guest("hash-router")), b"not code".to_vec());
    let engine = engine::build(engine::Allocation::OnDemand).expect("an engine");
    let timeout = Duration::from_millis(100);
    let loader = Loader::on(engine, 16 << 20, timeout, CustomCounters::default(), Some(kept.clone()));
    loader.compile(&guest("hash-router")).expect("compiled");
    assert_eq!(kept.1.load(Ordering::Relaxed), 1);
}
