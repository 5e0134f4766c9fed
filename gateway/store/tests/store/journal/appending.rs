//! What an owner appends, and when it has failed.

use std::sync::Arc;

use tidegate_journal::{AppendError, Ended, Log, Record, Space};
use tidegate_store::journal::{Bounds, JournalError};

use super::{World, append, open, s, seen, sequences, take, world};
use crate::world::until;

#[tokio::test]
async fn what_was_acknowledged_is_what_the_next_owner_finds_and_sequences_go_on() {
    let world = world().await;
    let (one, two) = (world.gateway(), world.gateway());
    let (log, kept) = open(&one, "one").await;
    assert_eq!((kept.len(), log.epoch(), log.last(), log.durable()), (0, 1, s(0), s(0)));
    let large = vec![0xa5; 100_000];
    let payloads: [&[u8]; 3] = [b"first", b"", &large];
    let keys = [Some(u128::MAX - 5), None, Some(0)];
    for (payload, idempotency) in payloads.into_iter().zip(keys) {
        let ticket = log.append(&Record { partition: u32::MAX, idempotency, payload }).unwrap();
        ticket.durable().await.unwrap();
    }
    assert_eq!((log.last(), log.durable(), one.last("a").await.unwrap()), (s(3), s(3), s(3)));

    let (next, kept) = open(&two, "two").await;
    assert_eq!(sequences(&kept), [1, 2, 3]);
    for (record, (payload, idempotency)) in kept.iter().zip(payloads.into_iter().zip(keys)) {
        let found = (record.epoch, record.partition, record.idempotency, &record.payload[..]);
        assert_eq!(found, (1, u32::MAX, idempotency, payload));
    }
    let ticket = append(&next, b"of the second");
    assert_eq!(ticket.sequence(), s(4));
    ticket.durable().await.unwrap();
    let (_, kept) = open(&one, "one").await;
    assert_eq!(kept.last().map(|record| (record.sequence, record.epoch)), Some((s(4), 2)));
}

#[tokio::test]
async fn who_was_taken_over_from_appends_nothing_more() {
    let world = world().await;
    let (one, two) = (world.gateway(), world.gateway());
    let (old, _) = open(&one, "one").await;
    append(&old, b"before").durable().await.unwrap();
    let (new, _) = open(&two, "two").await;
    // Both go on from record 1.
    let ticket = append(&old, b"late");
    assert_eq!(ticket.durable().await, Err(Ended::Failed));
    assert_eq!(old.ended().await, Ended::Failed);
    let refused = old.append(&Record { partition: 7, idempotency: None, payload: b"later" });
    assert_eq!(refused.unwrap_err(), AppendError::Ended(Ended::Failed));
    assert_eq!(old.wait_durable(s(2)).await, Err(Ended::Failed));
    assert_eq!((old.durable(), one.last("a").await.unwrap()), (s(1), s(1)), "nothing was written");
    append(&new, b"after").durable().await.unwrap();
    let kept = open(&one, "one").await.1;
    assert_eq!(kept.iter().map(|record| &record.payload[..]).collect::<Vec<_>>(), [b"before" as &[u8], b"after"]);
}

#[tokio::test]
async fn a_taking_waits_for_an_append_under_way_and_finds_it() {
    let world = world().await;
    let (one, two) = (world.gateway(), world.gateway());
    let (old, _) = open(&one, "one").await;
    let found = seen(&two, "a").await;
    world.standby.pause();
    let ticket = append(&old, b"under way");
    world.commits_wait(1).await;
    let taking = {
        let two = two.clone();
        tokio::spawn(async move { two.take(&found, "two", "two:80", super::LEASE).await })
    };
    world.somebody_waits().await;
    assert_eq!((ticket.outcome(), two.last("a").await.unwrap()), (None, s(0)), "not before the standby has it");
    world.standby.resume();
    let taken = taking.await.unwrap().unwrap().expect("nobody was quicker");
    ticket.durable().await.unwrap();
    let (log, kept) = two.open(&taken).await.unwrap();
    assert_eq!((sequences(&kept), log.last()), (vec![1], s(1)));
}

/// An append that waits for its standby, and then this happens.
async fn in_the_middle_of_a_commit(what: &str, happens: impl AsyncFnOnce(&World)) {
    let world = world().await;
    let database = world.gateway();
    let (log, _) = open(&database, "one").await;
    append(&log, b"safe").durable().await.unwrap();
    world.standby.pause();
    let (under_way, gathered) = (append(&log, b"under way"), append(&log, b"gathered"));
    world.commits_wait(1).await;
    let next = append(&log, b"next group");
    happens(&world).await;
    for ticket in [under_way, gathered, next] {
        assert_eq!(ticket.durable().await, Err(Ended::Failed), "{what}");
    }
    assert_eq!((log.ended().await, log.durable()), (Ended::Failed, s(1)));
    let refused = log.append(&Record { partition: 7, idempotency: None, payload: b"later" });
    assert_eq!(refused.unwrap_err(), AppendError::Ended(Ended::Failed));
    world.standby.resume();
    world.set_standbys("*").await;
    // Whatever was committed is found, whole groups of it, and the next number is free.
    let (log, kept) = open(&database, "one").await;
    assert!([1, 2, 3].contains(&kept.len()), "{kept:?}");
    assert_eq!(log.last().0, kept.len() as u64);
    let ticket = append(&log, b"goes on");
    assert_eq!(ticket.sequence().0, kept.len() as u64 + 1);
    ticket.durable().await.unwrap();
}

#[tokio::test]
async fn a_connection_that_is_lost_in_the_middle_of_a_commit_ends_the_log() {
    in_the_middle_of_a_commit("ended", async |world| world.to_logs("pg_terminate_backend").await).await;
}

/// PostgreSQL then says that the COMMIT succeeded.
#[tokio::test]
async fn a_commit_that_was_told_not_to_wait_for_the_standby_ends_the_log() {
    in_the_middle_of_a_commit("cancelled", async |world| world.to_logs("pg_cancel_backend").await).await;
}

/// And then, too.
#[tokio::test]
async fn a_commit_that_lost_its_standbys_while_it_waited_ends_the_log() {
    in_the_middle_of_a_commit("alone", async |world| world.set_standbys("").await).await;
}

#[tokio::test]
async fn without_standbys_nothing_is_appended_taken_or_renewed_any_more() {
    let world = world().await;
    let database = world.gateway();
    let (log, _) = open(&database, "one").await;
    let held = [(Arc::from("a"), 1)];
    database.renew(&held, "one").await.unwrap();
    world.set_standbys("").await;
    // Each of the server's processes learns of it by itself.
    until("the log has ended", async || {
        match log.append(&Record { partition: 7, idempotency: None, payload: b"alone" }) {
            Ok(ticket) => ticket.durable().await.is_err(),
            Err(_) => true,
        }
    })
    .await;
    until("nothing is renewed", async || matches!(database.renew(&held, "one").await, Err(JournalError::Unfit { .. })))
        .await;
    assert!(matches!(database.partitions(&["a".into()]).await, Err(JournalError::Unfit { .. })));
    assert!(matches!(database.check().await, Err(JournalError::Unfit { .. })));
    world.set_standbys("*").await;
    open(&database, "one").await;
}

#[tokio::test]
async fn a_connection_that_is_lost_while_nothing_is_under_way_ends_the_log() {
    let world = world().await;
    let (log, _) = open(&world.gateway(), "one").await;
    world.to_logs("pg_terminate_backend").await;
    assert_eq!(log.ended().await, Ended::Failed);
}

#[tokio::test]
async fn while_a_group_is_committed_the_next_one_gathers() {
    let world = world().await;
    let (log, _) = open(&world.gateway(), "one").await;
    world.standby.pause();
    let mut tickets = vec![append(&log, b"first")];
    world.commits_wait(1).await;
    tickets.extend((0..500).map(|_| append(&log, b"gathered")));
    assert!(tickets.iter().all(|ticket| ticket.outcome().is_none()));
    assert_eq!((log.last(), log.durable(), log.stats().queued_bytes), (s(501), s(0), 501 * 64 + 5 + 500 * 8));
    world.standby.resume();
    log.wait_durable(s(1000)).await.unwrap();
    for ticket in tickets {
        assert_eq!(ticket.outcome(), Some(Ok(())));
    }
    let stats = log.stats();
    assert_eq!((stats.syncs.count, stats.durable, stats.queued_bytes), (2, s(501), 0));
}

#[tokio::test]
async fn what_is_not_durable_is_bounded_and_so_is_what_is_kept() {
    let world = world().await;
    let database = world.bounded(Bounds { max_bytes: 3000, max_queued_bytes: 1064 });
    let (log, _) = open(&database, "one").await;
    let refused = |payload: usize| {
        log.append(&Record { partition: 7, idempotency: None, payload: &vec![1; payload] }).unwrap_err()
    };
    assert_eq!(refused(1001), AppendError::TooLarge { bytes: 1065, max: 1064 });
    world.standby.pause();
    let first = append(&log, &[1; 936]);
    world.commits_wait(1).await;
    assert_eq!(refused(1), AppendError::Behind { bytes: 1000, max: 1064 });
    let second = append(&log, b"");
    world.standby.resume();
    first.durable().await.unwrap();
    second.durable().await.unwrap();
    append(&log, &[1; 936]).durable().await.unwrap();
    assert_eq!(refused(1000), AppendError::Full { bytes: 2064, max: 3000 });
    append(&log, &[1; 872]).durable().await.unwrap();
    assert_eq!((refused(0), log.stats().space), (AppendError::Full { bytes: 3000, max: 3000 }, Space::Full));
    // Also the next owner knows what there is.
    let (log, kept) = open(&database, "two").await;
    assert_eq!((kept.len(), log.stats().used_bytes), (4, 3000));
    log.release(s(1));
    until("there is room", async || log.stats().used_bytes == 2000).await;
    append(&log, &[1; 936]).durable().await.unwrap();
}

#[tokio::test]
async fn what_was_released_is_removed_and_its_numbers_do_not_come_again() {
    let world = world().await;
    let database = world.gateway();
    let (log, _) = open(&database, "one").await;
    (0..2500).for_each(|_| drop(append(&log, b"row")));
    log.release(s(2500));
    assert_eq!(log.stats().first, s(1), "nothing that is not durable");
    log.wait_durable(s(2500)).await.unwrap();
    log.release(s(2400));
    log.release(s(10));
    until("they are gone", async || world.count("tidegate.journal").await == 100).await;
    until("it is known", async || log.stats().first == s(2401)).await;
    assert_eq!(log.stats().used_bytes, 100 * 67);
    let (log, kept) = open(&database, "one").await;
    assert_eq!((kept.first().map(|record| record.sequence), kept.len()), (Some(s(2401)), 100));
    log.release(s(2500));
    until("it is empty", async || world.count("tidegate.journal").await == 0).await;
    let (log, kept) = open(&database, "two").await;
    assert_eq!((kept.len(), log.last(), log.stats().first), (0, s(2500), s(2501)));
    assert_eq!(append(&log, b"next").sequence(), s(2501));
}

#[tokio::test]
async fn a_log_that_is_closed_writes_what_it_took() {
    let world = world().await;
    let database = world.gateway();
    let (log, _) = open(&database, "one").await;
    world.standby.pause();
    let first = append(&log, b"first");
    world.commits_wait(1).await;
    let second = append(&log, b"second");
    let closing = log.close();
    let refused = log.append(&Record { partition: 7, idempotency: None, payload: b"late" });
    assert_eq!(refused.unwrap_err(), AppendError::Ended(Ended::Closed));
    world.standby.resume();
    closing.await;
    assert_eq!((first.outcome(), second.outcome()), (Some(Ok(())), Some(Ok(()))));
    assert_eq!(log.ended().await, Ended::Closed);
    // One that is dropped does so, too.
    let (log, _) = open(&database, "one").await;
    let third = append(&log, b"third");
    drop(log);
    third.durable().await.unwrap();
    assert_eq!(database.last("a").await.unwrap(), s(3));
}

#[tokio::test]
async fn a_partition_that_lacks_records_does_not_open() {
    let world = world().await;
    let database = world.gateway();
    let (log, _) = open(&database, "one").await;
    (0..5).for_each(|_| drop(append(&log, b"row")));
    log.wait_durable(s(5)).await.unwrap();
    world.sql.batch_execute("DELETE FROM tidegate.journal WHERE seq = 5").await.unwrap();
    let reason = |opened: Result<_, JournalError>| match opened {
        Err(JournalError::Damaged { reason, .. }) => reason.to_string(),
        other => panic!("not damaged: {:?}", other.map(|_: (tidegate_store::journal::PgLog, Vec<_>)| ())),
    };
    let taken = take(&database, "a", "one").await;
    assert_eq!(reason(database.open(&taken).await), "its last record is 4 and should be 5");
    world.sql.batch_execute("DELETE FROM tidegate.journal WHERE seq IN (2, 3)").await.unwrap();
    assert_eq!(reason(database.open(&taken).await), "records 2 to 3 are missing");
}
