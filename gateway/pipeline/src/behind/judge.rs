//! Conditions, judged by the row as it is.

use tidegate_types::{
    answer::ETag,
    problem::{Problem, ProblemKind, codes},
    request::{IfMatch, IfNoneMatch},
};

/// Whether a write may go on. `tag` is that of the row's representation, `None` where there is no row.
pub(super) fn judge(if_match: &IfMatch, if_none_match: IfNoneMatch, tag: Option<ETag>) -> Result<(), Problem> {
    let holds = match (if_match, tag) {
        (IfMatch::Absent, _) | (IfMatch::Any, Some(_)) => true,
        (_, None) => false,
        (IfMatch::OneOf(tags), Some(tag)) => tags.contains(&tag),
    };
    if !holds {
        let found = tag.is_some();
        let message = if found { "The row has another version than If-Match names" } else { "The row does not exist" };
        return Err(failed(message)
            .details("Nothing was written.")
            .hint("Read the row again and repeat the change with its ETag."));
    }
    if if_none_match == IfNoneMatch::Any && tag.is_some() {
        return Err(
            failed("The row exists already").details("If-None-Match: * refuses to overwrite. Nothing was written.")
        );
    }
    Ok(())
}

fn failed(message: &str) -> Problem {
    Problem::new(ProblemKind::PreconditionFailed, codes::PRECONDITION_FAILED, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_hold_as_they_do_in_every_mode() {
        let (old, now) = (ETag(1), ETag(2));
        let held = |if_match, tag| judge(&if_match, IfNoneMatch::Absent, tag).is_ok();
        assert!(held(IfMatch::Absent, None) && held(IfMatch::Absent, Some(now)) && held(IfMatch::Any, Some(now)));
        assert!(!held(IfMatch::Any, None));
        assert!(held(IfMatch::OneOf(vec![old, now]), Some(now)));
        assert!(!held(IfMatch::OneOf(vec![old]), Some(now)) && !held(IfMatch::OneOf(vec![]), Some(now)));
        assert!(judge(&IfMatch::Absent, IfNoneMatch::Any, None).is_ok());
        let exists = judge(&IfMatch::Absent, IfNoneMatch::Any, Some(now)).expect_err("exists");
        assert_eq!(exists.code, codes::PRECONDITION_FAILED);
    }
}
