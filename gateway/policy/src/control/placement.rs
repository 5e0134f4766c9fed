//! Existing rows must be found where they are, by whichever way a version comes into use.

use std::sync::Arc;

use tidegate_types::{collection::CollectionId, settings::Moves};

use super::{Control, book::Loaded};
use crate::{
    error::{Refusal, RefusalReason},
    guard::{self, PlacedKey, Placement, Stillness},
    hook::Hook,
    recent::RecentKey,
};

/// Keys that a version is asked about.
#[derive(Clone, Default)]
pub struct Keys {
    rows: Arc<[PlacedKey]>,
    recent: Arc<[RecentKey]>,
}

impl Keys {
    /// Without the keys lately routed: these are compared with where they go now, which does not matter
    /// where rows alone are to judge.
    pub fn of_rows(&self) -> Self {
        Self { rows: self.rows.clone(), recent: Arc::default() }
    }
}

impl Control {
    /// The keys that a version has to find where they are; none for one that places no rows.
    pub async fn keys(&self, loaded: &Loaded) -> Keys {
        if loaded.version(Hook::Route).is_none() {
            return Keys::default();
        }
        let rows = self.probe.sample().await.into();
        let lately = self.recent.clone();
        // So many that copying them is worth a thread. Where that stops, the rows still judge.
        let recent = tokio::task::spawn_blocking(move || lately.keys().into()).await.unwrap_or_default();
        Keys { rows, recent }
    }

    /// Checks that a version keeps existing keys in place. Where it does not and moves are allowed, says
    /// whose keys it looks for elsewhere: what is cached of them is void from when it starts to answer, and
    /// there is no way back to the version before it but by allowing moves again.
    ///
    /// # Errors
    /// It moves keys and must not, or the check did not finish.
    pub async fn keeps_rows(
        &self,
        loaded: &Loaded,
        origin: &str,
        moves: Moves,
        keys: &Keys,
    ) -> Result<Vec<CollectionId>, Refusal> {
        let Some(version) = loaded.version(Hook::Route).cloned() else { return Ok(Vec::new()) };
        let refused = |detail: String| Refusal {
            origin: origin.to_owned(),
            digest: loaded.record.digest.clone(),
            reason: RefusalReason::Placement,
            detail,
        };
        let (Keys { rows, recent }, set) = (keys.clone(), self.current.load_full());
        let check = move || guard::replay(&rows, &recent, &set, &version);
        match tokio::task::spawn_blocking(check).await {
            Ok(Placement::Kept { checked: 0 }) => {
                tracing::warn!(origin, "no existing keys to check: whether the version moves rows is unknown");
                Ok(Vec::new())
            }
            Ok(Placement::Kept { .. }) => Ok(Vec::new()),
            Ok(Placement::Moved { detail, collections }) if moves == Moves::Allowed => {
                tracing::warn!(target: "audit", origin, detail, "rows are looked for elsewhere, as is allowed");
                Ok(collections)
            }
            Ok(Placement::Moved { detail, .. }) => Err(refused(detail)),
            // Also where moves are allowed: which they are is not known, and so not what is void.
            Err(error) => Err(refused(format!("the check did not finish: {error}"))),
        }
    }

    /// Before a version that looks for rows of these collections elsewhere starts to answer; to be held until it does.
    ///
    /// # Errors
    /// Something was acknowledged for the places where they were looked for, and is not there.
    pub async fn still(
        &self,
        origin: &str,
        digest: &str,
        moved: &[CollectionId],
    ) -> Result<Option<Stillness>, Refusal> {
        if moved.is_empty() {
            return Ok(None);
        }
        self.probe.still(moved).await.map(Some).map_err(|why| Refusal {
            origin: origin.to_owned(),
            digest: digest.to_owned(),
            reason: RefusalReason::Placement,
            detail: format!("rows would be looked for elsewhere while {why}"),
        })
    }
}
