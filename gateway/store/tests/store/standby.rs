//! What the rule for reads on standbys rests on (`tidegate_types::standby`), on a real one. The store does not read
//! there yet.

use std::{os::unix::fs::PermissionsExt, process::Command};

use tempfile::TempDir;
use tidegate_postgres::{Binaries, Cluster, Durability};
use tidegate_types::{
    snapshot::{Snapshot, Xid},
    standby::{End, Lsn, StandbyFloor, Unfit},
};
use tokio_postgres::Client;

use crate::world::{A, Shape, World, connect, until};

const SCHEMA: &str = "CREATE TABLE items (id bigint PRIMARY KEY, n int); INSERT INTO items VALUES (1, 1), (2, 1)";
const REPLAYED: &str = "SELECT (pg_last_wal_replay_lsn() - '0/0')::bigint";
const INSERTED: &str = "SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint";

struct Standby {
    sql: Client,
    // Before the folder: the server ends, then its files go.
    _cluster: Cluster,
    _dir: TempDir,
}

/// A copy of the world's server that follows it.
async fn standby(world: &World) -> Standby {
    let dir = tempfile::Builder::new().prefix("tidegate-standby-").tempdir().unwrap();
    // The server runs as another user where the tests run as root.
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let (binaries, data) = (Binaries::find(None).unwrap(), dir.path().join("standby"));
    let mut copy = Command::new(binaries.program("pg_basebackup"));
    copy.args(["--write-recovery-conf", "--checkpoint=fast", "--no-sync", "--dbname"]);
    copy.arg(world.clusters[0].url("postgres")).arg("--pgdata").arg(&data);
    let copied = tokio::task::spawn_blocking(move || copy.output()).await.unwrap().unwrap();
    assert!(copied.status.success(), "{}", String::from_utf8_lossy(&copied.stderr));
    let cluster = Cluster::builder(binaries, data).name("standby").durability(Durability::Fast).start().await.unwrap();
    Standby { sql: connect(&cluster.url("a")).await, _cluster: cluster, _dir: dir }
}

async fn position(client: &Client, sql: &str) -> Lsn {
    Lsn(client.query_one(sql, &[]).await.unwrap().get::<_, i64>(0).unsigned_abs())
}

async fn n(client: &Client, id: i64) -> i32 {
    client.query_one("SELECT n FROM items WHERE id = $1", &[&id]).await.unwrap().get(0)
}

async fn snapshot(client: &Client) -> Snapshot {
    let text = client.query_one("SELECT pg_current_snapshot()::text", &[]).await.unwrap().get::<_, String>(0);
    Snapshot::parse(&text).unwrap()
}

/// Begins an update and gives its transaction.
async fn update(client: &Client, id: i64) -> Xid {
    client.batch_execute(&format!("BEGIN; UPDATE items SET n = 2 WHERE id = {id}")).await.unwrap();
    let xid = client.query_one("SELECT pg_current_xact_id()::text", &[]).await.unwrap().get::<_, String>(0);
    Xid(xid.parse().unwrap())
}

/// Waits until the standby has replayed this much.
async fn replayed(primary: &Client, standby: &Standby, lsn: Lsn) {
    until("the standby has caught up", async || {
        // A position may be beyond the last record until there is another one.
        primary.batch_execute("SELECT pg_logical_emit_message(false, 'test', '')").await.unwrap();
        position(&standby.sql, REPLAYED).await >= lsn
    })
    .await;
}

#[tokio::test]
async fn a_row_read_after_the_position_was_asked_for_is_judged_rightly_and_one_read_before_is_not() {
    let world = World::new(Shape::Databases, SCHEMA, &["items"]).await;
    let (primary, standby) = (world.sql(A).await, standby(&world).await);
    replayed(&primary, &standby, position(&primary, INSERTED).await).await;
    standby.sql.batch_execute("SELECT pg_wal_replay_pause()").await.unwrap();
    until("replay has stopped", async || {
        let state = standby.sql.query_one("SELECT pg_get_wal_replay_pause_state()", &[]).await.unwrap();
        state.get::<_, &str>(0) == "paused"
    })
    .await;

    let mut floor = StandbyFloor::default();
    let xid = update(&primary, 1).await;
    floor.raise(xid);
    let (early, old) = (position(&standby.sql, REPLAYED).await, n(&standby.sql, 1).await);
    primary.batch_execute("COMMIT").await.unwrap();
    let committed = position(&primary, INSERTED).await;
    floor.resolve(xid, End::Committed(committed));
    assert_eq!((old, floor.admits(early)), (1, Err(Unfit::Behind(committed))));

    // Between the row and the position.
    standby.sql.batch_execute("SELECT pg_wal_replay_resume()").await.unwrap();
    replayed(&primary, &standby, committed).await;
    let late = position(&standby.sql, REPLAYED).await;
    assert_eq!(floor.admits(late), Ok(()), "the position of another statement says nothing of the old row");
    assert_eq!(n(&standby.sql, 1).await, 2, "and of a row read after it says that it shows the commit");
}

#[tokio::test]
async fn on_a_standby_a_transaction_that_is_under_way_counts_as_ended() {
    let world = World::new(Shape::Databases, SCHEMA, &["items"]).await;
    let (primary, other, standby) = (world.sql(A).await, world.sql(A).await, standby(&world).await);
    let running = update(&primary, 1).await;
    let later = update(&other, 2).await;
    assert!(running < later);
    other.batch_execute("COMMIT").await.unwrap();
    replayed(&other, &standby, position(&other, INSERTED).await).await;
    let (here, there) = (snapshot(&other).await, snapshot(&standby.sql).await);
    assert!(!here.sees(running) && here.sees(later), "on the primary: {here:?}");
    assert_eq!(n(&standby.sql, 2).await, 2, "replayed");
    assert_eq!(n(&standby.sql, 1).await, 1, "under way");
    assert!(there.xip.is_empty() && there.sees(running), "on the standby: {there:?}");
    primary.batch_execute("ROLLBACK").await.unwrap();
}
