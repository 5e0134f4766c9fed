//! Versions that misbehave are taken out of use.

use std::{sync::Arc, time::Duration};

use tidegate_types::settings::{FallBackSettings, Moves};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::{
    Control,
    book::{Book, Plugin},
    orders::Order,
};
use crate::{
    hook::Hook,
    stats::{Mark, Window},
    vault::{Action, Stage, State},
};

/// How often misbehaviour is looked for.
pub const SUPERVISE_EVERY: Duration = Duration::from_millis(250);
/// How long a version's counts are added up before they are judged anew.
const WINDOW: Duration = Duration::from_secs(30);

impl Control {
    /// Takes versions out of use that misbehave, until `shutdown`.
    pub async fn supervise(&self, shutdown: CancellationToken) {
        let mut ticks = interval(SUPERVISE_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut window = Instant::now();
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                _ = ticks.tick() => {}
            }
            let renew = window.elapsed() >= WINDOW;
            if renew {
                window = Instant::now();
            }
            self.judge(renew).await;
        }
    }

    /// Looks at every canary and at every version that could be gone back from.
    pub async fn judge(&self, renew: bool) {
        let bounds = self.settings.load().fall_back;
        let suspicion = |book: &Book| {
            book.plugins
                .values()
                .any(|plugin| canary_fault(plugin, &bounds).or(active_fault(plugin, &bounds)).is_some())
        };
        if suspicion(&self.book.lock()) {
            let _turn = self.turn.lock().await;
            let state = self.fall_back(&bounds);
            if let Err(error) = self.save(state).await {
                tracing::error!(%error, "the fall back is not on disk");
            }
        } else if renew {
            let mut book = self.book.lock();
            for plugin in book.plugins.values_mut() {
                plugin.watched = plugin.previous.as_ref().map(|_| plugin.active.marks());
                if let Some(candidate) = &mut plugin.candidate {
                    candidate.marks = candidate.loaded.marks().into_iter().zip(plugin.active.marks()).collect();
                }
            }
        }
    }

    fn fall_back(&self, bounds: &FallBackSettings) -> State {
        let mut book = self.book.lock();
        let names: Vec<Arc<str>> = book.plugins.keys().cloned().collect();
        for name in names {
            let Some(plugin) = book.plugins.get_mut(&name) else { continue };
            if let Some(fault) = canary_fault(plugin, bounds) {
                let Some(candidate) = &mut plugin.candidate else { continue };
                candidate.rest();
                let loaded = candidate.loaded.clone();
                self.note(&name, Action::FallBack, &loaded, &by_itself(&fault), "the canary is at rest again");
                self.announce(&name, &fault, "canary");
                self.publish(&mut book);
            } else if let Some(fault) = active_fault(plugin, bounds) {
                let Some(previous) = plugin.previous.take() else { continue };
                self.note(&name, Action::FallBack, &previous, &by_itself(&fault), "the version before is in use again");
                self.announce(&name, &fault, "active");
                // It was the one in use, and what came after it moved no rows.
                self.activate(&mut book, &name, previous, &[]);
                if let Some(plugin) = book.plugins.get_mut(&name) {
                    // Not back to what just failed.
                    plugin.previous = None;
                    plugin.watched = None;
                }
            }
        }
        self.noted(&book)
    }

    fn announce(&self, plugin: &str, fault: &str, stage: &str) {
        self.metrics.fell_back();
        tracing::error!(plugin, stage, fault, "policy version taken out of use by itself");
    }
}

/// What the gateway orders itself.
pub fn by_itself(fault: &str) -> Order {
    Order { actor: "the gateway".into(), reason: Some(fault.to_owned()), moves: Moves::Refused }
}

/// What a canary did wrong, compared with the version in use on the same traffic.
fn canary_fault(plugin: &Plugin, bounds: &FallBackSettings) -> Option<String> {
    let candidate = plugin.candidate.as_ref().filter(|candidate| matches!(candidate.stage, Stage::Canary { .. }))?;
    let versions = candidate.loaded.versions.iter().zip(&plugin.active.versions).zip(&candidate.marks);
    versions.into_iter().find_map(|((version, active), (mark, active_mark))| {
        fault(version.hook, version.stats.since(mark), active.stats.since(active_mark), bounds)
    })
}

/// What the version in use did wrong, compared with the one before it.
fn active_fault(plugin: &Plugin, bounds: &FallBackSettings) -> Option<String> {
    let previous = plugin.previous.as_ref()?;
    let versions = plugin.active.versions.iter().zip(&previous.versions).zip(plugin.watched.as_ref()?);
    versions.into_iter().find_map(|((version, previous), mark)| {
        fault(version.hook, version.stats.since(mark), previous.stats.since(&Mark::default()), bounds)
    })
}

fn rate(window: Window) -> f64 {
    if window.calls == 0 { 0.0 } else { window.failed as f64 / window.calls as f64 }
}

/// What is wrong with a version's window, seen beside the other version's. Failures count when there are more
/// than the bound and clearly more than the other has: otherwise anyone could undo a promotion by sending requests
/// that every version refuses. Slowness counts likewise, and after ten times as many calls: of a few calls the
/// 99th percentile is the slowest one, and a machine that stalls is no fault of a policy.
fn fault(hook: Hook, window: Window, other: Window, bounds: &FallBackSettings) -> Option<String> {
    if window.calls < bounds.min_calls {
        return None;
    }
    let (calls, hook) = (window.calls, hook.as_str());
    let failed = rate(window);
    if failed > bounds.max_error_rate.max(rate(other) * 2.0) {
        let (percent, bound) = (failed * 100.0, bounds.max_error_rate * 100.0);
        return Some(format!("{hook}: {percent:.1} % of {calls} calls failed, allowed are {bound:.1} %"));
    }
    let allowed = bounds.max_p99.max(other.p99.unwrap_or_default() * 2);
    match window.p99 {
        Some(p99) if calls >= bounds.min_calls.saturating_mul(10) && p99 > allowed => {
            Some(format!("{hook}: the 99th percentile of {calls} calls is {p99:?}, allowed is {allowed:?}"))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(calls: u64, failed: u64, p99_us: u64) -> Window {
        Window { calls, failed, p99: Some(Duration::from_micros(p99_us)) }
    }

    fn judged(window: Window, other: Window) -> Option<String> {
        fault(Hook::Route, window, other, &FallBackSettings::default())
    }

    #[test]
    fn failures_count_beyond_the_bound_and_beyond_the_other_version() {
        let fine = window(1000, 0, 2);
        assert_eq!(judged(window(19, 19, 2), fine), None, "too few calls to tell");
        assert_eq!(judged(window(100, 5, 2), fine), None);
        assert!(judged(window(100, 6, 2), fine).is_some_and(|says| says.contains("6.0 % of 100 calls failed")));
        assert_eq!(judged(window(100, 60, 2), window(100, 40, 2)), None, "the other fails on this traffic too");
    }

    #[test]
    fn one_slow_call_of_a_few_takes_nothing_back() {
        let fine = window(1000, 0, 2);
        assert_eq!(judged(window(55, 0, 5240), fine), None, "the slowest of 55 calls is no percentile");
        assert!(judged(window(200, 0, 5240), fine).is_some_and(|says| says.contains("of 200 calls is 5.24ms")));
        assert_eq!(judged(window(200, 0, 5240), window(1000, 0, 3000)), None, "the machine is slow, not the version");
    }
}
