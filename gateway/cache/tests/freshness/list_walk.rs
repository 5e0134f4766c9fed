//! Random interleavings of lists and writes over two shards, each a seed. Property: for every row, a list shows,
//! by having it or by not having it, a version no older than one acknowledged or shown before the list was asked
//! for. A bug bank proves that the walk finds what it is made to find.

use std::collections::HashMap;

use tidegate_types::{bucket::BucketId, snapshot::Xid};

use crate::{
    lists::{BOTH, Of, Reader, Shop, category, column, shard_of, step, text},
    support::seed,
};

/// Wrong sets or orders of floors, each of which makes lists stale.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bug {
    None,
    FloorAfterCommit,
    NoRelation,
    NoOldValue,
    NoNewValue,
    UnknownValuesIgnored,
    BulkIgnored,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Started,
    Raised,
    Committed,
    Acknowledged,
}

/// How much a writer knows of what it replaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Knows {
    Values,
    NoOldValues,
    Nothing,
}

struct Writer {
    xid: Xid,
    key: i64,
    old: Option<u32>,
    new: Option<u32>,
    knows: Knows,
    phase: Phase,
}

struct Running {
    reader: Reader,
    of: Of,
    shards: &'static [u16],
    at_least: HashMap<i64, usize>,
}

const KEYS: i64 = 4;

struct Walk {
    shop: Shop,
    bug: Bug,
    random: fastrand::Rng,
    writers: Vec<Writer>,
    readers: Vec<Running>,
    /// Newest version acknowledged or shown, per key.
    known: HashMap<i64, usize>,
    last: u32,
}

impl Walk {
    fn new(seed: u64, bug: Bug) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let buckets = if random.u8(..4) == 0 { 1 } else { 1 << 14 };
        let shop = Shop::new(buckets);
        Self { shop, bug, random, writers: Vec::new(), readers: Vec::new(), known: HashMap::new(), last: 0 }
    }

    fn run(mut self, steps: usize) -> Result<(), String> {
        for _ in 0..steps {
            match self.random.u32(0..100) {
                0..25 => self.start_reader(),
                25..35 => self.start_writer(),
                35..62 => self.advance_writer(),
                62..80 => drop(self.shop.execute_one()),
                80..98 => drop(self.shop.deliver()),
                _ => self.drop_reader(),
            }
            self.poll()?;
        }
        Ok(())
    }

    fn start_reader(&mut self) {
        let kinds = [Of::All, Of::Category(0), Of::Category(1), Of::Category(2), Of::Either(0, 2)];
        let of = self.random.choice(kinds).expect("some");
        let shards = self.random.choice([BOTH, &[0][..], &[1][..]]).expect("some");
        let reader = self.shop.reader(of, shards, None);
        self.readers.push(Running { reader, of, shards, at_least: self.known.clone() });
    }

    fn start_writer(&mut self) {
        let key = self.random.i64(0..KEYS);
        // A row's lock: writers of one row come one after the other.
        if self.writers.iter().any(|writer| writer.key == key) {
            return;
        }
        self.last += 1;
        let value = self.random.u32(0..3) * 100_000 + self.last;
        let new = (self.random.u8(..5) > 0).then_some(value);
        let knows = match self.random.u8(..6) {
            0 => Knows::NoOldValues,
            1 => Knows::Nothing,
            _ => Knows::Values,
        };
        let (xid, old) = (self.shop.begin(key), self.shop.value(key));
        self.writers.push(Writer { xid, key, old, new, knows, phase: Phase::Started });
    }

    fn advance_writer(&mut self) {
        if self.writers.is_empty() {
            return;
        }
        let at = self.random.usize(..self.writers.len());
        let abort = self.random.u8(..20) == 0;
        let bug = self.bug;
        let raised = self.raised(at);
        let writer = &mut self.writers[at];
        match writer.phase {
            Phase::Started if abort => {
                self.shop.dbs.borrow_mut()[shard_of(writer.key)].abort(writer.xid);
                self.writers.remove(at);
            }
            Phase::Started => {
                if bug != Bug::FloorAfterCommit {
                    self.shop.raise_these(writer.xid, writer.key, &raised);
                }
                writer.phase = Phase::Raised;
            }
            Phase::Raised => {
                self.shop.commit(writer.xid, writer.key, writer.new);
                writer.phase = Phase::Committed;
            }
            Phase::Committed => {
                writer.phase = Phase::Acknowledged;
                let (key, new) = (writer.key, writer.new);
                let version = self.shop.dbs.borrow()[shard_of(key)].history[&key].len() - 1;
                assert_eq!(self.shop.value(key), new, "writers of a row do not overlap");
                self.note(key, version);
            }
            Phase::Acknowledged => {
                if bug == Bug::FloorAfterCommit {
                    self.shop.raise_these(writer.xid, writer.key, &raised);
                }
                self.writers.remove(at);
            }
        }
    }

    fn raised(&self, at: usize) -> Vec<BucketId> {
        let Writer { old, new, knows, .. } = self.writers[at];
        let bug = self.bug;
        let mut buckets = Vec::new();
        if bug != Bug::NoRelation {
            buckets.push(BucketId::relation(seed()));
        }
        let value = |value: Option<u32>| value.map(|value| column(category(value)));
        if knows != Knows::Nothing && bug != Bug::NoNewValue {
            buckets.extend(value(new));
        }
        match knows {
            Knows::Values if bug != Bug::NoOldValue => buckets.extend(value(old)),
            Knows::NoOldValues if bug != Bug::UnknownValuesIgnored => buckets.push(BucketId::columns(seed())),
            Knows::Nothing if bug != Bug::BulkIgnored => buckets.push(BucketId::sweep(seed())),
            _ => {}
        }
        buckets
    }

    fn drop_reader(&mut self) {
        if !self.readers.is_empty() {
            let at = self.random.usize(..self.readers.len());
            drop(self.readers.swap_remove(at));
        }
    }

    fn note(&mut self, key: i64, version: usize) {
        let known = self.known.entry(key).or_insert(0);
        *known = (*known).max(version);
    }

    fn poll(&mut self) -> Result<(), String> {
        let mut at = 0;
        while at < self.readers.len() {
            let Some(served) = step(&mut self.readers[at].reader) else {
                at += 1;
                continue;
            };
            let Running { of, shards, at_least, .. } = self.readers.swap_remove(at);
            let shown = text(&served);
            let rows: HashMap<i64, u32> = shown.split_whitespace().map(row).collect();
            for key in (0..KEYS).filter(|key| shards.iter().any(|shard| usize::from(*shard) == shard_of(*key))) {
                let least = at_least.get(&key).copied().unwrap_or(0);
                let version = self.version(of, key, rows.get(&key).copied(), least);
                let version = version.ok_or_else(|| format!("{of:?} of {shards:?} is \"{shown}\": {key} is older"))?;
                if rows.contains_key(&key) {
                    self.note(key, version);
                }
            }
        }
        Ok(())
    }

    /// The oldest version from `least` on that looks like this in the list.
    fn version(&self, of: Of, key: i64, shown: Option<u32>, least: usize) -> Option<usize> {
        let dbs = self.shop.dbs.borrow();
        let none = vec![None];
        let history = dbs[shard_of(key)].history.get(&key).unwrap_or(&none);
        let looks = |value: &Option<u32>| value.filter(|value| of.has(*value)) == shown;
        history.iter().enumerate().skip(least).find(|(_, value)| looks(value)).map(|(version, _)| version)
    }
}

fn row(text: &str) -> (i64, u32) {
    let (key, value) = text.split_once(':').expect("key:value");
    (key.parse().expect("a key"), value.parse().expect("a value"))
}

#[test]
fn no_list_is_older_than_what_was_acknowledged_before_it() {
    for seed in 0..1_000 {
        if let Err(violation) = Walk::new(seed, Bug::None).run(400) {
            panic!("seed {seed}: {violation}");
        }
    }
}

#[test]
fn every_bug_is_found() {
    for bug in [
        Bug::FloorAfterCommit,
        Bug::NoRelation,
        Bug::NoOldValue,
        Bug::NoNewValue,
        Bug::UnknownValuesIgnored,
        Bug::BulkIgnored,
    ] {
        let found = (0..200).find(|seed| Walk::new(*seed, bug).run(400).is_err());
        assert!(found.is_some(), "{bug:?}");
    }
}
