//! Questions and answers as JSON: golden vectors, recordings, replays and samples of disagreement all
//! speak it. Names instead of numbers, so that it means the same to another process.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::hook::Hook;

/// What a hook was asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Question {
    /// The hook.
    pub hook: Hook,
    /// Read or write.
    #[serde(default)]
    pub op: Operation,
    /// The collection's name.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub collection: String,
    /// The tenant's name; empty without tenancy.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub tenant: String,
    /// The class's name; empty without one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub class: String,
    /// Declared inputs by name (`shard-key`, `header:host`); what is missing is absent.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub inputs: BTreeMap<String, Given>,
    /// For `invalidate`: the changed rows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<ChangedRow>,
}

/// What the request does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Operation {
    /// It reads.
    #[default]
    Read,
    /// It writes.
    Write,
}

/// The value of an input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Given {
    /// Its text.
    Text(String),
    /// The request has no such thing.
    Absent(()),
    /// It is secret and was not written down.
    Redacted {
        /// Always true.
        redacted: bool,
    },
}

impl Given {
    /// A value as a request gives it.
    #[must_use]
    pub fn of(value: Option<&str>) -> Self {
        value.map_or(Self::Absent(()), |text| Self::Text(text.to_owned()))
    }
}

/// A changed row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChangedRow {
    /// The collection's name.
    pub collection: String,
    /// Its key as in a path.
    #[serde(default)]
    pub key: String,
    /// What happened.
    pub kind: ChangedHow,
    /// Columns before, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub old: BTreeMap<String, Option<String>>,
    /// Columns after, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub new: BTreeMap<String, Option<String>>,
}

/// What happened to a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChangedHow {
    /// It is new.
    Insert,
    /// It was changed.
    Update,
    /// It is gone.
    Delete,
    /// Too many to name.
    Truncate,
}

/// What a hook answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Answer {
    /// The policy said no, with this code.
    Refused {
        /// The code of the WIT's `error-code`.
        error: String,
    },
    /// It failed otherwise.
    Failed {
        /// The kind, as in `tidegate_policy_failures_total`.
        failure: String,
    },
    /// `route`: every shard of the tenant.
    AllShards {
        /// Always true.
        all: bool,
    },
    /// `route`: these shards.
    Shards {
        /// Their names.
        shards: Vec<String>,
    },
    /// `classify`
    Classified {
        /// The tenant's name.
        tenant: String,
        /// The class's name, where the policy gave one.
        class: Option<String>,
    },
    /// `cache-policy`
    Kept(Kept),
    /// `invalidate`
    Actions {
        /// What is to be purged.
        actions: Vec<PurgeAction>,
    },
}

/// An answer of `cache-policy`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// `as-configured` or `bypass`.
    pub mode: String,
    /// Longest time, in milliseconds.
    #[serde(default)]
    pub ttl_ms: Option<u32>,
    /// How long after that, in milliseconds.
    #[serde(default)]
    pub stale_ms: u32,
    /// Inputs it differs by, by name.
    #[serde(default)]
    pub vary: Vec<String>,
    /// Tags, as the policy named them.
    #[serde(default)]
    pub tags: Vec<String>,
}

/// An answer of `invalidate`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PurgeAction {
    /// `purge`, `soft-purge` or `refresh`.
    pub verb: String,
    /// Of what.
    #[serde(flatten)]
    pub target: PurgeTarget,
}

/// What is to be purged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PurgeTarget {
    /// A row.
    Row {
        /// Its collection.
        collection: String,
        /// Its key as in a path.
        key: String,
    },
    /// Every answer with this tag.
    Tag(String),
    /// A list query.
    Query {
        /// Its collection.
        collection: String,
        /// Its query string.
        query: String,
    },
    /// All lists of a collection.
    Lists(String),
    /// Rows and lists of a collection.
    Collection(String),
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn questions_and_answers_survive_json() {
        let questions = [
            json!({"hook": "route", "op": "write", "collection": "products", "tenant": "acme", "class": "free",
                   "inputs": {"shard-key": "42", "header:x": null, "header:cookie": {"redacted": true}}}),
            json!({"hook": "invalidate", "op": "read", "changes": [
                {"collection": "p", "key": "1", "kind": "update", "old": {"a": "1"}, "new": {"a": null}}]}),
        ];
        for question in questions {
            let parsed: Question = serde_json::from_value(question.clone()).expect("parsed");
            assert_eq!(serde_json::to_value(&parsed).expect("written"), question);
        }
        let answers = [
            json!({"shards": ["a"]}),
            json!({"all": true}),
            json!({"tenant": "acme", "class": null}),
            json!({"mode": "bypass", "ttl_ms": null, "stale_ms": 0, "vary": [], "tags": ["t"]}),
            json!({"actions": [{"verb": "purge", "tag": "t"},
                               {"verb": "refresh", "row": {"collection": "p", "key": "1"}},
                               {"verb": "soft-purge", "query": {"collection": "p", "query": "a=eq.1"}},
                               {"verb": "purge", "lists": "p"}, {"verb": "purge", "collection": "p"}]}),
            json!({"error": "no-match"}),
            json!({"failure": "trap"}),
        ];
        for answer in answers {
            let parsed: Answer = serde_json::from_value(answer.clone()).expect("parsed");
            assert_eq!(serde_json::to_value(&parsed).expect("written"), answer);
        }
    }
}
