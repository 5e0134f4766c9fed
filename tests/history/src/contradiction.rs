//! Why a history has no explanation.

use std::{fmt, time::Duration};

use crate::{Span, Value};

/// Why no order of the operations explains what was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Contradiction {
    /// A value that nobody wrote, or whose write was aborted.
    NeverWritten(Value),
    /// The read had ended when the write began.
    ReadBeforeWritten(Value),
    /// Two writes of one value: the checker needs them apart.
    WrittenTwice(Value),
    /// Both must be the value at one time, or one comes and goes while the other must be it.
    Overlap(Period, Period),
    /// No order of what went before lets this operation happen within its span.
    NoPlaceFor(String, Span),
    /// More than 64 operations of one key at one time: not decided.
    TooConcurrent(Duration),
}

/// The time in which a register must have held a value, or (first after last) in which it did at some moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Period {
    /// The value.
    pub value: Value,
    /// The earliest end among its write and its reads.
    pub first_end: Duration,
    /// The latest start among them.
    pub last_start: Duration,
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { value, first_end, last_start } = self;
        write!(f, "{} (first end {first_end:?}, last start {last_start:?})", Shown(*value))
    }
}

pub(crate) struct Shown(pub(crate) Value);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(value) => write!(f, "value {value}"),
            None => write!(f, "absence"),
        }
    }
}

impl fmt::Display for Contradiction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NeverWritten(value) => write!(f, "{} was read and never written", Shown(*value)),
            Self::ReadBeforeWritten(value) => write!(f, "{} was read before it was written", Shown(*value)),
            Self::WrittenTwice(value) => write!(f, "{} was written twice", Shown(*value)),
            Self::Overlap(one, other) => write!(f, "{one} and {other} exclude each other"),
            Self::NoPlaceFor(what, span) => write!(f, "{what} has no place in {span:?}"),
            Self::TooConcurrent(at) => write!(f, "more than 64 operations at {at:?}: not decided"),
        }
    }
}

impl std::error::Error for Contradiction {}
