//! Golden vectors: questions, and the answers they must get.
//!
//! One file holds sets. A set is a gateway in small (shards, regions, directories, the policy's
//! configuration) and either cases to ask or what refuses the configuration.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    path::Path,
    sync::Arc,
};

use serde::Deserialize;
use serde_json::Value;
use tidegate_policy::question::{Answer, Question};
use tidegate_types::{
    route::Topology,
    settings::{Grant, TenantSettings, TenantsSettings},
    tenant::{TenantError, Tenants},
};

use crate::error::PluginError;

/// The inputs there are, as questions name them.
const INPUTS: &str = "Inputs are method, path, collection, shard-key, tenant, class, region, header:NAME (in lower \
                      case), query:NAME, claim:NAME; columns stand in `changes`";

/// A file of golden vectors.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vectors {
    /// What they are about, for readers.
    #[serde(default)]
    pub about: String,
    /// Each with its own configuration.
    pub sets: Vec<Set>,
}

/// Cases that share a configuration.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Set {
    /// What the set is about, for readers and messages.
    #[serde(default)]
    pub about: String,
    /// The shards, by name. None: one, called `only`.
    #[serde(default)]
    pub shards: Vec<String>,
    /// Regions of shards.
    #[serde(default)]
    pub regions: BTreeMap<String, String>,
    /// Tenants that may not be on all shards, and the shards they may be on.
    #[serde(default)]
    pub tenants: BTreeMap<String, Vec<String>>,
    /// Directories: name, key, value.
    #[serde(default)]
    pub directories: HashMap<String, HashMap<String, String>>,
    /// The policy's configuration; without one, `{}`.
    #[serde(default)]
    pub config: Option<Value>,
    /// Grants besides the usual ones.
    #[serde(default)]
    pub grants: Vec<GrantName>,
    /// The configuration must be refused, with this text in the reason.
    #[serde(default)]
    pub refused: Option<String>,
    /// What is asked.
    #[serde(default)]
    pub cases: Vec<Case>,
}

/// A question and its answer.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// For messages.
    #[serde(default)]
    pub name: String,
    /// The question.
    pub ask: Question,
    /// The answer it must get.
    pub expect: Answer,
}

/// A grant, as the configuration names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GrantName {
    /// `host-log`
    Log,
    /// `host-metrics`
    Metrics,
    /// `host-topology`
    Topology,
    /// `host-directory`
    Directory,
}

impl From<GrantName> for Grant {
    fn from(name: GrantName) -> Self {
        match name {
            GrantName::Log => Self::Log,
            GrantName::Metrics => Self::Metrics,
            GrantName::Topology => Self::Topology,
            GrantName::Directory => Self::Directory,
        }
    }
}

impl Vectors {
    /// Reads a file of vectors.
    ///
    /// # Errors
    /// It cannot be read, or is not what it should be; the message says where and how.
    pub fn read(file: &Path) -> Result<Self, PluginError> {
        let text = fs::read_to_string(file).map_err(PluginError::reading(file))?;
        Self::parse(&text).map_err(|detail| PluginError::Vectors { file: file.to_owned(), detail })
    }

    /// Takes a text of vectors.
    ///
    /// # Errors
    /// What is wrong with it, and where.
    pub fn parse(text: &str) -> Result<Self, String> {
        let vectors: Self = serde_json::from_str(text).map_err(|error| error.to_string())?;
        if vectors.sets.is_empty() {
            return Err("`sets` is empty: without a case, nothing is tested".into());
        }
        for (position, set) in vectors.sets.iter().enumerate() {
            set.check().map_err(|detail| format!("{}: {detail}", set.title(position)))?;
        }
        Ok(vectors)
    }
}

impl Set {
    fn check(&self) -> Result<(), String> {
        match (&self.refused, self.cases.len()) {
            (None, 0) => return Err("it has neither `cases` nor `refused`".into()),
            (Some(_), 1..) => return Err("a configuration that is `refused` cannot be asked: leave `cases` out".into()),
            (None, _) | (Some(_), 0) => {}
        }
        for (position, case) in self.cases.iter().enumerate() {
            if let Some(name) = case.ask.inputs.keys().find(|name| !is_input(name)) {
                return Err(format!("{}: there is no input {name:?}. {INPUTS}", case.title(position)));
            }
        }
        let shards = self.shards();
        if let Some(shard) = self.regions.keys().find(|shard| !shards.contains(&shard.as_str())) {
            return Err(format!("`regions` names the shard {shard:?}, `shards` has: {}", shards.join(", ")));
        }
        self.tenants().map(drop).map_err(|error| format!("`tenants`: {error}"))
    }

    /// How messages call it: its position from 1, and what it is about.
    #[must_use]
    pub fn title(&self, position: usize) -> String {
        match self.about.as_str() {
            "" => format!("set {}", position + 1),
            about => format!("set {} ({about})", position + 1),
        }
    }

    /// The names of its shards.
    #[must_use]
    pub fn shards(&self) -> Vec<&str> {
        if self.shards.is_empty() { vec!["only"] } else { self.shards.iter().map(String::as_str).collect() }
    }

    /// Its shards and their regions.
    #[must_use]
    pub fn topology(&self) -> Arc<Topology> {
        let region = |shard: &str| self.regions.get(shard).map(|region| Arc::from(region.as_str()));
        Arc::new(Topology::with_regions(self.shards().into_iter().map(|shard| (Arc::from(shard), region(shard)))))
    }

    /// Its tenants.
    ///
    /// # Errors
    /// One is on a shard that there is not.
    pub fn tenants(&self) -> Result<Tenants, TenantError> {
        tenants(&self.tenants, &self.topology())
    }

    /// What the policy may import.
    #[must_use]
    pub fn grants(&self) -> Vec<Grant> {
        let mut grants = Grant::USUAL.to_vec();
        for grant in self.grants.iter().map(|name| Grant::from(*name)) {
            if !grants.contains(&grant) {
                grants.push(grant);
            }
        }
        grants
    }
}

impl Case {
    /// How messages call it: its position from 1, and its name.
    #[must_use]
    pub fn title(&self, position: usize) -> String {
        match self.name.as_str() {
            "" => format!("case {}", position + 1),
            name => format!("case {} ({name})", position + 1),
        }
    }
}

/// Tenants that are confined to these shards.
///
/// # Errors
/// One is on a shard that there is not.
pub fn tenants(confined: &BTreeMap<String, Vec<String>>, topology: &Topology) -> Result<Tenants, TenantError> {
    let class = "any".to_owned();
    let tenant =
        |shards: &Vec<String>| TenantSettings { class: class.clone(), shards: shards.clone(), residency: Vec::new() };
    let known = confined.iter().map(|(name, shards)| (name.clone(), tenant(shards))).collect();
    Tenants::resolve(&TenantsSettings { classes: vec![class.clone()], known }, topology)
}

/// Whether a request has an input of this name. A misspelt one would be absent without a word.
fn is_input(name: &str) -> bool {
    match name.split_once(':') {
        Some(("header", field)) => !field.is_empty() && !field.bytes().any(|byte| byte.is_ascii_uppercase()),
        Some(("query" | "claim", of)) => !of.is_empty(),
        Some(_) => false,
        None => matches!(name, "method" | "path" | "collection" | "shard-key" | "tenant" | "class" | "region"),
    }
}

#[cfg(test)]
mod tests {
    use tidegate_types::route::ShardId;

    use super::*;

    fn refusal(text: &str) -> String {
        Vectors::parse(text).expect_err("refused")
    }

    #[test]
    fn a_set_is_a_gateway_in_small() {
        let vectors = Vectors::parse(
            r#"{"sets":[{"shards":["a","b"],"regions":{"b":"eu"},"directories":{"d":{"k":"v"}},"grants":["directory","log"],
               "config":{"n":1},"cases":[{"name":"one","ask":{"hook":"route"},"expect":{"all":true}}]},
               {"refused":"buckets"}]}"#,
        )
        .expect("valid");
        let set = &vectors.sets[0];
        let topology = set.topology();
        assert_eq!(
            (topology.len(), topology.name(ShardId(1)), topology.in_region("eu").to_vec()),
            (2, "b", vec![ShardId(1)])
        );
        assert_eq!(set.grants(), [Grant::Log, Grant::Metrics, Grant::Topology, Grant::Directory]);
        assert_eq!((set.title(0), set.cases[0].title(2)), ("set 1".into(), "case 3 (one)".into()));
        assert_eq!(vectors.sets[1].topology().name(ShardId(0)), "only");
    }

    #[test]
    fn mistakes_are_told_with_their_place() {
        for (text, says) in [
            (r#"{"sets":[]}"#, "`sets` is empty"),
            (r#"{"sets":[{"about":"empty"}]}"#, "set 1 (empty): it has neither `cases` nor `refused`"),
            (
                r#"{"sets":[{"shards":["a"],"regions":{"b":"eu"},"refused":"x"}]}"#,
                "set 1: `regions` names the shard \"b\", `shards` has: a",
            ),
            (
                r#"{"sets":[{"refused":"x","cases":[{"ask":{"hook":"route"},"expect":{"all":true}}]}]}"#,
                "leave `cases` out",
            ),
            (
                r#"{"sets":[{"shards":["a"],"tenants":{"acme":["b"]},"refused":"x"}]}"#,
                "set 1: `tenants`: tenant acme: there is no shard b",
            ),
            (r#"{"sets":[{"case":[]}]}"#, "unknown field `case`, expected one of `about`, `shards`"),
            (r#"{"sets":[{"cases":[{"ask":{"hook":"rout"},"expect":{"all":true}}]}]}"#, "unknown variant `rout`"),
            (
                r#"{"sets":[{"cases":[{"ask":{"hook":"route","inputs":{"shardkey":"1"}},"expect":{"all":true}}]}]}"#,
                "set 1: case 1: there is no input \"shardkey\". Inputs are method",
            ),
            (
                r#"{"sets":[{"cases":[{"ask":{"hook":"route","inputs":{"header:Host":"1"}},"expect":{"all":true}}]}]}"#,
                "no input \"header:Host\"",
            ),
            ("{\n oops", "at line 2 column 2"),
        ] {
            assert!(refusal(text).contains(says), "{}", refusal(text));
        }
    }
}
