//! Who waits for the disk.

use std::{
    collections::HashMap,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use futures_util::future::BoxFuture;
use tidegate_types::{
    collection::CollectionId,
    settings::{DirectorySettings, Grant, HookSettings, Moves, RouteFallback},
};

use super::*;
use crate::{PlacedKey, control::orders::Age, loader::tests::guest};

/// Knows no rows and has no directories.
struct Nothing;

impl PlacementProbe for Nothing {
    fn sample(&self) -> BoxFuture<'_, Vec<PlacedKey>> {
        Box::pin(async { Vec::new() })
    }

    fn moved(&self, _: &[CollectionId]) {}
}

impl DirectorySource for Nothing {
    fn load<'a>(
        &'a self,
        _: &'a str,
        _: &'a DirectorySettings,
    ) -> BoxFuture<'a, Result<HashMap<String, String>, String>> {
        Box::pin(async { Ok(HashMap::new()) })
    }
}

async fn host(folder: &std::path::Path) -> PolicyHost {
    std::fs::write(folder.join("router.wasm"), guest("hash-router")).expect("written");
    let route = HookSettings {
        plugin: "router".into(),
        config: serde_json::json!({}),
        fallback: RouteFallback::Hash,
        moves: Moves::Refused,
        grants: Grant::USUAL.to_vec(),
        isolation: None,
    };
    let (dir, call_timeout) = (Some(folder.to_owned()), Duration::from_millis(250));
    let settings = PolicySettings { dir, route: Some(route), call_timeout, ..PolicySettings::default() };
    let topology = Arc::new(Topology::new(["a", "b"].map(Arc::from)));
    let (probe, registry) = (Arc::new(Nothing), &mut Registry::default());
    let (tenants, directories) = (Arc::new(Tenants::none(&topology)), probe.clone());
    let keeping = Keeping::Kept;
    let setup = Setup { settings: &settings, topology, tenants, probe, directories, keeping, registry };
    PolicyHost::start(setup).await.expect("started")
}

/// On a runtime of one thread: what blocks it, blocks everything.
#[tokio::test]
async fn while_the_disk_is_slow_requests_and_reports_go_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let host = host(folder.path()).await;
    let order = || Order { actor: "tester".into(), reason: None, moves: Moves::Refused };
    let upload = Upload { wasm: guest("hash-router").into(), config: None, signature: None, age: Age::Any };
    host.stage("router", upload, order()).await.expect("staged");

    let vault = host.control.vault.clone().expect("one");
    let ((held, holds), (go_on, told)) = (mpsc::channel(), mpsc::channel::<()>());
    let slow = thread::spawn(move || {
        let _writing = vault.alone();
        held.send(()).expect("heard");
        told.recv_timeout(Duration::from_secs(10)).is_ok()
    });
    holds.recv().expect("the disk is busy");
    let shadow = tokio::spawn({
        let host = host.clone();
        async move { host.shadow("router", order()).await }
    });
    let stage = || host.plugins().remove(0).candidate.expect("kept").stage;
    let began = Instant::now();
    while stage() != "shadow" && began.elapsed() < Duration::from_secs(20) {
        tokio::task::yield_now().await;
    }
    assert!(!shadow.is_finished(), "the order itself waits until it is kept");
    go_on.send(()).expect("the disk was still busy, and the order seen all the same");
    assert!(slow.join().expect("no panic"));
    shadow.await.expect("no panic").expect("in shadow, and kept");
}
