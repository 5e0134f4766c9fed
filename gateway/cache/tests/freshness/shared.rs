//! Two gateways, or one that starts again, with a shared tier that forgets, delays and resurrects.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tidegate_cache::{
    Holding, Validity,
    tier::{
        CacheTier, Put,
        codec::{Codec, Kept, Payload},
        key::{Place, TierKey},
        memory::{Fault, Faults},
    },
};
use tidegate_types::{
    answer::CacheStatus,
    bucket::BucketId,
    policy::Narrowed,
    route::ShardId,
    snapshot::{Snapshot, Xid},
};

use crate::support::{
    NEGATIVE_TTL, SHARD, TTL, World, entry_key, is_hit, row_bucket, seed, step, tag_of, tagged, value,
};

/// A read that asks no shard.
#[track_caller]
fn hit(world: &World, id: i64) -> Option<u32> {
    let sent = *world.sent.borrow();
    let served = world.read(id);
    assert!(is_hit(served.status) && *world.sent.borrow() == sent, "{:?}", served.status);
    value(&served)
}

/// A read that asks the shard, however much is in the tier.
#[track_caller]
fn fetched(world: &World, id: i64) -> Option<u32> {
    let sent = *world.sent.borrow();
    let served = world.read(id);
    assert!(!is_hit(served.status) && *world.sent.borrow() == sent + 1, "{:?}", served.status);
    value(&served)
}

/// Two gateways, and a row that both may have.
fn two() -> (World, World) {
    let one = World::shared(1024);
    one.write(1, Some(1));
    let other = one.beside(1024);
    (one, other)
}

/// A write that every gateway is told of.
fn write(worlds: [&World; 2], id: i64, new: Option<u32>) {
    let xid = worlds[0].db.borrow_mut().begin();
    worlds.iter().for_each(|world| world.raise(xid, id));
    worlds[0].db.borrow_mut().commit(xid, id, new);
}

#[test]
fn what_one_gateway_read_another_serves_without_asking_the_shard() {
    let (one, other) = two();
    assert_eq!(fetched(&one, 1), Some(1));
    assert_eq!(hit(&other, 1), Some(1));
    assert_eq!(fetched(&one, 2), None);
    assert_eq!(hit(&other, 2), None, "also that there is none");
    other.tier().flush();
    assert_eq!(hit(&other, 1), Some(1), "it is in its own memory now");
}

#[test]
fn a_failover_of_the_tier_that_resurrects_a_row_serves_it_to_nobody() {
    let (one, other) = two();
    fetched(&one, 1);
    write([&one, &other], 1, None);
    assert_eq!(fetched(&one, 1), None, "deleted");
    assert_eq!(hit(&other, 1), None);
    write([&one, &other], 1, Some(3));
    one.tier().resurrect(1);
    assert_eq!(fetched(&other, 1), Some(3), "inserted under an entry that says there is none");
    write([&one, &other], 1, None);
    one.tier().resurrect(9);
    assert_eq!((fetched(&one, 1), hit(&other, 1)), (None, None), "deleted under an entry that has it");
}

#[test]
fn a_delayed_reply_of_the_tier_is_judged_when_it_arrives() {
    let (one, other) = two();
    fetched(&one, 1);
    one.tier().hold();
    let mut reader = other.reader(1);
    assert!(step(&mut reader).is_none());
    write([&one, &other], 1, Some(2));
    one.tier().release();
    assert!(step(&mut reader).is_none(), "refused: the shard is asked");
    other.execute();
    other.deliver();
    assert_eq!(step(&mut reader).map(|served| value(&served)), Some(Some(2)));
}

#[test]
fn a_reader_that_joins_gets_what_arrived_only_if_it_passes_for_it_too() {
    let (one, other) = two();
    fetched(&one, 1);
    one.tier().hold();
    let (mut leader, mut early) = (other.reader(1), other.reader(1));
    assert!(step(&mut leader).is_none() && step(&mut early).is_none());
    one.tier().release();
    let led = step(&mut leader).expect("it arrived");
    assert_eq!((value(&led), is_hit(led.status)), (Some(1), true));
    // Before the other reader looks.
    write([&one, &other], 1, Some(2));
    let mut late = other.reader(1);
    assert!(step(&mut late).is_none() && step(&mut early).is_none(), "neither gets it");
    other.execute();
    other.deliver();
    for mut reader in [late, early] {
        assert_eq!(step(&mut reader).map(|served| value(&served)), Some(Some(2)));
    }
}

#[test]
fn a_flush_a_lost_put_or_a_tier_that_is_down_costs_a_query_and_nothing_else() {
    let (one, other) = two();
    fetched(&one, 1);
    one.tier().flush();
    assert_eq!(fetched(&other, 1), Some(1));
    for faults in
        [Faults { lose_puts: Fault::On, ..Faults::default() }, Faults { down: Fault::On, ..Faults::default() }]
    {
        one.tier().set_faults(faults);
        write([&one, &other], 1, Some(2));
        assert_eq!((fetched(&one, 1), fetched(&other, 1)), (Some(2), Some(2)), "{faults:?}");
        assert_eq!((hit(&one, 1), hit(&other, 1)), (Some(2), Some(2)), "each has its own");
    }
}

#[test]
fn a_gateway_that_starts_again_takes_nothing_from_before() {
    let (one, other) = two();
    fetched(&one, 1);
    // One that dies with a write under way, and takes its floors along.
    let orphan = one.db.borrow_mut().begin();
    drop(one);
    let one = other.without_base(1024);
    assert!(!is_hit(one.read(1).status), "its base is not known");
    one.take_base(one.epochs.current(SHARD));
    one.db.borrow_mut().commit(orphan, 1, Some(2));
    assert_eq!(fetched(&one, 1), Some(2), "the row changed while nobody was told");
    let third = one.beside(1024);
    assert_eq!(fetched(&third, 1), Some(2), "read before it began");
    assert_eq!(hit(&third, 1), Some(2));
}

#[test]
fn what_others_read_since_a_gateway_began_is_served_by_it() {
    let (one, other) = two();
    write([&one, &other], 1, Some(2));
    let third = one.beside(1024);
    assert_eq!(fetched(&one, 1), Some(2));
    assert_eq!(hit(&third, 1), Some(2));
}

#[test]
fn after_a_void_the_tier_waits_for_a_query_sent_after_it() {
    let (one, other) = two();
    fetched(&one, 1);
    hit(&other, 1);
    // What no transaction here tells of: every gateway is told of the void.
    let voided = [row_bucket(1)];
    one.change_elsewhere(1, Some(2), &voided);
    other.cache.void(SHARD, &voided);
    assert_eq!(fetched(&other, 1), Some(2), "what is in the tier may be from before");
    assert_eq!(fetched(&one, 1), Some(2), "the same for the other, which has sent no query since");
    other.cache.void(SHARD, &voided);
    one.tier().resurrect(9);
    assert_eq!(fetched(&other, 1), Some(2));
    let beside = BucketId::sweep(seed());
    one.cache.void(SHARD, &[beside]);
    assert_eq!(fetched(&one, 1), Some(2));
    assert_eq!(hit(&one, 1), Some(2));
}

#[test]
fn after_a_void_an_entry_not_older_than_what_was_read_since_is_served() {
    let (one, other) = two();
    let key = [BucketId::sweep(seed())];
    one.cache.void(SHARD, &key);
    other.cache.void(SHARD, &key);
    assert_eq!(fetched(&one, 1), Some(1));
    assert_eq!(fetched(&other, 2), None, "a query sent after the void, of another row of the table");
    assert_eq!(hit(&other, 1), Some(1), "read in a snapshot that is not older");
}

#[test]
fn an_entry_depends_on_the_tags_it_was_kept_with_and_on_those_of_now() {
    let (one, other) = two();
    let purged = one.beside(1024);
    let worlds = [&one, &other, &purged];
    let xid = one.db.borrow_mut().begin();
    worlds.iter().for_each(|world| world.raise(xid, 1));
    one.db.borrow_mut().commit(xid, 1, Some(2));
    purged.cache.void(SHARD, &[tag_of(1), tag_of(2)]);
    assert!(!is_hit(one.read_within(1, tagged(1)).status) && !is_hit(one.read(2).status));
    assert!(is_hit(other.read(1).status) && is_hit(other.read_within(2, tagged(2)).status), "nothing is purged there");
    assert!(!is_hit(purged.read(1).status), "kept with a tag that was purged, though none is given now");
    assert!(!is_hit(purged.read_within(2, tagged(2)).status), "kept without the tag that is given now");
}

/// Puts an entry of row 1 into the tier by hand.
fn plant(world: &World, change: impl FnOnce(&mut Kept)) {
    let codec = Codec { compress_above: 64, max_payload: 1 << 16 };
    let key = TierKey::row(7, &Place { name: "a".into(), access: 0 }, &entry_key(1));
    let now = std::time::UNIX_EPOCH.elapsed().expect("after 1970").as_millis();
    let mut kept = Kept {
        lineage: world.epochs.lineage(SHARD, world.epochs.current(SHARD)).expect("known"),
        snapshot: world.db.borrow().snapshot(),
        tags: Default::default(),
        fetched_unix_ms: u64::try_from(now).expect("small"),
        ttl_ms: 60_000,
        payload: Payload::Row(Some(Bytes::from_static(b"77"))),
    };
    change(&mut kept);
    let value = codec.encode(&key, &kept).expect("small");
    world.tier().put(Put { key: key.short().clone(), value, ttl: TTL }).expect("up");
}

#[test]
fn a_planted_entry_is_served_as_long_as_it_and_the_policy_allow() {
    let world = World::shared(1024);
    let ttl_of = |age: u64, own: u64, plan: Option<u64>| {
        let world = world.beside(1024);
        plant(&world, |kept| {
            kept.fetched_unix_ms -= age * 1000;
            kept.ttl_ms = own * 1000;
        });
        let bounds = Narrowed { ttl: plan.map(Duration::from_secs), ..Narrowed::default() };
        match world.read_within(1, bounds).status {
            CacheStatus::Hit { age: shown, ttl } => {
                assert!(shown.abs_diff(Duration::from_secs(age)) < Duration::from_secs(2), "{shown:?}");
                Some((ttl + Duration::from_millis(999)).as_secs())
            }
            _ => None,
        }
    };
    assert_eq!(ttl_of(0, 20, None), Some(20));
    assert_eq!(ttl_of(5, 20, None), Some(15));
    assert_eq!(ttl_of(5, 200, None), Some(55), "no longer than the collection's");
    assert_eq!(ttl_of(5, 20, Some(8)), Some(3), "no longer than the policy's");
    assert_eq!((ttl_of(20, 20, None), ttl_of(5, 20, Some(5))), (None, None), "its time is over");
    let absent = world.beside(1024);
    plant(&absent, |kept| (kept.payload, kept.ttl_ms) = (Payload::Row(None), 60_000));
    let CacheStatus::Hit { ttl, .. } = absent.read(1).status else { panic!("a hit") };
    assert!(ttl <= NEGATIVE_TTL);
}

#[test]
fn what_is_of_another_server_another_kind_or_the_future_is_refused() {
    let changes: [fn(&mut Kept); 5] = [
        |kept| kept.lineage ^= 1,
        |kept| kept.payload = Payload::List { json: Bytes::from_static(b"[]"), rows: 0, total: None },
        |kept| kept.fetched_unix_ms += 3_600_000,
        |kept| kept.payload = Payload::Row(Some(vec![b'1'; (1 << 16) + 1].into())),
        |kept| kept.snapshot = Snapshot { xmin: Xid(1), xmax: Xid(1_000), xip: Default::default() },
    ];
    for (i, change) in changes.into_iter().enumerate() {
        let world = World::shared(1024).beside(1024);
        plant(&world, change);
        assert_eq!(fetched(&world, 1), None, "{i}");
    }
    let world = World::shared(1024).beside(1024);
    plant(&world, |_| {});
    assert_eq!(hit(&world, 1), Some(77), "unchanged it is served");
}

#[test]
fn an_entry_of_a_server_before_its_promotion_is_refused() {
    let world = World::shared(1024);
    world.write(1, Some(1));
    fetched(&world, 1);
    world.begin_epoch();
    assert_eq!(fetched(&world, 1), Some(1));
}

#[derive(Debug)]
struct Lapsed;

impl Validity for Lapsed {
    fn holds(&self, _: ShardId) -> Holding {
        Holding::Lapsed
    }
}

#[test]
fn without_a_lease_nothing_is_taken_from_the_tier() {
    let (one, other) = two();
    fetched(&one, 1);
    other.cache.guard(Arc::new(Lapsed));
    assert_eq!(fetched(&other, 1), Some(1));
}
