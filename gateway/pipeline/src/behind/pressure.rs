//! When writes are slowed down, written through, or refused.

use std::time::Duration;

/// Where the first writes are turned away.
const SLOW: f64 = 0.7;
/// From here on they are written through, where their shard answers.
const NEAR: f64 = 0.85;
/// The largest share of writes that is turned away before that.
const MOST_TURNED_AWAY: f64 = 0.5;

/// How full everything is that fills: each from 0 to 1, where 1 is full.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Levels {
    /// The journal on the disk.
    pub(super) journal: f64,
    /// Rows in memory.
    pub(super) dirty: f64,
    /// Age of the oldest of them: twice what is configured is full.
    pub(super) age: f64,
}

/// What becomes of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pressure {
    /// It is taken.
    Take,
    /// It is turned away: 429.
    Slow,
    /// It is written through.
    Through,
    /// It is refused: 503.
    Full,
}

/// Whether the shard answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answering {
    Yes,
    No,
}

impl Levels {
    pub(super) fn age_of(oldest: Option<Duration>, most: Duration) -> f64 {
        oldest.map_or(0.0, |oldest| oldest.as_secs_f64() / (2.0 * most.as_secs_f64()))
    }

    /// `lot` is drawn evenly from 0 to 1.
    pub(super) fn judge(self, shard: Answering, lot: f64) -> Pressure {
        let level = self.journal.max(self.dirty).max(self.age);
        // Beyond the first mark a growing share is turned away: those who come again later make room for the others.
        let share = ((level - SLOW) / (NEAR - SLOW)).clamp(0.0, 1.0) * MOST_TURNED_AWAY;
        match shard {
            // Also where it is full: it goes past what is full.
            Answering::Yes if level >= NEAR => Pressure::Through,
            _ if level >= 1.0 => Pressure::Full,
            _ if lot < share => Pressure::Slow,
            _ => Pressure::Take,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(level: f64, shard: Answering, lot: f64) -> Pressure {
        Levels { journal: 0.0, dirty: level, age: 0.1 }.judge(shard, lot)
    }

    #[test]
    fn a_growing_share_is_turned_away_then_written_through_then_refused() {
        use Answering::{No, Yes};
        assert_eq!(judge(0.69, No, 0.0), Pressure::Take);
        assert_eq!((judge(0.75, No, 0.1), judge(0.75, No, 0.4)), (Pressure::Slow, Pressure::Take));
        assert_eq!((judge(0.84, Yes, 0.4), judge(0.84, Yes, 0.6)), (Pressure::Slow, Pressure::Take));
        assert_eq!((judge(0.85, Yes, 0.0), judge(1.0, Yes, 0.9)), (Pressure::Through, Pressure::Through));
        assert_eq!((judge(0.9, No, 0.4), judge(0.9, No, 0.6)), (Pressure::Slow, Pressure::Take));
        assert_eq!(judge(1.0, No, 0.9), Pressure::Full);
    }

    #[test]
    fn the_fullest_counts_and_twice_the_age_is_full() {
        let age = |seconds| Levels::age_of(Some(Duration::from_secs(seconds)), Duration::from_secs(60));
        let levels = |age| Levels { journal: 0.2, dirty: 0.1, age };
        assert_eq!(levels(age(30)).judge(Answering::No, 0.0), Pressure::Take);
        assert_eq!(levels(age(120)).judge(Answering::No, 0.9), Pressure::Full);
        assert!(Levels::age_of(None, Duration::from_secs(60)).abs() < f64::EPSILON);
    }
}
