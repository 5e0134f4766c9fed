//! Misbehaves on demand, in every hook. What it does is named, in this order of preference, by the
//! operator's configuration, the header field `x-fault`, and the shard key as `fault:NAME` (route) or
//! the column `fault` (invalidate). Without a fault it behaves.
//!
//! - `{"route": "NAME"}`, and so `classify`, `cache-policy`, `invalidate`: every call has this fault
//! - `{"configure": "NAME"}`, `{"self-test": "NAME"}`: so has the load
//!
//! Faults of every hook
//!
//! | name | what it does |
//! |---|---|
//! | `trap`, `loop`, `stack`, `hoard` | traps, never returns, recurses without end, takes all memory |
//! | `worn` | loops from an instance's second call on |
//! | `chatter` | logs 100,000 long lines |
//! | `novel` | refuses with a reason of 4 MiB |
//! | `not-utf8` | answers text that is not UTF-8 |
//! | `huge` | answers text of 4 MiB |
//! | `leak` | answers with what an instance was asked before |
//! | `fickle` | answers every third call of an instance otherwise |
//! | `refuse`, any other | refuses |
//!
//! The rest is with each hook below.

mod faults;

use tidegate_policy_sdk::{
    Action, CachePolicy, Classification, Classifier, Decision, ErrorCode, Input, Invalidator, Policy, PolicyError,
    Request, Router, RowChange, Target, Targets, export_policy, topology,
};

use faults::{before, common, huge, not_utf8, third_call};

struct Faulty {
    config: String,
}

impl Policy for Faulty {
    fn configure(config: &str) -> Result<Self, PolicyError> {
        if let Some(fault) = setting(config, "configure") {
            common(fault)?;
        }
        Ok(Self { config: config.to_owned() })
    }

    fn self_test(&self) -> Result<u32, PolicyError> {
        match setting(&self.config, "self-test") {
            Some(fault) => common(fault).map(|()| 1),
            None => Ok(0),
        }
    }
}

/// The text value of a key of a flat JSON object. Enough for a guest that tests write.
fn setting<'a>(config: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = config.split_once(&format!("\"{name}\""))?;
    rest.split('"').nth(1)
}

fn refuse(code: ErrorCode, detail: &str) -> PolicyError {
    PolicyError::new(code, detail)
}

/// The tenant is what `x-tenant` says.
///
/// `tenant:NAME` and `class:NAME` answer that name; `nobody` the empty one.
impl Classifier for Faulty {
    fn inputs() -> Vec<Input> {
        vec![Input::header("x-tenant"), Input::header("x-fault")]
    }

    fn classify(&self, request: &Request) -> Result<Classification, PolicyError> {
        let tenant = request.input(0);
        let usual = tenant.map(Classification::tenant).ok_or(refuse(ErrorCode::NoMatch, "no x-tenant"));
        let Some(fault) = setting(&self.config, "classify").or(request.input(1)) else { return usual };
        match fault.split_once(':').unwrap_or((fault, "")) {
            ("tenant", name) => Ok(Classification::tenant(name)),
            ("class", name) => usual.map(|who| who.class(name)),
            ("nobody", _) => Ok(Classification::tenant("")),
            ("not-utf8", _) => Ok(Classification::tenant(not_utf8())),
            ("huge", _) => Ok(Classification::tenant(huge())),
            ("leak", _) => before(tenant).map_or(usual, |tenant| Ok(Classification::tenant(tenant))),
            ("fickle", _) if third_call() => Ok(Classification::tenant("somebody-else")),
            ("fickle", _) => usual,
            _ => common(fault).and(usual),
        }
    }
}

/// Places rows as the gateway does.
///
/// `shard:NAME` answers that shard, `every-shard` all there are, `stray` one that is not, `empty` none,
/// `flood` a million, `hash:N` that hash.
impl Router for Faulty {
    fn inputs() -> Vec<Input> {
        vec![Input::ShardKey, Input::header("X-Fault")]
    }

    fn route(&self, request: &Request) -> Result<Targets, PolicyError> {
        let key = request.input(0);
        let usual = key.map_or(Targets::AllOfTenant, |key| Targets::Hash(topology::hash_key(key)));
        let by_key = key.and_then(|key| key.strip_prefix("fault:"));
        let Some(fault) = setting(&self.config, "route").or(request.input(1)).or(by_key) else { return Ok(usual) };
        Ok(match fault.split_once(':').unwrap_or((fault, "")) {
            ("shard", name) => {
                let id = topology::shard_named(name).ok_or(refuse(ErrorCode::NotReady, "no such shard"))?;
                Targets::Shards(vec![id])
            }
            ("every-shard", _) => Targets::Shards((0..topology::shard_count()).collect()),
            ("stray", _) => Targets::Shards(vec![u32::MAX]),
            ("empty", _) => Targets::Shards(Vec::new()),
            ("flood", _) => Targets::Shards(vec![0; 1 << 20]),
            ("hash", number) => Targets::Hash(number.parse().unwrap_or_default()),
            ("leak", _) => before(key).map_or(usual, |key| Targets::Hash(topology::hash_key(&key))),
            ("fickle", _) if third_call() => {
                let home = topology::shard_for_hash(topology::hash_key(key.unwrap_or_default()));
                Targets::Shards(vec![(home + 1) % topology::shard_count()])
            }
            ("fickle", _) => usual,
            ("worn" | "chatter", _) => common(fault).map(|()| Targets::AllOfTenant)?,
            _ => common(fault).map(|()| usual)?,
        })
    }
}

/// Tags answers with the category in the query.
///
/// `absurd-times` answers the longest times there are, `no-time` a `ttl` of 0, `million-tags`,
/// `many-tags` 100, `long-tag` one of 200 bytes, `tag:NAME` that tag, `stray-vary` an input that is
/// not, `vary` the query parameter, `vary:header` the header field, `bypass`.
impl CachePolicy for Faulty {
    fn inputs() -> Vec<Input> {
        vec![Input::Collection, Input::query("category_id"), Input::header("x-fault")]
    }

    fn decide(&self, request: &Request) -> Result<Decision, PolicyError> {
        let category = request.input(1);
        let kept = Decision::as_configured();
        let usual = category.map_or(kept.clone(), |category| kept.clone().tag(format!("category:{category}")));
        let Some(fault) = setting(&self.config, "cache-policy").or(request.input(2)) else { return Ok(usual) };
        Ok(match fault.split_once(':').unwrap_or((fault, "")) {
            ("absurd-times", _) => Decision { ttl_ms: Some(u32::MAX), stale_ms: u32::MAX, ..usual },
            ("no-time", _) => Decision { ttl_ms: Some(0), ..usual },
            ("million-tags", _) => Decision { tags: vec![String::new(); 1_000_000], ..usual },
            ("many-tags", _) => (0..100).fold(kept, |kept, tag| kept.tag(format!("tag:{tag}"))),
            ("long-tag", _) => kept.tag("x".repeat(200)).tag("short"),
            ("tag", name) => kept.tag(name),
            ("not-utf8", _) => kept.tag(not_utf8()),
            ("huge", _) => kept.tag(huge()),
            ("stray-vary", _) => usual.vary_on(99),
            ("vary", "header") => usual.vary_on(2),
            ("vary", _) => usual.vary_on(1),
            ("bypass", _) => Decision::bypass(),
            ("leak", _) => before(category).map_or(usual, |category| kept.tag(format!("category:{category}"))),
            ("fickle", _) if third_call() => Decision::bypass(),
            ("fickle", _) => usual,
            _ => common(fault).map(|()| usual)?,
        })
    }
}

/// Purges the tags of the categories before and after.
///
/// `million-actions`, `stray-collection` and `stray-key` purge what does not exist, `tag:NAME`,
/// `lists:NAME` and `collection:NAME` that, `nothing` nothing.
impl Invalidator for Faulty {
    fn inputs() -> Vec<Input> {
        vec![Input::column("category_id"), Input::column("fault")]
    }

    fn invalidate(&self, _: u32, _: u32, changes: &[RowChange]) -> Result<Vec<Action>, PolicyError> {
        let categories = changes.iter().flat_map(|change| [change.before(0), change.after(0)]).flatten();
        let usual: Vec<Action> = categories.map(|of| Action::purge(Target::tag(format!("category:{of}")))).collect();
        let by_row = changes.iter().find_map(|change| change.after(1).or(change.before(1)));
        let Some(fault) = setting(&self.config, "invalidate").or(by_row) else { return Ok(usual) };
        let purge = |target| vec![Action::purge(target)];
        let collection = changes.first().map_or("", |change| &change.collection);
        Ok(match fault.split_once(':').unwrap_or((fault, "")) {
            ("million-actions", _) => vec![Action::purge(Target::tag("")); 1_000_000],
            ("stray-collection", _) => purge(Target::lists("no-such-collection")),
            ("stray-key", _) => purge(Target::row(collection, "no,such,key")),
            ("tag", name) => purge(Target::tag(name)),
            ("lists", name) => purge(Target::lists(name)),
            ("collection", name) => purge(Target::collection(name)),
            ("not-utf8", _) => purge(Target::tag(not_utf8())),
            ("huge", _) => purge(Target::tag(huge())),
            ("nothing", _) => Vec::new(),
            ("leak", _) => before(changes.first().map(|change| change.key.as_str()))
                .map_or(usual, |key| purge(Target::row(collection, key))),
            ("fickle", _) if third_call() => Vec::new(),
            ("fickle", _) => usual,
            _ => common(fault).map(|()| usual)?,
        })
    }
}

export_policy!(Faulty: Classifier, Router, CachePolicy, Invalidator);
