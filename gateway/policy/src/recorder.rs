//! Decisions written down as they are made, for replays against a candidate.

use std::sync::Arc;

use tidegate_types::policy::{Change, Invalidation, Who};

use crate::{
    guest::GuestFailure,
    inputs::Subject,
    phrase,
    question::{Answer, Question},
    recording::{Record, Recorder},
    set::{PolicySet, Slot},
    verdict::Verdict,
    version::{Ask, Version},
};

/// The recorder, if decisions are recorded.
#[derive(Clone, Default)]
pub struct Recorders(pub Option<Arc<Recorder>>);

impl Recorders {
    /// Records a decision about a request. Remembered ones were recorded when they were made.
    #[inline]
    pub fn request(
        &self,
        set: &PolicySet,
        slot: &Slot,
        version: &Version,
        subject: &Subject<'_>,
        outcome: Result<&Verdict, &GuestFailure>,
    ) {
        let Some(recorder) = self.recording() else { return };
        let answer = match outcome {
            Ok(_) => {
                let values = phrase::owned(version, subject);
                let inputs: Vec<Option<&str>> = values.iter().map(Option::as_deref).collect();
                let (who, access, collection) = (subject.who, subject.access, subject.collection.id);
                version.explain(&Ask { who, access, collection, inputs: &inputs })
            }
            Err(failure) => phrase::failure(failure),
        };
        write(recorder, set, slot, version, &phrase::question(version, subject), &answer);
    }

    /// Records a decision about changes.
    #[inline]
    pub fn changes(
        &self,
        set: &PolicySet,
        slot: &Slot,
        version: &Version,
        who: Who,
        changes: &[Change],
        outcome: &Result<Vec<Invalidation>, GuestFailure>,
    ) {
        let Some(recorder) = self.recording() else { return };
        let answer = match outcome {
            Ok(_) => version.explain_changes(who, changes, &set.columns),
            Err(failure) => phrase::failure(failure),
        };
        let question = phrase::question_of_changes(version, &set.tenants, who, changes, &set.columns);
        write(recorder, set, slot, version, &question, &answer);
    }

    fn recording(&self) -> Option<&Recorder> {
        self.0.as_deref().filter(|recorder| recorder.is_recording())
    }
}

#[cold]
fn write(recorder: &Recorder, set: &PolicySet, slot: &Slot, version: &Version, question: &Question, answer: &Answer) {
    let json = |value: serde_json::Result<serde_json::Value>| value.unwrap_or_default();
    recorder.record(Record {
        hook: version.hook.as_str().to_owned(),
        plugin: slot.plugin.to_string(),
        digest: version.description.digest.clone(),
        generation: set.number,
        question: json(serde_json::to_value(question)),
        answer: json(serde_json::to_value(answer)),
    });
}
