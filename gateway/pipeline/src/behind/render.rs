//! What a write makes of a row.

use tidegate_store::values::{ImagePlan, Sent};
use tidegate_types::{
    answer::RowChange,
    key::RowKey,
    mutation::Image,
    problem::{Problem, ProblemKind},
    request::{IfMatch, IfNoneMatch, Missing, Resolution, ReturnPreference, RowsBody, WriteAction, WriteRequest},
};

/// The row as it is, as far as somebody looked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Base {
    /// Nobody did: what the write makes of it is the same either way.
    Unknown,
    /// There is none.
    Gone,
    /// This one, a JSON object of every column.
    Row(bytes::Bytes),
}

/// What becomes of the row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// This.
    Changed { image: Image, change: RowChange },
    /// Nothing, and the answer names no row: there is none to change, or one that stays as it is.
    Nothing,
}

/// A write of one row.
#[derive(Debug, Clone, Copy)]
pub(super) struct Single<'a> {
    pub(super) key: &'a RowKey,
    what: What<'a>,
}

#[derive(Debug, Clone, Copy)]
enum What<'a> {
    Insert { body: &'a RowsBody, resolution: Resolution, missing: Missing },
    Put(&'a RowsBody),
    Patch(&'a RowsBody),
    Delete,
}

impl<'a> Single<'a> {
    /// The row that a write names, if it is one.
    pub(super) fn of(action: &'a WriteAction) -> Option<Self> {
        match action {
            WriteAction::Insert { body, resolution, missing } => match (&body.keys[..], body.rows) {
                ([Some(key)], 1) => {
                    let what = What::Insert { body, resolution: *resolution, missing: *missing };
                    Some(Self { key, what })
                }
                _ => None,
            },
            WriteAction::Put { key, body } => Some(Self { key, what: What::Put(body) }),
            WriteAction::Patch { key, body } => Some(Self { key, what: What::Patch(body) }),
            WriteAction::Delete { key } => Some(Self { key, what: What::Delete }),
            WriteAction::PatchWhere { .. } | WriteAction::DeleteWhere { .. } => None,
        }
    }

    /// Whether the row must be looked at first.
    pub(super) fn needs_base(&self, write: &WriteRequest) -> bool {
        let asked = write.if_match != IfMatch::Absent
            || write.if_none_match != IfNoneMatch::Absent
            // What is answered then is told apart by whether there was a row.
            || !write.wait.is_zero();
        asked
            || match self.what {
                What::Insert { .. } | What::Patch(_) => true,
                What::Put(_) => false,
                What::Delete => write.returning == ReturnPreference::Representation,
            }
    }

    /// What the write makes of the row.
    ///
    /// # Errors
    /// Values that the database would refuse, as it would; a row that exists already.
    pub(super) fn outcome(&self, plan: &ImagePlan, base: &Base) -> Result<Outcome, Problem> {
        let change = if *base == Base::Gone { RowChange::Inserted } else { RowChange::Updated };
        let changed = |image| Ok(Outcome::Changed { image, change });
        match (self.what, base) {
            (What::Delete, Base::Gone) | (What::Patch(_), Base::Gone | Base::Unknown) => Ok(Outcome::Nothing),
            (What::Delete, _) => Ok(Outcome::Changed { image: Image::Gone, change: RowChange::Deleted }),
            (What::Patch(body), Base::Row(row)) => changed(plan.patch(row, &sent(body, Missing::Null)?)?),
            (What::Put(body), _) => changed(plan.put(self.key, &sent(body, Missing::Null)?)?),
            (What::Insert { body, resolution, missing }, Base::Row(row)) => match resolution {
                Resolution::Fail => Err(duplicate(self.key)),
                Resolution::IgnoreDuplicates => Ok(Outcome::Nothing),
                Resolution::MergeDuplicates => changed(plan.patch(row, &sent(body, missing)?)?),
            },
            (What::Insert { body, missing, .. }, _) => changed(plan.insert(self.key, &sent(body, missing)?)?),
        }
    }
}

/// The one row of a body.
fn sent(body: &RowsBody, missing: Missing) -> Result<Sent<'_>, Problem> {
    let rows = Sent::rows(body, missing)?;
    rows.into_iter().next().ok_or_else(|| Problem::new(ProblemKind::BadRequest, "PGRST102", "Empty or invalid json"))
}

/// As PostgreSQL says it.
fn duplicate(key: &RowKey) -> Problem {
    let message = "duplicate key value violates the unique constraint of the primary key";
    Problem::new(ProblemKind::Conflict, "23505", message).details(format!("Key ({key}) already exists."))
}
