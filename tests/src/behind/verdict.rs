//! What clients were told of the writes of one row, beside what its shard did with it.

use std::fmt;

/// What a client was told of the writes of one row. Their values rise.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Told {
    /// 202: it is to be applied.
    pub acknowledged: Vec<i64>,
    /// No answer, or one that says that nobody knows: it may be applied.
    pub unknown: Vec<i64>,
    /// An error that says that nothing was written.
    pub refused: Vec<i64>,
}

/// What the shard did with a row: the transaction and the value, in its order. Values that were coalesced do not appear.
pub type Applied = [(u64, i64)];

/// What is wrong. All zero: nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Faults {
    /// Rows without their last acknowledged write.
    pub lost: u64,
    /// Values that more than one transaction applied.
    pub doubled: u64,
    /// Values that were applied after a later one.
    pub reordered: u64,
    /// Values that were refused, or that nobody sent.
    pub invented: u64,
}

impl Faults {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn none(&self) -> bool {
        *self == Self::default()
    }
}

impl std::ops::AddAssign for Faults {
    fn add_assign(&mut self, other: Self) {
        self.lost += other.lost;
        self.doubled += other.doubled;
        self.reordered += other.reordered;
        self.invented += other.invented;
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { lost, doubled, reordered, invented } = self;
        write!(f, "{lost} lost, {doubled} doubled, {reordered} reordered, {invented} applied though refused")
    }
}

/// Compares them; `stored` is the value that the row has in the end.
#[must_use]
pub fn judge(told: &Told, applied: &Applied, stored: Option<i64>) -> Faults {
    let mut faults = Faults::default();
    let last = told.acknowledged.iter().max().copied();
    faults.lost += u64::from(stored < last);
    let may_be = |value: &i64| [&told.acknowledged, &told.unknown].iter().any(|of| of.binary_search(value).is_ok());
    faults.invented += u64::from(stored.is_some_and(|value| !may_be(&value)));
    // A statement may look at a value more than once; a transaction applies it once.
    let mut by_value: Vec<(i64, u64)> = applied.iter().map(|(xid, value)| (*value, *xid)).collect();
    by_value.sort_unstable();
    by_value.dedup();
    faults.doubled += by_value.windows(2).filter(|pair| pair[0].0 == pair[1].0).count() as u64;
    let mut highest = i64::MIN;
    for (_, value) in applied {
        faults.reordered += u64::from(*value < highest);
        highest = highest.max(*value);
        faults.invented += u64::from(!may_be(value));
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told() -> Told {
        Told { acknowledged: vec![1, 2, 4, 5], unknown: vec![3, 6], refused: vec![7] }
    }

    #[test]
    fn what_is_right_is_taken_for_right() {
        for (applied, stored) in [
            // One by one, coalesced, looked at twice by one transaction, with and without what is unknown.
            (vec![(1, 1), (2, 2), (3, 3), (4, 4), (5, 5)], 5),
            (vec![(9, 5)], 5),
            (vec![(1, 2), (1, 2), (2, 5), (2, 5)], 5),
            (vec![(1, 5), (2, 6)], 6),
        ] {
            assert_eq!(judge(&told(), &applied, Some(stored)), Faults::default(), "{applied:?}");
        }
        assert!(judge(&Told { unknown: vec![1], ..Told::default() }, &[], None).none());
    }

    #[test]
    fn each_fault_is_told() {
        let lost = Faults { lost: 1, ..Faults::default() };
        assert_eq!(judge(&told(), &[(1, 1), (2, 4)], Some(4)), lost);
        assert_eq!(judge(&told(), &[], None), lost);
        let doubled = Faults { doubled: 1, ..Faults::default() };
        assert_eq!(judge(&told(), &[(1, 4), (2, 5), (3, 5)], Some(5)), doubled);
        let reordered = Faults { reordered: 1, ..Faults::default() };
        assert_eq!(judge(&told(), &[(1, 2), (2, 1), (3, 5)], Some(5)), reordered);
        let invented = judge(&told(), &[(1, 5), (2, 7)], Some(7));
        assert_eq!(invented, Faults { invented: 2, ..Faults::default() }, "applied, and stored");
        // An older value that comes back is both.
        let again = judge(&told(), &[(1, 4), (2, 5), (3, 4)], Some(4));
        assert_eq!(again, Faults { lost: 1, doubled: 1, reordered: 1, invented: 0 });
    }
}
