//! Flights: at most one fetch per key at a time; who may share its result is decided when it
//! arrives, by the reader itself (see [`crate::cache::Cache::fetch`]).
//!
//! A flight's number is taken when it is created, before its query is sent. A reader remembers the
//! newest number at its arrival: a flight with a higher number was sent after the reader arrived,
//! so its result is never too old for that reader.

use std::{
    collections::HashMap,
    hash::{BuildHasher, Hash},
    sync::atomic::{AtomicU64, Ordering},
};

use foldhash::quality::RandomState;
use parking_lot::Mutex;
use tokio::sync::watch;

const PARTS: usize = 64;

/// The flights under way, by key. `R` is what a flight brings back.
#[derive(Debug)]
pub struct Flights<K, R> {
    newest: AtomicU64,
    hasher: RandomState,
    // Partitioned so that misses of different keys do not contend. Held for a map operation only.
    parts: Box<[Mutex<Part<K, R>>]>,
}

type Part<K, R> = HashMap<K, Flight<R>, RandomState>;

#[derive(Debug)]
struct Flight<R> {
    number: u64,
    result: watch::Receiver<Option<R>>,
}

/// A reader's place in time: flights numbered above it were sent after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival(u64);

/// What a reader does next.
#[derive(Debug)]
pub enum Boarding<'a, K: Eq + Hash, R> {
    /// Nobody is fetching the key: the reader does.
    Lead(Permit<'a, K, R>),
    /// Somebody is.
    Join(Seat<R>),
}

/// A place in somebody else's flight.
#[derive(Debug)]
pub struct Seat<R> {
    number: u64,
    result: watch::Receiver<Option<R>>,
}

impl<R: Clone> Seat<R> {
    /// Whether the flight was sent after the reader arrived.
    #[must_use]
    pub fn sent_after(&self, arrival: Arrival) -> bool {
        self.number > arrival.0
    }

    /// The result, or `None` if the leader went away without one.
    pub async fn wait(mut self) -> Option<R> {
        self.result.wait_for(Option::is_some).await.ok().and_then(|result| result.clone())
    }
}

/// The duty to fetch. Dropped without [`Permit::land`], it sends the waiting readers to elect another.
#[derive(Debug)]
pub struct Permit<'a, K: Eq + Hash, R> {
    flights: &'a Flights<K, R>,
    key: K,
    result: watch::Sender<Option<R>>,
}

impl<K: Eq + Hash, R> Permit<'_, K, R> {
    /// Whether somebody waits for the result.
    #[must_use]
    pub fn is_awaited(&self) -> bool {
        // One receiver is the flight's own.
        self.result.receiver_count() > 1
    }

    /// Ends the flight: later readers start another, waiting ones get `result`.
    /// Store what is to be stored before: a reader that finds no flight looks into the cache once more.
    pub fn land(self, result: R) {
        self.flights.part(&self.key).lock().remove(&self.key);
        // Nobody may be waiting, then there is nobody to tell.
        self.result.send_replace(Some(result));
    }
}

impl<K: Eq + Hash, R> Drop for Permit<'_, K, R> {
    fn drop(&mut self) {
        if self.result.borrow().is_none() {
            self.flights.part(&self.key).lock().remove(&self.key);
        }
    }
}

impl<K: Clone + Eq + Hash, R> Flights<K, R> {
    /// No flights.
    #[must_use]
    pub fn new() -> Self {
        let hasher = RandomState::default();
        let parts = (0..PARTS).map(|_| Mutex::new(HashMap::with_hasher(hasher.clone()))).collect();
        Self { newest: AtomicU64::new(0), hasher, parts }
    }

    /// Notes a reader's arrival. Call before anything else of the read.
    #[must_use]
    pub fn arrive(&self) -> Arrival {
        // A read-modify-write reads the newest value; a plain load might not.
        Arrival(self.newest.fetch_add(0, Ordering::SeqCst))
    }

    /// Joins the flight of this key, or starts one.
    pub fn board(&self, key: &K) -> Boarding<'_, K, R> {
        let mut part = self.part(key).lock();
        if let Some(flight) = part.get(key) {
            return Boarding::Join(Seat { number: flight.number, result: flight.result.clone() });
        }
        let number = self.newest.fetch_add(1, Ordering::SeqCst) + 1;
        let (sender, receiver) = watch::channel(None);
        part.insert(key.clone(), Flight { number, result: receiver });
        Boarding::Lead(Permit { flights: self, key: key.clone(), result: sender })
    }

    /// Flights under way.
    #[must_use]
    pub fn len(&self) -> usize {
        self.parts.iter().map(|part| part.lock().len()).sum()
    }

    /// Whether none is under way.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<K: Eq + Hash, R> Flights<K, R> {
    fn part(&self, key: &K) -> &Mutex<Part<K, R>> {
        let hash = self.hasher.hash_one(key);
        // The map inside uses the low bits.
        &self.parts[(hash >> 58) as usize % PARTS]
    }
}

impl<K: Clone + Eq + Hash, R> Default for Flights<K, R> {
    fn default() -> Self {
        Self::new()
    }
}
