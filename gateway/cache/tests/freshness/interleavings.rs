//! The interleavings that make caches stale, stepped by hand.

use std::time::Duration;

use crate::support::{SHARD, World, is_hit, row_bucket, step, value};
use tidegate_cache::Raised;
use tidegate_types::{
    answer::{CacheStatus, Collapse, NotStored},
    epoch::Epoch,
    snapshot::Xid,
};

#[test]
fn a_miss_fills_and_the_next_read_hits() {
    let world = World::new(1024);
    world.write(1, Some(10));
    assert!(matches!(world.read(1).status, CacheStatus::MissStored { collapse: Collapse::Led, .. }));
    let hit = world.read(1);
    assert!(is_hit(hit.status));
    assert_eq!(value(&hit), Some(10));
}

#[test]
fn a_fill_that_read_the_old_row_is_refused_after_the_commit() {
    let world = World::new(1024);
    world.write(1, Some(1));
    let mut slow = world.reader(1);
    assert!(step(&mut slow).is_none());
    world.execute();
    world.write(1, Some(2));
    world.deliver();
    let served = step(&mut slow).expect("answered");
    assert_eq!(value(&served), Some(1), "it asked before the write was acknowledged");
    assert!(matches!(served.status, CacheStatus::MissNotStored { reason: NotStored::Floor, .. }));
    assert_eq!(value(&world.read(1)), Some(2));
}

#[test]
fn a_fill_between_floor_and_commit_is_refused_and_served() {
    let world = World::new(1024);
    world.write(1, Some(1));
    let xid = world.db.borrow_mut().begin();
    world.raise(xid, 1);
    let served = world.read(1);
    assert_eq!(value(&served), Some(1));
    assert!(matches!(served.status, CacheStatus::MissNotStored { reason: NotStored::Floor, .. }));
    world.db.borrow_mut().commit(xid, 1, Some(2));
    assert_eq!(value(&world.read(1)), Some(2));
    assert!(is_hit(world.read(1).status), "fills resume as soon as the transaction has ended");
}

#[test]
fn a_lower_xid_that_commits_after_a_higher_one_is_seen() {
    let world = World::new(1024);
    world.write(1, Some(1));
    let lower = world.db.borrow_mut().begin();
    let higher = world.db.borrow_mut().begin();
    world.raise(higher, 1);
    world.db.borrow_mut().commit(higher, 1, Some(2));
    assert_eq!(value(&world.read(1)), Some(2));
    assert!(is_hit(world.read(1).status), "the lower one has not touched the row yet");
    world.raise(lower, 1);
    assert!(!is_hit(world.read(1).status));
    world.db.borrow_mut().commit(lower, 1, Some(3));
    assert_eq!(value(&world.read(1)), Some(3));
}

#[test]
fn a_reader_that_joins_after_the_acknowledgement_is_not_served_the_old_row() {
    let world = World::new(1024);
    world.write(1, Some(1));
    let xid = world.db.borrow_mut().begin();
    world.raise(xid, 1);
    let mut leader = world.reader(1);
    assert!(step(&mut leader).is_none());
    world.execute();
    world.db.borrow_mut().commit(xid, 1, Some(2));
    // Acknowledged. The floor has not risen since the flight left.
    let (mut late, mut later) = (world.reader(1), world.reader(1));
    assert!(step(&mut late).is_none());
    assert!(step(&mut later).is_none());
    world.deliver();
    assert_eq!(value(&step(&mut leader).expect("answered")), Some(1), "it asked before the acknowledgement");
    assert!(step(&mut late).is_none(), "it moves to the next flight");
    assert!(step(&mut later).is_none(), "so does this one");
    world.execute();
    world.deliver();
    for reader in [&mut late, &mut later] {
        assert_eq!(value(&step(reader).expect("answered")), Some(2));
    }
    assert_eq!(*world.sent.borrow(), 2, "one next flight for all who were refused");
}

#[test]
fn a_reader_that_moved_is_served_by_the_next_flight_even_when_floors_keep_rising() {
    let world = World::new(1024);
    world.write(1, Some(1));
    let mut leader = world.reader(1);
    assert!(step(&mut leader).is_none());
    world.execute();
    let mut late = world.reader(1);
    assert!(step(&mut late).is_none());
    world.write(1, Some(2));
    world.deliver();
    assert!(step(&mut leader).is_some());
    let mut next = world.reader(1);
    assert!(step(&mut next).is_none(), "leads the next flight");
    assert!(step(&mut late).is_none(), "joins it");
    world.execute();
    world.write(1, Some(3));
    world.deliver();
    assert_eq!(value(&step(&mut next).expect("answered")), Some(2));
    assert_eq!(value(&step(&mut late).expect("answered")), Some(2), "the flight left after it asked");
}

#[test]
fn an_abort_needs_no_clean_up() {
    let world = World::new(1024);
    world.write(1, Some(1));
    let xid = world.db.borrow_mut().begin();
    world.raise(xid, 1);
    assert!(!is_hit(world.read(1).status));
    world.db.borrow_mut().abort(xid);
    assert_eq!(value(&world.read(1)), Some(1));
    assert!(is_hit(world.read(1).status));
}

#[test]
fn an_insert_ends_a_negative_entry_and_a_delete_a_positive_one() {
    let world = World::new(1024);
    assert_eq!(value(&world.read(1)), None);
    assert!(is_hit(world.read(1).status), "absence is cached too");
    world.write(1, Some(1));
    assert_eq!(value(&world.read(1)), Some(1));
    world.write(1, None);
    assert_eq!(value(&world.read(1)), None);
    let mut slow = world.reader(1);
    assert!(step(&mut slow).is_some(), "a hit");
    world.write(1, Some(2));
    assert_eq!(value(&world.read(1)), Some(2));
}

#[test]
fn a_late_negative_fill_does_not_hide_an_insert() {
    let world = World::new(1024);
    let mut slow = world.reader(1);
    assert!(step(&mut slow).is_none());
    world.execute();
    world.write(1, Some(1));
    world.deliver();
    assert_eq!(value(&step(&mut slow).expect("answered")), None);
    assert_eq!(value(&world.read(1)), Some(1));
}

#[test]
fn keys_that_share_a_bucket_refuse_fills_and_never_go_stale() {
    let world = World::new(1);
    world.write(1, Some(1));
    world.write(2, Some(2));
    world.read(1);
    assert!(is_hit(world.read(1).status));
    let xid = world.db.borrow_mut().begin();
    world.raise(xid, 2);
    assert!(!is_hit(world.read(1).status), "the other key's write costs this one its entry");
    world.db.borrow_mut().commit(xid, 2, Some(3));
    assert_eq!(value(&world.read(2)), Some(3));
    assert_eq!(value(&world.read(1)), Some(1));
}

#[test]
fn a_new_epoch_voids_entries_and_flights() {
    let world = World::new(1024);
    world.write(1, Some(1));
    world.read(1);
    world.write(2, Some(1));
    let mut old = world.reader(2);
    assert!(step(&mut old).is_none());
    world.execute();
    world.begin_epoch();
    let mut late = world.reader(2);
    assert!(step(&mut late).is_none());
    world.deliver();
    assert!(matches!(
        step(&mut old).expect("answered").status,
        CacheStatus::MissNotStored { reason: NotStored::Epoch, .. }
    ));
    assert!(step(&mut late).is_none(), "a result of the old epoch is not shared");
    world.execute();
    world.deliver();
    assert!(step(&mut late).is_some());
    assert!(is_hit(world.read(2).status));
    assert!(!is_hit(world.read(1).status), "an entry of the old epoch");
}

#[test]
fn what_a_gateway_that_died_left_under_way_is_waited_for() {
    let world = World::new(1024);
    world.write(1, Some(1));
    // Its floors died with it, and it may commit at any time.
    let orphan = world.db.borrow_mut().begin();
    let epoch = world.epochs.advance(SHARD);
    world.db.borrow_mut().epoch = epoch;
    world.take_base(epoch);
    assert!(matches!(world.read(1).status, CacheStatus::MissNotStored { reason: NotStored::Floor, .. }));
    world.db.borrow_mut().commit(orphan, 1, Some(2));
    assert_eq!(value(&world.read(1)), Some(2));
    assert!(is_hit(world.read(1).status));
}

#[test]
fn nothing_is_kept_before_the_base_is_known() {
    let world = World::new(1024);
    world.write(1, Some(1));
    let epoch = world.epochs.advance(SHARD);
    world.db.borrow_mut().epoch = epoch;
    world.read(1);
    assert!(!is_hit(world.read(1).status));
    world.take_base(epoch);
    world.read(1);
    assert!(is_hit(world.read(1).status));
}

#[test]
fn a_leader_that_goes_away_leaves_the_fetch_to_those_who_wait() {
    let world = World::new(1024);
    world.write(1, Some(1));
    let (mut leader, mut waiting) = (world.reader(1), world.reader(1));
    assert!(step(&mut leader).is_none());
    assert!(step(&mut waiting).is_none());
    drop(leader);
    assert!(step(&mut waiting).is_none(), "it leads now");
    assert_eq!(*world.sent.borrow(), 2);
    world.queries.borrow_mut().remove(0);
    world.execute();
    world.deliver();
    assert_eq!(value(&step(&mut waiting).expect("answered")), Some(1));
    assert_eq!(world.cache.flights(), 0);
}

#[test]
fn many_readers_of_a_cold_key_send_one_query() {
    let world = World::new(1024);
    world.write(1, Some(1));
    let mut readers: Vec<_> = (0..10_000).map(|_| world.reader(1)).collect();
    assert!(readers.iter_mut().all(|r| step(r).is_none()));
    world.execute();
    world.deliver();
    assert!(readers.iter_mut().all(|r| step(r).map(|s| value(&s)) == Some(Some(1))));
    assert_eq!(*world.sent.borrow(), 1);
}

#[tokio::test(start_paused = true)]
async fn entries_expire_negative_ones_sooner() {
    let world = World::new(1024);
    world.write(1, Some(1));
    world.read(1);
    world.read(2);
    tokio::time::advance(Duration::from_secs(6)).await;
    let hit = world.read(1);
    let CacheStatus::Hit { age, ttl } = hit.status else { panic!("expected a hit") };
    assert_eq!((age.as_secs(), ttl.as_secs()), (6, 54));
    assert!(!is_hit(world.read(2).status), "negative entries live 5 s here");
    tokio::time::advance(Duration::from_secs(54)).await;
    assert!(!is_hit(world.read(1).status));
}

#[test]
fn a_row_over_the_limit_is_served_and_not_stored() {
    let mut settings = crate::support::settings(16);
    settings.max_entry_bytes = 1;
    let mut world = World::new(16);
    world.cache = tidegate_cache::Cache::new(
        &settings,
        1,
        world.epochs.clone(),
        &mut prometheus_client::registry::Registry::default(),
    );
    world.write(1, Some(12));
    for _ in 0..2 {
        let served = world.read(1);
        assert_eq!(value(&served), Some(12));
        assert!(matches!(served.status, CacheStatus::MissNotStored { reason: NotStored::TooLarge, .. }));
    }
}

/// An xid of one's own, ended at once, as a gateway takes it after its row in the member table was committed.
fn own_xid(world: &World) -> Xid {
    let mut db = world.db.borrow_mut();
    let xid = db.begin();
    db.abort(xid);
    xid
}

#[test]
fn a_gateway_that_may_have_missed_floors_keeps_nothing_of_before() {
    let world = World::new(1024);
    world.write(1, Some(1));
    world.read(1);
    assert!(is_hit(world.read(1).status));
    // Another gateway's write, of which this one is not told: it is not committed when this one joins again.
    let missed = world.db.borrow_mut().begin();
    let mut early = world.reader(2);
    assert!(step(&mut early).is_none());
    world.execute();
    let base = own_xid(&world);
    world.cache.rebase(SHARD, Epoch(1), base).expect("the same epoch");
    world.deliver();
    assert!(step(&mut early).is_some(), "the reader of before has its row");
    assert!(!is_hit(world.read(2).status), "which was not kept");
    assert!(!is_hit(world.read(1).status), "what was kept is void");
    assert!(!is_hit(world.read(1).status), "and nothing is kept while an older write is under way");
    world.db.borrow_mut().commit(missed, 1, Some(2));
    assert_eq!(value(&world.read(1)), Some(2));
    assert!(is_hit(world.read(1).status));
}

#[test]
fn joining_again_forgets_no_floor_that_was_raised() {
    let world = World::new(1024);
    world.write(1, Some(1));
    let base = own_xid(&world);
    // Begins after the base was taken, hears of the joined gateway, and raises before everything is void.
    let xid = world.db.borrow_mut().begin();
    world.raise(xid, 1);
    world.cache.rebase(SHARD, Epoch(1), base).expect("the same epoch");
    assert_eq!(value(&world.read(1)), Some(1));
    world.db.borrow_mut().commit(xid, 1, Some(2));
    let after = world.read(1);
    assert_eq!(value(&after), Some(2), "what was read before the commit was not kept");
}

#[test]
fn a_base_of_an_epoch_that_is_over_is_refused() {
    let world = World::new(16);
    let base = own_xid(&world);
    let second = world.begin_epoch();
    assert_eq!(world.cache.rebase(SHARD, Epoch(1), base), Err(second));
}

/// An epoch begins while the server lives on: it shows itself otherwise, its xids go on, and so do its connections.
fn shown_otherwise(world: &World) {
    let epoch = world.epochs.advance(SHARD);
    world.set_lineage();
    world.db.borrow_mut().epoch = epoch;
    world.take_base(epoch);
}

fn raise_as_of(world: &World, epoch: Epoch, xid: Xid) -> Raised {
    world.cache.raise(SHARD, epoch, xid, &[row_bucket(1)])
}

#[test]
fn a_write_on_a_connection_of_an_epoch_that_is_over_may_not_commit() {
    let world = World::new(1024);
    world.write(1, Some(1));
    world.read(1);
    shown_otherwise(&world);
    // The connection was taken before; the transaction has its id above the base.
    let xid = world.db.borrow_mut().begin();
    assert_eq!(raise_as_of(&world, Epoch(1), xid), Raised::EpochOver, "the bucket was not looked at since");
    assert_eq!(value(&world.read(1)), Some(1));
    assert!(is_hit(world.read(1).status), "no floor keeps the old row out: after COMMIT it would be served");
    assert_eq!(raise_as_of(&world, Epoch(1), xid), Raised::EpochOver, "the bucket is of the new epoch");
    world.db.borrow_mut().abort(xid);
    assert_eq!(value(&world.read(1)), Some(1));
    assert!(is_hit(world.read(1).status), "nothing has to be undone");
}

#[test]
fn a_write_whose_floors_rose_before_its_epoch_ended_may_commit() {
    let world = World::new(1024);
    world.write(1, Some(1));
    world.read(1);
    let xid = world.db.borrow_mut().begin();
    assert_eq!(raise_as_of(&world, Epoch(1), xid), Raised::Held);
    shown_otherwise(&world);
    assert_eq!(value(&world.read(1)), Some(1));
    assert!(!is_hit(world.read(1).status), "the floor is void; the base is above the transaction");
    world.db.borrow_mut().commit(xid, 1, Some(2));
    assert_eq!(value(&world.read(1)), Some(2));
    assert!(is_hit(world.read(1).status));
}
