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

use crate::control::follow::Reload;

/// How long a folder must be quiet before it is looked at: `cp` writes in pieces.
const QUIET: Duration = Duration::from_millis(200);
/// How often the file is looked at without being told: network file systems tell nothing, and a
/// replaced folder takes its watch with it.
pub const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Calls `reload` at first, then whenever a file of the folder may have changed, until `shutdown`. `look`
/// tells contents of the files apart without reading them.
pub async fn follow<L: PartialEq, F: Future<Output = Reload>>(
    folder: &Path,
    look: impl Fn() -> L,
    look_every: Duration,
    shutdown: CancellationToken,
    reload: impl Fn() -> F,
) {
    let (changed, mut changes) = mpsc::channel(1);
    // Lives as long as this call; dropping it ends its thread.
    let _watcher = watcher(folder, changed, look_every);
    let mut looks = interval(look_every);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last_look = look();
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            Some(()) = changes.recv() => {}
            _ = looks.tick() => {
                // Without an event there is no telling whether a copy is complete: wait until two
                // looks agree. `reload` itself ignores what it has seen already.
                let now = look();
                if now != last_look {
                    last_look = now;
                    continue;
                }
            }
        }
        reload().await;
    }
}

/// Watches the folder: a rename over a file replaces what a watch of the file would hold.
fn watcher(folder: &Path, changed: mpsc::Sender<()>, look_every: Duration) -> Option<Debouncer<RecommendedWatcher>> {
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
            let (folder, seconds) = (folder.display(), look_every.as_secs());
            tracing::warn!(%folder, %error, "cannot watch the policy folder: it is looked at every {seconds} s");
        })
        .ok()
}

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, fs, rc::Rc};

    use tokio::{sync::Notify, time::timeout};

    use super::*;
    use crate::control::follow::Stamp;

    const HOUR: Duration = Duration::from_secs(3600);

    /// Follows `file`, changes it by `change`, and waits until it is looked at with its new content.
    async fn notices(file: &Path, look_every: Duration, change: impl FnOnce()) {
        let (looked, seen) = (Rc::new(Notify::new()), Rc::new(RefCell::new(None)));
        let reload = || {
            *seen.borrow_mut() = fs::read_to_string(file).ok();
            looked.notify_one();
            async { Reload::Unchanged }
        };
        let followed = async {
            // The first look is made when the watch stands.
            looked.notified().await;
            change();
            while seen.borrow().as_deref() != Some("new") {
                looked.notified().await;
            }
        };
        let shutdown = CancellationToken::new();
        let folder = file.parent().expect("a folder");
        let follow = follow(folder, || Stamp::of(file).ok(), look_every, shutdown.clone(), reload);
        let test = async {
            timeout(Duration::from_secs(30), followed).await.expect("the change is noticed");
            shutdown.cancel();
        };
        tokio::join!(follow, test);
    }

    #[tokio::test]
    async fn events_tell_of_a_file_written_over() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("router.wasm");
        fs::write(&file, "old").expect("written");
        notices(&file, HOUR, || fs::write(&file, "new").expect("written")).await;
    }

    #[tokio::test]
    async fn events_tell_of_a_file_renamed_over() {
        let folder = tempfile::tempdir().expect("a folder");
        let (file, beside) = (folder.path().join("router.wasm"), folder.path().join("incoming"));
        fs::write(&file, "old").expect("written");
        let change = || {
            fs::write(&beside, "new").expect("written");
            fs::rename(&beside, &file).expect("renamed");
        };
        notices(&file, HOUR, change).await;
    }

    #[tokio::test]
    async fn looking_finds_what_no_event_tells_of() {
        let parent = tempfile::tempdir().expect("a folder");
        let folder = parent.path().join("policies");
        // The folder comes later: there is nothing to watch yet.
        let file = folder.join("router.wasm");
        let change = || {
            fs::create_dir(&folder).expect("created");
            fs::write(&file, "new").expect("written");
        };
        notices(&file, Duration::from_millis(20), change).await;
    }
}
