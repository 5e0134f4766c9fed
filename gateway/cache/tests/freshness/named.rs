//! Interleavings of several gateways, of the change feed and of dying writers, stepped by hand. Where the others of
//! the twenty are tested is said in `gateway/docs/TESTING.md`.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use crate::support::{SHARD, World, is_hit, row_bucket, step, value};
use tidegate_cache::{Holding, Raised, Validity};
use tidegate_types::{epoch::Epoch, route::ShardId, snapshot::Xid};

/// A lease that a test ends.
#[derive(Debug, Default)]
struct Lease(AtomicBool);

impl Validity for Lease {
    fn holds(&self, _: ShardId) -> Holding {
        if self.0.load(Ordering::SeqCst) { Holding::Held } else { Holding::Lapsed }
    }
}

fn leased(world: &World) -> Arc<Lease> {
    let lease = Arc::new(Lease(AtomicBool::new(true)));
    world.cache.guard(lease.clone());
    lease
}

/// The feed tells of a commit that is in the log and that nobody sees yet.
#[test]
fn event_before_visibility() {
    let world = World::new(1024);
    world.write(1, Some(1));
    world.read(1);
    let outside = world.db.borrow_mut().begin();
    world.raise(outside, 1);
    let early = world.read(1);
    assert_eq!(value(&early), Some(1), "it is not visible yet");
    assert!(!is_hit(world.read(1).status), "so it was not kept");
    world.db.borrow_mut().commit(outside, 1, Some(2));
    assert_eq!(value(&world.read(1)), Some(2));
    assert!(is_hit(world.read(1).status));
}

/// The feed tells of a commit long after it was visible, and again.
#[test]
fn duplicate_and_late_events_cost_a_fill_and_nothing_else() {
    let world = World::new(1024);
    let outside = world.db.borrow_mut().begin();
    world.db.borrow_mut().commit(outside, 1, Some(1));
    assert_eq!(value(&world.read(1)), Some(1));
    for _ in 0..2 {
        world.raise(outside, 1);
        assert_eq!(value(&world.read(1)), Some(1));
        assert!(is_hit(world.read(1).status), "what sees the transaction is kept");
    }
}

#[test]
fn writer_dies_after_floor_before_commit() {
    let world = World::new(1024);
    world.write(1, Some(1));
    world.read(1);
    let orphan = world.db.borrow_mut().begin();
    world.raise(orphan, 1);
    assert!(!is_hit(world.read(1).status));
    assert!(!is_hit(world.read(1).status), "the backend still runs");
    world.db.borrow_mut().abort(orphan);
    assert_eq!(value(&world.read(1)), Some(1));
    assert!(is_hit(world.read(1).status), "nothing had to be cleaned up");
}

#[test]
fn writer_dies_while_its_commit_is_under_way() {
    let world = World::new(1024);
    world.write(1, Some(1));
    let orphan = world.db.borrow_mut().begin();
    world.raise(orphan, 1);
    let mut reader = world.reader(1);
    assert!(step(&mut reader).is_none());
    world.execute();
    // Nobody waits for the answer.
    world.db.borrow_mut().commit(orphan, 1, Some(2));
    world.deliver();
    assert_eq!(step(&mut reader).as_ref().and_then(value), Some(1), "it asked before");
    assert_eq!(value(&world.read(1)), Some(2));
}

#[test]
fn writer_dies_after_its_commit() {
    let world = World::new(1024);
    world.write(1, Some(1));
    world.read(1);
    world.write(1, Some(2));
    assert_eq!(value(&world.read(1)), Some(2), "whether it was acknowledged or not");
    assert!(is_hit(world.read(1).status));
}

/// The floors of a savepoint that was rolled back stay; the row they are about has not changed.
#[test]
fn savepoint_rolled_back() {
    let world = World::new(1024);
    world.write(1, Some(1));
    world.read(1);
    let xid = world.db.borrow_mut().begin();
    world.raise(xid, 1);
    world.raise(xid, 2);
    world.db.borrow_mut().commit(xid, 2, Some(2));
    assert_eq!(value(&world.read(1)), Some(1));
    assert!(is_hit(world.read(1).status));
    assert_eq!(value(&world.read(2)), Some(2));
}

/// COMMIT itself fails: a deferred trigger or constraint.
#[test]
fn deferred_trigger_refuses_the_commit() {
    let world = World::new(1024);
    world.write(1, Some(1));
    let refused = world.db.borrow_mut().begin();
    world.raise(refused, 1);
    let mut reader = world.reader(1);
    assert!(step(&mut reader).is_none());
    world.execute();
    world.db.borrow_mut().abort(refused);
    world.deliver();
    assert_eq!(step(&mut reader).as_ref().and_then(value), Some(1));
    assert_eq!(value(&world.read(1)), Some(1));
    assert!(is_hit(world.read(1).status));
}

/// Ten seconds during which the process does not run: others wait its lease out, fence it and go on.
#[test]
fn gateway_paused_for_ten_seconds() {
    let world = World::new(1024);
    let lease = leased(&world);
    world.write(1, Some(1));
    world.read(1);
    assert!(is_hit(world.read(1).status));
    let mut flight = world.reader(2);
    assert!(step(&mut flight).is_none());
    world.execute();
    lease.0.store(false, Ordering::SeqCst);
    // Writes of others, of which it hears nothing.
    for (key, new) in [(1, 2), (2, 2)] {
        let xid = world.db.borrow_mut().begin();
        world.db.borrow_mut().commit(xid, key, Some(new));
    }
    let mut late = world.reader(2);
    assert!(step(&mut late).is_none());
    world.deliver();
    assert_eq!(step(&mut flight).map(|served| value(&served)), Some(None), "it asked before the pause");
    assert!(step(&mut late).is_none(), "a flight of before the pause is not joined");
    world.execute();
    world.deliver();
    assert_eq!(step(&mut late).as_ref().and_then(value), Some(2));
    assert_eq!(value(&world.read(1)), Some(2), "not what it kept");
    // It joins again.
    let base = {
        let mut db = world.db.borrow_mut();
        let xid = db.begin();
        db.abort(xid);
        xid
    };
    world.cache.rebase(SHARD, Epoch(1), base).expect("the same epoch");
    lease.0.store(true, Ordering::SeqCst);
    assert_eq!(value(&world.read(1)), Some(2));
    assert_eq!(value(&world.read(2)), Some(2));
    assert!(is_hit(world.read(1).status));
}

/// A write that moves a row to another key raises both.
#[test]
fn key_update() {
    let world = World::new(1024);
    world.write(1, Some(1));
    world.read(1);
    assert_eq!(value(&world.read(2)), None);
    assert!(is_hit(world.read(1).status) && is_hit(world.read(2).status));
    let xid = world.db.borrow_mut().begin();
    let raised = world.cache.raise(SHARD, Epoch(1), xid, &[row_bucket(1), row_bucket(2)]);
    assert_eq!(raised, Raised::Held);
    // One transaction: the model commits it once, with what the other key becomes.
    world.db.borrow_mut().history.entry(2).or_insert_with(|| vec![None]).push(Some(1));
    world.db.borrow_mut().commit(xid, 1, None);
    assert_eq!((value(&world.read(1)), value(&world.read(2))), (None, Some(1)));
}

/// Five raised transactions fold; a lower one that is told later still counts.
#[test]
fn lower_xid_after_many_higher() {
    let world = World::new(1);
    world.write(1, Some(1));
    let lower = world.db.borrow_mut().begin();
    for key in 2..9 {
        let xid: Xid = world.db.borrow_mut().begin();
        world.raise(xid, key);
        world.db.borrow_mut().commit(xid, key, Some(1));
    }
    world.raise(lower, 1);
    assert_eq!(value(&world.read(1)), Some(1));
    assert!(!is_hit(world.read(1).status));
    world.db.borrow_mut().commit(lower, 1, Some(2));
    assert_eq!(value(&world.read(1)), Some(2));
}
