//! Values waiting to be written: bounded by count and bytes, dropped where they do not fit.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::sync::mpsc;

use super::{Put, TierError};

/// Bounds of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueBounds {
    /// Most values.
    pub values: usize,
    /// Most bytes of keys and values.
    pub bytes: usize,
}

impl Default for QueueBounds {
    fn default() -> Self {
        Self { values: 4096, bytes: 32 << 20 }
    }
}

/// The end where values are handed in. Clones share it.
#[derive(Debug, Clone)]
pub struct Puts {
    sender: mpsc::Sender<Waiting>,
    bytes: Arc<AtomicUsize>,
    most: usize,
}

/// The end where they are taken out.
#[derive(Debug)]
pub struct Outlet {
    receiver: mpsc::Receiver<Waiting>,
}

/// A value under way. It counts against the bytes until it is dropped, so until it was written.
#[derive(Debug)]
pub struct Waiting {
    /// The value.
    pub put: Put,
    bytes: Arc<AtomicUsize>,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.bytes.fetch_sub(self.put.bytes(), Ordering::Relaxed);
    }
}

/// An empty queue.
#[must_use]
pub fn queue(bounds: QueueBounds) -> (Puts, Outlet) {
    let (sender, receiver) = mpsc::channel(bounds.values.max(1));
    (Puts { sender, bytes: Arc::default(), most: bounds.bytes }, Outlet { receiver })
}

impl Puts {
    /// Hands a value in.
    ///
    /// # Errors
    /// [`TierError::Full`] where it does not fit, [`TierError::Unavailable`] where nobody takes values out any more.
    pub fn offer(&self, put: Put) -> Result<(), TierError> {
        let size = put.bytes();
        let before = self.bytes.fetch_add(size, Ordering::Relaxed);
        // From here on its drop gives the bytes back.
        let waiting = Waiting { put, bytes: self.bytes.clone() };
        if before.saturating_add(size) > self.most {
            return Err(TierError::Full);
        }
        self.sender.try_send(waiting).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => TierError::Full,
            mpsc::error::TrySendError::Closed(_) => TierError::Unavailable("it was stopped".to_owned()),
        })
    }

    /// Bytes that wait or are being written.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }
}

impl Outlet {
    /// The next values, at most `most` of them; waits for the first. None are left where it gives none.
    pub async fn take(&mut self, most: usize) -> Vec<Waiting> {
        let mut batch = Vec::new();
        self.receiver.recv_many(&mut batch, most).await;
        batch
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;

    use super::*;

    fn put(size: usize) -> Put {
        Put { key: Bytes::from_static(b"k"), value: Bytes::from(vec![0; size - 1]), ttl: Duration::from_secs(1) }
    }

    #[tokio::test]
    async fn what_does_not_fit_is_dropped_and_room_comes_back() {
        let (puts, mut outlet) = queue(QueueBounds { values: 3, bytes: 100 });
        assert_eq!(puts.offer(put(101)), Err(TierError::Full), "alone too large");
        assert_eq!(puts.offer(put(60)), Ok(()));
        assert_eq!(puts.offer(put(60)), Err(TierError::Full), "bytes");
        assert_eq!(puts.offer(put(10)), Ok(()));
        assert_eq!(puts.offer(put(10)), Ok(()));
        assert_eq!(puts.offer(put(10)), Err(TierError::Full), "count");
        assert_eq!(puts.bytes(), 80);
        let batch = outlet.take(2).await;
        assert_eq!((batch.len(), puts.bytes()), (2, 80), "being written");
        drop(batch);
        assert_eq!(puts.bytes(), 10);
        assert_eq!(puts.offer(put(60)), Ok(()));
        drop(outlet);
        assert!(matches!(puts.offer(put(10)), Err(TierError::Unavailable(_))));
        assert_eq!(puts.bytes(), 0, "what was waiting is gone with the outlet");
    }
}
