//! `tidegate plugin inspect`: what a policy is, reads, imports and needs.

use std::{fmt::Write as _, io::Write};

use serde::Serialize;
use serde_json::Value;
use tidegate_policy::{hook::Hook, offline::Description};
use tidegate_types::settings::Grant;
use wit_component::ComponentEncoder;

use crate::{
    Outcome,
    args::InspectArgs,
    error::PluginError,
    load::Policy,
    project,
    sections::{self, Needs},
    units,
};

/// What there is to know of a policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The file.
    pub file: String,
    /// The manifest's name.
    pub name: String,
    /// The manifest's version.
    pub version: String,
    /// SHA-256 of the file, in hex.
    pub sha256: String,
    /// Bytes of the file.
    pub size: u64,
    /// What kind of WebAssembly it is.
    pub form: Form,
    /// The version of the package `tidegate:policy` it is built against.
    pub wit: String,
    /// The smallest world of the package that fits, if one does.
    pub world: Option<&'static str>,
    /// What each hook reads.
    pub hooks: Vec<HookReport>,
    /// What it imports.
    pub imports: Vec<Import>,
    /// What it exports.
    pub exports: Vec<String>,
    /// The schema of its configuration.
    pub config_schema: Option<Value>,
    /// What an instance needs; `None` where it could not be told.
    pub needs: Option<Needs>,
    /// How long compiling it took here, in milliseconds.
    pub compiled_in_ms: u64,
}

/// One hook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HookReport {
    /// Which.
    pub hook: Hook,
    /// The declared inputs, in their order.
    pub inputs: Vec<String>,
    /// Those among them that are never written down.
    pub secret: Vec<String>,
}

/// One imported interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Import {
    /// Its name.
    pub interface: String,
    /// The grant it needs; none for interfaces of types only.
    pub grant: Option<&'static str>,
}

/// What kind of WebAssembly a policy is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Form {
    /// A component.
    Component,
    /// A core module that carries its component type.
    CoreModule,
}

/// Runs the command.
///
/// # Errors
/// The gateway would refuse the policy.
pub fn run(args: &InspectArgs, out: &mut dyn Write) -> Result<Outcome, PluginError> {
    let report = report(&Policy::read(&project::artifact(&args.policy)?)?);
    if args.json {
        serde_json::to_writer_pretty(&mut *out, &report).map_err(std::io::Error::from)?;
        writeln!(out)?;
    } else {
        out.write_all(page(&report).as_bytes())?;
    }
    Ok(Outcome::Done)
}

/// Everything about a policy.
#[must_use]
pub fn report(policy: &Policy) -> Report {
    let description = policy.description();
    let form = form(&policy.bytes);
    Report {
        file: policy.file.display().to_string(),
        name: description.name.clone(),
        version: description.version.clone(),
        sha256: description.digest.clone(),
        size: policy.bytes.len() as u64,
        form,
        wit: description.wit.clone(),
        world: world(description),
        hooks: hooks(description),
        imports: description
            .imports
            .iter()
            .map(|name| Import { interface: name.clone(), grant: grant(name) })
            .collect(),
        exports: description.exports.clone(),
        config_schema: description.schema.clone(),
        needs: needs(&policy.bytes, form),
        compiled_in_ms: u64::try_from(policy.compiled_in.as_millis()).unwrap_or(u64::MAX),
    }
}

/// What each hook reads.
#[must_use]
pub fn hooks(description: &Description) -> Vec<HookReport> {
    let report = |hook: &tidegate_policy::offline::Described| HookReport {
        hook: hook.hook,
        inputs: hook.inputs.clone(),
        secret: hook.secret.clone(),
    };
    description.hooks.iter().map(report).collect()
}

fn form(bytes: &[u8]) -> Form {
    if bytes.get(4..8) == Some(&[1, 0, 0, 0]) { Form::CoreModule } else { Form::Component }
}

/// A core module needs what the component around it needs.
fn needs(bytes: &[u8], form: Form) -> Option<Needs> {
    match form {
        Form::Component => sections::needs(bytes),
        Form::CoreModule => {
            let component = ComponentEncoder::default().module(bytes).and_then(|encoder| encoder.encode()).ok()?;
            sections::needs(&component)
        }
    }
}

/// The grant that an import needs.
fn grant(import: &str) -> Option<&'static str> {
    let interface = import.split(['/', '@']).nth(1)?;
    let grant = [Grant::Log, Grant::Metrics, Grant::Topology, Grant::Directory];
    grant.into_iter().find(|grant| interface.strip_prefix("host-") == Some(grant.as_str())).map(Grant::as_str)
}

/// The smallest world of the package with these hooks and imports.
fn world(description: &Description) -> Option<&'static str> {
    let hooks: Vec<Hook> = description.hooks.iter().map(|hook| hook.hook).collect();
    let directory = description.imports.iter().any(|name| grant(name) == Some(Grant::Directory.as_str()));
    match (&hooks[..], directory) {
        ([Hook::Classify], false) => Some("classifier"),
        ([Hook::Route], false) => Some("router"),
        ([Hook::Route], true) => Some("directory-router"),
        ([Hook::CachePolicy], false) => Some("cacher"),
        ([Hook::Invalidate], false) => Some("invalidator"),
        ([Hook::CachePolicy, Hook::Invalidate], false) => Some("caching"),
        (all, _) if all.len() == Hook::ALL.len() => Some("full"),
        _ => None,
    }
}

/// A policy in one line.
#[must_use]
pub fn line(description: &Description, size: u64) -> String {
    let hooks: Vec<&str> = description.hooks.iter().map(|hook| hook.hook.as_str()).collect();
    let digest = description.digest.get(..12).unwrap_or(&description.digest);
    format!(
        "{} {}: {}, tidegate:policy@{}, {}, sha256 {digest}...",
        description.name,
        description.version,
        hooks.join(" + "),
        description.wit,
        units::bytes(size),
    )
}

fn page(report: &Report) -> String {
    let mut page = format!("{} {}\n\n", report.name, report.version);
    let form = match report.form {
        Form::Component => "component",
        Form::CoreModule => "core module with its component type; the gateway wraps it when it loads it",
    };
    let world = report.world.map_or_else(String::new, |world| format!(", world {world}"));
    let _ = writeln!(page, "file      {}", report.file);
    let _ = writeln!(page, "sha256    {}", report.sha256);
    let _ = writeln!(page, "size      {}, {form}", units::bytes(report.size));
    let _ = writeln!(page, "contract  tidegate:policy@{}{world}", report.wit);
    page.push_str("\nhooks and what they read\n");
    for hook in &report.hooks {
        let _ = writeln!(page, "  {:13} {}", hook.hook.as_str(), inputs(hook));
    }
    page.push_str("\nimports\n");
    for import in &report.imports {
        let _ = writeln!(page, "  {:42} {}", import.interface, granted(import));
    }
    page.push_str("\nexports\n");
    for export in &report.exports {
        let _ = writeln!(page, "  {export}");
    }
    page.push_str("\nneeds\n");
    add_needs(&mut page, report);
    match &report.config_schema {
        None => page.push_str("\nconfig schema\n  none: only `configure` itself checks `config`\n"),
        Some(schema) => {
            let text = serde_json::to_string_pretty(schema).unwrap_or_default();
            let _ = writeln!(page, "\nconfig schema\n  {}", text.replace('\n', "\n  "));
        }
    }
    page
}

fn inputs(hook: &HookReport) -> String {
    if hook.inputs.is_empty() {
        return "nothing".into();
    }
    let marked = |input: &String| match hook.secret.contains(input) {
        true => format!("{input} (secret)"),
        false => input.clone(),
    };
    hook.inputs.iter().map(marked).collect::<Vec<_>>().join(", ")
}

fn granted(import: &Import) -> String {
    match import.grant {
        None => "no grant needed".into(),
        Some(name) if Grant::USUAL.iter().any(|usual| usual.as_str() == name) => {
            format!("grant {name}, given unless taken away")
        }
        Some(name) => format!("grant {name}, only given where `grants` names it"),
    }
}

fn add_needs(page: &mut String, report: &Report) {
    if let Some(needs) = &report.needs {
        let most = match needs.max_memory {
            Some(most) => format!("at most {}", units::bytes(most)),
            None => "no limit of its own (the gateway's is `max_memory`)".into(),
        };
        let _ = writeln!(page, "  memory        {} at the start, {most}", units::bytes(needs.min_memory));
        let _ = writeln!(
            page,
            "  instances     {} core instance(s), {} table(s) with {} element(s)",
            needs.core_instances, needs.tables, needs.table_elements
        );
    }
    let _ = writeln!(
        page,
        "  compiling     {} ms here; the gateway does it once and keeps the result on disk",
        report.compiled_in_ms
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn imports_need_the_grant_of_their_interface() {
        assert_eq!(grant("tidegate:policy/host-directory@0.1.0"), Some("directory"));
        assert_eq!(grant("tidegate:policy/host-log@0.1.0"), Some("log"));
        assert_eq!(grant("tidegate:policy/types@0.1.0"), None);
        assert_eq!(grant("init"), None);
    }
}
