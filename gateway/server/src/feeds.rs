//! The shards' change feeds, run beside the listeners.

use tidegate_pipeline::Gateway;
use tidegate_types::settings::{FeedSettings, Following};
use tokio_util::sync::CancellationToken;

use crate::error::ServerError;

/// Follows every shard until `shutdown`, where changes are followed at all.
pub(crate) fn start(
    settings: &FeedSettings,
    gateway: &Gateway,
    shutdown: &CancellationToken,
) -> Result<(), ServerError> {
    if settings.following == Following::Off {
        return Ok(());
    }
    let number = fastrand::u64(..);
    let tables = gateway.feed_tables();
    let shards = gateway.topology().all();
    let feed = |shard| gateway.store().feed(shard, settings, number, tables.clone());
    let feeds = shards.iter().map(|shard| feed(*shard)).collect::<Result<Vec<_>, _>>()?;
    gateway.follow_by(feeds.iter().map(|feed| feed.health.clone()).collect());
    for (shard, feed) in shards.into_iter().zip(feeds) {
        let obeying = gateway.clone();
        // Ends when nobody reads the events, which is when the other task is cancelled.
        tokio::spawn(feed.follower.run());
        tokio::spawn(shutdown.clone().run_until_cancelled_owned(async move {
            obeying.obey(shard, feed.events, feed.health).await;
        }));
    }
    let keeping = gateway.clone();
    tokio::spawn(shutdown.clone().run_until_cancelled_owned(async move { keeping.keep_following().await }));
    Ok(())
}
