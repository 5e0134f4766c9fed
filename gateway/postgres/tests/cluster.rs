//! Real servers: started, stopped, crashed, orphaned.
#![expect(clippy::unwrap_used, reason = "helpers of tests are not recognised as tests")]

use std::{
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use tidegate_postgres::{Binaries, Cluster, ClusterBuilder, Durability, PgError, Template};
use tokio_postgres::NoTls;

/// A folder that the server's user can reach whoever runs the tests.
fn temp_dir() -> tempfile::TempDir {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::Builder::new().prefix("tidegate-pg-").tempdir().unwrap();
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    dir
}

fn fast(data_dir: &Path) -> ClusterBuilder {
    let binaries = Binaries::find(None).unwrap();
    Cluster::builder(binaries, data_dir).name("under-test").durability(Durability::Fast)
}

async fn query(cluster: &Cluster, sql: &str) -> Result<String, tokio_postgres::Error> {
    let (client, connection) = tokio_postgres::connect(&cluster.url("postgres"), NoTls).await?;
    let connection = tokio::spawn(connection);
    let value = client.query_one(sql, &[]).await.map(|row| row.get::<_, String>(0));
    drop(client);
    connection.await.unwrap()?;
    value
}

fn alive(pid: i32) -> bool {
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), None).is_ok()
        && !std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| stat.contains(") Z "))
}

async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_cluster_is_made_used_stopped_and_reused() {
    let dir = temp_dir();
    let data_dir = dir.path().join("shard");
    let mut cluster = fast(&data_dir).options([("log_statement", "all")]).start().await.unwrap();
    assert_eq!(query(&cluster, "SHOW wal_level").await.unwrap(), "logical");
    assert_eq!(query(&cluster, "SHOW server_encoding").await.unwrap(), "UTF8");
    assert_eq!(query(&cluster, "SELECT current_user::text").await.unwrap(), "tidegate");
    cluster.ensure_database("it's \"odd\"").await.unwrap();
    cluster.ensure_database("it's \"odd\"").await.unwrap();
    assert!(std::fs::read_to_string(cluster.log_path()).unwrap().contains("SHOW wal_level"));

    let pid = cluster.pid().unwrap();
    cluster.stop().await;
    cluster.stop().await;
    assert!(!alive(pid) && cluster.pid().is_none());
    drop(cluster);

    let again = fast(&data_dir).start().await.unwrap();
    let count = "SELECT count(*)::text FROM pg_database WHERE datname LIKE 'it%'";
    assert_eq!(query(&again, count).await.unwrap(), "1");
    let pid = again.pid().unwrap();
    drop(again);
    assert!(!alive(pid), "dropping a cluster waits for its end");
}

#[tokio::test]
async fn copies_of_a_template_are_separate_clusters() {
    let dir = temp_dir();
    let template = Template::prepare(&Binaries::find(None).unwrap(), &dir.path().join("templates")).await.unwrap();
    let (a, b) = tokio::join!(
        fast(&dir.path().join("a")).template(template.clone()).start(),
        fast(&dir.path().join("b")).template(template).start(),
    );
    let (a, b) = (a.unwrap(), b.unwrap());
    a.ensure_database("only_in_a").await.unwrap();
    let count = "SELECT count(*)::text FROM pg_database WHERE datname = 'only_in_a'";
    assert_eq!(query(&a, count).await.unwrap(), "1");
    assert_eq!(query(&b, count).await.unwrap(), "0");
}

#[tokio::test]
async fn a_template_asked_for_twice_at_once_is_made_once_for_both() {
    let dir = tempfile::tempdir().unwrap();
    let (binaries, root) = (Binaries::find(None).unwrap(), dir.path().join("templates"));
    let prepared = tokio::join!(Template::prepare(&binaries, &root), Template::prepare(&binaries, &root));
    assert!(prepared.0.is_ok() && prepared.1.is_ok(), "{prepared:?}");
}

#[tokio::test]
async fn a_crash_keeps_what_was_committed_and_the_port() {
    let dir = temp_dir();
    let mut cluster = fast(&dir.path().join("shard")).start().await.unwrap();
    query(&cluster, "CREATE TABLE t (x text); INSERT INTO t VALUES ('kept')").await.unwrap_err();
    let (client, connection) = tokio_postgres::connect(&cluster.url("postgres"), NoTls).await.unwrap();
    tokio::spawn(connection);
    client.batch_execute("CREATE TABLE t (x text); INSERT INTO t VALUES ('kept')").await.unwrap();
    let port = cluster.port();
    cluster.kill().await;
    assert!(client.query("SELECT 1", &[]).await.is_err(), "the connection died with the server");
    cluster.restart().await.unwrap();
    assert_eq!(cluster.port(), port);
    assert_eq!(query(&cluster, "SELECT x FROM t").await.unwrap(), "kept");
}

#[tokio::test]
async fn a_paused_server_is_silent_until_resumed_and_can_be_stopped() {
    let dir = temp_dir();
    let mut cluster = fast(&dir.path().join("shard")).start().await.unwrap();
    let (client, connection) = tokio_postgres::connect(&cluster.url("postgres"), NoTls).await.unwrap();
    tokio::spawn(connection);
    client.query("SELECT 1", &[]).await.unwrap();
    cluster.pause();
    let asked = client.query("SELECT 2", &[]);
    tokio::pin!(asked);
    assert!(tokio::time::timeout(Duration::from_millis(200), &mut asked).await.is_err());
    cluster.resume();
    asked.await.unwrap();
    cluster.pause();
    let pid = cluster.pid().unwrap();
    cluster.stop().await;
    assert!(!alive(pid));
}

#[tokio::test]
async fn a_folder_in_use_a_foreign_server_and_a_foreign_folder_are_refused() {
    let dir = temp_dir();
    let data_dir = dir.path().join("shard");
    let cluster = fast(&data_dir).start().await.unwrap();
    assert!(matches!(fast(&data_dir).start().await, Err(PgError::InUse { .. })));

    // The same live server, seen as one that no process of ours has started.
    let lock = dir.path().join("shard.lock");
    std::fs::remove_file(&lock).unwrap();
    match fast(&data_dir).start().await {
        Err(PgError::Running { pid, .. }) => assert_eq!(Some(pid), cluster.pid()),
        other => panic!("{other:?}"),
    }
    assert!(query(&cluster, "SELECT 'still here'").await.is_ok());

    let foreign = dir.path().join("foreign");
    std::fs::create_dir(&foreign).unwrap();
    std::fs::write(foreign.join("thesis.txt"), "years of work").unwrap();
    assert!(matches!(fast(&foreign).start().await, Err(PgError::BadDataDir { .. })));
    assert!(foreign.join("thesis.txt").exists());
}

#[tokio::test]
async fn a_server_that_cannot_start_says_why() {
    let dir = temp_dir();
    let result = fast(&dir.path().join("shard")).options([("shared_buffers", "nonsense")]).start().await;
    let message = result.unwrap_err().to_string();
    assert!(message.contains("under-test") && message.contains("invalid value for parameter"), "{message}");
}

/// Runs this test executable again as a process that starts a cluster and never ends by itself.
fn owner_process(data_dir: &Path) -> std::process::Child {
    let test = "child_that_owns_a_cluster";
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env("TIDEGATE_TEST_OWNER_DIR", data_dir)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Does nothing unless [`owner_process`] started it.
#[tokio::test]
async fn child_that_owns_a_cluster() {
    let Some(data_dir) = std::env::var_os("TIDEGATE_TEST_OWNER_DIR") else { return };
    let cluster = fast(Path::new(&data_dir)).start().await.unwrap();
    std::fs::write(Path::new(&data_dir).with_extension("ready"), cluster.pid().unwrap().to_string()).unwrap();
    std::future::pending::<()>().await;
}

#[derive(PartialEq)]
enum Watchdog {
    Alive,
    #[cfg(target_os = "linux")]
    Killed,
}

#[cfg(target_os = "linux")]
fn watchdog_of(postmaster: i32) -> nix::unistd::Pid {
    let mark = format!("tidegate-watchdog\0{postmaster}\0");
    let listing = std::fs::read_dir("/proc").unwrap().flatten();
    let mut pids = listing.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let found =
        pids.find(|pid| std::fs::read_to_string(format!("/proc/{pid}/cmdline")).is_ok_and(|c| c.contains(&mark)));
    nix::unistd::Pid::from_raw(found.expect("the watchdog is running"))
}

async fn orphan_of_a_killed_owner(data_dir: &Path, watchdog: Watchdog) -> i32 {
    let mut owner = owner_process(data_dir);
    let ready = data_dir.with_extension("ready");
    until("the owner has a server", || std::fs::read_to_string(&ready).is_ok_and(|text| !text.is_empty())).await;
    let postmaster: i32 = std::fs::read_to_string(&ready).unwrap().parse().unwrap();
    #[cfg(target_os = "linux")]
    if watchdog == Watchdog::Killed {
        nix::sys::signal::kill(watchdog_of(postmaster), nix::sys::signal::Signal::SIGKILL).unwrap();
    }
    owner.kill().unwrap();
    owner.wait().unwrap();
    postmaster
}

#[tokio::test]
async fn the_watchdog_stops_the_server_of_a_killed_owner() {
    let dir = temp_dir();
    let postmaster = orphan_of_a_killed_owner(&dir.path().join("shard"), Watchdog::Alive).await;
    until("the server has ended", || !alive(postmaster)).await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn the_next_start_stops_an_orphan_and_takes_over() {
    let dir = temp_dir();
    let data_dir = dir.path().join("shard");
    let postmaster = orphan_of_a_killed_owner(&data_dir, Watchdog::Killed).await;
    assert!(alive(postmaster), "without its watchdog the server lives on");
    let cluster = fast(&data_dir).start().await.unwrap();
    assert!(!alive(postmaster));
    assert!(query(&cluster, "SELECT 'mine'").await.is_ok());
}
