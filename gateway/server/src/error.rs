//! Why a command failed. Every message says what to do, or names the place to look at.

use std::{io, path::PathBuf};

use tidegate_admin::AdminError;
use tidegate_config::ConfigErrors;
use tidegate_policy::PolicyError;
use tidegate_postgres::PgError;
use tidegate_store::{StoreError, catalog::Mismatch};
use tidegate_types::tenant::TenantError;

/// A command's failure.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The configuration is wrong.
    #[error("{0}")]
    Config(#[from] ConfigErrors),
    /// A shard cannot be used.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// There is nothing to serve from.
    #[error("no shard can be reached:{}", lines(.0))]
    NoShard(Vec<StoreError>),
    /// `init` compares the shards, so it needs all of them.
    #[error("every shard must be reachable to write a configuration:{}", lines(.0))]
    ShardsDown(Vec<StoreError>),
    /// Configuration and catalogs, or catalogs among themselves, disagree.
    #[error("the databases do not fit the configuration (tidegate check tells all there is):{}", lines(.0))]
    Mismatch(Vec<Mismatch>),
    /// A tenant cannot be placed.
    #[error("{0}. Correct [tenants.known] or [shards]")]
    Tenants(#[from] TenantError),
    /// A policy cannot be used.
    #[error("{0}")]
    Policy(#[from] PolicyError),
    /// The public listener cannot work.
    #[error("{0}")]
    Http(#[from] tidegate_http::ServerError),
    /// The listener for other gateways cannot work.
    #[error("{0}")]
    Cluster(#[from] tidegate_cluster::ClusterError),
    /// The journal cannot be opened.
    #[error("{0}")]
    Journal(#[from] tidegate_journal::OpenError),
    /// What the journal holds cannot be taken up.
    #[error("{0}")]
    Behind(#[from] tidegate_pipeline::behind::StartError),
    /// The operator's listener cannot work.
    #[error("{0}")]
    Admin(#[from] AdminError),
    /// PostgreSQL of the demo cannot work.
    #[error("{0}")]
    Postgres(#[from] PgError),
    /// A statement of the demo failed.
    #[error("{what}: {source}")]
    Sql {
        /// What was being done.
        what: String,
        /// What PostgreSQL or its client said.
        source: tokio_postgres::Error,
    },
    /// A file or folder could not be handled.
    #[error("{what}: {source}")]
    Io {
        /// What was being done, with the path.
        what: String,
        /// What the system said.
        source: io::Error,
    },
    /// `init` does not overwrite.
    #[error("{} exists: choose another file with --output, or overwrite it with --force", .0.display())]
    Exists(PathBuf),
    /// A command for authors of policies failed.
    #[error("{0}")]
    Plugin(#[from] tidegate_plugin::PluginError),
    /// The arguments cannot be used.
    #[error("{0}")]
    Arguments(String),
}

impl ServerError {
    /// Names what was being done when the system failed; for `map_err`.
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }

    /// Names what was being done when a statement failed; for `map_err`.
    pub(crate) fn sql(what: impl Into<String>) -> impl FnOnce(tokio_postgres::Error) -> Self {
        let what = what.into();
        move |source| Self::Sql { what, source }
    }
}

/// Each on a line of its own, indented.
pub(crate) fn lines<T: std::fmt::Display>(items: &[T]) -> String {
    items.iter().map(|item| format!("\n  {item}")).collect()
}
