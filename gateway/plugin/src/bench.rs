//! `tidegate plugin bench`: what a policy costs.

use std::{
    fmt::Write as _,
    io::{self, Write},
    time::{Duration, Instant},
};

use serde::Serialize;
use tidegate_policy::{
    hook::Hook,
    offline::{Fuel, Guest},
    question::{Answer, Question},
};

use crate::{
    Outcome,
    args::BenchArgs,
    error::PluginError,
    load::Policy,
    project, units,
    vectors::{Set, Vectors},
};

/// How long each kind of call is measured.
const MEASURE: Duration = Duration::from_secs(1);
/// Most calls of a kind: each is noted.
const MAX_CALLS: usize = 200_000;
/// Calls before measuring.
const WARM_UP: usize = 200;

/// What a policy costs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// The manifest's name.
    pub name: String,
    /// The manifest's version.
    pub version: String,
    /// Bytes of the file.
    pub size: u64,
    /// Compiling it, nanoseconds.
    pub compile_ns: u64,
    /// Loading the compiled code, nanoseconds.
    pub load_ns: u64,
    /// Making and configuring an instance, nanoseconds.
    pub instance_ns: u64,
    /// Bytes of linear memory of an instance after the calls.
    pub memory_bytes: usize,
    /// Each hook that was asked.
    pub hooks: Vec<HookCost>,
}

/// What calls of one hook cost.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct HookCost {
    /// Which.
    pub hook: Hook,
    /// Different questions asked.
    pub questions: usize,
    /// Calls of an instance that is in use.
    pub warm: Times,
    /// Calls of a new instance each, with making and configuring it.
    pub fresh: Times,
    /// WebAssembly instructions of one call of each question.
    pub instructions: Instructions,
}

/// Durations of calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Times {
    /// How many were measured.
    pub calls: usize,
    /// The median, nanoseconds.
    pub p50_ns: u64,
    /// The 99th percentile, nanoseconds.
    pub p99_ns: u64,
}

/// Instructions of calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Instructions {
    /// The median.
    pub median: u64,
    /// The most.
    pub most: u64,
}

/// Questions that share a configuration.
struct Asked<'a> {
    set: &'a Set,
    questions: Vec<&'a Question>,
}

/// Runs the command.
///
/// # Errors
/// The policy or the vectors cannot be used, or have no hook in common.
pub fn run(args: &BenchArgs, out: &mut dyn Write) -> Result<Outcome, PluginError> {
    let file = project::artifact(&args.policy)?;
    let vectors = project::vectors(&args.vectors, &file)?;
    let vectors: Vec<Vectors> = vectors.iter().map(|file| Vectors::read(file)).collect::<Result<_, _>>()?;
    let report = measure(&Policy::read(&file)?, &Policy::with_fuel(&file, Fuel::Counted)?, &vectors)?;
    if args.json {
        serde_json::to_writer_pretty(&mut *out, &report).map_err(io::Error::from)?;
        writeln!(out)?;
    } else {
        out.write_all(page(&report).as_bytes())?;
    }
    Ok(Outcome::Done)
}

fn measure(policy: &Policy, counting: &Policy, vectors: &[Vectors]) -> Result<Report, PluginError> {
    let description = policy.description();
    let (mut hooks, mut memory_bytes, mut timings) = (Vec::new(), 0, None);
    for hook in description.hooks.iter().map(|hook| hook.hook) {
        if let Some(asked) = questions(vectors, hook) {
            let mut guest = policy.configured(asked.set)?;
            let mut counted = counting.configured(asked.set)?;
            hooks.push(cost(hook, &asked.questions, &mut guest, &mut counted));
            memory_bytes = memory_bytes.max(guest.memory());
            timings = Some(policy.timings(asked.set)?);
        }
    }
    let Some(timings) = timings else {
        let hooks = description.hooks.iter().map(|hook| hook.hook.as_str()).collect::<Vec<_>>().join(", ");
        return Err(PluginError::NothingToAsk { policy: policy.file.clone(), hooks });
    };
    Ok(Report {
        name: description.name.clone(),
        version: description.version.clone(),
        size: policy.bytes.len() as u64,
        compile_ns: nanos(timings.compile),
        load_ns: nanos(timings.deserialise),
        instance_ns: nanos(timings.instance),
        memory_bytes,
        hooks,
    })
}

/// The set with the most questions for a hook.
fn questions(vectors: &[Vectors], hook: Hook) -> Option<Asked<'_>> {
    let of = |set: &'_ Set| set.cases.iter().filter(|case| case.ask.hook == hook).count();
    let set = vectors.iter().flat_map(|vectors| &vectors.sets).filter(|set| of(set) > 0).max_by_key(|set| of(set))?;
    let questions = set.cases.iter().map(|case| &case.ask).filter(|ask| ask.hook == hook).collect();
    Some(Asked { set, questions })
}

fn cost(hook: Hook, questions: &[&Question], guest: &mut Guest, counting: &mut Guest) -> HookCost {
    let warm = timed(questions, |question| guest.ask(question));
    let fresh = timed(questions, |question| guest.ask_fresh(question));
    let mut instructions: Vec<u64> = questions
        .iter()
        .filter_map(|question| {
            counting.ask(question);
            counting.fuel_of_last_call()
        })
        .collect();
    instructions.sort_unstable();
    HookCost {
        hook,
        questions: questions.len(),
        warm,
        fresh,
        instructions: Instructions {
            median: instructions.get(instructions.len() / 2).copied().unwrap_or(0),
            most: instructions.last().copied().unwrap_or(0),
        },
    }
}

/// Asks the questions in turn until the time is over.
fn timed(questions: &[&Question], mut ask: impl FnMut(&Question) -> Answer) -> Times {
    let mut durations = Vec::new();
    let mut turns = questions.iter().cycle();
    let until = Instant::now() + MEASURE;
    for question in turns.by_ref().take(WARM_UP) {
        ask(question);
        if Instant::now() >= until {
            break;
        }
    }
    let until = Instant::now() + MEASURE;
    for question in turns.take(MAX_CALLS) {
        let start = Instant::now();
        std::hint::black_box(ask(question));
        let end = Instant::now();
        durations.push(nanos(end - start));
        if end >= until {
            break;
        }
    }
    durations.sort_unstable();
    let at = |percent: usize| durations.get(durations.len() * percent / 100).copied().unwrap_or(0);
    Times { calls: durations.len(), p50_ns: at(50), p99_ns: at(99) }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn page(report: &Report) -> String {
    let time = |ns: u64| units::duration(Duration::from_nanos(ns));
    let mut page = format!("{} {}, {}\n\n", report.name, report.version, units::bytes(report.size));
    let steps = [
        ("compile", report.compile_ns, "once for a version; the gateway keeps the code on disk"),
        ("load", report.load_ns, "from the kept code"),
        ("instance", report.instance_ns, "made and configured"),
    ];
    for (step, ns, what) in steps {
        let _ = writeln!(page, "{step:11} {:>9}  {what}", time(ns));
    }
    let memory = units::bytes(report.memory_bytes as u64);
    let _ = writeln!(page, "memory      {memory:>9}  of one instance after these calls");
    for hook in &report.hooks {
        let _ = writeln!(page, "\n{}, {} question(s)", hook.hook.as_str(), hook.questions);
        for (what, times) in [("warm", &hook.warm), ("fresh", &hook.fresh)] {
            let (p50, p99) = (time(times.p50_ns), time(times.p99_ns));
            let _ = writeln!(page, "  {what:11}p50 {p50:>9}  p99 {p99:>9}  of {} calls", times.calls);
        }
        let Instructions { median, most } = hook.instructions;
        let _ = writeln!(page, "  instructions {median}, at most {most}");
    }
    if cfg!(debug_assertions) {
        page.push_str("\nThis is a debug build of tidegate: its own part of a call takes longer than in a release.\n");
    }
    page
}
