//! A tier in this process, for tests and simulations: it does at once what it is told, and loses, delays and
//! resurrects on demand. Nothing in it waits for a timer; what is held is released by hand.

use std::{collections::HashMap, sync::Arc, time::Duration};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::{sync::watch, time::Instant};

use super::{CacheTier, Put, Reply, TierError, TierState};

/// The tier. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct MemoryTier(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    values: Mutex<Values>,
    gate: watch::Sender<Gate>,
}

/// Whether answers are given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Gate {
    #[default]
    Open,
    Shut,
}

impl Default for Shared {
    fn default() -> Self {
        Self { values: Mutex::default(), gate: watch::Sender::new(Gate::Open) }
    }
}

#[derive(Debug, Default)]
struct Values {
    now: HashMap<Bytes, Value>,
    /// Every value there ever was, oldest first, at most [`REMEMBERED`] of each key.
    past: HashMap<Bytes, Vec<Value>>,
    faults: Faults,
    gets: usize,
    puts: usize,
}

#[derive(Debug, Clone)]
struct Value {
    bytes: Bytes,
    until: Instant,
}

/// Former values of one key that can be brought back.
const REMEMBERED: usize = 16;

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Faults {
    /// Calls fail.
    pub down: Fault,
    /// Values are taken and not kept.
    pub lose_puts: Fault,
    /// Values are removed and stay.
    pub lose_deletes: Fault,
    /// Values stay beyond their time.
    pub forget_to_expire: Fault,
}

/// Whether something goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fault {
    /// It does not.
    #[default]
    Off,
    /// It does, every time.
    On,
}

impl MemoryTier {
    /// An empty one without faults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes things go wrong from here on, or no longer.
    pub fn set_faults(&self, faults: Faults) {
        self.0.values.lock().faults = faults;
    }

    /// Holds answers back: a get takes its value when it is made and gives it when [`MemoryTier::release`] is called.
    pub fn hold(&self) {
        self.0.gate.send_replace(Gate::Shut);
    }

    /// Gives the answers that were held back.
    pub fn release(&self) {
        self.0.gate.send_replace(Gate::Open);
    }

    /// Loses everything, as `FLUSHALL` does. What was there can be brought back.
    pub fn flush(&self) {
        self.0.values.lock().now.clear();
    }

    /// Brings back the value of every key that was there `steps` puts of that key ago, at least the first one: what
    /// a failover to a replica that had fallen behind does. Values that were removed come back too.
    pub fn resurrect(&self, steps: usize) {
        let values = &mut *self.0.values.lock();
        for (key, past) in &values.past {
            if let Some(value) = past.get(past.len().saturating_sub(steps + 1)) {
                values.now.insert(key.clone(), value.clone());
            }
        }
    }

    /// Brings back one key's value of `steps` puts ago.
    pub fn resurrect_key(&self, key: &[u8], steps: usize) {
        let values = &mut *self.0.values.lock();
        if let Some((key, past)) = values.past.get_key_value(key)
            && let Some(value) = past.get(past.len().saturating_sub(steps + 1))
        {
            values.now.insert(key.clone(), value.clone());
        }
    }

    /// The keys there are, sorted, so that runs can be repeated.
    #[must_use]
    pub fn keys(&self) -> Vec<Bytes> {
        let mut keys: Vec<Bytes> = self.0.values.lock().now.keys().cloned().collect();
        keys.sort_unstable();
        keys
    }

    /// Gets and puts so far.
    #[must_use]
    pub fn calls(&self) -> (usize, usize) {
        let values = self.0.values.lock();
        (values.gets, values.puts)
    }

    fn look(&self, key: &[u8]) -> Result<Option<Bytes>, TierError> {
        let values = &mut *self.0.values.lock();
        values.gets += 1;
        values.faults.check()?;
        let keeps = values.faults.forget_to_expire == Fault::On;
        let value = values.now.get(key).filter(|value| keeps || Instant::now() < value.until);
        Ok(value.map(|value| value.bytes.clone()))
    }
}

impl Faults {
    fn check(self) -> Result<(), TierError> {
        match self.down {
            Fault::On => Err(TierError::Unavailable("it is told to be down".to_owned())),
            Fault::Off => Ok(()),
        }
    }
}

impl CacheTier for MemoryTier {
    fn get<'a>(&'a self, key: &'a [u8]) -> Reply<'a, Option<Bytes>> {
        Box::pin(async move {
            let answer = self.look(key);
            // The sender lives as long as `self`.
            let _ = self.0.gate.subscribe().wait_for(|gate| *gate == Gate::Open).await;
            answer
        })
    }

    fn put(&self, put: Put) -> Result<(), TierError> {
        let values = &mut *self.0.values.lock();
        values.puts += 1;
        values.faults.check()?;
        if values.faults.lose_puts == Fault::On {
            return Ok(());
        }
        let until = Instant::now() + put.ttl.max(Duration::from_millis(1));
        let value = Value { bytes: put.value, until };
        let past = values.past.entry(put.key.clone()).or_default();
        if past.len() == REMEMBERED {
            past.remove(0);
        }
        past.push(value.clone());
        values.now.insert(put.key, value);
        Ok(())
    }

    fn delete<'a>(&'a self, keys: &'a [Bytes]) -> Reply<'a, ()> {
        Box::pin(async move {
            let values = &mut *self.0.values.lock();
            values.faults.check()?;
            if values.faults.lose_deletes == Fault::Off {
                keys.iter().for_each(|key| drop(values.now.remove(key)));
            }
            Ok(())
        })
    }

    fn state(&self) -> TierState {
        match self.0.values.lock().faults.down {
            Fault::On => TierState::Down,
            Fault::Off => TierState::Up,
        }
    }
}
