//! `tidegate plugin inspect`: what a policy is, reads, imports and needs.

use std::{fmt::Write as _, io::Write};

use serde::Serialize;
use serde_json::Value;
use tidegate_policy::{
    description::{Description, Form, HookDescription, Import, InputDescription},
    hook::Hook,
};
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
    pub hooks: Vec<HookDescription>,
    /// What it imports, and the grants it needs.
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
    Report {
        file: policy.file.display().to_string(),
        name: description.name.clone(),
        version: description.version.clone(),
        sha256: description.digest.clone(),
        size: description.size,
        form: description.form,
        wit: description.wit.clone(),
        world: world(description),
        hooks: description.hooks.clone(),
        imports: description.imports.clone(),
        exports: description.exports.clone(),
        config_schema: serde_json::from_str(&description.schema).ok(),
        needs: needs(&policy.bytes, description.form),
        compiled_in_ms: u64::try_from(policy.compiled_in.as_millis()).unwrap_or(u64::MAX),
    }
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

/// The smallest world of the package with these hooks and imports.
fn world(description: &Description) -> Option<&'static str> {
    let hooks: Vec<Hook> = description.hooks.iter().map(|hook| hook.hook).collect();
    let directory = description.imports.iter().any(|import| import.grant == Some(Grant::Directory.as_str()));
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
pub fn line(description: &Description) -> String {
    let hooks: Vec<&str> = description.hooks.iter().map(|hook| hook.hook.as_str()).collect();
    let digest = description.digest.get(..12).unwrap_or(&description.digest);
    format!(
        "{} {}: {}, tidegate:policy@{}, {}, sha256 {digest}...",
        description.name,
        description.version,
        hooks.join(" + "),
        description.wit,
        units::bytes(description.size),
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

fn inputs(hook: &HookDescription) -> String {
    if hook.inputs.is_empty() {
        return "nothing".into();
    }
    let marked = |input: &InputDescription| match input.secret {
        true => format!("{} (secret)", input.name),
        false => input.name.clone(),
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
