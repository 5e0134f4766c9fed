//! What was decided can be read again, and recording stays within its bounds.

use std::{fs, os::unix::fs::PermissionsExt};

use serde_json::json;
use tempfile::TempDir;

use super::*;

fn header() -> Header {
    Header {
        shards: vec!["a".to_owned(), "b".to_owned()],
        regions: [("a".to_owned(), "eu".to_owned())].into(),
        directories: BTreeMap::new(),
        tenants: [("acme".to_owned(), vec!["b".to_owned()])].into(),
        at: "2026-11-22T20:00:00.000Z".to_owned(),
    }
}

fn record(generation: u64) -> Record {
    Record {
        hook: "route".to_owned(),
        plugin: "router".to_owned(),
        digest: "d".repeat(64),
        generation,
        question: json!({"hook": "route", "inputs": {"header:x-api-key": {"redacted": true}}}),
        answer: json!({"shards": ["a"]}),
    }
}

fn settings(dir: &TempDir, max_bytes: u64) -> RecordSettings {
    RecordSettings { file: dir.path().join("decisions.jsonl"), max_bytes }
}

fn lines(settings: &RecordSettings) -> Vec<Result<Line, String>> {
    RecordReader::open(&settings.file).expect("opened").map(|line| line.map_err(|error| error.to_string())).collect()
}

fn generations(settings: &RecordSettings) -> Vec<u64> {
    let records = lines(settings).into_iter().filter_map(|line| match line.expect("a line") {
        Line::Header(_) => None,
        Line::Record(record) => Some(record.generation),
    });
    records.collect()
}

#[test]
fn what_was_recorded_is_read_again() {
    let dir = tempfile::tempdir().expect("a folder");
    let settings = settings(&dir, 1 << 20);
    let recorder = Recorder::open(&settings, header()).expect("opened");
    recorder.record(record(1));
    recorder.record(record(2));
    drop(recorder);
    let expected = [Line::Header(header()), Line::Record(Box::new(record(1))), Line::Record(Box::new(record(2)))];
    assert_eq!(lines(&settings), expected.map(Ok));
    let mode = fs::metadata(&settings.file).expect("there").permissions().mode() & 0o777;
    assert_eq!(mode, 0o600, "decisions are nobody else's business");
}

#[test]
fn a_restarted_gateway_appends_a_header_of_its_own() {
    let dir = tempfile::tempdir().expect("a folder");
    let settings = settings(&dir, 1 << 20);
    Recorder::open(&settings, header()).expect("opened").record(record(1));
    let other = Header { shards: vec!["c".to_owned()], ..header() };
    Recorder::open(&settings, other.clone()).expect("opened").record(record(2));
    assert_eq!(generations(&settings), [1, 2]);
    assert_eq!(lines(&settings)[2], Ok(Line::Header(other)));
}

#[test]
fn a_line_that_a_crash_cut_costs_only_itself() {
    let dir = tempfile::tempdir().expect("a folder");
    let settings = settings(&dir, 1 << 20);
    fs::write(&settings.file, "{\"record\":{\"hook\":\"ro").expect("written");
    Recorder::open(&settings, header()).expect("opened").record(record(2));
    let lines = lines(&settings);
    let cut = lines[0].as_ref().expect_err("half a line");
    assert!(cut.contains("decisions.jsonl:1: not a line of a recording: EOF"), "{cut}");
    assert_eq!(lines[1..], [Ok(Line::Header(header())), Ok(Line::Record(Box::new(record(2))))]);
}

#[test]
fn recording_stops_at_the_size_given() {
    let dir = tempfile::tempdir().expect("a folder");
    let line = serde_json::to_vec(&Line::Record(Box::new(record(1)))).expect("text").len() as u64 + 1;
    let head = serde_json::to_vec(&Line::Header(header())).expect("text").len() as u64 + 1;
    let settings = settings(&dir, head + 3 * line + line - 1);
    let mut recorder = Recorder::open(&settings, header()).expect("opened");
    (1..=9).for_each(|generation| recorder.record(record(generation)));
    recorder.sender = None;
    recorder.writer.take().expect("a thread").join().expect("ended");
    assert_eq!(generations(&settings), [1, 2, 3]);
    assert!(!recorder.is_recording());
    assert_eq!(recorder.counts().recorded, 3);
    recorder.record(record(10));
    assert_eq!(recorder.counts().dropped, 0, "what is not recorded on purpose is not lost");
    Recorder::open(&settings, header()).expect("a full file is no reason not to start").record(record(11));
    assert_eq!(generations(&settings), [1, 2, 3]);
    assert!(fs::metadata(&settings.file).expect("there").len() <= settings.max_bytes);
}

#[test]
fn what_the_disk_does_not_take_in_time_is_dropped_and_counted() {
    let shared = Arc::new(Shared::default());
    let (sender, receiver) = sync_channel(2);
    let recorder = Recorder { shared, sender: Some(sender), writer: None };
    (0..5).for_each(|generation| recorder.record(record(generation)));
    assert_eq!(recorder.counts(), Counts { recorded: 0, dropped: 3 });
    assert_eq!(receiver.iter().take(2).map(|record| record.generation).collect::<Vec<_>>(), [0, 1]);
}

#[test]
fn a_line_too_long_to_read_is_not_written() {
    let dir = tempfile::tempdir().expect("a folder");
    let settings = settings(&dir, 1 << 30);
    let mut recorder = Recorder::open(&settings, header()).expect("opened");
    let long = "x".repeat(usize::try_from(MAX_LINE_BYTES).expect("small"));
    recorder.record(Record { answer: json!(long), ..record(1) });
    recorder.record(record(2));
    recorder.sender = None;
    recorder.writer.take().expect("a thread").join().expect("ended");
    assert_eq!(recorder.counts(), Counts { recorded: 1, dropped: 1 });
    assert_eq!(generations(&settings), [2]);
}

#[test]
fn mistakes_name_their_line_and_the_next_line_is_read() {
    let dir = tempfile::tempdir().expect("a folder");
    let settings = settings(&dir, 1 << 20);
    let good = serde_json::to_string(&Line::Record(Box::new(record(1)))).expect("text");
    let long = "x".repeat(2 * usize::try_from(MAX_LINE_BYTES).expect("small"));
    fs::write(&settings.file, format!("{good}\n{{}}\n{long}\n\n{good}")).expect("written");
    let lines = lines(&settings);
    assert_eq!((lines.len(), lines[0].is_ok(), lines[4].is_ok()), (5, true, true));
    let says = |line: usize| lines[line - 1].as_ref().expect_err("wrong").clone();
    assert!(says(2).contains("decisions.jsonl:2: not a line"), "{}", says(2));
    assert!(says(3).contains("decisions.jsonl:3: not a line of a recording: it is longer than 1048576"), "{}", says(3));
    assert!(says(4).contains("decisions.jsonl:4: "), "{}", says(4));
}

#[test]
fn files_that_cannot_be_used_are_named() {
    let nowhere = RecordSettings { file: "/nonexistent/decisions.jsonl".into(), max_bytes: 1 };
    let error = Recorder::open(&nowhere, header()).expect_err("no folder").to_string();
    assert!(error.starts_with("cannot record to /nonexistent/decisions.jsonl: "), "{error}");
    let error = RecordReader::open(&nowhere.file).expect_err("no file").to_string();
    assert!(error.starts_with("cannot read /nonexistent/decisions.jsonl: "), "{error}");
}
