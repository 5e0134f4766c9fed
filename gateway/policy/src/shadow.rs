//! A candidate that is asked what the version in use is asked, off the response path.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    thread,
};

use parking_lot::Mutex;
use serde::Serialize;
use tidegate_types::{
    collection::CollectionId,
    policy::{Change, Invalidation, Who},
    route::Access,
    tenant::Tenants,
};

use crate::{
    inputs::{self, Declared, Subject},
    memo::{Memo, MemoKey},
    metrics::{Metrics, ShadowOutcome},
    phrase,
    question::{Answer, Question},
    verdict::Verdict,
    version::{Ask, Version},
};

/// Questions that wait for the candidate; more are counted and dropped.
const QUEUE: usize = 1024;
/// Disagreements kept.
const SAMPLES: usize = 20;

/// A disagreement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Sample {
    /// What was asked, secrets left out.
    pub question: Question,
    /// What the version in use answered.
    pub active: Answer,
    /// What the candidate answered.
    pub candidate: Answer,
}

/// How a candidate compares.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Comparison {
    /// Requests for which both answered the same.
    pub agreed: u64,
    /// Requests for which they did not.
    pub differed: u64,
    /// Requests for which the candidate failed.
    pub failed: u64,
    /// Requests that were not compared because too many waited.
    pub dropped: u64,
    /// Some of the disagreements and failures, each question once.
    pub samples: Vec<Sample>,
}

/// A candidate in shadow.
pub struct Shadow {
    /// The candidate.
    pub version: Arc<Version>,
    active: Arc<Version>,
    tenants: Arc<Tenants>,
    /// What either of the two reads: questions that agree in all of it have one outcome.
    inputs: Vec<Declared>,
    seen: Arc<Memo<ShadowOutcome>>,
    tally: Arc<Tally>,
    queue: SyncSender<Task>,
}

#[derive(Default)]
struct Tally {
    counts: [AtomicU64; ShadowOutcome::ALL.len()],
    samples: Mutex<Vec<Sample>>,
}

enum Task {
    Request(Box<Asked>),
    Changes(Box<Changed>),
}

/// A question that the version in use answered.
struct Asked {
    key: MemoKey,
    who: Who,
    access: Access,
    collection: CollectionId,
    active_inputs: Vec<Option<String>>,
    inputs: Vec<Option<String>>,
    verdict: Verdict,
    question: Question,
}

/// Changes that the version in use judged.
struct Changed {
    who: Who,
    changes: Vec<Change>,
    columns: Arc<[Arc<str>]>,
    purges: Vec<Invalidation>,
    question: Question,
}

impl Shadow {
    /// Starts comparing. The thread that asks the candidate ends with the returned value.
    ///
    /// # Errors
    /// No thread could be started.
    pub fn start(
        version: Arc<Version>,
        active: Arc<Version>,
        tenants: Arc<Tenants>,
        metrics: &Metrics,
    ) -> std::io::Result<Self> {
        let mut inputs = active.inputs.clone();
        inputs.extend(version.inputs.iter().filter(|input| !active.inputs.contains(input)).cloned());
        let (seen, tally) = (Arc::new(Memo::new()), Arc::<Tally>::default());
        let (queue, tasks) = sync_channel(QUEUE);
        let worker = Worker {
            version: version.clone(),
            active: active.clone(),
            seen: seen.clone(),
            tally: tally.clone(),
            metrics: metrics.clone(),
        };
        thread::Builder::new().name("policy-shadow".into()).spawn(move || worker.run(&tasks))?;
        Ok(Self { version, active, tenants, inputs, seen, tally, queue })
    }

    /// Compares an answer of the version in use. Costs a look-up for questions seen before.
    pub fn compare(&self, subject: &Subject<'_>, active: Option<&Verdict>, metrics: &Metrics) {
        let Some(verdict) = active else { return };
        let key = inputs::key(&self.inputs, subject);
        if let Some(outcome) = self.seen.get(&key) {
            return self.tally.count(&self.version, outcome, metrics);
        }
        let task = Task::Request(Box::new(Asked {
            key,
            who: subject.who,
            access: subject.access,
            collection: subject.collection.id,
            active_inputs: phrase::owned(&self.active, subject),
            inputs: phrase::owned(&self.version, subject),
            verdict: verdict.clone(),
            question: phrase::question(&self.version, subject),
        }));
        self.send(task, metrics);
    }

    /// Compares what the version in use purges.
    pub fn purges(
        &self,
        who: Who,
        changes: &[Change],
        columns: &Arc<[Arc<str>]>,
        active: Option<&Vec<Invalidation>>,
        metrics: &Metrics,
    ) {
        let Some(purges) = active else { return };
        let question = phrase::question_of_changes(&self.version, &self.tenants, who, changes, columns);
        let task = Task::Changes(Box::new(Changed {
            who,
            changes: changes.to_vec(),
            columns: columns.clone(),
            purges: purges.clone(),
            question,
        }));
        self.send(task, metrics);
    }

    /// How they compare so far.
    pub fn comparison(&self) -> Comparison {
        let count = |outcome: ShadowOutcome| self.tally.counts[outcome as usize].load(Ordering::Relaxed);
        Comparison {
            agreed: count(ShadowOutcome::Agreed),
            differed: count(ShadowOutcome::Differed),
            failed: count(ShadowOutcome::Failed),
            dropped: count(ShadowOutcome::Dropped),
            samples: self.tally.samples.lock().clone(),
        }
    }

    fn send(&self, task: Task, metrics: &Metrics) {
        match self.queue.try_send(task) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.tally.count(&self.version, ShadowOutcome::Dropped, metrics);
            }
        }
    }
}

impl Tally {
    fn count(&self, version: &Version, outcome: ShadowOutcome, metrics: &Metrics) {
        self.counts[outcome as usize].fetch_add(1, Ordering::Relaxed);
        metrics.shadowed(version.hook, outcome);
    }

    fn sample(&self, sample: impl FnOnce() -> Sample) {
        if self.samples.lock().len() >= SAMPLES {
            return;
        }
        // Asked without the lock: explaining calls guests.
        let sample = sample();
        let mut samples = self.samples.lock();
        if samples.len() < SAMPLES && !samples.contains(&sample) {
            samples.push(sample);
        }
    }
}

struct Worker {
    version: Arc<Version>,
    active: Arc<Version>,
    seen: Arc<Memo<ShadowOutcome>>,
    tally: Arc<Tally>,
    metrics: Metrics,
}

impl Worker {
    fn run(&self, tasks: &Receiver<Task>) {
        while let Ok(task) = tasks.recv() {
            match task {
                Task::Request(asked) => self.request(*asked),
                Task::Changes(changed) => self.changes(*changed),
            }
        }
    }

    fn request(&self, asked: Asked) {
        let inputs: Vec<Option<&str>> = asked.inputs.iter().map(Option::as_deref).collect();
        let Asked { who, access, collection, .. } = asked;
        let ask = Ask { who, access, collection, inputs: &inputs };
        let outcome = match self.version.asked(&ask, &self.metrics) {
            Ok(answer) if answer == asked.verdict => ShadowOutcome::Agreed,
            Ok(_) => ShadowOutcome::Differed,
            Err(_) => ShadowOutcome::Failed,
        };
        self.seen.put(&asked.key, &outcome);
        self.tally.count(&self.version, outcome, &self.metrics);
        if outcome != ShadowOutcome::Agreed {
            self.tally.sample(|| {
                let before: Vec<Option<&str>> = asked.active_inputs.iter().map(Option::as_deref).collect();
                let active = self.active.explain(&Ask { inputs: &before, ..ask });
                Sample { question: asked.question.clone(), active, candidate: self.version.explain(&ask) }
            });
        }
    }

    fn changes(&self, Changed { who, changes, columns, purges, question }: Changed) {
        let outcome = match self.version.purges(who, &changes, &columns, &self.metrics) {
            Ok(answer) if answer == purges => ShadowOutcome::Agreed,
            Ok(_) => ShadowOutcome::Differed,
            Err(_) => ShadowOutcome::Failed,
        };
        self.tally.count(&self.version, outcome, &self.metrics);
        if outcome != ShadowOutcome::Agreed {
            self.tally.sample(|| Sample {
                question,
                active: self.active.explain_changes(who, &changes, &columns),
                candidate: self.version.explain_changes(who, &changes, &columns),
            });
        }
    }
}
