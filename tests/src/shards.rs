//! PostgreSQL clusters, what they were asked, and how to disturb them.

use std::{
    fs,
    io::{Read, Seek, SeekFrom},
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    sync::Arc,
};

use tempfile::TempDir;
use tidegate_postgres::{Binaries, Cluster, Durability, Template};
use tidegate_types::route::Topology;
use tokio_postgres::NoTls;

/// The database of every shard.
pub const DATABASE: &str = "shop";
/// Marks the harness's own statements in the server's log.
const OWN: &str = "tidegate-tests";
/// What the shards are called, in order.
const NAMES: [&str; 4] = ["a", "b", "c", "d"];

/// Clusters that know nothing of each other, each with an empty database `shop`.
#[derive(Debug)]
pub struct Shards {
    // Before the folder: servers end, then their files go.
    clusters: Vec<Cluster>,
    topology: Topology,
    #[expect(dead_code, reason = "removed on drop")]
    dir: TempDir,
}

/// Whether servers log every statement, so that scenarios can count them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatementLog {
    /// Every statement.
    All,
    /// None: for measuring.
    Off,
}

impl Shards {
    /// Starts `count` shards at once, copied from a cached template.
    ///
    /// # Panics
    /// Where PostgreSQL cannot be found or started; the message says what to do.
    pub async fn start(count: usize) -> Self {
        Self::start_with(count, StatementLog::All, &[]).await
    }

    /// [`Shards::start`] with a choice of logging and additional settings of `postgresql.conf`.
    ///
    /// # Panics
    /// As [`Shards::start`].
    pub async fn start_with(count: usize, log: StatementLog, options: &[(&str, &str)]) -> Self {
        let binaries = Binaries::find(None).expect("PostgreSQL is installed");
        let template = Template::prepare(&binaries, &template_root()).await.expect("a template cluster");
        let dir = tempfile::Builder::new().prefix("tidegate-tests-").tempdir().expect("a temporary folder");
        // The server runs as another user where the tests run as root.
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("own folder");
        let mut starting = tokio::task::JoinSet::new();
        for (index, name) in NAMES.into_iter().enumerate().take(count) {
            let mut builder = Cluster::builder(binaries.clone(), dir.path().join(name))
                .name(name)
                .durability(Durability::Fast)
                .template(template.clone())
                .options(options.iter().copied());
            if log == StatementLog::All {
                builder = builder.options([("log_statement", "all")]);
            }
            starting.spawn(async move {
                let cluster = builder.start().await.expect("the shard starts");
                cluster.ensure_database(DATABASE).await.expect("a database");
                (index, cluster)
            });
        }
        let mut clusters = starting.join_all().await;
        clusters.sort_by_key(|(index, _)| *index);
        let clusters: Vec<Cluster> = clusters.into_iter().map(|(_, cluster)| cluster).collect();
        let topology = Topology::new(clusters.iter().map(|c| Arc::from(c.name())));
        Self { clusters, topology, dir }
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.clusters.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.clusters.is_empty()
    }

    /// One shard's server.
    #[must_use]
    pub fn cluster(&self, shard: usize) -> &Cluster {
        &self.clusters[shard]
    }

    /// One shard's server, to stop, kill and restart it.
    pub fn cluster_mut(&mut self, shard: usize) -> &mut Cluster {
        &mut self.clusters[shard]
    }

    /// One shard's name.
    #[must_use]
    pub fn name(&self, shard: usize) -> &str {
        self.clusters[shard].name()
    }

    /// Names and database URLs, as `[shards.*]` wants them.
    pub fn urls(&self) -> impl Iterator<Item = (&str, String)> {
        self.clusters.iter().map(|c| (c.name(), c.url(DATABASE)))
    }

    /// Where built-in hash routing places a row with this shard key.
    #[must_use]
    pub fn shard_of(&self, shard_key: impl ToString) -> usize {
        usize::from(self.topology.shard_for_hash(Topology::hash_key(&shard_key.to_string())).0)
    }

    /// The numbers from 1 on that are placed on `shard`.
    pub fn ids_on(&self, shard: usize) -> impl Iterator<Item = i64> {
        (1..).filter(move |id| self.shard_of(id) == shard)
    }

    /// A connection of the harness, which [`Shards::statements`] leaves out.
    ///
    /// # Panics
    /// If the server refuses it.
    pub async fn connect(&self, shard: usize) -> tokio_postgres::Client {
        let mut config: tokio_postgres::Config = self.clusters[shard].url(DATABASE).parse().expect("own URL");
        let (client, connection) = config.application_name(OWN).connect(NoTls).await.expect("a connection");
        tokio::spawn(connection);
        client
    }

    /// Runs statements on one shard, past the gateway.
    ///
    /// # Panics
    /// If one fails.
    pub async fn execute(&self, shard: usize, sql: &str) {
        self.connect(shard).await.batch_execute(sql).await.expect(sql);
    }

    /// Runs statements on every shard.
    ///
    /// # Panics
    /// If one fails.
    pub async fn execute_all(&self, sql: &str) {
        for shard in 0..self.len() {
            self.execute(shard, sql).await;
        }
    }

    /// One value of text from one shard, past the gateway.
    ///
    /// # Panics
    /// If the query fails or has no row.
    pub async fn text(&self, shard: usize, sql: &str) -> Option<String> {
        self.connect(shard).await.query_one(sql, &[]).await.expect(sql).get(0)
    }

    /// The present ends of the logs, for [`Shards::statements`].
    #[must_use]
    pub fn mark(&self) -> Vec<u64> {
        self.clusters.iter().map(|c| fs::metadata(c.log_path()).map_or(0, |meta| meta.len())).collect()
    }

    /// What others than the harness have executed on one shard since the mark. A server writes a
    /// statement to its log before it runs it, so whoever has an answer finds its statement here.
    ///
    /// # Panics
    /// If the log cannot be read.
    #[must_use]
    pub fn statements(&self, shard: usize, mark: &[u64]) -> Vec<String> {
        let mut log = fs::File::open(self.clusters[shard].log_path()).expect("the log");
        log.seek(SeekFrom::Start(mark[shard])).expect("the log");
        let mut text = Vec::new();
        log.read_to_end(&mut text).expect("the log");
        statements_of(&String::from_utf8_lossy(&text))
    }

    /// Statements on all shards since the mark that contain `needle`.
    #[must_use]
    pub fn count_statements(&self, mark: &[u64], needle: &str) -> usize {
        let on = |shard| self.statements(shard, mark).iter().filter(|s| s.contains(needle)).count();
        (0..self.len()).map(on).sum()
    }
}

/// The statements in a log, those of the harness left out.
fn statements_of(log: &str) -> Vec<String> {
    let own = format!(" {OWN} LOG:  ");
    let mut statements: Vec<String> = Vec::new();
    let mut continues = false;
    for line in log.lines() {
        if let (true, Some(more)) = (continues, line.strip_prefix('\t')) {
            if let Some(last) = statements.last_mut() {
                last.push(' ');
                last.push_str(more.trim());
            }
            continue;
        }
        continues = false;
        if line.contains(&own) {
            continue;
        }
        let Some((_, message)) = line.split_once(" LOG:  ") else { continue };
        let statement = message.strip_prefix("statement: ").or_else(|| {
            // execute NAME: TEXT
            message.strip_prefix("execute ").and_then(|rest| Some(rest.split_once(": ")?.1))
        });
        if let Some(statement) = statement {
            statements.push(statement.to_owned());
            continues = true;
        }
    }
    statements
}

/// Templates outlive test runs; they depend on the PostgreSQL version only.
fn template_root() -> PathBuf {
    let user = nix::unistd::geteuid();
    std::env::temp_dir().join(format!("tidegate-templates-{user}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_are_found_in_a_log_and_the_harness_is_left_out() {
        let log = "2026-01-01 00:00:00.000 UTC [7]  LOG:  starting PostgreSQL\n\
                   2026-01-01 00:00:00.000 UTC [8] tidegate LOG:  execute s1: SELECT 1,\n\
                   \t  2: 3\n\
                   2026-01-01 00:00:00.000 UTC [8] tidegate DETAIL:  parameters: $1 = 'x'\n\
                   2026-01-01 00:00:00.000 UTC [9] tidegate-tests LOG:  statement: SELECT 4\n\
                   2026-01-01 00:00:00.000 UTC [8] tidegate LOG:  statement: BEGIN\n";
        assert_eq!(statements_of(log), ["SELECT 1, 2: 3", "BEGIN"]);
    }

    #[tokio::test]
    async fn shards_are_real_separate_and_watched() {
        let shards = Shards::start(2).await;
        shards.execute_all("CREATE TABLE t (x int)").await;
        shards.execute(0, "INSERT INTO t VALUES (1)").await;
        assert_eq!(shards.text(0, "SELECT count(*)::text FROM t").await.as_deref(), Some("1"));
        assert_eq!(shards.text(1, "SELECT count(*)::text FROM t").await.as_deref(), Some("0"));
        let mark = shards.mark();
        let (other, connection) = tokio_postgres::connect(&shards.cluster(1).url(DATABASE), NoTls).await.unwrap();
        tokio::spawn(connection);
        other.query("SELECT x FROM t", &[]).await.unwrap();
        assert_eq!(shards.statements(1, &mark), ["SELECT x FROM t"]);
        assert_eq!(shards.count_statements(&mark, "FROM t"), 1);
        let (on_a, on_b) = (shards.ids_on(0).take(50).count(), shards.ids_on(1).take(50).count());
        assert_eq!((on_a, on_b), (50, 50));
    }
}
