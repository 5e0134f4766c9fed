//! `tidegate check`: says what is wrong and how to mend it, and everything that is right too, so
//! that nobody wonders whether it was looked at.
//!
//! # Layout
//! - `feed`: what the change feed needs
//! - `policies`: plugins and tenants
//! - `changes`: `--diff`: what the file would change; `asked` asks a running gateway for its settings

mod asked;
mod changes;
mod feed;
mod policies;

use std::sync::Arc;

use prometheus_client::registry::Registry;
use tidegate_policy::{Placement, PolicyHost};
use tidegate_store::catalog::ShardCatalog;
use tidegate_types::{
    collection::{Collection, Collections, WriteReach},
    settings::{JournalSettings, Settings},
};

use crate::{
    Outcome,
    assemble::{self, Shards},
    behind,
    catalogs::{self, Catalogs},
    cli::CheckArgs,
    error::ServerError,
};

/// What was found so far; prints as it goes.
#[derive(Default)]
struct Findings {
    problems: usize,
}

impl Findings {
    fn fine(&self, what: &str) {
        println!("  ok       {what}");
    }

    /// Not wrong, and worth knowing.
    fn note(&self, what: &str) {
        println!("  note     {what}");
    }

    fn problem(&mut self, what: &str) {
        self.problems += 1;
        println!("  PROBLEM  {what}");
    }
}

/// Runs the command.
pub(crate) async fn run(args: &CheckArgs) -> Result<Outcome, ServerError> {
    let settings = tidegate_config::load(&args.config)?;
    let mut findings = Findings::default();
    println!("configuration");
    findings.fine(&format!(
        "{}: {} shard(s), {} collection(s)",
        args.config.display(),
        settings.shards.len(),
        settings.collections.len()
    ));
    let mut registry = Registry::default();
    let shards = assemble::shards(&settings, &mut registry)?;
    let catalogs = catalogs::read(&shards.store, &shards.topology).await;
    println!("shards");
    check_shards(&mut findings, &shards, &catalogs);
    if settings.cluster.is_some() {
        println!("gateways");
        check_members(&mut findings, &shards).await;
    }
    println!("collections");
    let collections = check_collections(&mut findings, &settings, &catalogs.read);
    if !catalogs.read.is_empty() {
        println!("change feed");
        feed::check(&mut findings, &settings, &shards, &collections).await;
    }
    if let Some(journal) = &settings.journal {
        println!("write-behind");
        check_journal(&mut findings, journal, &shards).await;
    }
    println!("policies");
    let policies = policies::check(&mut findings, &settings, &shards, &collections).await;
    if let Some(policies) = policies.filter(|_| !catalogs.read.is_empty() && collections.iter().len() > 0) {
        println!("placement");
        check_placement(&mut findings, &policies).await;
    }
    if let Some(old) = &args.diff {
        println!("changes");
        changes::check(&mut findings, &settings, old.as_deref(), args.admin.as_deref()).await;
    }
    match findings.problems {
        0 => println!("\nReady to serve."),
        1 => println!("\n1 problem."),
        n => println!("\n{n} problems."),
    }
    Ok(if findings.problems == 0 { Outcome::Done } else { Outcome::FoundProblems })
}

fn check_shards(findings: &mut Findings, shards: &Shards, catalogs: &Catalogs) {
    for catalog in &catalogs.read {
        findings.fine(&format!("{}: connected, {} relation(s)", catalog.shard, catalog.tables.len()));
    }
    for (shard, error) in &catalogs.unread {
        let name = shards.topology.name(*shard);
        findings.problem(&format!("{error}. Look at [shards.{name}] primary, and whether the server runs."));
    }
}

/// Whether the gateways can know each other: what they do with their table, done and undone.
async fn check_members(findings: &mut Findings, shards: &Shards) {
    for shard in shards.topology.all() {
        let name = shards.topology.name(shard);
        let checked = match shards.store.members(shard) {
            Ok(members) => members.check().await,
            Err(error) => Err(error),
        };
        match checked {
            Ok(()) => findings.fine(&format!("{name}: the table tidegate.members is there and can be used")),
            Err(error) => findings.problem(&error.to_string()),
        }
    }
}

/// Whether acknowledged writes can be brought to the shards: what the gateway does with its tables, done and undone.
async fn check_journal(findings: &mut Findings, journal: &JournalSettings, shards: &Shards) {
    let dir = journal.dir.display();
    match std::fs::metadata(&journal.dir) {
        Ok(found) if found.is_dir() => findings.fine(&format!("the journal is in {dir}")),
        Ok(_) => findings.problem(&format!("[journal] dir: {dir} is not a folder")),
        Err(_) => findings.note(&format!("the journal's folder {dir} is not there yet; the gateway makes it")),
    }
    for shard in shards.topology.all() {
        match shards.store.check_journal_tables(shard).await {
            Ok(()) => findings.fine(&format!(
                "{}: the tables tidegate.applied and tidegate.dead_letters are there and can be used",
                shards.topology.name(shard)
            )),
            Err(error) => findings.problem(&error.to_string()),
        }
    }
}

fn check_collections(findings: &mut Findings, settings: &Settings, catalogs: &[ShardCatalog]) -> Arc<Collections> {
    if catalogs.is_empty() {
        findings.note("not compared: no shard could be reached");
        return Arc::default();
    }
    match catalogs::agree(&settings.collections, catalogs) {
        Ok(all) => {
            if let Err(mismatches) = behind::plans(&all, catalogs) {
                mismatches.iter().for_each(|mismatch| findings.problem(&mismatch.to_string()));
            }
            for collection in &all {
                findings.fine(&describe(collection));
                if collection.reach == WriteReach::Anything {
                    findings.note(&format!(
                        "{}: the table, or one its foreign keys lead to, has triggers or rules. The gateway cannot \
                         know what they change, so every write to it empties the cache",
                        collection.name
                    ));
                }
            }
            assemble::collections(all)
        }
        Err(mismatches) => {
            for mismatch in mismatches {
                findings.problem(&mismatch.to_string());
            }
            Arc::default()
        }
    }
}

fn describe(collection: &Collection) -> String {
    let key: Vec<&str> = collection.key_columns().map(|column| column.name.as_str()).collect();
    let shard_key: Vec<&str> = collection.shard_key.iter().filter_map(|at| key.get(*at).copied()).collect();
    format!(
        "{}: {}, key ({}), placed by ({}), {} column(s), {}",
        collection.name,
        collection.relation,
        key.join(", "),
        shard_key.join(", "),
        collection.columns.len(),
        collection.mode.as_str()
    )
}

/// Whether rows are where routing looks for them.
async fn check_placement(findings: &mut Findings, policies: &PolicyHost) {
    match policies.verify_placement().await {
        Placement::Kept { checked } => {
            findings.fine(&format!("{checked} sampled row(s) are where routing looks for them"))
        }
        Placement::Moved { detail, .. } => findings.problem(&format!(
            "{detail}. Such rows are not found by their key, and a write may make them twice. Move them to the shard \
             that routing says, or route by a policy that knows where they are."
        )),
    }
}
