//! `tidegate plugin keygen` and `sign`.

use std::{fs, os::unix::fs::PermissionsExt as _};

use crate::support::{guest, plugin, text};
use serde_json::Value;
use tidegate_policy::signature::{self, Signed, TrustedKeys, Verified};

#[test]
fn a_signed_policy_is_accepted_by_a_gateway_that_trusts_the_key() {
    let dir = tempfile::tempdir().expect("a folder");
    let (key, policy) = (text(&dir.path().join("author.key")), text(&dir.path().join("router.wasm")));
    fs::copy(guest("hash-router"), &policy).expect("copied");

    let said = plugin(&["keygen", "--out", &key]).done();
    assert_eq!(fs::metadata(&key).expect("written").permissions().mode() & 0o777, 0o600);
    let public = said.split("trusted_keys = [\"").nth(1).and_then(|rest| rest.split('"').next()).expect("a key");
    assert!(!said.contains(fs::read_to_string(&key).expect("written").lines().last().expect("a line")));

    let said = plugin(&["sign", "--key", &key, &policy]).done();
    assert!(said.contains("router.wasm.sig") && said.contains(public), "{said}");

    let report: Value = serde_json::from_str(&plugin(&["inspect", &policy, "--json"]).done()).expect("JSON");
    let field = |name: &str| report[name].as_str().expect("text");
    let signed = Signed {
        digest: field("sha256"),
        name: field("name"),
        version: field("version"),
        wit: field("wit"),
        hooks: vec!["route"],
    };
    let signature = signature::read_beside(policy.as_ref()).expect("read");
    let trusted = TrustedKeys::parse(&[public.to_owned()]).expect("keys");
    assert!(matches!(trusted.verify(&signed, signature.as_deref()), Ok(Verified::By(_))));
}

#[test]
fn a_key_is_never_overwritten() {
    let dir = tempfile::tempdir().expect("a folder");
    let key = crate::support::write(dir.path(), "author.key", "precious");
    let error = plugin(&["keygen", "--out", &key]).error();
    assert!(error.contains("author.key exists: ") && error.contains("write to another file"), "{error}");
    assert_eq!(fs::read_to_string(&key).expect("there"), "precious");
}

#[test]
fn a_file_that_is_no_key_says_where_keys_come_from() {
    let dir = tempfile::tempdir().expect("a folder");
    let key = crate::support::write(dir.path(), "author.key", "not a key");
    let error = plugin(&["sign", "--key", &key, &guest("hash-router")]).error();
    assert!(
        error.contains("author.key: this is no signing key") && error.contains("tidegate plugin keygen"),
        "{error}"
    );
}
