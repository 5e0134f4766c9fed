//! What lies in the demo's folder.
//!
//! | path | what | who may change it |
//! |---|---|---|
//! | `shard-a`, `shard-b` | PostgreSQL data folders, each with a `.lock` and a `.log` beside it | PostgreSQL |
//! | `storefront.json` | written once the tables are filled | nobody |
//! | `policies/hash-router.wasm` | the routing policy in use | the user: it is written only where it is missing |
//! | `routers/` | other builds of it, to swap in | rewritten at every start |
//! | `tidegate.toml` | the configuration served | rewritten at every start, because ports change |

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use tempfile::TempDir;
use tidegate_postgres::Cluster;

use crate::{
    cli::DemoArgs,
    demo::{DATABASE, SHARDS, text},
    error::ServerError,
};

/// Raised when tables or rows change, so that old folders are not taken for new ones.
const FORMAT: u32 = 1;
const MARKER: &str = "storefront.json";
const ROUTER: &[u8] = include_bytes!("../../../../plugins/dist/hash-router.wasm");
const ROUTER_IN_C: &[u8] = include_bytes!("../../../../plugins/dist/hash-router-c.wasm");

/// How long the folder lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lifetime {
    /// The user named it.
    Kept,
    /// Removed at the end.
    Temporary,
}

/// What the tables hold; also the marker file's content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Storefront {
    format: u32,
    pub(super) products: u32,
    pub(super) profiles: u32,
}

impl Storefront {
    pub(super) fn of(args: &DemoArgs) -> Self {
        Self { format: FORMAT, products: args.products, profiles: args.profiles }
    }
}

/// The demo's folder.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    temporary: Option<TempDir>,
}

impl Folder {
    /// The named folder, made if it is missing, or a temporary one.
    pub(super) fn open(named: Option<&Path>) -> Result<Self, ServerError> {
        if let Some(path) = named {
            fs::create_dir_all(path).map_err(ServerError::io(format!("cannot make {}", path.display())))?;
            let path = path.canonicalize().map_err(ServerError::io(format!("cannot open {}", path.display())))?;
            return Ok(Self { path, temporary: None });
        }
        let mut builder = tempfile::Builder::new();
        // Where the gateway is root, PostgreSQL runs as another user, who must get to his folder.
        builder.prefix("tidegate-demo-").permissions(fs::Permissions::from_mode(0o711));
        let temporary = builder.tempdir().map_err(ServerError::io("cannot make a temporary folder"))?;
        Ok(Self { path: temporary.path().to_owned(), temporary: Some(temporary) })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn lifetime(&self) -> Lifetime {
        if self.temporary.is_some() { Lifetime::Temporary } else { Lifetime::Kept }
    }

    pub(super) fn shard(&self, name: &str) -> PathBuf {
        self.path.join(format!("shard-{name}"))
    }

    /// What an earlier start filled the tables with, if one finished.
    pub(super) fn storefront(&self) -> Result<Option<Storefront>, ServerError> {
        let path = self.path.join(MARKER);
        if !path.exists() {
            return Ok(None);
        }
        let text = fs::read(&path).map_err(ServerError::io(format!("cannot read {}", path.display())))?;
        match serde_json::from_slice::<Storefront>(&text) {
            Ok(found) if found.format == FORMAT => Ok(Some(found)),
            _ => Err(ServerError::Arguments(format!(
                "{} was made by another version of tidegate: choose another --data, or delete it",
                self.path.display()
            ))),
        }
    }

    /// From now on the tables are reused.
    pub(super) fn mark_filled(&self, storefront: &Storefront) -> Result<(), ServerError> {
        let text = serde_json::to_vec(storefront).unwrap_or_default();
        self.write(MARKER, &text).map(|_| ())
    }

    /// The routing policy, and another build of it to swap in.
    pub(super) fn write_policies(&self) -> Result<(), ServerError> {
        for dir in ["policies", "routers"] {
            let dir = self.path.join(dir);
            fs::create_dir_all(&dir).map_err(ServerError::io(format!("cannot make {}", dir.display())))?;
        }
        if !self.path.join("policies/hash-router.wasm").exists() {
            self.write("policies/hash-router.wasm", ROUTER)?;
        }
        self.write("routers/hash-router.wasm", ROUTER)?;
        self.write("routers/hash-router-c.wasm", ROUTER_IN_C).map(|_| ())
    }

    /// The configuration for where the shards listen now.
    pub(super) fn write_config(&self, args: &DemoArgs, clusters: &[Cluster]) -> Result<PathBuf, ServerError> {
        let shards = SHARDS.iter().zip(clusters).map(|(name, cluster)| (*name, cluster.url(DATABASE)));
        self.write("tidegate.toml", text::config(args, shards).as_bytes())
    }

    /// Appears complete or not at all.
    fn write(&self, name: &str, content: &[u8]) -> Result<PathBuf, ServerError> {
        let path = self.path.join(name);
        let building = path.with_extension("new");
        let written = fs::write(&building, content).and_then(|()| fs::rename(&building, &path));
        written.map_err(ServerError::io(format!("cannot write {}", path.display())))?;
        Ok(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn storefront() -> Storefront {
        Storefront { format: FORMAT, products: 3, profiles: 2 }
    }

    #[test]
    fn a_folder_is_reused_once_it_was_filled_and_not_before() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("not/yet/there");
        let folder = Folder::open(Some(&path)).expect("made");
        assert_eq!(folder.storefront().expect("readable"), None);
        folder.mark_filled(&storefront()).expect("written");
        let again = Folder::open(Some(&path)).expect("opened");
        assert_eq!(again.storefront().expect("readable"), Some(storefront()));
    }

    #[test]
    fn a_folder_of_another_version_is_refused() {
        let dir = tempfile::tempdir().expect("a folder");
        let folder = Folder::open(Some(dir.path())).expect("opened");
        for marker in ["{\"format\":0,\"products\":1,\"profiles\":1}", "", "[]"] {
            fs::write(dir.path().join(MARKER), marker).expect("written");
            let refused = folder.storefront().expect_err("another format").to_string();
            assert!(refused.contains("another version") && refused.contains("--data"), "{refused}");
        }
    }

    #[test]
    fn the_users_router_stays() {
        let dir = tempfile::tempdir().expect("a folder");
        let folder = Folder::open(Some(dir.path())).expect("opened");
        folder.write_policies().expect("written");
        let router = dir.path().join("policies/hash-router.wasm");
        assert_eq!(fs::read(&router).expect("there"), ROUTER);
        fs::write(&router, b"mine").expect("written");
        folder.write_policies().expect("written");
        assert_eq!(fs::read(&router).expect("there"), b"mine");
    }

    #[test]
    fn a_temporary_folder_goes_and_others_may_pass_through_it() {
        let folder = Folder::open(None).expect("made");
        let path = folder.path().to_owned();
        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o711);
        assert_eq!(folder.lifetime(), Lifetime::Temporary);
        drop(folder);
        assert!(!path.exists());
    }
}
