//! PostgreSQL transaction ids and snapshots, in their 64-bit form (`xid8`, no wraparound).

use smallvec::SmallVec;

/// A 64-bit transaction id (`xid8`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Xid(pub u64);

/// What `pg_current_snapshot()` returned in the statement that also read the row.
/// Only meaningful on a primary: on standbys `xip` is empty (`xid8funcs.c`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Every transaction below is finished.
    pub xmin: Xid,
    /// Every transaction at or above is invisible.
    pub xmax: Xid,
    /// Transactions between that were still running, ascending.
    pub xip: SmallVec<[Xid; 2]>,
}

/// Text that is not a `pg_snapshot`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a pg_snapshot: \"{0}\"")]
pub struct SnapshotError(pub String);

impl Snapshot {
    /// Parses PostgreSQL's text form `xmin:xmax:xip,xip,...`.
    ///
    /// # Errors
    /// Text of another form, or with `xip` out of order or out of range.
    pub fn parse(text: &str) -> Result<Self, SnapshotError> {
        let wrong = || SnapshotError(text.chars().take(128).collect());
        let number = |s: &str| s.parse::<u64>().map(Xid).map_err(|_| wrong());
        let mut parts = text.splitn(3, ':');
        let mut next = || parts.next().ok_or_else(wrong);
        let (xmin, xmax, list) = (number(next()?)?, number(next()?)?, next()?);
        let mut xip = SmallVec::new();
        for item in list.split(',').filter(|s| !s.is_empty()) {
            let xid = number(item)?;
            if xid < xmin || xid >= xmax || xip.last().is_some_and(|last| *last >= xid) {
                return Err(wrong());
            }
            xip.push(xid);
        }
        if xmin > xmax { Err(wrong()) } else { Ok(Self { xmin, xmax, xip }) }
    }

    /// Whether `xid` had finished when the snapshot was taken: the rule's "sees".
    #[must_use]
    pub fn sees(&self, xid: Xid) -> bool {
        xid < self.xmin || (xid < self.xmax && self.xip.binary_search(&xid).is_err())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sees_what_had_finished_and_nothing_else() {
        let s = Snapshot::parse("10:20:12,15").expect("valid");
        for (xid, seen) in [(9, true), (10, true), (12, false), (13, true), (15, false), (19, true), (20, false)] {
            assert_eq!(s.sees(Xid(xid)), seen, "xid {xid}");
        }
    }

    #[test]
    fn malformed_text_is_refused() {
        for bad in ["", "1", "1:2", "2:1:", "1:5:9", "1:9:4,3", "1:9:x", "a:b:c"] {
            assert!(Snapshot::parse(bad).is_err(), "{bad}");
        }
        assert!(Snapshot::parse("7:7:").is_ok());
    }
}
