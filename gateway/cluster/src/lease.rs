//! The lease of one shard: what to do when, without doing it. No I/O, no clock of its own.
//!
//! # Why it is right
//! - It is counted from before a renewal is *sent*. The row says that the member lives from when the renewal was
//!   executed, which is later, so a writer waits longer than the member serves.
//! - A renewal that comes too late is still a renewal, as long as the row was not fenced: no writer went on
//!   without the member, so what it holds is right. Only a row that is gone or fenced means joining again.
//! - It ends [`Terms::margin`] early: clocks of two machines do not run at quite the same speed.

use std::time::Duration;

use crate::clock::Moment;

/// How long and how often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// What a renewal is good for.
    pub lease: Duration,
    /// How much earlier the holder stops: more than two machines' clocks drift apart in a lease.
    pub margin: Duration,
    /// From one renewal to the next.
    pub renew_every: Duration,
    /// How long one order to the database may take.
    pub patience: Duration,
    /// How long a writer waits for acknowledgements, fencing included, before it gives up.
    pub deadline: Duration,
}

impl Terms {
    /// The terms of a lease of this length.
    #[must_use]
    pub fn of(lease: Duration) -> Self {
        Self { lease, margin: lease / 10, renew_every: lease / 4, patience: lease, deadline: lease * 3 }
    }
}

/// What to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Join (again), and tell [`Lease::joined`] or [`Lease::failed`].
    Join,
    /// Renew, and tell [`Lease::renewed`], [`Lease::gone`] or [`Lease::failed`].
    Renew,
    /// Nothing before this moment.
    Wait(Moment),
}

/// One shard's lease.
#[derive(Debug, Clone)]
pub struct Lease {
    terms: Terms,
    state: State,
    /// Orders to the database that failed in a row.
    failures: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Not a member.
    Out { try_at: Moment },
    /// An order to join is under way, sent then.
    Joining { sent: Moment },
    /// A member.
    In { until: Moment, renew_at: Moment },
    /// A member whose renewal is under way, sent then.
    Renewing { until: Moment, sent: Moment },
}

impl Lease {
    /// Of a process that has not joined.
    #[must_use]
    pub fn new(terms: Terms) -> Self {
        Self { terms, state: State::Out { try_at: Moment::START }, failures: 0 }
    }

    /// When the lease ends; [`Moment::START`] without one.
    #[must_use]
    pub fn until(&self) -> Moment {
        match self.state {
            State::Out { .. } | State::Joining { .. } => Moment::START,
            State::In { until, .. } | State::Renewing { until, .. } => until,
        }
    }

    /// What to do now. An order counts as sent when it is given.
    pub fn next(&mut self, now: Moment) -> Step {
        match self.state {
            State::Out { try_at } if now >= try_at => {
                self.state = State::Joining { sent: now };
                Step::Join
            }
            State::Out { try_at } => Step::Wait(try_at),
            State::In { until, renew_at } if now >= renew_at => {
                self.state = State::Renewing { until, sent: now };
                Step::Renew
            }
            State::In { renew_at, .. } => Step::Wait(renew_at),
            // The order before this one has not been answered.
            State::Joining { sent } | State::Renewing { sent, .. } => Step::Wait(sent.after(self.terms.patience)),
        }
    }

    /// The process has joined, and what it kept is void.
    pub fn joined(&mut self) {
        if let State::Joining { sent } = self.state {
            self.hold(sent, Moment::START);
        }
    }

    /// The row was there and is renewed.
    pub fn renewed(&mut self) {
        if let State::Renewing { until, sent } = self.state {
            self.hold(sent, until);
        }
    }

    fn hold(&mut self, sent: Moment, until: Moment) {
        let Terms { lease, margin, renew_every, .. } = self.terms;
        let until = until.max(sent.after(lease.saturating_sub(margin)));
        self.state = State::In { until, renew_at: sent.after(renew_every) };
        self.failures = 0;
    }

    /// The row is fenced or gone, or the database is not the one that was joined at: join again, at once.
    pub fn gone(&mut self, now: Moment) {
        self.state = State::Out { try_at: now };
    }

    /// The order was not carried out, or nobody knows. A join is tried again a little later each time; a lease
    /// is renewed again soon, and runs on meanwhile.
    pub fn failed(&mut self, now: Moment) {
        self.failures = self.failures.saturating_add(1);
        let pause = self.terms.renew_every / 4;
        self.state = match self.state {
            State::Renewing { until, .. } => State::In { until, renew_at: now.after(pause) },
            State::Joining { .. } => State::Out { try_at: now.after(pause * (1 << self.failures.min(5))) },
            other => other,
        };
    }
}

#[cfg(test)]
mod tests;
