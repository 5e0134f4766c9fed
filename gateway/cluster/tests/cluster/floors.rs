//! What gateways tell each other when nothing is wrong.

use std::sync::atomic::Ordering;

use futures_util::future::join_all;
use tidegate_cluster::table::{Buckets, Forgotten, Relay};
use tidegate_types::{bucket::BucketId, purge::Softness};

use crate::world::{Database, Gateway, LEASE, SHARD, until};

async fn three() -> [Gateway; 3] {
    let database = Database::new();
    let all = [
        Gateway::start("one", &database).await,
        Gateway::start("two", &database).await,
        Gateway::start("three", &database).await,
    ];
    all[0].knows(&["two", "three"]).await;
    all[1].knows(&["one", "three"]).await;
    all[2].knows(&["one", "two"]).await;
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn a_floor_is_raised_by_every_other_gateway_before_the_write_goes_on() {
    let [one, two, three] = three().await;
    let (xid, told) = one.write().await;
    told.unwrap();
    assert_eq!((two.sink.raised(), three.sink.raised()), (vec![xid], vec![xid]));
    assert!(one.sink.raised().is_empty(), "its own floors are raised by itself");
    let floor = two.sink.floors.lock()[0].clone();
    assert_eq!((&*floor.shard, floor.digest), ("a", 5));
    assert_eq!(floor.buckets, Buckets::These([BucketId(xid)].into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn many_writes_at_once_are_told_to_all() {
    let [one, two, three] = three().await;
    let writes = join_all((0..500).map(|_| one.write()).chain((0..500).map(|_| two.write()))).await;
    let mut xids: Vec<u64> = writes.into_iter().map(|(xid, told)| told.map(|()| xid).unwrap()).collect();
    xids.sort_unstable();
    let mut raised = three.sink.raised();
    raised.sort_unstable();
    assert_eq!(raised, xids);
    assert_eq!(one.metric("tidegate_cluster_floors_total{outcome=\"acknowledged\""), 500);
}

#[tokio::test(flavor = "multi_thread")]
async fn voids_reach_all_and_relays_come_in_order() {
    let [one, two, three] = three().await;
    let what = Forgotten::Buckets(Buckets::These([BucketId(7)].into()));
    let told = one.cluster.void(Some(SHARD), 5, &what, Softness::Soft).await.unwrap();
    assert_eq!(told.iter().map(|id| &**id).collect::<Vec<_>>(), ["three", "two"]);
    for other in [&two, &three] {
        let void = other.sink.voids.lock()[0].clone();
        assert_eq!((void.what, void.softness), (what.clone(), Softness::Soft));
    }
    for seq in 0..100 {
        let relay = Relay { channel: 3, seq, bytes: seq.to_string().into_bytes().into() };
        assert_eq!(one.cluster.relay(&relay), 2);
    }
    until("all have come", async || two.sink.relays.lock().len() == 100).await;
    assert!(two.sink.relays.lock().iter().map(|relay| relay.seq).eq(0..100));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_leaves_is_not_waited_for_and_who_comes_is_told() {
    let [one, two, three] = three().await;
    two.leave().await;
    assert!(one.database.row("two").is_none());
    let (xid, told) = one.write().await;
    told.unwrap();
    assert_eq!(three.sink.raised(), [xid]);
    let four = Gateway::start("four", &one.database).await;
    until("it has joined", async || four.leases.holds(SHARD)).await;
    // Whether or not anybody has noticed it before: the write's own list counts.
    let (xid, told) = one.write().await;
    told.unwrap();
    assert_eq!(four.sink.raised(), [xid]);
    assert!(four.sink.bases.lock()[0].0 < xid);
    assert_eq!(one.metric("tidegate_cluster_fenced"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_promotion_writes_wait_until_leases_of_before_are_over() {
    let [one, two, _three] = three().await;
    one.write().await.1.unwrap();
    one.database.epoch.store(2, Ordering::SeqCst);
    let began = std::time::Instant::now();
    one.write().await.1.unwrap();
    assert!(began.elapsed() >= LEASE - LEASE / 10, "{:?}", began.elapsed());
    until("they have joined in the new epoch", async || {
        one.sink.bases.lock().len() == 2 && two.sink.bases.lock().len() == 2 && two.leases.holds(SHARD)
    })
    .await;
    let (xid, told) = one.write().await;
    told.unwrap();
    assert!(two.sink.raised().contains(&xid));
}

/// Its row was lost with the old primary: nobody tells it of the purge, and it holds its lease.
#[tokio::test(flavor = "multi_thread")]
async fn after_a_promotion_purges_wait_until_leases_of_before_are_over() {
    let [one, two, _three] = three().await;
    two.table.cut.store(true, Ordering::SeqCst);
    one.database.lose("two");
    one.database.epoch.store(2, Ordering::SeqCst);
    assert!(two.leases.holds(SHARD), "by its own clock");
    let everything = Forgotten::Buckets(Buckets::All);
    let told = one.cluster.void(Some(SHARD), 5, &everything, Softness::Hard).await.unwrap();
    assert!(!told.contains("two"));
    assert!(two.sink.voids.lock().is_empty());
    assert!(!two.leases.holds(SHARD), "it serves nothing of before by the time the purge is answered");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_floor_of_another_lineage_makes_its_receiver_join_again() {
    let [one, two, _three] = three().await;
    let (xid, told) = one.write_of(9).await;
    told.unwrap();
    assert!(two.sink.raised().contains(&xid));
    until("it has joined again", async || two.sink.bases.lock().len() == 2 && two.leases.holds(SHARD)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_what_is_served_ends_leases_before_and_joins_after() {
    let [one, ..] = three().await;
    assert!(one.leases.holds(SHARD));
    let held = one.cluster.rejoin_after(|| one.leases.holds(SHARD));
    assert!(!held, "the lease ended before the change");
    until("it has joined again", async || one.sink.bases.lock().len() == 2 && one.leases.holds(SHARD)).await;
}
