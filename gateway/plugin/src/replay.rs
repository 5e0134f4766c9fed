//! `tidegate plugin replay`: what a live gateway decided, decided again by a candidate.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    io::{self, Write},
};

use serde::{Deserialize as _, Serialize};
use tidegate_policy::{
    description::HookDescription,
    offline::Guest,
    question::{Answer, ChangedHow, ChangedRow, Given, Question},
    recording::{Line, Record, RecordReader},
};

use crate::{Outcome, args::ReplayArgs, diff, error::PluginError, load::Policy, project};

/// Different differences that are kept; more are counted.
const MAX_DIFFERENCES: usize = 1000;
/// Differences that are told to people.
const TOLD: usize = 20;
/// Reasons that are kept apart; more are counted together.
const MAX_REASONS: usize = 32;

/// What a replay came to.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Report {
    /// Decisions that the candidate takes alike.
    pub agree: u64,
    /// Decisions that it takes otherwise.
    pub differ: u64,
    /// Decisions that could not be put to it, by reason.
    pub not_replayed: BTreeMap<String, u64>,
    /// Decisions of hooks that it does not have.
    pub other_hooks: u64,
    /// The decisions that differ, each question once.
    pub differences: Vec<Difference>,
}

/// A decision that differs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Difference {
    /// The line of the recording it is in first.
    pub line: u64,
    /// How often it was taken.
    pub times: u64,
    /// What was asked.
    pub question: Question,
    /// What was answered.
    pub was: Answer,
    /// What the candidate answers.
    pub would_be: Answer,
}

/// What became of one record.
enum Replayed {
    Agrees,
    Differs(Box<Difference>),
    Cannot(String),
    OtherHook,
}

/// Runs the command.
///
/// # Errors
/// The candidate or the recording cannot be used.
pub fn run(args: &ReplayArgs, out: &mut dyn Write) -> Result<Outcome, PluginError> {
    let policy = Policy::read(&project::artifact(&args.policy)?)?;
    let report = replay(&policy, args)?;
    if args.json {
        serde_json::to_writer_pretty(&mut *out, &report).map_err(io::Error::from)?;
        writeln!(out)?;
    } else {
        out.write_all(page(&report).as_bytes())?;
    }
    Ok(if report.differ == 0 && report.agree > 0 { Outcome::Done } else { Outcome::FoundProblems })
}

fn replay(policy: &Policy, args: &ReplayArgs) -> Result<Report, PluginError> {
    let wrong = |line: u64, detail: String| PluginError::Log { file: (&args.log).into(), line, detail };
    let mut lines = RecordReader::open(args.log.as_ref()).map_err(|error| PluginError::Recording(error.to_string()))?;
    let hooks = &policy.description().hooks;
    let (mut report, mut candidate) = (Report::default(), None);
    let mut left = args.limit.unwrap_or(u64::MAX);
    while let Some(line) = lines.next() {
        match line {
            Err(_) => report.cannot("the line is damaged".into()),
            Ok(Line::Header(header)) => candidate = Some(policy.configured_like(&header, args.config.as_ref())?),
            Ok(Line::Record(_)) if left == 0 => break,
            Ok(Line::Record(record)) => {
                left -= 1;
                let Some(candidate) = candidate.as_mut() else {
                    return Err(wrong(
                        lines.line(),
                        "a decision before any header: this is no recording, or its start is missing".into(),
                    ));
                };
                report.add(one(candidate, hooks, &record, lines.line()));
            }
        }
    }
    Ok(report)
}

/// Puts one decision to the candidate.
fn one(candidate: &mut Guest, hooks: &[HookDescription], record: &Record, line: u64) -> Replayed {
    let Some(hook) = hooks.iter().find(|hook| hook.hook.as_str() == record.hook) else { return Replayed::OtherHook };
    let parsed = Question::deserialize(&record.question)
        .and_then(|question| Ok((question, Answer::deserialize(&record.answer)?)));
    let Ok((question, was)) = parsed else {
        return Replayed::Cannot("the line is of another version of tidegate".into());
    };
    if let Some(reason) = missing(hook, &question) {
        return Replayed::Cannot(reason);
    }
    let would_be = candidate.ask(&question);
    if was == would_be {
        Replayed::Agrees
    } else {
        Replayed::Differs(Box::new(Difference { line, times: 1, question, was, would_be }))
    }
}

/// What of the candidate's inputs is not in the recording, and why.
fn missing(hook: &HookDescription, question: &Question) -> Option<String> {
    hook.inputs.iter().find_map(|input| {
        let name = input.name.as_str();
        let recorded = match name.strip_prefix("column:") {
            Some(column) => question.changes.iter().all(|change| has_column(change, column)),
            None => match question.inputs.get(name) {
                Some(Given::Redacted { .. }) => return Some(format!("it reads {name}, which was redacted")),
                Some(Given::Text(_) | Given::Absent(())) => true,
                None => false,
            },
        };
        (!recorded).then(|| format!("it reads {name}, which was not recorded"))
    })
}

/// Whether a column is given wherever a change of its kind has columns.
fn has_column(change: &ChangedRow, column: &str) -> bool {
    let (old, new) = (change.old.contains_key(column), change.new.contains_key(column));
    match change.kind {
        ChangedHow::Insert => new,
        ChangedHow::Update => old && new,
        ChangedHow::Delete => old,
        ChangedHow::Truncate => true,
    }
}

impl Report {
    fn add(&mut self, replayed: Replayed) {
        match replayed {
            Replayed::Agrees => self.agree += 1,
            Replayed::OtherHook => self.other_hooks += 1,
            Replayed::Cannot(reason) => self.cannot(reason),
            Replayed::Differs(difference) => {
                self.differ += 1;
                let same = |other: &Difference| other.question == difference.question && other.was == difference.was;
                match self.differences.iter().position(same) {
                    Some(known) => self.differences[known].times += 1,
                    None if self.differences.len() < MAX_DIFFERENCES => self.differences.push(*difference),
                    None => {}
                }
            }
        }
    }

    fn cannot(&mut self, reason: String) {
        let room = self.not_replayed.len() < MAX_REASONS || self.not_replayed.contains_key(&reason);
        *self.not_replayed.entry(if room { reason } else { "other reasons".into() }).or_default() += 1;
    }
}

fn page(report: &Report) -> String {
    let mut page = String::new();
    for difference in report.differences.iter().take(TOLD) {
        let _ = writeln!(page, "DIFFERS {} time(s), first in line {}", difference.times, difference.line);
        let _ = writeln!(page, "  asked     {}", diff::compact(&difference.question));
        page.push_str(&diff::describe(("was", &difference.was), ("would be", &difference.would_be)));
    }
    if let Some(more) = report.differences.len().checked_sub(TOLD).filter(|more| *more > 0) {
        let _ = writeln!(page, "... and {more} other question(s); --json tells them all");
    }
    let replayed = report.agree + report.differ;
    let _ = writeln!(page, "{replayed} decisions replayed: {} agree, {} differ", report.agree, report.differ);
    let left_out: u64 = report.not_replayed.values().sum();
    if left_out > 0 {
        let _ = writeln!(page, "{left_out} could not be replayed:");
        for (reason, times) in &report.not_replayed {
            let _ = writeln!(page, "  {times:8}  {reason}");
        }
    }
    if report.other_hooks > 0 {
        let _ = writeln!(page, "{} are of hooks that the candidate does not have", report.other_hooks);
    }
    if replayed == 0 {
        page.push_str(
            "Nothing was compared: record with the candidate's inputs declared, or replay another recording\n",
        );
    }
    page
}
