//! Orders on the operator's listener.

use http::Method;
use serde_json::{Value, json};

use crate::{Client, Gateway, client::Call, policies};

/// Who every order says it is from.
pub const ACTOR: &str = "the night shift";

/// An operator with a tool such as curl.
#[derive(Debug, Clone)]
pub struct Operator(Client);

impl Operator {
    /// The operator of this gateway.
    #[must_use]
    pub fn of(gateway: &Gateway) -> Self {
        Self(gateway.admin_client())
    }

    /// Stages the guest `source` (`hash-router`, `testing/faulty`) for a plugin of the configuration.
    ///
    /// # Panics
    /// If the guest has not been built.
    #[must_use]
    pub fn stage(&self, plugin: &str, source: &str) -> Call {
        self.upload(plugin, "", policies::guest(source))
    }

    /// [`Operator::stage`] with a configuration other than the file's.
    ///
    /// # Panics
    /// As [`Operator::stage`].
    #[must_use]
    pub fn stage_with(&self, plugin: &str, source: &str, config: &Value) -> Call {
        self.stage(plugin, source).header("tidegate-config", &config.to_string())
    }

    /// Stages these bytes; `query` as in `?force=true`.
    #[must_use]
    pub fn upload(&self, plugin: &str, query: &str, wasm: Vec<u8>) -> Call {
        let call = self.0.request(Method::PUT, &format!("/admin/plugins/{plugin}{query}"));
        call.header("tidegate-actor", ACTOR).body(wasm)
    }

    /// Orders `shadow`, `canary`, `promote` or `rollback` in these words; `{}` are none.
    #[must_use]
    pub fn order(&self, plugin: &str, step: &str, words: &Value) -> Call {
        self.0.post(&format!("/admin/plugins/{plugin}/{step}"), words).header("tidegate-actor", ACTOR)
    }

    /// Gives an order that must be carried out; its report.
    ///
    /// # Panics
    /// If it is refused.
    pub async fn done(&self, plugin: &str, step: &str, words: Value) -> Value {
        self.order(plugin, step, &words).send().await.ok().json()
    }

    /// Orders things to be forgotten.
    #[must_use]
    pub fn purge(&self, what: &Value) -> Call {
        self.0.post("/admin/cache/purge", what).header("tidegate-actor", ACTOR)
    }

    /// Orders the configuration to be read again.
    #[must_use]
    pub fn reload(&self) -> Call {
        self.0.post("/admin/config/reload", &json!({})).header("tidegate-actor", ACTOR)
    }

    /// A plugin as `GET /admin/plugins` shows it.
    ///
    /// # Panics
    /// If it does not.
    pub async fn plugin(&self, name: &str) -> Value {
        let all = self.0.get("/admin/plugins").await.ok().json();
        let plugins = all["plugins"].as_array().expect("a list of plugins");
        plugins.iter().find(|plugin| plugin["name"] == name).unwrap_or_else(|| panic!("no {name} in {all}")).clone()
    }
}

/// What was done with a plugin, the newest last: `stage`, `promote`, ...
///
/// # Panics
/// If the report has no history.
#[must_use]
pub fn actions(plugin: &Value) -> Vec<&str> {
    let history = plugin["history"].as_array().expect("a history");
    history.iter().map(|event| event["action"].as_str().expect("an action")).collect()
}

/// Of a plugin's version: calls that failed, of all hooks and kinds.
#[must_use]
pub fn errors(version: &Value) -> u64 {
    let hooks = version["hooks"].as_array().into_iter().flatten();
    let kinds = hooks.filter_map(|hook| hook["errors"].as_object()).flat_map(|errors| errors.values());
    kinds.filter_map(Value::as_u64).sum()
}
