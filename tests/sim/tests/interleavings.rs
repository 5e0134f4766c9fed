//! Those of the twenty interleavings that need several gateways: each a small world in which nothing else goes wrong,
//! by thirty seeds. And those of a standby, stepped by hand.

use std::time::Duration;

use tidegate_sim::{
    Disasters, Focus, Plan, Shape, Trace,
    postgres::{Cell, RowId, Server, Written},
    run_in,
    standby::{Given, Standbys},
};
use tidegate_types::{
    epoch::Epoch,
    snapshot::Xid,
    standby::{End, Lsn, Unfit},
};

fn holds(change: impl Fn(&mut Shape)) {
    let mut disasters = 0;
    for seed in 0..30 {
        let plan = Plan { seed, focus: Focus::Members, bug: None };
        let mut shape = Shape::of(seed, Focus::Members);
        shape.disasters = Disasters::default();
        change(&mut shape);
        let report = run_in(shape, plan, Trace::default());
        assert_eq!(report.verdict, Ok(()), "seed {seed}");
        disasters += report.disasters;
    }
    assert!(disasters > 30, "{disasters} disasters");
}

fn often(shape: &Shape) -> Option<Duration> {
    Some(shape.lease)
}

#[test]
fn two_writers_on_two_gateways_while_one_pauses() {
    holds(|shape| {
        shape.writes = 2;
        shape.disasters.pauses = often(shape);
    });
}

#[test]
fn partition_from_peers_and_not_from_the_database() {
    holds(|shape| shape.disasters.partitions = often(shape));
}

#[test]
fn partition_from_the_database_and_not_from_peers() {
    holds(|shape| {
        shape.trouble.cuts = 3;
        // What counts as a disaster here is lost connections; a leave is only for counting.
        shape.disasters.leaves = often(shape);
    });
}

#[test]
fn join_while_writes_are_under_way() {
    holds(|shape| {
        shape.trouble.gaps = 2;
        shape.disasters.leaves = often(shape);
        shape.disasters.crashes = often(shape);
    });
}

#[test]
fn promotion_of_a_standby_that_lost_transactions() {
    holds(|shape| shape.disasters.promotions = often(shape));
}

#[test]
fn epochs_that_end_while_connections_live_on() {
    holds(|shape| {
        shape.writes = 2;
        shape.disasters.shows = often(shape);
    });
}

#[test]
fn reads_on_standbys_that_lag() {
    holds(|shape| {
        shape.writes = 2;
        shape.lag = Some(shape.lease / 8);
        shape.disasters.leaves = often(shape);
    });
}

const KEY: u32 = 1;
const EPOCH: Epoch = Epoch(1);

/// A primary with a standby, and a gateway that has joined and settled its base.
fn joined() -> (Server, Standbys) {
    let (server, mut standbys) = (Server::new(), Standbys::new(EPOCH, 1024, None));
    standbys.rebase(EPOCH, Xid(server.snapshot().xmin.0 - 1), server.insert_lsn());
    standbys.settle(EPOCH, &server.snapshot(), server.insert_lsn());
    (server, standbys)
}

/// Everything of a write before its COMMIT.
fn begin(server: &mut Server, standbys: &mut Standbys, value: u64) -> Xid {
    let xid = server.begin();
    server.change(xid, RowId::Data(KEY), Cell::Value(Written { value: Some(value), tag: value }));
    standbys.raise(EPOCH, Xid(xid), &[KEY]);
    Xid(xid)
}

/// COMMIT and its answer. Nobody was told of it yet.
fn commit(server: &mut Server, xid: Xid) {
    server.log_commit(xid.0);
    server.show_commit(xid.0, 0);
}

fn resolve(server: &Server, standbys: &mut Standbys, xid: Xid) {
    standbys.resolve(EPOCH, xid, End::Committed(server.insert_lsn()));
}

/// What the standby gives now, with what it says to have replayed at another moment.
fn given(server: &Server, replayed: Lsn) -> Given {
    let (value, snapshot) = server.read_on_standby(KEY);
    Given { value, replayed, snapshot }
}

/// The row that is kept and may be served.
fn hit(standbys: &Standbys) -> Option<u64> {
    standbys.hit(EPOCH, KEY)?.value
}

/// The standby replays a commit between the two statements of a read.
#[test]
fn replay_lsn_read_in_the_wrong_statement() {
    let (mut server, mut standbys) = joined();
    let first = begin(&mut server, &mut standbys, 1);
    commit(&mut server, first);
    resolve(&server, &mut standbys, first);
    server.replay(1);
    let second = begin(&mut server, &mut standbys, 2);
    let before = server.replayed();
    let row = given(&server, before);
    commit(&mut server, second);
    server.replay(1);
    let after = server.replayed();
    resolve(&server, &mut standbys, second);
    assert_eq!(row.value, Some(1), "it was read before");
    assert_eq!(standbys.keep(EPOCH, KEY, row.clone()), Err(Unfit::Behind(after)), "asked before the row was read");
    assert!(standbys.hit(EPOCH, KEY).is_none());
    let wrong = Given { replayed: after, ..row };
    assert_eq!(standbys.keep(EPOCH, KEY, wrong), Ok(()), "asked after it: nothing tells the old row from the new");
    assert_eq!(hit(&standbys), Some(1), "which is acknowledged");
    // The right order, and the commit replayed between the statements: the row is newer than its position.
    let (mut server, mut standbys) = joined();
    let early = server.replayed();
    let third = begin(&mut server, &mut standbys, 3);
    commit(&mut server, third);
    server.replay(1);
    let newer = given(&server, early);
    resolve(&server, &mut standbys, third);
    assert_eq!(newer.value, Some(3));
    assert_eq!(standbys.keep(EPOCH, KEY, newer), Err(Unfit::Behind(Lsn(1))), "refused for nothing");
    let again = given(&server, server.replayed());
    assert_eq!(standbys.keep(EPOCH, KEY, again), Ok(()));
    assert_eq!(hit(&standbys), Some(3));
}

/// Its commit is replayed and acknowledged, and where it is in the log was not told, or never will be.
#[test]
fn a_commit_whose_place_nobody_told_is_settled_by_the_primary() {
    let (mut server, mut standbys) = joined();
    let old = given(&server, server.replayed());
    assert_eq!(standbys.keep(EPOCH, KEY, old.clone()), Ok(()));
    let xid = begin(&mut server, &mut standbys, 1);
    assert!(standbys.hit(EPOCH, KEY).is_none(), "from before COMMIT on");
    let early = server.snapshot();
    commit(&mut server, xid);
    standbys.settle(EPOCH, &early, server.insert_lsn());
    assert!(standbys.hit(EPOCH, KEY).is_none(), "the snapshot does not see it");
    assert_eq!(standbys.keep(EPOCH, KEY, old.clone()), Err(Unfit::Unresolved));
    standbys.settle(EPOCH, &server.snapshot(), server.insert_lsn());
    assert_eq!(standbys.keep(EPOCH, KEY, old), Err(Unfit::Behind(Lsn(1))), "the standby has replayed nothing");
    server.replay(1);
    let new = given(&server, server.replayed());
    assert_eq!(standbys.keep(EPOCH, KEY, new), Ok(()));
    assert_eq!(hit(&standbys), Some(1));
}

/// A writer that began before the gateway joined did not tell it, and commits after the join was replayed.
#[test]
fn what_a_standby_gives_after_a_join_waits_for_every_older_writer() {
    let mut server = Server::new();
    let older = server.begin();
    server.change(older, RowId::Data(KEY), Cell::Value(Written { value: Some(1), tag: 1 }));
    let mut standbys = Standbys::new(EPOCH, 1024, None);
    let base = server.begin();
    server.log_commit(base);
    server.show_commit(base, 0);
    server.replay(1);
    let old = given(&server, server.replayed());
    assert_eq!(standbys.keep(EPOCH, KEY, old.clone()), Err(Unfit::Unresolved), "it has no base");
    standbys.rebase(EPOCH, Xid(base), server.insert_lsn());
    standbys.settle(EPOCH, &server.snapshot(), server.insert_lsn());
    assert_eq!(standbys.keep(EPOCH, KEY, old.clone()), Err(Unfit::Unresolved), "the older one is under way");
    commit(&mut server, Xid(older));
    standbys.settle(EPOCH, &server.snapshot(), server.insert_lsn());
    assert_eq!(standbys.keep(EPOCH, KEY, old), Err(Unfit::Behind(Lsn(2))));
}
