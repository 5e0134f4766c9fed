//! Write-behind on real processes for as long as you like: the gateway is killed again and again, a shard is down for a
//! long time, all of them are, rows are refused by the database. Then what clients were told is compared with what the
//! shards did.
//!
//! # Layout
//! - `writers`: clients, and what they were told
//! - `phases`: what goes wrong
//! - `verdict`: the comparison

mod phases;
mod verdict;
mod writers;

use std::{fmt, time::Duration};

pub use phases::Stage;
pub use verdict::{Applied, Faults, Told, judge};

/// How much of it.
#[derive(Debug, Clone, Copy)]
pub struct Effort {
    /// Kills of the gateway, under load.
    pub kills: u64,
    /// How long a shard is down; a tenth of it all of them are.
    pub outage: Duration,
    /// Writes in a second while shards are down, and while rows are refused.
    pub rate: u32,
    /// Decides when the gateway is killed.
    pub seed: u64,
}

/// What one phase came to.
#[derive(Debug, Clone, Default)]
pub struct Phase {
    /// Its name.
    pub name: &'static str,
    /// Writes that were acknowledged.
    pub acknowledged: u64,
    /// Writes that were refused: nothing was written.
    pub refused: u64,
    /// Writes of unknown outcome.
    pub unknown: u64,
    /// Rows that were written.
    pub rows: u64,
    /// Values that shards applied; the others were coalesced.
    pub applied: u64,
    /// Writes that the database refused, all of them among the dead letters.
    pub letters: u64,
    /// The most that waited for shards at once, as far as it was looked at.
    pub deepest: u64,
    /// From when the shards could take it until nothing waited.
    pub drained: Duration,
    /// What is wrong.
    pub faults: Faults,
    /// Poison rows that are no dead letters, and dead letters that are no poison.
    pub misjudged: u64,
}

/// What all of them came to.
#[derive(Debug, Clone, Default)]
pub struct Totals(pub Vec<Phase>);

impl Phase {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn right(&self) -> bool {
        self.faults.none() && self.misjudged == 0
    }
}

impl Totals {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn right(&self) -> bool {
        self.0.iter().all(Phase::right)
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {} acknowledged writes of {} rows, {} refused, {} of unknown outcome; {} values applied, {} dead \
             letters ({} misjudged); at most {} waited, gone after {:.1} s: {}",
            self.name,
            self.acknowledged,
            self.rows,
            self.refused,
            self.unknown,
            self.applied,
            self.letters,
            self.misjudged,
            self.deepest,
            self.drained.as_secs_f64(),
            self.faults
        )
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut faults = Faults::default();
        for phase in &self.0 {
            writeln!(f, "{phase}")?;
            faults += phase.faults;
        }
        let acknowledged: u64 = self.0.iter().map(|phase| phase.acknowledged).sum();
        write!(f, "{acknowledged} acknowledged writes: {faults}")
    }
}

/// Runs every phase on a world of its own.
///
/// # Panics
/// Where a server or the gateway does not start, or what waits does not become less for a minute.
pub async fn run(effort: Effort) -> Totals {
    let mut stage = Stage::build(effort).await;
    let mut totals = Totals::default();
    for phase in [
        stage.kills(effort.kills).await,
        stage.outage("a shard down", &[0], effort.outage).await,
        stage.outage("all shards down", &[0, 1], effort.outage / 10).await,
        stage.poison().await,
    ] {
        totals.0.push(phase);
    }
    totals
}
