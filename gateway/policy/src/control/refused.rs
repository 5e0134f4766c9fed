//! Orders that are not carried out.

use super::book::Book;
use crate::error::{Refusal, RefusalReason};

/// An order that was not carried out. Nothing changed, unless it says so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ControlError {
    /// The class.
    pub kind: ControlErrorKind,
    /// What happened.
    pub message: String,
    /// What to do.
    pub hint: String,
}

/// Classes of errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ControlErrorKind {
    /// No hook is configured to use a plugin of this name.
    UnknownPlugin,
    /// There is no candidate.
    NothingStaged,
    /// There is no version to go back to.
    NothingBefore,
    /// The version cannot be used.
    Refused,
    /// It would look for existing keys elsewhere.
    Moves,
    /// It is not signed by a trusted key.
    Signature,
    /// It is older than what was in use before.
    Downgrade,
    /// The order itself is wrong.
    Invalid,
    /// It could not be kept on disk.
    Disk,
}

impl ControlError {
    pub(super) fn new(kind: ControlErrorKind, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { kind, message: message.into(), hint: hint.into() }
    }

    pub(super) fn unknown(plugin: &str, book: &Book) -> Self {
        let known: Vec<&str> = book.plugins.keys().map(|name| &**name).collect();
        let hint = match known[..] {
            [] => "Name it in [policies.HOOK] plugin first.".to_owned(),
            _ => format!("Configured are {}; a new one is named in [policies.HOOK] plugin first.", known.join(", ")),
        };
        Self::new(ControlErrorKind::UnknownPlugin, format!("no hook is configured to use a plugin {plugin}"), hint)
    }

    pub(super) fn nothing_staged(plugin: &str) -> Self {
        let hint = format!("Send one: PUT /admin/plugins/{plugin} with the .wasm as its body.");
        Self::new(ControlErrorKind::NothingStaged, format!("{plugin} has no candidate"), hint)
    }

    pub(super) fn disk(error: &impl std::fmt::Display) -> Self {
        Self::new(ControlErrorKind::Disk, error.to_string(), "Look at [policies] state (default: .state in dir).")
    }
}

impl From<Refusal> for ControlError {
    fn from(refusal: Refusal) -> Self {
        let kind = match refusal.reason {
            RefusalReason::Signature => ControlErrorKind::Signature,
            RefusalReason::Downgrade => ControlErrorKind::Downgrade,
            RefusalReason::Placement => ControlErrorKind::Moves,
            _ => ControlErrorKind::Refused,
        };
        let message = format!("{} ({}): {}", refusal.origin, refusal.reason.as_str(), refusal.detail);
        Self::new(kind, message, format!("{}.", refusal.reason.advice()))
    }
}
