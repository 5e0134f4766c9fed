//! Lists of two shards, stepped by hand: what refuses, voids and shares them.

use std::{
    cell::RefCell,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use prometheus_client::registry::Registry;
use tidegate_cache::{Cache, FetchedList, FetchedPart, ListKey, ListPlan, ServedList};
use tidegate_types::{
    answer::{CacheStatus, ListBody, NotStored},
    bucket::BucketId,
    epoch::{Epoch, Epochs},
    policy::Narrowed,
    problem::Problem,
    route::ShardId,
    snapshot::Xid,
};
use tokio::sync::oneshot;

use crate::support::{Database, PRODUCTS, TENANT, TTL, is_hit, seed, settings};

/// Which rows a list has. Values are unique in a test; a row's category is what is left of its value's last five
/// digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Of {
    All,
    Category(u32),
    Either(u32, u32),
}

/// On which shards it asks for them.
pub const BOTH: &[u16] = &[0, 1];

pub fn category(value: u32) -> u32 {
    value / 100_000
}

/// Where a row lives.
pub fn shard_of(key: i64) -> usize {
    usize::from(key % 2 != 0)
}

pub fn column(category: u32) -> BucketId {
    BucketId::column(seed(), "category", Some(&category.to_string()))
}

impl Of {
    /// What a list of it depends on.
    pub fn buckets(self) -> Vec<BucketId> {
        match self {
            Self::All => vec![BucketId::relation(seed()), BucketId::sweep(seed())],
            Self::Category(of) => vec![column(of), BucketId::columns(seed()), BucketId::sweep(seed())],
            Self::Either(one, other) => {
                vec![column(one), column(other), BucketId::columns(seed()), BucketId::sweep(seed())]
            }
        }
    }

    pub fn has(self, value: u32) -> bool {
        match self {
            Self::All => true,
            Self::Category(of) => category(value) == of,
            Self::Either(one, other) => [one, other].contains(&category(value)),
        }
    }

    pub fn key(self, shards: &[u16]) -> ListKey {
        ListKey {
            tenant: TENANT,
            collection: PRODUCTS,
            shards: shards.iter().copied().map(ShardId).collect(),
            query: format!("{self:?}").into_bytes().into(),
            variant: None,
        }
    }
}

struct Query {
    of: Of,
    shards: Vec<u16>,
    answer: oneshot::Sender<Result<FetchedList, Problem>>,
    rows: Vec<(i64, u32)>,
    parts: Vec<FetchedPart>,
}

pub type Reader = Pin<Box<dyn Future<Output = Result<ServedList, Problem>>>>;

/// A cache in front of two databases, with the queries under way.
#[derive(Clone)]
pub struct Shop {
    pub cache: Cache,
    pub epochs: Epochs,
    pub dbs: Rc<RefCell<[Database; 2]>>,
    queries: Rc<RefCell<Vec<Query>>>,
    pub sent: Rc<RefCell<usize>>,
}

impl Shop {
    pub fn new(buckets: usize) -> Self {
        let epochs = Epochs::new(2);
        for shard in BOTH {
            epochs.set_base(ShardId(*shard), Epoch(1), Xid(0));
        }
        let cache = Cache::new(&settings(buckets), 2, epochs.clone(), &mut Registry::default());
        let dbs = Rc::new(RefCell::new([Database::new(), Database::new()]));
        Self { cache, epochs, dbs, queries: Rc::default(), sent: Rc::default() }
    }

    /// A reader, not yet polled.
    pub fn reader(&self, of: Of, shards: &'static [u16], bounds: Option<Narrowed>) -> Reader {
        let shop = self.clone();
        Box::pin(async move {
            let key = of.key(shards);
            if let Some(served) = shop.cache.get_list(&key, bounds.as_ref()) {
                return Ok(served);
            }
            let buckets = of.buckets();
            let plan = ListPlan { buckets: &buckets, ttl: TTL, cap: None, bounds: bounds.as_ref() };
            shop.cache.fetch_list(&key, plan, || shop.send(of, shards)).await
        })
    }

    async fn send(&self, of: Of, shards: &[u16]) -> Result<FetchedList, Problem> {
        let (answer, result) = oneshot::channel();
        *self.sent.borrow_mut() += 1;
        let query = Query { of, shards: shards.to_vec(), answer, rows: Vec::new(), parts: Vec::new() };
        self.queries.borrow_mut().push(query);
        result.await.expect("the test answers every query")
    }

    /// Executes the next statement of the oldest query that has one left: it sees its shard as it is now.
    pub fn execute_one(&self) -> bool {
        let mut queries = self.queries.borrow_mut();
        let Some(query) = queries.iter_mut().find(|query| query.parts.len() < query.shards.len()) else { return false };
        let shard = query.shards[query.parts.len()];
        let db = &self.dbs.borrow()[usize::from(shard)];
        query.rows.extend(db.rows().filter(|(_, value)| query.of.has(*value)));
        query.parts.push(FetchedPart { shard: ShardId(shard), snapshot: Arc::new(db.snapshot()), epoch: db.epoch });
        true
    }

    /// Executes everything that was sent.
    pub fn execute(&self) {
        while self.execute_one() {}
    }

    /// Answers the oldest query that was executed on all its shards.
    pub fn deliver(&self) -> bool {
        let done = |query: &Query| query.parts.len() == query.shards.len();
        let Some(at) = self.queries.borrow().iter().position(done) else { return false };
        let Query { answer, mut rows, parts, .. } = self.queries.borrow_mut().remove(at);
        rows.sort_unstable();
        let text: Vec<String> = rows.iter().map(|(key, value)| format!("{key}:{value}")).collect();
        let body = ListBody::new(Bytes::from(text.join(" ")), rows.len() as u64, None);
        // The reader may be gone.
        let _ = answer.send(Ok(FetchedList { body, parts: parts.into_iter().collect() }));
        true
    }

    pub fn begin(&self, key: i64) -> Xid {
        self.dbs.borrow_mut()[shard_of(key)].begin()
    }

    /// What a write raises that takes a row from one value to another.
    pub fn raise(&self, xid: Xid, key: i64, old: Option<u32>, new: Option<u32>) {
        let values = [old, new].into_iter().flatten().map(|value| column(category(value)));
        let buckets: Vec<BucketId> = values.chain([BucketId::relation(seed())]).collect();
        self.raise_these(xid, key, &buckets);
    }

    pub fn raise_these(&self, xid: Xid, key: i64, buckets: &[BucketId]) {
        let shard = shard_of(key);
        let epoch = self.dbs.borrow()[shard].epoch;
        let raised = self.cache.raise(ShardId(u16::try_from(shard).expect("few")), epoch, xid, buckets);
        assert_eq!(raised, tidegate_cache::Raised::Held);
    }

    pub fn commit(&self, xid: Xid, key: i64, value: Option<u32>) {
        self.dbs.borrow_mut()[shard_of(key)].commit(xid, key, value);
    }

    pub fn value(&self, key: i64) -> Option<u32> {
        self.dbs.borrow()[shard_of(key)].value(key)
    }

    /// A whole write that nothing comes between.
    pub fn write(&self, key: i64, value: Option<u32>) {
        let xid = self.begin(key);
        self.raise(xid, key, self.value(key), value);
        self.commit(xid, key, value);
    }

    /// A whole read that nothing comes between.
    pub fn read(&self, of: Of) -> ServedList {
        self.finish(self.reader(of, BOTH, None))
    }

    pub fn finish(&self, mut reader: Reader) -> ServedList {
        if let Some(served) = step(&mut reader) {
            return served;
        }
        self.execute();
        self.deliver();
        step(&mut reader).expect("answered")
    }

    /// Reads until it is kept.
    fn keep(&self, of: Of) {
        for _ in 0..3 {
            self.read(of);
        }
        assert!(is_hit(self.read(of).status), "{of:?} is kept");
    }
}

/// Polls a reader once.
pub fn step(reader: &mut Reader) -> Option<ServedList> {
    match reader.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(served) => Some(served.expect("no query fails here")),
        Poll::Pending => None,
    }
}

pub fn text(served: &ServedList) -> String {
    String::from_utf8(served.body.json.to_vec()).expect("ascii")
}

const X: Of = Of::Category(1);
const Y: Of = Of::Category(2);
const X_OR_Y: Of = Of::Either(1, 2);

#[test]
fn a_list_is_kept_from_the_second_time_on() {
    let shop = Shop::new(1024);
    shop.write(1, Some(100_001));
    let statuses: Vec<CacheStatus> = (0..3).map(|_| shop.read(Of::All).status).collect();
    assert!(matches!(statuses[0], CacheStatus::MissNotStored { reason: NotStored::FirstAsked, .. }), "{statuses:?}");
    assert!(matches!(statuses[1], CacheStatus::MissStored { .. }) && is_hit(statuses[2]), "{statuses:?}");
    shop.write(1, Some(100_002));
    assert!(matches!(shop.read(Of::All).status, CacheStatus::MissStored { .. }), "it was worth its place");
}

#[test]
fn a_list_that_several_ask_for_at_once_is_kept_at_once() {
    let shop = Shop::new(1024);
    let mut readers: Vec<Reader> = (0..100).map(|_| shop.reader(Of::All, BOTH, None)).collect();
    assert!(readers.iter_mut().all(|reader| step(reader).is_none()));
    shop.execute();
    shop.deliver();
    assert!(readers.iter_mut().all(|reader| step(reader).is_some()));
    assert_eq!(*shop.sent.borrow(), 1);
    assert!(is_hit(shop.read(Of::All).status));
}

#[test]
fn a_late_fill_that_read_the_old_rows_is_refused() {
    for of in [Of::All, X] {
        let shop = Shop::new(1024);
        shop.keep(of);
        shop.write(1, Some(100_001));
        let mut slow = shop.reader(of, BOTH, None);
        assert!(step(&mut slow).is_none());
        shop.execute();
        shop.write(2, Some(100_002));
        shop.deliver();
        let served = step(&mut slow).expect("answered");
        assert_eq!(text(&served), "1:100001", "it asked before the write was acknowledged");
        assert!(matches!(served.status, CacheStatus::MissNotStored { reason: NotStored::Floor, .. }));
        assert_eq!(text(&shop.read(of)), "1:100001 2:100002");
    }
}

#[test]
fn a_reader_that_joins_between_floor_and_commit_is_not_served_the_old_rows() {
    for of in [Of::All, X] {
        let shop = Shop::new(1024);
        shop.write(1, Some(100_001));
        let xid = shop.begin(1);
        shop.raise(xid, 1, Some(100_001), Some(100_002));
        let mut leader = shop.reader(of, BOTH, None);
        assert!(step(&mut leader).is_none());
        shop.execute();
        shop.commit(xid, 1, Some(100_002));
        // Acknowledged; no floor has risen since the flight left.
        let mut late = shop.reader(of, BOTH, None);
        assert!(step(&mut late).is_none());
        shop.deliver();
        assert_eq!(text(&step(&mut leader).expect("answered")), "1:100001");
        assert!(step(&mut late).is_none(), "it moves to the next flight");
        shop.execute();
        shop.deliver();
        assert_eq!(text(&step(&mut late).expect("answered")), "1:100002");
    }
}

#[test]
fn a_row_that_moves_from_one_value_to_another_changes_both_lists_and_no_third() {
    let shop = Shop::new(1 << 16);
    shop.write(1, Some(100_001));
    let z = Of::Category(3);
    [X, Y, z].into_iter().for_each(|of| shop.keep(of));
    shop.write(1, Some(200_001));
    assert!(is_hit(shop.read(z).status), "nothing in it changed");
    assert_eq!((text(&shop.read(X)), text(&shop.read(Y))), (String::new(), "1:200001".into()));
}

#[test]
fn a_list_of_two_values_changes_with_each_of_them_and_with_no_third() {
    for (before, after, shown) in [(100_001, 300_001, ""), (300_001, 200_001, "1:200001")] {
        let shop = Shop::new(1 << 16);
        shop.write(1, Some(before));
        shop.keep(X_OR_Y);
        shop.write(3, Some(300_002));
        assert!(is_hit(shop.read(X_OR_Y).status), "of a third");
        shop.write(1, Some(after));
        assert_eq!(text(&shop.read(X_OR_Y)), shown);
    }
}

#[test]
fn an_insert_changes_an_empty_list_and_a_delete_empties_it() {
    for of in [Of::All, X] {
        let shop = Shop::new(1 << 16);
        shop.keep(of);
        assert_eq!(text(&shop.read(of)), "");
        shop.write(1, Some(100_001));
        assert_eq!(text(&shop.read(of)), "1:100001");
        shop.keep(of);
        shop.write(1, None);
        assert_eq!(text(&shop.read(of)), "");
    }
}

#[test]
fn changes_that_name_no_values_reach_the_lists_of_every_value() {
    // A bulk change, a cascade; and rows whose old values nobody read.
    for buckets in
        [[BucketId::relation(seed()), BucketId::sweep(seed())], [BucketId::relation(seed()), BucketId::columns(seed())]]
    {
        let shop = Shop::new(1 << 16);
        shop.write(1, Some(100_001));
        [Of::All, X, Y].into_iter().for_each(|of| shop.keep(of));
        let xid = shop.begin(1);
        shop.raise_these(xid, 1, &buckets);
        shop.commit(xid, 1, Some(200_001));
        let lists = [Of::All, X, Y].map(|of| text(&shop.read(of)));
        assert_eq!(lists, ["1:200001", "", "1:200001"], "{buckets:?}");
        [Of::All, X, Y].into_iter().for_each(|of| shop.keep(of));
        shop.dbs.borrow_mut()[1].begin();
        shop.cache.void(ShardId(1), &buckets);
        assert!([Of::All, X, Y].into_iter().all(|of| !is_hit(shop.read(of).status)), "{buckets:?}");
    }
}

#[test]
fn a_merged_list_changes_with_each_of_its_shards() {
    for key in [1, 2] {
        let shop = Shop::new(1 << 16);
        shop.keep(Of::All);
        let one: &[u16] = if shard_of(key) == 0 { &[1] } else { &[0] };
        let other = || shop.finish(shop.reader(Of::All, one, None));
        other();
        other();
        shop.write(key, Some(100_001));
        assert_eq!(text(&shop.read(Of::All)), format!("{key}:100001"));
        assert!(is_hit(other().status), "a list of the other shard alone");
    }
}

#[test]
fn a_fill_is_refused_if_one_of_its_statements_read_too_early() {
    for written in [1, 2] {
        let shop = Shop::new(1 << 16);
        shop.keep(Of::All);
        shop.write(3, Some(1));
        let mut slow = shop.reader(Of::All, BOTH, None);
        assert!(step(&mut slow).is_none());
        if written == 2 {
            assert!(shop.execute_one(), "the first shard's statement");
        } else {
            shop.execute();
        }
        shop.write(written, Some(1));
        shop.execute();
        shop.deliver();
        assert!(matches!(
            step(&mut slow).expect("answered").status,
            CacheStatus::MissNotStored { reason: NotStored::Floor, .. }
        ));
        assert!(text(&shop.read(Of::All)).contains(&format!("{written}:1")));
    }
}

#[test]
fn an_epoch_of_one_shard_voids_the_lists_that_it_is_part_of() {
    let shop = Shop::new(1 << 16);
    shop.write(1, Some(100_001));
    shop.keep(Of::All);
    let epoch = shop.epochs.advance(ShardId(1));
    shop.epochs.set_base(ShardId(1), epoch, Xid(0));
    shop.dbs.borrow_mut()[1].fail_over(epoch);
    assert!(!is_hit(shop.read(Of::All).status));
    assert!(is_hit(shop.read(Of::All).status));
}

#[test]
fn a_statement_of_an_epoch_without_a_base_is_not_kept() {
    let shop = Shop::new(1 << 16);
    shop.keep(Of::All);
    let epoch = shop.epochs.advance(ShardId(0));
    shop.dbs.borrow_mut()[0].fail_over(epoch);
    assert!(!is_hit(shop.read(Of::All).status) && !is_hit(shop.read(Of::All).status));
}

#[test]
fn a_purged_tag_reaches_the_lists_that_have_it_on_each_shard() {
    for shard in BOTH {
        let shop = Shop::new(1 << 16);
        let bounds = |tag: &str| Some(Narrowed { tags: vec![BucketId::tag(TENANT, tag)], ..Narrowed::default() });
        let read = |tag: &str| shop.finish(shop.reader(Of::All, BOTH, bounds(tag))).status;
        read("a");
        read("a");
        assert!(is_hit(read("a")));
        assert!(!is_hit(read("b")), "purging its tag would not reach the entry");
        assert!(is_hit(read("b")));
        shop.cache.void(ShardId(*shard), &[BucketId::tag(TENANT, "a")]);
        assert!(is_hit(read("b")));
        shop.cache.void(ShardId(*shard), &[BucketId::tag(TENANT, "b")]);
        assert!(!is_hit(read("b")));
        shop.cache.void(ShardId(*shard), &[BucketId::tagged(TENANT)]);
        assert!(!is_hit(read("b")));
    }
}

#[test]
fn a_fill_sent_before_a_void_is_neither_kept_nor_shared() {
    for shard in BOTH {
        let shop = Shop::new(1 << 16);
        shop.keep(Of::All);
        shop.write(1, Some(100_001));
        let mut leader = shop.reader(Of::All, BOTH, None);
        assert!(step(&mut leader).is_none());
        shop.execute();
        shop.cache.void(ShardId(*shard), &[BucketId::relation(seed())]);
        let mut late = shop.reader(Of::All, BOTH, None);
        assert!(step(&mut late).is_none());
        shop.deliver();
        assert!(matches!(
            step(&mut leader).expect("answered").status,
            CacheStatus::MissNotStored { reason: NotStored::Purged, .. }
        ));
        assert!(step(&mut late).is_none());
        shop.execute();
        shop.deliver();
        assert!(step(&mut late).is_some());
    }
}

#[tokio::test(start_paused = true)]
async fn times_are_the_collections_and_a_policy_shortens_them() {
    let shop = Shop::new(1024);
    shop.keep(Of::All);
    tokio::time::advance(Duration::from_secs(10)).await;
    let CacheStatus::Hit { age, ttl } = shop.read(Of::All).status else { panic!("expected a hit") };
    assert_eq!((age.as_secs(), ttl.as_secs()), (10, 50));
    let within = |secs| Some(Narrowed { ttl: Some(Duration::from_secs(secs)), ..Narrowed::default() });
    let read = |secs| shop.finish(shop.reader(Of::All, BOTH, within(secs))).status;
    let CacheStatus::Hit { ttl, .. } = read(11) else { panic!("expected a hit") };
    assert_eq!(ttl.as_secs(), 1);
    assert!(matches!(read(10), CacheStatus::MissStored { ttl, .. } if ttl.as_secs() == 10));
    tokio::time::advance(Duration::from_secs(10)).await;
    assert!(!is_hit(shop.read(Of::All).status));
}
