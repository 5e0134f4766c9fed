//! Random interleavings of readers, writers and fail-overs against the real cache, each a seed.
//! Property: a read never returns a version older than one acknowledged, or returned, before it
//! began. A bug bank proves that the walk finds what it is made to find.

use std::collections::{HashMap, VecDeque};

use crate::support::{self, Reader, World, step, value};
use proptest::test_runner::{Config, TestRunner};
use tidegate_cache::tier::memory::{Fault, Faults};
use tidegate_types::{bucket::BucketId, policy::Narrowed, request::TenantId, snapshot::Xid};

/// Wrong orders of a write or of a loader, each of which makes caches stale.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bug {
    None,
    FloorAfterCommit,
    FloorAfterAcknowledgement,
    NoFloor,
    SnapshotAfterRow,
    FloorOfAnotherKey,
    EpochIgnored,
    VoidOfAnotherKey,
    OutsiderNotTold,
    OutsiderToldOfAnotherKey,
    /// A gateway takes no base when it starts.
    NoBase,
    /// What happens elsewhere is told to one gateway only.
    OtherNotVoided,
    /// Writers raise the floors of one gateway only.
    OtherNotRaised,
}

/// Who writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    /// The gateway, which raises floors before it commits.
    Gateway,
    /// Somebody of whom only the change feed tells.
    Outsider,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Started,
    HasRow,
    Raised,
    Committed,
    Acknowledged,
}

struct Writer {
    xid: Xid,
    key: i64,
    value: Option<u32>,
    phase: Phase,
    by: By,
}

struct Running {
    reader: Reader,
    key: i64,
    at_least: usize,
}

struct Walk {
    world: World,
    /// Another gateway, where there is a shared tier: every writer raises its floors too.
    other: Option<World>,
    bug: Bug,
    random: fastrand::Rng,
    writers: Vec<Writer>,
    /// What the feed has yet to tell, in the order of commits.
    log: VecDeque<(Xid, i64, By)>,
    readers: Vec<Running>,
    /// Newest version acknowledged or returned, per key.
    known: HashMap<i64, usize>,
    last_value: u32,
    /// Whether a cache policy gives each row a tag.
    tagging: bool,
}

const KEYS: i64 = 3;

fn tag(tenant: TenantId, key: i64) -> BucketId {
    BucketId::tag(tenant, &format!("row:{key}"))
}

impl Walk {
    fn new(seed: u64, bug: Bug) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let buckets = if random.bool() { 1 } else { 1024 };
        let tagging = random.bool();
        let world = if random.bool() { World::shared(buckets) } else { World::new(buckets) };
        let other = world.tier.is_some().then(|| world.beside(buckets));
        Self {
            world,
            other,
            bug,
            random,
            writers: Vec::new(),
            log: VecDeque::new(),
            readers: Vec::new(),
            known: HashMap::new(),
            last_value: 0,
            tagging,
        }
    }

    fn run(mut self, steps: usize) -> Result<(), String> {
        for _ in 0..steps {
            match self.random.u32(0..100) {
                0..20 => self.start_reader(),
                20..30 => self.start_writer(),
                30..55 => self.advance_writer(),
                55..60 => self.tell(),
                60..75 => self.execute(),
                75..95 => self.deliver(),
                95..98 => self.change_elsewhere(),
                98 if self.random.bool() => self.drop_reader(),
                98 => self.restart(),
                _ if self.random.bool() => self.fail_over(),
                _ => self.disturb_tier(),
            }
            self.poll()?;
        }
        Ok(())
    }

    fn start_reader(&mut self) {
        let key = self.random.i64(0..KEYS);
        let at_least = self.known.get(&key).copied().unwrap_or(0);
        let entry = match self.random.u32(0..3) {
            0 => support::entry_key(key),
            1 => support::narrow_entry_key(key),
            _ => support::other_tenants_entry_key(key),
        };
        let bounds = self.tagging.then(|| Narrowed { tags: vec![tag(entry.tenant, key)], ..Narrowed::default() });
        let world = match &self.other {
            Some(other) if self.random.bool() => other,
            _ => &self.world,
        };
        self.readers.push(Running { reader: world.reader_within(entry, key, bounds), key, at_least });
    }

    /// A change whose transaction is not this shard's, so nothing but the void tells of it. From then on
    /// nobody may see what was there before.
    fn change_elsewhere(&mut self) {
        let key = self.random.i64(0..KEYS);
        if self.is_locked(key) {
            return;
        }
        self.last_value += 1;
        let tenants = [support::TENANT, support::OTHER_TENANT];
        let voided = match self.random.u32(0..4) {
            0 if self.tagging => tenants.map(|tenant| tag(tenant, key)).to_vec(),
            1 if self.tagging => tenants.map(BucketId::tagged).to_vec(),
            2 => vec![BucketId::sweep(support::seed())],
            _ => vec![support::row_bucket(key)],
        };
        let voided =
            if self.bug == Bug::VoidOfAnotherKey { vec![support::row_bucket((key + 1) % KEYS)] } else { voided };
        self.world.change_elsewhere(key, Some(self.last_value), &voided);
        if let (Some(other), false) = (&self.other, self.bug == Bug::OtherNotVoided) {
            other.cache.void(support::SHARD, &voided);
        }
        let version = self.world.db.borrow().version_of(key, Some(self.last_value)).expect("committed");
        self.known.insert(key, version);
    }

    fn is_locked(&self, key: i64) -> bool {
        self.writers.iter().any(|w| w.key == key && matches!(w.phase, Phase::HasRow | Phase::Raised))
    }

    fn start_writer(&mut self) {
        let key = self.random.i64(0..KEYS);
        self.last_value += 1;
        let value = (!self.last_value.is_multiple_of(5)).then_some(self.last_value);
        let xid = self.world.db.borrow_mut().begin();
        let by = if self.random.u32(0..4) == 0 { By::Outsider } else { By::Gateway };
        self.writers.push(Writer { xid, key, value, phase: Phase::Started, by });
    }

    /// The feed tells of the next transaction, whoever made it. That it committed may not be visible yet.
    fn tell(&mut self) {
        if let Some((xid, key, _)) = self.log.pop_front() {
            self.hear(xid, key);
        }
    }

    /// The feed tells of everything that is in the log.
    fn tell_all(&mut self, bug: Bug) {
        while let Some((xid, key, _)) = self.log.pop_front() {
            match bug {
                Bug::OutsiderNotTold => {}
                Bug::OutsiderToldOfAnotherKey => self.hear(xid, (key + 1) % KEYS),
                _ => self.hear(xid, key),
            }
        }
    }

    fn advance_writer(&mut self) {
        if self.writers.is_empty() {
            return;
        }
        let at = self.random.usize(0..self.writers.len());
        let Writer { xid, key, phase, by, .. } = self.writers[at];
        match phase {
            Phase::Started => {
                if !self.is_locked(key) {
                    self.writers[at].phase = Phase::HasRow;
                }
            }
            Phase::HasRow => {
                match self.bug {
                    _ if by == By::Outsider => {}
                    Bug::FloorAfterCommit | Bug::FloorAfterAcknowledgement | Bug::NoFloor => {}
                    Bug::FloorOfAnotherKey => self.raise(xid, (key + 1) % KEYS),
                    _ => self.raise(xid, key),
                }
                self.writers[at].phase = Phase::Raised;
            }
            Phase::Raised if self.random.u32(0..6) == 0 => {
                self.world.db.borrow_mut().abort(xid);
                self.writers.swap_remove(at);
            }
            Phase::Raised => {
                let value = self.writers[at].value;
                self.log.push_back((xid, key, by));
                if self.random.u32(0..4) == 0 && self.bug == Bug::None {
                    // In the log, told, and not visible yet.
                    self.tell_all(Bug::None);
                }
                self.world.db.borrow_mut().commit(xid, key, value);
                self.writers[at].phase = Phase::Committed;
            }
            Phase::Committed => {
                // Acknowledged: whatever is current now was committed by this write or after it.
                if self.bug == Bug::FloorAfterCommit {
                    self.raise(xid, key);
                }
                if by == By::Outsider {
                    // Nothing is promised of it before it was told.
                    self.tell_all(self.bug);
                }
                let value = self.writers[at].value;
                let version = self.world.db.borrow().version_of(key, value).expect("committed");
                let known = self.known.entry(key).or_insert(0);
                *known = (*known).max(version);
                self.writers[at].phase = Phase::Acknowledged;
            }
            Phase::Acknowledged => {
                if self.bug == Bug::FloorAfterAcknowledgement {
                    self.raise(xid, key);
                }
                self.writers.swap_remove(at);
            }
        }
    }

    fn execute(&mut self) {
        let waiting = self.world.queries.borrow().iter().any(|q| q.executed.is_none());
        if waiting {
            self.world.execute();
        }
    }

    fn deliver(&mut self) {
        let ready = self.world.queries.borrow().iter().any(|q| q.executed.is_some());
        if ready {
            if self.bug == Bug::SnapshotAfterRow {
                let fresh = self.world.db.borrow().snapshot();
                let mut queries = self.world.queries.borrow_mut();
                let query = queries.iter_mut().find(|q| q.executed.is_some()).expect("checked");
                if let Some(Ok(fetched)) = &mut query.executed {
                    fetched.snapshot = std::sync::Arc::new(fresh);
                }
            }
            self.world.deliver();
        }
    }

    fn drop_reader(&mut self) {
        if !self.readers.is_empty() {
            let at = self.random.usize(0..self.readers.len());
            drop(self.readers.swap_remove(at));
        }
    }

    fn hear(&self, xid: Xid, key: i64) {
        self.world.hear(xid, key);
        if let Some(other) = &self.other {
            other.hear(xid, key);
        }
    }

    fn raise(&self, xid: Xid, key: i64) {
        self.world.raise(xid, key);
        if let (Some(other), false) = (&self.other, self.bug == Bug::OtherNotRaised) {
            other.raise(xid, key);
        }
    }

    /// The other gateway dies and starts anew; the shared tier is as it was.
    fn restart(&mut self) {
        if self.other.is_none() {
            return;
        }
        self.readers.clear();
        let buckets = if self.random.bool() { 1 } else { 1024 };
        self.other = Some(if self.bug == Bug::NoBase {
            let other = self.world.without_base(buckets);
            other.epochs.set_base(support::SHARD, other.epochs.current(support::SHARD), Xid(0));
            other
        } else {
            self.world.beside(buckets)
        });
    }

    fn disturb_tier(&mut self) {
        let Some(tier) = &self.world.tier else { return };
        match self.random.u32(0..5) {
            0 => tier.flush(),
            1 => tier.resurrect(self.random.usize(0..4)),
            2 => tier.hold(),
            3 => tier.release(),
            _ => {
                let lose_puts = if self.random.bool() { Fault::On } else { Fault::Off };
                tier.set_faults(Faults { lose_puts, ..Faults::default() });
            }
        }
    }

    fn fail_over(&mut self) {
        // Writers that were not committed are gone; what committed stays.
        self.writers.retain(|w| matches!(w.phase, Phase::Committed | Phase::Acknowledged));
        // Another epoch voids what was kept, whatever was not told yet.
        self.log.clear();
        if self.bug == Bug::EpochIgnored {
            let epoch = self.world.db.borrow().epoch;
            self.world.db.borrow_mut().fail_over(epoch);
            return;
        }
        let epoch = self.world.begin_epoch();
        if let Some(other) = &self.other {
            other.epochs.advance(support::SHARD);
            other.set_lineage();
            other.take_base(epoch);
        }
    }

    fn poll(&mut self) -> Result<(), String> {
        let mut at = 0;
        while at < self.readers.len() {
            let Some(served) = step(&mut self.readers[at].reader) else {
                at += 1;
                continue;
            };
            let Running { key, at_least, .. } = self.readers.swap_remove(at);
            let got = value(&served);
            let db = self.world.db.borrow();
            let version = db.version_of(key, got).ok_or(format!("key {key}: {got:?} was never committed"))?;
            if version < at_least {
                return Err(format!("key {key}: version {version} after {at_least} was known, {:?}", served.status));
            }
            let known = self.known.entry(key).or_insert(0);
            // NULL values repeat; count only what is certain. Who has seen an outsider's write before it was told
            // knows more than is promised.
            let untold = self.log.iter().any(|(_, of, by)| *of == key && *by == By::Outsider);
            if got.is_some() && !untold {
                *known = (*known).max(version);
            }
        }
        Ok(())
    }
}

fn first_violation(bug: Bug, seeds: u64) -> Option<(u64, String)> {
    (0..seeds).find_map(|seed| Walk::new(seed, bug).run(200).err().map(|error| (seed, error)))
}

#[test]
fn no_interleaving_serves_an_acknowledged_write_stale() {
    assert_eq!(first_violation(Bug::None, 2_000), None);
}

#[test]
fn no_interleaving_with_a_fresh_seed_serves_stale() {
    let mut runner = TestRunner::new(Config { cases: 300, failure_persistence: None, ..Config::default() });
    runner
        .run(&proptest::num::u64::ANY, |seed| {
            Walk::new(seed, Bug::None)
                .run(400)
                .map_err(|e| proptest::test_runner::TestCaseError::fail(format!("seed {seed}: {e}")))
        })
        .expect("no violation");
}

#[test]
fn every_bug_of_the_bank_is_found() {
    for bug in [
        Bug::FloorAfterCommit,
        Bug::NoFloor,
        Bug::SnapshotAfterRow,
        Bug::FloorOfAnotherKey,
        Bug::EpochIgnored,
        Bug::VoidOfAnotherKey,
        Bug::OutsiderNotTold,
        Bug::OutsiderToldOfAnotherKey,
        Bug::NoBase,
        Bug::OtherNotVoided,
        Bug::OtherNotRaised,
    ] {
        assert!(first_violation(bug, 4_000).is_some(), "{bug:?} was not found");
    }
}
