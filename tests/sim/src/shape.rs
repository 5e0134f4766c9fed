//! What a run is like: drawn from its seed, so that every seed is another world.

use std::time::Duration;

use crate::session::Trouble;

/// The world of one run.
#[derive(Debug, Clone, PartialEq)]
pub struct Shape {
    /// How many gateways.
    pub gateways: u8,
    /// How many shards.
    pub shards: usize,
    /// How many keys, over all shards.
    pub keys: u32,
    /// Slots of the floor tables: one makes every key collide.
    pub buckets: usize,
    /// How long a lease is.
    pub lease: Duration,
    /// How long an entry may be served.
    pub ttl: Duration,
    /// Whether gateways share a tier.
    pub shares: bool,
    /// How many clients.
    pub clients: u64,
    /// How many operations they do together.
    pub operations: u64,
    /// The longest time that a client thinks.
    pub think: Duration,
    /// One operation in so many is a write.
    pub writes: u32,
    /// What goes wrong at the databases.
    pub trouble: Trouble,
    /// One message between gateways in so many is lost; 0 for none.
    pub losses: u32,
    /// The longest time between two transactions on other tables, or `None` where there are none.
    pub noise: Option<Duration>,
    /// How often something bad happens to gateways.
    pub disasters: Disasters,
    /// The longest time between two steps of the standbys that are read from, or `None` where nobody reads there.
    pub lag: Option<Duration>,
}

/// The mean time between two of a kind, or `None` where there are none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Disasters {
    /// A gateway stands still for a while.
    pub pauses: Option<Duration>,
    /// A gateway dies and starts again.
    pub crashes: Option<Duration>,
    /// A gateway leaves and joins again.
    pub leaves: Option<Duration>,
    /// Two gateways do not reach each other for a while.
    pub partitions: Option<Duration>,
    /// A standby takes over.
    pub promotions: Option<Duration>,
    /// A primary shows itself otherwise and lives on, and so do connections to it.
    pub shows: Option<Duration>,
}

/// What a run is to be about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Focus {
    /// As the seed says.
    Any,
    /// One gateway, and standbys that take over all the time.
    Alone,
    /// Two or three gateways that pause, leave and join all the time.
    Members,
    /// Two or three gateways, and standbys that take over all the time.
    Promotions,
    /// Gateways that read from standbys that lag.
    Standbys,
    /// Primaries that show themselves otherwise all the time, so that epochs end under connections that live on.
    Epochs,
}

impl Focus {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Any, Self::Alone, Self::Members, Self::Promotions, Self::Standbys, Self::Epochs];
}

impl Shape {
    /// The world of this seed.
    #[must_use]
    pub fn of(seed: u64, focus: Focus) -> Self {
        // Another stream than the one that drives the run.
        let mut random = fastrand::Rng::with_seed(seed ^ 0x5eed_0f5a_11e5_0000);
        let gateways = match focus {
            Focus::Any | Focus::Standbys | Focus::Epochs => random.u8(1..=3),
            Focus::Alone => 1,
            Focus::Members | Focus::Promotions => random.u8(2..=3),
        };
        let lease = Duration::from_millis(random.u64(15..60));
        let disasters = Disasters::of(&mut random, focus, lease);
        let gap = if random.bool() { lease * 2 } else { lease / 8 };
        let mut rate = |often: u32| if random.bool() { often } else { 0 };
        let trouble = Trouble { cuts: rate(50), gaps: rate(3), gap, deferred: rate(25) };
        let losses = rate(15);
        let shares = random.bool();
        Self {
            gateways,
            shards: random.usize(1..=2),
            keys: random.u32(1..=if focus == Focus::Any { 4 } else { 2 }),
            buckets: if random.u8(0..3) == 0 { 1 } else { 1024 },
            lease,
            // Ages of what is shared are taken by the wall clock: no run may depend on it.
            ttl: if random.u8(0..4) == 0 && !shares { lease } else { Duration::from_secs(600) },
            shares,
            clients: random.u64(4..=10),
            operations: random.u64(200..500) * if focus == Focus::Any { 1 } else { 2 },
            think: Duration::from_micros(random.u64(200..6_000)),
            writes: random.u32(2..6),
            trouble,
            losses,
            noise: (focus == Focus::Alone || random.bool())
                .then(|| Duration::from_micros(random.u64(100..if focus == Focus::Alone { 600 } else { 5_000 }))),
            disasters,
            lag: (focus == Focus::Standbys).then(|| Duration::from_micros(random.u64(200..4_000))),
        }
    }
}

impl Disasters {
    fn of(random: &mut fastrand::Rng, focus: Focus, lease: Duration) -> Self {
        let mut sometimes = |mean: Duration| random.bool().then_some(mean);
        let drawn = Self {
            pauses: sometimes(lease * 2),
            crashes: sometimes(lease * 5),
            leaves: sometimes(lease * 3),
            partitions: sometimes(lease * 2),
            promotions: sometimes(lease * 3),
            shows: None,
        };
        match focus {
            Focus::Any => drawn,
            Focus::Members => Self { pauses: Some(lease), leaves: Some(lease), promotions: None, ..drawn },
            Focus::Alone => Self { promotions: Some(lease / 2), ..drawn },
            Focus::Standbys => Self { pauses: Some(lease * 2), leaves: Some(lease), ..drawn },
            Focus::Epochs => Self { shows: Some(lease / 2), ..drawn },
            Focus::Promotions => Self { pauses: Some(lease * 2), promotions: Some(lease * 2), ..drawn },
        }
    }
}
