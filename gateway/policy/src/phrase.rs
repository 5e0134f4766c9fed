//! Questions and answers put into names, for people and other processes. Secrets stop here.

use std::{borrow::Cow, sync::Arc};

use tidegate_types::{
    policy::{Change, ChangeKind, Who},
    route::{Access, Topology},
    tenant::Tenants,
};

use crate::{
    bindings::{Action, Classification, Decision, Mode, Target, Targets, Verb},
    guest::GuestFailure,
    inputs::{self, Declared, Subject},
    metrics::FailureKind,
    question::{Answer, ChangedHow, ChangedRow, Given, Kept, Operation, PurgeAction, PurgeTarget, Question},
    verdict,
    version::Version,
};

/// A question about a request, as a version was asked it.
pub fn question(version: &Version, subject: &Subject<'_>) -> Question {
    let values = inputs::values(&version.inputs, subject);
    let given = version.inputs.iter().zip(&version.secret).zip(values);
    let (tenant, class) = names(subject.tenants, subject.who);
    Question {
        hook: version.hook,
        op: match subject.access {
            Access::Read => Operation::Read,
            Access::Write => Operation::Write,
        },
        collection: subject.collection.name.to_string(),
        tenant,
        class,
        inputs: given.map(|((input, secret), value)| (input.describe(), told(*secret, value.as_deref()))).collect(),
        changes: Vec::new(),
    }
}

/// A question about changes, as a version was asked it.
pub fn question_of_changes(
    version: &Version,
    tenants: &Tenants,
    who: Who,
    changes: &[Change],
    columns: &[Arc<str>],
) -> Question {
    let (tenant, class) = names(tenants, who);
    let image = |values: &[Option<String>]| {
        let named = version.inputs.iter().zip(&version.secret).filter_map(|(input, secret)| {
            let Declared::Column(name) = input else { return None };
            let position = columns.iter().position(|column| **column == **name)?;
            let value = values.get(position)?;
            (!secret).then(|| (name.clone(), value.clone()))
        });
        named.collect()
    };
    let row = |change: &Change| ChangedRow {
        collection: change.collection.to_string(),
        key: change.key.clone(),
        kind: match change.kind {
            ChangeKind::Insert => ChangedHow::Insert,
            ChangeKind::Update => ChangedHow::Update,
            ChangeKind::Delete => ChangedHow::Delete,
            ChangeKind::Truncate => ChangedHow::Truncate,
        },
        old: image(&change.old),
        new: image(&change.new),
    };
    Question {
        hook: version.hook,
        op: Operation::Write,
        collection: String::new(),
        tenant,
        class,
        inputs: std::collections::BTreeMap::new(),
        changes: changes.iter().map(row).collect(),
    }
}

fn told(secret: bool, value: Option<&str>) -> Given {
    if secret && value.is_some() { Given::Redacted { redacted: true } } else { Given::of(value) }
}

fn names(tenants: &Tenants, who: Who) -> (String, String) {
    let tenant = tenants.get(who.tenant).map_or("", |tenant| &tenant.name);
    (tenant.to_owned(), tenants.class_name(who.class).map_or_else(String::new, ToString::to_string))
}

/// Who a request was classified as.
pub fn classified(answer: Classification) -> Answer {
    Answer::Classified { tenant: answer.tenant, class: answer.class }
}

/// Shards by name.
pub fn routed(targets: Targets, topology: &Topology, tenants: &Tenants, who: Who) -> Result<Answer, GuestFailure> {
    if matches!(targets, Targets::AllOfTenant) {
        return Ok(Answer::AllShards { all: true });
    }
    let tenant = tenants.get(who.tenant).unwrap_or(tenants.shared());
    let shards = verdict::shards(targets, topology, tenant)?;
    Ok(Answer::Shards { shards: shards.iter().map(|shard| topology.name(*shard).to_owned()).collect() })
}

/// A cache decision.
pub fn kept(answer: Decision, declared: &[Declared]) -> Answer {
    let name = |position: &u32| match declared.get(*position as usize) {
        Some(input) => input.describe(),
        None => format!("input {position}, which it did not declare"),
    };
    Answer::Kept(Kept {
        mode: match answer.mode {
            Mode::AsConfigured => "as-configured".into(),
            Mode::Bypass => "bypass".into(),
        },
        ttl_ms: answer.ttl_ms,
        stale_ms: answer.stale_ms,
        vary: answer.vary.iter().map(name).collect(),
        tags: answer.tags,
    })
}

/// What is to be purged.
pub fn actions(actions: Vec<Action>) -> Answer {
    let action = |action: Action| PurgeAction {
        verb: match action.verb {
            Verb::Purge => "purge".into(),
            Verb::SoftPurge => "soft-purge".into(),
            Verb::Refresh => "refresh".into(),
        },
        target: match action.target {
            Target::Row(row) => PurgeTarget::Row { collection: row.collection, key: row.key },
            Target::Tag(tag) => PurgeTarget::Tag(tag),
            Target::Query(query) => PurgeTarget::Query { collection: query.collection, query: query.query },
            Target::Lists(collection) => PurgeTarget::Lists(collection),
            Target::Collection(collection) => PurgeTarget::Collection(collection),
        },
    };
    Answer::Actions { actions: actions.into_iter().map(action).collect() }
}

/// A call without an answer.
pub fn failure(failure: &GuestFailure) -> Answer {
    match failure.kind {
        FailureKind::PolicyError => {
            let code = failure.detail.split_once(':').map_or(failure.detail.as_str(), |(code, _)| code);
            Answer::Refused { error: code.to_owned() }
        }
        kind => Answer::Failed { failure: kind.as_str().to_owned() },
    }
}

/// Values as a subject gave them, to be asked again later.
pub fn owned(version: &Version, subject: &Subject<'_>) -> Vec<Option<String>> {
    inputs::values(&version.inputs, subject).into_iter().map(|value| value.map(Cow::into_owned)).collect()
}
