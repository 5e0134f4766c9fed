//! What operators order: stage, shadow, canary, promote, roll back.

use std::{
    sync::{Arc, atomic::Ordering},
    time::SystemTime,
};

use bytes::Bytes;
use tidegate_types::{collection::CollectionId, route::RouteSource, settings::Moves};

use super::{
    Control,
    arrive::{Arrival, MAX_FILE_BYTES, moves},
    book::{Book, Candidate, Loaded, Plugin},
    refused::{ControlError, ControlErrorKind},
    report::PluginReport,
};
use crate::{
    error::Refusal,
    guard::Stillness,
    metrics::LoadOutcome,
    shadow::Shadow,
    vault::{Action, Event, Stage, rfc3339},
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
    /// Whether keys may be looked for elsewhere from now on. Of a promotion only, and needs a reason.
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
                wasm: upload.wasm,
                config: upload.config,
                signature: upload.signature,
                at_least: newest.filter(|_| upload.age == Age::NotOlder),
            }
        };
        let wasm = arrival.wasm.clone();
        let loaded = match self.load(arrival, self.environment.load_full()).await {
            Ok(loaded) => loaded,
            Err(refusal) => return Err(self.refuse(plugin, refusal, order).await),
        };
        self.keep(wasm).await?;
        self.change(plugin, |book| {
            let Some(known) = book.plugins.get_mut(plugin) else { return Err(ControlError::unknown(plugin, book)) };
            self.note(plugin, Action::Stage, &loaded, order, "staged");
            known.candidate = Some(Candidate::at_rest(loaded));
            known.refused = None;
            // A candidate that was at work before is not any more.
            self.publish(book);
            Ok(())
        })
        .await
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
        .await
    }

    /// Lets the candidate answer for a share of the tenants. Never with moves, whatever is allowed: rows
    /// that one tenant shares with another would be looked for in two places.
    pub async fn canary(&self, plugin: &str, percent: u8, order: &Order) -> Done {
        let _turn = self.turn.lock().await;
        let invalid = |message: String, hint| Err(ControlError::new(ControlErrorKind::Invalid, message, hint));
        if !(1..=99).contains(&percent) {
            return invalid(
                format!("a canary's share is 1 to 99 percent, not {percent}"),
                "For everybody, promote it.",
            );
        }
        if order.moves == Moves::Allowed {
            let hint = "Watch it in shadow, then promote it with allow_moves.";
            return invalid("a canary may not move rows: some tenants would see them, others not".into(), hint);
        }
        self.guarded(plugin, |_| Moves::Refused, order).await?;
        let outcome = format!("answers for {percent} % of the tenants");
        self.advance(plugin, Action::Canary, order, &outcome, |known, candidate| {
            candidate.marks = candidate.loaded.marks().into_iter().zip(known.marks()).collect();
            candidate.shadows.clear();
            candidate.stage = Stage::Canary { percent };
            Ok(())
        })
        .await
    }

    /// Takes the candidate into use.
    pub async fn promote(&self, plugin: &str, order: &Order) -> Done {
        let _turn = self.turn.lock().await;
        if order.moves == Moves::Allowed && order.reason.is_none() {
            let hint = "Say in `reason` who moved the rows, and how.";
            return Err(ControlError::new(ControlErrorKind::Invalid, "allow_moves needs a reason", hint));
        }
        let allowed = |plugin: &Plugin| if order.moves == Moves::Allowed { order.moves } else { moves(&plugin.hooks) };
        let (moved, _still) = self.guarded(plugin, allowed, order).await?;
        self.change(plugin, |book| {
            let Some(known) = book.plugins.get_mut(plugin) else { return Err(ControlError::unknown(plugin, book)) };
            let Some(candidate) = known.candidate.take() else { return Err(ControlError::nothing_staged(plugin)) };
            let outcome = if moved.is_empty() { "in use" } else { "in use, and rows are looked for elsewhere" };
            self.note(plugin, Action::Promote, &candidate.loaded, order, outcome);
            self.activate(book, plugin, candidate.loaded, &moved);
            self.metrics.loaded(LoadOutcome::Active);
            Ok(())
        })
        .await
    }

    /// Takes back the candidate if it is at work, else goes back to the version before.
    pub async fn rollback(&self, plugin: &str, order: &Order) -> Done {
        let _turn = self.turn.lock().await;
        self.change(plugin, |book| {
            let Some(known) = book.plugins.get_mut(plugin) else { return Err(ControlError::unknown(plugin, book)) };
            match (&mut known.candidate, &known.previous) {
                (Some(candidate), _) if candidate.stage != Stage::Staged => {
                    candidate.rest();
                    self.note(plugin, Action::Rollback, &candidate.loaded, order, "the candidate is at rest again");
                    self.publish(book);
                    Ok(())
                }
                (_, Some(previous)) => {
                    let previous = previous.clone();
                    self.note(plugin, Action::Rollback, &previous, order, "in use again");
                    // It was the one in use, and what came after it moved no rows.
                    self.activate(book, plugin, previous, &[]);
                    Ok(())
                }
                (_, None) => {
                    let hint = "Stage the version you want and promote it; where it looks for rows elsewhere, move \
                                them back first and promote it with allow_moves.";
                    let message = format!("{plugin} has no version before the one in use to go back to");
                    Err(ControlError::new(ControlErrorKind::NothingBefore, message, hint))
                }
            }
        })
        .await
    }

    /// Puts a version into use. The one before stays warm, unless rows of `moved` are looked for elsewhere
    /// from now on: going back to it would split them. A candidate goes back to rest: it was compared with
    /// another version.
    pub fn activate(&self, book: &mut Book, plugin: &str, loaded: Loaded, moved: &[CollectionId]) {
        let since = book.number + 1;
        if let Some(known) = book.plugins.get_mut(plugin) {
            log_active(known, &loaded, since);
            for version in &loaded.versions {
                let hits = self.metrics.decisions(version.hook, RouteSource::Memo).get();
                version.stats.memo_hits_before.store(hits, Ordering::Relaxed);
            }
            let previous = std::mem::replace(&mut known.active, loaded);
            known.previous = moved.is_empty().then_some(previous);
            known.watched = known.previous.as_ref().map(|_| known.active.marks());
            known.since = since;
            known.refused = None;
            if let Some(candidate) = &mut known.candidate {
                candidate.rest();
            }
        }
        self.publish(book);
        self.void(moved);
    }

    /// Voids what is cached of collections whose rows are looked for elsewhere. After the swap: nothing
    /// that the version before routed is served from now on.
    pub fn void(&self, moved: &[CollectionId]) {
        if !moved.is_empty() {
            self.probe.moved(moved);
        }
    }

    /// Changes the book, and writes down what it says then.
    async fn change(&self, plugin: &str, change: impl FnOnce(&mut Book) -> Result<(), ControlError>) -> Done {
        let (report, state) = {
            let mut book = self.book.lock();
            change(&mut book)?;
            (self.report(&book, plugin).ok_or_else(|| ControlError::unknown(plugin, &book)), self.noted(&book))
        };
        self.save(state).await.map_err(|error| {
            let message = format!("it is done, but will not last through a restart: {}", error.message);
            ControlError { message, ..error }
        })?;
        report
    }

    /// Changes the candidate's stage.
    async fn advance(
        &self,
        plugin: &str,
        action: Action,
        order: &Order,
        outcome: &str,
        change: impl FnOnce(&Loaded, &mut Candidate) -> Result<(), ControlError>,
    ) -> Done {
        self.change(plugin, |book| {
            let Some(known) = book.plugins.get_mut(plugin) else { return Err(ControlError::unknown(plugin, book)) };
            let Plugin { active, candidate, .. } = known;
            let Some(candidate) = candidate else { return Err(ControlError::nothing_staged(plugin)) };
            change(active, candidate)?;
            self.note(plugin, action, &candidate.loaded, order, outcome);
            self.publish(book);
            Ok(())
        })
        .await
    }

    /// Refuses a candidate that would look for existing keys elsewhere; with moves allowed, says whose, and keeps them still.
    async fn guarded(
        &self,
        plugin: &str,
        moves: impl FnOnce(&Plugin) -> Moves,
        order: &Order,
    ) -> Result<(Vec<CollectionId>, Option<Stillness>), ControlError> {
        let (loaded, moves) = {
            let book = self.book.lock();
            let known = book.plugins.get(plugin).ok_or_else(|| ControlError::unknown(plugin, &book))?;
            let candidate = known.candidate.as_ref().ok_or_else(|| ControlError::nothing_staged(plugin))?;
            (candidate.loaded.clone(), moves(known))
        };
        let keys = self.keys(&loaded).await;
        let origin = format!("the candidate of {plugin}");
        let checked = async {
            let moved = self.keeps_rows(&loaded, &origin, moves, &keys).await?;
            let still = self.still(&origin, &loaded.record.digest, &moved).await?;
            Ok::<_, Refusal>((moved, still))
        };
        match checked.await {
            Ok(checked) => Ok(checked),
            Err(refusal) => Err(self.refuse(plugin, refusal, order).await),
        }
    }

    /// Notes a refusal.
    async fn refuse(&self, plugin: &str, refusal: Refusal, order: &Order) -> ControlError {
        self.note_and_save(plugin, &refusal, &order.actor).await;
        refusal.into()
    }

    /// Notes a refusal, on disk as well.
    pub async fn note_and_save(&self, plugin: &str, refusal: &Refusal, actor: &str) {
        let state = {
            let mut book = self.book.lock();
            self.note_refusal(&mut book, plugin, refusal, actor);
            self.noted(&book)
        };
        if let Err(error) = self.save(state).await {
            tracing::error!(%error, "the refusal is not on disk");
        }
    }

    /// Notes a refusal, for reports, the log and the history.
    fn note_refusal(&self, book: &mut Book, plugin: &str, refusal: &Refusal, actor: &str) {
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
        self.history(
            plugin,
            Event {
                at: rfc3339(SystemTime::now()),
                action: Action::Refuse,
                digest: refusal.digest.clone(),
                version: String::new(),
                actor: actor.to_owned(),
                reason: None,
                outcome: format!("{}: {}", refusal.reason.as_str(), refusal.detail),
            },
        );
    }

    /// Notes what was done with a version, in the history and for the audit.
    pub fn note(&self, plugin: &str, action: Action, loaded: &Loaded, order: &Order, outcome: &str) {
        let record = &loaded.record;
        let (actor, reason) = (order.actor.as_str(), order.reason.as_deref().unwrap_or(""));
        let (digest, version) = (record.digest.as_str(), record.version.as_str());
        tracing::info!(target: "audit", plugin, ?action, actor, reason, digest, version, outcome, "policy order");
        self.history(
            plugin,
            Event {
                at: rfc3339(SystemTime::now()),
                action,
                digest: record.digest.clone(),
                version: record.version.clone(),
                actor: order.actor.clone(),
                reason: order.reason.clone(),
                outcome: outcome.to_owned(),
            },
        );
    }

    fn history(&self, plugin: &str, event: Event) {
        self.state.lock().plugins.entry(plugin.to_owned()).or_default().note(event);
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
