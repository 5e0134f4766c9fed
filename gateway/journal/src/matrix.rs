//! The crash matrix: every place where a process can end between taking a record and forgetting it, times the ways in
//! which it can end, by seeds. What must hold: whatever was acknowledged is there when the journal is opened again, in
//! order and once; nothing that was refused is; what is there at one opening is there at the next.

mod world;

use std::{fmt, ops::Range};

use fastrand::Rng;

pub use self::world::{Deed, Loss, MAX_BYTES, SEGMENT_BYTES, Seen, World};
use crate::simulated::{Fault, Operation};

/// Where a process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Point {
    /// Before anything of a record is written.
    BeforeAppend,
    /// When a part of the records is written.
    MidRecord,
    /// When they are written, before the sync.
    BeforeSync,
    /// When they are durable, before anybody knows.
    AfterSync,
    /// When they are acknowledged.
    AfterAcknowledgement,
    /// When a segment is to be removed, or was, and that is not durable.
    Removal,
    /// While a segment begins.
    Rotation,
    /// The file system becomes full, for a while; then the process ends.
    NoSpace,
    /// A sync fails.
    SyncFails,
    /// A write fails.
    WriteFails,
    /// At any order to the disk.
    Anywhere,
}

impl Point {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::BeforeAppend,
        Self::MidRecord,
        Self::BeforeSync,
        Self::AfterSync,
        Self::AfterAcknowledgement,
        Self::Removal,
        Self::Rotation,
        Self::NoSpace,
        Self::SyncFails,
        Self::WriteFails,
        Self::Anywhere,
    ];

    /// What makes the process end there, sooner or later.
    fn arm(self, rng: &mut Rng) -> Deed {
        let nth = rng.u64(1..6);
        let moments = [Fault::CrashBefore, Fault::CrashDuring, Fault::CrashAfter];
        let moment = moments[rng.usize(0..3)];
        let (operation, nth, fault) = match self {
            Self::BeforeAppend => (Operation::Write, nth, Fault::CrashBefore),
            Self::MidRecord => (Operation::Write, nth, Fault::CrashDuring),
            Self::BeforeSync => (Operation::Sync, nth, Fault::CrashBefore),
            Self::AfterSync => (Operation::Sync, nth, Fault::CrashAfter),
            Self::AfterAcknowledgement => return Deed::Step,
            Self::Removal => (Operation::Remove, 1, moment),
            Self::Rotation => {
                let orders = [Operation::Create, Operation::Rename, Operation::SyncDirectory];
                (orders[rng.usize(0..3)], rng.u64(1..3), moment)
            }
            Self::NoSpace if rng.bool() => return Deed::Room { bytes: rng.u64(0..2 * SEGMENT_BYTES) },
            Self::NoSpace => {
                let orders = [Operation::Write, Operation::Create, Operation::Rename, Operation::Remove];
                (orders[rng.usize(0..4)], 1, Fault::NoSpace)
            }
            Self::SyncFails => (Operation::Sync, nth, Fault::DeviceFails),
            Self::WriteFails => (Operation::Write, nth, Fault::DeviceFails),
            Self::Anywhere => return Deed::CrashAt { nth: rng.u64(1..40) },
        };
        Deed::Fail { operation, nth, fault }
    }

    /// Whether arming it ends the process.
    fn is_deadly(self) -> bool {
        !matches!(self, Self::AfterAcknowledgement | Self::NoSpace)
    }
}

/// What the journal did wrong, and how to see it again.
#[derive(Debug, thiserror::Error)]
#[error("{point:?}, {loss:?}, seed {seed}: {what}")]
pub struct Violation {
    /// Where the process ended.
    pub point: Point,
    /// How.
    pub loss: Loss,
    /// Of the run.
    pub seed: u64,
    /// In words.
    pub what: String,
}

/// What many runs came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Runs.
    pub runs: u64,
    /// Runs that came to their point.
    pub reached: u64,
    /// In all of them.
    pub seen: Seen,
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Seen { acknowledged, refused, recovered, unasked, opened, torn, crashes, starved, removed } = self.seen;
        write!(
            f,
            "{} runs, {} came to their point: {acknowledged} records acknowledged, {refused} refused, {recovered} \
             recovered ({unasked} of them not acknowledged); {opened} openings, {torn} of a torn log; {crashes} crashes, \
             {starved} times no space, {removed} segments removed; 0 lost, 0 doubled, 0 reordered",
            self.runs, self.reached,
        )
    }
}

/// The whole matrix, once per seed.
///
/// # Errors
/// The first [`Violation`].
pub fn run(seeds: Range<u64>) -> Result<Totals, Violation> {
    let mut totals = Totals::default();
    for seed in seeds {
        for point in Point::ALL {
            for loss in Loss::ALL {
                run_one(point, loss, seed, &mut totals)?;
            }
        }
    }
    Ok(totals)
}

/// One field of the matrix.
///
/// # Errors
/// [`Violation`].
pub fn run_one(point: Point, loss: Loss, seed: u64, totals: &mut Totals) -> Result<(), Violation> {
    let violation = |what| Violation { point, loss, seed, what };
    let mut world = World::new(seed).map_err(violation)?;
    let reached = lives(&mut world, point, loss, seed).map_err(violation)?;
    totals.runs += 1;
    totals.reached += u64::from(reached);
    totals.seen += world.seen();
    Ok(())
}

/// A life that ends at the point, one after it, and a look at what is left. Says whether the first came to its point.
fn lives(world: &mut World, point: Point, loss: Loss, seed: u64) -> Result<bool, String> {
    let mut rng = Rng::with_seed(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ point as u64);
    for _ in 0..rng.u32(0..60) {
        world.act(traffic(&mut rng))?;
    }
    let starved = world.seen().starved;
    world.act(point.arm(&mut rng))?;
    for _ in 0..200 {
        if world.is_over() {
            break;
        }
        world.act(traffic(&mut rng))?;
    }
    let reached = match point {
        Point::NoSpace => world.seen().starved > starved,
        _ => world.is_over() == point.is_deadly(),
    };
    if point == Point::NoSpace && rng.bool() {
        // Space returns, and with it everything that waited.
        world.act(Deed::Mend)?;
        world.act(Deed::Step)?;
    }
    let again = rng.bool().then(|| rng.u64(1..12));
    world.act(Deed::Restart { loss, again })?;
    world.act(Deed::Mend)?;
    for _ in 0..rng.u32(0..40) {
        world.act(traffic(&mut rng))?;
    }
    // What the last life found must be as durable as what it wrote.
    world.act(Deed::Restart { loss: Loss::Power, again: None })?;
    world.act(Deed::Restart { loss: Loss::Kill, again: None })?;
    Ok(reached)
}

/// What happens to a journal all day.
fn traffic(rng: &mut Rng) -> Deed {
    match rng.u8(0..20) {
        0..12 => Deed::Append { bytes: payload_bytes(rng) },
        12..18 => Deed::Step,
        _ => Deed::Release { keep: rng.u64(0..12) },
    }
}

fn payload_bytes(rng: &mut Rng) -> usize {
    match rng.u8(0..20) {
        0 => 0,
        // More than a record may have.
        1 => 2500,
        2..5 => rng.usize(0..1800),
        _ => rng.usize(0..300),
    }
}
