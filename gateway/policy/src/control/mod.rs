//! How versions come into use and go out of it.
//!
//! # Layout
//! - `book`: what there is of each plugin, and making a [`crate::set::PolicySet`] of it
//! - `arrive`: from bytes or a file to a version that may be used; `placement`: whether it finds existing rows
//! - `start`: what is used first; `reconfigure`: what is used with another configuration
//! - `orders`: stage, shadow, canary, promote, rollback; [`refused`]: why not
//! - `follow`: files replaced; `renew`: directories changed; `supervise`: versions that misbehave
//! - `disk`: what is kept of all that
//! - [`report`]: what operators see
//!
//! # Turns
//! Everything that changes the book takes `Control::turn` first, also while it compiles for seconds; the
//! book itself is locked only to be read or written, so that reports never wait. Whoever needs the stamps of
//! the files too takes them before the turn.

pub(crate) mod arrive;
pub(crate) mod book;
mod disk;
pub(crate) mod follow;
pub(crate) mod orders;
mod placement;
mod reconfigure;
pub mod refused;
pub(crate) mod renew;
pub mod report;
pub(crate) mod start;
pub(crate) mod supervise;

use std::{collections::HashMap, sync::Arc};

use arc_swap::ArcSwap;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tidegate_types::settings::{DirectorySettings, PolicySettings};

use crate::{
    guard::PlacementProbe,
    loader::{Environment, Loader},
    metrics::Metrics,
    recent::Recent,
    recorder::Recorders,
    set::PolicySet,
    signature::TrustedKeys,
    vault::{State, Vault, VaultReader},
};

use book::Book;

/// Reads directories from where they are.
pub trait DirectorySource: Send + Sync {
    /// The table's keys and values.
    fn load<'a>(
        &'a self,
        name: &'a str,
        settings: &'a DirectorySettings,
    ) -> BoxFuture<'a, Result<HashMap<String, String>, String>>;
}

/// Everything the control of policies needs.
pub(crate) struct Control {
    /// The set in use.
    pub current: ArcSwap<PolicySet>,
    /// Held by whoever changes the book.
    pub turn: tokio::sync::Mutex<()>,
    /// What there is of each plugin.
    pub book: Mutex<Book>,
    /// What was configured.
    pub settings: ArcSwap<PolicySettings>,
    /// What versions are bound to.
    pub environment: ArcSwap<Environment>,
    /// Who may sign.
    pub trusted: ArcSwap<TrustedKeys>,
    pub loader: Arc<Loader>,
    /// `None` where nothing can be kept.
    pub vault: Option<Arc<Vault>>,
    /// Reads what was kept; `None` where nothing is looked for.
    pub kept: Option<VaultReader>,
    /// What is to be saved, or was.
    pub state: Mutex<State>,
    pub probe: Arc<dyn PlacementProbe>,
    pub directories: Arc<dyn DirectorySource>,
    pub metrics: Metrics,
    pub recent: Arc<Recent>,
    pub recorders: Recorders,
}
