//! Signatures of plugins: Ed25519 over what a version is and says of itself.
//!
//! A signature is a line of text: `ed25519:` and base64. It stands in `NAME.wasm.sig` beside
//! `NAME.wasm` in the folder, or in the field `Tidegate-Signature` of an upload.

use std::{
    fmt,
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use ring::{
    digest::{SHA256, digest},
    rand::SystemRandom,
    signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey},
};

/// Keys that a configuration may trust.
pub const MAX_KEYS: usize = 64;
const PREFIX: &str = "ed25519:";
const KEY_BYTES: usize = 32;
const SIGNATURE_BYTES: usize = 64;
const MAX_FILE_BYTES: u64 = 4096;

/// What a signature is about. A signature of one version is none of another, whatever differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed<'a> {
    /// The SHA-256 of the plugin's bytes in hexadecimal.
    pub digest: &'a str,
    /// The name it says it has.
    pub name: &'a str,
    /// The version it says it is.
    pub version: &'a str,
    /// The version of the WIT package it is built against.
    pub wit: &'a str,
    /// The hooks it has; their order does not matter.
    pub hooks: Vec<&'a str>,
}

impl Signed<'_> {
    /// The bytes signed. Each field stands behind its length, so that no two versions have the same.
    fn message(&self) -> Vec<u8> {
        let mut hooks = self.hooks.clone();
        hooks.sort_unstable();
        hooks.dedup();
        let fields = [("digest", self.digest), ("name", self.name), ("version", self.version), ("wit", self.wit)];
        let fields = fields.into_iter().chain(hooks.into_iter().map(|hook| ("hook", hook)));
        let lines = fields.map(|(field, value)| format!("{field} {} {value}\n", value.len()));
        std::iter::once("tidegate-plugin-v1\n".to_owned()).chain(lines).collect::<String>().into_bytes()
    }
}

/// A new key.
pub struct KeyPair {
    /// What the author keeps in a file that nobody else can read.
    pub secret: String,
    /// What operators put into `trusted_keys`.
    pub public: String,
}

impl fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyPair").field("secret", &"***").field("public", &self.public).finish()
    }
}

/// Which key signed: the start of the SHA-256 of the public key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fingerprint(String);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What verification came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verified {
    /// Signed by this key.
    By(Fingerprint),
    /// No key is trusted, so nothing needs a signature.
    NotAsked,
}

/// Why a key or a signature is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// A trusted key is none.
    #[error(
        "{text:?} is no public key; a key is `ed25519:` and 44 characters of base64, as `tidegate plugin keygen` prints it"
    )]
    NotAKey {
        /// What stands there.
        text: String,
    },
    /// A key stands there twice.
    #[error("the key {fingerprint} is given twice; remove one")]
    Twice {
        /// The key.
        fingerprint: Fingerprint,
    },
    /// Too many keys.
    #[error("{keys} keys are given; at most {MAX_KEYS} can be trusted")]
    TooMany {
        /// How many.
        keys: usize,
    },
    /// The author's file holds no key.
    #[error(
        "this is no signing key; make one with `tidegate plugin keygen`, or with openssl genpkey -algorithm ed25519"
    )]
    NotASecret,
    /// No signature, though keys are configured.
    #[error(
        "it is not signed, and `[policies] trusted_keys` asks for a signature; sign it (`tidegate plugin sign`) and put \
         the signature beside it as NAME.wasm.sig, or send it as Tidegate-Signature"
    )]
    Missing,
    /// Something else stands where a signature should.
    #[error("the signature is malformed; a signature is `ed25519:` and 88 characters of base64")]
    Malformed,
    /// No trusted key made this signature of this version.
    #[error(
        "the signature is by no trusted key ({trusted}), or the plugin was changed since; sign this very file again \
         with one of them, or add the author's key to `[policies] trusted_keys`"
    )]
    Untrusted {
        /// The fingerprints of the trusted keys.
        trusted: String,
    },
    /// The signature's file cannot be read.
    #[error("cannot read the signature {}: {reason}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// The system gives no random bytes.
    #[error("the system gives no random bytes for a key")]
    NoRandomness,
}

/// Makes a key.
///
/// # Errors
/// The system gives no random bytes.
pub fn generate() -> Result<KeyPair, SignatureError> {
    let secret = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).map_err(|_| SignatureError::NoRandomness)?;
    let public = Ed25519KeyPair::from_pkcs8(secret.as_ref()).map_err(|_| SignatureError::NoRandomness)?;
    let public = text(public.public_key().as_ref());
    let encoded = BASE64_STANDARD.encode(secret.as_ref());
    Ok(KeyPair {
        secret: format!("# Signs Tidegate plugins. Keep it secret.\n# Its public key: {public}\n{encoded}\n"),
        public,
    })
}

/// The public key of a signing key, as it stands in `trusted_keys`.
///
/// # Errors
/// The text is no signing key.
pub fn public_of(secret: &str) -> Result<String, SignatureError> {
    key_pair(secret).map(|pair| text(pair.public_key().as_ref()))
}

/// Signs a version with a key of [`generate`], or with a PEM file of OpenSSL.
///
/// # Errors
/// The text is no signing key.
pub fn sign(secret: &str, signed: &Signed<'_>) -> Result<String, SignatureError> {
    key_pair(secret).map(|pair| text(pair.sign(&signed.message()).as_ref()))
}

/// Where the signature of a file of the folder stands.
#[must_use]
pub fn file_of(wasm: &Path) -> PathBuf {
    let mut name = wasm.as_os_str().to_owned();
    name.push(".sig");
    name.into()
}

/// The signature beside a file of the folder, if there is one.
///
/// # Errors
/// It is there and cannot be read.
pub fn read_beside(wasm: &Path) -> Result<Option<String>, SignatureError> {
    let path = file_of(wasm);
    let mut text = String::new();
    match File::open(&path).and_then(|file| file.take(MAX_FILE_BYTES).read_to_string(&mut text)) {
        Ok(_) => Ok(Some(text.trim().to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(SignatureError::Unreadable { path, reason: error.to_string() }),
    }
}

/// The keys of `[policies] trusted_keys`.
#[derive(Debug, Clone, Default)]
pub struct TrustedKeys {
    keys: Vec<([u8; KEY_BYTES], Fingerprint)>,
}

impl TrustedKeys {
    /// Reads the keys.
    ///
    /// # Errors
    /// One of them is no key, is given twice, or they are too many.
    pub fn parse(texts: &[String]) -> Result<Self, SignatureError> {
        if texts.len() > MAX_KEYS {
            return Err(SignatureError::TooMany { keys: texts.len() });
        }
        let mut keys: Vec<([u8; KEY_BYTES], Fingerprint)> = Vec::new();
        for given in texts {
            let not_a_key = || SignatureError::NotAKey { text: given.chars().take(80).collect() };
            let key = bytes::<KEY_BYTES>(given).ok_or_else(not_a_key)?;
            let fingerprint = fingerprint(&key);
            if keys.iter().any(|(other, _)| *other == key) {
                return Err(SignatureError::Twice { fingerprint });
            }
            keys.push((key, fingerprint));
        }
        Ok(Self { keys })
    }

    /// Whether every version needs a signature.
    #[must_use]
    pub fn are_asked_for(&self) -> bool {
        !self.keys.is_empty()
    }

    /// Checks a version's signature.
    ///
    /// # Errors
    /// Keys are trusted, and none of them made this signature of this version.
    pub fn verify(&self, signed: &Signed<'_>, signature: Option<&str>) -> Result<Verified, SignatureError> {
        if self.keys.is_empty() {
            return Ok(Verified::NotAsked);
        }
        let signature = signature.ok_or(SignatureError::Missing)?;
        let signature = bytes::<SIGNATURE_BYTES>(signature.trim()).ok_or(SignatureError::Malformed)?;
        let message = signed.message();
        let signer = self
            .keys
            .iter()
            .find(|(key, _)| UnparsedPublicKey::new(&ED25519, key).verify(&message, &signature).is_ok());
        signer.map(|(_, fingerprint)| Verified::By(fingerprint.clone())).ok_or_else(|| {
            let trusted: Vec<String> = self.keys.iter().map(|(_, fingerprint)| fingerprint.to_string()).collect();
            SignatureError::Untrusted { trusted: trusted.join(", ") }
        })
    }
}

fn key_pair(secret: &str) -> Result<Ed25519KeyPair, SignatureError> {
    let is_key = |line: &&str| !line.starts_with('#') && !line.starts_with("-----");
    let encoded: String = secret.lines().map(str::trim).filter(is_key).collect();
    let der = BASE64_STANDARD.decode(encoded).map_err(|_| SignatureError::NotASecret)?;
    // OpenSSL leaves the public key out.
    Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der).map_err(|_| SignatureError::NotASecret)
}

fn text(bytes: &[u8]) -> String {
    format!("{PREFIX}{}", BASE64_STANDARD.encode(bytes))
}

fn bytes<const N: usize>(text: &str) -> Option<[u8; N]> {
    BASE64_STANDARD.decode(text.strip_prefix(PREFIX)?).ok()?.try_into().ok()
}

fn fingerprint(key: &[u8]) -> Fingerprint {
    Fingerprint(digest(&SHA256, key).as_ref()[..8].iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests;
