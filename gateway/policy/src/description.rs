//! What a plugin says it is, checked, and what can be told without running it.

use serde::Serialize;
use tidegate_types::settings::Grant;

use crate::{
    bindings::Manifest,
    error::RefusalReason,
    hook::Hook,
    inputs::{Declared, MAX_INPUTS},
    loader::Step,
};

/// Bytes of the manifest's name and version.
const MAX_NAME_BYTES: usize = 64;
/// Bytes of a configuration schema.
const MAX_SCHEMA_BYTES: usize = 64 << 10;

/// A plugin, described.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Description {
    /// The manifest's name.
    pub name: String,
    /// The manifest's version.
    pub version: String,
    /// The version of `tidegate:policy` it was built for.
    pub wit: String,
    /// SHA-256 of the file, in hex.
    pub digest: String,
    /// Bytes of the file.
    pub size: u64,
    /// Whether the file is a component, or a core module with an embedded component type.
    pub form: Form,
    /// The hooks it implements.
    pub hooks: Vec<HookDescription>,
    /// The JSON Schema of its configuration; empty for none.
    pub schema: String,
    /// The interfaces it imports and the grants they need.
    pub imports: Vec<Import>,
    /// The interfaces it exports.
    pub exports: Vec<String>,
    /// What it needs of the machine.
    pub needs: Needs,
}

/// The form of a plugin's file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Form {
    /// A component.
    Component,
    /// A core module that carries its component type.
    CoreModule,
}

/// A hook of a plugin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HookDescription {
    /// The hook.
    pub hook: Hook,
    /// What it reads, in its order.
    pub inputs: Vec<InputDescription>,
}

/// An input of a hook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InputDescription {
    /// As questions name it.
    pub name: String,
    /// Whether its values are never written down.
    pub secret: bool,
}

/// An import of a plugin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Import {
    /// The interface.
    pub interface: String,
    /// The grant it needs.
    pub grant: Option<&'static str>,
}

impl Import {
    /// An import as the interface's name gives it.
    pub fn of(interface: &str, grant: Option<Grant>) -> Self {
        Self { interface: interface.to_owned(), grant: grant.map(Grant::as_str) }
    }
}

/// What an instance needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Needs {
    /// Linear memories.
    pub memories: u32,
    /// Tables.
    pub tables: u32,
    /// Bytes of linear memory it starts with.
    pub initial_memory: u64,
    /// Bytes of linear memory once configured.
    pub configured_memory: u64,
}

/// One hook's inputs, parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HookInputs {
    /// The inputs, in their order.
    pub inputs: Vec<Declared>,
    /// Which of them must not be written down.
    pub secret: Vec<bool>,
}

/// Checks a manifest, and takes over what it declares of each exported hook.
///
/// # Errors
/// What is wrong with it.
pub fn hooks_of(manifest: &Manifest, exported: &[Hook]) -> Step<Vec<(Hook, HookInputs)>> {
    let wrong = |detail: String| Err((RefusalReason::Manifest, detail));
    for (what, text) in [("name", &manifest.name), ("version", &manifest.version)] {
        if text.is_empty() || text.len() > MAX_NAME_BYTES {
            return wrong(format!("its {what} has {} bytes, allowed are 1 to {MAX_NAME_BYTES}", text.len()));
        }
    }
    if manifest.config_schema.len() > MAX_SCHEMA_BYTES {
        let bytes = manifest.config_schema.len();
        return wrong(format!("its config-schema has {bytes} bytes, the most is {MAX_SCHEMA_BYTES}"));
    }
    let mut hooks = Vec::new();
    for described in &manifest.hooks {
        let Some(hook) = Hook::named(&described.hook) else {
            return wrong(format!("it describes the hook {:?}, which this gateway does not have", described.hook));
        };
        if !exported.contains(&hook) {
            return wrong(format!("it describes the hook {}, but does not export it", hook.as_str()));
        }
        if hooks.iter().any(|(known, _)| *known == hook) {
            return wrong(format!("it describes the hook {} more than once", hook.as_str()));
        }
        if described.inputs.len() > MAX_INPUTS {
            return wrong(format!("it declares {} inputs, the most is {MAX_INPUTS}", described.inputs.len()));
        }
        let inputs: Result<Vec<_>, _> = described.inputs.iter().map(|input| Declared::parse(hook, input)).collect();
        let inputs = inputs.map_err(|detail| (RefusalReason::Manifest, detail))?;
        let mut secret: Vec<bool> = inputs.iter().map(Declared::always_secret).collect();
        for position in &described.secret {
            match secret.get_mut(*position as usize) {
                Some(secret) => *secret = true,
                None => return wrong(format!("it calls input {position} secret; it declares {}", inputs.len())),
            }
        }
        hooks.push((hook, HookInputs { inputs, secret }));
    }
    if let Some(missing) = exported.iter().find(|hook| !hooks.iter().any(|(known, _)| known == *hook)) {
        return wrong(format!("it exports the hook {}, but does not describe it", missing.as_str()));
    }
    Ok(hooks)
}

/// The same, to be shown.
pub fn shown(hooks: &[(Hook, HookInputs)]) -> Vec<HookDescription> {
    let of = |(hook, of): &(Hook, HookInputs)| {
        let inputs = of.inputs.iter().zip(&of.secret);
        let inputs = inputs.map(|(input, secret)| InputDescription { name: input.describe(), secret: *secret });
        HookDescription { hook: *hook, inputs: inputs.collect() }
    };
    hooks.iter().map(of).collect()
}

/// Checks a configuration against the plugin's own schema.
///
/// # Errors
/// Each place where it does not fit, or what is wrong with the schema.
pub fn check_config(schema: &str, config: &serde_json::Value) -> Step<()> {
    if schema.trim().is_empty() {
        return Ok(());
    }
    let broken = |detail: String| (RefusalReason::Manifest, format!("its config-schema cannot be used: {detail}"));
    let schema: serde_json::Value = serde_json::from_str(schema).map_err(|error| broken(error.to_string()))?;
    let validator = jsonschema::validator_for(&schema).map_err(|error| broken(error.to_string()))?;
    const SHOWN: usize = 5;
    let place = |error: &jsonschema::ValidationError<'_>| match error.instance_path().to_string() {
        place if place.is_empty() => "config".to_owned(),
        place => format!("config{place}"),
    };
    let wrong: Vec<String> =
        validator.iter_errors(config).take(SHOWN).map(|error| format!("{}: {error}", place(&error))).collect();
    if wrong.is_empty() { Ok(()) } else { Err((RefusalReason::Config, wrong.join("; "))) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::bindings::{
        Input,
        lifecycle::{self},
    };

    fn hook(name: &str, inputs: Vec<Input>, secret: Vec<u32>) -> lifecycle::HookInputs {
        lifecycle::HookInputs { hook: name.into(), inputs, secret }
    }

    fn manifest(name: &str, hooks: Vec<lifecycle::HookInputs>) -> Manifest {
        Manifest { name: name.into(), version: "1".into(), hooks, config_schema: String::new() }
    }

    #[test]
    fn manifests_outside_the_limits_are_refused() {
        let route = |inputs| hook("route", inputs, Vec::new());
        assert!(hooks_of(&manifest("p", vec![route(vec![Input::Path; MAX_INPUTS])]), &[Hook::Route]).is_ok());
        for (wrong, says) in [
            (manifest("", vec![route(Vec::new())]), "name has 0 bytes"),
            (manifest(&"p".repeat(65), vec![route(Vec::new())]), "name has 65 bytes"),
            (manifest("p", Vec::new()), "exports the hook route, but does not describe it"),
            (manifest("p", vec![route(Vec::new()), hook("classify", Vec::new(), Vec::new())]), "does not export it"),
            (manifest("p", vec![route(Vec::new()), hook("rout", Vec::new(), Vec::new())]), "does not have"),
            (manifest("p", vec![route(Vec::new()), route(Vec::new())]), "more than once"),
            (manifest("p", vec![route(vec![Input::Path; MAX_INPUTS + 1])]), "17 inputs"),
            (manifest("p", vec![hook("route", vec![Input::Path], vec![1])]), "calls input 1 secret; it declares 1"),
            (manifest("p", vec![route(vec![Input::Other("x:y".into())])]), "no input \"x:y\""),
        ] {
            let (reason, detail) = hooks_of(&wrong, &[Hook::Route]).expect_err("refused");
            assert_eq!(reason, RefusalReason::Manifest);
            assert!(detail.contains(says), "{detail}");
        }
    }

    #[test]
    fn secrets_are_those_declared_and_those_that_always_are() {
        let inputs = ["x-api-key", "authorization", "host"].map(|name| Input::Header(name.into())).to_vec();
        let hooks = hooks_of(&manifest("p", vec![hook("classify", inputs, vec![0])]), &[Hook::Classify]);
        assert_eq!(hooks.expect("parsed")[0].1.secret, [true, true, false]);
    }

    #[test]
    fn a_configuration_is_checked_by_place() {
        let schema = r#"{"type": "object", "properties": {"buckets": {"type": "integer", "minimum": 1}},
                         "additionalProperties": false}"#;
        assert_eq!(check_config(schema, &json!({"buckets": 8})), Ok(()));
        assert_eq!(check_config("", &json!({"anything": []})), Ok(()));
        let (reason, detail) = check_config(schema, &json!({"buckets": 0, "bucket": 1})).expect_err("refused");
        assert_eq!(reason, RefusalReason::Config);
        assert!(detail.contains("config/buckets: 0 is less than the minimum of 1"), "{detail}");
        assert!(detail.contains("'bucket' was unexpected"), "{detail}");
        for broken in ["{", r#"{"type": "objekt"}"#] {
            assert_eq!(check_config(broken, &json!({})).expect_err("refused").0, RefusalReason::Manifest);
        }
    }
}
