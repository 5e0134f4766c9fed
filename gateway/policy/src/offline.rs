//! A plugin without a gateway: for authors' tests, measurements and replays.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use tidegate_types::{
    policy::Who,
    route::Topology,
    settings::Grant,
    tenant::{ClassId, TenantId, Tenants},
};

use crate::{
    bindings::{Directories, Kind, Op, Request, RowChange},
    custom::CustomCounters,
    description::{Description, HookInputs},
    engine,
    error::{Refusal, RefusalReason},
    guest::{Blueprint, GuestFailure, Instance},
    hook::Hook,
    inputs::Declared,
    loader::{self, Environment, Loader},
    metrics::FailureKind,
    phrase,
    question::{Answer, ChangedHow, ChangedRow, Given, Operation, Question},
};

/// Wall-clock budget of a call: nobody waits, and machines that build are busy.
const BUDGET: Duration = Duration::from_secs(2);

/// Whether instructions are counted. Counting makes calls slower.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fuel {
    /// They are not.
    Off,
    /// They are.
    Counted,
}

/// What a plugin is given.
#[derive(Debug, Clone)]
pub struct Options {
    /// Its configuration.
    pub config: serde_json::Value,
    /// The shards.
    pub topology: Arc<Topology>,
    /// Directories it may look into.
    pub directories: HashMap<String, HashMap<String, String>>,
    /// What it may import.
    pub grants: Vec<Grant>,
    /// Bytes of linear memory.
    pub max_memory: usize,
    /// Whether instructions are counted.
    pub fuel: Fuel,
}

impl Options {
    /// The usual grants and limits, on these shards.
    #[must_use]
    pub fn on(topology: Arc<Topology>) -> Self {
        Self {
            config: serde_json::Value::Object(serde_json::Map::new()),
            topology,
            directories: HashMap::new(),
            grants: vec![Grant::Log, Grant::Metrics, Grant::Topology, Grant::Directory],
            max_memory: 64 << 20,
            fuel: Fuel::Off,
        }
    }
}

/// How long the steps of loading took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timings {
    /// From bytes to machine code.
    pub compile: Duration,
    /// From machine code on disk to code that runs.
    pub deserialise: Duration,
    /// One instance, configured.
    pub instance: Duration,
}

/// A loaded plugin.
pub struct Guest {
    description: Description,
    hooks: Vec<(Hook, HookInputs)>,
    environment: Environment,
    blueprint: Blueprint,
    instance: Instance,
    names: Names,
    fuel: Option<u64>,
}

/// Numbers for the names of tenants, classes and collections, as they come.
#[derive(Default)]
struct Names(HashMap<(&'static str, String), u32>);

impl Names {
    fn number(&mut self, kind: &'static str, name: &str) -> u32 {
        if name.is_empty() {
            return 0;
        }
        let next = u32::try_from(self.0.len() + 1).unwrap_or(u32::MAX);
        *self.0.entry((kind, name.to_owned())).or_insert(next)
    }
}

impl Guest {
    /// Loads a plugin as the gateway does: compiled, described, configured, self-tested.
    ///
    /// # Errors
    /// The gateway would refuse it.
    pub fn load(bytes: &[u8], options: &Options) -> Result<Self, Refusal> {
        let refused =
            |(reason, detail)| Refusal { origin: "this file".into(), digest: loader::digest(bytes), reason, detail };
        let engine = match options.fuel {
            Fuel::Off => engine::shared(),
            Fuel::Counted => engine::counting(),
        };
        let engine = engine.map_err(|detail| refused((RefusalReason::Engine, detail)))?;
        let loader = Loader::on(engine, options.max_memory, BUDGET, CustomCounters::default(), None);
        let compiled = loader.compile(bytes).map_err(refused)?;
        let copies = options.directories.iter().map(|(name, copy)| (name.clone(), Arc::new(copy.clone())));
        let directories: Directories = copies.collect();
        let environment = Environment {
            topology: options.topology.clone(),
            tenants: Arc::new(Tenants::none(&options.topology)),
            directories: Arc::new(directories),
        };
        let plugin: Arc<str> = "offline".into();
        let blueprint = loader.blueprint(&plugin, &compiled, &options.config, &options.grants, &environment);
        let blueprint = blueprint.map_err(refused)?;
        let (description, hooks) = loader.rehearse(&compiled, &blueprint, &options.config).map_err(refused)?;
        let instance = Instance::ready(&blueprint)
            .map_err(|failure| refused((RefusalReason::Lifecycle, format!("a further instance failed: {failure}"))))?;
        Ok(Self { description, hooks, environment, blueprint, instance, names: Names::default(), fuel: None })
    }

    /// What the plugin says it is.
    #[must_use]
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// Asks it. An instance that failed is replaced.
    pub fn ask(&mut self, question: &Question) -> Answer {
        self.instance.fuel_used();
        let answer = self.attempt(question);
        self.fuel = self.instance.fuel_used();
        if let Err(failure) = &answer
            && failure.kind != FailureKind::PolicyError
            && let Ok(fresh) = Instance::ready(&self.blueprint)
        {
            self.instance = fresh;
        }
        answer.unwrap_or_else(|failure| phrase::failure(&failure))
    }

    /// Asks a new instance, made for this question.
    pub fn ask_fresh(&mut self, question: &Question) -> Answer {
        match Instance::ready(&self.blueprint) {
            Ok(fresh) => {
                self.instance = fresh;
                self.ask(question)
            }
            Err(failure) => phrase::failure(&failure),
        }
    }

    /// Instructions of the last call, where they are counted.
    #[must_use]
    pub fn fuel_of_last_call(&self) -> Option<u64> {
        self.fuel
    }

    /// Bytes of linear memory in use.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.instance.memory()
    }

    /// What the question's hook declares, by name.
    #[must_use]
    pub fn inputs(&self, hook: Hook) -> Option<Vec<String>> {
        let (_, inputs) = self.hooks.iter().find(|(of, _)| *of == hook)?;
        Some(inputs.inputs.iter().map(Declared::describe).collect())
    }

    fn attempt(&mut self, question: &Question) -> Result<Answer, GuestFailure> {
        let missing = || GuestFailure::new(FailureKind::BadAnswer, "the plugin does not have this hook");
        let (_, declared) = self.hooks.iter().find(|(hook, _)| *hook == question.hook).ok_or_else(missing)?;
        let (tenant, class, collection) = (
            self.names.number("tenant", &question.tenant),
            self.names.number("class", &question.class),
            self.names.number("collection", &question.collection),
        );
        let who = Who { tenant: TenantId(tenant), class: ClassId(class) };
        if question.hook == Hook::Invalidate {
            let images: Vec<_> = question.changes.iter().map(|change| images(change, &declared.inputs)).collect();
            let rows: Vec<_> = question.changes.iter().zip(&images).map(row).collect();
            return self.instance.invalidate((tenant, class), &rows, BUDGET).map(phrase::actions);
        }
        let inputs: Vec<Option<&str>> = declared.inputs.iter().map(|input| given(question, input)).collect();
        let op = match question.op {
            Operation::Read => Op::Read,
            Operation::Write => Op::Write,
        };
        let request = Request { tenant, class, op, collection, inputs: &inputs };
        match question.hook {
            Hook::Classify => self.instance.classify(request, BUDGET).map(phrase::classified),
            Hook::Route => {
                let targets = self.instance.route(request, BUDGET)?;
                phrase::routed(targets, &self.environment.topology, &self.environment.tenants, who)
            }
            Hook::CachePolicy | Hook::Invalidate => {
                self.instance.decide(request, BUDGET).map(|decision| phrase::kept(decision, &declared.inputs))
            }
        }
    }
}

/// How long a plugin takes to come up.
///
/// # Errors
/// The gateway would refuse it.
pub fn timings(bytes: &[u8], options: &Options) -> Result<Timings, Refusal> {
    let refused =
        |(reason, detail)| Refusal { origin: "this file".into(), digest: loader::digest(bytes), reason, detail };
    let engine = engine::shared().map_err(|detail| refused((RefusalReason::Engine, detail)))?;
    let store = Arc::new(Memory::default());
    let loader =
        || Loader::on(engine.clone(), options.max_memory, BUDGET, CustomCounters::default(), Some(store.clone()));
    let start = Instant::now();
    loader().compile(bytes).map_err(refused)?;
    let compile = start.elapsed();
    let again = loader();
    let start = Instant::now();
    let compiled = again.compile(bytes).map_err(refused)?;
    let deserialise = start.elapsed();
    let environment = Environment {
        topology: options.topology.clone(),
        tenants: Arc::new(Tenants::none(&options.topology)),
        directories: Arc::default(),
    };
    let blueprint = again.blueprint(&"offline".into(), &compiled, &options.config, &options.grants, &environment);
    let blueprint = blueprint.map_err(refused)?;
    let failed = |failure: GuestFailure| refused((RefusalReason::Lifecycle, failure.to_string()));
    Instance::ready(&blueprint).map_err(failed)?;
    let start = Instant::now();
    Instance::ready(&blueprint).map_err(failed)?;
    Ok(Timings { compile, deserialise, instance: start.elapsed() })
}

/// Compiled code in memory, to measure taking it up again.
#[derive(Default)]
struct Memory(parking_lot::Mutex<HashMap<(String, String), Vec<u8>>>);

impl loader::Artifacts for Memory {
    fn get(&self, digest: &str, engine: &str) -> Option<Vec<u8>> {
        self.0.lock().get(&(digest.to_owned(), engine.to_owned())).cloned()
    }

    fn keep(&self, digest: &str, engine: &str, code: &[u8]) {
        self.0.lock().insert((digest.to_owned(), engine.to_owned()), code.to_vec());
    }
}

/// The value of a declared input in a question.
fn given<'a>(question: &'a Question, input: &Declared) -> Option<&'a str> {
    match question.inputs.get(&input.describe()) {
        Some(Given::Text(text)) => Some(text),
        Some(Given::Absent(()) | Given::Redacted { .. }) => None,
        None => match input {
            // Said of the question as a whole.
            Declared::Collection => Some(&question.collection),
            Declared::Tenant => Some(&question.tenant),
            Declared::Class => Some(&question.class),
            _ => None,
        }
        .map(String::as_str)
        .filter(|text| !text.is_empty()),
    }
}

type Images<'a> = (Vec<Option<&'a str>>, Vec<Option<&'a str>>);

fn images<'a>(change: &'a ChangedRow, declared: &[Declared]) -> Images<'a> {
    let values = |image: &'a std::collections::BTreeMap<String, Option<String>>| {
        let value = |input: &Declared| match input {
            Declared::Column(name) => image.get(name)?.as_deref(),
            _ => None,
        };
        declared.iter().map(value).collect::<Vec<_>>()
    };
    let gone = matches!(change.kind, ChangedHow::Delete | ChangedHow::Truncate);
    let new = matches!(change.kind, ChangedHow::Insert | ChangedHow::Truncate);
    (if new { Vec::new() } else { values(&change.old) }, if gone { Vec::new() } else { values(&change.new) })
}

fn row<'a>((change, (old, new)): (&'a ChangedRow, &'a Images<'a>)) -> RowChange<'a> {
    RowChange {
        collection: &change.collection,
        key: &change.key,
        kind: match change.kind {
            ChangedHow::Insert => Kind::Insert,
            ChangedHow::Update => Kind::Update,
            ChangedHow::Delete => Kind::Delete,
            ChangedHow::Truncate => Kind::Truncate,
        },
        old,
        new,
    }
}
