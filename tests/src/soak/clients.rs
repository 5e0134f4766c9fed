//! What clients do, and what an answer says of its outcome.

use std::{collections::BTreeMap, time::Duration};

use http::Method;
use serde_json::json;
use tidegate_history::{Operation, Span, Value, bounded::Writer};

use super::{Place, Scene, name, value_of};
use crate::{Answer, Client, client::Call};

/// One operation: the row's index, by whom, what was done, when.
pub(super) type Event = (usize, Writer, Operation, Span);

/// What a client reports.
#[derive(Debug, Default)]
pub(super) struct Record {
    pub(super) events: Vec<Event>,
    pub(super) hits: u64,
    pub(super) unknown: u64,
    pub(super) refused: u64,
    pub(super) unread: u64,
    pub(super) codes: BTreeMap<String, u64>,
}

/// How long a client waits for a write: its outcome is unknown then.
const WRITE_PATIENCE: Duration = Duration::from_secs(5);
/// How long for a read, drawn anew each time. Short: a gateway that goes on after it stood still is to find reads that
/// began when others had gone on without it.
const READ_PATIENCE: std::ops::RangeInclusive<u64> = 300..=1500;
/// A pause after a failure: a gateway that starts again is not asked in a busy loop.
const AFTER_FAILURE: Duration = Duration::from_millis(20);

/// What came of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Made,
    /// A delete that found nothing.
    FoundNothing,
    /// Certainly not made.
    Refused,
    Unknown,
}

impl Outcome {
    /// As the API documents it: a problem means that nothing was changed, unless it says that the outcome is unknown.
    fn of(answer: Option<&Answer>, record: &mut Record) -> Self {
        let Some(answer) = answer else { return Self::Unknown };
        let code = match answer.status {
            200 | 201 | 204 => return Self::Made,
            _ => record.code(answer),
        };
        match (answer.status, code.as_str()) {
            (404, "TG001") => Self::FoundNothing,
            (504, "TG004") => Self::Unknown,
            _ => Self::Refused,
        }
    }
}

impl Record {
    /// Notes what a refusal says; gives it.
    ///
    /// # Panics
    /// If it is none that is to be expected where things fail.
    fn code(&mut self, answer: &Answer) -> String {
        let code = answer.json()["code"].as_str().unwrap_or_default().to_owned();
        let expected = matches!(answer.status, 404 | 429 | 503 | 504) || code.starts_with("40");
        assert!(expected, "an answer that nothing here explains: {answer}");
        if answer.status != 404 {
            *self.codes.entry(format!("{} {code}", answer.status)).or_insert(0) += 1;
        }
        code
    }

    fn event(&mut self, row: usize, operation: Operation, span: Span) {
        self.events.push((row, Writer::Told, operation, span));
    }
}

/// Reads and writes until there were enough.
pub(super) async fn run(scene: Scene, number: u64, mut random: fastrand::Rng) -> Record {
    let mut record = Record::default();
    let gateways = scene.clients.read().map_or(1, |clients| clients.len());
    let (mut home, mut row) = (usize::try_from(number).unwrap_or(0) % gateways, 0);
    while scene.begin() {
        // Rarely, or soon everybody would wait for the gateway that stands still.
        if random.u8(..) < 4 {
            home = random.usize(..gateways);
        }
        // Not each time: what is read is to be kept, sometimes.
        if random.u8(..4) == 0 {
            row = random.usize(..scene.rows.len());
        }
        let client = scene.client(home);
        let path = format!("/v1/{}/{}", scene.rows[row].place.collection(), scene.rows[row].id);
        let place = scene.rows[row].place;
        match (place, random.u8(..20)) {
            (Place::Products, 16..19) => {
                let value = scene.fresh();
                let call = client.put(&path, &json!({ "name": name(value), "price": 1 }));
                write(&scene, call, row, Some(value), &mut record).await;
            }
            (Place::Products, 19..) => write(&scene, client.delete(&path), row, None, &mut record).await,
            (Place::Ledger, 18..) => {
                let value = scene.fresh();
                let call = client.patch(&path, &json!({ "name": name(value) }));
                write(&scene, call, row, Some(value), &mut record).await;
            }
            _ => {
                let patience = Duration::from_millis(random.u64(READ_PATIENCE));
                read(&scene, (&client, &path), row, patience, &mut record).await;
            }
        }
    }
    record
}

async fn read(scene: &Scene, (client, path): (&Client, &str), row: usize, patience: Duration, record: &mut Record) {
    let start = scene.clock.now();
    let answer = tokio::time::timeout(patience, client.request(Method::GET, path).try_send()).await;
    let end = Some(scene.clock.now());
    let value = match answer {
        Ok(Ok(answer)) if answer.status == 200 => {
            record.hits += u64::from(answer.header("cache-status").contains("; hit"));
            let row = answer.json();
            let value = row["name"].as_str().and_then(value_of);
            assert!(value.is_some(), "a row that nobody wrote: {answer}");
            value
        }
        Ok(Ok(answer)) if record.code(&answer) == "TG001" => {
            record.hits += u64::from(answer.header("cache-status").contains("; hit"));
            None
        }
        _ => {
            record.unread += 1;
            scene.uncount();
            return tokio::time::sleep(AFTER_FAILURE).await;
        }
    };
    record.event(row, Operation::Read(value), Span { start, end });
}

async fn write(scene: &Scene, call: Call, row: usize, value: Value, record: &mut Record) {
    let start = scene.clock.now();
    let answer = tokio::time::timeout(WRITE_PATIENCE, call.try_send()).await.ok().and_then(Result::ok);
    let end = Some(scene.clock.now());
    match Outcome::of(answer.as_ref(), record) {
        Outcome::Made => record.event(row, Operation::Write(value), Span { start, end }),
        Outcome::FoundNothing => record.event(row, Operation::Read(None), Span { start, end }),
        Outcome::Refused => {
            record.refused += 1;
            scene.uncount();
            tokio::time::sleep(AFTER_FAILURE).await;
        }
        Outcome::Unknown => {
            record.unknown += 1;
            scene.uncount();
            record.event(row, Operation::Write(value), Span { start, end: None });
            tokio::time::sleep(AFTER_FAILURE).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, code: &str) -> Answer {
        let body = json!({ "code": code, "message": "", "details": null, "hint": null }).to_string();
        Answer { status, headers: http::HeaderMap::new(), body: body.into() }
    }

    #[test]
    fn what_a_refusal_says_is_taken_at_its_word() {
        let mut record = Record::default();
        let mut of = |status, code: &str| Outcome::of(Some(&answer(status, code)), &mut record);
        assert_eq!(of(204, ""), Outcome::Made);
        assert_eq!(of(404, "TG001"), Outcome::FoundNothing);
        assert_eq!(of(504, "TG004"), Outcome::Unknown);
        for (status, code) in [(503, "TG017"), (503, "TG003"), (504, "PGRST003"), (504, "57014"), (500, "40P01")] {
            assert_eq!(of(status, code), Outcome::Refused, "{code}");
        }
        assert_eq!(Outcome::of(None, &mut record), Outcome::Unknown, "the connection was lost");
        assert_eq!(record.codes.len(), 6, "{:?}", record.codes);
    }
}
