//! What is in effect after a reload: the file, but for what only a restart can change.

use indexmap::IndexMap;
use tidegate_config::{Difference, Effect};
use tidegate_types::{
    collection::Mode,
    settings::{CollectionSettings, PolicySettings, Settings},
};

/// The settings in effect after a reload, and how they differ from those before.
#[derive(Debug)]
pub(crate) struct Merged {
    /// In effect.
    pub(crate) effective: Settings,
    /// In effect now and not before.
    pub(crate) changed: Vec<Difference>,
    /// In the file and not in effect.
    pub(crate) waiting: Vec<Difference>,
}

impl Merged {
    /// Of the settings in effect and those of the file.
    pub(crate) fn of(now: &Settings, written: Settings) -> Self {
        let (changed, waiting) =
            tidegate_config::diff(now, &written).into_iter().partition(|one| one.effect == Effect::Live);
        // Every field is named, so that a new one asks whether it can change.
        let Settings {
            http: _,
            admin: _,
            shards: _,
            cache: _,
            cluster: _,
            feed: _,
            journal: _,
            pools,
            policies,
            tenants,
            collections,
        } = written;
        let effective = Settings {
            http: now.http.clone(),
            admin: now.admin.clone(),
            shards: now.shards.clone(),
            cache: now.cache.clone(),
            cluster: now.cluster.clone(),
            feed: now.feed.clone(),
            journal: now.journal.clone(),
            pools,
            policies: merged(&now.policies, policies),
            tenants,
            collections: served(&now.collections, collections),
        };
        Self { effective, changed, waiting }
    }
}

/// What was acknowledged means its collection as it was: what is or becomes write-behind stays as it is.
fn served(
    now: &IndexMap<String, CollectionSettings>,
    mut written: IndexMap<String, CollectionSettings>,
) -> IndexMap<String, CollectionSettings> {
    let behind = |settings: &CollectionSettings| settings.mode == Mode::WriteBehind;
    written.retain(|name, settings| now.contains_key(name) || !behind(settings));
    for (name, settings) in now {
        match written.get_mut(name) {
            Some(other) if behind(settings) || behind(other) => *other = settings.clone(),
            None if behind(settings) => drop(written.insert(name.clone(), settings.clone())),
            Some(_) | None => {}
        }
    }
    written
}

fn merged(now: &PolicySettings, written: PolicySettings) -> PolicySettings {
    PolicySettings {
        dir: now.dir.clone(),
        state: now.state.clone(),
        max_memory_bytes: now.max_memory_bytes,
        call_timeout: now.call_timeout,
        record: now.record.clone(),
        ..written
    }
}

#[cfg(test)]
mod tests {
    use tidegate_config::{diff, parse};

    use super::*;

    const FILE: &str = r#"
[http]
listen = "127.0.0.1:8080"
[admin]
token = "sesame"
[shards.a]
primary = "postgres://a/x"
[pools.scan]
max = 4
[cache]
l1_bytes = "1MiB"
[policies]
dir = "policies"
guard_keys = 100
[policies.route]
plugin = "r"
[collections.products]
table = "products"
ttl = "5s"
"#;

    fn settings(changes: &[(&str, &str)]) -> Settings {
        let text = changes.iter().fold(FILE.to_owned(), |text, (from, to)| {
            assert!(text.contains(from), "{from}");
            text.replace(from, to)
        });
        parse(&text, "tidegate.toml").expect("valid")
    }

    fn told(all: &[Difference]) -> Vec<String> {
        all.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_can_change_does_and_the_rest_waits_for_a_restart() {
        let now = settings(&[]);
        let written = settings(&[
            (":8080", ":8081"),
            ("sesame", "open"),
            ("max = 4", "max = 6"),
            ("1MiB", "2MiB"),
            ("dir = \"policies\"", "dir = \"elsewhere\"\ncall_timeout = \"20ms\"\nmax_memory = \"1MiB\""),
            ("= 100", "= 200"),
            ("5s", "6s"),
            ("primary = \"postgres://a/x\"", "primary = \"postgres://b/x\"\n[shards.c]\nprimary = \"postgres://c/x\""),
            ("[collections.products]", "[collections.more]\ntable = \"more\"\n[collections.products]"),
        ]);
        let Merged { effective, changed, waiting } = Merged::of(&now, written.clone());
        let live = ["pools.scan.max", "policies.guard_keys", "collections.products.ttl", "collections.more"];
        let paths = |all: &[Difference]| all.iter().map(|one| one.path.clone()).collect::<Vec<_>>();
        assert_eq!(paths(&changed), live);
        assert_eq!(
            paths(&waiting),
            [
                "http.listen",
                "admin.token",
                "shards.a.primary",
                "shards.c",
                "cache.l1_bytes",
                "cache.list_bytes",
                "policies.dir",
                "policies.max_memory",
                "policies.call_timeout"
            ]
        );
        assert_eq!(told(&diff(&now, &effective)), told(&changed), "in effect is what was told");
        assert_eq!(told(&diff(&effective, &written)), told(&waiting), "and what waits is all the rest");
    }

    #[test]
    fn a_write_behind_collection_waits_for_a_restart_with_all_of_it() {
        let journal = "[journal]\ndir = \"journal\"\n[collections.products]\nmode = \"write-behind\"";
        let now = settings(&[("[collections.products]", journal)]);
        let of = |change| Merged::of(&now, settings(&[("[collections.products]", journal), change]));
        let paths = |all: &[Difference]| all.iter().map(|one| one.path.clone()).collect::<Vec<_>>();
        let other_ttl = of(("5s", "6s"));
        assert_eq!(paths(&other_ttl.waiting), ["collections.products.ttl"]);
        assert_eq!(other_ttl.effective.collections["products"].ttl, now.collections["products"].ttl);
        let ended = of(("mode = \"write-behind\"", ""));
        assert_eq!(paths(&ended.waiting), ["collections.products.mode"]);
        assert_eq!(ended.effective.collections["products"].mode, Mode::WriteBehind);
        let gone = of(("[collections.products]", "[collections.more]\ntable = \"more\"\n[collections.others]"));
        assert_eq!(paths(&gone.changed), ["collections.more"]);
        assert_eq!(paths(&gone.waiting), ["collections.products", "collections.others"]);
        assert_eq!(told(&diff(&now, &gone.effective)), told(&gone.changed));

        let begun = Merged::of(&settings(&[]), settings(&[("[collections.products]", journal)]));
        assert_eq!(paths(&begun.waiting), ["journal", "collections.products.mode"]);
        assert_eq!(begun.effective.collections["products"].mode, Mode::CacheAside);
    }

    #[test]
    fn what_waits_is_told_again_by_the_next_reload() {
        let written = settings(&[(":8080", ":8081"), ("5s", "6s")]);
        let first = Merged::of(&settings(&[]), written.clone());
        let second = Merged::of(&first.effective, written);
        assert_eq!((told(&second.changed), told(&second.waiting)), (Vec::new(), told(&first.waiting)));
    }
}
