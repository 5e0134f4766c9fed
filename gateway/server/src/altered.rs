//! Tables that were altered while the gateway serves: the catalogs are read again without anybody asking for it.

use std::{sync::Arc, time::Duration};

use tidegate_pipeline::Gateway;
use tokio_util::sync::CancellationToken;

use crate::reload::{Reloader, Renewed};

/// Migrations alter one table after another, on one shard after another.
const PAUSE: Duration = Duration::from_millis(500);

/// Serves tables as the change feeds show them to have become, until `shutdown`. Where the feeds are off nothing
/// shows that.
pub(crate) async fn follow(gateway: Gateway, reloader: Arc<Reloader>, shutdown: CancellationToken) {
    let following = async {
        loop {
            gateway.tables_doubted().await;
            tokio::time::sleep(PAUSE).await;
            renew(&reloader).await;
        }
    };
    shutdown.run_until_cancelled(following).await;
}

/// What does not fit is tried again when a shard's tables are altered again, or a shard is back.
async fn renew(reloader: &Reloader) {
    match reloader.renew().await {
        Ok(Renewed::Same) => {}
        Ok(Renewed::Collections(collections)) => {
            let collections = collections.join(", ");
            tracing::info!(target: "audit", action = "renew", actor = "change feed", collections,
                "tables were altered: they are served as they are now");
        }
        Err(error) => {
            tracing::error!(target: "audit", action = "renew", actor = "change feed", why = %error,
                "tables may have been altered, and cannot be served as they are now: what was served before is");
        }
    }
}
