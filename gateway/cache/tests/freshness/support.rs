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
use tidegate_cache::{Cache, EntryKey, Fetched, FillPlan, Served};
use tidegate_types::{
    answer::CacheStatus,
    bucket::BucketId,
    collection::CollectionId,
    epoch::{Epoch, Epochs},
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
    CacheSettings { l1_bytes: 1 << 20, buckets, max_entry_bytes: 1 << 16, ttl_jitter: 0.0 }
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
    BucketId::row(TenantId::SHARED, PRODUCTS, &entry_key(id).key)
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
    fn new() -> Self {
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
    pub epochs: Epochs,
    pub db: Rc<RefCell<Database>>,
    pub queries: Rc<RefCell<Vec<Query>>>,
    pub sent: Rc<RefCell<usize>>,
}

impl World {
    pub fn new(buckets: usize) -> Self {
        let epochs = Epochs::new(1);
        let cache = Cache::new(&settings(buckets), 1, epochs.clone(), &mut Registry::default());
        let db = Rc::new(RefCell::new(Database::new()));
        Self { cache, epochs, db, queries: Rc::default(), sent: Rc::default() }
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
            let plan = FillPlan { ttl: TTL, negative_ttl: NEGATIVE_TTL, bounds: bounds.as_ref() };
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
        self.cache.raise(SHARD, epoch, xid, &[row_bucket(id), BucketId::relation(TenantId::SHARED, PRODUCTS)]);
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
