//! A small PostgreSQL: xids in order, running transactions, snapshots, one value per key. And reads
//! that a test steps by hand: the query is sent, executed and answered when the test says so.

use std::{
    cell::RefCell,
    collections::{BTreeSet, HashMap},
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use prometheus_client::registry::Registry;
use tidegate_cache::{
    Cache, EntryKey, Fetched, FillPlan, L2, Raised, Served,
    tier::{codec::Codec, key::Place, memory::MemoryTier, metrics::TierMetrics},
};
use tidegate_types::{
    answer::CacheStatus,
    bucket::{BucketId, RelationSeed},
    collection::CollectionId,
    epoch::{Epoch, Epochs, Lineage},
    key::{KeyValue, RowKey},
    policy::Narrowed,
    problem::Problem,
    query::{ColumnRef, Projection, SelectItem},
    request::TenantId,
    route::ShardId,
    settings::CacheSettings,
    snapshot::{Snapshot, Xid},
};
use tokio::sync::oneshot;

pub const SHARD: ShardId = ShardId(0);
pub const PRODUCTS: CollectionId = CollectionId(0);
pub const TTL: Duration = Duration::from_secs(60);
pub const NEGATIVE_TTL: Duration = Duration::from_secs(5);
pub const TENANT: TenantId = TenantId(1);
pub const OTHER_TENANT: TenantId = TenantId(2);

pub fn settings(buckets: usize) -> CacheSettings {
    CacheSettings {
        l1_bytes: 1 << 20,
        list_bytes: 1 << 18,
        buckets,
        max_entry_bytes: 1 << 16,
        ttl_jitter: 0.0,
        l2: None,
    }
}

pub fn seed() -> RelationSeed {
    RelationSeed(1)
}

pub fn entry_key(id: i64) -> EntryKey {
    EntryKey {
        tenant: TENANT,
        collection: PRODUCTS,
        shard: SHARD,
        key: RowKey::single(KeyValue::Int(id)),
        projection: Projection::Whole,
        variant: None,
    }
}

/// The same row for another tenant: an entry of its own that shares the row's bucket.
pub fn other_tenants_entry_key(id: i64) -> EntryKey {
    EntryKey { tenant: OTHER_TENANT, ..entry_key(id) }
}

/// The row's own bucket, as writes of it name it.
pub fn row_bucket(id: i64) -> BucketId {
    BucketId::row(seed(), &entry_key(id).key)
}

/// What a cache policy gives every row: a tag of its own.
pub fn tagged(id: i64) -> Narrowed {
    Narrowed { tags: vec![tag_of(id)], ..Narrowed::default() }
}

/// The tag of a row, for [`TENANT`].
pub fn tag_of(id: i64) -> BucketId {
    BucketId::tag(TENANT, &format!("row:{id}"))
}

/// Another representation of the same row: an entry of its own that shares the row's bucket.
pub fn narrow_entry_key(id: i64) -> EntryKey {
    let column = ColumnRef { name: "name".into(), path: Vec::new() };
    let item = SelectItem::Column { alias: None, column, cast: None };
    EntryKey { projection: Projection::Items(Arc::new([item])), ..entry_key(id) }
}

/// The database of one shard.
pub struct Database {
    next: u64,
    latest_completed: u64,
    running: BTreeSet<u64>,
    /// Every value a key ever had, in commit order; the last one is current.
    pub history: HashMap<i64, Vec<Option<u32>>>,
    pub epoch: Epoch,
}

impl Database {
    pub fn new() -> Self {
        Self { next: 10, latest_completed: 9, running: BTreeSet::new(), history: HashMap::new(), epoch: Epoch(1) }
    }

    pub fn begin(&mut self) -> Xid {
        let xid = self.next;
        self.next += 1;
        self.running.insert(xid);
        Xid(xid)
    }

    pub fn commit(&mut self, xid: Xid, key: i64, value: Option<u32>) {
        self.finish(xid);
        self.history.entry(key).or_insert_with(|| vec![None]).push(value);
    }

    pub fn abort(&mut self, xid: Xid) {
        self.finish(xid);
    }

    fn finish(&mut self, xid: Xid) {
        assert!(self.running.remove(&xid.0), "{xid:?} is not running");
        self.latest_completed = self.latest_completed.max(xid.0);
    }

    /// A promotion that keeps every commit but counts xids anew: running transactions are gone.
    pub fn fail_over(&mut self, epoch: Epoch) {
        self.running.clear();
        self.next = 10;
        self.latest_completed = 9;
        self.epoch = epoch;
    }

    /// The current value of every key.
    pub fn rows(&self) -> impl Iterator<Item = (i64, u32)> {
        self.history.iter().filter_map(|(key, values)| Some((*key, (*values.last()?)?)))
    }

    pub fn snapshot(&self) -> Snapshot {
        let xmax = self.latest_completed + 1;
        let xip: Vec<u64> = self.running.iter().copied().filter(|x| *x < xmax).collect();
        let xmin = xip.first().copied().unwrap_or(xmax);
        Snapshot { xmin: Xid(xmin), xmax: Xid(xmax), xip: xip.into_iter().map(Xid).collect() }
    }

    pub fn value(&self, key: i64) -> Option<u32> {
        self.history.get(&key).and_then(|h| *h.last().expect("never empty"))
    }

    pub fn version_of(&self, key: i64, value: Option<u32>) -> Option<usize> {
        match self.history.get(&key) {
            None => value.is_none().then_some(0),
            Some(history) => history.iter().rposition(|v| *v == value),
        }
    }

    pub fn read(&self, key: i64) -> Fetched {
        let json = self.value(key).map(|v| Bytes::from(v.to_string()));
        Fetched { json, snapshot: Arc::new(self.snapshot()), epoch: self.epoch }
    }
}

/// A query that a reader has sent.
pub struct Query {
    pub key: i64,
    answer: oneshot::Sender<Result<Fetched, Problem>>,
    pub executed: Option<Result<Fetched, Problem>>,
}

impl Query {
    pub fn deliver(mut self) {
        let executed = self.executed.take().expect("executed before it is answered");
        // The reader may be gone.
        let _ = self.answer.send(executed);
    }
}

pub type Reader = Pin<Box<dyn Future<Output = Result<Served, Problem>>>>;

/// A cache in front of a database, with the queries under way.
#[derive(Clone)]
pub struct World {
    pub cache: Cache,
    /// The shared tier, if there is one.
    pub tier: Option<MemoryTier>,
    pub epochs: Epochs,
    pub db: Rc<RefCell<Database>>,
    pub queries: Rc<RefCell<Vec<Query>>>,
    pub sent: Rc<RefCell<usize>>,
}

impl World {
    pub fn new(buckets: usize) -> Self {
        let epochs = Epochs::new(1);
        epochs.set_base(SHARD, Epoch(1), Xid(0));
        let cache = Cache::new(&settings(buckets), 1, epochs.clone(), &mut Registry::default());
        let db = Rc::new(RefCell::new(Database::new()));
        Self { cache, tier: None, epochs, db, queries: Rc::default(), sent: Rc::default() }
    }

    /// One with a shared tier.
    pub fn shared(buckets: usize) -> Self {
        let world = Self { tier: Some(MemoryTier::new()), ..Self::new(buckets) };
        world.set_lineage();
        world.share();
        world
    }

    /// Another gateway in front of the same database, with the same shared tier; it has just started and taken its
    /// base.
    pub fn beside(&self, buckets: usize) -> Self {
        let world = self.without_base(buckets);
        world.take_base(world.epochs.current(SHARD));
        world
    }

    /// [`World::beside`], before it has taken its base.
    pub fn without_base(&self, buckets: usize) -> Self {
        let epochs = Epochs::new(1);
        // Epochs are numbers of a process; the database here knows one number for all.
        while epochs.current(SHARD) < self.db.borrow().epoch {
            epochs.advance(SHARD);
        }
        let cache = Cache::new(&settings(buckets), 1, epochs.clone(), &mut Registry::default());
        let world = Self { cache, epochs, ..self.clone() };
        world.set_lineage();
        world.share();
        world
    }

    fn share(&self) {
        let Some(tier) = &self.tier else { return };
        let codec = Codec { compress_above: 64, max_payload: 1 << 16 };
        let places = vec![Place { name: "a".into(), access: 0 }];
        let metrics = TierMetrics::register(&mut Registry::default());
        self.cache.share(L2::new(Arc::new(tier.clone()), codec, places, metrics));
    }

    /// What the store tells of the server of the current epoch.
    pub fn set_lineage(&self) {
        let epoch = self.epochs.current(SHARD);
        let lineage = Lineage { system: Some("1".into()), timeline: None, started: format!("{epoch:?}") };
        self.epochs.set_lineage(SHARD, epoch, &lineage);
    }

    /// The tier of a world that has one.
    pub fn tier(&self) -> &MemoryTier {
        self.tier.as_ref().expect("a shared world")
    }

    /// A new epoch, with a base as the store takes it: an xid of one's own, ended at once.
    pub fn begin_epoch(&self) -> Epoch {
        let epoch = self.epochs.advance(SHARD);
        self.set_lineage();
        self.db.borrow_mut().fail_over(epoch);
        self.take_base(epoch);
        epoch
    }

    /// Takes the base of an epoch.
    pub fn take_base(&self, epoch: Epoch) {
        let mut db = self.db.borrow_mut();
        let base = db.begin();
        db.abort(base);
        self.epochs.set_base(SHARD, epoch, base);
    }

    /// A reader, not yet polled.
    pub fn reader(&self, id: i64) -> Reader {
        self.reader_of(entry_key(id), id)
    }

    /// A reader of this entry of the row, not yet polled.
    pub fn reader_of(&self, key: EntryKey, id: i64) -> Reader {
        self.reader_within(key, id, None)
    }

    /// A reader under a cache policy's bounds, not yet polled.
    pub fn reader_within(&self, key: EntryKey, id: i64, bounds: Option<Narrowed>) -> Reader {
        let world = self.clone();
        Box::pin(async move {
            if let Some(served) = world.cache.get(&key, bounds.as_ref()) {
                return Ok(served);
            }
            let plan = FillPlan {
                seed: seed(),
                shared: Some(7),
                ttl: TTL,
                negative_ttl: NEGATIVE_TTL,
                bounds: bounds.as_ref(),
            };
            world.cache.fetch(&key, plan, || world.send(id)).await
        })
    }

    async fn send(&self, key: i64) -> Result<Fetched, Problem> {
        let (answer, result) = oneshot::channel();
        *self.sent.borrow_mut() += 1;
        self.queries.borrow_mut().push(Query { key, answer, executed: None });
        result.await.expect("the test answers every query")
    }

    /// Executes the oldest query that was not: it sees the database as it is now.
    pub fn execute(&self) {
        let mut queries = self.queries.borrow_mut();
        let query = queries.iter_mut().find(|q| q.executed.is_none()).expect("a query was sent");
        query.executed = Some(Ok(self.db.borrow().read(query.key)));
    }

    /// Delivers the answer of the oldest executed query.
    pub fn deliver(&self) {
        let at = self.queries.borrow().iter().position(|q| q.executed.is_some()).expect("a query was executed");
        let query = self.queries.borrow_mut().remove(at);
        query.deliver();
    }

    /// Raises what a write of this row raises.
    pub fn raise(&self, xid: Xid, id: i64) {
        let epoch = self.db.borrow().epoch;
        let raised = self.cache.raise(SHARD, epoch, xid, &[row_bucket(id), BucketId::relation(seed())]);
        assert_eq!(raised, Raised::Held, "the epoch goes on");
    }

    /// Tells of a committed transaction, as the change feed does.
    pub fn hear(&self, xid: Xid, id: i64) {
        let epoch = self.db.borrow().epoch;
        self.cache.hear(SHARD, epoch, xid, &[row_bucket(id), BucketId::relation(seed())]);
    }

    /// A whole write that nothing comes between.
    pub fn write(&self, id: i64, value: Option<u32>) {
        let xid = self.db.borrow_mut().begin();
        self.raise(xid, id);
        self.db.borrow_mut().commit(xid, id, value);
    }

    /// A change that no transaction of this shard tells of, and the void for it.
    pub fn change_elsewhere(&self, id: i64, value: Option<u32>, voided: &[BucketId]) {
        let xid = self.db.borrow_mut().begin();
        self.db.borrow_mut().commit(xid, id, value);
        self.cache.void(SHARD, voided);
    }

    /// A whole read that nothing comes between.
    pub fn read(&self, id: i64) -> Served {
        self.finish(self.reader(id))
    }

    /// A whole read under bounds that nothing comes between.
    pub fn read_within(&self, id: i64, bounds: Narrowed) -> Served {
        self.finish(self.reader_within(entry_key(id), id, Some(bounds)))
    }

    /// Polls a reader to its end; nothing comes between.
    pub fn finish(&self, mut reader: Reader) -> Served {
        if let Some(served) = step(&mut reader) {
            return served;
        }
        self.execute();
        self.deliver();
        step(&mut reader).expect("answered")
    }
}

/// Polls a reader once.
pub fn step(reader: &mut Reader) -> Option<Served> {
    match reader.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(served) => Some(served.expect("no query fails here")),
        Poll::Pending => None,
    }
}

pub fn value(served: &Served) -> Option<u32> {
    served.row.as_ref().map(|row| std::str::from_utf8(&row.json).expect("ascii").parse().expect("a number"))
}

pub fn is_hit(status: CacheStatus) -> bool {
    matches!(status, CacheStatus::Hit { .. })
}
