//! The journal's database, on a real server with a synchronous standby: one that keeps the log and nothing else, which
//! PostgreSQL waits for as for any other.

mod appending;
mod fitness;
mod owning;

use std::{
    os::unix::fs::PermissionsExt,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tempfile::TempDir;
use tidegate_journal::{KeptRecord, Log, Record, Ticket};
use tidegate_postgres::{Binaries, Cluster, Durability, Template};
use tidegate_store::journal::{Bounds, JournalDatabase, Partition, PgLog, Taken};
use tidegate_types::{mutation::Sequence, settings::Secret};
use tokio_postgres::Client;

use crate::world::{connect, until};

const LEASE: Duration = Duration::from_secs(5);
const BOUNDS: Bounds = Bounds { max_bytes: 1 << 20, max_queued_bytes: 1 << 18 };

/// What follows the server's log.
struct Standby(Child);

impl Standby {
    /// COMMIT waits from now on.
    fn pause(&self) {
        self.signal(Signal::SIGSTOP);
    }

    fn resume(&self) {
        self.signal(Signal::SIGCONT);
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.0.id().cast_signed()), signal).unwrap();
    }
}

impl Drop for Standby {
    fn drop(&mut self) {
        // SIGKILL ends a process that is stopped, too.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

struct World {
    sql: Client,
    standby: Standby,
    // Before the folder: the server ends, then its files go.
    cluster: Cluster,
    dir: TempDir,
}

/// A server of the journal's, which every COMMIT makes wait for its standby.
async fn world() -> World {
    let dir = tempfile::Builder::new().prefix("tidegate-journal-").tempdir().unwrap();
    // The server runs as another user where the tests run as root.
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let binaries = Binaries::find(None).unwrap();
    let root = std::env::temp_dir().join(format!("tidegate-templates-{}", nix::unistd::geteuid()));
    let cluster = Cluster::builder(binaries.clone(), dir.path().join("journal"))
        .name("journal")
        .durability(Durability::Fast)
        .template(Template::prepare(&binaries, &root).await.unwrap())
        .start()
        .await
        .unwrap();
    // In the file, where a test may change it, and before the first COMMIT that would wait.
    let sql = connect(&cluster.url("postgres")).await;
    let received = dir.path().join("received");
    std::fs::create_dir(&received).unwrap();
    let mut follow = Command::new(binaries.program("pg_receivewal"));
    follow.args(["--synchronous", "--dbname"]).arg(cluster.url("postgres")).arg("--directory").arg(received);
    let standby = Standby(follow.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    let world = World { sql, standby, cluster, dir };
    world.set_standbys("*").await;
    until("the standby follows", async || {
        world.count("pg_stat_replication WHERE sync_state = 'sync' AND state = 'streaming'").await == 1
    })
    .await;
    world
}

impl World {
    fn url(&self) -> String {
        self.cluster.url("postgres")
    }

    /// The database as a gateway has it.
    fn gateway(&self) -> JournalDatabase {
        self.bounded(BOUNDS)
    }

    fn bounded(&self, bounds: Bounds) -> JournalDatabase {
        JournalDatabase::new(&Secret::new(self.url()), bounds).unwrap()
    }

    async fn count(&self, what: &str) -> i64 {
        self.sql.query_one(&format!("SELECT count(*) FROM {what}"), &[]).await.unwrap().get(0)
    }

    /// Waits until as many appends are inserted and wait for the standby.
    async fn commits_wait(&self, connections: i64) {
        until("a COMMIT waits for the standby", async || {
            self.count("pg_stat_activity WHERE wait_event = 'SyncRep' AND application_name LIKE 'tidegate journal %'")
                .await
                == connections
        })
        .await;
    }

    /// Waits until somebody waits for a row.
    async fn somebody_waits(&self) {
        until("somebody waits for a row", async || {
            self.count("pg_stat_activity WHERE wait_event_type = 'Lock' AND application_name LIKE 'tidegate journal %'")
                .await
                == 1
        })
        .await;
    }

    /// Changes who is waited for.
    async fn set_standbys(&self, names: &str) {
        self.sql.batch_execute(&format!("ALTER SYSTEM SET synchronous_standby_names = '{names}'")).await.unwrap();
        self.sql.batch_execute("SELECT pg_reload_conf()").await.unwrap();
        until("it is known", async || {
            let known = self.sql.query_one("SHOW synchronous_standby_names", &[]).await.unwrap();
            known.get::<_, &str>(0) == names
        })
        .await;
    }

    /// What is done to the connections that logs append on.
    async fn to_logs(&self, what: &str) {
        let sql = format!("SELECT {what}(pid) FROM pg_stat_activity WHERE application_name = 'tidegate journal log'");
        assert!(!self.sql.query(&sql, &[]).await.unwrap().is_empty());
    }
}

async fn seen(database: &JournalDatabase, shard: &str) -> Partition {
    database.partitions(&[Arc::from(shard)]).await.unwrap().remove(0)
}

/// Takes a shard's partition as this gateway.
async fn take(database: &JournalDatabase, shard: &str, owner: &str) -> Taken {
    let seen = seen(database, shard).await;
    database.take(&seen, owner, &format!("{owner}:80"), LEASE).await.unwrap().expect("nobody was quicker")
}

async fn open(database: &JournalDatabase, owner: &str) -> (PgLog, Vec<KeptRecord>) {
    database.open(&take(database, "a", owner).await).await.unwrap()
}

fn append(log: &PgLog, payload: &[u8]) -> Ticket {
    log.append(&Record { partition: 7, idempotency: None, payload }).unwrap()
}

fn sequences(kept: &[KeptRecord]) -> Vec<u64> {
    kept.iter().map(|record| record.sequence.0).collect()
}

const fn s(sequence: u64) -> Sequence {
    Sequence(sequence)
}
