//! Notices that a file was replaced.

use std::{path::Path, time::Duration};

use notify_debouncer_mini::{
    DebounceEventResult, DebouncedEventKind, Debouncer, new_debouncer,
    notify::{RecommendedWatcher, RecursiveMode},
};
use tokio::{
    sync::mpsc,
    time::{MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

use crate::plugin::{Reload, Stamp};

/// How long a folder must be quiet before it is looked at: `cp` writes in pieces.
const QUIET: Duration = Duration::from_millis(200);
/// How often the file is looked at without being told: network file systems tell nothing, and a
/// replaced folder takes its watch with it.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Calls `reload` whenever the file may have changed, until `shutdown`.
pub async fn follow<F: Future<Output = Reload>>(file: &Path, shutdown: CancellationToken, reload: impl Fn() -> F) {
    let (changed, mut changes) = mpsc::channel(1);
    // Lives as long as this call; dropping it ends its thread.
    let _watcher = watcher(file, changed);
    let mut looks = interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last_look = Stamp::of(file).ok();
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            Some(()) = changes.recv() => {}
            _ = looks.tick() => {
                // Without an event there is no telling whether a copy is complete: wait until two
                // looks agree. `reload` itself ignores what it has seen already.
                let look = Stamp::of(file).ok();
                if std::mem::replace(&mut last_look, look) != look {
                    continue;
                }
            }
        }
        reload().await;
    }
}

/// Watches the file's folder: a rename over the file replaces what a watch of the file would hold.
fn watcher(file: &Path, changed: mpsc::Sender<()>) -> Option<Debouncer<RecommendedWatcher>> {
    let folder = file.parent()?;
    let notice = move |events: DebounceEventResult| {
        // Events that go on are a copy under way; the last one comes when it is quiet.
        let settled = |events: &[notify_debouncer_mini::DebouncedEvent]| {
            events.iter().any(|event| event.kind != DebouncedEventKind::AnyContinuous)
        };
        if events.as_deref().map_or(true, settled) {
            // A full channel already says so.
            let _ = changed.try_send(());
        }
    };
    let watcher = new_debouncer(QUIET, notice).and_then(|mut watcher| {
        watcher.watcher().watch(folder, RecursiveMode::NonRecursive)?;
        Ok(watcher)
    });
    watcher
        .inspect_err(|error| {
            let (folder, seconds) = (folder.display(), LOOK_EVERY.as_secs());
            tracing::warn!(%folder, %error, "cannot watch the policy folder: it is looked at every {seconds} s");
        })
        .ok()
}
