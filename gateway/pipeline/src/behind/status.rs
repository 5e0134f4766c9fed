//! What became of a write, for whoever has its token.

use std::sync::Arc;

use tidegate_store::flush::LetterState;
use tidegate_types::{
    answer::{WriteFate, WriteStatus},
    mutation::Sequence,
    problem::Problem,
};

use super::{Behind, lane::Lane};
use crate::gateway::Shared;

/// What became of the write that this token names; `None` if it names none.
///
/// # Errors
/// Its shard cannot be asked.
pub(crate) async fn status(shared: &Shared, token: &str) -> Result<Option<WriteStatus>, Problem> {
    let Some(behind) = shared.behind.get() else { return Ok(None) };
    let Some(named) = behind.0.tokens.read(token) else { return Ok(None) };
    // A journal that was moved away begins again.
    if named.sequence > behind.0.journal.last() {
        return Ok(None);
    }
    let Some(lane) = behind.0.lanes.iter().find(|lane| named.is_of(&lane.name)) else { return Ok(None) };
    let fate = fate(shared, behind, lane, named.sequence).await?;
    Ok(Some(WriteStatus { sequence: named.sequence, fate }))
}

/// What became of a write of this lane.
pub(super) async fn fate(
    shared: &Shared,
    behind: &Behind,
    lane: &Arc<Lane>,
    sequence: Sequence,
) -> Result<WriteFate, Problem> {
    if *lane.applied.borrow() < sequence {
        return Ok(WriteFate::Pending);
    }
    // Dead letters are parked rows: without any, there is none.
    if lane.parked_rows() == 0 {
        return Ok(WriteFate::Applied);
    }
    let before = Sequence(sequence.0.saturating_sub(1));
    let letters = shared.store.dead_letters(lane.shard, behind.0.number, 1, before).await;
    let letters = letters.map_err(|error| error.into_problem())?;
    Ok(match letters.into_iter().find(|letter| letter.sequence == sequence).map(|letter| letter.state) {
        None => WriteFate::Applied,
        Some(LetterState::Dead(reason)) => {
            WriteFate::Failed { code: reason.sqlstate.into(), reason: reason.message.into() }
        }
        Some(LetterState::Parked) => WriteFate::Failed {
            code: tidegate_types::problem::codes::ROW_PARKED.into(),
            reason: "A write of the same row before it was refused by the database".into(),
        },
    })
}
