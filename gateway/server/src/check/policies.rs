//! Whether plugins load, and tenants have places of their own.

use std::{collections::BTreeSet, sync::Arc};

use prometheus_client::registry::Registry;
use tidegate_policy::{Keeping, PluginReport, PolicyHost};
use tidegate_types::{
    collection::Collections,
    settings::{HookSettings, PolicySettings, Settings},
    tenant::Tenants,
};

use super::Findings;
use crate::{
    assemble::{self, Shards},
    error::ServerError,
};

/// Loads every plugin as `serve` does.
pub(super) async fn check(
    findings: &mut Findings,
    settings: &Settings,
    shards: &Shards,
    collections: &Arc<Collections>,
) -> Option<PolicyHost> {
    match Tenants::resolve(&settings.tenants, &shards.topology) {
        Ok(tenants) => check_tenants(findings, &tenants, shards),
        Err(error) => {
            findings.problem(&ServerError::from(error).to_string());
            return None;
        }
    }
    match load(settings, shards, collections).await {
        Ok(policies) => {
            for plugin in policies.plugins() {
                findings.fine(&describe(&plugin));
            }
            Some(policies)
        }
        Err(error) => {
            check_each(findings, settings, shards, collections, &error).await;
            None
        }
    }
}

async fn load(settings: &Settings, shards: &Shards, collections: &Arc<Collections>) -> Result<PolicyHost, ServerError> {
    let sampler = assemble::sampler(settings, shards, collections);
    assemble::policies(settings, shards, sampler, Keeping::Nothing, &mut Registry::default()).await
}

/// The first plugin that cannot be used hides the others: each is loaded alone.
async fn check_each(
    findings: &mut Findings,
    settings: &Settings,
    shards: &Shards,
    collections: &Arc<Collections>,
    whole: &ServerError,
) {
    let before = findings.problems;
    for plugin in plugins(&settings.policies) {
        match load(&only(settings, &plugin), shards, collections).await {
            Ok(policies) => {
                if let Some(report) = policies.plugin(&plugin) {
                    findings.fine(&describe(&report));
                }
            }
            Err(error) => findings.problem(&error.to_string()),
        }
    }
    if findings.problems == before {
        findings.problem(&whole.to_string());
    }
}

fn hooks(policies: &mut PolicySettings) -> [&mut Option<HookSettings>; 4] {
    [&mut policies.classify, &mut policies.route, &mut policies.cache_policy, &mut policies.invalidate]
}

fn plugins(policies: &PolicySettings) -> BTreeSet<String> {
    hooks(&mut policies.clone()).into_iter().flatten().map(|hook| hook.plugin.clone()).collect()
}

/// The settings with this plugin alone.
fn only(settings: &Settings, plugin: &str) -> Settings {
    let mut settings = settings.clone();
    for hook in hooks(&mut settings.policies) {
        hook.take_if(|hook| hook.plugin != plugin);
    }
    settings
}

fn describe(plugin: &PluginReport) -> String {
    let hooks: Vec<&str> = plugin.active.hooks.iter().map(|hook| hook.hook.as_str()).collect();
    let hooks = hooks.join(", ");
    match plugin.active.digest.get(..12) {
        Some(digest) => format!("{hooks}: {} {} (sha256 {digest}...)", plugin.name, plugin.active.version),
        None => format!("{hooks}: {}", plugin.name),
    }
}

fn check_tenants(findings: &mut Findings, tenants: &Tenants, shards: &Shards) {
    if tenants.iter().len() > 0 {
        findings.fine(&format!("{} tenant(s) have their places", tenants.iter().len()));
    }
    for shared in assemble::shared_shards(tenants, &shards.topology) {
        findings.note(&format!(
            "shard {} is shared by {}: each of them sees and changes the rows of the others, because rows are not \
             told apart yet. Give each its own in [tenants.known.NAME] shards",
            shared.shard, shared.tenants
        ));
    }
}
