//! `tidegate init`: writes a configuration from the catalogs, ready to serve.
//!
//! # Layout
//! - `plan`: which tables become collections, under which names, and why the others do not
//! - `render`: the plan as a commented file

mod plan;
mod render;
#[cfg(test)]
mod tests;

use std::{
    fs::OpenOptions,
    io::{ErrorKind, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use prometheus_client::registry::Registry;

use crate::{
    assemble, catalogs,
    cli::{InitArgs, ShardArg},
    error::ServerError,
    init::{
        plan::Plan,
        render::{Render, quoted},
    },
};

/// Runs the command.
pub(crate) async fn run(args: &InitArgs) -> Result<(), ServerError> {
    // Before the databases are asked: nobody wants to wait for this answer.
    if args.output.exists() && !args.force {
        return Err(ServerError::Exists(args.output.clone()));
    }
    let settings = tidegate_config::parse(&shards_only(&args.shards)?, "--shard")?;
    let shards = assemble::shards(&settings, &mut Registry::default())?;
    let catalogs = catalogs::read(&shards.store, &shards.topology).await;
    if !catalogs.unread.is_empty() {
        return Err(ServerError::ShardsDown(catalogs.unread.into_iter().map(|(_, error)| error).collect()));
    }
    // The collection that `shards_only` names has every default.
    let Some(defaults) = settings.collections.values().next() else {
        return Err(ServerError::Arguments("--shard is required".to_owned()));
    };
    let plan = plan::make(&catalogs.read, defaults);
    let text = Render { shards: &args.shards, plan: &plan }.to_string();
    write(&args.output, &text, args.force)?;
    tell(args, &plan);
    Ok(())
}

/// The shards as configuration text, so that they are checked as the file will be. It needs a
/// collection, which is not looked up.
fn shards_only(shards: &[ShardArg]) -> Result<String, ServerError> {
    let mut text = String::from("[collections.any]\ntable = \"any\"\n");
    for (i, shard) in shards.iter().enumerate() {
        if shards[..i].iter().any(|other| other.name == shard.name) {
            return Err(ServerError::Arguments(format!("--shard {}: given twice", shard.name)));
        }
        text.push_str(&format!("[shards.{}]\nprimary = {}\n", quoted(&shard.name), quoted(&shard.primary)));
    }
    Ok(text)
}

/// The file may hold a password, so only its owner may read it.
fn write(path: &Path, text: &str, force: bool) -> Result<(), ServerError> {
    let mut options = OpenOptions::new();
    options.write(true).mode(0o600);
    if force {
        options.create(true).truncate(true)
    } else {
        options.create_new(true)
    };
    let written = options.open(path).and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => ServerError::Exists(path.to_owned()),
        _ => ServerError::io(format!("cannot write {}", path.display()))(error),
    })
}

fn tell(args: &InitArgs, plan: &Plan) {
    let file = args.output.display();
    println!("Wrote {file}: {} collection(s), {} left out.", plan.served.len(), plan.left_out.len());
    for served in &plan.served {
        println!("  /v1/{:<24} {}", served.name, served.relation);
    }
    for left_out in &plan.left_out {
        println!("  left out: {}: {}", left_out.table, left_out.reason);
    }
    for served in plan.served.iter().filter(|served| served.runs_code) {
        println!("  warning: {} has triggers or rules: every write to it empties the cache", served.relation);
    }
    if plan.served.is_empty() {
        println!("\nNothing can be served yet: a table needs a primary key.");
    } else {
        println!("\nNext: tidegate check --config {file}\n      tidegate serve --config {file}");
    }
}
