//! Bounds every call of a tier by time, and leaves one alone that fails.

use std::{future::Future, time::Duration};

use bytes::Bytes;

use super::{Advice, CacheTier, Put, Reply, TierError, TierState, breaker::Breaker, deadline::Deadlines};

/// A tier whose calls end in time. The only form a request may wait for.
#[derive(Debug)]
pub struct Guarded<T> {
    inner: T,
    timeout: Duration,
    deadlines: Deadlines,
    breaker: Breaker,
}

impl<T: CacheTier> Guarded<T> {
    /// Guards a tier.
    #[must_use]
    pub fn new(inner: T, timeout: Duration) -> Self {
        Self { inner, timeout, deadlines: Deadlines::new(timeout), breaker: Breaker::new() }
    }

    async fn bounded<R>(&self, call: impl Future<Output = Result<R, TierError>>) -> Result<R, TierError> {
        let pass = self.breaker.admit().ok_or(TierError::Open)?;
        let result = self.deadlines.bounded(call).await.unwrap_or_else(|| Err(TierError::Timeout(self.timeout)));
        match &result {
            Err(error) if error.advice() == Advice::Suspect => pass.failed(),
            _ => pass.succeeded(),
        }
        result
    }
}

impl<T: CacheTier> CacheTier for Guarded<T> {
    fn get<'a>(&'a self, key: &'a [u8]) -> Reply<'a, Option<Bytes>> {
        Box::pin(self.bounded(self.inner.get(key)))
    }

    fn put(&self, put: Put) -> Result<(), TierError> {
        // Puts are not what it is judged by: nobody waits for them, and a get came before each.
        match self.breaker.state() {
            TierState::Up => self.inner.put(put),
            TierState::Probing | TierState::Down => Err(TierError::Open),
        }
    }

    fn delete<'a>(&'a self, keys: &'a [Bytes]) -> Reply<'a, ()> {
        Box::pin(self.bounded(self.inner.delete(keys)))
    }

    fn state(&self) -> TierState {
        self.breaker.state()
    }
}
