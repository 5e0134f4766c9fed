//! Tenants, tags, variants, bounds and voids, stepped by hand.

use std::time::Duration;

use crate::support::{
    SHARD, TENANT, World, entry_key, is_hit, other_tenants_entry_key, row_bucket, step, tag_of, tagged, value,
};
use tidegate_cache::EntryKey;
use tidegate_types::{
    answer::{CacheStatus, NotStored},
    bucket::BucketId,
    policy::Narrowed,
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
    world.cache.raise(SHARD, world.db.borrow().epoch, xid, &[tag_of(1)]);
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
