use super::*;

fn snap(text: &str) -> Snapshot {
    Snapshot::parse(text).expect("valid")
}

const EPOCH: Epoch = Epoch(1);
const SWEEP: BucketId = BucketId(3);

/// A query sent now that saw this.
fn pass(table: &FloorTable, row: u64, epoch: Epoch, snapshot: &str) -> Result<Stamp, Refusal> {
    let sight = Sight { began: table.voids(), epoch, snapshot: &snap(snapshot) };
    table.pass(&[BucketId(row), SWEEP], &[], sight)
}

#[test]
fn a_raise_ends_every_stamp_of_its_bucket_and_no_other() {
    let table = FloorTable::new(1024);
    let stamp = pass(&table, 1, EPOCH, "10:10:").expect("empty floors admit");
    let other = pass(&table, 2, EPOCH, "10:10:").expect("empty floors admit");
    table.raise(BucketId(1), EPOCH, Xid(10));
    assert!(!table.holds(&stamp));
    assert!(table.holds(&other));
    table.raise(SWEEP, EPOCH, Xid(11));
    assert!(!table.holds(&other));
}

#[test]
fn hearing_of_an_own_write_again_leaves_what_was_read_after_it() {
    let table = FloorTable::new(1024);
    table.raise(BucketId(1), EPOCH, Xid(10));
    let own = pass(&table, 1, EPOCH, "8:12:8,11").expect("sees 10");
    assert_eq!(table.hear(BucketId(1), EPOCH, Xid(10)), Heard::Known);
    assert!(table.holds(&own));
    assert_eq!(table.hear(BucketId(1), EPOCH, Xid(11)), Heard::Raised, "somebody else's, under way then");
    assert!(!table.holds(&own));
    assert_eq!(pass(&table, 1, EPOCH, "8:13:8,11"), Err(Refusal::Floor));
    let after = pass(&table, 1, EPOCH, "8:13:8").expect("sees 11");
    assert_eq!(table.hear(BucketId(1), EPOCH, Xid(11)), Heard::Known, "told twice");
    assert!(table.holds(&after));
    let other = pass(&table, 2, EPOCH, "12:12:").expect("never raised");
    assert_eq!(table.hear(BucketId(2), EPOCH, Xid(10)), Heard::Raised, "of what passed here nothing is known");
    assert!(!table.holds(&other));
    assert_eq!(table.hear(BucketId(1), Epoch(2), Xid(11)), Heard::Raised, "another epoch's xid is another one");
    assert_eq!(table.hear(BucketId(1), EPOCH, Xid(11)), Heard::Raised, "of an epoch that is over");
}

#[test]
fn a_collision_refuses_a_fill_and_never_serves_stale() {
    let table = FloorTable::new(1);
    let stamp = pass(&table, 7, EPOCH, "10:10:").expect("admitted");
    table.raise(BucketId(8), EPOCH, Xid(10));
    assert!(!table.holds(&stamp));
    assert_eq!(pass(&table, 7, EPOCH, "10:11:10"), Err(Refusal::Floor));
    assert!(pass(&table, 7, EPOCH, "11:11:").is_ok());
}

#[test]
fn a_new_epoch_voids_floors_and_refuses_the_old() {
    let table = FloorTable::new(16);
    table.raise(BucketId(1), Epoch(1), Xid(1_000));
    assert!(pass(&table, 1, Epoch(2), "50:50:").is_ok(), "xids may restart lower");
    assert_eq!(pass(&table, 1, Epoch(1), "2000:2000:"), Err(Refusal::Epoch));
}

#[test]
fn a_void_ends_stamps_and_refuses_what_was_sent_before_it() {
    let table = FloorTable::new(1024);
    let stamp = pass(&table, 1, EPOCH, "10:10:").expect("admitted");
    let (began, snapshot) = (table.voids(), snap("10:10:"));
    let sent_before = Sight { began, epoch: EPOCH, snapshot: &snapshot };
    table.void(&[BucketId(1)]);
    assert!(!table.holds(&stamp));
    assert_eq!(table.pass(&[BucketId(1), SWEEP], &[], sent_before), Err(Refusal::Void));
    assert!(table.pass(&[BucketId(2), SWEEP], &[], sent_before).is_ok(), "another bucket");
    let sent_after = pass(&table, 1, EPOCH, "10:10:").expect("the same snapshot, sent after the void");
    table.void(&[BucketId(2)]);
    assert!(table.holds(&sent_after));
    let later_epoch = Sight { epoch: Epoch(2), ..sent_before };
    assert_eq!(table.pass(&[BucketId(1), SWEEP], &[], later_epoch), Err(Refusal::Void), "voids outlive epochs");
}

#[test]
fn after_a_void_what_nobody_knows_the_time_of_waits_for_a_fetch_and_is_judged_by_its_snapshot() {
    let table = FloorTable::new(1024);
    let arrives = |row: u64, epoch: Epoch, snapshot: &str| {
        let sight = Sight { began: Voids::default(), epoch, snapshot: &snap(snapshot) };
        table.pass(&[BucketId(row), SWEEP], &[], sight)
    };
    assert!(arrives(1, EPOCH, "10:10:").is_ok(), "nothing was voided");
    table.void(&[BucketId(1)]);
    assert_eq!(arrives(1, EPOCH, "99:99:"), Err(Refusal::Void), "no snapshot tells the time of a void");
    assert!(arrives(2, EPOCH, "10:10:").is_ok(), "another bucket");
    pass(&table, 1, EPOCH, "20:22:20").expect("sent after the void");
    assert_eq!(arrives(1, EPOCH, "20:21:20"), Err(Refusal::Void), "older than what was sent after it");
    assert_eq!(arrives(1, EPOCH, "19:22:19,20"), Err(Refusal::Void), "more was running");
    assert!(arrives(1, EPOCH, "20:22:20").is_ok() && arrives(1, EPOCH, "30:30:").is_ok());
    table.void(&[SWEEP]);
    assert_eq!(arrives(1, EPOCH, "99:99:"), Err(Refusal::Void), "another void");
    pass(&table, 1, Epoch(2), "5:5:").expect("sent after the void");
    assert!(arrives(1, Epoch(2), "5:5:").is_ok());
    assert_eq!(arrives(1, Epoch(3), "99:99:"), Err(Refusal::Void), "snapshots of two epochs do not compare");
}

#[test]
fn a_stamp_with_tags_depends_on_each_of_them() {
    let table = FloorTable::new(1024);
    let tags = [BucketId(20), BucketId(21)];
    let (own, snapshot) = ([BucketId(1), SWEEP], snap("10:10:"));
    for bucket in own.into_iter().chain(tags) {
        let sight = Sight { began: table.voids(), epoch: EPOCH, snapshot: &snapshot };
        let stamp = table.pass(&own, &tags, sight).expect("admitted");
        assert!(table.holds(&stamp) && table.covers(&stamp, &tags) && table.covers(&stamp, &[]));
        assert!(!table.covers(&stamp, &[BucketId(22)]), "purging another tag would not reach it");
        table.void(&[bucket]);
        assert!(!table.holds(&stamp), "{bucket:?}");
        assert_eq!(table.pass(&own, &tags, sight), Err(Refusal::Void), "{bucket:?}");
    }
    let untagged = pass(&table, 1, EPOCH, "10:10:").expect("admitted");
    assert!(table.covers(&untagged, &[]) && !table.covers(&untagged, &tags[..1]));
}

#[test]
fn a_soft_void_makes_stamps_late_and_a_raise_or_a_void_ends_them() {
    let table = FloorTable::new(1024);
    let at = Moment::now(tokio::time::Instant::now());
    let later = at.after(std::time::Duration::from_secs(1));
    let stamp = pass(&table, 1, EPOCH, "10:10:").expect("admitted");
    let (began, snapshot) = (table.voids(), snap("10:10:"));
    let sent_before = Sight { began, epoch: EPOCH, snapshot: &snapshot };
    assert_eq!(table.standing(&stamp), Standing::Fresh);
    table.soften(&[BucketId(1)], at);
    assert_eq!(table.standing(&stamp), Standing::LateSince(at));
    assert!(!table.holds(&stamp));
    assert_eq!(table.pass(&[BucketId(1), SWEEP], &[], sent_before), Err(Refusal::Void), "sent before it");
    let again = pass(&table, 1, EPOCH, "10:10:").expect("sent after it");
    assert_eq!(table.standing(&again), Standing::Fresh);
    table.soften(&[SWEEP], later);
    assert_eq!(table.standing(&stamp), Standing::LateSince(at), "since the first");
    assert_eq!(table.standing(&again), Standing::LateSince(later));
    table.raise(BucketId(1), EPOCH, Xid(20));
    assert_eq!((table.standing(&stamp), table.standing(&again)), (Standing::Over, Standing::Over), "it changed");
    let other = pass(&table, 2, EPOCH, "10:10:").expect("another row");
    table.soften(&[BucketId(2)], later);
    table.void(&[SWEEP]);
    assert_eq!(table.standing(&other), Standing::Over);
    let last = pass(&table, 2, EPOCH, "10:10:").expect("sent after it");
    table.soften(&[BucketId(2)], later);
    table.void_all();
    assert_eq!(table.standing(&last), Standing::Over);
}

#[test]
fn more_soft_voids_than_are_counted_end_a_stamp() {
    let table = FloorTable::new(1024);
    let at = Moment::now(tokio::time::Instant::now());
    let stamp = pass(&table, 1, EPOCH, "10:10:").expect("admitted");
    for _ in 0..ENDED - 1 {
        table.soften(&[BucketId(1)], at);
    }
    assert_eq!(table.standing(&stamp), Standing::LateSince(at));
    table.soften(&[BucketId(1)], at);
    assert_eq!(table.standing(&stamp), Standing::Over, "and not as if nothing had been");
}

#[test]
fn what_a_transaction_made_late_is_fetched_again_only_by_who_sees_it() {
    let table = FloorTable::new(1024);
    let at = Moment::now(tokio::time::Instant::now());
    let stamp = pass(&table, 1, EPOCH, "10:10:").expect("admitted");
    table.hear_softly(BucketId(1), EPOCH, Xid(10), at);
    assert_eq!(table.standing(&stamp), Standing::LateSince(at));
    assert_eq!(pass(&table, 1, EPOCH, "10:11:10"), Err(Refusal::Floor), "told of before it is visible");
    assert!(pass(&table, 1, EPOCH, "11:11:").is_ok());
}
