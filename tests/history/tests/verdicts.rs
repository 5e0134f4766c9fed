//! The checker's verdicts: on histories that are wrong in a known way, on big ones, and against trying every order
//! on thousands of small random ones.

use std::time::{Duration, Instant};

use tidegate_history::{Contradiction, Histories, History, Operation, Span, Value};

fn at(start: u64, end: u64) -> Span {
    Span { start: Duration::from_micros(start), end: Some(Duration::from_micros(end)) }
}

fn from(start: u64) -> Span {
    Span { start: Duration::from_micros(start), end: None }
}

fn write(value: u64) -> Operation {
    Operation::Write(Some(value))
}

fn read(value: u64) -> Operation {
    Operation::Read(Some(value))
}

const DELETE: Operation = Operation::Write(None);
const ABSENT: Operation = Operation::Read(None);

fn history(initial: Value, events: &[(Operation, Span)]) -> History {
    let mut history = History::starting_with(initial);
    for (operation, span) in events {
        history.add(*operation, *span);
    }
    history
}

/// Both ways to the same verdict.
fn verdict(initial: Value, events: &[(Operation, Span)]) -> Result<(), Contradiction> {
    let history = history(initial, events);
    let verdict = history.check();
    assert_eq!(verdict.is_ok(), history.check_by_sweep().is_ok(), "{events:?}");
    verdict
}

#[test]
fn a_stale_read_is_found() {
    let good = [(write(1), at(10, 20)), (read(1), at(21, 22))];
    assert_eq!(verdict(Some(0), &good), Ok(()));
    let stale = [good[0], good[1], (read(0), at(23, 24))];
    assert!(verdict(Some(0), &stale).is_err());
    let while_written = [(write(1), at(10, 20)), (read(0), at(11, 12)), (read(1), at(13, 14)), (read(0), at(15, 16))];
    assert!(verdict(Some(0), &while_written).is_err(), "seen once, it must stay");
    assert_eq!(verdict(Some(0), &while_written[..3]), Ok(()));
}

#[test]
fn a_lost_update_is_found() {
    let lost = [(write(1), at(1, 2)), (write(2), at(3, 4)), (read(1), at(5, 6))];
    assert!(verdict(Some(0), &lost).is_err());
    let concurrent = [(write(1), at(1, 4)), (write(2), at(3, 5)), (read(1), at(6, 7))];
    assert_eq!(verdict(Some(0), &concurrent), Ok(()), "either may be the last");
    let both = [concurrent[0], concurrent[1], concurrent[2], (read(2), at(8, 9))];
    assert!(verdict(Some(0), &both).is_err(), "not both");
}

#[test]
fn a_read_of_an_aborted_write_is_found() {
    // The client was told that 1 was aborted, so it is not recorded.
    assert_eq!(verdict(Some(0), &[(read(1), at(3, 4))]), Err(Contradiction::NeverWritten(Some(1))));
    assert_eq!(
        verdict(Some(0), &[(read(7), at(1, 2)), (write(7), at(5, 6))]),
        Err(Contradiction::ReadBeforeWritten(Some(7)))
    );
}

#[test]
fn a_value_that_comes_back_is_found() {
    let back = [(write(1), at(1, 2)), (write(2), at(3, 4)), (read(2), at(5, 6)), (read(1), at(7, 8))];
    assert!(verdict(Some(0), &back).is_err());
    let deleted = [(write(1), at(1, 2)), (DELETE, at(3, 4)), (ABSENT, at(5, 6)), (read(1), at(7, 8))];
    assert!(verdict(Some(0), &deleted).is_err(), "resurrected");
    assert!(verdict(None, &deleted).is_err(), "resurrected, with two absences");
}

#[test]
fn an_unknown_outcome_counts_only_if_it_was_read() {
    assert_eq!(verdict(Some(0), &[(write(1), from(1)), (read(0), at(50, 60))]), Ok(()));
    assert_eq!(verdict(Some(0), &[(write(1), from(1)), (read(1), at(50, 60)), (read(1), at(70, 80))]), Ok(()));
    let back = [(write(1), from(1)), (read(1), at(50, 60)), (read(0), at(70, 80))];
    assert!(verdict(Some(0), &back).is_err());
    let late = [(write(1), from(1)), (write(2), at(2, 3)), (read(2), at(4, 5)), (read(1), at(70, 80))];
    assert_eq!(verdict(Some(0), &late), Ok(()), "it took effect long after its client was gone");
}

#[test]
fn absences_are_told_apart_by_time() {
    let gone_twice =
        [(DELETE, at(1, 2)), (write(1), at(3, 4)), (read(1), at(5, 6)), (DELETE, at(7, 8)), (ABSENT, at(9, 10))];
    assert_eq!(verdict(Some(0), &gone_twice), Ok(()));
    let stale_absence = [(DELETE, at(1, 2)), (write(1), at(3, 4)), (ABSENT, at(5, 6)), (DELETE, at(7, 8))];
    assert!(verdict(Some(0), &stale_absence).is_err());
    let unseen = [(DELETE, at(1, 2)), (write(1), at(3, 4)), (DELETE, at(5, 6)), (read(1), at(7, 8))];
    assert!(verdict(Some(0), &unseen).is_err(), "a delete that nobody saw still happened");
    let maybe = [(DELETE, from(1)), (ABSENT, at(50, 60)), (write(1), at(61, 62)), (ABSENT, at(63, 64))];
    assert!(verdict(Some(0), &maybe).is_err(), "one delete of unknown outcome cannot happen twice");
    assert_eq!(verdict(Some(0), &maybe[..3]), Ok(()));
}

#[test]
fn keys_do_not_matter_to_each_other() {
    let mut histories = Histories::starting_with(0);
    histories.add("a", write(1), at(1, 2));
    histories.add("b", read(0), at(3, 4));
    assert_eq!(histories.check(), Ok(()));
    histories.add("a", read(0), at(5, 6));
    assert!(histories.check().is_err_and(|why| why.starts_with("key a")));
    assert_eq!((histories.operations(), histories.violations().len()), (3, 1));
}

/// Tries every order that respects real time.
fn tries_every_order(initial: Value, events: &[(Operation, Span)]) -> bool {
    let end = |span: &Span| span.end.unwrap_or(Duration::MAX);
    // Writes without an answer may be left out.
    if events.iter().all(|(operation, span)| matches!(operation, Operation::Write(_)) && span.end.is_none()) {
        return true;
    }
    let first_end = events.iter().map(|(_, span)| end(span)).min();
    (0..events.len()).any(|i| {
        let (operation, span) = &events[i];
        if first_end.is_some_and(|end| span.start > end) {
            return false;
        }
        let mut others = events.to_vec();
        others.remove(i);
        match operation {
            Operation::Write(new) => tries_every_order(*new, &others),
            Operation::Read(seen) => initial == *seen && tries_every_order(initial, &others),
        }
    })
}

#[derive(Clone, Copy, PartialEq)]
enum Deletes {
    None,
    Some,
}

fn random_history(random: &mut fastrand::Rng, deletes: Deletes) -> (Value, Vec<(Operation, Span)>) {
    let mut times: Vec<u64> = (1..=24).collect();
    random.shuffle(&mut times);
    let initial = if deletes == Deletes::Some && random.bool() { None } else { Some(0) };
    let writes = random.u64(1..5);
    let absent = |random: &mut fastrand::Rng| deletes == Deletes::Some && random.u8(0..3) == 0;
    let mut events = Vec::new();
    for i in 0..random.u64(3..9) {
        let (Some(a), Some(b)) = (times.pop(), times.pop()) else { break };
        let mut span = at(a.min(b), a.max(b));
        let operation = if i < writes {
            if random.u8(0..4) == 0 {
                span.end = None;
            }
            if absent(random) { DELETE } else { write(i + 1) }
        } else if absent(random) {
            ABSENT
        } else {
            read(random.u64(u64::from(initial.is_none())..=writes))
        };
        events.push((operation, span));
    }
    (initial, events)
}

fn compare_with_every_order(deletes: Deletes, seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    let (mut good, mut bad) = (0, 0);
    for _ in 0..10_000 {
        let (initial, events) = random_history(&mut random, deletes);
        let expected = tries_every_order(initial, &events);
        let history = history(initial, &events);
        assert_eq!(history.check().is_ok(), expected, "{initial:?} {events:?} {:?}", history.check());
        assert_eq!(history.check_by_sweep().is_ok(), expected, "{initial:?} {events:?}");
        if expected { good += 1 } else { bad += 1 }
    }
    assert!(good > 1_000 && bad > 1_000, "{good} good, {bad} bad");
}

#[test]
fn the_verdict_is_that_of_trying_every_order() {
    compare_with_every_order(Deletes::None, 2026);
}

#[test]
fn the_verdict_is_that_of_trying_every_order_with_deletes() {
    compare_with_every_order(Deletes::Some, 2027);
}

/// A correct history: a register that clients use at random, with answers that come late.
fn long_history(operations: u64, deletes: Deletes) -> History {
    let mut random = fastrand::Rng::with_seed(7);
    let (mut value, mut history) = (Some(0), History::starting_with(0));
    for i in 1..=operations {
        let moment = i * 10;
        let span = at(moment - random.u64(0..60).min(moment - 1), moment + random.u64(0..60));
        let operation = match random.u8(0..10) {
            0..5 => Operation::Read(value),
            5 if deletes == Deletes::Some => Operation::Write(None),
            _ => write(i),
        };
        if let Operation::Write(new) = operation {
            value = new;
        }
        history.add(operation, span);
    }
    history
}

#[test]
fn big_histories_take_near_linear_time() {
    for (deletes, operations) in [(Deletes::None, 300_000), (Deletes::Some, 100_000)] {
        let history = long_history(operations, deletes);
        let start = Instant::now();
        assert_eq!(history.check(), Ok(()));
        let taken = start.elapsed();
        assert!(taken < Duration::from_secs(20), "{operations} operations took {taken:?}");
        let mut wrong = history.clone();
        let late = operations * 10 + 1_000;
        wrong.add(write(operations + 1), at(late, late + 1));
        wrong.add(read(operations + 1), at(late + 2, late + 3));
        wrong.add(ABSENT, at(late + 4, late + 5));
        assert!(wrong.check().is_err(), "the last read of many");
    }
}
