//! `tidegate plugin keygen` and `sign`.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use tidegate_policy::signature::{self, Signed};

use crate::{
    Outcome,
    args::{KeygenArgs, SignArgs},
    error::PluginError,
    load::Policy,
};

/// Runs `keygen`.
///
/// # Errors
/// The file exists, or cannot be written.
pub fn keygen(args: &KeygenArgs, out: &mut dyn Write) -> Result<Outcome, PluginError> {
    let pair = signature::generate().map_err(|error| key_error(&args.out, &error))?;
    write_secret(&args.out, &pair.secret)?;
    writeln!(
        out,
        "Wrote the private key to {}: whoever has it can sign. Keep it away from the gateway.",
        args.out.display()
    )?;
    writeln!(out, "The public key, for the gateway's configuration:\n")?;
    writeln!(out, "[policies]\ntrusted_keys = [{:?}]", pair.public)?;
    Ok(Outcome::Done)
}

/// Runs `sign`.
///
/// # Errors
/// The key or the policy cannot be used.
pub fn run(args: &SignArgs, out: &mut dyn Write) -> Result<Outcome, PluginError> {
    let secret = fs::read_to_string(&args.key).map_err(PluginError::reading(&args.key))?;
    let public = signature::public_of(&secret).map_err(|error| key_error(&args.key, &error))?;
    let policy = Policy::read(&args.policy)?;
    let description = policy.description();
    let signed = Signed {
        digest: &description.digest,
        name: &description.name,
        version: &description.version,
        wit: &description.wit,
        hooks: description.hooks.iter().map(|hook| hook.hook.as_str()).collect(),
    };
    let text = signature::sign(&secret, &signed).map_err(|error| key_error(&args.key, &error))?;
    let file = signature::file_of(&args.policy);
    fs::write(&file, format!("{text}\n")).map_err(PluginError::writing(&file))?;
    writeln!(out, "Wrote {}: {} {}, by the key {public}", file.display(), description.name, description.version)?;
    writeln!(out, "Copy it beside the policy; to replace a policy, copy the signature first.")?;
    Ok(Outcome::Done)
}

/// Writes a new file that only its owner can read.
fn write_secret(file: &Path, secret: &str) -> Result<(), PluginError> {
    let opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file);
    let written = opened.and_then(|mut open| open.write_all(secret.as_bytes()).and_then(|()| open.sync_all()));
    written.map_err(|source| match source.kind() {
        io::ErrorKind::AlreadyExists => PluginError::Exists {
            path: file.to_owned(),
            hint: "a key that signs what is in use must not be lost; write to another file, or move this one away",
        },
        _ => PluginError::Write { file: file.to_owned(), source },
    })
}

fn key_error(file: &Path, error: &signature::SignatureError) -> PluginError {
    PluginError::Key { file: file.to_owned(), detail: error.to_string() }
}
