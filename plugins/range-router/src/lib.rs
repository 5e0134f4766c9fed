//! Places rows by ranges of their shard key: time series whose old months lie on one shard and new
//! ones on another.
//!
//! ```toml
//! [policies.route.config]
//! compare = "text"                                     # or "integer"
//! ranges = [
//!     { until = "2026-01-01", shard = "archive" },
//!     { from = "2026-01-01", until = "2026-07-01", shard = "first-half" },
//!     { shard = "now" },                               # the last one has no end
//! ]
//! ```
//!
//! A range begins where the one before ends (`from` only says so again) and holds what is less than
//! its `until`. The first one has no beginning and the last one no end, so that every key has a shard.
//! `text` compares bytes, which is the order of dates and times as PostgreSQL prints them. Of a shard
//! key of several columns the first one counts.

use std::cmp::Ordering;

use serde::Deserialize;
use tidegate_policy_sdk::{Input, Policy, PolicyError, Request, Router, Targets, config, export_policy, topology};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    #[serde(default)]
    compare: Compare,
    ranges: Vec<Range>,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Compare {
    #[default]
    Text,
    Integer,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Range {
    from: Option<config::Value>,
    until: Option<config::Value>,
    shard: String,
}

/// A value that keys are compared with.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Bound {
    Text(String),
    Integer(i128),
}

struct RangeRouter {
    /// Where each range but the last ends, ascending, and its shard.
    ended: Vec<(Bound, u32)>,
    /// The shard of the last.
    open: u32,
    compare: Compare,
}

impl Policy for RangeRouter {
    const CONFIG_SCHEMA: &'static str = r#"{
        "type": "object",
        "properties": {
            "compare": {"enum": ["text", "integer"]},
            "ranges": {
                "type": "array",
                "minItems": 1,
                "maxItems": 4096,
                "items": {
                    "type": "object",
                    "properties": {
                        "from": {"type": ["string", "integer"]},
                        "until": {"type": ["string", "integer"]},
                        "shard": {"type": "string"}
                    },
                    "required": ["shard"],
                    "additionalProperties": false
                }
            }
        },
        "required": ["ranges"],
        "additionalProperties": false
    }"#;

    fn configure(json: &str) -> Result<Self, PolicyError> {
        let Config { compare, ranges } = config::parse(json)?;
        let last = ranges.len().wrapping_sub(1);
        let mut ended: Vec<(Bound, u32)> = Vec::with_capacity(ranges.len());
        for (position, range) in ranges.iter().enumerate() {
            let at = |detail: String| PolicyError::config(format!("config: ranges[{position}]: {detail}"));
            begins_where_the_last_ended(range, ended.last().map(|(end, _)| end), compare).map_err(at)?;
            let shard = topology::shard_named(&range.shard).ok_or_else(|| at(format!("no shard {:?}", range.shard)))?;
            let end = match &range.until {
                None if position == last => return Ok(Self { ended, open: shard, compare }),
                None => return Err(at("only the last range may lack `until`".into())),
                Some(_) if position == last => {
                    return Err(at("the last range must be open-ended: remove its `until`, or add a range".into()));
                }
                Some(until) => bound(until, compare).map_err(at)?,
            };
            if ended.last().is_some_and(|(before, _)| *before >= end) {
                return Err(at("its `until` is not after that of the range before: sort the ranges".into()));
            }
            ended.push((end, shard));
        }
        Err(PolicyError::config("config: ranges is empty: it needs at least { shard = NAME }"))
    }

    /// What is at the end of a range belongs to the next one.
    fn self_test(&self) -> Result<u32, PolicyError> {
        let next = self.ended.iter().skip(1).map(|(_, shard)| *shard).chain([self.open]);
        for ((end, _), next) in self.ended.iter().zip(next) {
            if self.shard(end) != next {
                return Err(PolicyError::config("the end of a range does not belong to the next one"));
            }
        }
        Ok(self.ended.len() as u32)
    }
}

/// Checks `from`, which must repeat the end of the range before.
fn begins_where_the_last_ended(range: &Range, end: Option<&Bound>, compare: Compare) -> Result<(), String> {
    let Some(from) = &range.from else { return Ok(()) };
    let from = bound(from, compare)?;
    match end.map(|end| from.cmp(end)) {
        None => Err("what is less than its `from` would have no shard: remove the `from` of the first range".into()),
        Some(Ordering::Greater) => Err("there is a gap between it and the range before".into()),
        Some(Ordering::Less) => Err("it overlaps the range before".into()),
        Some(Ordering::Equal) => Ok(()),
    }
}

fn bound(value: &config::Value, compare: Compare) -> Result<Bound, String> {
    let text = match value {
        config::Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    match compare {
        Compare::Text => Ok(Bound::Text(text)),
        Compare::Integer => text.parse().map(Bound::Integer).map_err(|_| format!("{text:?} is not a whole number")),
    }
}

impl Router for RangeRouter {
    fn inputs() -> Vec<Input> {
        vec![Input::ShardKey]
    }

    fn route(&self, request: &Request) -> Result<Targets, PolicyError> {
        let Some(key) = request.input(0) else { return Ok(Targets::AllOfTenant) };
        let first = key.split('\u{1f}').next().unwrap_or(key);
        let key = match self.compare {
            Compare::Text => Bound::Text(first.to_owned()),
            Compare::Integer => match first.parse() {
                Ok(number) => Bound::Integer(number),
                Err(_) => return Err(PolicyError::bad_input(format!("the shard key {first:?} is not a whole number"))),
            },
        };
        Ok(Targets::Shards(vec![self.shard(&key)]))
    }
}

impl RangeRouter {
    fn shard(&self, key: &Bound) -> u32 {
        let position = self.ended.partition_point(|(end, _)| end <= key);
        self.ended.get(position).map_or(self.open, |(_, shard)| *shard)
    }
}

export_policy!(RangeRouter: Router);
