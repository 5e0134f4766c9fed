//! The change feed against real PostgreSQL.

use std::time::Duration;

use tidegate_store::feed::{
    Changed, Changes, Feed, FeedEvent, FeedHealth, FeedRole, FeedTable, FeedTables, FlushReason, RowImage, Told,
    Transaction, Watched,
};
use tidegate_types::{
    settings::{FeedSettings, Following},
    snapshot::{Snapshot, Xid},
};
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
};

use crate::world::{A, Shape, World, until};

const SCHEMA: &str = "\
CREATE TABLE items (id int8 PRIMARY KEY, name text, kind text);
CREATE TABLE texts (id int4, lang text, body text, PRIMARY KEY (id, lang));
ALTER TABLE texts REPLICA IDENTITY FULL;
CREATE TABLE loose (a int, b int);
INSERT INTO items SELECT i, 'item ' || i, 'k' FROM generate_series(1, 20) i;
INSERT INTO texts VALUES (1, 'en', 'hello');";

fn settings() -> FeedSettings {
    FeedSettings {
        following: Following::On,
        slot: "tidegate".to_owned(),
        publication: "tidegate".to_owned(),
        heartbeat: Duration::from_millis(20),
        max_retained_wal: 1 << 30,
        schema_interval: Duration::from_millis(200),
    }
}

fn table(relation: &str, key: &[&str], watched: &[&str]) -> std::sync::Arc<FeedTable> {
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    FeedTable { relation: relation.to_owned(), key: names(key), watched: names(watched) }.into()
}

fn tables() -> FeedTables {
    [table("public.items", &["id"], &["kind"]), table("public.texts", &["id", "lang"], &["body"])].into()
}

/// A feed that runs, and what it told.
struct Running {
    events: mpsc::Receiver<Told>,
    health: FeedHealth,
    tables: watch::Sender<FeedTables>,
    task: JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Running {
    fn start(world: &World, gateway: u64) -> Self {
        Self::with(world, gateway, &settings())
    }

    fn with(world: &World, gateway: u64, settings: &FeedSettings) -> Self {
        let (sender, receiver) = watch::channel(tables());
        let Feed { follower, events, health } = world.store.feed(A, settings, gateway, receiver).unwrap();
        Self { events, health, tables: sender, task: tokio::spawn(follower.run()) }
    }

    /// The next event that is no heartbeat; those are taken note of.
    async fn next(&mut self) -> Told {
        let wait = async {
            loop {
                let told = self.events.recv().await.expect("the feed runs");
                match told.event {
                    FeedEvent::Heartbeat(beat) => self.health.returned(beat),
                    _ => return told,
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(20), wait).await.expect("an event in time")
    }

    async fn transaction(&mut self) -> Transaction {
        match self.next().await.event {
            FeedEvent::Transaction(transaction) => transaction,
            other => panic!("{other:?}"),
        }
    }

    async fn flush(&mut self) -> (FlushReason, Xid) {
        match self.next().await.event {
            FeedEvent::Flush { base, why, .. } => (why, base),
            other => panic!("{other:?}"),
        }
    }

    /// Waits until everything up to now was told.
    async fn caught_up(&mut self) {
        let wait = async {
            loop {
                let told = self.events.recv().await.expect("the feed runs");
                match told.event {
                    FeedEvent::Heartbeat(beat) => self.health.returned(beat),
                    FeedEvent::Flush { .. } => {}
                    other => panic!("{other:?}"),
                }
                if self.health.age().is_some_and(|age| age < Duration::from_secs(1)) {
                    return;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(20), wait).await.expect("a heartbeat comes back");
    }
}

async fn started(world: &World) -> Running {
    let mut feed = Running::start(world, 1);
    assert_eq!(feed.flush().await.0, FlushReason::Published);
    assert_eq!(feed.flush().await.0, FlushReason::Began);
    feed
}

async fn world() -> World {
    World::new(Shape::Clusters, SCHEMA, &["items", "texts"]).await
}

async fn xid(sql: &tokio_postgres::Client) -> Xid {
    let row = sql.query_one("SELECT pg_current_xact_id()::text", &[]).await.unwrap();
    Xid(row.get::<_, String>(0).parse().unwrap())
}

/// `table: before key/watched -> after key/watched`.
fn described(transaction: &Transaction) -> Vec<String> {
    let image = |image: &Option<RowImage>| match image {
        None => "nothing".to_owned(),
        Some(image) => {
            let watched = image.watched.iter().map(|value| match value {
                Watched::Unknown => "?",
                Watched::Null => "NULL",
                Watched::Text(text) => text,
            });
            format!("{}/{}", image.key.join(","), watched.collect::<Vec<_>>().join(","))
        }
    };
    let mut lines = Vec::new();
    for table in &transaction.tables {
        let name = match &table.table {
            Changed::Followed(table) => table.relation.clone(),
            Changed::Other(name) => format!("other {name}"),
        };
        match &table.changes {
            Changes::Whole(why) => lines.push(format!("{name}: {why:?}")),
            Changes::Rows(rows) => {
                lines.extend(rows.iter().map(|row| format!("{name}: {} -> {}", image(&row.before), image(&row.after))));
            }
        }
    }
    lines
}

#[tokio::test]
async fn every_kind_of_change_is_told_with_its_transaction() {
    let world = world().await;
    let mut feed = started(&world).await;
    let sql = world.sql(A).await;
    sql.batch_execute("BEGIN").await.unwrap();
    let expected = xid(&sql).await;
    sql.batch_execute(
        "INSERT INTO items VALUES (100, 'new', 'a');
         UPDATE items SET kind = 'b' WHERE id = 1;
         UPDATE items SET id = 200 WHERE id = 2;
         DELETE FROM items WHERE id = 3;
         UPDATE texts SET body = NULL;
         UPDATE texts SET lang = 'de';
         DELETE FROM texts;
         COMMIT",
    )
    .await
    .unwrap();
    let told = feed.transaction().await;
    assert_eq!(told.xid, expected);
    let lines = [
        "public.items: nothing -> 100/a",
        "public.items: 1/? -> 1/b",
        "public.items: 2/? -> 200/k",
        "public.items: 3/? -> nothing",
        "public.texts: 1,en/hello -> 1,en/NULL",
        "public.texts: 1,en/NULL -> 1,de/NULL",
        "public.texts: 1,de/NULL -> nothing",
    ];
    assert_eq!(described(&told), lines);
    sql.batch_execute("TRUNCATE items, texts").await.unwrap();
    assert_eq!(described(&feed.transaction().await), ["public.items: Truncated", "public.texts: Truncated"]);
}

#[tokio::test]
async fn rolled_back_work_is_not_told_and_savepoints_and_prepared_transactions_are() {
    let world = world().await;
    let mut feed = started(&world).await;
    let sql = world.sql(A).await;
    sql.batch_execute("BEGIN; UPDATE items SET kind = 'never' WHERE id = 1; ROLLBACK").await.unwrap();
    sql.batch_execute("BEGIN; UPDATE items SET kind = 'x' WHERE id = 2; SAVEPOINT s").await.unwrap();
    let expected = xid(&sql).await;
    sql.batch_execute(
        "UPDATE items SET kind = 'never' WHERE id = 3; ROLLBACK TO s; \
         SAVEPOINT t; UPDATE items SET kind = 'y' WHERE id = 4; RELEASE t; COMMIT",
    )
    .await
    .unwrap();
    let told = feed.transaction().await;
    assert_eq!(told.xid, expected, "the transaction's id, not the savepoint's");
    assert_eq!(described(&told), ["public.items: 2/? -> 2/x", "public.items: 4/? -> 4/y"]);
    sql.batch_execute("INSERT INTO loose VALUES (1, 1)").await.unwrap();
    sql.batch_execute("UPDATE items SET kind = 'z' WHERE id = 5").await.unwrap();
    assert_eq!(described(&feed.transaction().await), ["public.items: 5/? -> 5/z"], "what is not served is not told");
    feed.caught_up().await;
}

#[tokio::test]
async fn a_big_transaction_is_told_as_a_whole_table() {
    let world = world().await;
    let mut feed = started(&world).await;
    let sql = world.sql(A).await;
    sql.batch_execute("INSERT INTO items SELECT i, 'many', 'k' FROM generate_series(1000, 30000) i").await.unwrap();
    assert_eq!(described(&feed.transaction().await), ["public.items: TooMany"]);
    sql.batch_execute("UPDATE texts SET body = repeat('x', 20000000)").await.unwrap();
    assert_eq!(described(&feed.transaction().await), ["public.texts: TooMany"], "a row too large to keep");
    sql.batch_execute("UPDATE items SET name = 'after' WHERE id = 1").await.unwrap();
    assert_eq!(described(&feed.transaction().await), ["public.items: 1/? -> 1/k"]);
}

/// The interleaving "event before visibility": the feed must not wait for it, and the xid must say it.
#[tokio::test]
async fn an_event_may_come_before_its_transaction_is_visible_and_its_xid_says_so() {
    let world = world().await;
    let mut feed = started(&world).await;
    let (sql, other) = (world.sql(A).await, world.sql(A).await);
    // Nobody is a standby of this name: the commit is in the log, told to readers of it, and not visible.
    other.batch_execute("ALTER SYSTEM SET synchronous_standby_names = 'nobody'").await.unwrap();
    other.batch_execute("SELECT pg_reload_conf()").await.unwrap();
    until("the setting holds", async || {
        let row = other.query_one("SHOW synchronous_standby_names", &[]).await.unwrap();
        row.get::<_, String>(0) == "nobody"
    })
    .await;
    drop(sql);
    other.batch_execute("SET synchronous_commit = local").await.unwrap();
    let (commit, told) = loop {
        let sql = world.sql(A).await;
        let commit = tokio::spawn(async move { sql.batch_execute("UPDATE items SET kind = 'x' WHERE id = 1").await });
        let told = feed.transaction().await;
        let waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
        until("it waits or is done", async || {
            commit.is_finished() || other.query_one(waits, &[]).await.unwrap().get::<_, i64>(0) == 1
        })
        .await;
        if !commit.is_finished() {
            break (commit, told);
        }
        // The server's processes learn of the setting one by one; until all have, a commit does not wait.
        other.batch_execute("UPDATE items SET kind = 'k' WHERE id = 1").await.unwrap();
        feed.transaction().await;
    };
    let row = other.query_one("SELECT pg_current_snapshot()::text, kind FROM items WHERE id = 1", &[]).await.unwrap();
    let snapshot = Snapshot::parse(row.get(0)).unwrap();
    assert_eq!(row.get::<_, &str>(1), "k", "not visible yet");
    assert!(!snapshot.sees(told.xid), "and its xid is not seen");
    other.batch_execute("ALTER SYSTEM RESET synchronous_standby_names").await.unwrap();
    other.batch_execute("SELECT pg_reload_conf()").await.unwrap();
    commit.await.unwrap().unwrap();
    let row = other.query_one("SELECT pg_current_snapshot()::text", &[]).await.unwrap();
    assert!(Snapshot::parse(row.get(0)).unwrap().sees(told.xid));
}

#[tokio::test]
async fn heartbeats_come_back_after_what_was_committed_before_them() {
    let world = world().await;
    let mut feed = started(&world).await;
    feed.caught_up().await;
    let sql = world.sql(A).await;
    for round in 0..5 {
        sql.batch_execute(&format!("UPDATE items SET kind = 'r{round}' WHERE id = 1")).await.unwrap();
        let committed = std::time::Instant::now();
        let mut told = false;
        // A heartbeat that says that it was sent after the commit comes after the commit's event.
        loop {
            match feed.events.recv().await.unwrap().event {
                FeedEvent::Transaction(_) => told = true,
                FeedEvent::Heartbeat(beat) => {
                    feed.health.returned(beat);
                    if feed.health.age().unwrap() < committed.elapsed() {
                        break;
                    }
                }
                FeedEvent::Flush { .. } => panic!("nothing was lost"),
            }
        }
        assert!(told, "round {round}");
    }
}

async fn terminate_readers(sql: &tokio_postgres::Client) {
    sql.batch_execute("SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE active").await.unwrap();
}

#[tokio::test]
async fn after_an_interruption_the_feed_goes_on_where_it_was() {
    let world = world().await;
    let mut feed = started(&world).await;
    let sql = world.sql(A).await;
    for round in 0..3 {
        terminate_readers(&sql).await;
        sql.batch_execute(&format!("UPDATE items SET kind = 'r{round}' WHERE id = 1")).await.unwrap();
        let expected = format!("public.items: 1/? -> 1/r{round}");
        // What was handed over and not confirmed is told twice.
        while described(&feed.transaction().await) != [expected.as_str()] {}
    }
}

#[tokio::test]
async fn a_slot_dropped_under_the_feed_is_a_flush() {
    let world = world().await;
    let mut feed = started(&world).await;
    let sql = world.sql(A).await;
    feed.caught_up().await;
    until("the slot is free and dropped", async || {
        terminate_readers(&sql).await;
        let drop = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE NOT active";
        matches!(sql.execute(drop, &[]).await, Ok(1))
    })
    .await;
    sql.batch_execute("UPDATE items SET kind = 'missed' WHERE id = 1").await.unwrap();
    let missed = xid(&sql).await;
    let (why, base) = loop {
        match feed.next().await.event {
            FeedEvent::Flush { base, why, .. } => break (why, base),
            FeedEvent::Transaction(_) => {}
            FeedEvent::Heartbeat(_) => unreachable!("taken note of"),
        }
    };
    assert_eq!(why, FlushReason::Began);
    // It may also have been made anew before the update, and tell of it; the flush is then only early.
    let _ = (missed, base);
    sql.batch_execute("UPDATE items SET kind = 'told' WHERE id = 2").await.unwrap();
    while described(&feed.transaction().await) != ["public.items: 2/? -> 2/told"] {}
}

#[tokio::test]
async fn a_slot_that_keeps_too_much_is_made_anew() {
    let world = world().await;
    let small = FeedSettings { max_retained_wal: 4 << 20, ..settings() };
    let mut feed = Running::with(&world, 1, &small);
    assert_eq!(feed.flush().await.0, FlushReason::Published);
    assert_eq!(feed.flush().await.0, FlushReason::Began);
    let (sql, holder) = (world.sql(A).await, world.sql(A).await);
    // A transaction under way keeps the log from its beginning on.
    holder.batch_execute("BEGIN; INSERT INTO loose VALUES (1, 1)").await.unwrap();
    sql.batch_execute("INSERT INTO loose SELECT i, i FROM generate_series(1, 200000) i").await.unwrap();
    until("the slot is gone or made anew", async || {
        let row = sql
            .query_one(
                "SELECT count(*) FROM pg_replication_slots WHERE restart_lsn < \
            pg_current_wal_lsn() - 4194304",
                &[],
            )
            .await
            .unwrap();
        row.get::<_, i64>(0) == 0
    })
    .await;
    holder.batch_execute("COMMIT").await.unwrap();
    loop {
        match feed.next().await.event {
            FeedEvent::Flush { why: FlushReason::SlotRemade, .. } => break,
            FeedEvent::Flush { why, .. } => panic!("{why:?}"),
            _ => {}
        }
    }
    sql.batch_execute("UPDATE items SET kind = 'told' WHERE id = 2").await.unwrap();
    assert_eq!(described(&feed.transaction().await), ["public.items: 2/? -> 2/told"]);
}

#[tokio::test]
async fn a_restarted_server_is_another_epoch_and_a_flush() {
    let mut world = world().await;
    let mut feed = started(&world).await;
    feed.caught_up().await;
    let before = world.epochs.current(A);
    world.clusters[0].restart().await.unwrap();
    let (why, told) = loop {
        let told = feed.next().await;
        if let FeedEvent::Flush { why, .. } = told.event {
            break (why, told);
        }
    };
    assert_eq!(why, FlushReason::Began);
    assert!(told.epoch > before);
    let sql = world.sql(A).await;
    sql.batch_execute("UPDATE items SET kind = 'told' WHERE id = 2").await.unwrap();
    assert_eq!(described(&feed.transaction().await), ["public.items: 2/? -> 2/told"]);
}

#[tokio::test]
async fn altered_tables_are_a_flush_and_others_are_not() {
    let world = world().await;
    let mut feed = started(&world).await;
    let sql = world.sql(A).await;
    sql.batch_execute("CREATE TEMP TABLE t (x int); CREATE TABLE public.other (x int); DROP TABLE public.other")
        .await
        .unwrap();
    sql.batch_execute("VACUUM FULL items; ANALYZE items; CREATE INDEX ON items (name)").await.unwrap_or_default();
    feed.caught_up().await;
    for ddl in [
        "ALTER TABLE items ADD COLUMN extra text DEFAULT 'x'",
        "ALTER TABLE items ENABLE ROW LEVEL SECURITY",
        "CREATE POLICY p ON items USING (true)",
        "DROP POLICY p ON items",
        "ALTER PUBLICATION tidegate SET (publish = 'insert')",
    ] {
        sql.batch_execute(ddl).await.unwrap();
        assert_eq!(feed.flush().await.0, FlushReason::Schema, "{ddl}");
    }
}

#[tokio::test]
async fn one_of_two_gateways_reads_and_the_other_takes_over() {
    let world = world().await;
    let mut first = started(&world).await;
    let mut second = Running::start(&world, 2);
    until("the second waits", async || second.health.role() == FeedRole::Waiting).await;
    assert_eq!(second.flush().await.0, FlushReason::Relay, "what the first told before is not known");
    second.health.suspect();
    assert_eq!(second.flush().await.0, FlushReason::Relay);
    until("the first reads", async || first.health.role() == FeedRole::Reading).await;
    first.task.abort();
    assert_eq!(second.flush().await.0, FlushReason::Began, "it does not know what it missed");
    until("the second reads", async || second.health.role() == FeedRole::Reading).await;
    let sql = world.sql(A).await;
    sql.batch_execute("UPDATE items SET kind = 'told' WHERE id = 2").await.unwrap();
    while described(&second.transaction().await) != ["public.items: 2/? -> 2/told"] {}
    first.events.close();
}

#[tokio::test]
async fn tables_may_come_and_one_that_cannot_be_followed_is_known() {
    let world = world().await;
    let mut feed = started(&world).await;
    let sql = world.sql(A).await;
    feed.caught_up().await;
    let with = |table: std::sync::Arc<FeedTable>| tables().iter().cloned().chain([table]).collect::<Vec<_>>().into();
    feed.tables.send(with(table("public.loose", &["a"], &[]))).unwrap();
    until("the feed is not whole", async || feed.health.age().is_none()).await;
    sql.batch_execute("INSERT INTO loose VALUES (1, 1); UPDATE loose SET b = 2; DELETE FROM loose").await.unwrap();
    sql.batch_execute("CREATE TABLE public.more (id int PRIMARY KEY)").await.unwrap();
    feed.tables.send(with(table("public.more", &["id"], &[]))).unwrap();
    assert_eq!(feed.flush().await.0, FlushReason::Published);
    sql.batch_execute("INSERT INTO public.more VALUES (7)").await.unwrap();
    assert_eq!(described(&feed.transaction().await), ["public.more: nothing -> 7/"]);
    feed.caught_up().await;
}
