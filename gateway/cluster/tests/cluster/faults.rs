//! What happens when something is.

use std::{sync::atomic::Ordering, time::Instant};

use tidegate_cluster::{
    peer::Contact,
    table::{Buckets, Forgotten},
};
use tidegate_types::purge::Softness;

use crate::world::{Database, Gateway, LEASE, Mortal, SHARD, Ways, behind_a_proxy, until};

#[tokio::test(flavor = "multi_thread")]
async fn who_dies_is_fenced_a_lease_later_and_has_stopped_before() {
    let database = Database::new();
    let one = Gateway::start("one", &database).await;
    let two = Mortal::start("two", &database).await;
    one.knows(&["two"]).await;
    let leases = two.leases.clone();
    two.die();
    let began = Instant::now();
    let (_, told) = one.write().await;
    told.unwrap();
    assert!(!leases.holds(SHARD), "its lease had ended when the write went on");
    assert!(began.elapsed() < LEASE * 3, "{:?}", began.elapsed());
    assert!(database.row("two").unwrap().1, "it is fenced");
    let began = Instant::now();
    one.write().await.1.unwrap();
    assert!(began.elapsed() < LEASE / 2, "and not waited for again: {:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_dies_is_fenced_also_when_nobody_writes() {
    let database = Database::new();
    let one = Gateway::start("one", &database).await;
    let two = Mortal::start("two", &database).await;
    one.knows(&["two"]).await;
    two.die();
    until("it is fenced", async || database.row("two").unwrap().1).await;
    let began = Instant::now();
    one.write().await.1.unwrap();
    assert!(began.elapsed() < LEASE / 2, "{:?}", began.elapsed());
}

/// A process that stands still: its runtime has one thread, and that is held up.
#[test]
fn who_stood_still_longer_than_its_lease_was_fenced_and_joins_again() {
    let (mine, theirs) = (runtime(), runtime());
    let database = Database::new();
    let two = theirs.block_on(Gateway::start("two", &database));
    let (resume, paused) = std::sync::mpsc::channel::<()>();
    let (halt, halted) = tokio::sync::oneshot::channel::<()>();
    let (stand, stands) = std::sync::mpsc::channel::<()>();
    theirs.spawn(async move {
        // Blocks the only thread.
        if halted.await.is_ok() && stand.send(()).is_ok() {
            let _ = paused.recv();
        }
    });
    let (leases, sink) = (two.leases.clone(), two.sink.clone());
    let running = std::thread::spawn(move || {
        theirs.block_on(async {
            until("it has joined again", async || two.sink.bases.lock().len() == 2 && two.leases.holds(SHARD)).await;
            two.leave().await;
        });
    });
    mine.block_on(async {
        let one = Gateway::start("one", &database).await;
        one.knows(&["two"]).await;
        until("both hold", async || leases.holds(SHARD)).await;
        halt.send(()).unwrap();
        stands.recv().unwrap();
        let (_, told) = one.write().await;
        told.unwrap();
        assert!(!leases.holds(SHARD), "nobody had to run for its lease to end");
        assert!(database.row("two").unwrap().1, "it was fenced");
        assert!(sink.bases.lock().len() == 1);
        resume.send(()).unwrap();
        until("it has joined again", async || sink.bases.lock().len() == 2).await;
        let row = database.row("two").map(|(row, fenced)| (row.incarnation, fenced));
        assert!(row.is_none_or(|row| row == (2, false)), "{row:?}");
    });
    running.join().unwrap();
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn cut_off_from_the_others_but_not_from_the_database_writes_are_refused_until_it_heals() {
    let database = Database::new();
    let one = Gateway::start("one", &database).await;
    let (two, proxy) = behind_a_proxy("two", &database).await;
    one.knows(&["two"]).await;
    for cut in [&proxy.way.cut, &proxy.way.swallow] {
        cut.store(true, Ordering::SeqCst);
        // It may have heard, and the acknowledgement got lost: the writer cannot know.
        let (_, told) = one.write().await;
        assert_eq!(&*told.unwrap_err().id, "two");
        assert!(!database.row("two").unwrap().1, "who lives is not fenced");
        cut.store(false, Ordering::SeqCst);
        until("they talk again", async || one.write().await.1.is_ok()).await;
        assert_eq!(two.sink.bases.lock().len(), 1, "nothing was lost");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_floor_that_a_lost_connection_took_with_it_is_sent_again() {
    let database = Database::new();
    let one = Gateway::start("one", &database).await;
    let (two, proxy) = behind_a_proxy("two", &database).await;
    one.knows(&["two"]).await;
    proxy.way.swallow.store(true, Ordering::SeqCst);
    let heal = async {
        tokio::time::sleep(LEASE / 5).await;
        proxy.way.cut.store(true, Ordering::SeqCst);
        tokio::time::sleep(LEASE / 5).await;
        proxy.way.swallow.store(false, Ordering::SeqCst);
        proxy.way.cut.store(false, Ordering::SeqCst);
    };
    let ((xid, told), ()) = tokio::join!(one.write(), heal);
    told.unwrap();
    assert!(two.sink.raised().contains(&xid));
    assert_eq!(one.metric("tidegate_cluster_fenced"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn cut_off_from_the_database_but_not_from_the_others_it_stops_serving_and_loses_nothing() {
    let database = Database::new();
    let (one, two) = (Gateway::start("one", &database).await, Gateway::start("two", &database).await);
    one.knows(&["two"]).await;
    two.knows(&["one"]).await;
    // Shorter than what the others take for silence.
    two.table.cut.store(true, Ordering::SeqCst);
    until("its lease is over", async || !two.leases.holds(SHARD)).await;
    let (xid, told) = one.write().await;
    told.unwrap();
    assert!(two.sink.raised().contains(&xid), "it still hears");
    two.table.cut.store(false, Ordering::SeqCst);
    until("it serves again", async || two.leases.holds(SHARD)).await;
    let fenced = one.metric("tidegate_cluster_fenced");
    let joined = two.sink.bases.lock().len() as u64;
    assert_eq!(joined, 1 + fenced, "it joined again only if it was fenced");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_secret_is_refused_by_both_sides() {
    let database = Database::new();
    let one = Gateway::start("one", &database).await;
    let stranger = Ways { secret: Some("another secret, just as long"), ..Ways::default() };
    let stranger = Gateway::with("stranger", &database, stranger).await;
    until("both have joined", async || one.leases.holds(SHARD) && stranger.leases.holds(SHARD)).await;
    let (xid, told) = one.write().await;
    assert_eq!(&*told.unwrap_err().id, "stranger");
    assert!(!stranger.sink.raised().contains(&xid), "what has another secret is told nothing");
    let (xid, told) = stranger.write().await;
    assert!(told.is_err() && !one.sink.raised().contains(&xid), "and believed nothing");
    assert!(one.metric("tidegate_cluster_connections_total{outcome=\"turned_away\"") > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_that_were_changed_or_repeated_end_the_connection_and_nothing_else() {
    let database = Database::new();
    let one = Gateway::start("one", &database).await;
    let (two, proxy) = behind_a_proxy("two", &database).await;
    one.knows(&["two"]).await;
    for (times, fault) in [(1, &proxy.way.flip), (2, &proxy.way.repeat)] {
        fault.store(true, Ordering::SeqCst);
        let (xid, told) = one.write().await;
        told.unwrap();
        assert!(two.sink.raised().contains(&xid), "it was sent again, whole");
        until("it was noticed", async || two.metric("tidegate_cluster_forged_frames") >= times).await;
    }
    // A floor that was changed would have been of another bucket or transaction.
    let known = |floor: &tidegate_cluster::table::Floor| floor.digest == 5 && &*floor.shard == "a";
    assert!(two.sink.floors.lock().iter().all(known));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purge_goes_on_until_everybody_has_heard_it() {
    let database = Database::new();
    let one = Gateway::start("one", &database).await;
    let (two, proxy) = behind_a_proxy("two", &database).await;
    one.knows(&["two"]).await;
    proxy.way.cut.store(true, Ordering::SeqCst);
    until("the contact is lost", async || one.contact("two") == Some(Contact::Lost)).await;
    let told = one.cluster.void(None, 5, &Forgotten::Buckets(Buckets::All), Softness::Hard).await;
    assert!(told.is_err(), "it does not wait forever");
    assert!(two.sink.voids.lock().is_empty());
    proxy.way.cut.store(false, Ordering::SeqCst);
    until("it has heard of it", async || !two.sink.voids.lock().is_empty()).await;
}
