//! Settings as they may be shown, and compared with others by those who may not see more.

use tidegate_types::settings::Settings;

use super::{
    Difference, Effect, between,
    leaves::{Leaf, Leaves, Value},
};

/// A setting as it may be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// The dotted key, or a whole table.
    pub key: String,
    /// What it is. Secrets are `***`, tables `{}`.
    pub value: String,
    /// When a change of it would take effect.
    pub effect: Effect,
}

/// Every setting, defaults included, without secrets.
#[must_use]
pub fn shown(settings: &Settings) -> Vec<Setting> {
    let show = |leaf: Leaf| Setting { key: leaf.path, value: leaf.value.to_string(), effect: leaf.effect };
    Leaves::of(settings).into_all().map(show).collect()
}

/// [`super::diff`] against settings of which only this is known. A secret that is another is not told.
#[must_use]
pub fn diff_shown(old: &[Setting], new: &Settings) -> Vec<Difference> {
    let known = |setting: &Setting| Leaf {
        path: setting.key.clone(),
        value: match setting.value.as_str() {
            "{}" => Value::Table,
            "***" => Value::Hidden(String::new()),
            text => Value::Shown(text.to_owned()),
        },
        effect: setting.effect,
    };
    let blinded = Leaves::of(new).into_all().map(|leaf| match leaf.value {
        Value::Hidden(_) => Leaf { value: Value::Hidden(String::new()), ..leaf },
        Value::Table | Value::Shown(_) => leaf,
    });
    between(&Leaves::new(old.iter().map(known).collect()), &Leaves::new(blinded.collect()))
}
