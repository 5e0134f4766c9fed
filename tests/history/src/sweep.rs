//! A sweep through time over every state that the register may be in (Lowe, 2017: just-in-time
//! linearization). It needs no unique values, so deletes are allowed; its cost grows with how many writes
//! of one key are under way at one time, not with the length of the history.
//!
//! Operations take effect as late as they can: when one ends that has not, every order of the pending writes
//! that lets it is tried. Three facts keep the states few: a read may take effect as soon as its value is there;
//! a write that nobody read may take effect just before any other; deletes of unknown outcome are all alike.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use crate::{
    Span, Value,
    contradiction::{Contradiction, Shown},
    prepare::{Prepared, Timed},
};

/// A state: the value, and which pending operations (by slot) have taken effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct State {
    value: Value,
    done: u64,
}

/// States, each with the fewest deletes of unknown outcome that lead there.
type States = HashMap<State, usize>;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Edge {
    // Before ends of the same time: these count as concurrent.
    Start,
    End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Read,
    Write,
    /// A write that nobody read.
    Silent,
    MaybeDelete,
}

struct Sweep {
    states: States,
    /// Slots of pending operations.
    used: u64,
    reads: Vec<(u64, Value)>,
    writes: Vec<(u64, Value)>,
    silent: u64,
    /// Deletes of unknown outcome that have begun.
    maybe_deletes: usize,
}

pub(crate) fn check(history: &Prepared) -> Result<(), Contradiction> {
    let kind = |write: &Timed| if history.seen.contains(&write.value) { Kind::Write } else { Kind::Silent };
    let mut operations: Vec<(Kind, Timed)> = history.reads.iter().map(|read| (Kind::Read, *read)).collect();
    operations.extend(history.writes.iter().map(|write| (kind(write), *write)));
    let maybe = |start: &Duration| Timed { value: None, start: *start, end: Duration::MAX };
    operations.extend(history.maybe_deletes.iter().map(|start| (Kind::MaybeDelete, maybe(start))));

    let mut edges: Vec<(Duration, Edge, usize)> = Vec::with_capacity(operations.len() * 2);
    for (index, (kind, timed)) in operations.iter().enumerate() {
        edges.push((timed.start, Edge::Start, index));
        if *kind != Kind::MaybeDelete {
            edges.push((timed.end, Edge::End, index));
        }
    }
    edges.sort_unstable();

    let mut slots = vec![0; operations.len()];
    let mut sweep = Sweep::new(history.initial);
    for (at, edge, index) in edges {
        let (kind, timed) = operations[index];
        match edge {
            Edge::Start => slots[index] = sweep.start(kind, timed.value).ok_or(Contradiction::TooConcurrent(at))?,
            Edge::End => {
                sweep.end(kind, slots[index], timed.value);
                if sweep.states.is_empty() {
                    let what = if kind == Kind::Read { "reading" } else { "writing" };
                    let span = Span { start: timed.start, end: Some(timed.end) };
                    return Err(Contradiction::NoPlaceFor(format!("{what} {}", Shown(timed.value)), span));
                }
            }
        }
    }
    Ok(())
}

impl Sweep {
    fn new(initial: Value) -> Self {
        Self {
            states: HashMap::from([(State { value: initial, done: 0 }, 0)]),
            used: 0,
            reads: Vec::new(),
            writes: Vec::new(),
            silent: 0,
            maybe_deletes: 0,
        }
    }

    /// The operation's slot as a bit, or `None` if there is none left.
    fn start(&mut self, kind: Kind, value: Value) -> Option<u64> {
        if kind == Kind::MaybeDelete {
            self.maybe_deletes += 1;
            return Some(0);
        }
        let free = (!self.used).trailing_zeros();
        let bit = 1_u64.checked_shl(free)?;
        self.used |= bit;
        match kind {
            Kind::Silent => self.silent |= bit,
            Kind::Write => self.writes.push((bit, value)),
            _ => {
                self.reads.push((bit, value));
                let mark = |state: State| {
                    if state.value == value { State { done: state.done | bit, ..state } } else { state }
                };
                self.states = self.states.drain().map(|(state, spent)| (mark(state), spent)).collect();
            }
        }
        Some(bit)
    }

    fn end(&mut self, kind: Kind, bit: u64, value: Value) {
        let mut after = States::new();
        let mut open: Vec<(State, usize)> = self.states.drain().collect();
        let mut known: HashSet<(State, usize)> = open.iter().copied().collect();
        while let Some((state, spent)) = open.pop() {
            if state.done & bit != 0 {
                let state = State { done: state.done & !bit, ..state };
                after.entry(state).and_modify(|least| *least = spent.min(*least)).or_insert(spent);
                continue;
            }
            let silent = (kind == Kind::Silent).then_some((bit, value));
            let pending = self.writes.iter().copied().chain(silent).filter(|(slot, _)| state.done & slot == 0);
            let mut next: Vec<(State, usize)> =
                pending.map(|(slot, value)| (self.write(state, slot, value), spent)).collect();
            if spent < self.maybe_deletes && state.value.is_some() {
                next.push((self.write(state, 0, None), spent + 1));
            }
            open.extend(next.into_iter().filter(|state| known.insert(*state)));
        }
        self.states = after;
        self.used &= !bit;
        self.silent &= !bit;
        self.reads.retain(|(slot, _)| *slot != bit);
        self.writes.retain(|(slot, _)| *slot != bit);
    }

    /// After a pending write: what nobody reads happened just before it, what reads its value just after.
    fn write(&self, state: State, slot: u64, value: Value) -> State {
        let read = self.reads.iter().filter(|(_, seen)| *seen == value).fold(0, |bits, (bit, _)| bits | bit);
        State { value, done: state.done | slot | self.silent | read }
    }
}
