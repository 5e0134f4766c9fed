//! What was done and found.

use std::{collections::BTreeMap, fmt};

use tidegate_history::{
    Histories, Operation,
    bounded::{BoundedHistory, Writer},
};

use super::{BOUND, Place, Scene, clients::Record};

/// What was done and found.
#[derive(Debug, Clone, Default)]
pub struct Totals {
    /// Reads and writes of strict rows that were checked.
    pub strict: u64,
    /// Reads and writes of bounded rows that were checked, those made past the gateways among them.
    pub bounded: u64,
    /// Changes that were made past the gateways.
    pub outside: u64,
    /// Reads that were served from a cache.
    pub hits: u64,
    /// Rows that gateways took from what they share.
    pub shared_hits: u64,
    /// Writes whose outcome nobody knows.
    pub unknown: u64,
    /// Writes that were refused: certainly not made.
    pub refused: u64,
    /// Reads without a row: no answer in time, or a refusal.
    pub unread: u64,
    /// What refusals said, by code.
    pub codes: BTreeMap<String, u64>,
    /// What went wrong, by kind.
    pub faults: BTreeMap<&'static str, u64>,
    /// What no order of the operations explains, and reads of what was over, by row.
    pub violations: Vec<String>,
}

impl Totals {
    /// Reads and writes that were checked.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.strict + self.bounded
    }

    /// How often this went wrong.
    #[must_use]
    pub fn fault(&self, kind: &str) -> u64 {
        self.faults.get(kind).copied().unwrap_or(0)
    }

    pub(super) fn count(&mut self, fault: &'static str) {
        *self.faults.entry(fault).or_insert(0) += 1;
    }

    /// Adds what another one counted.
    pub(super) fn add(&mut self, other: Self) {
        self.shared_hits += other.shared_hits;
        for (kind, count) in other.faults {
            *self.faults.entry(kind).or_insert(0) += count;
        }
    }

    pub(super) fn judge(&mut self, scene: &Scene, records: Vec<Record>) {
        let mut strict = Histories::starting_with(0);
        let mut bounded: BTreeMap<i64, BoundedHistory> = BTreeMap::new();
        for record in records {
            self.hits += record.hits;
            self.unknown += record.unknown;
            self.refused += record.refused;
            self.unread += record.unread;
            for (code, count) in record.codes {
                *self.codes.entry(code).or_insert(0) += count;
            }
            for (row, writer, operation, span) in record.events {
                let row = scene.rows[row];
                if row.place == Place::Products {
                    strict.add(row.id, operation, span);
                    continue;
                }
                self.outside += u64::from(writer == Writer::Outside);
                let history = bounded.entry(row.id).or_insert_with(|| BoundedHistory::starting_with(0, BOUND));
                match operation {
                    Operation::Write(value) => history.wrote(writer, value, span),
                    Operation::Read(value) => history.read(value, span),
                }
            }
        }
        self.strict = strict.operations() as u64;
        self.bounded = bounded.values().map(|history| history.len() as u64).sum();
        self.violations.extend(strict.violations().iter().map(|(id, why)| format!("products {id}: {why}")));
        let wrong = bounded.iter().filter_map(|(id, history)| Some((id, history.check().err()?)));
        self.violations.extend(wrong.map(|(id, why)| format!("ledger {id}: {why}")));
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for violation in &self.violations {
            writeln!(f, "VIOLATION {violation}")?;
        }
        let (operations, all) = (self.operations(), self.faults.values().sum::<u64>());
        writeln!(f, "{operations} operations checked: {} strict, {} bounded", self.strict, self.bounded)?;
        writeln!(f, "  {} of them changes made past the gateways", self.outside)?;
        writeln!(f, "{} reads were hits; gateways took {} rows from Redis", self.hits, self.shared_hits)?;
        let Self { unknown, refused, unread, .. } = self;
        writeln!(f, "{unknown} writes of unknown outcome, {refused} refused, {unread} reads without an answer")?;
        writeln!(f, "refusals by code: {:?}", self.codes)?;
        writeln!(f, "{all} faults: {:?}", self.faults)?;
        write!(f, "{} violations", self.violations.len())
    }
}
