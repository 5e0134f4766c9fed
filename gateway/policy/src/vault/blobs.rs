//! Plugins' bytes, by their SHA-256.

use std::{
    collections::BTreeSet,
    fmt::Write,
    fs,
    path::{Path, PathBuf},
};

use sha2::{Digest as _, Sha256};

use super::{Collected, VaultError, files};

/// Bytes of one plugin.
pub const MAX_BLOB_BYTES: u64 = 64 << 20;

/// The SHA-256 of bytes in lower-case hexadecimal: what plugins are named by.
#[must_use]
pub fn digest_of(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Whether the text is a digest, and so can be part of a file's name.
pub(super) fn check_digest(text: &str) -> Result<(), VaultError> {
    if text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
        Ok(())
    } else {
        Err(VaultError::NotADigest { text: text.chars().take(80).collect() })
    }
}

pub(super) fn put(dir: &Path, wasm: &[u8]) -> Result<String, VaultError> {
    if wasm.len() as u64 > MAX_BLOB_BYTES {
        return Err(VaultError::TooLarge { what: "the plugin", bytes: wasm.len() as u64, most: MAX_BLOB_BYTES });
    }
    let digest = digest_of(wasm);
    // A damaged file is written again.
    if get(dir, &digest).is_ok() {
        return Ok(digest);
    }
    let path = path(dir, &digest)?;
    if let Some(folder) = path.parent() {
        files::create_private(folder)?;
    }
    files::replace(&path, &[wasm])?;
    Ok(digest)
}

pub(super) fn get(dir: &Path, digest: &str) -> Result<Vec<u8>, VaultError> {
    let path = path(dir, digest)?;
    let missing = || VaultError::Missing { digest: digest.to_owned() };
    let bytes = files::read(&path, "the plugin", MAX_BLOB_BYTES)?.ok_or_else(missing)?;
    if digest_of(&bytes) == digest { Ok(bytes) } else { Err(VaultError::Damaged { path }) }
}

pub(super) fn collect(dir: &Path, keep: &BTreeSet<String>, collected: &mut Collected) -> Result<(), VaultError> {
    for folder in folders(dir)? {
        for (name, path) in files::list(&folder)? {
            let digest = name.strip_suffix(".wasm").filter(|digest| check_digest(digest).is_ok());
            if digest.is_some_and(|digest| !keep.contains(digest)) {
                collected.bytes += files::remove(&path)?;
                collected.blobs += 1;
            }
        }
        // Refused while something is in it.
        let _ = fs::remove_dir(&folder);
    }
    Ok(())
}

pub(super) fn remove_temporary(dir: &Path) -> Result<(), VaultError> {
    folders(dir)?.iter().try_for_each(|folder| files::remove_temporary(folder))
}

fn folders(dir: &Path) -> Result<Vec<PathBuf>, VaultError> {
    let all = files::list(&dir.join("blobs"))?;
    Ok(all.into_iter().filter(|(name, path)| name.len() == 2 && path.is_dir()).map(|(_, path)| path).collect())
}

fn path(dir: &Path, digest: &str) -> Result<PathBuf, VaultError> {
    check_digest(digest)?;
    Ok(dir.join("blobs").join(&digest[..2]).join(format!("{digest}.wasm")))
}
