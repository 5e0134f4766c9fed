//! What a changed file would change: for `tidegate check --diff`, and for a reload, which applies what it
//! can and names what waits for a restart.

mod leaves;
mod shown;

use std::fmt;

use tidegate_types::settings::Settings;

use self::leaves::{Leaf, Leaves};
pub use self::shown::{Setting, diff_shown, shown};

/// One setting that is another, came or went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The dotted key: `collections.products.ttl`, or a whole table: `collections.products`.
    pub path: String,
    /// What it was; `None`: it was not there. Secrets are `***`.
    pub from: Option<String>,
    /// What it would be; `None`: it would not be there.
    pub to: Option<String>,
    /// When it would take effect.
    pub effect: Effect,
}

/// When a changed setting takes effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Effect {
    /// With a reload.
    Live,
    /// When the gateway starts again.
    Restart,
}

impl Effect {
    /// The name used by the admin API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Restart => "restart",
        }
    }

    /// The effect of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        [Self::Live, Self::Restart].into_iter().find(|effect| effect.as_str() == name)
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = &self.path;
        match (&self.from, &self.to) {
            (Some(from), Some(to)) => write!(f, "~ {path}: {from} -> {to}")?,
            (Some(from), None) => write!(f, "- {path}: {from}")?,
            (None, to) => write!(f, "+ {path}: {}", to.as_deref().unwrap_or_default())?,
        }
        match self.effect {
            Effect::Live => Ok(()),
            Effect::Restart => f.write_str(" (takes a restart)"),
        }
    }
}

/// Every setting that differs, by its section, defaults included: a key that was left out and one that
/// says its default are the same. A table that came or went is one difference.
#[must_use]
pub fn diff(old: &Settings, new: &Settings) -> Vec<Difference> {
    between(&Leaves::of(old), &Leaves::of(new))
}

fn between(old: &Leaves, new: &Leaves) -> Vec<Difference> {
    let mut differences = Vec::new();
    for (leaf, to) in old.against(new) {
        match to {
            None => differences.push(old.whole(leaf, |text| (Some(text), None))),
            Some(to) if to.value == leaf.value => {}
            Some(to) => differences.push(Difference {
                path: leaf.path.clone(),
                from: Some(leaf.value.to_string()),
                to: Some(to.value.to_string()),
                // A collection that becomes write-behind, or ends being so.
                effect: leaf.effect.max(to.effect),
            }),
        }
    }
    for (leaf, from) in new.against(old) {
        if from.is_none() {
            differences.push(new.whole(leaf, |text| (None, Some(text))));
        }
    }
    // Stable: what came stands behind what changed or went.
    differences.sort_by_key(|difference| leaves::section(&difference.path));
    differences
}

impl Leaves {
    fn whole(&self, leaf: &Leaf, sides: impl Fn(String) -> (Option<String>, Option<String>)) -> Difference {
        let (from, to) = sides(self.text_of(leaf));
        Difference { path: leaf.path.clone(), from, to, effect: leaf.effect }
    }
}
