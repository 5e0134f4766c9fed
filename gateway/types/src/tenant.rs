//! Tenants and classes: what a classification policy answers is resolved against these.

use std::{collections::HashMap, sync::Arc};

use xxhash_rust::xxh3::xxh3_64;

use crate::{
    route::{ShardId, ShardSet, Topology},
    settings::TenantsSettings,
};

/// A tenant: the hash of its name, so that it is the same in every gateway and never means another one.
/// Entries, buckets and remembered answers rest on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TenantId(pub u64);

impl TenantId {
    /// The one tenant of a gateway without tenancy.
    pub const SHARED: Self = Self(0);

    /// The tenant of this name.
    #[must_use]
    pub fn named(name: &str) -> Self {
        Self(xxh3_64(name.as_bytes()))
    }
}

/// A class of requests. 0 where nothing classifies. Never means another one in the life of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct ClassId(pub u32);

/// A tenant, resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tenant {
    /// What entries, buckets and remembered answers know it by.
    pub id: TenantId,
    /// What policies know it by: never another one's in the life of the process. 0 without tenancy.
    pub number: u32,
    /// Its name, as configuration and classification give it.
    pub name: Arc<str>,
    /// Its class where classification names none.
    pub class: ClassId,
    /// Where its rows may be. Never empty.
    pub placement: ShardSet,
    /// Its home region, if it has one.
    pub region: Option<Arc<str>>,
}

/// Every tenant and class there is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tenants {
    shared: Tenant,
    known: Vec<Tenant>,
    by_name: HashMap<Arc<str>, usize>,
    by_id: HashMap<TenantId, usize>,
    classes: Vec<Arc<str>>,
    numbers: Numbers,
}

/// Every number ever given, so that none is given to two names.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Numbers {
    tenants: HashMap<Arc<str>, u32>,
    /// Class 1, class 2, and so on.
    classes: Vec<Arc<str>>,
}

impl Numbers {
    fn tenant(&mut self, name: &Arc<str>) -> u32 {
        let next = u32::try_from(self.tenants.len() + 1).unwrap_or(u32::MAX);
        *self.tenants.entry(name.clone()).or_insert(next)
    }

    fn class(&mut self, name: &Arc<str>) {
        if !self.classes.contains(name) {
            self.classes.push(name.clone());
        }
    }

    fn class_named(&self, name: &str) -> Option<ClassId> {
        let position = self.classes.iter().position(|class| **class == *name)?;
        u32::try_from(position + 1).ok().map(ClassId)
    }
}

/// A tenant that cannot be placed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TenantError {
    /// It names a shard that is not configured.
    #[error("tenant {tenant}: there is no shard {shard}")]
    UnknownShard {
        /// The tenant.
        tenant: String,
        /// The shard it names.
        shard: String,
    },
    /// It names a class that is not configured.
    #[error("tenant {tenant}: there is no class {class}")]
    UnknownClass {
        /// The tenant.
        tenant: String,
        /// The class it names.
        class: String,
    },
    /// Its name has the hash of another one's.
    #[error("tenant {tenant}: its name cannot be told from {other}'s; give one of them another name")]
    SameHash {
        /// The tenant.
        tenant: String,
        /// The one configured before it, empty for a gateway without tenancy.
        other: String,
    },
    /// Its shards and its residency have nothing in common.
    #[error("tenant {tenant}: none of its shards is in its residency ({})", residency.join(", "))]
    Homeless {
        /// The tenant.
        tenant: String,
        /// The regions it must stay in.
        residency: Vec<String>,
    },
}

impl Tenants {
    /// No tenancy: everything belongs to [`TenantId::SHARED`], on any shard.
    #[must_use]
    pub fn none(topology: &Topology) -> Self {
        let shared = Tenant {
            id: TenantId::SHARED,
            number: 0,
            name: "".into(),
            class: ClassId(0),
            placement: topology.all(),
            region: None,
        };
        Self {
            shared,
            known: Vec::new(),
            by_name: HashMap::new(),
            by_id: HashMap::new(),
            classes: Vec::new(),
            numbers: Numbers::default(),
        }
    }

    /// The configured tenants on these shards.
    ///
    /// # Errors
    /// The first tenant that cannot be placed.
    pub fn resolve(settings: &TenantsSettings, topology: &Topology) -> Result<Self, TenantError> {
        Self::none(topology).succeeded_by(settings, topology)
    }

    /// The tenants that are configured now, to take the place of these: who had a number keeps it, also one
    /// who was away in between, and everybody else gets one that was never used.
    ///
    /// # Errors
    /// The first tenant that cannot be placed.
    pub fn succeeded_by(&self, settings: &TenantsSettings, topology: &Topology) -> Result<Self, TenantError> {
        let mut tenants = Self { numbers: self.numbers.clone(), ..Self::none(topology) };
        tenants.classes = settings.classes.iter().map(|name| Arc::from(name.as_str())).collect();
        for class in &tenants.classes {
            tenants.numbers.class(class);
        }
        for (name, tenant) in &settings.known {
            let unknown_class = || TenantError::UnknownClass { tenant: name.clone(), class: tenant.class.clone() };
            let class = tenants.class_named(&tenant.class).ok_or_else(unknown_class)?;
            let mut placement = ShardSet::new();
            for shard in &tenant.shards {
                let unknown = || TenantError::UnknownShard { tenant: name.clone(), shard: shard.clone() };
                placement.push(topology.by_name(shard).ok_or_else(unknown)?);
            }
            if tenant.shards.is_empty() {
                placement = topology.all();
            }
            if !tenant.residency.is_empty() {
                placement.retain(|shard| resides(topology, *shard, &tenant.residency));
            }
            if placement.is_empty() {
                return Err(TenantError::Homeless { tenant: name.clone(), residency: tenant.residency.clone() });
            }
            let name: Arc<str> = name.as_str().into();
            let id = TenantId::named(&name);
            if let Some(other) = tenants.get(id) {
                return Err(TenantError::SameHash { tenant: name.to_string(), other: other.name.to_string() });
            }
            let number = tenants.numbers.tenant(&name);
            let region = tenant.residency.first().map(|region| Arc::from(region.as_str()));
            tenants.by_name.insert(name.clone(), tenants.known.len());
            tenants.by_id.insert(id, tenants.known.len());
            tenants.known.push(Tenant { id, number, name, class, placement, region });
        }
        Ok(tenants)
    }

    /// The tenant of a gateway without tenancy.
    #[must_use]
    pub fn shared(&self) -> &Tenant {
        &self.shared
    }

    /// The tenant of this name.
    #[must_use]
    pub fn by_name(&self, name: &str) -> Option<&Tenant> {
        self.by_name.get(name).map(|position| &self.known[*position])
    }

    /// The tenant of this number.
    #[must_use]
    pub fn get(&self, id: TenantId) -> Option<&Tenant> {
        match id {
            TenantId::SHARED => Some(&self.shared),
            id => self.by_id.get(&id).map(|position| &self.known[*position]),
        }
    }

    /// The class of this name; classes are numbered from 1.
    #[must_use]
    pub fn class_named(&self, name: &str) -> Option<ClassId> {
        self.classes.iter().find(|class| ***class == *name)?;
        self.numbers.class_named(name)
    }

    /// The name of a class; `None` for class 0.
    #[must_use]
    pub fn class_name(&self, class: ClassId) -> Option<&Arc<str>> {
        self.numbers.classes.get((class.0 as usize).checked_sub(1)?)
    }

    /// Every configured tenant.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Tenant> {
        self.known.iter()
    }
}

fn resides(topology: &Topology, shard: ShardId, residency: &[String]) -> bool {
    topology.region(shard).is_some_and(|region| residency.iter().any(|of| **of == **region))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::TenantSettings;

    fn tenant(class: &str, shards: &[&str], residency: &[&str]) -> TenantSettings {
        let texts = |all: &[&str]| all.iter().map(|text| (*text).to_owned()).collect();
        TenantSettings { class: class.into(), shards: texts(shards), residency: texts(residency) }
    }

    fn resolve(tenant: TenantSettings) -> Result<Tenants, TenantError> {
        let regions = [("a", Some("eu")), ("b", Some("us")), ("c", None)];
        let topology = Topology::with_regions(regions.map(|(name, region)| (Arc::from(name), region.map(Arc::from))));
        let classes = vec!["free".into(), "paid".into()];
        Tenants::resolve(
            &TenantsSettings { classes, known: [("acme".to_owned(), tenant)].into_iter().collect() },
            &topology,
        )
    }

    fn placement(tenant: TenantSettings) -> Vec<u16> {
        let tenants = resolve(tenant).expect("resolved");
        tenants.by_name("acme").expect("known").placement.iter().map(|shard| shard.0).collect()
    }

    #[test]
    fn placement_is_what_shards_and_residency_have_in_common() {
        assert_eq!(placement(tenant("paid", &[], &[])), [0, 1, 2]);
        assert_eq!(placement(tenant("paid", &["c", "b"], &[])), [2, 1]);
        assert_eq!(placement(tenant("paid", &[], &["eu"])), [0], "a shard without a region is in none");
        assert_eq!(placement(tenant("paid", &["a", "b"], &["us", "ap"])), [1]);
    }

    #[test]
    fn what_cannot_be_placed_is_named() {
        let says = |tenant| resolve(tenant).expect_err("refused").to_string();
        assert_eq!(says(tenant("paid", &["d"], &[])), "tenant acme: there is no shard d");
        assert_eq!(says(tenant("gold", &[], &[])), "tenant acme: there is no class gold");
        assert_eq!(says(tenant("paid", &["c"], &["eu"])), "tenant acme: none of its shards is in its residency (eu)");
    }

    #[test]
    fn no_number_ever_means_another_tenant_or_class() {
        let settings = |names: &[(&str, &str)]| TenantsSettings {
            classes: names.iter().map(|(_, class)| (*class).to_owned()).collect(),
            known: names.iter().map(|(name, class)| ((*name).to_owned(), tenant(class, &[], &[]))).collect(),
        };
        let topology = Topology::new([Arc::from("a")]);
        let first = Tenants::resolve(&settings(&[("acme", "free"), ("globex", "paid")]), &topology).expect("placed");
        let then =
            first.succeeded_by(&settings(&[("initech", "gold"), ("globex", "paid")]), &topology).expect("placed");
        let number =
            |tenants: &Tenants, name: &str| tenants.by_name(name).map(|tenant| (tenant.number, tenant.class.0));
        assert_eq!((number(&first, "acme"), number(&first, "globex")), (Some((1, 1)), Some((2, 2))));
        assert_eq!((number(&then, "acme"), number(&then, "globex")), (None, Some((2, 2))));
        assert_eq!(number(&then, "initech"), Some((3, 3)));
        let acme = TenantId::named("acme");
        assert_eq!((then.get(acme), then.class_named("free")), (None, None), "gone");
        let last = then.succeeded_by(&settings(&[("initech", "gold"), ("acme", "free")]), &topology).expect("placed");
        assert_eq!((number(&last, "acme"), number(&last, "initech")), (Some((1, 1)), Some((3, 3))));
        assert_eq!(last.get(acme).map(|tenant| &*tenant.name), Some("acme"));
    }

    #[test]
    fn numbers_and_names_lead_to_the_same_tenant() {
        let tenants = resolve(tenant("paid", &[], &["us"])).expect("resolved");
        let acme = tenants.by_name("acme").expect("known");
        assert_eq!(tenants.get(acme.id), Some(acme));
        assert_eq!(tenants.class_name(acme.class).map(|name| &**name), Some("paid"));
        assert_eq!(acme.region.as_deref(), Some("us"));
        assert_eq!(tenants.get(TenantId::SHARED), Some(tenants.shared()));
        assert_eq!(tenants.get(TenantId::named("globex")), None);
        assert_eq!((tenants.class_name(ClassId(0)), tenants.by_name("")), (None, None));
    }
}
