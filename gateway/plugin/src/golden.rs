//! `tidegate plugin test`: golden vectors.

use std::{fmt::Write as _, io::Write, path::Path};

use tidegate_policy::question::{Answer, Question};

use crate::{
    Outcome,
    args::TestArgs,
    diff,
    error::PluginError,
    load::{self, Policy},
    project,
    vectors::{Case, Set, Vectors},
};

/// A policy that was configured for one set.
pub trait Asked {
    /// Its answer.
    fn ask(&mut self, question: &Question) -> Answer;

    /// What it or the gateway said about a last answer that was none.
    fn why(&self) -> Option<String>;
}

/// Configures the policy under test for a set; `Err` is why it refuses.
pub type Configure<'a> = dyn FnMut(&Set) -> Result<Box<dyn Asked>, String> + 'a;

/// What became of some cases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// As expected.
    pub passed: usize,
    /// Otherwise.
    pub failed: usize,
}

/// Runs the command.
///
/// # Errors
/// The policy or the vectors cannot be used.
pub fn run(args: &TestArgs, out: &mut dyn Write) -> Result<Outcome, PluginError> {
    let file = project::artifact(&args.policy)?;
    let policy = Policy::read(&file)?;
    let mut tally = Tally::default();
    for file in project::vectors(&args.vectors, &file)? {
        let vectors = Vectors::read(&file)?;
        let mut configure = |set: &Set| load::asked(&policy, set);
        check(&vectors, &title(&file), &mut configure, &mut tally, out)?;
    }
    write!(out, "{}", summary(tally))?;
    Ok(if tally.failed == 0 { Outcome::Done } else { Outcome::FoundProblems })
}

fn title(file: &Path) -> String {
    file.file_name().map_or_else(|| file.display().to_string(), |name| name.to_string_lossy().into_owned())
}

fn cases(n: usize) -> String {
    format!("{n} case{}", if n == 1 { "" } else { "s" })
}

fn summary(tally: Tally) -> String {
    match tally {
        Tally { passed, failed: 0 } => format!("{} passed\n", cases(passed)),
        Tally { passed, failed } => format!("{} failed, {passed} passed\n", cases(failed)),
    }
}

/// Puts every case to the policy, and tells those that fail.
///
/// # Errors
/// The output cannot be written.
pub fn check(
    vectors: &Vectors,
    file: &str,
    configure: &mut Configure<'_>,
    tally: &mut Tally,
    out: &mut dyn Write,
) -> Result<(), PluginError> {
    for (position, set) in vectors.sets.iter().enumerate() {
        let title = format!("{file}, {}", set.title(position));
        match (configure(set), &set.refused) {
            (Err(reason), Some(expected)) if reason.contains(expected.as_str()) => tally.passed += 1,
            (Err(reason), Some(expected)) => {
                tally.failed += 1;
                writeln!(
                    out,
                    "FAILED {title}: configured\n  expected  a refusal with {expected:?}\n  refused   {reason}"
                )?;
            }
            (Err(reason), None) => {
                tally.failed += set.cases.len();
                writeln!(out, "FAILED {title}: none of its {} can be asked\n  {reason}", cases(set.cases.len()))?;
            }
            (Ok(_), Some(expected)) => {
                tally.failed += 1;
                writeln!(
                    out,
                    "FAILED {title}: configured\n  expected  a refusal with {expected:?}\n  it was accepted"
                )?;
            }
            (Ok(mut policy), None) => ask_all(&set.cases, &title, policy.as_mut(), tally, out)?,
        }
    }
    Ok(())
}

fn ask_all(
    cases: &[Case],
    title: &str,
    policy: &mut dyn Asked,
    tally: &mut Tally,
    out: &mut dyn Write,
) -> Result<(), PluginError> {
    for (position, case) in cases.iter().enumerate() {
        let answer = policy.ask(&case.ask);
        if answer == case.expect {
            tally.passed += 1;
            continue;
        }
        tally.failed += 1;
        let mut told = format!("FAILED {title}, {}\n", case.title(position));
        let _ = writeln!(told, "  asked     {}", diff::compact(&case.ask));
        told.push_str(&diff::describe(("expected", &case.expect), ("answered", &answer)));
        if let Some(why) = policy.why() {
            let _ = writeln!(told, "  because   {why}");
        }
        out.write_all(told.as_bytes())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers every question alike.
    struct Stubborn(Answer);

    impl Asked for Stubborn {
        fn ask(&mut self, _: &Question) -> Answer {
            self.0.clone()
        }
        fn why(&self) -> Option<String> {
            matches!(self.0, Answer::Refused { .. }).then(|| "no rule fits".to_owned())
        }
    }

    fn told(vectors: &str, configured: Result<Answer, &str>) -> (Tally, String) {
        let vectors = Vectors::parse(vectors).expect("vectors");
        let mut configure = |_: &Set| match &configured {
            Ok(answer) => Ok(Box::new(Stubborn(answer.clone())) as Box<dyn Asked>),
            Err(reason) => Err((*reason).to_owned()),
        };
        let (mut tally, mut out) = (Tally::default(), Vec::new());
        check(&vectors, "v.json", &mut configure, &mut tally, &mut out).expect("written");
        (tally, String::from_utf8(out).expect("text"))
    }

    const CASES: &str = r#"{"sets":[{"about":"two shards","shards":["a","b"],"cases":[
        {"ask":{"hook":"route","inputs":{"shard-key":"1"}},"expect":{"shards":["a"]}},
        {"name":"a list","ask":{"hook":"route"},"expect":{"all":true}}]}]}"#;

    #[test]
    fn a_case_that_fails_is_told_with_its_place_question_and_both_answers() {
        let (tally, text) = told(CASES, Ok(Answer::Shards { shards: vec!["a".into()] }));
        assert_eq!(tally, Tally { passed: 1, failed: 1 });
        assert_eq!(
            text,
            "FAILED v.json, set 1 (two shards), case 2 (a list)\n  asked     {\"hook\":\"route\",\"op\":\"read\"}\n  \
             expected  {\"all\":true}\n  answered  {\"shards\":[\"a\"]}\n"
        );
        assert_eq!(summary(tally), "1 case failed, 1 passed\n");
    }

    #[test]
    fn a_refused_answer_is_told_with_its_reason() {
        let (_, text) = told(CASES, Ok(Answer::Refused { error: "no-match".into() }));
        assert!(text.ends_with("  answered  {\"error\":\"no-match\"}\n  because   no rule fits\n"), "{text}");
    }

    #[test]
    fn a_set_whose_configuration_is_refused_fails_with_all_its_cases() {
        let (tally, text) = told(CASES, Err("buckets is 0"));
        assert_eq!(tally, Tally { passed: 0, failed: 2 });
        assert_eq!(text, "FAILED v.json, set 1 (two shards): none of its 2 cases can be asked\n  buckets is 0\n");
    }

    #[test]
    fn a_refusal_can_be_what_is_expected() {
        const REFUSED: &str = r#"{"sets":[{"refused":"buckets"}]}"#;
        assert_eq!(told(REFUSED, Err("its buckets are 0")), (Tally { passed: 1, failed: 0 }, String::new()));
        let (tally, text) = told(REFUSED, Err("trap"));
        assert_eq!((tally.failed, text.contains("a refusal with \"buckets\"\n  refused   trap")), (1, true), "{text}");
        let (tally, text) = told(REFUSED, Ok(Answer::AllShards { all: true }));
        assert_eq!((tally.failed, text.ends_with("it was accepted\n")), (1, true), "{text}");
    }

    #[test]
    fn the_summary_counts() {
        assert_eq!(summary(Tally { passed: 12, failed: 0 }), "12 cases passed\n");
        assert_eq!(summary(Tally { passed: 1, failed: 0 }), "1 case passed\n");
    }
}
