//! Which instances answer.

use serde_json::json;

use super::*;
use crate::loader::tests::version_of;

const WHO: Who = Who::SHARED;

#[test]
fn only_classification_by_quickly_made_guests_has_fresh_instances() {
    let (quick, slow) = (QUICK - Duration::from_nanos(1), QUICK);
    assert_eq!(usual_isolation(Hook::Classify, quick), Isolation::Fresh);
    assert_eq!(usual_isolation(Hook::Classify, slow), Isolation::Shared);
    for hook in [Hook::Route, Hook::CachePolicy, Hook::Invalidate] {
        for took in [quick, slow] {
            assert_eq!(usual_isolation(hook, took), Isolation::Shared, "{hook:?} {took:?}");
        }
    }
}

/// A guest that answers an instance's third call otherwise tells whether it was the same instance.
#[test]
fn explaining_uses_a_warm_instance() {
    let version = version_of("testing/faulty", Hook::Route, json!({"route": "fickle"}));
    let inputs = [Some("1"), None];
    let ask = Ask { who: WHO, access: Access::Write, collection: CollectionId(1), inputs: &inputs };
    let answers: [Answer; 3] = std::array::from_fn(|_| version.explain(&ask));
    assert_eq!(answers[0], answers[1]);
    assert_ne!(answers[1], answers[2], "made anew, an instance is never called a third time");

    let version = version_of("testing/faulty", Hook::Invalidate, json!({"invalidate": "fickle"}));
    let change = Change {
        collection: "products".into(),
        key: "1".into(),
        kind: ChangeKind::Update,
        old: vec![Some("7".into())],
        new: vec![Some("8".into())],
    };
    let (changes, columns) = ([change], ["category_id".into()]);
    let answers: [Answer; 3] = std::array::from_fn(|_| version.explain_changes(WHO, &changes, &columns));
    assert_eq!(answers[0], answers[1]);
    assert_ne!(answers[1], answers[2], "made anew, an instance is never called a third time");
}
