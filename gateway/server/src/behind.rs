//! Write-behind: the journal opened, what it is rendered by, and what there is against that.

use std::{fs, io::Write as _, os::unix::fs::OpenOptionsExt, path::Path, sync::Arc};

use prometheus_client::registry::Registry;
use tidegate_journal::{Journal, RealDisk, Recovered};
use tidegate_pipeline::{
    Gateway,
    behind::{Flushers, Plans, Setup},
};
use tidegate_store::{
    catalog::{Mismatch, ShardCatalog},
    values::ImagePlan,
};
use tidegate_types::{
    collection::{Collection, Mode},
    settings::JournalSettings,
};

use crate::error::ServerError;

/// The largest segment. A smaller journal has smaller ones, so that it has several.
const SEGMENT_BYTES: u64 = 64 << 20;
/// Segments that a journal has room for at least.
const SEGMENTS: u64 = 16;
/// What may wait for the disk, at most.
const QUEUED_BYTES: u64 = 16 << 20;
/// What status tokens are signed with, beside the segments.
const SECRET: &str = "status.key";
const SECRET_BYTES: usize = 32;

/// How rows of the write-behind collections are rendered, or everything that stands against it.
pub(crate) fn plans(collections: &[Collection], catalogs: &[ShardCatalog]) -> Result<Plans, Vec<Mismatch>> {
    let (mut plans, mut mismatches) = (Plans::new(), Vec::new());
    for collection in collections.iter().filter(|collection| collection.mode == Mode::WriteBehind) {
        mismatches.extend(served_twice(collection, collections, catalogs));
        let mut first: Option<(&str, ImagePlan)> = None;
        for catalog in catalogs {
            match (ImagePlan::of(collection, catalog), &first) {
                (Ok(plan), None) => first = Some((&catalog.shard, plan)),
                (Ok(plan), Some((_, other))) if plan == *other => {}
                (Ok(_), Some((other, _))) => {
                    let wrong =
                        format!("rows are rendered otherwise than on shard {other} (types, defaults or CHECKs)");
                    mismatches.push(mismatch(collection, &catalog.shard, None, wrong, "Make the tables the same."));
                }
                (Err(unfit), _) => mismatches.extend(unfit.into_iter().map(|unfit| {
                    let wrong = format!("unfit for write-behind: {}", unfit.reason);
                    mismatch(collection, &catalog.shard, unfit.column, wrong, "Choose another mode for the collection.")
                })),
            }
        }
        plans.extend(first.map(|(_, plan)| (collection.name.clone(), Arc::new(plan))));
    }
    if mismatches.is_empty() { Ok(plans) } else { Err(mismatches) }
}

/// A table has one order of writes: what another collection of it wrote would be hidden by acknowledged images.
fn served_twice(collection: &Collection, all: &[Collection], catalogs: &[ShardCatalog]) -> Option<Mismatch> {
    let same = |other: &&Collection| other.relation == collection.relation && other.name != collection.name;
    let other = all.iter().find(same)?;
    let wrong = format!("the collection {} serves the same table", other.name);
    let shard = catalogs.first().map_or("", |catalog| catalog.shard.as_str());
    Some(mismatch(collection, shard, None, wrong, "A write-behind table is served by one collection only."))
}

fn mismatch(collection: &Collection, shard: &str, column: Option<String>, wrong: String, mend: &str) -> Mismatch {
    Mismatch {
        shard: shard.to_owned(),
        collection: collection.name.to_string(),
        table: collection.table.clone(),
        column,
        wrong,
        mend: mend.to_owned(),
    }
}

/// Opens the journal and takes up what it holds. Before anything is served.
pub(crate) async fn start(
    settings: &JournalSettings,
    gateway: &Gateway,
    plans: Plans,
    registry: &mut Registry,
) -> Result<Flushers, ServerError> {
    let segment_bytes = (settings.max_bytes / SEGMENTS).min(SEGMENT_BYTES);
    let of_journal = tidegate_journal::Settings {
        segment_bytes,
        max_bytes: settings.max_bytes,
        max_queued_bytes: (segment_bytes / 4).min(QUEUED_BYTES),
        ..tidegate_journal::Settings::default()
    };
    let dir = settings.dir.clone();
    let opened = tokio::task::spawn_blocking(move || open(&dir, of_journal)).await;
    let stopped = |error: tokio::task::JoinError| ServerError::io("cannot open the journal")(error.into());
    let (journal, recovered, secret) = opened.map_err(stopped)??;
    let settings = settings.clone();
    Ok(gateway.start_behind(Setup { journal, recovered, settings, secret, plans, registry }).await?)
}

type Opened = (Journal, Recovered, [u8; SECRET_BYTES]);

fn open(dir: &Path, settings: tidegate_journal::Settings) -> Result<Opened, ServerError> {
    let disk = Arc::new(RealDisk::open(dir)?);
    let secret = secret(dir)?;
    let (journal, recovered) = Journal::open(disk, settings)?;
    Ok((journal, recovered, secret))
}

/// The secret of the folder, drawn when there is none. A half-written one is drawn again: its tokens are lost, and
/// nothing else.
fn secret(dir: &Path) -> Result<[u8; SECRET_BYTES], ServerError> {
    let path = dir.join(SECRET);
    if let Some(secret) = fs::read(&path).ok().and_then(|bytes| bytes.try_into().ok()) {
        return Ok(secret);
    }
    let mut secret = [0; SECRET_BYTES];
    secret[..16].copy_from_slice(uuid::Uuid::new_v4().as_bytes());
    secret[16..].copy_from_slice(uuid::Uuid::new_v4().as_bytes());
    let written = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path);
    let written = written.and_then(|mut file| file.write_all(&secret).and_then(|()| file.sync_all()));
    written.map_err(ServerError::io(format!("cannot write {}", path.display())))?;
    Ok(secret)
}
