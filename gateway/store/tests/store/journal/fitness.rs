//! What a database must be, to keep a journal.

use std::{process::Command, time::Duration};

use tidegate_postgres::{Binaries, Cluster, Durability};
use tidegate_store::journal::{GRANTS, JournalDatabase, JournalError, Partition, TABLES};
use tidegate_types::settings::Secret;

use super::{BOUNDS, LEASE, World, take, world};

fn over(url: &str) -> JournalDatabase {
    JournalDatabase::new(&Secret::new(url.to_owned()), BOUNDS).unwrap()
}

fn as_role(world: &World, role: &str) -> JournalDatabase {
    over(&world.url().replacen("tidegate@", &format!("{role}:hunter2@"), 1))
}

async fn unfit(database: &JournalDatabase) -> String {
    match database.check().await {
        Err(error @ JournalError::Unfit { .. }) => error.to_string(),
        other => panic!("not refused: {other:?}"),
    }
}

#[tokio::test]
async fn a_role_whose_commits_do_not_wait_is_refused() {
    let world = world().await;
    world.gateway().check().await.unwrap();
    for value in ["off", "local"] {
        let role = format!(
            "CREATE ROLE {value}_role SUPERUSER LOGIN; ALTER ROLE {value}_role SET synchronous_commit = {value}"
        );
        world.sql.batch_execute(&role).await.unwrap();
        let refused = unfit(&as_role(&world, &format!("{value}_role"))).await;
        assert!(refused.contains(&format!("`synchronous_commit` is {value}")), "{refused}");
        assert!(!refused.contains("hunter2") && refused.contains(&format!("127.0.0.1:{}", world.cluster.port())));
    }
}

#[tokio::test]
async fn a_server_without_synchronous_standbys_is_refused() {
    let world = crate::world::World::new(crate::world::Shape::Databases, "", &[]).await;
    let database = over(&world.clusters[0].url("a"));
    let refused = unfit(&database).await;
    assert!(refused.contains("`synchronous_standby_names` is empty"), "{refused}");
    let problem = database.check().await.unwrap_err().into_problem();
    assert_eq!((&*problem.code, problem.details), ("TG003", None));
    // Before anything is done there.
    let sql = world.sql(crate::world::A).await;
    let row =
        "INSERT INTO tidegate.partitions (shard, journal, epoch, beat, lease_ms, seq) VALUES ('a', 1, 0, 0, 0, 0)";
    sql.batch_execute(&format!("{TABLES}{row}")).await.unwrap();
    let found = Partition {
        shard: "a".into(),
        journal: 1,
        owner: None,
        address: None,
        epoch: 0,
        beat: 0,
        lease: Duration::ZERO,
    };
    let taken = over(&world.clusters[0].url("a")).take(&found, "one", "one:80", LEASE).await;
    assert!(matches!(taken, Err(JournalError::Unfit { .. })), "{taken:?}");
    let epoch = sql.query_one("SELECT epoch FROM tidegate.partitions", &[]).await.unwrap();
    assert_eq!(epoch.get::<_, i64>(0), 0);
}

#[tokio::test]
async fn of_several_hosts_the_primary_is_used_and_a_standby_is_refused() {
    let world = world().await;
    let (binaries, data) = (Binaries::find(None).unwrap(), world.dir.path().join("standby"));
    let mut copy = Command::new(binaries.program("pg_basebackup"));
    copy.args(["--write-recovery-conf", "--checkpoint=fast", "--no-sync", "--dbname"]);
    copy.arg(world.url()).arg("--pgdata").arg(&data);
    let copied = tokio::task::spawn_blocking(move || copy.output()).await.unwrap().unwrap();
    assert!(copied.status.success(), "{}", String::from_utf8_lossy(&copied.stderr));
    let standby = Cluster::builder(binaries, data).name("standby").durability(Durability::Fast).start().await.unwrap();

    let refused = unfit(&over(&standby.url("postgres"))).await;
    assert!(refused.contains("is a standby"), "{refused}");
    let (there, here) = (format!("127.0.0.1:{}", standby.port()), format!("127.0.0.1:{}", world.cluster.port()));
    let both = over(&world.url().replacen(&here, &format!("{there},{here}"), 1));
    both.check().await.unwrap();
    assert_eq!(&**both.name(), &*format!("{there},{here}/postgres"));
    assert_eq!(take(&both, "a", "one").await.epoch, 1);

    // A host that is silent is passed over, too.
    standby.pause();
    let both = over(&world.url().replacen(&here, &format!("{there},{here}"), 1));
    both.check().await.unwrap();
    standby.resume();
}

#[tokio::test]
async fn a_role_that_may_not_create_is_told_the_sql() {
    let world = world().await;
    world.sql.batch_execute("CREATE ROLE plain LOGIN").await.unwrap();
    let plain = as_role(&world, "plain");
    let refused = unfit(&plain).await;
    assert!(refused.contains("CREATE TABLE IF NOT EXISTS tidegate.partitions"), "{refused}");
    let mended = format!("{TABLES}{}", GRANTS.replace("ROLE", "plain"));
    world.sql.batch_execute(&mended).await.unwrap();
    plain.check().await.unwrap();
    let (log, _) = super::open(&plain, "one").await;
    super::append(&log, b"row").durable().await.unwrap();
}

#[tokio::test]
async fn a_server_that_is_gone_is_unavailable() {
    let mut world = world().await;
    let database = world.gateway();
    database.check().await.unwrap();
    world.cluster.kill().await;
    let gone = database.check().await;
    assert!(matches!(gone, Err(JournalError::Unavailable { .. })), "{gone:?}");
}
