//! The shared tier of a run: it delays, loses, and gives back whatever was ever put, as a failover to a replica that
//! had fallen behind does. Nobody may rely on it for more than speed.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use tidegate_cache_with_bugs::{
    L2,
    tier::{CacheTier, Put, Reply, TierError, TierState, codec::Codec, key::Place, metrics::TierMetrics},
};

/// The tier. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct SharedTier(Arc<Mutex<Values>>);

#[derive(Debug, Default)]
struct Values {
    /// Everything that was ever put, the newest last.
    by_key: BTreeMap<Bytes, Vec<Bytes>>,
}

impl SharedTier {
    /// The tier as a gateway uses it.
    #[must_use]
    pub fn l2(&self, shards: usize) -> L2 {
        let codec = Codec { compress_above: 1 << 10, max_payload: 1 << 16 };
        let place = |shard: usize| Place { name: format!("shard-{shard}").into(), access: 1 };
        let metrics = TierMetrics::register(&mut Registry::default());
        L2::new(Arc::new(self.clone()), codec, (0..shards).map(place).collect(), metrics)
    }

    /// One of the values that were put under the key, often the newest; or none.
    fn pick(&self, key: &[u8]) -> Option<Bytes> {
        let values = self.0.lock();
        let past = values.by_key.get(key)?;
        match fastrand::u8(..8) {
            0 => None,
            1..5 => past.last().cloned(),
            _ => past.get(fastrand::usize(..past.len())).cloned(),
        }
    }
}

impl CacheTier for SharedTier {
    fn get<'a>(&'a self, key: &'a [u8]) -> Reply<'a, Option<Bytes>> {
        // Drawn from the source that the run has seeded, as the cache's own draws are.
        let (there, back) = (fastrand::u64(20..2_000), fastrand::u64(20..4_000));
        Box::pin(async move {
            tokio::time::sleep(Duration::from_micros(there)).await;
            if fastrand::u8(..16) == 0 {
                return Err(TierError::Timeout(Duration::from_micros(there)));
            }
            let value = self.pick(key);
            tokio::time::sleep(Duration::from_micros(back)).await;
            Ok(value)
        })
    }

    fn put(&self, put: Put) -> Result<(), TierError> {
        if fastrand::u8(..8) != 0 {
            self.0.lock().by_key.entry(put.key).or_default().push(put.value);
        }
        Ok(())
    }

    fn delete<'a>(&'a self, _: &'a [Bytes]) -> Reply<'a, ()> {
        // What was removed comes back.
        Box::pin(async { Ok(()) })
    }

    fn state(&self) -> TierState {
        TierState::Up
    }
}
