//! Who owns a partition.

use std::sync::Arc;

use futures_util::future::join_all;
use tidegate_store::journal::{JournalDatabase, JournalError};

use super::{LEASE, append, open, s, seen, take, world};

#[tokio::test]
async fn gateways_that_start_together_find_the_same_partitions_and_the_same_secret() {
    let world = world().await;
    let shards: Vec<Arc<str>> = ["b", "a", "c"].map(Arc::from).to_vec();
    let gateways: Vec<JournalDatabase> = (0..6).map(|_| world.gateway()).collect();
    let start = |database: JournalDatabase| {
        let shards = shards.clone();
        async move {
            database.check().await.unwrap();
            (database.partitions(&shards).await.unwrap(), database.secret().await.unwrap())
        }
    };
    let found = join_all(gateways.into_iter().map(start)).await;
    assert!(found.iter().all(|one| *one == found[0]), "{found:?}");
    let (partitions, secret) = &found[0];
    assert_eq!(partitions.iter().map(|one| &one.shard).collect::<Vec<_>>(), shards.iter().collect::<Vec<_>>());
    assert!(partitions.iter().all(|one| one.owner.is_none() && one.epoch == 0 && one.beat == 0));
    assert!(partitions[0].journal != partitions[1].journal && partitions[1].journal != partitions[2].journal);
    assert_ne!(secret, &[0; 32]);
    assert_eq!(world.count("tidegate.partitions").await, 3, "a check leaves nothing");
}

#[tokio::test]
async fn a_partition_is_taken_by_who_has_seen_its_last_beat() {
    let world = world().await;
    let (one, two) = (world.gateway(), world.gateway());
    let free = seen(&one, "a").await;
    let taken = one.take(&free, "one", "one:80", LEASE).await.unwrap().unwrap();
    assert_eq!((&*taken.shard, taken.journal, taken.epoch), ("a", free.journal, 1));
    assert_eq!(two.take(&free, "two", "two:80", LEASE).await.unwrap(), None, "somebody was quicker");
    let found = seen(&two, "a").await;
    assert_eq!((found.owner.as_deref(), found.address.as_deref()), (Some("one"), Some("one:80")));
    assert_eq!((found.epoch, found.beat, found.lease, found.journal), (1, 0, LEASE, free.journal));

    let held = [(Arc::from("a"), 1)];
    assert_eq!(one.renew(&held, "one").await.unwrap(), [Arc::from("a")]);
    assert_eq!(two.take(&found, "two", "two:80", LEASE).await.unwrap(), None, "it beats");
    let found = seen(&two, "a").await;
    assert_eq!((found.epoch, found.beat), (1, 1));
    let taken = two.take(&found, "two", "two:80", LEASE).await.unwrap().unwrap();
    assert_eq!(taken.epoch, 2);
    assert!(one.renew(&held, "one").await.unwrap().is_empty(), "of an older epoch");
    assert!(one.renew(&[(Arc::from("a"), 2)], "one").await.unwrap().is_empty(), "of another owner");
    let other = (Arc::from("b"), 1);
    assert_eq!(two.renew(&[other, (Arc::from("a"), 2)], "two").await.unwrap(), [Arc::from("a")]);
}

#[tokio::test]
async fn of_many_takers_one_wins() {
    let world = world().await;
    let gateways: Vec<JournalDatabase> = (0..6).map(|_| world.gateway()).collect();
    let found = seen(&gateways[0], "a").await;
    let take = |(at, database): (usize, &JournalDatabase)| {
        let (database, found) = (database.clone(), found.clone());
        async move { database.take(&found, &format!("gateway {at}"), "", LEASE).await.unwrap() }
    };
    let taken = join_all(gateways.iter().enumerate().map(take)).await;
    assert_eq!(taken.iter().flatten().map(|taken| taken.epoch).collect::<Vec<_>>(), [1]);
}

#[tokio::test]
async fn a_partition_that_was_given_up_is_free_and_its_log_takes_nothing_more() {
    let world = world().await;
    let (one, two) = (world.gateway(), world.gateway());
    let (log, _) = open(&one, "one").await;
    let held = [(Arc::from("a"), 1)];
    one.resign(&[(Arc::from("a"), 2)], "one").await.unwrap();
    one.resign(&held, "two").await.unwrap();
    assert!(seen(&two, "a").await.owner.is_some(), "not by others, and not of another epoch");
    append(&log, b"before").durable().await.unwrap();
    one.resign(&held, "one").await.unwrap();
    let free = seen(&two, "a").await;
    assert_eq!((free.owner.clone(), free.address.clone()), (None, None));
    append(&log, b"after").durable().await.unwrap_err();
    assert!(one.renew(&held, "one").await.unwrap().is_empty());
    let taken = two.take(&free, "two", "two:80", LEASE).await.unwrap().unwrap();
    assert_eq!((taken.epoch, two.open(&taken).await.unwrap().1.len()), (2, 1));
}

#[tokio::test]
async fn what_somebody_else_has_taken_since_does_not_open() {
    let world = world().await;
    let (one, two) = (world.gateway(), world.gateway());
    let taken = take(&one, "a", "one").await;
    take(&two, "a", "two").await;
    let opened = one.open(&taken).await.map(|_| ());
    assert!(matches!(&opened, Err(JournalError::TakenOver { shard }) if &**shard == "a"), "{opened:?}");
    assert_eq!(opened.unwrap_err().into_problem().code, "TG003");
}

#[tokio::test]
async fn a_taking_that_waits_for_a_row_costs_no_lease() {
    let world = world().await;
    let (one, two) = (world.gateway(), world.gateway());
    take(&two, "b", "two").await;
    let found = seen(&two, "a").await;
    world.sql.batch_execute("BEGIN; SELECT 1 FROM tidegate.partitions WHERE shard = 'a' FOR UPDATE").await.unwrap();
    let taking = {
        let two = two.clone();
        tokio::spawn(async move { two.take(&found, "two", "two:80", LEASE).await })
    };
    world.somebody_waits().await;
    assert_eq!(two.renew(&[(Arc::from("b"), 1)], "two").await.unwrap(), [Arc::from("b")]);
    assert_eq!(two.last("a").await.unwrap(), s(0));
    world.sql.batch_execute("ROLLBACK").await.unwrap();
    assert!(taking.await.unwrap().unwrap().is_some());
    assert_eq!(seen(&one, "a").await.owner.as_deref(), Some("two"));
}

/// PostgreSQL says that the COMMIT succeeded; a new primary may never have heard of it.
#[tokio::test]
async fn a_taking_that_the_standby_may_not_have_is_none() {
    let world = world().await;
    let database = world.gateway();
    let found = seen(&database, "a").await;
    world.standby.pause();
    let taking = {
        let database = database.clone();
        tokio::spawn(async move { database.take(&found, "one", "one:80", LEASE).await })
    };
    world.commits_wait(1).await;
    let cancel = "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
    world.sql.query(cancel, &[]).await.unwrap();
    let taken = taking.await.unwrap();
    assert!(matches!(taken, Err(JournalError::Unavailable { .. })), "{taken:?}");
    world.standby.resume();
    assert_eq!(take(&database, "a", "one").await.epoch, 2, "it asks, and takes anew");
}

#[tokio::test]
async fn connections_that_were_cut_are_replaced() {
    let world = world().await;
    let database = world.gateway();
    take(&database, "a", "one").await;
    let held = [(Arc::from("a"), 1)];
    database.renew(&held, "one").await.unwrap();
    assert_eq!(database.last("a").await.unwrap(), s(0));
    let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'tidegate journal %'";
    assert_eq!(world.sql.query(cut, &[]).await.unwrap().len(), 3);
    assert_eq!(database.last("a").await.unwrap(), s(0), "a read is asked again");
    crate::world::until("it renews again", async || database.renew(&held, "one").await.is_ok()).await;
    crate::world::until("it is asked again", async || database.secret().await.is_ok()).await;
}
