//! The verdicts of the bounded checker: on histories that are wrong in a known way, and against looking at every pair
//! of operations on thousands of random ones.

use std::time::Duration;

use tidegate_history::{
    Span, Value,
    bounded::{BoundedHistory, Staleness, Writer},
};

const BOUND: u64 = 100;

fn micros(at: u64) -> Duration {
    Duration::from_micros(at)
}

fn at(start: u64, end: u64) -> Span {
    Span { start: micros(start), end: Some(micros(end)) }
}

fn from(start: u64) -> Span {
    Span { start: micros(start), end: None }
}

#[derive(Debug, Clone, Copy)]
enum Event {
    Told(Value, Span),
    Outside(Value, Span),
    Read(Value, Span),
}
use Event::{Outside, Read, Told};

fn history(initial: Value, events: &[Event]) -> BoundedHistory {
    let mut history = BoundedHistory::starting_with(initial, micros(BOUND));
    for event in events {
        match *event {
            Told(value, span) => history.wrote(Writer::Told, value, span),
            Outside(value, span) => history.wrote(Writer::Outside, value, span),
            Read(value, span) => history.read(value, span),
        }
    }
    history
}

fn verdict(events: &[Event]) -> Result<(), Staleness> {
    history(Some(0), events).check()
}

fn outdated(value: impl Into<Value>, read: Span, over: u64) -> Result<(), Staleness> {
    Err(Staleness::Outdated { value: value.into(), read, over: micros(over) })
}

#[test]
fn a_write_from_outside_may_be_missed_for_the_bound_and_no_longer() {
    let write = Outside(Some(1), at(10, 20));
    assert_eq!(verdict(&[write, Read(Some(0), at(120, 130))]), Ok(()));
    assert_eq!(verdict(&[write, Read(Some(1), at(21, 22)), Read(Some(0), at(90, 95))]), Ok(()), "another reader");
    assert_eq!(verdict(&[write, Read(Some(0), at(121, 130))]), outdated(0, at(121, 130), 120));
    let seen_early = [write, Read(Some(1), at(11, 12)), Read(Some(0), at(113, 114))];
    assert_eq!(verdict(&seen_early), outdated(0, at(113, 114), 112), "it was visible when it was read");
}

#[test]
fn a_write_that_was_told_may_not_be_missed_at_all() {
    let write = Told(Some(1), at(10, 20));
    assert_eq!(verdict(&[write, Read(Some(0), at(20, 30))]), Ok(()), "concurrent");
    assert_eq!(verdict(&[write, Read(Some(0), at(21, 30))]), outdated(0, at(21, 30), 20));
    let unanswered = [Told(Some(1), from(10)), Read(Some(1), at(50, 60)), Read(Some(0), at(61, 62))];
    assert_eq!(verdict(&unanswered), outdated(0, at(61, 62), 60), "seen once, it must stay");
    assert_eq!(verdict(&[unanswered[0], unanswered[2]]), Ok(()), "it need not have happened");
}

#[test]
fn a_write_that_was_told_brings_what_came_from_outside_before_it() {
    let events = [Outside(Some(1), at(10, 20)), Told(Some(2), at(21, 30)), Read(Some(1), at(31, 32))];
    assert_eq!(verdict(&events), outdated(1, at(31, 32), 30));
    assert_eq!(verdict(&[events[0], events[1], Read(Some(0), at(31, 32))]), outdated(0, at(31, 32), 30));
    let overlapping = [Outside(Some(1), at(10, 25)), Told(Some(2), at(21, 30)), Read(Some(1), at(500, 501))];
    assert_eq!(verdict(&overlapping), Ok(()), "either may be the last");
}

#[test]
fn what_nobody_wrote_or_not_yet_is_wrong() {
    assert_eq!(verdict(&[Read(Some(7), at(1, 2))]), Err(Staleness::NeverWritten(Some(7))));
    let early = [Outside(Some(1), at(10, 20)), Read(Some(1), at(5, 9))];
    assert_eq!(verdict(&early), Err(Staleness::ReadBeforeWritten(Some(1), at(5, 9))));
    let twice = [Outside(Some(1), at(10, 20)), Told(Some(1), at(30, 40))];
    assert_eq!(verdict(&twice), Err(Staleness::WrittenTwice(Some(1))));
}

#[test]
fn absences_are_told_apart_by_time() {
    let events = [Outside(None, at(10, 20)), Outside(Some(1), at(30, 40))];
    let with = |more: &[Event]| verdict(&[&events, more].concat());
    assert_eq!(with(&[Read(None, at(140, 141))]), Ok(()));
    assert_eq!(with(&[Read(None, at(141, 142))]), outdated(None, at(141, 142), 140));
    assert_eq!(with(&[Outside(None, at(135, 150)), Read(None, at(141, 142))]), Ok(()), "the next delete");
    assert_eq!(with(&[Read(None, at(5, 6))]), Err(Staleness::ReadBeforeWritten(None, at(5, 6))));
}

/// The rule, pair by pair.
fn is_right(initial: Value, events: &[Event]) -> bool {
    let write = |event: &Event| match *event {
        Told(value, span) => Some((value, span, 0)),
        Outside(value, span) => Some((value, span, BOUND)),
        Read(..) => None,
    };
    let first_read = |value: Value| {
        let ends = events.iter().filter_map(|event| match event {
            Read(seen, span) if *seen == value && value.is_some() => span.end,
            _ => None,
        });
        ends.min()
    };
    let mut writes: Vec<_> = events.iter().filter_map(write).collect();
    writes.push((initial, Span { start: Duration::ZERO, end: Some(Duration::ZERO) }, 0));
    let known = |(value, span, _): &(Value, Span, u64)| span.end.into_iter().chain(first_read(*value)).min();
    events.iter().all(|event| {
        let Read(seen, Span { start, end: Some(end) }) = *event else { return true };
        let of = writes.iter().filter(|(value, span, _)| *value == seen && span.start <= end);
        of.into_iter().any(|mine| {
            !writes.iter().any(|other| {
                known(mine).is_some_and(|mine| mine < other.1.start)
                    && known(other).is_some_and(|known| known + micros(other.2) < start)
            })
        })
    })
}

#[test]
fn random_histories_are_judged_as_pair_by_pair() {
    let mut random = fastrand::Rng::with_seed(11);
    let (mut right, mut wrong) = (0, 0);
    for _ in 0..20_000 {
        let mut events = Vec::new();
        for value in 1..=random.u64(1..6) {
            let start = random.u64(1..400);
            let span = if random.u8(..6) == 0 { from(start) } else { at(start, start + random.u64(1..60)) };
            let written = (random.u8(..4) > 0).then_some(value);
            events.push(if random.bool() { Told(written, span) } else { Outside(written, span) });
        }
        for _ in 0..random.u64(1..8) {
            let start = random.u64(1..600);
            let written = events.iter().filter_map(|event| match event {
                Told(value, span) | Outside(value, span) if span.start < micros(start + 30) => Some(*value),
                _ => None,
            });
            let mut choices: Vec<Value> = written.collect();
            choices.push(Some(0));
            events.push(Read(random.choice(choices).expect("one at least"), at(start, start + random.u64(1..30))));
        }
        random.shuffle(&mut events);
        let expected = is_right(Some(0), &events);
        assert_eq!(history(Some(0), &events).check().is_ok(), expected, "{events:?}");
        *(if expected { &mut right } else { &mut wrong }) += 1;
    }
    assert!(right > 3_000 && wrong > 3_000, "{right} right, {wrong} wrong");
}
