//! From bytes to a version that may be used.

use std::{io, path::Path, sync::Arc};

use bytes::Bytes;
use tidegate_types::settings::{HookSettings, Moves, PolicySettings};

use super::{
    Control,
    book::{Loaded, Plugin},
};
use crate::{
    error::{Refusal, RefusalReason},
    hook::Hook,
    loader::{self, Environment},
    signature::{self, Signed, TrustedKeys},
    vault::{VersionRecord, digest_of},
};

/// Bytes of a plugin's file. The largest of the known toolchains makes 18 MB.
pub const MAX_FILE_BYTES: u64 = 64 << 20;

/// A version that wants to be used.
#[derive(Clone)]
pub struct Arrival {
    /// The plugin's name.
    pub plugin: Arc<str>,
    /// The hooks it is configured for.
    pub hooks: Vec<(Hook, HookSettings)>,
    /// Where it comes from, for messages.
    pub origin: String,
    /// Its bytes.
    pub wasm: Bytes,
    /// The configuration it came with.
    pub config: Option<serde_json::Value>,
    /// Its signature.
    pub signature: Option<String>,
    /// The version that it must not be older than.
    pub at_least: Option<String>,
}

impl Arrival {
    fn refusal(&self, reason: RefusalReason, detail: impl Into<String>) -> Refusal {
        Refusal { origin: self.origin.clone(), digest: digest_of(&self.wasm), reason, detail: detail.into() }
    }
}

impl Control {
    /// Loads a version away from the request threads. A panic, which only a bug of a parser of the file
    /// could cause, refuses the version instead of ending whoever asked.
    pub async fn load(&self, arrival: Arrival, environment: Arc<Environment>) -> Result<Loaded, Refusal> {
        let (loader, trusted) = (self.loader.clone(), self.trusted.load_full());
        let stopped = arrival.clone();
        tokio::task::spawn_blocking(move || load(&loader, &trusted, &arrival, &environment)).await.unwrap_or_else(
            |error| Err(stopped.refusal(RefusalReason::Invalid, format!("loading it did not finish: {error}"))),
        )
    }

    /// A version that was loaded before, made anew with these settings.
    ///
    /// # Errors
    /// Its bytes are gone, or it cannot be used with them.
    pub async fn restore(
        &self,
        settings: &PolicySettings,
        name: &Arc<str>,
        hooks: &[(Hook, HookSettings)],
        record: &VersionRecord,
        environment: &Arc<Environment>,
    ) -> Result<Loaded, Refusal> {
        let origin = format!("version {} of {name}", record.version);
        let wasm = match self.bytes(settings, name, &record.digest).await {
            Ok(wasm) => wasm,
            Err(detail) => {
                let (digest, reason) = (record.digest.clone(), RefusalReason::Unreadable);
                return Err(Refusal { origin, digest, reason, detail });
            }
        };
        let arrival = Arrival {
            plugin: name.clone(),
            hooks: hooks.to_vec(),
            origin,
            wasm,
            config: record.config.clone(),
            signature: record.signature.clone(),
            at_least: None,
        };
        self.load(arrival, environment.clone()).await
    }
}

/// Whether moves are allowed for good.
pub fn moves(hooks: &[(Hook, HookSettings)]) -> Moves {
    let route = hooks.iter().find(|(hook, _)| *hook == Hook::Route);
    route.map_or(Moves::Refused, |(_, settings)| settings.moves)
}

fn load(
    loader: &loader::Loader,
    trusted: &TrustedKeys,
    arrival: &Arrival,
    environment: &Environment,
) -> Result<Loaded, Refusal> {
    let refused = |(reason, detail)| arrival.refusal(reason, detail);
    let compiled = loader.compile(&arrival.wasm).map_err(refused)?;
    let uses = Plugin::uses(&arrival.hooks, arrival.config.as_ref());
    let versions = loader.versions(&arrival.plugin, &compiled, &uses, environment).map_err(refused)?;
    let Some(description) = versions.first().map(|version| version.description.clone()) else {
        return Err(arrival.refusal(RefusalReason::World, "it is configured for no hook"));
    };
    let signed = Signed {
        digest: &description.digest,
        name: &description.name,
        version: &description.version,
        wit: &description.wit,
        hooks: description.hooks.iter().map(|hook| hook.hook.as_str()).collect(),
    };
    trusted
        .verify(&signed, arrival.signature.as_deref())
        .map_err(|error| arrival.refusal(RefusalReason::Signature, error.to_string()))?;
    if let Some(newest) = &arrival.at_least
        && older(&description.version, newest)
    {
        let detail = format!("it is version {}, and {newest} was in use before", description.version);
        return Err(arrival.refusal(RefusalReason::Downgrade, detail));
    }
    let record = VersionRecord {
        digest: description.digest.clone(),
        config: arrival.config.clone(),
        name: description.name.clone(),
        version: description.version.clone(),
        signature: arrival.signature.clone(),
    };
    Ok(Loaded { record, versions: versions.into_iter().map(Arc::new).collect() })
}

/// Whether both are semantic versions and the first is older.
pub fn older(version: &str, than: &str) -> bool {
    match (semver::Version::parse(version), semver::Version::parse(than)) {
        (Ok(version), Ok(than)) => version < than,
        _ => false,
    }
}

/// A plugin's file as it is now.
pub struct InFolder {
    /// Its bytes.
    pub wasm: Bytes,
    /// SHA-256 of them.
    pub digest: String,
    /// The signature beside it, or why that cannot be read.
    pub signature: Result<Option<String>, String>,
}

impl InFolder {
    /// Reads the file and its signature, away from the request threads.
    ///
    /// # Errors
    /// Why the file cannot be read.
    pub async fn read(file: &Path) -> Result<Self, String> {
        let file = file.to_owned();
        let read = move || {
            let wasm = Bytes::from(read(&file)?);
            let digest = digest_of(&wasm);
            Ok(Self { wasm, digest, signature: signature::read_beside(&file).map_err(|error| error.to_string()) })
        };
        tokio::task::spawn_blocking(read)
            .await
            .unwrap_or_else(|error| Err(format!("reading it did not finish: {error}")))
    }
}

/// Reads a file within its limit.
///
/// # Errors
/// Why it cannot be read.
pub fn read(file: &Path) -> Result<Vec<u8>, String> {
    use io::Read as _;
    let mut bytes = Vec::new();
    std::fs::File::open(file)
        .and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes))
        .map_err(|e| format!("it cannot be read: {e}"))?;
    if bytes.len() as u64 > MAX_FILE_BYTES { Err("it is larger than 64 MiB".into()) } else { Ok(bytes) }
}
