//! From the operator's `config` to a type of yours.

use serde::de::DeserializeOwned;

use crate::PolicyError;

pub use serde_json::Value;

/// Reads the configuration into a type that derives serde's `Deserialize`. Give it
/// `#[serde(deny_unknown_fields)]`: operators mistype.
///
/// # Errors
/// It does not fit; the detail says which key and what is wrong with it.
pub fn parse<T: DeserializeOwned>(json: &str) -> Result<T, PolicyError> {
    serde_json::from_str(json).map_err(|error| PolicyError::config(format!("config: {error}")))
}

/// For policies that take no configuration.
///
/// # Errors
/// There is one.
pub fn none(json: &str) -> Result<(), PolicyError> {
    match json.trim() {
        "" | "{}" | "null" => Ok(()),
        _ => Err(PolicyError::config("this policy takes no configuration: remove `config`")),
    }
}
