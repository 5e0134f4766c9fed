use super::*;

const ROUTER: Signed<'_> = Signed { digest: "ab", name: "router", version: "1.0.0", wit: "0.1.0", hooks: Vec::new() };

fn trusting(keys: &[&KeyPair]) -> TrustedKeys {
    let texts: Vec<String> = keys.iter().map(|key| key.public.clone()).collect();
    TrustedKeys::parse(&texts).expect("keys")
}

#[test]
fn a_signature_of_any_trusted_key_is_accepted_and_names_the_key() {
    let (one, other) = (generate().expect("a key"), generate().expect("a key"));
    let trusted = trusting(&[&one, &other]);
    let signature = sign(&other.secret, &ROUTER).expect("signed");
    let Ok(Verified::By(by)) = trusted.verify(&ROUTER, Some(&signature)) else { panic!("not accepted") };
    assert_eq!(by, trusted.keys[1].1);
    assert_eq!(by.to_string().len(), 16);
    assert!(trusted.verify(&ROUTER, Some(&format!(" {signature}\n"))).is_ok(), "a line end is no part of it");
    assert_eq!(public_of(&other.secret), Ok(other.public));
}

#[test]
fn nothing_about_a_version_can_be_changed_after_it_was_signed() {
    let key = generate().expect("a key");
    let trusted = trusting(&[&key]);
    let signed = Signed { hooks: vec!["route", "classify"], ..ROUTER };
    let signature = sign(&key.secret, &signed).expect("signed");
    let reordered = Signed { hooks: vec!["classify", "route"], ..ROUTER };
    assert!(trusted.verify(&reordered, Some(&signature)).is_ok());
    let others = [
        Signed { digest: "ac", ..signed.clone() },
        Signed { name: "router2", ..signed.clone() },
        Signed { version: "1.0.1", ..signed.clone() },
        Signed { wit: "0.2.0", ..signed.clone() },
        Signed { hooks: vec!["route"], ..signed.clone() },
        Signed { hooks: vec!["route", "classify", "invalidate"], ..signed.clone() },
    ];
    for other in others {
        let refused = trusted.verify(&other, Some(&signature));
        assert!(matches!(refused, Err(SignatureError::Untrusted { .. })), "{other:?}");
    }
}

#[test]
fn no_field_can_take_a_part_of_its_neighbour() {
    let moved = [
        (Signed { name: "a", version: "b", ..ROUTER }, Signed { name: "ab", version: "", ..ROUTER }),
        (
            Signed { name: "a\nversion 1 b", version: "b", ..ROUTER },
            Signed { name: "a", version: "b\nversion 1 b", ..ROUTER },
        ),
        (Signed { hooks: vec!["a", "b"], ..ROUTER }, Signed { hooks: vec!["a\nhook 1 b"], ..ROUTER }),
    ];
    for (one, other) in moved {
        assert_ne!(one.message(), other.message());
    }
    let message = Signed { hooks: vec!["route"], ..ROUTER }.message();
    let expected = "tidegate-plugin-v1\ndigest 2 ab\nname 6 router\nversion 5 1.0.0\nwit 5 0.1.0\nhook 5 route\n";
    assert_eq!(String::from_utf8(message).expect("text"), expected);
}

#[test]
fn unsigned_malformed_and_foreign_signatures_say_what_to_do() {
    let (one, other) = (generate().expect("a key"), generate().expect("a key"));
    let trusted = trusting(&[&one]);
    let says = |signature: Option<&str>| trusted.verify(&ROUTER, signature).expect_err("refused").to_string();
    assert!(says(None).contains("sign it (`tidegate plugin sign`)"));
    for text in ["", "ed25519:", "ed25519:AAAA", "x", &one.public] {
        assert!(says(Some(text)).starts_with("the signature is malformed"), "{text}");
    }
    let foreign = says(Some(&sign(&other.secret, &ROUTER).expect("signed")));
    let fingerprint = trusted.keys[0].1.to_string();
    assert!(foreign.contains(&fingerprint) && foreign.contains("trusted_keys"), "{foreign}");
}

#[test]
fn without_keys_nothing_needs_a_signature() {
    let none = TrustedKeys::default();
    assert!(!none.are_asked_for());
    assert_eq!(none.verify(&ROUTER, None), Ok(Verified::NotAsked));
    assert_eq!(none.verify(&ROUTER, Some("anything")), Ok(Verified::NotAsked));
}

#[test]
fn keys_that_are_none_are_refused() {
    let key = generate().expect("a key");
    let says = |keys: &[&str]| {
        let texts: Vec<String> = keys.iter().map(|&text| text.to_owned()).collect();
        TrustedKeys::parse(&texts).expect_err("refused").to_string()
    };
    let bare = key.public.strip_prefix("ed25519:").expect("a prefix");
    for text in ["", "ed25519:", "ed25519:AAAA", bare, "rsa:AAAA"] {
        assert!(says(&[&key.public, text]).contains("is no public key"), "{text}");
    }
    assert!(says(&[&key.public, &key.public]).contains("is given twice"));
    assert!(says(&vec![key.public.as_str(); MAX_KEYS + 1]).starts_with("65 keys are given"));
    assert_eq!(sign("nonsense", &ROUTER), Err(SignatureError::NotASecret));
    assert_eq!(sign(&key.public, &ROUTER), Err(SignatureError::NotASecret));
    assert!(!format!("{key:?}").contains(key.secret.lines().last().expect("a line")));
}

#[test]
fn a_key_of_openssl_signs_too() {
    // The first test vector of RFC 8032, section 7.1, as `openssl genpkey` would write it.
    let pem = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n-----END PRIVATE KEY-----\n";
    let public = public_of(pem).expect("a key");
    assert_eq!(public, "ed25519:11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=");
    let trusted = TrustedKeys::parse(&[public]).expect("a key");
    let signature = sign(pem, &ROUTER).expect("signed");
    assert!(matches!(trusted.verify(&ROUTER, Some(&signature)), Ok(Verified::By(_))));
}

#[test]
fn the_signature_stands_beside_the_file() {
    let dir = tempfile::tempdir().expect("a folder");
    let wasm = dir.path().join("router.wasm");
    assert_eq!(file_of(&wasm), dir.path().join("router.wasm.sig"));
    assert_eq!(read_beside(&wasm), Ok(None));
    std::fs::write(dir.path().join("router.wasm.sig"), "ed25519:x\n").expect("written");
    assert_eq!(read_beside(&wasm), Ok(Some("ed25519:x".to_owned())));
    std::fs::write(dir.path().join("router.wasm.sig"), [0xff]).expect("written");
    assert!(matches!(read_beside(&wasm), Err(SignatureError::Unreadable { .. })));
}
