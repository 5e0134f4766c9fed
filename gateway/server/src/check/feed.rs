//! What the change feed needs of each shard.

use futures_util::future::join_all;
use tidegate_store::feed::{Finding, Severity};
use tidegate_types::{
    collection::Collections,
    settings::{Following, Settings},
};

use super::Findings;
use crate::assemble::Shards;

pub(super) async fn check(findings: &mut Findings, settings: &Settings, shards: &Shards, collections: &Collections) {
    if settings.feed.following == Following::Off {
        findings.note("off: a change made outside is seen when the TTL ends. [feed] enabled = true follows it");
        return;
    }
    let tables = tidegate_pipeline::feed::tables(collections, &[]);
    let all = shards.topology.all();
    let examined = join_all(all.iter().map(|shard| shards.store.examine_feed(*shard, &settings.feed, &tables))).await;
    for (shard, examined) in all.into_iter().zip(examined) {
        let name = shards.topology.name(shard);
        match examined {
            Ok(found) => {
                for Finding { severity, text } in found {
                    let text = format!("{name}: {text}");
                    match severity {
                        Severity::Fine => findings.fine(&text),
                        Severity::Note => findings.note(&text),
                        Severity::Problem => findings.problem(&text),
                    }
                }
            }
            Err(error) => findings.problem(&error.to_string()),
        }
    }
}
