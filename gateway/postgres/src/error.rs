//! What can go wrong between a machine and a running server.

use std::{io, path::PathBuf};

/// Why there is no running PostgreSQL. Every message says what to do.
#[derive(Debug, thiserror::Error)]
pub enum PgError {
    /// No binaries anywhere, and none could be downloaded.
    #[error("no PostgreSQL 13 or newer was found{download}. Install it: {install}")]
    NotFound {
        /// Why the download gave none either; empty where it was not tried.
        download: String,
        /// The line that installs PostgreSQL on this operating system.
        install: &'static str,
    },
    /// The folder the operator named has no usable server.
    #[error("{}: {problem}. Point --pg-bin (or TIDEGATE_PG_BIN) at the folder that holds postgres and initdb", dir.display())]
    BadBinaries {
        /// The folder.
        dir: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The process is root and there is nobody else to run the server as.
    #[error("PostgreSQL refuses to run as root, and there is neither a user 'postgres' nor 'nobody' to run it as")]
    NoAccount,
    /// The user that runs the server cannot reach a folder.
    #[error(
        "user '{account}', who runs PostgreSQL because this process is root, may not enter {}: choose a folder \
         it can reach, or chmod o+x {}", dir.display(), dir.display()
    )]
    NotTraversable {
        /// The user.
        account: String,
        /// The first folder on the path that is closed to it.
        dir: PathBuf,
    },
    /// Another Tidegate process holds the data folder.
    #[error("{} is in use by another tidegate process{holder}: stop it, or choose another folder", dir.display())]
    InUse {
        /// The folder.
        dir: PathBuf,
        /// ` (pid N)` where it is known.
        holder: String,
    },
    /// A server that Tidegate did not start runs on the data folder.
    #[error("a PostgreSQL server (pid {pid}) already runs on {}: stop it with pg_ctl stop -D {}", dir.display(), dir.display())]
    Running {
        /// The folder.
        dir: PathBuf,
        /// Its postmaster.
        pid: i32,
    },
    /// The data folder is not one, or is of another version.
    #[error("{}: {problem}", dir.display())]
    BadDataDir {
        /// The folder.
        dir: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// `initdb` failed.
    #[error("initdb failed for {}: {output}", dir.display())]
    Initdb {
        /// The folder it was to fill.
        dir: PathBuf,
        /// What it printed last.
        output: String,
    },
    /// The server ended, or did not accept connections in time.
    #[error("PostgreSQL '{name}' did not start: {problem}\n{log}")]
    Start {
        /// The cluster's name.
        name: String,
        /// What was seen.
        problem: String,
        /// The end of its log.
        log: String,
    },
    /// The server runs but a statement of ours failed.
    #[error("PostgreSQL '{name}': {source}")]
    Sql {
        /// The cluster's name.
        name: String,
        /// What the client library said.
        source: tokio_postgres::Error,
    },
    /// A file, folder or process could not be handled.
    #[error("{what}: {source}")]
    Io {
        /// What was being done, with the path.
        what: String,
        /// What the system said.
        source: io::Error,
    },
}

impl PgError {
    /// Names what was being done when the system failed; for `map_err`.
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}
