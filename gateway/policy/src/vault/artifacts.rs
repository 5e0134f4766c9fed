//! Compiled code: the bytes, then their HMAC-SHA256 (32 bytes). The MAC binds them to the plugin and
//! the engine they are for, so that neither another's code nor another's bytes pass for them.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::SystemTime,
};

use ring::{
    digest::{SHA256, digest},
    hmac,
    rand::{SecureRandom, SystemRandom},
};

use super::{Collected, VaultError, blobs, files};

/// Bytes of one artifact.
const MAX_ARTIFACT_BYTES: u64 = 512 << 20;
/// Bytes of all artifacts together.
const MAX_TOTAL_BYTES: u64 = 2 << 30;
/// Artifacts kept.
pub(super) const MAX_ARTIFACTS: usize = 64;
const KEY_BYTES: usize = 32;
const TAG_BYTES: usize = 32;

/// The key in this file, made where there is none.
pub(super) fn key(path: &Path) -> Result<hmac::Key, VaultError> {
    let bytes = match files::read(path, "the key", 4096)? {
        Some(bytes) => bytes,
        None => make_key(path)?,
    };
    let metadata = fs::metadata(path).map_err(|source| files::failed("look at", path, source))?;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(VaultError::Open { path: path.to_owned(), mode, wanted: 0o600 });
    }
    if bytes.len() != KEY_BYTES {
        return Err(VaultError::NotAKey { path: path.to_owned() });
    }
    Ok(hmac::Key::new(hmac::HMAC_SHA256, &bytes))
}

fn make_key(path: &Path) -> Result<Vec<u8>, VaultError> {
    let mut bytes = vec![0; KEY_BYTES];
    SystemRandom::new().fill(&mut bytes).map_err(|_| VaultError::NoRandomness { path: path.to_owned() })?;
    files::replace(path, &[&bytes])?;
    Ok(bytes)
}

pub(super) fn put(dir: &Path, mac: &hmac::Key, plugin: &str, engine_key: &str, bytes: &[u8]) -> Result<(), VaultError> {
    let path = path(dir, plugin, engine_key)?;
    let size = bytes.len() as u64;
    if size > MAX_ARTIFACT_BYTES {
        return Err(VaultError::TooLarge { what: "the compiled plugin", bytes: size, most: MAX_ARTIFACT_BYTES });
    }
    let tag = hmac::sign(mac, &message(plugin, engine_key, bytes));
    files::replace(&path, &[bytes, tag.as_ref()])?;
    trim(dir, MAX_ARTIFACTS, MAX_TOTAL_BYTES, &mut Collected::default())
}

pub(super) fn get(dir: &Path, mac: &hmac::Key, plugin: &str, engine_key: &str) -> Option<Vec<u8>> {
    let path = path(dir, plugin, engine_key).ok()?;
    let reason = match files::read(&path, "the compiled plugin", MAX_ARTIFACT_BYTES + TAG_BYTES as u64) {
        Ok(None) => return None,
        Ok(Some(bytes)) => match authentic(mac, plugin, engine_key, bytes) {
            Some(bytes) => {
                touch(&path);
                return Some(bytes);
            }
            None => "it was not made by this gateway".to_owned(),
        },
        Err(error) => error.to_string(),
    };
    let removed = fs::remove_file(&path).map_or_else(|error| error.to_string(), |()| "yes".to_owned());
    tracing::warn!(file = %path.display(), plugin, reason, removed, "compiled plugin not trusted");
    None
}

/// The bytes without their tag, if it is theirs.
fn authentic(mac: &hmac::Key, plugin: &str, engine_key: &str, mut bytes: Vec<u8>) -> Option<Vec<u8>> {
    let tag = bytes.split_off(bytes.len().checked_sub(TAG_BYTES)?);
    hmac::verify(mac, &message(plugin, engine_key, &bytes), &tag).ok()?;
    Some(bytes)
}

/// What is authenticated. Only the engine's key has no fixed length, and it stands last.
fn message(plugin: &str, engine_key: &str, bytes: &[u8]) -> Vec<u8> {
    let content = blobs::hex(digest(&SHA256, bytes).as_ref());
    format!("tidegate-artifact-v1\n{plugin}\n{content}\n{engine_key}").into_bytes()
}

pub(super) fn collect(dir: &Path, keep: &BTreeSet<String>, collected: &mut Collected) -> Result<(), VaultError> {
    for (name, path) in files::list(&dir.join("artifacts"))? {
        let plugin = name.strip_suffix(".cwasm").and_then(|name| name.split_once('-')).map(|(plugin, _)| plugin);
        if plugin.is_some_and(|plugin| !keep.contains(plugin)) {
            collected.bytes += files::remove(&path)?;
            collected.artifacts += 1;
        }
    }
    trim(dir, MAX_ARTIFACTS, MAX_TOTAL_BYTES, collected)
}

/// Removes what was not used for longest, until the rest is within both bounds.
pub(super) fn trim(dir: &Path, most: usize, most_bytes: u64, collected: &mut Collected) -> Result<(), VaultError> {
    let mut all: Vec<(SystemTime, u64, PathBuf)> = Vec::new();
    for (name, path) in files::list(&dir.join("artifacts"))? {
        if name.ends_with(".cwasm")
            && let Ok(metadata) = fs::metadata(&path)
        {
            all.push((metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH), metadata.len(), path));
        }
    }
    all.sort_by(|a, b| b.cmp(a));
    let mut total = 0;
    for (position, (_, bytes, path)) in all.iter().enumerate() {
        total += bytes;
        if position >= most || total > most_bytes {
            collected.bytes += files::remove(path)?;
            collected.artifacts += 1;
        }
    }
    Ok(())
}

/// Remembers that it was used. Where that fails it is only removed sooner.
fn touch(path: &Path) {
    if let Ok(file) = File::open(path) {
        let _ = file.set_modified(SystemTime::now());
    }
}

fn path(dir: &Path, plugin: &str, engine_key: &str) -> Result<PathBuf, VaultError> {
    blobs::check_digest(plugin)?;
    let engine = blobs::hex(&digest(&SHA256, engine_key.as_bytes()).as_ref()[..8]);
    Ok(dir.join("artifacts").join(format!("{plugin}-{engine}.cwasm")))
}
