//! What lasts, and what is not believed.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use tempfile::TempDir;

use super::*;

struct Fixture {
    home: TempDir,
}

impl Fixture {
    fn new() -> Self {
        Self { home: tempfile::tempdir().expect("a folder") }
    }

    fn dir(&self) -> PathBuf {
        self.home.path().join("policies/.state")
    }

    fn open(&self) -> Vault {
        Vault::open(&self.dir()).expect("opened")
    }

    fn refusal(&self) -> String {
        Vault::open(&self.dir()).expect_err("refused").to_string()
    }

    fn blob(&self, digest: &str) -> PathBuf {
        self.dir().join("blobs").join(&digest[..2]).join(format!("{digest}.wasm"))
    }

    fn artifacts(&self) -> Vec<PathBuf> {
        files_of(&self.dir().join("artifacts"))
    }
}

fn files_of(dir: &Path) -> Vec<PathBuf> {
    let mut all: Vec<PathBuf> = fs::read_dir(dir).expect("a folder").map(|entry| entry.expect("one").path()).collect();
    all.sort();
    all
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("there").permissions().mode() & 0o777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("changed");
}

fn version(digest: &str) -> VersionRecord {
    VersionRecord {
        digest: digest.to_owned(),
        config: Some(serde_json::json!({"salt": "x"})),
        name: "router".to_owned(),
        version: "1.2.3".to_owned(),
        signature: None,
    }
}

fn event(number: usize) -> Event {
    Event {
        at: "2026-11-22T20:00:00.000Z".to_owned(),
        action: Action::FallBack,
        digest: "d".to_owned(),
        version: number.to_string(),
        actor: "gateway".to_owned(),
        reason: None,
        outcome: "done".to_owned(),
    }
}

#[test]
fn the_folder_and_its_files_are_the_owners_alone() {
    let fixture = Fixture::new();
    let vault = fixture.open();
    let digest = vault.put(b"wasm").expect("kept");
    vault.save(&State::default()).expect("saved");
    vault.keep_artifact(&digest, "engine", b"code").expect("kept");
    assert_eq!(mode(&fixture.dir()), 0o700);
    for path in ["mac.key", "state.json", "lock"] {
        assert_eq!(mode(&fixture.dir().join(path)), 0o600, "{path}");
    }
    assert_eq!(mode(&fixture.blob(&digest)), 0o600);
    assert_eq!(mode(&fixture.artifacts()[0]), 0o600);
}

#[test]
fn a_folder_that_others_can_write_to_is_refused() {
    let fixture = Fixture::new();
    drop(fixture.open());
    set_mode(&fixture.dir(), 0o770);
    let refusal = fixture.refusal();
    assert!(refusal.contains("is open to other users (mode 770); run chmod 700"), "{refusal}");
}

#[test]
fn one_gateway_at_a_time() {
    let fixture = Fixture::new();
    let first = fixture.open();
    let refusal = fixture.refusal();
    assert!(refusal.starts_with("another gateway uses ") && refusal.contains("[policies] state"), "{refusal}");
    assert_eq!(VaultReader::new(&fixture.dir()).load().expect("looking needs no lock"), State::default());
    drop(first);
    fixture.open();
}

#[test]
fn a_plugin_is_kept_once_under_its_digest() {
    let fixture = Fixture::new();
    let vault = fixture.open();
    let digest = vault.put(b"abc").expect("kept");
    assert_eq!(digest, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert_eq!(vault.put(b"abc").expect("kept"), digest);
    assert_eq!(vault.get(&digest).expect("there"), b"abc");
    assert_eq!(files_of(&fixture.dir().join("blobs/ba")), [fixture.blob(&digest)]);
    drop(vault);
    assert_eq!(fixture.open().get(&digest).expect("still there"), b"abc");
}

#[test]
fn a_digest_is_never_a_path() {
    let fixture = Fixture::new();
    let vault = fixture.open();
    let upper = "BA7816BF8F01CFEA414140DE5DAE2223B00361A396177A9CB410FF61F20015AD";
    let long_path = format!("../{}", "a".repeat(61));
    for text in ["", "../../etc/passwd", "ba78", upper, &long_path, &"é".repeat(32)] {
        assert!(matches!(vault.get(text), Err(VaultError::NotADigest { .. })), "{text}");
        assert!(matches!(vault.keep_artifact(text, "engine", b""), Err(VaultError::NotADigest { .. })), "{text}");
        assert_eq!(vault.artifact(text, "engine"), None, "{text}");
    }
    let unknown = "0".repeat(64);
    assert!(matches!(vault.get(&unknown), Err(VaultError::Missing { .. })));
}

#[test]
fn a_changed_plugin_is_not_returned_and_can_be_uploaded_again() {
    let fixture = Fixture::new();
    let vault = fixture.open();
    let digest = vault.put(b"wasm").expect("kept");
    for damaged in [&b"wasn"[..], b"was", b"", b"wasm and more"] {
        fs::write(fixture.blob(&digest), damaged).expect("changed");
        assert!(matches!(vault.get(&digest), Err(VaultError::Damaged { .. })));
    }
    vault.put(b"wasm").expect("kept again");
    assert_eq!(vault.get(&digest).expect("whole again"), b"wasm");
}

#[test]
fn what_a_crash_left_half_written_is_removed() {
    let fixture = Fixture::new();
    let vault = fixture.open();
    let digest = vault.put(b"wasm").expect("kept");
    drop(vault);
    let left = [
        fixture.dir().join(".tmp-1-0"),
        fixture.dir().join("artifacts/.tmp-1-1"),
        fixture.blob(&digest).with_file_name(".tmp-1-2"),
    ];
    left.iter().for_each(|path| fs::write(path, b"half").expect("written"));
    fixture.open();
    left.iter().for_each(|path| assert!(!path.exists(), "{}", path.display()));
}

#[test]
fn state_survives_a_restart() {
    let fixture = Fixture::new();
    let vault = fixture.open();
    assert_eq!(vault.load().expect("empty"), State::default());
    let mut plugin = PluginRecord { active: Some(version("a")), previous: Some(version("b")), ..Default::default() };
    plugin.candidate = Some(CandidateRecord { version: version("c"), stage: Stage::Canary { percent: 5 } });
    plugin.seen_file = Some("d".to_owned());
    plugin.highest_version = Some("1.2.3".to_owned());
    plugin.note(event(1));
    let state = State { plugins: [("router".to_owned(), plugin)].into() };
    vault.save(&state).expect("saved");
    drop(vault);
    assert_eq!(fixture.open().load().expect("loaded"), state);
    assert_eq!(VaultReader::new(&fixture.dir()).load().expect("seen"), state);
    assert_eq!(state.digests().into_iter().collect::<Vec<_>>(), ["a", "b", "c"]);
    let text = fs::read_to_string(fixture.dir().join("state.json")).expect("text");
    for part in ["\"version\": 1,", "\"canary\": {", "\"percent\": 5", "\"action\": \"fall-back\""] {
        assert!(text.contains(part), "{part} in {text}");
    }
}

#[test]
fn fields_that_a_later_gateway_added_do_no_harm() {
    let fixture = Fixture::new();
    let vault = fixture.open();
    let text = r#"{"version":1,"plugins":{"router":{"later":true}},"more":1}"#;
    fs::write(fixture.dir().join("state.json"), text).expect("written");
    assert_eq!(vault.load().expect("loaded").plugins["router"], PluginRecord::default());
}

#[test]
fn state_that_cannot_be_understood_says_what_to_do() {
    let fixture = Fixture::new();
    let vault = fixture.open();
    let loading = |text: &str| {
        fs::write(fixture.dir().join("state.json"), text).expect("written");
        vault.load().expect_err("refused").to_string()
    };
    for text in ["", "{", "{}", "[]", "{\"version\":1}", "{\"version\":1,\"plugins\":{\"r\":{\"history\":[{}]}}}"] {
        let refusal = loading(text);
        assert!(refusal.contains("state.json is damaged (") && refusal.contains("move it away"), "{text}: {refusal}");
    }
    let refusal = loading("{\"version\":2,\"plugins\":{}}");
    assert!(refusal.contains("has version 2, this gateway reads version 1"), "{refusal}");
}

#[test]
fn history_keeps_the_newest_events_and_the_start_of_long_texts() {
    let mut plugin = PluginRecord::default();
    (0..MAX_HISTORY + 5).for_each(|number| plugin.note(event(number)));
    assert_eq!(plugin.history.len(), MAX_HISTORY);
    assert_eq!((plugin.history[0].version.as_str(), plugin.history[99].version.as_str()), ("5", "104"));
    plugin.note(Event { reason: Some("é".repeat(5_000)), ..event(0) });
    let reason = plugin.history[99].reason.as_deref().expect("given");
    assert_eq!((reason.chars().count(), reason.chars().last()), (2_001, Some('…')));
}

#[test]
fn compiled_code_comes_back_for_the_same_plugin_and_engine_only() {
    let fixture = Fixture::new();
    let vault = fixture.open();
    let (one, other) = (digest_of(b"one"), digest_of(b"other"));
    vault.keep_artifact(&one, "engine 1", b"code").expect("kept");
    assert_eq!(vault.artifact(&one, "engine 2"), None);
    assert_eq!(vault.artifact(&other, "engine 1"), None);
    drop(vault);
    let vault = fixture.open();
    assert_eq!(vault.artifact(&one, "engine 1").as_deref(), Some(&b"code"[..]), "after a restart too");
    vault.keep_artifact(&one, "engine 1", b"newer").expect("kept");
    assert_eq!(vault.artifact(&one, "engine 1").as_deref(), Some(&b"newer"[..]));
}

#[test]
fn compiled_code_that_this_gateway_did_not_make_is_removed() {
    let fixture = Fixture::new();
    let vault = fixture.open();
    let (one, other) = (digest_of(b"one"), digest_of(b"other"));
    vault.keep_artifact(&one, "engine", b"code").expect("kept");
    let path = fixture.artifacts().remove(0);
    let good = fs::read(&path).expect("bytes");
    let other_path = PathBuf::from(path.to_string_lossy().replace(&one, &other));
    let mut flipped = good.clone();
    flipped[0] ^= 1;
    let mut wrong_tag = good.clone();
    *wrong_tag.last_mut().expect("some") ^= 1;
    for bytes in [&flipped[..], &wrong_tag, &good[1..], &good[..31], b""] {
        fs::write(&path, bytes).expect("changed");
        assert_eq!(vault.artifact(&one, "engine"), None);
        assert!(!path.exists(), "removed");
    }
    fs::write(&other_path, &good).expect("copied");
    assert_eq!(vault.artifact(&other, "engine"), None, "the code of another plugin");
    assert!(!other_path.exists(), "removed");
}

#[test]
fn compiled_code_is_made_anew_after_the_key_was_lost() {
    let fixture = Fixture::new();
    let vault = fixture.open();
    let digest = digest_of(b"one");
    vault.keep_artifact(&digest, "engine", b"code").expect("kept");
    drop(vault);
    fs::remove_file(fixture.dir().join("mac.key")).expect("removed");
    assert_eq!(fixture.open().artifact(&digest, "engine"), None);
}

#[test]
fn a_key_that_others_can_read_is_refused() {
    let fixture = Fixture::new();
    drop(fixture.open());
    let key = fixture.dir().join("mac.key");
    for open in [0o640, 0o604, 0o620] {
        set_mode(&key, open);
        let refusal = fixture.refusal();
        assert!(refusal.contains("mac.key is open to other users") && refusal.contains("chmod 600"), "{refusal}");
    }
    set_mode(&key, 0o600);
    fs::write(&key, b"short").expect("written");
    let refusal = fixture.refusal();
    assert!(refusal.contains("mac.key is not a key of 32 bytes; remove it"), "{refusal}");
}

#[test]
fn collecting_leaves_what_is_named() {
    let fixture = Fixture::new();
    let vault = fixture.open();
    let kept = vault.put(b"kept").expect("kept");
    let gone = vault.put(b"gone!").expect("kept");
    vault.keep_artifact(&kept, "engine", b"code").expect("kept");
    vault.keep_artifact(&gone, "engine", b"code").expect("kept");
    fs::write(fixture.dir().join("artifacts/notes.txt"), b"somebody's").expect("written");
    let collected = vault.collect(&BTreeSet::from([kept.clone()])).expect("collected");
    assert_eq!(collected, Collected { blobs: 1, artifacts: 1, bytes: 5 + 4 + 32 });
    assert_eq!(vault.get(&kept).expect("there"), b"kept");
    assert!(vault.artifact(&kept, "engine").is_some());
    assert!(matches!(vault.get(&gone), Err(VaultError::Missing { .. })));
    assert!(vault.artifact(&gone, "engine").is_none());
    assert!(!fixture.dir().join("blobs").join(&gone[..2]).exists(), "no empty folders");
    assert!(fixture.dir().join("artifacts/notes.txt").exists());
}

#[test]
fn compiled_code_is_bounded_and_what_was_used_last_stays() {
    let fixture = Fixture::new();
    let vault = fixture.open();
    let digests: Vec<String> = (0..4_u8).map(|number| digest_of(&[number])).collect();
    for (age, digest) in digests.iter().rev().enumerate() {
        vault.keep_artifact(digest, "engine", &[0; 68]).expect("kept");
        let path = fixture.artifacts().into_iter().find(|path| path.to_string_lossy().contains(digest.as_str()));
        let file = File::open(path.expect("there")).expect("opened");
        let hour = std::time::Duration::from_secs(3_600);
        file.set_modified(std::time::SystemTime::now() - hour * u32::try_from(age + 1).expect("small")).expect("set");
    }
    assert!(vault.artifact(&digests[0], "engine").is_some(), "the oldest is used");
    let mut collected = Collected::default();
    artifacts::trim(&fixture.dir(), 3, 1_000, &mut collected).expect("trimmed");
    assert_eq!(collected, Collected { artifacts: 1, bytes: 100, ..Default::default() });
    artifacts::trim(&fixture.dir(), 3, 250, &mut collected).expect("trimmed");
    assert_eq!(collected.artifacts, 2);
    let left: Vec<bool> = digests.iter().map(|digest| vault.artifact(digest, "engine").is_some()).collect();
    assert_eq!(left, [true, false, false, true]);
}
