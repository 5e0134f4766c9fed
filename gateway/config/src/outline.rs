//! What one table of the file must know of another: taken from the text before the tables are read, so
//! that a mistake in one gives no second mistake in the other.

use toml::de::DeTable;

/// The names that other tables refer to.
pub(crate) struct Outline<'a> {
    /// The shards, each with its region where it has one.
    shards: Vec<(&'a str, Option<&'a str>)>,
    /// Whether a policy says whose a request is.
    pub(crate) classifies: bool,
    /// Whether there is a tenant it can name.
    pub(crate) has_tenants: bool,
    /// Whether there is a place for what write-behind collections acknowledge.
    pub(crate) journals: bool,
    /// Whether there may be other gateways.
    pub(crate) clustered: bool,
}

impl<'a> Outline<'a> {
    pub(crate) fn of(root: &'a DeTable<'a>) -> Self {
        let shards = table(root, &["shards"]).into_iter().flatten().map(|(name, shard)| {
            let region = shard.get_ref().as_table().and_then(|shard| shard.get("region"));
            (name.get_ref().as_ref(), region.and_then(|region| region.get_ref().as_str()))
        });
        Self {
            shards: shards.collect(),
            classifies: table(root, &["policies", "classify"]).is_some(),
            has_tenants: table(root, &["tenants", "known"]).is_some_and(|known| !known.is_empty()),
            journals: table(root, &["journal"]).is_some(),
            clustered: table(root, &["cluster"]).is_some(),
        }
    }

    pub(crate) fn shards(&self) -> impl Iterator<Item = &'a str> {
        self.shards.iter().map(|(name, _)| *name)
    }

    pub(crate) fn regions(&self) -> impl Iterator<Item = &'a str> {
        self.shards.iter().filter_map(|(_, region)| *region)
    }

    pub(crate) fn region_of(&self, shard: &str) -> Option<&'a str> {
        self.shards.iter().find(|(name, _)| *name == shard).and_then(|(_, region)| *region)
    }
}

fn table<'a>(root: &'a DeTable<'a>, path: &[&str]) -> Option<&'a DeTable<'a>> {
    path.iter().try_fold(root, |table, key| table.get(*key)?.get_ref().as_table())
}
