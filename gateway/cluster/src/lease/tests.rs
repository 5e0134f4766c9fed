//! The machine alone, and the machine against a table that answers late, twice or never, with writers that fence.

use proptest::prelude::*;

use super::*;

const LEASE: Duration = Duration::from_millis(1000);

fn at(ms: u64) -> Moment {
    Moment::START.after(Duration::from_millis(ms))
}

fn held_since(ms: u64) -> Lease {
    let mut lease = Lease::new(Terms::of(LEASE));
    assert_eq!(lease.next(at(ms)), Step::Join);
    lease.joined();
    lease
}

#[test]
fn it_counts_from_before_the_order_and_ends_early() {
    let lease = held_since(5000);
    assert_eq!(lease.until(), at(5900));
}

#[test]
fn it_renews_in_time_and_counts_from_the_sending_again() {
    let mut lease = held_since(5000);
    assert_eq!(lease.next(at(5100)), Step::Wait(at(5250)));
    assert_eq!(lease.next(at(5250)), Step::Renew);
    // The answer takes long: what counts is when it was sent.
    assert_eq!(lease.next(at(5800)), Step::Wait(at(6250)));
    lease.renewed();
    assert_eq!(lease.until(), at(6150));
}

#[test]
fn a_failed_renewal_leaves_the_lease_as_it_is() {
    let mut lease = held_since(5000);
    assert_eq!(lease.next(at(5250)), Step::Renew);
    lease.failed(at(5300));
    assert_eq!(lease.until(), at(5900));
    assert!(matches!(lease.next(at(5300)), Step::Wait(_)));
    assert_eq!(lease.next(at(5400)), Step::Renew);
}

#[test]
fn a_row_that_is_gone_ends_it_at_once() {
    let mut lease = held_since(5000);
    lease.next(at(5250));
    lease.gone(at(5260));
    assert_eq!(lease.until(), Moment::START);
    assert_eq!(lease.next(at(5260)), Step::Join);
}

#[test]
fn joining_is_tried_again_later_and_later_but_not_forever_later() {
    let mut lease = Lease::new(Terms::of(LEASE));
    let (mut now, mut waits) = (at(1000), Vec::new());
    for _ in 0..12 {
        assert_eq!(lease.next(now), Step::Join);
        lease.failed(now);
        let Step::Wait(until) = lease.next(now) else { panic!("no pause") };
        waits.push(until.since(now));
        now = until;
    }
    assert!(waits.is_sorted() && waits[0] < waits[11], "{waits:?}");
    assert!(waits[11] <= LEASE * 2 + LEASE / 4, "{waits:?}");
}

#[test]
fn an_answer_to_nothing_changes_nothing() {
    let mut lease = Lease::new(Terms::of(LEASE));
    lease.renewed();
    lease.joined();
    assert_eq!(lease.until(), Moment::START);
}

/// What happens next.
#[derive(Debug, Clone, Copy)]
enum Event {
    /// Time passes, and the holder looks what to do.
    Pass(u64),
    /// Time passes, and the holder does not run.
    Pause(u64),
    /// The table carries out the order under way.
    Execute,
    /// The holder gets the answer.
    Answer,
    /// The holder gets none.
    Lose,
    /// A writer reads the row.
    Look,
    /// A writer fences the row if it has waited long enough.
    Fence,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (1_u64..200).prop_map(Event::Pass),
        1 => (1_u64..3000).prop_map(Event::Pause),
        4 => Just(Event::Execute),
        4 => Just(Event::Answer),
        1 => Just(Event::Lose),
        2 => Just(Event::Look),
        2 => Just(Event::Fence),
    ]
}

/// The row, an order on its way, and a writer that watches.
#[derive(Debug, Default)]
struct Table {
    incarnation: u64,
    beat: u64,
    fenced: bool,
    order: Option<(Step, Option<Executed>)>,
    /// What the writer saw, and when it first did.
    seen: Option<(u64, u64, Moment)>,
}

#[derive(Debug, Clone, Copy)]
enum Executed {
    Done,
    NoRow,
}

impl Table {
    fn execute(&mut self) {
        let Some((step, executed @ None)) = &mut self.order else { return };
        *executed = Some(match step {
            Step::Join => {
                self.incarnation += 1;
                (self.beat, self.fenced) = (0, false);
                Executed::Done
            }
            _ if self.fenced => Executed::NoRow,
            _ => {
                self.beat += 1;
                Executed::Done
            }
        });
    }

    fn look(&mut self, now: Moment) {
        if self.seen.is_none_or(|(incarnation, beat, _)| (incarnation, beat) != (self.incarnation, self.beat)) {
            self.seen = Some((self.incarnation, self.beat, now));
        }
    }

    fn fence(&mut self, now: Moment) {
        let Some((incarnation, beat, since)) = self.seen else { return };
        if now.since(since) >= LEASE && (incarnation, beat) == (self.incarnation, self.beat) {
            self.fenced = true;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    /// The one thing that matters: whoever is fenced has stopped before.
    #[test]
    fn nobody_is_fenced_while_it_holds(events in prop::collection::vec(event(), 1..120)) {
        let mut lease = Lease::new(Terms::of(LEASE));
        let (mut now, mut table) = (at(1000), Table::default());
        for event in events {
            match event {
                Event::Pass(ms) => {
                    now = now.after(Duration::from_millis(ms));
                    let step = lease.next(now);
                    if !matches!(step, Step::Wait(_)) {
                        prop_assert!(table.order.is_none(), "two orders at once");
                        table.order = Some((step, None));
                    }
                }
                Event::Pause(ms) => now = now.after(Duration::from_millis(ms)),
                Event::Execute => table.execute(),
                Event::Answer => if let Some((step, Some(executed))) = table.order {
                    match (step, executed) {
                        (_, Executed::NoRow) => lease.gone(now),
                        (Step::Join, _) => lease.joined(),
                        _ => lease.renewed(),
                    }
                    table.order = None;
                },
                Event::Lose => if table.order.take().is_some() {
                    lease.failed(now);
                },
                Event::Look => table.look(now),
                Event::Fence => table.fence(now),
            }
            prop_assert!(!(table.fenced && now < lease.until()), "fenced at {now:?}, held until {:?}", lease.until());
        }
    }
}
