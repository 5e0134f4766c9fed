//! What a monitor sees of the tiers is what a read would be served, and looking changes nothing.

use std::{
    sync::Arc,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use tidegate_cache::{FillPlan, Holding, Peeked, Validity};
use tidegate_types::{bucket::BucketId, route::ShardId};

use crate::support::{NEGATIVE_TTL, SHARD, TTL, World, entry_key, is_hit, row_bucket, seed};

/// What the two tiers of a gateway would serve of a row.
fn peek(world: &World, id: i64) -> [Peeked; 2] {
    let plan = FillPlan { seed: seed(), shared: Some(7), ttl: TTL, negative_ttl: NEGATIVE_TTL, bounds: None };
    let key = entry_key(id);
    let shared = std::pin::pin!(world.cache.peek_shared(&key, plan));
    let Poll::Ready(shared) = shared.poll(&mut Context::from_waker(Waker::noop())) else {
        panic!("it answers at once")
    };
    [world.cache.peek(&key), shared]
}

fn row(value: u32) -> Peeked {
    Peeked::Served(Some(Bytes::from(value.to_string())))
}

const ABSENT: Peeked = Peeked::Absent;
const REFUSED: Peeked = Peeked::Refused;

#[test]
fn each_tier_shows_what_it_would_serve_and_looking_keeps_nothing() {
    let one = World::shared(1024);
    one.write(1, Some(1));
    let other = one.beside(1024);
    assert_eq!(peek(&one, 1), [ABSENT, ABSENT]);
    one.read(1);
    one.read(2);
    assert_eq!(peek(&one, 1), [row(1), row(1)]);
    assert_eq!(peek(&one, 2), [Peeked::Served(None), Peeked::Served(None)], "also that there is none");
    for _ in 0..2 {
        assert_eq!(peek(&other, 1), [ABSENT, row(1)]);
    }
    other.tier().flush();
    assert_eq!(peek(&one, 1), [row(1), ABSENT]);
    assert!(!is_hit(other.read(1).status), "looking left nothing to be served");
    let unshared = World::new(1024);
    unshared.read(1);
    assert_eq!(peek(&unshared, 1), [Peeked::Served(None), ABSENT]);
}

#[test]
fn what_the_floors_refuse_is_refused_and_what_nobody_was_told_of_is_not() {
    let one = World::shared(1024);
    one.write(1, Some(1));
    let other = one.beside(1024);
    one.read(1);
    other.read(1);
    // Nobody raises a floor for it.
    let xid = one.db.borrow_mut().begin();
    one.db.borrow_mut().commit(xid, 1, Some(2));
    assert_eq!(peek(&one, 1), [row(1), row(1)], "stale, and served");
    one.cache.void(SHARD, &[row_bucket(1)]);
    assert_eq!(peek(&one, 1), [REFUSED, REFUSED]);
    assert_eq!(peek(&other, 1), [row(1), row(1)], "nobody told it");
    let xid = one.db.borrow_mut().begin();
    other.raise(xid, 1);
    assert_eq!(peek(&other, 1), [REFUSED, REFUSED], "a write is under way");
    one.db.borrow_mut().commit(xid, 1, Some(3));
    assert!(!is_hit(one.read(1).status));
    assert_eq!(peek(&other, 1), [REFUSED, row(3)], "another gateway's read replaced what is shared");
    other.cache.void(SHARD, &[BucketId::sweep(seed())]);
    assert_eq!(peek(&other, 1), [REFUSED, REFUSED]);
}

#[derive(Debug)]
struct Lapsed;

impl Validity for Lapsed {
    fn holds(&self, _: ShardId) -> Holding {
        Holding::Lapsed
    }
}

#[test]
fn without_a_lease_both_tiers_refuse() {
    let world = World::shared(1024);
    world.read(1);
    world.cache.guard(Arc::new(Lapsed));
    assert_eq!(peek(&world, 1), [REFUSED, REFUSED]);
}
