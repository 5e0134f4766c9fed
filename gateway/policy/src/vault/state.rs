//! What is in use, was before, and is on its way, of each plugin.
//!
//! The format is versioned. A field may be added with a default, and is lost when an older gateway saves;
//! anything else takes a new version.

use std::{collections::BTreeMap, path::Path};

use serde::{Deserialize, Serialize};

use super::{VaultError, files};

/// Events kept of one plugin.
pub const MAX_HISTORY: usize = 100;
/// Characters kept of an event's reason and outcome each.
const MAX_TEXT: usize = 2_000;
/// Bytes of the file.
const MAX_STATE_BYTES: u64 = 64 << 20;
const VERSION: u64 = 1;
const FILE: &str = "state.json";

/// Everything that lasts about plugins.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct State {
    /// By their name in the configuration.
    pub plugins: BTreeMap<String, PluginRecord>,
}

impl State {
    /// The digests of every version that may be used again: what [`super::Vault::collect`] must keep.
    #[must_use]
    pub fn digests(&self) -> std::collections::BTreeSet<String> {
        let versions = self.plugins.values().flat_map(|plugin| {
            let candidate = plugin.candidate.as_ref().map(|candidate| &candidate.version);
            [plugin.active.as_ref(), plugin.previous.as_ref(), candidate]
        });
        versions.flatten().map(|version| version.digest.clone()).collect()
    }
}

/// One plugin.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct PluginRecord {
    /// In use.
    pub active: Option<VersionRecord>,
    /// In use before it.
    pub previous: Option<VersionRecord>,
    /// On its way into use.
    pub candidate: Option<CandidateRecord>,
    /// The digest of the folder's file that was last taken or refused, so that the same file does not
    /// undo what the admin API did.
    pub seen_file: Option<String>,
    /// The highest semantic version that was ever active: an older one must be forced.
    pub highest_version: Option<String>,
    /// What happened, the newest last, at most [`MAX_HISTORY`].
    pub history: Vec<Event>,
}

impl PluginRecord {
    /// Adds an event, and forgets the oldest beyond [`MAX_HISTORY`]. Long texts are cut.
    pub fn note(&mut self, mut event: Event) {
        event.outcome = cut(event.outcome);
        event.reason = event.reason.map(cut);
        self.history.push(event);
        let excess = self.history.len().saturating_sub(MAX_HISTORY);
        self.history.drain(..excess);
    }
}

fn cut(mut text: String) -> String {
    if let Some((end, _)) = text.char_indices().nth(MAX_TEXT) {
        text.truncate(end);
        text.push('…');
    }
    text
}

/// One version of a plugin.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VersionRecord {
    /// The SHA-256 of its bytes.
    pub digest: String,
    /// The configuration it came with; `None`: that of the file.
    pub config: Option<serde_json::Value>,
    /// The name it says it has.
    pub name: String,
    /// The version it says it is.
    pub version: String,
    /// The signature it came with.
    pub signature: Option<String>,
}

/// A version on its way into use.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CandidateRecord {
    /// The version.
    pub version: VersionRecord,
    /// How far it is.
    pub stage: Stage,
}

/// How far a candidate is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// Loaded and checked.
    Staged,
    /// Asked beside the active one.
    Shadow,
    /// Answering for a share of the tenants.
    Canary {
        /// The share, 1 to 99.
        percent: u8,
    },
}

/// Something that happened to a plugin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When, as [`super::rfc3339`] writes it.
    pub at: String,
    /// What.
    pub action: Action,
    /// The version's digest.
    pub digest: String,
    /// The version it says it is.
    pub version: String,
    /// Who.
    pub actor: String,
    /// Why, where somebody said so.
    pub reason: Option<String>,
    /// How it ended.
    pub outcome: String,
}

/// What can happen to a plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// A candidate came.
    Stage,
    /// It was asked beside the active one.
    Shadow,
    /// It answered for a share of the tenants.
    Canary,
    /// It became active.
    Promote,
    /// The version before was asked for.
    Rollback,
    /// The version before was taken, because this one misbehaved.
    FallBack,
    /// The folder's file became active.
    Load,
    /// A version was not accepted.
    Refuse,
}

impl Action {
    /// The name used in `state.json`, in the log and by the admin API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stage => "stage",
            Self::Shadow => "shadow",
            Self::Canary => "canary",
            Self::Promote => "promote",
            Self::Rollback => "rollback",
            Self::FallBack => "fall-back",
            Self::Load => "load",
            Self::Refuse => "refuse",
        }
    }
}

/// The file.
#[derive(Serialize)]
struct Stored<'s> {
    version: u64,
    #[serde(flatten)]
    state: &'s State,
}

/// What is read of the file before anything else.
#[derive(Deserialize)]
struct Head {
    version: u64,
}

pub(super) fn load(dir: &Path) -> Result<State, VaultError> {
    let path = dir.join(FILE);
    let Some(bytes) = files::read(&path, "state.json", MAX_STATE_BYTES)? else { return Ok(State::default()) };
    let damaged = |error: serde_json::Error| VaultError::State { path: path.clone(), reason: error.to_string() };
    let head: Head = serde_json::from_slice(&bytes).map_err(damaged)?;
    if head.version != VERSION {
        return Err(VaultError::StateVersion { path, version: head.version });
    }
    serde_json::from_slice(&bytes).map_err(damaged)
}

pub(super) fn save(dir: &Path, state: &State) -> Result<(), VaultError> {
    let path = dir.join(FILE);
    let unwritable = |error: serde_json::Error| VaultError::State { path: path.clone(), reason: error.to_string() };
    let text = serde_json::to_vec_pretty(&Stored { version: VERSION, state }).map_err(unwritable)?;
    // What could not be loaded again must not be saved.
    if text.len() as u64 > MAX_STATE_BYTES {
        return Err(VaultError::TooLarge { what: "state.json", bytes: text.len() as u64, most: MAX_STATE_BYTES });
    }
    files::replace(&path, &[&text])
}
