//! Is a record of concurrent reads and writes of one register linearizable? Every write has a value
//! of its own, so it can be decided by the zones of Gibbons and Korach (1997).
//!
//! The *zone* of a value spans from the earliest end to the latest start among its write and the
//! reads that returned it. Where the first lies before the second (a *forward* zone) the register
//! must have held the value all that time; so forward zones exclude each other, and no value may
//! come and go (a *backward* zone) inside the forward zone of another.

use std::{
    collections::HashMap,
    fmt,
    time::{Duration, Instant},
};

/// When an operation began and ended, as its client saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Before the request was sent.
    pub start: Duration,
    /// After the answer had come; `None` if none came: it may still happen, at any time.
    pub end: Option<Duration>,
}

/// One operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// Wrote a value that nobody else writes.
    Write(u64),
    /// Read a value.
    Read(u64),
}

/// What happened to one key.
#[derive(Debug, Clone, Default)]
pub struct History {
    events: Vec<(Operation, Span)>,
}

#[derive(Clone, Copy)]
struct Zone {
    value: u64,
    first_end: Duration,
    last_start: Duration,
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { value, first_end, last_start } = self;
        write!(f, "value {value} (first end {first_end:?}, last start {last_start:?})")
    }
}

impl History {
    /// A register that holds `value` from the beginning.
    #[must_use]
    pub fn starting_with(value: u64) -> Self {
        let before = Span { start: Duration::ZERO, end: Some(Duration::ZERO) };
        Self { events: vec![(Operation::Write(value), before)] }
    }

    /// Adds an operation. Times must be later than the beginning.
    pub fn add(&mut self, operation: Operation, span: Span) {
        self.events.push((operation, span));
    }

    /// How many operations there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// Checks it.
    ///
    /// # Errors
    /// The first contradiction found, in words.
    pub fn check(&self) -> Result<(), String> {
        let mut zones = self.zones()?;
        zones.sort_by_key(|zone| zone.first_end.min(zone.last_start));
        let is_forward = |zone: &Zone| zone.first_end < zone.last_start;
        let mut last: Option<Zone> = None;
        for zone in zones.iter().filter(|zone| is_forward(zone)) {
            if let Some(last) = last.filter(|last| zone.first_end < last.last_start) {
                return Err(format!("{last} and {zone} must both be the value at one time"));
            }
            last = Some(*zone);
        }
        for inner in zones.iter().filter(|zone| !is_forward(zone)) {
            let around = zones
                .iter()
                .filter(|zone| is_forward(zone))
                .find(|outer| outer.first_end < inner.last_start && inner.first_end < outer.last_start);
            if let Some(outer) = around {
                return Err(format!("{inner} comes and goes while {outer} must be the value"));
            }
        }
        Ok(())
    }

    fn zones(&self) -> Result<Vec<Zone>, String> {
        let forever = Duration::MAX;
        let mut zones: HashMap<u64, Zone> = HashMap::new();
        let mut written: HashMap<u64, Span> = HashMap::new();
        for (operation, span) in &self.events {
            if let Operation::Write(value) = operation {
                let zone = Zone { value: *value, first_end: span.end.unwrap_or(forever), last_start: span.start };
                zones.insert(*value, zone);
                written.insert(*value, *span);
            }
        }
        let mut read = Vec::new();
        for (operation, span) in &self.events {
            let Operation::Read(value) = operation else { continue };
            let zone = zones.get_mut(value).ok_or(format!("{value} was read and never written"))?;
            let end = span.end.unwrap_or(forever);
            if end < written[value].start {
                return Err(format!("{value} was read before it was written"));
            }
            zone.first_end = zone.first_end.min(end);
            zone.last_start = zone.last_start.max(span.start);
            read.push(*value);
        }
        // A write without an answer that nobody saw may not have happened.
        zones.retain(|value, _| written[value].end.is_some() || read.contains(value));
        Ok(zones.into_values().collect())
    }
}

/// Takes the times of operations against a common beginning.
#[derive(Debug, Clone, Copy)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Begins now.
    #[must_use]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// The time since, never zero.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.0.elapsed() + Duration::from_nanos(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(start: u64, end: u64) -> Span {
        Span { start: Duration::from_micros(start), end: Some(Duration::from_micros(end)) }
    }

    /// Tries every order that respects real time.
    fn brute_force(history: &History) -> bool {
        fn go(rest: &[(Operation, Span)], value: Option<u64>) -> bool {
            // Writes without an answer may be left out.
            if rest.iter().all(|(operation, span)| matches!(operation, Operation::Write(_)) && span.end.is_none()) {
                return true;
            }
            let first_end = rest.iter().map(|(_, span)| span.end.unwrap_or(Duration::MAX)).min();
            (0..rest.len()).any(|i| {
                let (operation, span) = &rest[i];
                if first_end.is_some_and(|end| span.start > end) {
                    return false;
                }
                let mut others = rest.to_vec();
                others.remove(i);
                match operation {
                    Operation::Write(new) => go(&others, Some(*new)),
                    Operation::Read(seen) => value == Some(*seen) && go(&others, value),
                }
            })
        }
        go(&history.events, None)
    }

    #[test]
    fn a_stale_read_is_found() {
        let mut history = History::starting_with(0);
        history.add(Operation::Write(1), at(10, 20));
        history.add(Operation::Read(1), at(21, 22));
        assert_eq!(history.check(), Ok(()));
        history.add(Operation::Read(0), at(23, 24));
        assert!(history.check().is_err());
    }

    #[test]
    fn values_from_nowhere_and_from_the_future_are_found() {
        let mut history = History::starting_with(0);
        history.add(Operation::Read(7), at(1, 2));
        assert!(history.check().is_err());
        let mut history = History::starting_with(0);
        history.add(Operation::Read(7), at(1, 2));
        history.add(Operation::Write(7), at(5, 6));
        assert!(history.check().is_err());
    }

    #[test]
    fn the_verdict_is_that_of_trying_every_order() {
        let mut random = fastrand::Rng::with_seed(2026);
        let (mut good, mut bad) = (0, 0);
        for _ in 0..4000 {
            let mut history = History::starting_with(0);
            let writes = random.u64(1..4);
            let mut times: Vec<u64> = (1..=24).collect();
            random.shuffle(&mut times);
            for i in 0..random.u64(3..8) {
                let (a, b) = (times.pop().unwrap(), times.pop().unwrap());
                let mut span = at(a.min(b), a.max(b));
                let operation = if i < writes {
                    if random.u8(0..4) == 0 {
                        span.end = None;
                    }
                    Operation::Write(i + 1)
                } else {
                    Operation::Read(random.u64(0..=writes))
                };
                history.add(operation, span);
            }
            let expected = brute_force(&history);
            assert_eq!(history.check().is_ok(), expected, "{history:?} {:?}", history.check());
            if expected { good += 1 } else { bad += 1 }
        }
        assert!(good > 300 && bad > 300, "{good} good, {bad} bad");
    }
}
