//! A data folder with a server on it.

use std::{
    fs::{self, File},
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use nix::sys::signal::Signal;
use tokio::time::Instant;
use tokio_postgres::NoTls;

use crate::{
    account::RunAs,
    binaries::Binaries,
    data_dir::{Claim, beside},
    error::PgError,
    initdb::{SUPERUSER, Template, initdb, last_lines},
    process::Postmaster,
};

/// Below every system's range for outgoing connections, so that none of those takes the port of a
/// server that is down for a moment.
const PORTS: std::ops::Range<u16> = 16_000..32_000;
/// A log above this size is begun anew at the next start.
const LOG_BYTES: u64 = 16 * 1024 * 1024;
/// A port may be taken between its choice and its use.
const START_ATTEMPTS: usize = 5;

/// Whether committed data must survive a crash of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// PostgreSQL's own.
    #[default]
    Durable,
    /// Nothing is flushed to the disk. Data survives every crash of the *server*, none of the machine.
    Fast,
}

/// How a cluster is started.
#[derive(Debug, Clone)]
pub struct ClusterBuilder {
    binaries: Binaries,
    data_dir: PathBuf,
    name: String,
    options: Vec<(String, String)>,
    durability: Durability,
    template: Option<Template>,
    start_timeout: Duration,
}

impl ClusterBuilder {
    /// What messages and `cluster_name` call it. Default `tidegate`.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Adds settings of `postgresql.conf`; a later one wins.
    #[must_use]
    pub fn options<N: Into<String>, V: Into<String>>(mut self, options: impl IntoIterator<Item = (N, V)>) -> Self {
        self.options.extend(options.into_iter().map(|(name, value)| (name.into(), value.into())));
        self
    }

    /// Whether committed data must survive a crash of the machine.
    #[must_use]
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// Copies this instead of running `initdb` where the data folder is empty.
    #[must_use]
    pub fn template(mut self, template: Template) -> Self {
        self.template = Some(template);
        self
    }

    /// How long the server may take to accept connections, recovery included. Default 120 s.
    #[must_use]
    pub fn start_timeout(mut self, timeout: Duration) -> Self {
        self.start_timeout = timeout;
        self
    }

    /// Makes the data folder unless it is there, starts the server and waits until it accepts
    /// connections. Cancelling stops what was started.
    ///
    /// # Errors
    /// [`PgError`], each with what to do.
    pub async fn start(self) -> Result<Cluster, PgError> {
        let mut cluster = Cluster::claim(self)?;
        cluster.claim.clear().await?;
        cluster.ensure_data_dir().await?;
        let mut attempts = 0;
        loop {
            attempts += 1;
            cluster.port = free_port()?;
            match cluster.launch().await {
                Err(PgError::Start { log, .. }) if attempts < START_ATTEMPTS && port_was_taken(&log) => {}
                result => return result.map(|()| cluster),
            }
        }
    }
}

/// A running server and the right to its data folder. Dropping it stops the server and waits.
#[derive(Debug)]
pub struct Cluster {
    settings: ClusterBuilder,
    run_as: RunAs,
    port: u16,
    // Before the claim: fields drop in order, and the folder is free only once the server is gone.
    process: Option<Postmaster>,
    claim: Claim,
}

impl Cluster {
    /// A cluster on `data_dir`, which is made if it does not exist. Files `data_dir.lock` and
    /// `data_dir.log` stand beside it.
    #[must_use]
    pub fn builder(binaries: Binaries, data_dir: impl Into<PathBuf>) -> ClusterBuilder {
        ClusterBuilder {
            binaries,
            data_dir: data_dir.into(),
            name: "tidegate".into(),
            options: Vec::new(),
            durability: Durability::default(),
            template: None,
            start_timeout: Duration::from_secs(120),
        }
    }

    fn claim(mut settings: ClusterBuilder) -> Result<Self, PgError> {
        let run_as = RunAs::detect()?;
        settings.data_dir = std::path::absolute(&settings.data_dir)
            .map_err(PgError::io(format!("bad path {}", settings.data_dir.display())))?;
        if let Some(parent) = settings.data_dir.parent() {
            fs::create_dir_all(parent).map_err(PgError::io(format!("cannot make {}", parent.display())))?;
        }
        run_as.can_reach(&settings.data_dir)?;
        run_as.can_reach(&settings.binaries.program("postgres"))?;
        let claim = Claim::take(&settings.data_dir)?;
        Ok(Self { settings, run_as, port: 0, process: None, claim })
    }

    /// The superuser's URL of a database; only this machine can use it.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        format!("postgres://{SUPERUSER}@127.0.0.1:{}/{database}", self.port)
    }

    /// Where it listens on 127.0.0.1. Survives [`Cluster::restart`], not a new start.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What it was called.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.settings.name
    }

    /// Its data folder.
    #[must_use]
    pub fn data_dir(&self) -> &Path {
        &self.settings.data_dir
    }

    /// Where the server writes its log.
    #[must_use]
    pub fn log_path(&self) -> PathBuf {
        beside(&self.settings.data_dir, ".log")
    }

    /// The postmaster's process id while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<i32> {
        self.process.as_ref().filter(|p| p.exit_status().is_none()).map(Postmaster::pid)
    }

    /// Creates a database unless it exists.
    ///
    /// # Errors
    /// [`PgError::Sql`].
    pub async fn ensure_database(&self, database: &str) -> Result<(), PgError> {
        let failed = |source| PgError::Sql { name: self.settings.name.clone(), source };
        let client = connect(&self.url("postgres")).await.map_err(failed)?;
        let exists =
            client.query_opt("SELECT 1 FROM pg_database WHERE datname = $1", &[&database]).await.map_err(failed)?;
        if exists.is_none() {
            let quoted = database.replace('"', "\"\"");
            client.batch_execute(&format!("CREATE DATABASE \"{quoted}\"")).await.map_err(failed)?;
        }
        Ok(())
    }

    /// Freezes every process of the server: connections stay open and silent.
    pub fn pause(&self) {
        if let Some(process) = &self.process {
            process.signal_all(Signal::SIGSTOP);
        }
    }

    /// Undoes [`Cluster::pause`].
    pub fn resume(&self) {
        if let Some(process) = &self.process {
            process.signal_all(Signal::SIGCONT);
        }
    }

    /// Kills every process of the server at once, as a crash would.
    pub async fn kill(&mut self) {
        self.end(Postmaster::crash).await;
    }

    /// Stops the server and waits for its end. Safe to repeat.
    pub async fn stop(&mut self) {
        self.end(Postmaster::shut_down).await;
    }

    /// Starts the server again on the same port; stops it first if it runs.
    ///
    /// # Errors
    /// As for [`ClusterBuilder::start`].
    pub async fn restart(&mut self) -> Result<(), PgError> {
        self.stop().await;
        let mut attempts = 0;
        loop {
            attempts += 1;
            match self.launch().await {
                // Processes of a killed server need a moment to let go of its memory.
                Err(PgError::Start { log, .. }) if attempts < START_ATTEMPTS && memory_in_use(&log) => {}
                result => return result,
            }
        }
    }

    async fn end(&mut self, how: fn(&mut Postmaster)) {
        let Some(mut process) = self.process.take() else { return };
        let ended = tokio::task::spawn_blocking(move || how(&mut process)).await;
        debug_assert!(ended.is_ok(), "ending a server does not panic");
    }

    async fn ensure_data_dir(&self) -> Result<(), PgError> {
        let ClusterBuilder { binaries, data_dir, template, .. } = &self.settings;
        let bad = |problem: String| PgError::BadDataDir { dir: data_dir.clone(), problem };
        match fs::read_to_string(data_dir.join("PG_VERSION")) {
            Ok(version) if version.trim() == binaries.major().to_string() => self.run_as.take(data_dir),
            Ok(version) => Err(bad(format!(
                "it was made by PostgreSQL {}, and the server found is {} ({}): name the other one with --pg-bin, \
                 or use another folder",
                version.trim(),
                binaries.major(),
                binaries.dir().display()
            ))),
            Err(_) if fs::read_dir(data_dir).is_ok_and(|mut entries| entries.next().is_some()) => {
                Err(bad("it is not empty and not a PostgreSQL data folder".into()))
            }
            Err(_) => match template {
                None => initdb(binaries, &self.run_as, data_dir).await,
                Some(template) => {
                    let (template, run_as, data_dir) = (template.clone(), self.run_as.clone(), data_dir.clone());
                    let copied = tokio::task::spawn_blocking(move || template.copy_to(&run_as, &data_dir)).await;
                    copied.map_err(|e| PgError::io("copying a template")(e.into()))?
                }
            },
        }
    }

    async fn launch(&mut self) -> Result<(), PgError> {
        let log = self.open_log()?;
        let mut command = self.run_as.command(&self.settings.binaries.program("postgres"));
        self.arguments(&mut command);
        let stdout = log.try_clone().map_err(PgError::io("cannot share the server's log"))?;
        command.stdin(Stdio::null()).stdout(stdout).stderr(log);
        let process = Postmaster::spawn(command, &self.run_as, &self.settings.data_dir)?;
        self.claim.record(process.pid())?;
        let process = self.process.insert(process);
        let outcome = wait_until_ready(process, self.port, self.settings.start_timeout).await;
        if let Err(problem) = outcome {
            self.stop().await;
            let log = fs::read(self.log_path()).map(|b| String::from_utf8_lossy(&b).into_owned()).unwrap_or_default();
            return Err(PgError::Start { name: self.settings.name.clone(), problem, log: last_lines(&log, 8) });
        }
        Ok(())
    }

    fn arguments(&self, command: &mut Command) {
        command.arg("-D").arg(&self.settings.data_dir).arg("-p").arg(self.port.to_string());
        let mut set = |name: &str, value: &str| {
            command.arg("-c").arg(format!("{name}={value}"));
        };
        set("listen_addresses", "127.0.0.1");
        // The path of a socket may be too long for the system, and nothing here uses one.
        set("unix_socket_directories", "");
        set("cluster_name", &self.settings.name);
        set("wal_level", "logical");
        set("max_connections", "200");
        set("shared_buffers", "64MB");
        set("timezone", "UTC");
        set("log_timezone", "UTC");
        set("lc_messages", "C");
        set("log_line_prefix", "%m [%p] %a ");
        if self.settings.durability == Durability::Fast {
            // Not synchronous_commit: a commit must survive the death of the server.
            set("fsync", "off");
            set("full_page_writes", "off");
            set("max_wal_size", "256MB");
        }
        for (name, value) in &self.settings.options {
            set(name, value);
        }
    }

    fn open_log(&self) -> Result<File, PgError> {
        let path = self.log_path();
        if fs::metadata(&path).is_ok_and(|meta| meta.len() > LOG_BYTES) {
            let _ = fs::remove_file(&path);
        }
        let log = File::options().create(true).append(true).open(&path);
        log.map_err(PgError::io(format!("cannot open {}", path.display())))
    }
}

/// Connects until it works. The error is the end of a sentence.
async fn wait_until_ready(process: &Postmaster, port: u16, timeout: Duration) -> Result<(), String> {
    let url = format!("postgres://{SUPERUSER}@127.0.0.1:{port}/postgres?connect_timeout=2");
    let deadline = Instant::now() + timeout;
    let mut pause = Duration::from_millis(5);
    loop {
        if let Some(status) = process.exit_status() {
            return Err(format!("it ended with {status}"));
        }
        let last = match tokio::time::timeout(Duration::from_secs(3), connect(&url)).await {
            Ok(Ok(_)) => return Ok(()),
            Ok(Err(e)) => e.to_string(),
            Err(_) => "no answer".to_owned(),
        };
        if Instant::now() > deadline {
            return Err(format!("it accepted no connection within {} s ({last})", timeout.as_secs()));
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(100));
    }
}

async fn connect(url: &str) -> Result<tokio_postgres::Client, tokio_postgres::Error> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    // Ends when the client is dropped.
    tokio::spawn(connection);
    Ok(client)
}

fn free_port() -> Result<u16, PgError> {
    let mut refused = std::io::Error::from(std::io::ErrorKind::AddrInUse);
    for _ in 0..100 {
        let port = fastrand::u16(PORTS);
        match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            Ok(_) => return Ok(port),
            Err(e) => refused = e,
        }
    }
    Err(PgError::io("no free port on 127.0.0.1")(refused))
}

fn port_was_taken(log: &str) -> bool {
    log.contains("Address already in use") || log.contains("could not create any TCP/IP sockets")
}

fn memory_in_use(log: &str) -> bool {
    log.contains("pre-existing shared memory block")
}
