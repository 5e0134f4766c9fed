//! Tenants, tags, variants, bounds and voids, stepped by hand.

use std::time::Duration;

use crate::support::{
    OTHER_TENANT, SHARD, TENANT, World, entry_key, is_hit, other_tenants_entry_key, row_bucket, step, tag_of, tagged,
    value,
};
use tidegate_cache::{EntryKey, Grace};
use tidegate_types::{
    answer::{CacheStatus, NotStored, StaleReason},
    bucket::BucketId,
    policy::Narrowed,
    purge::Softness,
};

#[test]
fn a_write_of_one_tenant_voids_what_another_cached_of_the_same_row() {
    let world = World::new(1024);
    world.write(1, Some(1));
    let of = |key: EntryKey| world.finish(world.reader_of(key, 1));
    for tenant in [entry_key(1), other_tenants_entry_key(1)] {
        assert!(!is_hit(of(tenant.clone()).status), "entries are each tenant's own");
        assert!(is_hit(of(tenant).status));
    }
    world.write(1, Some(2));
    for tenant in [entry_key(1), other_tenants_entry_key(1)] {
        assert_eq!(value(&of(tenant)), Some(2));
    }
}

#[test]
fn a_void_ends_what_is_kept_and_fills_resume_at_once() {
    let world = World::new(1024);
    world.write(1, Some(1));
    // One that a floor would have to wait for.
    let _endless = world.db.borrow_mut().begin();
    world.read(1);
    assert!(is_hit(world.read(1).status));
    world.change_elsewhere(1, Some(2), &[row_bucket(1)]);
    let read = world.read(1);
    assert!(matches!(read.status, CacheStatus::MissStored { .. }));
    assert_eq!(value(&read), Some(2));
    assert!(is_hit(world.read(1).status));
}

#[test]
fn a_fill_sent_before_a_void_is_served_to_its_reader_and_not_kept() {
    let world = World::new(1024);
    world.write(1, Some(1));
    let mut slow = world.reader(1);
    assert!(step(&mut slow).is_none());
    world.execute();
    world.change_elsewhere(1, Some(2), &[row_bucket(1)]);
    world.deliver();
    let served = step(&mut slow).expect("answered");
    assert_eq!(value(&served), Some(1), "it asked before the void");
    assert!(matches!(served.status, CacheStatus::MissNotStored { reason: NotStored::Purged, .. }));
    assert_eq!(value(&world.read(1)), Some(2));
}

#[test]
fn a_reader_that_joins_after_a_void_is_not_served_what_was_sent_before_it() {
    let world = World::new(1024);
    world.write(1, Some(1));
    let (mut leader, mut early) = (world.reader(1), world.reader(1));
    assert!(step(&mut leader).is_none() && step(&mut early).is_none());
    world.execute();
    world.change_elsewhere(1, Some(2), &[row_bucket(1)]);
    let mut late = world.reader(1);
    assert!(step(&mut late).is_none());
    world.deliver();
    assert_eq!(value(&step(&mut leader).expect("answered")), Some(1));
    assert!(step(&mut early).is_none() && step(&mut late).is_none(), "both go on to the next flight");
    world.execute();
    world.deliver();
    for reader in [&mut early, &mut late] {
        assert_eq!(value(&step(reader).expect("answered")), Some(2));
    }
    assert!(is_hit(world.read(1).status));
}

#[test]
fn purging_a_tag_reaches_the_answers_that_have_it_and_no_others() {
    let world = World::new(1 << 16);
    for bucket in [tag_of(1), BucketId::tagged(TENANT)] {
        for id in [1, 2] {
            world.read_within(id, tagged(id));
            assert!(is_hit(world.read_within(id, tagged(id)).status));
        }
        world.read(3);
        world.cache.void(SHARD, &[bucket]);
        assert!(!is_hit(world.read_within(1, tagged(1)).status), "{bucket:?}");
        assert_eq!(is_hit(world.read_within(2, tagged(2)).status), bucket == tag_of(1));
        assert!(is_hit(world.read(3).status), "it has no tags");
    }
}

#[test]
fn a_tag_raised_by_a_transaction_refuses_fills_until_it_is_seen() {
    let world = World::new(1024);
    world.write(1, Some(1));
    let xid = world.db.borrow_mut().begin();
    let raised = world.cache.raise(SHARD, world.db.borrow().epoch, xid, &[tag_of(1)]);
    assert_eq!(raised, tidegate_cache::Raised::Held);
    let read = || world.read_within(1, tagged(1)).status;
    assert!(matches!(read(), CacheStatus::MissNotStored { reason: NotStored::Floor, .. }));
    world.db.borrow_mut().commit(xid, 2, Some(9));
    assert!(matches!(read(), CacheStatus::MissStored { .. }));
    assert!(is_hit(read()));
}

#[test]
fn a_reader_with_other_tags_than_the_flights_is_held_to_both() {
    let world = World::new(1 << 16);
    world.write(1, Some(1));
    let reader = |tag: &str| {
        let bounds = Narrowed { tags: vec![BucketId::tag(TENANT, tag)], ..Narrowed::default() };
        world.reader_within(entry_key(1), 1, Some(bounds))
    };
    for purged in ["leads", "joins"] {
        let mut leader = reader("leads");
        assert!(step(&mut leader).is_none());
        world.execute();
        world.cache.void(SHARD, &[BucketId::tag(TENANT, purged)]);
        let mut late = reader("joins");
        assert!(step(&mut late).is_none());
        world.deliver();
        assert!(step(&mut leader).is_some());
        assert!(step(&mut late).is_none(), "{purged}");
        world.execute();
        world.deliver();
        assert!(step(&mut late).is_some());
        world.cache.void(SHARD, &[row_bucket(1)]);
    }
}

#[test]
fn an_entry_without_the_tags_of_now_is_not_served() {
    let world = World::new(1 << 16);
    world.read(1);
    assert!(!is_hit(world.read_within(1, tagged(1)).status), "purging the tag would not reach it");
    assert!(is_hit(world.read_within(1, tagged(1)).status));
    assert!(!is_hit(world.read_within(1, tagged(2)).status));
}

#[test]
fn answers_of_different_variants_are_kept_apart() {
    let world = World::new(1024);
    let of = |variant: &[u8]| {
        world.finish(world.reader_of(EntryKey { variant: Some(variant.into()), ..entry_key(1) }, 1)).status
    };
    assert!(!is_hit(of(b"en")) && !is_hit(of(b"de")));
    assert!(is_hit(of(b"en")) && is_hit(of(b"de")));
    world.write(1, Some(1));
    assert!(!is_hit(of(b"en")) && !is_hit(of(b"de")), "one row is behind them");
}

#[tokio::test(start_paused = true)]
async fn a_policy_shortens_times_and_never_prolongs_them() {
    let world = World::new(1024);
    world.write(1, Some(1));
    let bounds = |secs| Narrowed { ttl: Some(Duration::from_secs(secs)), ..Narrowed::default() };
    let ttl = |id, secs| match world.read_within(id, bounds(secs)).status {
        CacheStatus::MissStored { ttl, .. } | CacheStatus::Hit { ttl, .. } => ttl.as_secs(),
        other => panic!("{other:?}"),
    };
    assert_eq!((ttl(1, 10), ttl(2, 3)), (10, 3), "a row, and the knowledge that there is none");
    assert_eq!((ttl(3, 3600), ttl(4, 3600)), (5, 5), "not longer than configured");
    tokio::time::advance(Duration::from_secs(4)).await;
    assert!(is_hit(world.read_within(1, bounds(10)).status));
    assert!(!is_hit(world.read_within(2, bounds(3)).status));
    assert_eq!(ttl(1, 5), 1, "kept under another version's bounds, served under this one's");
    tokio::time::advance(Duration::from_secs(1)).await;
    assert!(!is_hit(world.read_within(1, bounds(5)).status));
}

impl World {
    /// The value that somebody is served who may be served late, up to a minute.
    fn late(&self, id: i64) -> Option<(Option<u32>, CacheStatus)> {
        let grace = Grace::For(Duration::from_secs(60), StaleReason::Revalidating);
        let served = self.cache.get_late(&entry_key(id), None, grace)?;
        Some((value(&served), served.status))
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_purged_softly_is_served_late_to_those_who_may_be_and_to_nobody_else() {
    let world = World::new(1024);
    world.write(1, Some(1));
    world.read(1);
    world.change_elsewhere(1, Some(2), &[]);
    tokio::time::advance(Duration::from_secs(10)).await;
    world.cache.soften(SHARD, &[row_bucket(1)]);
    tokio::time::advance(Duration::from_secs(5)).await;
    let seconds = Duration::from_secs;
    let status = CacheStatus::Stale { age: seconds(15), late: seconds(5), reason: StaleReason::Revalidating };
    assert_eq!(world.late(1), Some((Some(1), status)), "late since the purge, not since its end");
    assert!(world.cache.get(&entry_key(1), None).is_none(), "strict reads are never late");
    tokio::time::advance(Duration::from_secs(54)).await;
    assert!(world.late(1).is_some());
    tokio::time::advance(Duration::from_secs(1)).await;
    assert!(world.late(1).is_none(), "not longer than it may be late");
    assert_eq!(value(&world.read(1)), Some(2));
    assert!(is_hit(world.read(1).status), "fetched again, it is as if nothing had been");
}

#[test]
fn a_fill_sent_before_a_soft_purge_is_not_kept_and_the_late_row_stays() {
    let world = World::new(1024);
    world.write(1, Some(1));
    world.read(1);
    let mut slow = world.reader_of(EntryKey { variant: Some(b"x".as_slice().into()), ..entry_key(1) }, 1);
    assert!(step(&mut slow).is_none());
    world.execute();
    world.change_elsewhere(1, Some(2), &[]);
    world.cache.soften(SHARD, &[row_bucket(1)]);
    world.deliver();
    let served = step(&mut slow).expect("answered");
    assert!(matches!(served.status, CacheStatus::MissNotStored { reason: NotStored::Purged, .. }));
    assert_eq!(world.late(1).map(|late| late.0), Some(Some(1)));
}

#[test]
fn a_row_that_is_known_to_have_changed_is_not_served_late() {
    let world = World::new(1024);
    for purge_first in [true, false] {
        world.write(1, Some(1));
        world.read(1);
        if purge_first {
            world.cache.soften(SHARD, &[row_bucket(1)]);
            assert!(world.late(1).is_some());
        }
        let xid = world.db.borrow_mut().begin();
        world.raise(xid, 1);
        if !purge_first {
            world.cache.soften(SHARD, &[row_bucket(1)]);
        }
        assert!(world.late(1).is_none(), "from before its COMMIT on");
        world.db.borrow_mut().commit(xid, 1, Some(2));
        assert!(world.late(1).is_none());
        assert_eq!(value(&world.read(1)), Some(2));
    }
}

#[test]
fn readers_of_what_was_purged_softly_fetch_it_once() {
    let world = World::new(1024);
    world.write(1, Some(1));
    world.read(1);
    world.cache.soften(SHARD, &[row_bucket(1)]);
    let sent = *world.sent.borrow();
    let mut readers: Vec<_> = (0..5).map(|_| world.reader(1)).collect();
    assert!(readers.iter_mut().all(|reader| step(reader).is_none()));
    world.execute();
    world.deliver();
    assert!(readers.iter_mut().all(|reader| step(reader).is_some()));
    assert_eq!(*world.sent.borrow() - sent, 1);
}

#[test]
fn what_another_gateway_kept_before_a_soft_purge_is_not_taken_for_new() {
    let world = World::shared(1024);
    let beside = world.beside(1024);
    world.write(1, Some(1));
    world.read(1);
    world.change_elsewhere(1, Some(2), &[]);
    for gateway in [&world, &beside] {
        gateway.cache.soften(SHARD, &[row_bucket(1)]);
    }
    assert_eq!(value(&beside.read(1)), Some(2), "the shared tier still has the old one");
}

#[tokio::test(start_paused = true)]
async fn purging_a_tenant_ends_what_it_has_and_nothing_of_another() {
    let world = World::new(1024);
    world.write(1, Some(1));
    let of = |key: EntryKey| world.finish(world.reader_of(key, 1)).status;
    for softness in [Softness::Hard, Softness::Soft] {
        for key in [entry_key(1), other_tenants_entry_key(1)] {
            of(key.clone());
            assert!(is_hit(of(key)), "{softness:?}: also at the moment of a purge");
        }
        world.cache.purge_tenant(SHARD, TENANT, softness);
        assert_eq!(world.late(1).is_some(), softness == Softness::Soft);
        assert!(is_hit(of(other_tenants_entry_key(1))), "{softness:?}");
        assert!(!is_hit(of(entry_key(1))), "{softness:?}");
        assert!(is_hit(of(entry_key(1))), "{softness:?}: it is fetched again and kept");
    }
    world.cache.purge_tenant(SHARD, OTHER_TENANT, Softness::Hard);
    assert!(is_hit(of(entry_key(1))) && !is_hit(of(other_tenants_entry_key(1))));
}

#[test]
fn a_fill_sent_before_a_purge_of_its_tenant_is_not_kept_nor_shared_with_later_readers() {
    let world = World::new(1024);
    world.write(1, Some(1));
    let (mut leader, mut stranger) = (world.reader(1), world.reader_of(other_tenants_entry_key(1), 1));
    assert!(step(&mut leader).is_none() && step(&mut stranger).is_none());
    world.execute();
    world.execute();
    world.change_elsewhere(1, Some(2), &[]);
    world.cache.purge_tenant(SHARD, TENANT, Softness::Hard);
    let mut late = world.reader(1);
    assert!(step(&mut late).is_none());
    world.deliver();
    world.deliver();
    let led = step(&mut leader).expect("answered");
    assert!(matches!(led.status, CacheStatus::MissNotStored { reason: NotStored::Purged, .. }));
    assert!(step(&mut late).is_none(), "it goes on to a flight of its own");
    let stranger = step(&mut stranger).expect("answered");
    assert!(matches!(stranger.status, CacheStatus::MissStored { .. }), "another tenant's fill is kept");
    world.execute();
    world.deliver();
    assert_eq!(value(&step(&mut late).expect("answered")), Some(2));
    assert!(is_hit(world.read(1).status));
}

#[test]
fn what_another_gateway_kept_before_a_purge_of_its_tenant_waits_for_a_fetch() {
    let world = World::shared(1024);
    let beside = world.beside(1024);
    world.write(1, Some(1));
    world.read(1);
    world.change_elsewhere(1, Some(2), &[]);
    for gateway in [&world, &beside] {
        gateway.cache.purge_tenant(SHARD, TENANT, Softness::Hard);
    }
    assert_eq!(value(&beside.read(1)), Some(2), "the shared tier still had the old one");
    assert!(is_hit(beside.read(1).status));
}
