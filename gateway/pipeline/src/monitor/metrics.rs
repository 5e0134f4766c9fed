//! Metrics of the monitor.

use std::sync::Arc;

use parking_lot::Mutex;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{counter::Counter, family::Family, gauge::ConstGauge},
    registry::Registry,
};

/// Rows that are followed.
pub const SAMPLES: (&str, &str) = (
    "tidegate_consistency_samples",
    "Changed rows, a few of all, that are compared with what is kept of them, by who told of the change",
);
/// Changed rows compared with what the cache would serve.
pub const CHECKS: (&str, &str) = (
    "tidegate_consistency_checks",
    "Looks at what a tier would serve of a changed row, by tier, by time since the change and by outcome",
);
/// The part of them that were the same.
pub const FRACTION: (&str, &str) = (
    "tidegate_consistency_fraction",
    "Of the latest 128 comparisons, the fraction in which the tier would have served what the shard had",
);

/// Comparisons that the fraction is of.
const LATEST: u32 = u128::BITS;

/// Who told of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// A write through this gateway.
    Write,
    /// The change feed that this gateway reads.
    Feed,
    /// Another gateway.
    Gateway,
}

/// Where an answer may be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tier {
    /// In this process.
    L1,
    /// In the tier that gateways share.
    L2,
}

impl Tier {
    const ALL: [Self; 2] = [Self::L1, Self::L2];

    /// The label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::L1 => "l1",
            Self::L2 => "l2",
        }
    }
}

/// What came of a look at a tier. In the order of what counts where a row may be kept for several tenants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Checked {
    /// It has nothing.
    Absent,
    /// What it has may not be served.
    Refused,
    /// It would serve what the shard has.
    Consistent,
    /// The row changed meanwhile, or the shard did not answer.
    Unsure,
    /// It would serve something older.
    Stale,
}

impl Checked {
    const ALL: [Self; 5] = [Self::Absent, Self::Refused, Self::Consistent, Self::Unsure, Self::Stale];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Refused => "refused",
            Self::Consistent => "consistent",
            Self::Unsure => "unsure",
            Self::Stale => "stale",
        }
    }
}

/// How long after the change, as the label `after` has it.
const AFTER: [&str; 3] = ["1s", "10s", "1m"];

/// By tier, and by how long after the change.
type Each<T> = [[T; AFTER.len()]; Tier::ALL.len()];

/// Handles, resolved once.
#[derive(Debug, Clone)]
pub struct Metrics {
    samples: [Counter; 3],
    checks: Each<[Counter; Checked::ALL.len()]>,
    latest: Arc<Each<Mutex<Latest>>>,
}

impl Metrics {
    /// Registers everything.
    pub fn register(registry: &mut Registry) -> Self {
        let samples = Family::<[(&'static str, &'static str); 1], Counter>::default();
        registry.register(SAMPLES.0, SAMPLES.1, samples.clone());
        let samples = ["write", "feed", "gateway"].map(|source| samples.get_or_create_owned(&[("source", source)]));
        let checks = Family::<[(&'static str, &'static str); 3], Counter>::default();
        registry.register(CHECKS.0, CHECKS.1, checks.clone());
        let counter = |tier: Tier, after, seen: Checked| {
            checks.get_or_create_owned(&[("tier", tier.as_str()), ("after", after), ("outcome", seen.as_str())])
        };
        let checks = Tier::ALL.map(|tier| AFTER.map(|after| Checked::ALL.map(|seen| counter(tier, after, seen))));
        let latest = Arc::<Each<Mutex<Latest>>>::default();
        registry.register_collector(Box::new(Fractions(latest.clone())));
        Self { samples, checks, latest }
    }

    pub(super) fn followed(&self, source: Source) {
        self.samples[source as usize].inc();
    }

    pub(super) fn checked(&self, tier: Tier, after: usize, seen: Checked) {
        let (tier, at) = (tier as usize, seen as usize);
        self.checks[tier][after][at].inc();
        match seen {
            Checked::Consistent | Checked::Stale => self.latest[tier][after].lock().add(seen),
            Checked::Absent | Checked::Refused | Checked::Unsure => {}
        }
    }
}

/// How the latest comparisons came out.
#[derive(Debug, Default)]
struct Latest {
    /// One bit each, the newest lowest; set where it was consistent.
    bits: u128,
    count: u32,
}

impl Latest {
    fn add(&mut self, seen: Checked) {
        self.bits = self.bits << 1 | u128::from(seen == Checked::Consistent);
        self.count = (self.count + 1).min(LATEST);
    }

    /// `None` before the first.
    fn fraction(&self) -> Option<f64> {
        (self.count > 0).then(|| f64::from(self.bits.count_ones()) / f64::from(self.count))
    }
}

/// The fractions, read when metrics are scraped. There is none where nothing was compared yet.
#[derive(Debug)]
struct Fractions(Arc<Each<Mutex<Latest>>>);

impl Collector for Fractions {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let gauge = ConstGauge::new(0.0);
        let mut metric = encoder.encode_descriptor(FRACTION.0, FRACTION.1, None, gauge.metric_type())?;
        for (tier, of_tier) in Tier::ALL.into_iter().zip(&*self.0) {
            for (after, latest) in AFTER.into_iter().zip(of_tier) {
                let Some(fraction) = latest.lock().fraction() else { continue };
                let labels = [("tier", tier.as_str()), ("after", after)];
                ConstGauge::new(fraction).encode(metric.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fraction_is_of_the_latest_comparisons_of_each_tier_and_time() {
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        let text = || {
            let mut text = String::new();
            prometheus_client::encoding::text::encode(&mut text, &registry).expect("encodes");
            text.lines().filter(|line| line.starts_with(FRACTION.0)).map(str::to_owned).collect::<Vec<_>>()
        };
        metrics.checked(Tier::L2, 1, Checked::Absent);
        metrics.checked(Tier::L2, 1, Checked::Unsure);
        assert_eq!(text(), Vec::<String>::new(), "nothing was compared");
        metrics.checked(Tier::L1, 0, Checked::Stale);
        (0..3).for_each(|_| metrics.checked(Tier::L1, 0, Checked::Consistent));
        metrics.checked(Tier::L2, 2, Checked::Stale);
        let series = |tier, after, value| format!("{}{{tier=\"{tier}\",after=\"{after}\"}} {value}", FRACTION.0);
        assert_eq!(text(), [series("l1", "1s", "0.75"), series("l2", "1m", "0.0")]);
        (0..LATEST).for_each(|_| metrics.checked(Tier::L1, 0, Checked::Consistent));
        assert_eq!(text()[0], series("l1", "1s", "1.0"), "the stale one was long ago");
    }
}
