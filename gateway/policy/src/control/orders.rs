//! What operators order: stage, shadow, canary, promote, roll back.

use std::{
    sync::{Arc, atomic::Ordering},
    time::SystemTime,
};

use bytes::Bytes;
use tidegate_types::{route::RouteSource, settings::Moves};

use super::{
    Control,
    arrive::{Arrival, MAX_FILE_BYTES, moves, older},
    book::{Book, Candidate, Loaded, Plugin},
    refused::{ControlError, ControlErrorKind},
    report::PluginReport,
};
use crate::{
    error::{Refusal, RefusalReason},
    guard::Placement,
    metrics::LoadOutcome,
    shadow::Shadow,
    vault::{Action, CandidateRecord, Event, PluginRecord, Stage, rfc3339},
};

/// A version brought by an operator.
#[derive(Debug, Clone)]
pub struct Upload {
    /// Its bytes.
    pub wasm: Bytes,
    /// Its configuration; `None`: that of the file.
    pub config: Option<serde_json::Value>,
    /// Its signature.
    pub signature: Option<String>,
    /// Whether it may be older than what was in use before.
    pub age: Age,
}

/// Whether a version may be older than what was in use before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Age {
    /// It must not be.
    NotOlder,
    /// It may be.
    Any,
}

/// Who orders something, and why.
#[derive(Debug, Clone)]
pub struct Order {
    /// Who.
    pub actor: String,
    /// Why.
    pub reason: Option<String>,
    /// Whether keys may be looked for elsewhere from now on. Needs a reason.
    pub moves: Moves,
}

type Done = Result<PluginReport, ControlError>;

impl Control {
    /// Loads a version as the plugin's candidate.
    pub async fn stage(&self, plugin: &str, upload: Upload, order: &Order) -> Done {
        let _turn = self.turn.lock().await;
        if upload.wasm.len() as u64 > MAX_FILE_BYTES {
            let message = format!("the file has {} bytes, the most is {MAX_FILE_BYTES}", upload.wasm.len());
            return Err(ControlError::new(ControlErrorKind::Invalid, message, "Strip it, or build it for size."));
        }
        let arrival = {
            let book = self.book.lock();
            let (name, known) =
                book.plugins.get_key_value(plugin).ok_or_else(|| ControlError::unknown(plugin, &book))?;
            let newest = self.state.lock().plugins.get(plugin).and_then(|record| record.highest_version.clone());
            Arrival {
                plugin: name.clone(),
                hooks: known.hooks.clone(),
                origin: format!("the upload for {plugin}"),
                wasm: Arc::from(&*upload.wasm),
                config: upload.config,
                signature: upload.signature,
                at_least: newest.filter(|_| upload.age == Age::NotOlder),
            }
        };
        let wasm = arrival.wasm.clone();
        let loaded = match self.load(arrival, self.environment.load_full()).await {
            Ok(loaded) => loaded,
            Err(refusal) => return Err(self.refuse(plugin, refusal, order)),
        };
        self.keep(wasm).await?;
        let mut book = self.book.lock();
        self.note(plugin, Action::Stage, &loaded, order, "staged");
        let Some(known) = book.plugins.get_mut(plugin) else { return Err(ControlError::unknown(plugin, &book)) };
        known.candidate = Some(Candidate { loaded, stage: Stage::Staged, shadows: Vec::new(), marks: Vec::new() });
        known.refused = None;
        // A candidate that was at work before is not any more.
        self.publish(&mut book);
        self.save(&book)?;
        self.report(&book, plugin).ok_or_else(|| ControlError::unknown(plugin, &book))
    }

    /// Asks the candidate what the version in use is asked, off the response path.
    pub async fn shadow(&self, plugin: &str, order: &Order) -> Done {
        let _turn = self.turn.lock().await;
        let tenants = self.environment.load().tenants.clone();
        self.advance(plugin, Action::Shadow, order, "in shadow", |known, candidate| {
            let pairs = candidate.loaded.versions.iter().zip(&known.versions);
            let start = |(version, active): (&Arc<_>, &Arc<_>)| {
                Shadow::start(Arc::clone(version), Arc::clone(active), tenants.clone(), &self.metrics).map(Arc::new)
            };
            candidate.shadows =
                pairs.map(start).collect::<Result<_, _>>().map_err(|error| ControlError::disk(&error))?;
            candidate.marks.clear();
            candidate.stage = Stage::Shadow;
            Ok(())
        })
    }

    /// Lets the candidate answer for a share of the tenants.
    pub async fn canary(&self, plugin: &str, percent: u8, order: &Order) -> Done {
        let _turn = self.turn.lock().await;
        if !(1..=99).contains(&percent) {
            let message = format!("a canary's share is 1 to 99 percent, not {percent}");
            return Err(ControlError::new(ControlErrorKind::Invalid, message, "For everybody, promote it."));
        }
        self.guarded(plugin, order).await?;
        self.advance(
            plugin,
            Action::Canary,
            order,
            &format!("answers for {percent} % of the tenants"),
            |known, candidate| {
                candidate.marks = candidate.loaded.marks().into_iter().zip(known.marks()).collect();
                candidate.shadows.clear();
                candidate.stage = Stage::Canary { percent };
                Ok(())
            },
        )
    }

    /// Takes the candidate into use.
    pub async fn promote(&self, plugin: &str, order: &Order) -> Done {
        let _turn = self.turn.lock().await;
        let moved = self.guarded(plugin, order).await?;
        let report = {
            let mut book = self.book.lock();
            let Some(known) = book.plugins.get_mut(plugin) else { return Err(ControlError::unknown(plugin, &book)) };
            let Some(candidate) = known.candidate.take() else { return Err(ControlError::nothing_staged(plugin)) };
            self.note(plugin, Action::Promote, &candidate.loaded, order, "in use");
            self.activate(&mut book, plugin, candidate.loaded);
            self.metrics.loaded(LoadOutcome::Active);
            self.save(&book)?;
            self.report(&book, plugin).ok_or_else(|| ControlError::unknown(plugin, &book))
        };
        if !moved.is_empty() {
            // After the swap: nothing the version before routed is served from now on.
            self.probe.moved(&moved);
        }
        report
    }

    /// Takes back the candidate if it is at work, else goes back to the version before.
    pub async fn rollback(&self, plugin: &str, order: &Order) -> Done {
        let _turn = self.turn.lock().await;
        let mut book = self.book.lock();
        let Some(known) = book.plugins.get_mut(plugin) else { return Err(ControlError::unknown(plugin, &book)) };
        match (&mut known.candidate, &known.previous) {
            (Some(candidate), _) if candidate.stage != Stage::Staged => {
                candidate.stage = Stage::Staged;
                candidate.shadows.clear();
                candidate.marks.clear();
                self.note(plugin, Action::Rollback, &candidate.loaded, order, "the candidate is at rest again");
                self.publish(&mut book);
            }
            (_, Some(previous)) => {
                let previous = previous.clone();
                self.note(plugin, Action::Rollback, &previous, order, "in use again");
                self.activate(&mut book, plugin, previous);
            }
            (_, None) => {
                let hint = "Stage the version you want and promote it.";
                let message = format!("{plugin} has no version before the one in use");
                return Err(ControlError::new(ControlErrorKind::NothingBefore, message, hint));
            }
        }
        self.save(&book)?;
        self.report(&book, plugin).ok_or_else(|| ControlError::unknown(plugin, &book))
    }

    /// Puts a version into use. The one before stays warm. A candidate goes back to rest: it was compared
    /// with another version.
    pub fn activate(&self, book: &mut Book, plugin: &str, loaded: Loaded) {
        let since = book.number + 1;
        if let Some(known) = book.plugins.get_mut(plugin) {
            log_active(known, &loaded, since);
            for version in &loaded.versions {
                let hits = self.metrics.decisions(version.hook, RouteSource::Memo).get();
                version.stats.memo_hits_before.store(hits, Ordering::Relaxed);
            }
            let previous = std::mem::replace(&mut known.active, loaded);
            known.watched = Some(known.active.marks());
            known.previous = Some(previous);
            known.since = since;
            known.refused = None;
            if let Some(candidate) = &mut known.candidate {
                candidate.stage = Stage::Staged;
                candidate.shadows.clear();
                candidate.marks.clear();
            }
        }
        self.publish(book);
    }

    /// Changes the candidate's stage.
    fn advance(
        &self,
        plugin: &str,
        action: Action,
        order: &Order,
        outcome: &str,
        change: impl FnOnce(&Loaded, &mut Candidate) -> Result<(), ControlError>,
    ) -> Done {
        let mut book = self.book.lock();
        let Some(known) = book.plugins.get_mut(plugin) else { return Err(ControlError::unknown(plugin, &book)) };
        let Plugin { active, candidate, .. } = known;
        let Some(candidate) = candidate else { return Err(ControlError::nothing_staged(plugin)) };
        change(active, candidate)?;
        self.note(plugin, action, &candidate.loaded, order, outcome);
        self.publish(&mut book);
        self.save(&book)?;
        self.report(&book, plugin).ok_or_else(|| ControlError::unknown(plugin, &book))
    }

    /// Refuses a candidate that would look for existing keys elsewhere; with moves allowed, says whose.
    async fn guarded(
        &self,
        plugin: &str,
        order: &Order,
    ) -> Result<Vec<tidegate_types::collection::CollectionId>, ControlError> {
        let (loaded, hooks) = {
            let book = self.book.lock();
            let known = book.plugins.get(plugin).ok_or_else(|| ControlError::unknown(plugin, &book))?;
            let candidate = known.candidate.as_ref().ok_or_else(|| ControlError::nothing_staged(plugin))?;
            (candidate.loaded.clone(), known.hooks.clone())
        };
        if order.moves == Moves::Allowed && order.reason.is_none() {
            let message = "allow_moves needs a reason";
            return Err(ControlError::new(
                ControlErrorKind::Invalid,
                message,
                "Say in `reason` who moved the rows, and how.",
            ));
        }
        match self.placed(&loaded, self.current.load_full()).await {
            Placement::Kept { checked: 0 } if loaded.version(crate::hook::Hook::Route).is_some() => {
                tracing::warn!(plugin, "no existing keys to check: whether the new version moves rows is unknown");
                Ok(Vec::new())
            }
            Placement::Kept { .. } => Ok(Vec::new()),
            Placement::Moved { detail, collections } => {
                if order.moves == Moves::Allowed || moves(&hooks) == Moves::Allowed {
                    let (actor, reason) = (order.actor.as_str(), order.reason.as_deref().unwrap_or(""));
                    tracing::warn!(target: "audit", plugin, actor, reason, detail, "rows are looked for elsewhere from now on");
                    return Ok(collections);
                }
                let refusal = Refusal {
                    origin: format!("the candidate of {plugin}"),
                    digest: loaded.record.digest.clone(),
                    reason: RefusalReason::Placement,
                    detail,
                };
                Err(self.refuse(plugin, refusal, order))
            }
        }
    }

    /// Notes a refusal.
    fn refuse(&self, plugin: &str, refusal: Refusal, order: &Order) -> ControlError {
        let mut book = self.book.lock();
        self.note_refusal(&mut book, plugin, &refusal, &order.actor);
        if let Err(error) = self.save(&book) {
            tracing::error!(%error, "the refusal is not on disk");
        }
        refusal.into()
    }

    /// Notes a refusal, for reports, the log and the history.
    pub fn note_refusal(&self, book: &mut Book, plugin: &str, refusal: &Refusal, actor: &str) {
        tracing::error!(
            plugin,
            origin = refusal.origin,
            digest = refusal.digest,
            reason = refusal.reason.as_str(),
            detail = refusal.detail,
            advice = refusal.reason.advice(),
            generation_in_use = book.number,
            "policy version refused, the one in use stays"
        );
        if let Some(known) = book.plugins.get_mut(plugin) {
            known.refused = Some((refusal.to_string(), refusal.digest.clone()));
        }
        self.metrics.loaded(LoadOutcome::Refused(refusal.reason));
        self.history(plugin, |_| Event {
            at: rfc3339(SystemTime::now()),
            action: Action::Refuse,
            digest: refusal.digest.clone(),
            version: String::new(),
            actor: actor.to_owned(),
            reason: None,
            outcome: format!("{}: {}", refusal.reason.as_str(), refusal.detail),
        });
    }

    /// Notes what was done with a version, in the history and for the audit.
    pub fn note(&self, plugin: &str, action: Action, loaded: &Loaded, order: &Order, outcome: &str) {
        let record = &loaded.record;
        let (actor, reason) = (order.actor.as_str(), order.reason.as_deref().unwrap_or(""));
        let (digest, version) = (record.digest.as_str(), record.version.as_str());
        tracing::info!(target: "audit", plugin, ?action, actor, reason, digest, version, outcome, "policy order");
        self.history(plugin, |_| Event {
            at: rfc3339(SystemTime::now()),
            action,
            digest: record.digest.clone(),
            version: record.version.clone(),
            actor: order.actor.clone(),
            reason: order.reason.clone(),
            outcome: outcome.to_owned(),
        });
    }

    fn history(&self, plugin: &str, event: impl FnOnce(&PluginRecord) -> Event) {
        let mut state = self.state.lock();
        let record = state.plugins.entry(plugin.to_owned()).or_default();
        let event = event(record);
        record.note(event);
    }

    async fn keep(&self, wasm: Arc<[u8]>) -> Result<(), ControlError> {
        let Some(vault) = self.vault.clone() else {
            let message = "versions sent to the admin API cannot be kept";
            return Err(ControlError::new(
                ControlErrorKind::Disk,
                message,
                "Set [policies] state to a folder the gateway can write to.",
            ));
        };
        match tokio::task::spawn_blocking(move || vault.put(&wasm)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(ControlError::disk(&error)),
            Err(error) => Err(ControlError::disk(&error)),
        }
    }

    /// Writes down what the book says.
    pub fn save(&self, book: &Book) -> Result<(), ControlError> {
        let mut state = self.state.lock();
        for (name, plugin) in &book.plugins {
            let record = state.plugins.entry(name.to_string()).or_default();
            record.active = Some(plugin.active.record.clone());
            record.previous = plugin.previous.as_ref().map(|loaded| loaded.record.clone());
            let candidate = plugin.candidate.as_ref();
            record.candidate = candidate
                .map(|candidate| CandidateRecord { version: candidate.loaded.record.clone(), stage: candidate.stage });
            let version = &plugin.active.record.version;
            let higher = record.highest_version.as_ref().is_none_or(|highest| older(highest, version));
            if higher && semver::Version::parse(version).is_ok() {
                record.highest_version = Some(version.clone());
            }
        }
        let Some(vault) = &self.vault else { return Ok(()) };
        vault.save(&state).map_err(|error| ControlError::disk(&error))?;
        if let Err(error) = vault.collect(&state.digests()) {
            tracing::warn!(%error, "versions that nothing refers to stay on disk");
        }
        Ok(())
    }
}

/// Says that a version is in use.
pub fn log_active(plugin: &Plugin, loaded: &Loaded, generation: u64) {
    let (name, record) = (&*plugin.name, &loaded.record);
    tracing::info!(
        plugin = name,
        generation,
        title = record.name,
        version = record.version,
        digest = record.digest,
        "policy active"
    );
}
